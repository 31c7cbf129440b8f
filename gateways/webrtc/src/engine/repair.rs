//! Packets that a publisher sends again in a stream of their own (RFC 4588), put back into the stream that they repair.
//!
//! Stands between the wire and whoever asks for what is missing, so that nobody asks for it any longer. A publisher that has
//! no such format fills its link with empty packets of the picture's own stream when it looks what the link carries; those
//! cannot be sent again, and one that is lost would look like a part of a picture for ever.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use super::tap::binds_nothing;
use crate::sdp::{Offer, uri};

/// Most sources that are kept in mind; a browser that changes its camera takes new ones.
const SOURCES_MAX: usize = 64;
/// In front of what is sent again: the sequence number that it had (RFC 4588 section 4).
const SEQUENCE_LEN: usize = 2;

/// One publisher's.
#[derive(Default)]
pub(super) struct Repair {
    /// Formats that repair, and what they repair.
    formats: HashMap<u8, u8>,
    /// Sources that repair, and what they repair.
    pairs: HashMap<u32, u32>,
    /// The source of each layer.
    layers: HashMap<Bytes, u32>,
    /// The id of the header extension with a layer's name.
    layer: Option<u8>,
    /// The id of that with the name of the layer that is repaired.
    repaired: Option<u8>,
    read: VecDeque<TaggedPacket>,
    written: VecDeque<TaggedPacket>,
}

impl Repair {
    /// For what `offer` sends.
    pub(super) fn new(offer: &Offer) -> Self {
        let sections = || offer.sections().iter().filter(|section| section.is_media());
        Self {
            formats: sections().flat_map(|section| section.repairs.iter().copied()).collect(),
            pairs: sections().flat_map(|section| section.repairing.iter().copied()).collect(),
            layer: offer.extension(uri::RID),
            repaired: offer.extension(uri::RRID),
            ..Self::default()
        }
    }

    /// Makes a packet that is sent again what it was at first. Any other is left as it is.
    fn restore(&mut self, packet: &mut rtp::Packet) {
        let header = &packet.header;
        let name = |id: Option<u8>| id.and_then(|id| header.get_extension(id));
        let Some(format) = self.formats.get(&header.payload_type).copied() else {
            if let Some(layer) = name(self.layer).filter(|_| self.layers.len() < SOURCES_MAX) {
                self.layers.insert(layer, header.ssrc);
            }
            return;
        };
        let layer = name(self.repaired).and_then(|layer| self.layers.get(&layer).copied());
        if let Some(source) = layer.filter(|_| self.pairs.len() < SOURCES_MAX) {
            self.pairs.insert(header.ssrc, source);
        }
        let Some(source) = self.pairs.get(&header.ssrc).copied() else { return };
        // Without content it only fills the link.
        let Some((sequence, _)) = packet.payload.split_first_chunk::<SEQUENCE_LEN>() else { return };
        let sequence = u16::from_be_bytes(*sequence);
        let _sequence = packet.payload.split_to(SEQUENCE_LEN);
        (packet.header.sequence_number, packet.header.ssrc) = (sequence, source);
        packet.header.payload_type = format;
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Repair {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(media) = &mut packet.message.packet {
            self.restore(media);
        }
        self.read.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.written.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.written.pop_front()
    }
}

binds_nothing!(Repair);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::tests::{chromium, section};

    fn packet(ssrc: u32, payload_type: u8, payload: &'static [u8]) -> rtp::Packet {
        let header = rtp::Header {
            version: 2,
            ssrc,
            payload_type,
            sequence_number: 500,
            timestamp: 9,
            ..rtp::Header::default()
        };
        rtp::Packet { header, payload: Bytes::from_static(payload) }
    }

    fn seen(packet: &rtp::Packet) -> (u32, u8, u16, &[u8]) {
        let header = &packet.header;
        (header.ssrc, header.payload_type, header.sequence_number, &packet.payload)
    }

    #[test]
    fn what_is_sent_again_takes_its_place() {
        let offer = Offer::parse(&chromium(&[section("video")])).expect("an offer");
        let mut repair = Repair::new(&offer);
        let restored = |repair: &mut Repair, mut packet: rtp::Packet| {
            repair.restore(&mut packet);
            packet
        };
        let again = restored(&mut repair, packet(2, 97, &[1, 2, 7, 8]));
        assert_eq!(seen(&again), (1, 96, 0x0102, &[7, 8][..]));
        let plain = restored(&mut repair, packet(1, 96, &[1, 2, 7, 8]));
        assert_eq!(seen(&plain), (1, 96, 500, &[1, 2, 7, 8][..]));
        for of_no_use in [packet(2, 97, &[]), packet(2, 97, &[1]), packet(3, 97, &[1, 2, 3])] {
            assert_eq!(seen(&restored(&mut repair, of_no_use.clone())), seen(&of_no_use));
        }
    }

    #[test]
    fn layers_say_what_they_repair() {
        let mut repair = Repair { formats: HashMap::from([(97, 96)]), ..Repair::default() };
        (repair.layer, repair.repaired) = (Some(10), Some(11));
        let named = |mut packet: rtp::Packet, id, name: &'static [u8]| {
            packet.header.set_extension(id, Bytes::from_static(name)).expect("an extension");
            packet
        };
        repair.restore(&mut named(packet(7, 96, &[1]), 10, b"h"));
        let mut again = named(packet(8, 97, &[0, 5, 1]), 11, b"h");
        repair.restore(&mut again);
        assert_eq!(seen(&again), (7, 96, 5, &[1][..]));
        let mut unnamed = packet(8, 97, &[0, 6, 1]);
        repair.restore(&mut unnamed);
        assert_eq!(seen(&unnamed), (7, 96, 6, &[1][..]), "names are sent only at the beginning");
        for ssrc in 100..1000 {
            repair.restore(&mut named(packet(ssrc, 97, &[0, 5, 1]), 11, b"h"));
        }
        assert_eq!(repair.pairs.len(), SOURCES_MAX);
    }
}
