//! Random frames over a random network: what comes out is what went in, or a gap up to the next keyframe.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_core::Timestamp;
use moqgate_mux::event::{Event, MediaFrame};
use moqgate_mux::rtp::{Codec, Format, ImportConfig, Importer, Output, Packet};
use proptest::prelude::*;

use crate::builder::hex;
use crate::media::h264;
use crate::rtp::{Session, export};

/// Bytes in which no start code stands, and that end in none.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![4 => 1..60usize, 2 => 60..1500usize, 1 => 1500..9000usize];
    size.prop_flat_map(|size| prop::collection::vec(1..=255u8, size))
}

/// A coded picture, whatever follows its head.
fn picture(codec: Codec, keyframe: bool, number: u32, body: &[u8]) -> Vec<u8> {
    let slice = |head: Vec<u8>| [&head, body].concat();
    match (codec, keyframe) {
        // Two slices, each of which alone would look like a picture.
        (Codec::H264, true) => {
            h264::unit(&[h264::sps(), h264::pps(0), slice(h264::idr(0)), slice(h264::idr(5))])
        }
        (Codec::H264, false) => {
            h264::unit(&[slice(h264::inter(number % 16, 0)), slice(h264::inter(number % 16, 5))])
        }
        (Codec::Vp8, true) => slice(vec![0x10, 2, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xb4, 0]),
        (Codec::Vp8, false) => slice(vec![0x11, 2, 0]),
        (Codec::Vp9, true) => slice(vec![0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0b, 0x30]),
        (Codec::Vp9, false) => slice(vec![0x86, 0]),
        (Codec::Av1, _) => {
            let sequence = hex("0a0b 0200000521e7f66017c002");
            let head = if keyframe { 0x10 } else { 0x30 };
            let mut unit = if keyframe { sequence } else { Vec::new() };
            unit.push(0x32);
            let mut left = body.len() + 1;
            while left > 127 {
                unit.push(left as u8 | 0x80);
                left >>= 7;
            }
            unit.extend([left as u8, head]);
            [&unit, body].concat()
        }
        (Codec::H265 | Codec::Opus, _) => [&[0xfc][..], body].concat(),
    }
}

fn frames(codec: Codec, bodies: &[(bool, Vec<u8>)]) -> Vec<MediaFrame> {
    let frame = |(number, (keyframe, body)): (usize, &(bool, Vec<u8>))| {
        let pts = Timestamp::from_micros(number as u64 * 40_000);
        let keyframe = number == 0 || *keyframe || codec == Codec::Opus;
        let media = picture(codec, keyframe, number as u32, body);
        let payload = moqgate_mux::codec::legacy_payload(pts, &[&media]);
        MediaFrame { pts, dts: None, keyframe, payload }
    };
    bodies.iter().enumerate().map(frame).collect()
}

/// What the network does with a packet.
#[derive(Clone, Copy, Debug)]
struct Fate {
    lost: bool,
    /// Packets that overtake it.
    held: usize,
    copies: usize,
}

fn fate() -> impl Strategy<Value = Fate> {
    let held = prop_oneof![6 => Just(0usize), 1 => 1..20usize];
    let copies = prop_oneof![8 => Just(0usize), 1 => 1..4usize];
    (0..60u32, held, copies).prop_map(|(lost, held, copies)| Fate { lost: lost == 0, held, copies })
}

/// Packets in the order of arrival.
fn travel(packets: &[Packet], fates: &[Fate]) -> Vec<Packet> {
    let mut arrivals = Vec::new();
    for (index, packet) in packets.iter().enumerate() {
        let fate = fates[index % fates.len()];
        // Before the first packet nothing can be told from what never was.
        let (lost, held) = if index == 0 { (false, 0) } else { (fate.lost, fate.held) };
        if !lost {
            let copies =
                (0..=fate.copies).map(|copy| ((index + held + copy * 7, index, copy), packet.clone()));
            arrivals.extend(copies);
        }
    }
    arrivals.sort_by_key(|(at, _)| *at);
    arrivals.into_iter().map(|(_, packet)| packet).collect()
}

/// Frames of which a packet is lost, and those behind them up to the next keyframe.
fn affected(frames: &[MediaFrame], packets: &[Packet], fates: &[Fate]) -> BTreeSet<usize> {
    let lost: BTreeSet<u32> = packets
        .iter()
        .enumerate()
        .filter(|(index, _)| *index > 0 && fates[index % fates.len()].lost)
        .map(|(_, packet)| packet.timestamp)
        .collect();
    let first = packets[0].timestamp;
    let mut hurt = false;
    let mut affected = BTreeSet::new();
    for (index, frame) in frames.iter().enumerate() {
        let timestamp = first.wrapping_add((frame.pts.as_micros() * 9 / 100) as u32);
        hurt = (hurt && !frame.keyframe) || lost.contains(&timestamp);
        if hurt {
            affected.insert(index);
        }
    }
    affected
}

fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(vec![Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn frames_are_identical_or_a_gap_reaches_the_next_keyframe(
        codec in codec(),
        bodies in prop::collection::vec((prop::bool::weighted(0.2), body()), 1..30),
        payload_max in 64..1200usize,
        fates in prop::collection::vec(fate(), 1..200)
    ) {
        let sent = frames(codec, &bodies);
        let packets = export(codec, &sent, payload_max);
        prop_assert!(packets.iter().all(|packet| packet.payload.len() <= payload_max));
        let mut session = Session::new(codec);
        for packet in travel(&packets, &fates) {
            session.push(packet);
            session.wait(1);
        }
        session.wait(1000);
        let stats = session.stats();
        let out = session.finish();
        let affected = affected(&sent, &packets, &fates);
        let mut came = out.frames.iter().peekable();
        let mut gap = false;
        for (index, frame) in sent.iter().enumerate() {
            let found = came.next_if(|next| next.media() == frame.media() && next.keyframe == frame.keyframe);
            prop_assert!(found.is_some() || affected.contains(&index), "{codec:?} lacks frame {index}: {stats:?}");
            gap = found.is_none() || (gap && !frame.keyframe);
            prop_assert!(found.is_none() || !gap, "{codec:?} gives frame {index}, which cannot be decoded");
        }
        prop_assert_eq!(came.next(), None, "nothing that was not sent");
        prop_assert_eq!(affected.is_empty(), stats.lost == 0 && out.frames.len() == sent.len());
    }

    #[test]
    fn anything_may_come(
        streams in prop::collection::vec(prop::sample::select(vec![
            Codec::H264, Codec::H265, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::Opus,
        ]), 1..4),
        packets in prop::collection::vec(
            (0..4usize, any::<u16>(), any::<u32>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..60), 0..900u64, 0..6u8),
            1..200
        )
    ) {
        let mut importer = Importer::new(ImportConfig::default());
        let ids: Vec<_> = streams.iter().filter_map(|codec| importer.add(&Format::new(*codec, ""))).collect();
        let mut now = Instant::now();
        let mut known = BTreeSet::new();
        for (index, (stream, random, timestamp, marker, payload, millis, way)) in packets.into_iter().enumerate() {
            // Mostly in order, so that something happens.
            let sequence = if way == 0 { random } else { index as u16 };
            let timestamp = if way < 2 { timestamp } else { (index as u32 / 3) * 3000 };
            let ssrc = u32::from(way == 5) + stream as u32;
            let packet = Packet { ssrc, sequence, timestamp, marker, payload: Bytes::from(payload) };
            importer.push(ids[stream % ids.len()], packet, now);
            if way == 3 {
                importer.sender_report(ssrc, u64::from(random) << 32, timestamp);
                now += Duration::from_millis(millis);
                importer.handle_timeout(now);
            }
            while let Some(output) = importer.poll() {
                match output {
                    Output::Event(Event::Track(track)) => { known.insert(track.id); }
                    Output::Event(Event::Frame { track, frame }) => {
                        prop_assert!(known.contains(&track));
                        prop_assert!(!frame.media().is_empty());
                    }
                    _ => {}
                }
            }
        }
        importer.finish(now);
    }
}
