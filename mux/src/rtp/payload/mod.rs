//! Payload formats: how a picture is spread over packets, and put together again.

mod av1;
mod nal;
mod vp8;
mod vp9;
mod writer;

use super::Codec;

pub(super) use writer::Writer;

/// Puts the payloads of one access unit together, in order and without gaps.
pub(super) trait Depacketiser: Send {
    /// Whether this payload can only be the first of an access unit. Asked after losses, when nothing else tells.
    fn begins(&self, payload: &[u8]) -> bool;
    /// Appends what a payload holds to the unit in `out`.
    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str>;
    /// The unit ends here. Whatever happened, the next payload begins a new one.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str>;
}

/// A depacketiser for `codec`; it gives Annex B, OBUs with sizes, frames or superframes.
pub(super) fn depacketiser(codec: Codec) -> Box<dyn Depacketiser> {
    match codec {
        Codec::H264 => Box::new(nal::Nals::<nal::H264>::default()),
        Codec::H265 => Box::new(nal::Nals::<nal::H265>::default()),
        Codec::Vp8 => Box::new(vp8::Vp8),
        Codec::Vp9 => Box::new(vp9::Vp9::default()),
        Codec::Av1 => Box::new(av1::Av1::default()),
        Codec::Opus => Box::new(Whole),
    }
}

/// Spreads an access unit over payloads.
pub(super) trait Packetiser: Send {
    /// Writes the payloads of `unit`, none longer than the writer allows.
    fn write(&mut self, unit: &bytes::Bytes, writer: &mut Writer);
}

/// A packetiser for `codec`.
pub(super) fn packetiser(codec: Codec) -> Box<dyn Packetiser> {
    match codec {
        Codec::H264 => Box::new(nal::Split::<nal::H264>::default()),
        Codec::H265 => Box::new(nal::Split::<nal::H265>::default()),
        Codec::Vp8 => Box::new(vp8::Descriptor::default()),
        Codec::Vp9 => Box::new(vp9::Descriptor::default()),
        Codec::Av1 => Box::new(av1::Aggregation),
        Codec::Opus => Box::new(Whole),
    }
}

/// A payload is the whole unit (RFC 7587 section 4.2).
struct Whole;

impl Depacketiser for Whole {
    fn begins(&self, _payload: &[u8]) -> bool {
        true
    }

    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        out.extend_from_slice(payload);
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<u8>) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Packetiser for Whole {
    fn write(&mut self, unit: &bytes::Bytes, writer: &mut Writer) {
        writer.share(unit.clone());
    }
}

/// How many pieces of nearly equal size, none above `most`, hold `length` bytes, and how long the longest is.
fn split(length: usize, most: usize) -> (usize, usize) {
    let count = length.div_ceil(most.max(1)).max(1);
    (count, length.div_ceil(count))
}
