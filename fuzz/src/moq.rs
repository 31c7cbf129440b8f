//! Every moq-lite message, in every version. The first byte of the input chooses the version.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use moqgate_moq::wire::{
    AnnounceOk, AnnounceRequest, Announced, Announcement, Datagram, Fetch, FrameHeads, Goaway, GroupHead,
    Message, Probe, Setup, Subscribe, SubscribeReply, SubscribeUpdate, Track, TrackInfo, Version,
};

/// Messages of one kind, one after the other as on a stream.
fn messages<M: Message + PartialEq + Debug>(data: &[u8]) -> Option<(Version, Vec<M>)> {
    messages_if(data, |_| true)
}

/// The same, where only what `is_written` holds for has a form on the wire.
fn messages_if<M: Message + PartialEq + Debug>(
    data: &[u8],
    is_written: impl Fn(&M) -> bool,
) -> Option<(Version, Vec<M>)> {
    let (first, rest) = data.split_first()?;
    let version = Version::PREFERENCE[usize::from(first & 3)];
    let (at_once, failed) = decode::<M>(version, [rest]);
    let (by_byte, failed_by_byte) = decode::<M>(version, rest.chunks(1));
    assert_eq!((&at_once, failed), (&by_byte, failed_by_byte), "the same, however the stream is cut");
    for message in at_once.iter().filter(|message| is_written(message)) {
        let mut bytes = BytesMut::from(&message.to_bytes(version)[..]);
        let again = M::decode(&mut bytes, version).expect("what is written can be read");
        assert_eq!(again.as_ref(), Some(message), "what is written reads the same");
        assert!(bytes.is_empty(), "and nothing is left over");
    }
    Some((version, at_once))
}

/// The messages up to the end or the first error, and whether there was one.
fn decode<'a, M: Message>(version: Version, parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<M>, bool) {
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            match M::decode(&mut buffer, version) {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

pub(crate) fn announce_request(data: &[u8]) {
    messages::<AnnounceRequest>(data);
}

pub(crate) fn announce_ok(data: &[u8]) {
    messages::<AnnounceOk>(data);
}

/// Announcements also go through the book that follows which broadcast is live.
pub(crate) fn announcement(data: &[u8]) {
    let is_written = |message: &Announcement| !matches!(message, Announcement::Unknown { .. });
    let Some((version, messages)) = messages_if(data, is_written) else { return };
    let mut book = Announced::new(version);
    for message in messages {
        if book.push(message).is_err() {
            return;
        }
    }
}

pub(crate) fn fetch(data: &[u8]) {
    messages::<Fetch>(data);
}

pub(crate) fn goaway(data: &[u8]) {
    messages::<Goaway>(data);
}

pub(crate) fn group(data: &[u8]) {
    messages::<GroupHead>(data);
}

pub(crate) fn probe(data: &[u8]) {
    messages::<Probe>(data);
}

pub(crate) fn setup(data: &[u8]) {
    for setup in messages::<Setup>(data).into_iter().flat_map(|(_, setups)| setups) {
        let _ = (setup.probe(), setup.path(), setup.role(), setup.cost(), setup.hop(), setup.downstream());
    }
}

/// With and without the extension that was negotiated.
pub(crate) fn subscribe(data: &[u8]) {
    let Some((version, _)) = messages::<Subscribe>(data) else { return };
    let mut buffer = BytesMut::from(&data[1..]);
    while let Ok(Some(_)) = Subscribe::decode_extended(&mut buffer, version) {}
}

pub(crate) fn subscribe_update(data: &[u8]) {
    let Some((version, _)) = messages::<SubscribeUpdate>(data) else { return };
    let mut buffer = BytesMut::from(&data[1..]);
    while let Ok(Some(_)) = SubscribeUpdate::decode_extended(&mut buffer, version) {}
}

pub(crate) fn subscribe_reply(data: &[u8]) {
    messages::<SubscribeReply>(data);
}

pub(crate) fn track(data: &[u8]) {
    messages::<Track>(data);
}

pub(crate) fn track_info(data: &[u8]) {
    messages::<TrackInfo>(data);
}

/// The frames of a group: heads, and payloads that are skipped as far as they are there.
pub(crate) fn frames(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut heads = FrameHeads::new(Version::PREFERENCE[usize::from(first & 3)]);
    let mut buffer = BytesMut::from(rest);
    while let Ok(Some(head)) = heads.decode(&mut buffer) {
        let _ = buffer.split_to(head.size.min(buffer.len()));
    }
}

pub(crate) fn datagram(data: &[u8]) {
    let Ok(datagram) = Datagram::decode(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(Datagram::decode(datagram.encode()), Ok(datagram));
}
