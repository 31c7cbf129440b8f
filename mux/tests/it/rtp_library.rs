//! `rtc-rtp` 0.21 as the other side: what it writes we read, and what we write it reads. Where its own reading breaks, a
//! test says so, and fails once it has got better (docs/DEPENDENCIES.md).

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use moqgate_core::Timestamp;
use moqgate_mux::event::MediaFrame;
use moqgate_mux::rtp::{Codec, Packet};
use rtc_rtp::codec::av1::{Av1Depacketizer, Av1Payloader};
use rtc_rtp::codec::h264::{H264Packet, H264Payloader};
use rtc_rtp::codec::h265::HevcPayloader;
use rtc_rtp::codec::vp8::{Vp8Packet, Vp8Payloader};
use rtc_rtp::codec::vp9::{Vp9Packet, Vp9Payloader};
use rtc_rtp::packetizer::{Depacketizer, Payloader};

use crate::builder::{hex, import};
use crate::rtp::{Session, export, plain};
use crate::ts_clips::clip;

fn frame(number: usize, keyframe: bool, media: &[u8]) -> MediaFrame {
    let pts = Timestamp::from_micros(number as u64 * 40_000);
    let payload = moqgate_mux::codec::legacy_payload(pts, &[media]);
    MediaFrame { pts, dts: None, keyframe, payload }
}

/// A keyframe and two others, small and large.
fn pictures(codec: Codec) -> Vec<MediaFrame> {
    let (key, delta): (&[u8], &[u8]) = match codec {
        Codec::Vp8 => (&[0x10, 2, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xb4, 0], &[0x11, 2, 0]),
        _ => (&[0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0b, 0x30], &[0x86, 0]),
    };
    let long = |head: &[u8], count: usize| [head, &vec![0x5a; count]].concat();
    vec![
        frame(0, true, &long(key, 5000)),
        frame(1, false, &long(delta, 20)),
        frame(2, false, &long(delta, 3000)),
    ]
}

fn av1() -> Vec<MediaFrame> {
    let sequence = hex("0a0b 0200000521e7f66017c002");
    let long = [&hex("32a927 10")[..], &[7; 5032]].concat();
    vec![frame(0, true, &[&sequence[..], &long].concat()), frame(1, false, &hex("3203 300102"))]
}

/// Video of a clip, from its first pid.
fn video(name: &str) -> Vec<MediaFrame> {
    let imported = import(&clip(name));
    let track = imported.tracks().into_iter().find(|track| track.config.kind() == "video").unwrap();
    imported.frames(track.origin.as_ref().unwrap().pid).into_iter().cloned().collect()
}

/// Their packets, our frames.
fn theirs_to_ours(codec: Codec, payloader: &mut dyn Payloader, frames: &[MediaFrame]) {
    let mut session = Session::new(codec);
    let mut sequence = 0u16;
    for (number, frame) in frames.iter().enumerate() {
        let payloads = payloader.payload(1188, &Bytes::copy_from_slice(frame.media())).unwrap();
        let count = payloads.len();
        for (index, payload) in payloads.into_iter().enumerate() {
            let (timestamp, marker) = (number as u32 * 3600, index + 1 == count);
            session.push(Packet { ssrc: 1, sequence, timestamp, marker, payload });
            sequence = sequence.wrapping_add(1);
        }
    }
    let out = session.finish();
    assert_eq!(out.problems, Vec::<&str>::new(), "{codec:?}");
    assert_eq!(out.frames.len(), frames.len(), "{codec:?}");
    for (old, new) in frames.iter().zip(&out.frames) {
        assert_eq!((plain(old), old.keyframe), (plain(new), new.keyframe), "{codec:?}");
    }
}

/// Our packets, their bytes.
fn ours_to_theirs(codec: Codec, depacketizer: &mut dyn Depacketizer, frames: &[MediaFrame]) {
    let packets = export(codec, frames, 1172);
    let mut read: Vec<Vec<u8>> = vec![Vec::new()];
    for packet in &packets {
        let part = depacketizer.depacketize(&packet.payload).unwrap();
        read.last_mut().unwrap().extend_from_slice(&part);
        if packet.marker {
            read.push(Vec::new());
        }
    }
    assert_eq!(read.len(), frames.len() + 1, "{codec:?}");
    for (old, new) in frames.iter().zip(&read) {
        assert_eq!(plain(old), new, "{codec:?}");
    }
}

#[test]
fn both_ways_with_every_coding() {
    theirs_to_ours(Codec::H264, &mut H264Payloader::default(), &video("plain.ts"));
    theirs_to_ours(Codec::H265, &mut HevcPayloader, &video("hevc.ts"));
    theirs_to_ours(Codec::Vp8, &mut Vp8Payloader::default(), &pictures(Codec::Vp8));
    theirs_to_ours(Codec::Vp9, &mut Vp9Payloader::default(), &pictures(Codec::Vp9));
    theirs_to_ours(Codec::Av1, &mut Av1Payloader::default(), &av1());
    ours_to_theirs(Codec::H264, &mut H264Packet::default(), &video("plain.ts"));
    ours_to_theirs(Codec::Vp8, &mut Vp8Packet::default(), &pictures(Codec::Vp8));
    ours_to_theirs(Codec::Vp9, &mut Vp9Packet::default(), &pictures(Codec::Vp9));
    ours_to_theirs(Codec::Av1, &mut Av1Depacketizer::default(), &av1());
}

/// Whether reading these payloads one after the other panics.
fn panics(mut depacketizer: impl Depacketizer, payloads: &[&'static [u8]]) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for payload in payloads {
            let _ = depacketizer.depacketize(&Bytes::from_static(payload));
        }
    }));
    std::panic::set_hook(hook);
    outcome.is_err()
}

/// Each of these is one packet of a stranger.
#[test]
fn packets_that_panic_the_library() {
    let (cut, bare): (&[u8], &[u8]) = (&[0x78, 0, 1, 0x67, 0], &[0x18, 0x34]);
    assert!(panics(H264Packet::default(), &[cut]), "STAP-A with one byte behind its units");
    assert!(panics(Av1Depacketizer::default(), &[bare]), "an OBU without its extension");
    for (codec, payload) in [(Codec::H264, cut), (Codec::Av1, bare)] {
        let mut session = Session::new(codec);
        session.push(Packet { marker: true, payload: Bytes::from_static(payload), ..Packet::default() });
        assert_eq!(session.finish().problems.len(), 1, "{codec:?}: ours reports it");
    }
}

/// Legal packets, and packets after a loss.
#[test]
fn packets_that_the_library_misreads() {
    let read = |depacketizer: &mut dyn Depacketizer, payload: &'static [u8]| {
        depacketizer.depacketize(&Bytes::from_static(payload))
    };
    assert!(
        read(&mut Vp8Packet::default(), &[0x00, 0xaa, 0xbb]).is_err(),
        "the last two bytes of a VP8 frame"
    );
    let mut vp8 = Vp8Packet::default();
    read(&mut vp8, &[0x90, 0x80, 0x11, 0xaa]).unwrap();
    assert_ne!(
        read(&mut vp8, &[0x00, 1, 2, 3]).unwrap(),
        [1, 2, 3][..],
        "an extension that is not there is skipped"
    );
    assert!(read(&mut Vp9Packet::default(), &[0x5c, 3, 5, 6, 0xaa]).is_err(), "three references of VP9");
    let mut vp9 = Vp9Packet::default();
    let frames = (0..3).map(|_| read(&mut vp9, &[0x5c, 2, 0xaa]).is_ok());
    assert_eq!(frames.collect::<Vec<_>>(), [true, true, false], "references of three frames in one reader");
    let mut h264 = H264Packet::default();
    read(&mut h264, &[0x7c, 0x05, 1]).unwrap();
    assert!(
        !read(&mut h264, &[0x7c, 0x45, 2]).unwrap().is_empty(),
        "a unit whose start was lost is given out"
    );
}

/// Their VP9 says of every frame that it needs no other.
#[test]
fn the_library_marks_every_vp9_frame_as_a_keyframe() {
    const INTER: u8 = 0x40;
    let theirs = Vp9Payloader::default().payload(1188, &Bytes::from_static(&[0x86, 0, 1])).unwrap();
    assert_eq!(theirs[0][0] & INTER, 0);
    let ours = export(Codec::Vp9, &pictures(Codec::Vp9)[..2], 1172);
    assert_eq!((ours[0].payload[0] & INTER, ours.last().unwrap().payload[0] & INTER), (0, INTER));
}
