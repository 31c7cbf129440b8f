//! SRT: packets, handshakes and their extensions, key material, loss lists, stream ids, and a whole connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_srt::crypto::KeyMaterial;
use moqgate_srt::engine::{Connection, Params};
use moqgate_srt::streamid::{self, Defaults};
use moqgate_srt::wire::{Extensions, Handshake, Packet, Seq, loss_list as list};

/// Ids of the two ends of the connection under test.
const IDS: (u32, u32) = (0x2b8d_7502, 0x2112_1b38);
/// After this nobody waits for a peer any more.
const SILENCE: Duration = Duration::from_secs(60);
/// Where the recorded sessions begin; the seeds come from one.
const INITIAL: u32 = 0x6897_b6a3;

pub(crate) fn packet(data: &[u8]) {
    let _ = Packet::peek_destination(data);
    let Ok(packet) = Packet::parse(Bytes::copy_from_slice(data)) else { return };
    let bytes = packet.to_bytes();
    assert_eq!(Packet::parse(bytes), Ok(packet), "what is written reads the same");
}

pub(crate) fn handshake(data: &[u8]) {
    let Ok(handshake) = Handshake::parse(Bytes::copy_from_slice(data)) else { return };
    let _ = Extensions::parse(handshake.extensions.clone());
    assert_eq!(Handshake::parse(handshake.to_bytes()), Ok(handshake), "what is written reads the same");
}

pub(crate) fn extensions(data: &[u8]) {
    let Ok(extensions) = Extensions::parse(Bytes::copy_from_slice(data)) else { return };
    let _ = extensions.field();
    if let Some(id) = &extensions.stream_id {
        streamid(id);
    }
    let _ = Extensions::parse(extensions.to_bytes());
}

pub(crate) fn keys(data: &[u8]) {
    let Ok(keys) = KeyMaterial::parse(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(keys.raw(), data);
    let _ = keys.encryption_field();
}

pub(crate) fn loss_list(data: &[u8]) {
    let oldest = Seq::new(INITIAL);
    let newest = oldest.plus(1000);
    let Ok(found) = list::decode(data, oldest, newest) else { return };
    for (first, last) in found.ranges {
        assert!(
            first.minus(oldest) >= 0 && last.minus(first) >= 0 && newest.minus(last) >= 0,
            "{first:?}..={last:?}"
        );
    }
}

pub(crate) fn streamid(data: &[u8]) {
    let _ = streamid::parse(Some(data), &Defaults::default());
}

/// Datagrams into an open connection. Each is preceded by its length (two bytes) and the milliseconds before it (one).
pub(crate) fn connection(data: &[u8]) {
    let mut now = Instant::now();
    let mut connection = Connection::new(Params::new(IDS.0, IDS.1, Seq::new(INITIAL), now), now);
    let mut rest = data;
    while let [high, low, pause, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (datagram, next) = tail.split_at(length);
        now += Duration::from_millis(u64::from(*pause));
        connection.handle_timeout(now);
        connection.handle(Bytes::copy_from_slice(datagram), now);
        while connection.poll_transmit().is_some() {}
        while connection.poll_deliver(now).is_some() {}
        rest = next;
    }
    let end = now + SILENCE;
    while let Some(next) = connection.poll_timeout().filter(|&next| next < end) {
        // A timeout that lies in the past would keep a shell busy for ever.
        now = next.max(now + Duration::from_micros(1));
        connection.handle_timeout(now);
        while connection.poll_transmit().is_some() {}
        while connection.poll_deliver(now).is_some() {}
    }
    assert!(connection.closed().is_some(), "a minute of silence ends it");
}
