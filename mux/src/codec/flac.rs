//! FLAC (RFC 9639): the STREAMINFO block and the head of a frame.

use std::time::Duration;

use bytes::Bytes;

use super::aac::block_duration;
use super::bits::Bits;
use crate::event::{AudioCodec, AudioConfig};

/// Bytes of a STREAMINFO block without its header (section 8.2).
const STREAMINFO_BYTES: usize = 34;

/// What stands in front of it in a file: marker and block header (last block, type 0, length 34).
const HEAD: [u8; 8] = [b'f', b'L', b'a', b'C', 0x80, 0, 0, 34];

/// Parameters from `data`: a STREAMINFO block, bare or behind the marker and its header.
pub(crate) fn read_head(data: &[u8]) -> Option<AudioConfig> {
    let info = match data.strip_prefix(b"fLaC") {
        Some(blocks) => blocks.get(4..)?,
        None if data.len() == STREAMINFO_BYTES + 4 => &data[4..],
        None => data,
    };
    let info = info.get(..STREAMINFO_BYTES)?;
    let mut bits = Bits::new(info);
    let smallest = bits.read(16)?;
    let largest = bits.read(16).filter(|largest| *largest >= smallest.max(16))?;
    bits.skip(48)?;
    let sample_rate = bits.read(20).filter(|rate| *rate > 0)?;
    let channels = bits.read(3)? + 1;
    // The checksum over all samples is known only at the end; two heads that differ in it are the same.
    let mut description = [&HEAD[..], info].concat();
    if let Some(checksum) = description.get_mut(HEAD.len() + 18..) {
        checksum.fill(0);
    }
    Some(AudioConfig {
        codec: AudioCodec::Flac,
        codec_string: "flac".to_owned(),
        sample_rate,
        channels,
        description: Some(Bytes::from(description)),
        frame_duration: block_duration(largest, sample_rate),
        jitter: Duration::ZERO,
    })
}

/// Samples of the frame whose head stands at the start of `data` (section 9.1).
pub(crate) fn frame_samples(data: &[u8]) -> Option<u32> {
    let &[0xff, second, third, _, ref rest @ ..] = data else { return None };
    if second & 0xfe != 0xf8 {
        return None;
    }
    // The coded number stands between the head and an explicit block size: as many bytes as leading ones say.
    let coded = rest.first()?.leading_ones().max(1) as usize;
    let explicit = rest.get(coded..)?;
    match third >> 4 {
        1 => Some(192),
        code @ 2..=5 => Some(144 << code),
        6 => Some(u32::from(*explicit.first()?) + 1),
        7 => explicit.first_chunk().map(|size| u32::from(u16::from_be_bytes(*size)) + 1),
        code @ 8..=15 => Some(1 << code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_the_head() {
        let mut info = vec![0x04, 0, 0x04, 0, 0, 0, 0, 0, 0x10, 0x98, 0x0b, 0xb8, 0x02, 0xf0];
        info.resize(STREAMINFO_BYTES, 7);
        let bare = read_head(&info).unwrap();
        assert_eq!((bare.sample_rate, bare.channels), (48_000, 2));
        info[33] = 9;
        assert_eq!(read_head(&[&HEAD[..], &info].concat()), Some(bare));
        assert_eq!(read_head(&info[..33]), None);
    }

    #[test]
    fn reads_block_sizes() {
        assert_eq!(frame_samples(&[0xff, 0xf8, 0xc9, 0x18, 0, 0]), Some(4096));
        assert_eq!(frame_samples(&[0xff, 0xf8, 0x79, 0x18, 0, 0x04, 0x7f]), Some(1152));
        assert_eq!(frame_samples(&[0xff, 0xf8, 0x59, 0x18, 0]), Some(4608));
        assert_eq!(frame_samples(&[0xff, 0xf8]), None);
    }
}
