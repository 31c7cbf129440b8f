//! The first bytes of audio and video bodies: which track, which coding, which kind of payload.

use bytes::{Buf, Bytes};

/// Tracks in one message.
const PARTS_MAX: usize = 32;

/// Extension blocks in front of one message; version 2 defines a single kind.
const EXTENSIONS_MAX: usize = 16;

/// Codings by FourCC or legacy number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Avc,
    Hevc,
    Av1,
    Vp9,
    Vp8,
    Aac,
    Mp3,
    Opus,
    Flac,
    Ac3,
    Eac3,
    /// One that nothing here reads.
    Other,
}

/// What the data of a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Parameters.
    Config,
    /// A frame.
    Frame,
    /// Number and order of channels.
    Channels,
    /// The sequence is over, until the next parameters.
    End,
}

/// What a message holds of one track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) track: u8,
    pub(super) codec: Codec,
    pub(super) content: Content,
    /// The sender calls it a keyframe.
    pub(super) keyframe: bool,
    /// From decoding to display, milliseconds.
    pub(super) composition_ms: i32,
    /// To add to the message's time.
    pub(super) nanos: u32,
    pub(super) data: Bytes,
}

/// A longer way from decoding to display is no reordering: 10 s.
const COMPOSITION_MAX_MS: i32 = 10_000;

const CUT: &str = "flv_cut_short";

/// Takes a video body apart. Messages without a picture give no parts.
pub(super) fn video(body: &Bytes, parts: &mut Vec<Part>) -> Result<(), &'static str> {
    let mut body = body.clone();
    let first = byte(&mut body)?;
    let frame_type = first >> 4 & 7;
    if first & 0x80 == 0 {
        return legacy_video(frame_type, first & 15, body, parts);
    }
    let (mut kind, nanos) = extensions(first & 15, &mut body)?;
    if kind != METADATA && frame_type == COMMAND {
        return Ok(());
    }
    let mut tracks = Tracks::One;
    if kind == VIDEO_MULTITRACK {
        (tracks, kind) = multitrack(&mut body, VIDEO_MULTITRACK)?;
    }
    let keyframe = is_key(frame_type);
    each_track(tracks, body, |track, codec, mut data| {
        let content = match kind {
            0 => Content::Config,
            1 | 3 => Content::Frame,
            2 => Content::End,
            _ => return Ok(()),
        };
        let composes = kind == 1 && matches!(codec, Codec::Avc | Codec::Hevc);
        let composition_ms = if composes { composition(&mut data)? } else { 0 };
        parts.push(Part { track, codec, content, keyframe, composition_ms, nanos, data });
        Ok(())
    })
}

/// Takes an audio body apart.
pub(super) fn audio(body: &Bytes, parts: &mut Vec<Part>) -> Result<(), &'static str> {
    const ENHANCED: u8 = 9;
    let mut body = body.clone();
    let first = byte(&mut body)?;
    let mut part = Part {
        track: 0,
        codec: Codec::Other,
        content: Content::Frame,
        keyframe: true,
        composition_ms: 0,
        nanos: 0,
        data: Bytes::new(),
    };
    match first >> 4 {
        ENHANCED => return enhanced_audio(first & 15, body, parts),
        10 => {
            part.codec = Codec::Aac;
            part.content = if byte(&mut body)? == 0 { Content::Config } else { Content::Frame };
        }
        2 | 14 => part.codec = Codec::Mp3,
        _ => {}
    }
    parts.push(Part { data: body, ..part });
    Ok(())
}

const METADATA: u8 = 4;
const COMMAND: u8 = 5;
const VIDEO_MULTITRACK: u8 = 6;
const AUDIO_MULTITRACK: u8 = 5;
const EXTENSION: u8 = 7;

fn legacy_video(
    frame_type: u8,
    codec: u8,
    mut body: Bytes,
    parts: &mut Vec<Part>,
) -> Result<(), &'static str> {
    if frame_type == COMMAND {
        return Ok(());
    }
    // 12 and 13 were never assigned, but encoders have used them in the layout of 7 for years.
    let codec = match codec {
        7 => Codec::Avc,
        12 => Codec::Hevc,
        13 => Codec::Av1,
        _ => Codec::Other,
    };
    let mut part = Part {
        track: 0,
        codec,
        content: Content::Frame,
        keyframe: is_key(frame_type),
        composition_ms: 0,
        nanos: 0,
        data: Bytes::new(),
    };
    if codec != Codec::Other {
        part.content = match byte(&mut body)? {
            0 => Content::Config,
            1 => Content::Frame,
            2 => Content::End,
            _ => return Err("flv_packet_type"),
        };
        part.composition_ms = composition(&mut body)?;
    }
    parts.push(Part { data: body, ..part });
    Ok(())
}

fn enhanced_audio(kind: u8, mut body: Bytes, parts: &mut Vec<Part>) -> Result<(), &'static str> {
    let (mut kind, nanos) = extensions(kind, &mut body)?;
    let mut tracks = Tracks::One;
    if kind == AUDIO_MULTITRACK {
        (tracks, kind) = multitrack(&mut body, AUDIO_MULTITRACK)?;
    }
    each_track(tracks, body, |track, codec, data| {
        let content = match kind {
            0 => Content::Config,
            1 => Content::Frame,
            2 => Content::End,
            4 => Content::Channels,
            _ => return Ok(()),
        };
        parts.push(Part { track, codec, content, keyframe: true, composition_ms: 0, nanos, data });
        Ok(())
    })
}

fn is_key(frame_type: u8) -> bool {
    matches!(frame_type, 1 | 4)
}

/// ModEx blocks; gives the packet type behind them and the offset in nanoseconds.
fn extensions(mut kind: u8, body: &mut Bytes) -> Result<(u8, u32), &'static str> {
    const OFFSET: u8 = 0;
    const OFFSET_MAX: u32 = 999_999;
    let mut nanos = 0;
    for _ in 0..EXTENSIONS_MAX {
        if kind != EXTENSION {
            return Ok((kind, nanos));
        }
        let mut size = usize::from(byte(body)?) + 1;
        if size == 256 {
            size = usize::from(body.try_get_u16().map_err(|_short| CUT)?) + 1;
        }
        if size > body.len() {
            return Err(CUT);
        }
        let data = body.split_to(size);
        let next = byte(body)?;
        if next >> 4 == OFFSET && data.len() >= 3 {
            nanos = u32::from_be_bytes([0, data[0], data[1], data[2]]).min(OFFSET_MAX);
        }
        kind = next & 15;
    }
    Err("flv_extensions")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tracks {
    /// Not a message of several tracks: no number at all.
    One,
    /// A number, the coding in front.
    Numbered,
    /// Numbers and sizes, the coding in front.
    Many,
    /// Coding, number and size each.
    ManyCodecs,
}

fn multitrack(body: &mut Bytes, nested: u8) -> Result<(Tracks, u8), &'static str> {
    let head = byte(body)?;
    let tracks = match head >> 4 {
        0 => Tracks::Numbered,
        1 => Tracks::Many,
        2 => Tracks::ManyCodecs,
        _ => return Err("flv_multitrack"),
    };
    let kind = head & 15;
    if kind == nested || kind == EXTENSION { Err("flv_multitrack") } else { Ok((tracks, kind)) }
}

fn each_track(
    tracks: Tracks,
    mut body: Bytes,
    mut found: impl FnMut(u8, Codec, Bytes) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let mut codec = Codec::Other;
    if tracks != Tracks::ManyCodecs {
        codec = four_cc(&mut body)?;
    }
    match tracks {
        Tracks::One => return found(0, codec, body),
        Tracks::Numbered => {
            let track = byte(&mut body)?;
            return found(track, codec, body);
        }
        Tracks::Many | Tracks::ManyCodecs => {}
    }
    for _ in 0..PARTS_MAX {
        if body.is_empty() {
            return Ok(());
        }
        if tracks == Tracks::ManyCodecs {
            codec = four_cc(&mut body)?;
        }
        let track = byte(&mut body)?;
        let size = body.try_get_uint(3).map_err(|_short| CUT)? as usize;
        if size > body.len() {
            return Err(CUT);
        }
        found(track, codec, body.split_to(size))?;
    }
    Err("flv_too_many_tracks")
}

fn four_cc(body: &mut Bytes) -> Result<Codec, &'static str> {
    let code: [u8; 4] = *body.first_chunk().ok_or(CUT)?;
    body.advance(4);
    Ok(match &code {
        b"avc1" => Codec::Avc,
        b"hvc1" | b"hev1" => Codec::Hevc,
        b"av01" => Codec::Av1,
        b"vp09" => Codec::Vp9,
        b"vp08" => Codec::Vp8,
        b"mp4a" => Codec::Aac,
        b".mp3" => Codec::Mp3,
        b"Opus" => Codec::Opus,
        b"fLaC" => Codec::Flac,
        b"ac-3" => Codec::Ac3,
        b"ec-3" => Codec::Eac3,
        _ => Codec::Other,
    })
}

/// A signed number of 24 bits.
fn composition(body: &mut Bytes) -> Result<i32, &'static str> {
    let value = body.try_get_uint(3).map_err(|_short| CUT)?;
    let value = (u32::try_from(value).unwrap_or_default() << 8).cast_signed() >> 8;
    Ok(value.clamp(-COMPOSITION_MAX_MS, COMPOSITION_MAX_MS))
}

fn byte(body: &mut Bytes) -> Result<u8, &'static str> {
    body.try_get_u8().map_err(|_short| CUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &[u8], read: fn(&Bytes, &mut Vec<Part>) -> Result<(), &'static str>) -> Part {
        let mut parts = Vec::new();
        read(&Bytes::copy_from_slice(body), &mut parts).unwrap();
        assert_eq!(parts.len(), 1);
        parts.remove(0)
    }

    #[test]
    fn recorded_video_heads() {
        let config = one(b"\x17\0\0\0\0\x01\x64", video);
        assert_eq!(
            (config.codec, config.content, &config.data[..]),
            (Codec::Avc, Content::Config, &b"\x01\x64"[..])
        );
        let frame = one(b"\x27\x01\0\0\xa0\0\0\x04", video);
        assert_eq!((frame.keyframe, frame.composition_ms), (false, 160));
        let hevc = one(b"\x91hvc1\0\0\x50\0\0", video);
        assert_eq!((hevc.codec, hevc.keyframe, hevc.composition_ms), (Codec::Hevc, true, 80));
        let zero = one(b"\xa3hvc1\0\0\x01\xbe", video);
        assert_eq!((zero.composition_ms, zero.data.len()), (0, 4));
        let av1 = one(b"\x91av01\x12\0\x0a", video);
        assert_eq!((av1.codec, &av1.data[..]), (Codec::Av1, &b"\x12\0\x0a"[..]));
        let second = one(b"\x96\x03avc1\x01\0\0\x02", video);
        assert_eq!((second.track, second.codec, second.data.len()), (1, Codec::Avc, 3));
        let negative = one(b"\x27\x01\xff\xff\xd8x", video);
        assert_eq!(negative.composition_ms, -40);
        assert_eq!(one(b"\x1c\x01\0\0\0x", video).codec, Codec::Hevc);
    }

    #[test]
    fn recorded_audio_heads() {
        assert_eq!(one(b"\xaf\0\x11\x90", audio).content, Content::Config);
        assert_eq!(one(b"\x91Opus\xfc", audio).codec, Codec::Opus);
        assert_eq!(one(b"\x94mp4a\x01\x06\0\0\0\x3f", audio).content, Content::Channels);
        let second = one(b"\x95\x01mp4a\x01\x21", audio);
        assert_eq!((second.track, second.content), (1, Content::Frame));
        assert_eq!(one(b"\x2f\xff", audio).codec, Codec::Mp3);
        assert_eq!(one(b"\xb2\0", audio).codec, Codec::Other);
    }

    #[test]
    fn messages_without_a_picture() {
        for body in [&b"\x57\0"[..], b"\xd0\0", b"\xd4hvc1\x02\0\x09colorInfo", b"\x84av01\x02"] {
            let mut parts = Vec::new();
            assert_eq!(video(&Bytes::copy_from_slice(body), &mut parts), Ok(()));
            assert!(parts.is_empty());
        }
    }

    #[test]
    fn several_tracks_in_one_message() {
        let body = b"\x96\x11avc1\x00\0\0\x04\0\0\x28x\x01\0\0\x03\0\0\0";
        let mut parts = Vec::new();
        video(&Bytes::from_static(body), &mut parts).unwrap();
        assert_eq!(
            parts.iter().map(|part| (part.track, part.composition_ms)).collect::<Vec<_>>(),
            [(0, 40), (1, 0)]
        );
        let body = b"\x95\x21mp4a\x00\0\0\x01aOpus\x02\0\0\x02bc";
        let mut parts = Vec::new();
        audio(&Bytes::from_static(body), &mut parts).unwrap();
        assert_eq!(
            parts.iter().map(|part| (part.track, part.codec)).collect::<Vec<_>>(),
            [(0, Codec::Aac), (2, Codec::Opus)]
        );
        assert_eq!(video(&Bytes::from_static(b"\x96\x11avc1\x00\0\0\x09x"), &mut parts), Err(CUT));
        assert!(video(&Bytes::from_static(b"\x96\x06avc1\x00"), &mut parts).is_err());
    }

    #[test]
    fn extensions_hold_nanoseconds() {
        let part = one(b"\x97\x02\x0b\x71\xb0\x01avc1\0\0\0x", video);
        assert_eq!((part.nanos, part.codec, part.content), (750_000, Codec::Avc, Content::Frame));
        let mut long = b"\x97\xff\x01\x00".to_vec();
        long.extend([7; 257]);
        long.extend(b"\x13av01y");
        assert_eq!(one(&long, video).codec, Codec::Av1);
        let mut parts = Vec::new();
        assert_eq!(video(&Bytes::from_static(b"\x97\x05\x01"), &mut parts), Err(CUT));
    }
}
