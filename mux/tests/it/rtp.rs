//! Packets out and in again: clips, and what encoders and networks do to streams.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_core::Timestamp;
use moqgate_mux::catalog::{AudioRendition, Catalog, VideoRendition};
use moqgate_mux::event::{CodecConfig, Event, MediaFrame, Track};
use moqgate_mux::rtp::{
    Codec, ExportConfig, Exporter, Format, ImportConfig, Importer, Output, Packet, Payloads, Reordering,
    StreamId, StreamStats,
};

use crate::media::h264;
use crate::ts_clips::clip;

/// What an importer gave.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    pub(crate) tracks: Vec<Track>,
    pub(crate) frames: Vec<MediaFrame>,
    pub(crate) problems: Vec<&'static str>,
    /// Requests for keyframes.
    pub(crate) requests: usize,
}

/// One publisher with one stream, and a clock.
pub(crate) struct Session {
    pub(crate) importer: Importer,
    pub(crate) stream: StreamId,
    pub(crate) now: Instant,
    pub(crate) out: Imported,
}

impl Session {
    pub(crate) fn new(codec: Codec) -> Self {
        let mut importer = Importer::new(ImportConfig::default());
        let stream = importer.add(&Format::new(codec, "")).unwrap();
        Self { importer, stream, now: Instant::now(), out: Imported::default() }
    }

    pub(crate) fn push(&mut self, packet: Packet) {
        self.importer.push(self.stream, packet, self.now);
        self.drain();
    }

    /// Time passes, and all that was waited for is given up.
    pub(crate) fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.importer.handle_timeout(self.now);
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.importer.poll() {
            match output {
                Output::Event(Event::Track(track)) => self.out.tracks.push(track),
                Output::Event(Event::Frame { frame, .. }) => self.out.frames.push(frame),
                Output::Event(Event::Problem(problem)) => self.out.problems.push(problem.reason),
                Output::Event(_) => {}
                Output::KeyframeNeeded { stream, .. } => {
                    assert_eq!(stream, self.stream);
                    self.out.requests += 1;
                }
            }
        }
    }

    pub(crate) fn stats(&self) -> StreamStats {
        self.importer.stats(self.stream).unwrap()
    }

    pub(crate) fn finish(mut self) -> Imported {
        self.importer.finish(self.now);
        self.drain();
        self.out
    }
}

/// Packets of these frames.
pub(crate) fn export(codec: Codec, frames: &[MediaFrame], payload_max: usize) -> Vec<Packet> {
    let config = ExportConfig { payload_max, ssrc: 7, sequence: 65_000, timestamp: u32::MAX - 100_000 };
    let mut exporter = Exporter::with_codec(codec, config);
    let mut packets = Vec::new();
    for frame in frames {
        exporter.push(frame.pts, frame.keyframe, &frame.payload);
        packets.extend(std::iter::from_fn(|| exporter.poll()));
    }
    packets
}

/// Without delimiters, which do not travel.
pub(crate) fn plain(frame: &MediaFrame) -> &[u8] {
    let media = frame.media();
    let rest = media.strip_prefix(&[0, 0, 0, 1, 0x09]).or(media.strip_prefix(&[0, 0, 0, 1, 0x46, 0x01]));
    rest.map_or(media, |rest| &rest[1..])
}

fn catalog(track: &Track) -> Catalog {
    let mut catalog = Catalog::default();
    match &track.config {
        CodecConfig::Video(video) => {
            catalog.video.renditions.insert("track".to_owned(), VideoRendition::from(video));
        }
        CodecConfig::Audio(audio) => {
            catalog.audio.renditions.insert("track".to_owned(), AudioRendition::from(audio));
        }
        CodecConfig::Data(_) => {}
    }
    catalog
}

#[test]
fn clips_survive_the_round_trip() {
    for (name, kind, codec, reordering) in [
        ("plain.ts", "video", Codec::H264, Reordering::None),
        ("pyramid.ts", "video", Codec::H264, Reordering::Observed),
        ("hevc.ts", "video", Codec::H265, Reordering::Observed),
        ("opus.ts", "audio", Codec::Opus, Reordering::None),
    ] {
        let imported = crate::builder::import(&clip(name));
        let track = imported.tracks().into_iter().find(|track| track.config.kind() == kind).unwrap().clone();
        let frames = imported.frames(track.origin.as_ref().unwrap().pid);
        let config = ExportConfig::default();
        let mut exporter = Exporter::new(&catalog(&track), "track", config.clone()).unwrap();
        assert_eq!(exporter.codec(), codec);
        let mut session = Session::new(codec);
        for frame in &frames {
            session.now += Duration::from_millis(if kind == "video" { 33 } else { 20 });
            exporter.push(frame.pts, frame.keyframe, &frame.payload);
            let declared = matches!(exporter.reordering(), Reordering::Declared(1..));
            assert!(declared || exporter.reordering() == reordering, "{name} tells with its first frame");
            let packets: Vec<_> = std::iter::from_fn(|| exporter.poll()).collect();
            assert!(packets.iter().all(|packet| packet.payload.len() <= config.payload_max), "{name}");
            assert_eq!(packets.iter().filter(|packet| packet.marker).count(), usize::from(kind == "video"));
            packets.into_iter().for_each(|packet| session.push(packet));
        }
        assert_eq!(exporter.reordering(), reordering, "{name}");
        let out = session.finish();
        assert_eq!((&out.problems[..], out.requests), (&[][..], 0), "{name}");
        assert_eq!(out.tracks[0].config.kind(), kind);
        assert_eq!(out.frames.len(), frames.len(), "{name}");
        let shift = out.frames[0].pts.as_micros() as i64 - frames[0].pts.as_micros() as i64;
        for (index, (old, new)) in frames.iter().zip(&out.frames).enumerate() {
            assert_eq!((plain(old), old.keyframe), (plain(new), new.keyframe), "{name} {index}");
            let late = new.pts.as_micros() as i64 - old.pts.as_micros() as i64 - shift;
            // A tick either way; sound is counted anew.
            assert!(late.abs() <= if kind == "video" { 12 } else { 1000 }, "{name} {index}: {late}");
        }
    }
}

#[test]
fn catalogs_decide_what_can_be_exported() {
    let text = br#"{"video":{"renditions":{"v":{"codec":"avc3.64001f"},"d":{"codec":"avc1.64001f"}}},
        "audio":{"renditions":{"a":{"codec":"mp4a.40.2","sampleRate":48000,"numberOfChannels":2}}}}"#;
    let catalog = Catalog::from_json(text).unwrap();
    let export = |track| Exporter::new(&catalog, track, ExportConfig::default());
    assert!(export("a").is_none() && export("d").is_none() && export("nobody").is_none());
    let mut exporter = export("v").unwrap();
    assert_eq!(exporter.reordering(), Reordering::Unknown);
    assert!(exporter.update(&catalog));
    assert!(!exporter.update(&Catalog::default()));
    let frame = Bytes::from_static(b"\0\0\0\0\x01\x41\x9a\x01\x02");
    exporter.push(Timestamp::ZERO, false, &frame);
    exporter.push(Timestamp::ZERO, true, &Bytes::from_static(&[0]));
    assert_eq!(exporter.poll(), None, "pictures begin with a keyframe, and a marker is none");
    exporter.push(Timestamp::from_micros(1_000_000), true, &frame);
    let packet = exporter.poll().unwrap();
    assert_eq!(
        (packet.timestamp, packet.marker, &packet.payload[..]),
        (90_000, true, &b"\x41\x9a\x01\x02"[..])
    );
    assert_eq!(exporter.timestamp_of(Timestamp::from_micros(2_000_000)), 180_000);
}

/// Another publisher, or another rendition, is the same stream to a receiver.
#[test]
fn another_track_goes_on_where_the_last_one_ended() {
    let text = br#"{"video":{"renditions":{"a":{"codec":"vp8"},"b":{"codec":"vp8"},"c":{"codec":"vp09.00.31.08"}}}}"#;
    let catalog = Catalog::from_json(text).unwrap();
    let config = ExportConfig { sequence: u16::MAX, ..ExportConfig::default() };
    let mut exporter = Exporter::new(&catalog, "a", config).unwrap();
    let frame = Bytes::from_static(b"\0\x10\x02\0\x9d\x01\x2a");
    let push = |exporter: &mut Exporter, micros, keyframe| {
        exporter.push(Timestamp::from_micros(micros), keyframe, &frame);
        exporter.poll().map(|packet| (packet.sequence, packet.payload[2..4].to_vec()))
    };
    assert_eq!(push(&mut exporter, 3_000_000, true), Some((u16::MAX, vec![0x80, 0])));
    assert!(!exporter.switch(&catalog, "c") && !exporter.switch(&catalog, "d"));
    assert_eq!(push(&mut exporter, 3_100_000, false), Some((0, vec![0x80, 1])));
    assert!(exporter.switch(&catalog, "b"));
    assert_eq!(push(&mut exporter, 500_000, false), None, "it begins with a keyframe");
    assert_eq!(push(&mut exporter, 600_000, true), Some((1, vec![0x80, 2])));
    assert_eq!(exporter.reordering(), Reordering::None, "what lies before the switch does not count");
}

/// Receivers of one track hold the same bytes, with numbers of their own.
#[test]
fn exporters_of_one_track_share_payloads() {
    let text = br#"{"video":{"renditions":{"a":{"codec":"avc3.42c01f"},"b":{"codec":"vp8"}}}}"#;
    let catalog = Catalog::from_json(text).unwrap();
    let shared = Arc::<Payloads>::default();
    let exporter = |track, sequence, payload_max| {
        let config = ExportConfig { sequence, payload_max, ..ExportConfig::default() };
        let mut exporter = Exporter::new(&catalog, track, config).unwrap();
        exporter.share(Some(Arc::clone(&shared)));
        exporter
    };
    let picture = Bytes::from([&b"\0\0\0\0\x01\x65"[..], &[0x88; 3000]].concat());
    let other = Bytes::from(picture.to_vec());
    let push = |exporter: &mut Exporter, frame: &Bytes| {
        exporter.push(Timestamp::ZERO, true, frame);
        let packets: Vec<Packet> = std::iter::from_fn(|| exporter.poll()).collect();
        (packets[0].sequence, packets.iter().map(|packet| packet.payload.clone()).collect::<Vec<_>>())
    };
    let places = |payloads: &[Bytes]| payloads.iter().map(|payload| payload.as_ptr()).collect::<Vec<_>>();
    let (mut first, mut second) = (exporter("a", 5, 1172), exporter("a", 90, 1172));
    let (one, two) = (push(&mut first, &picture), push(&mut second, &picture));
    assert_eq!((one.0, two.0, one.1.len()), (5, 90, 3));
    assert_eq!(places(&one.1), places(&two.1));
    let again = push(&mut second, &other);
    assert!(
        again.1 == two.1 && places(&again.1) != places(&two.1),
        "another frame, though it looks the same"
    );
    assert_eq!(push(&mut exporter("a", 0, 500), &picture).1.len(), 7, "smaller packets");
    let numbered = [push(&mut exporter("b", 0, 1172), &picture), push(&mut exporter("b", 0, 1172), &picture)];
    assert_ne!(places(&numbered[0].1), places(&numbered[1].1), "picture numbers are each receiver's own");
}

/// H.264 packets from units: sequence number, picture, unit, marker.
fn unit(sequence: u16, picture: u32, payload: Vec<u8>, marker: bool) -> Packet {
    Packet { ssrc: 7, sequence, timestamp: picture * 3000, marker, payload: payload.into() }
}

#[test]
fn line_57_sps_and_pps_in_packets_of_their_own() {
    // As OBS sends them: before each keyframe, with its time; and as others do, like pictures of their own.
    for (times, markers) in [([1, 1], false), ([0, 0], false), ([0, 0], true)] {
        let mut session = Session::new(Codec::H264);
        session.push(unit(0, times[0], h264::sps(), markers));
        session.push(unit(1, times[1], h264::pps(0), markers));
        session.push(unit(2, 1, h264::idr(0), true));
        session.push(unit(3, 2, h264::inter(1, 0), true));
        let out = session.finish();
        assert_eq!((out.frames.len(), out.problems.len()), (2, 0), "{times:?} {markers}");
        assert_eq!(h264::types(out.frames[0].media()), [7, 8, 5]);
        assert!(out.frames[0].keyframe && !out.frames[1].keyframe);
    }
}

#[test]
fn line_59_empty_packets_are_no_loss() {
    let mut session = Session::new(Codec::H264);
    let mut sequence = 65_530u16;
    let mut next = || {
        sequence = sequence.wrapping_add(1);
        sequence
    };
    session.push(unit(next(), 0, h264::sps(), false));
    session.push(unit(next(), 0, h264::pps(0), false));
    session.push(unit(next(), 0, h264::idr(0), true));
    for frame in 1..20 {
        // Chrome probes with padding between pictures, and within them.
        (0..3).for_each(|_| session.push(unit(next(), frame - 1, Vec::new(), false)));
        session.push(unit(next(), frame, h264::inter(frame % 16, 0), false));
        session.push(unit(next(), frame, Vec::new(), false));
        session.push(unit(next(), frame, h264::inter(frame % 16, 5), true));
    }
    let stats = session.stats();
    assert_eq!((stats.empty, stats.lost, stats.frames_dropped), (19 * 4, 0, 0));
    let out = session.finish();
    assert_eq!((out.frames.len(), out.requests, out.problems.len()), (20, 0, 0));
}

fn opus(sequence: u16, timestamp: u32) -> Packet {
    // 20 ms of CELT, stereo.
    let payload = Bytes::from_static(&[0xfc, 0xff, 0xfe]);
    Packet { ssrc: 9, sequence, timestamp, marker: false, payload }
}

fn opus_steps(timestamps: impl IntoIterator<Item = u32>) -> Vec<i64> {
    let mut session = Session::new(Codec::Opus);
    for (sequence, timestamp) in timestamps.into_iter().enumerate() {
        session.push(opus(sequence as u16, timestamp));
        session.now += Duration::from_millis(20);
    }
    let out = session.finish();
    assert_eq!(out.problems.len(), 0);
    let times: Vec<i64> = out.frames.iter().map(|frame| frame.pts.as_micros() as i64).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn line_64_opus_timestamps_are_counted_anew() {
    // Stamps as some encoders round them, over the wrap of 32 bits: the sound has no gaps and no overlaps.
    let rounded = (0..500u32).map(|n| (u32::MAX - 100_000).wrapping_add(n * 960 + (n * 7919) % 96));
    assert!(opus_steps(rounded).iter().all(|step| (step - 20_000).abs() <= 40));
    // A clock that is slow by one part in a thousand is followed.
    let steps = opus_steps((0..2000u32).map(|n| n * 960 + n * 960 / 1000));
    assert!((steps.iter().sum::<i64>() - 1999 * 20_020).abs() < 12_000);
    assert!(steps.iter().all(|step| (step - 20_000).abs() < 200));
    // Silence that was not sent, and a jump: both begin where they say, and time never goes back.
    let steps = opus_steps([0, 960, 1920, 11_520, 12_480]);
    assert_eq!(steps, [20_000, 20_000, 200_000, 20_000]);
    let steps = opus_steps([90_000_000, 90_000_960, 5000, 5960]);
    assert_eq!(steps, [20_000, 20_000, 20_000]);
}

#[test]
fn line_64_opus_is_stereo_whatever_was_negotiated() {
    let mut session = Session::new(Codec::Opus);
    session.push(opus(0, 0));
    let out = session.finish();
    let CodecConfig::Audio(audio) = &out.tracks[0].config else { panic!("sound") };
    assert_eq!((audio.sample_rate, audio.channels, &audio.codec_string[..]), (48_000, 2, "opus"));
    assert_eq!(audio.frame_duration, Duration::from_millis(20));
}

#[test]
fn line_66_reports_align_sound_and_picture() {
    /// Pictures take so much longer from the camera to here than sound, milliseconds.
    const LATE: u64 = 120;
    let mut importer = Importer::new(ImportConfig::default());
    let video = importer.add(&Format::new(Codec::H264, "")).unwrap();
    let audio = importer.add(&Format::new(Codec::Opus, "minptime=10")).unwrap();
    let began = Instant::now();
    // Both count from where they like.
    let picture_stamp = |taken: u64| 4_294_000_000u32.wrapping_add((taken * 90) as u32);
    let sound_stamp = |taken: u64| 77 + (taken * 48) as u32;
    let mut last = [0; 2];
    let mut apart = Vec::new();
    for step in 0..1000u64 {
        let now = began + Duration::from_millis(step * 20);
        importer.push(audio, opus(step as u16, sound_stamp(step * 20)), now);
        if let Some(taken) = (step * 20).checked_sub(LATE) {
            let key = [h264::sps(), h264::pps(0), h264::idr(0)];
            let units = if taken == 0 { key.to_vec() } else { vec![h264::inter(step as u32 % 16, 0)] };
            let count = units.len();
            for (index, payload) in units.into_iter().enumerate() {
                let sequence = (taken / 20) as u16 + if taken == 0 { index as u16 } else { 2 };
                let (timestamp, marker) = (picture_stamp(taken), index + 1 == count);
                importer.push(
                    video,
                    Packet { ssrc: 7, sequence, timestamp, marker, payload: payload.into() },
                    now,
                );
            }
        }
        // Reports come late, and say what was half a second ago.
        if step % 50 == 49 {
            let (then, wall) = (step * 20 - 500, 3_900_000_000u64 << 32);
            let ntp = wall + (u128::from(then) * (1 << 32) / 1000) as u64;
            importer.sender_report(9, ntp, sound_stamp(then));
            importer.sender_report(7, ntp, picture_stamp(then));
        }
        while let Some(output) = importer.poll() {
            if let Output::Event(Event::Frame { track, frame }) = output {
                let of = usize::from(importer.stream_of(track) == Some(audio));
                let pts = frame.pts.as_micros();
                assert!(pts > last[of], "time goes back at step {step}");
                last[of] = pts;
            }
        }
        apart.push(last[1] as i64 - last[0] as i64 - LATE as i64 * 1000);
    }
    assert_eq!(apart[20], -120_000, "before reports, arrival decides");
    assert!(apart[800..].iter().all(|apart| apart.abs() < 1000), "{:?}", &apart[990..]);
}

#[test]
fn line_68_a_flood_of_sei_costs_no_picture() {
    let mut session = Session::new(Codec::H264);
    let sei = || vec![6, 5, 2, 1, 2, 0x80];
    let (mut sequence, mut pictures) = (0u16, 0);
    let mut send = |session: &mut Session, time: u32, payload: Vec<u8>, marker: bool| {
        session.push(unit(sequence, time, payload, marker));
        sequence = sequence.wrapping_add(1);
    };
    for picture in 0..30 {
        // In front of the picture, and between pictures with times of their own.
        (0..500).for_each(|n| send(&mut session, picture * 1000 + n % 2, sei(), false));
        if picture == 0 {
            send(&mut session, 500, h264::sps(), false);
            send(&mut session, 500, h264::pps(0), false);
        }
        let slice = if picture == 0 { h264::idr(0) } else { h264::inter(picture % 16, 0) };
        (0..500).for_each(|_| send(&mut session, picture * 1000 + 500, sei(), false));
        send(&mut session, picture * 1000 + 500, slice, true);
        pictures += 1;
    }
    let out = session.finish();
    assert_eq!((out.frames.len(), out.problems.len()), (pictures, 0));
    assert!(out.frames.iter().all(|frame| frame.media().len() < 400));
}

#[test]
fn line_70_after_a_loss_nothing_is_shown_until_a_keyframe() {
    let mut session = Session::new(Codec::H264);
    let key = |session: &mut Session, sequence: u16, picture: u32| {
        session.push(unit(sequence, picture, h264::sps(), false));
        session.push(unit(sequence + 1, picture, h264::pps(0), false));
        session.push(unit(sequence + 2, picture, h264::idr(0), true));
    };
    key(&mut session, 0, 0);
    session.push(unit(3, 1, h264::inter(1, 0), true));
    // Packet 4 is lost; a retransmission could still come.
    session.push(unit(5, 3, h264::inter(3, 0), true));
    session.wait(100);
    assert_eq!((session.out.frames.len(), session.out.requests), (2, 0), "it is waited for");
    session.wait(300);
    assert_eq!((session.out.frames.len(), session.out.requests), (2, 1), "a keyframe is asked for");
    for picture in 4..20u16 {
        session.wait(40);
        session.push(unit(2 + picture, u32::from(picture), h264::inter(u32::from(picture) % 16, 0), true));
    }
    assert_eq!(session.out.frames.len(), 2, "what cannot be decoded is not shown");
    assert_eq!(session.out.requests, 2, "and asked for again after half a second");
    session.push(unit(4, 2, h264::inter(2, 0), true));
    assert_eq!((session.stats().late, session.stats().lost), (1, 1));
    key(&mut session, 22, 20);
    session.push(unit(25, 21, h264::inter(1, 0), true));
    session.wait(2000);
    assert_eq!(session.out.requests, 2, "nothing is asked for without need");
    let out = session.finish();
    let times: Vec<_> = out.frames.iter().map(|frame| frame.pts.as_micros()).collect();
    let steps: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0] + 16) / 33_333).collect();
    assert_eq!(steps, [1, 19, 1], "time goes on evenly: {times:?}");
    assert!(out.frames[2].keyframe);
}

#[test]
fn line_70_a_retransmission_in_time_is_no_loss() {
    let mut session = Session::new(Codec::H264);
    for (sequence, payload) in [(0, h264::sps()), (1, h264::pps(0)), (2, h264::idr(0))] {
        session.push(unit(sequence, 0, payload, sequence == 2));
    }
    session.push(unit(4, 2, h264::inter(2, 0), true));
    session.wait(150);
    // Recovered several times, as some libraries have it.
    (0..5).for_each(|_| session.push(unit(3, 1, h264::inter(1, 0), true)));
    let stats = session.stats();
    assert_eq!((stats.reordered, stats.duplicates, stats.lost), (1, 4, 0));
    let out = session.finish();
    assert_eq!((out.frames.len(), out.requests), (3, 0));
}

#[test]
fn line_64_a_lost_packet_of_sound_delays_little() {
    let mut session = Session::new(Codec::Opus);
    for sequence in [0u16, 1, 3, 4] {
        session.push(opus(sequence, u32::from(sequence) * 960));
    }
    session.wait(99);
    assert_eq!(session.out.frames.len(), 2);
    session.wait(1);
    let times: Vec<_> = session.out.frames.iter().map(|frame| frame.pts.as_micros()).collect();
    let steps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(steps, [20_000, 40_000, 20_000], "what is missing leaves its time");
    assert_eq!(session.finish().requests, 0);
}

#[test]
fn a_stream_that_begins_between_keyframes_asks_for_one() {
    let mut session = Session::new(Codec::Vp8);
    let delta =
        Packet { payload: Bytes::from_static(&[0x10, 0x11, 1, 2]), marker: true, ..Packet::default() };
    for sequence in 0..10 {
        session.push(Packet { sequence, timestamp: u32::from(sequence) * 3000, ..delta.clone() });
        session.now += Duration::from_millis(100);
    }
    assert_eq!((session.out.frames.len(), session.out.requests), (0, 2));
    assert!(session.importer.poll_timeout().is_some());
}

#[test]
fn a_picture_does_not_go_on_for_ever() {
    for (codec, first, next) in [
        (Codec::H264, [0x7c, 0x85, 0x88], [0x7c, 0x05, 0x5a]),
        (Codec::H265, [0x62, 1, 0x93], [0x62, 1, 0x13]),
        (Codec::Vp8, [0x10, 0x10, 2], [0x00, 1, 2]),
        (Codec::Vp9, [0x08, 0x82, 0x49], [0x40, 1, 2]),
        (Codec::Av1, [0x58, 0x30, 0x10], [0xd0, 1, 2]),
    ] {
        let mut session = Session::new(codec);
        for sequence in 0..=4000u16 {
            let head = if sequence == 0 { first } else { next };
            let payload = [&head[..], &[0x5a; 1197]].concat();
            session.push(Packet { ssrc: 1, sequence, timestamp: 0, marker: false, payload: payload.into() });
        }
        session.push(Packet { ssrc: 1, sequence: 4001, timestamp: 1, ..Packet::default() });
        session.push(unit(0, 0, Vec::new(), false));
        let mut end = Packet { ssrc: 1, sequence: 4002, timestamp: 2, ..Packet::default() };
        end.payload = Bytes::from_static(&[1, 2, 3]);
        session.push(end);
        assert_eq!(session.stats().lost, 0);
        let out = session.finish();
        assert_eq!(out.frames.len(), 0);
        let long = |problem: &&str| matches!(*problem, "picture_too_long" | "rtp_obu_too_long");
        assert!(out.problems.iter().any(long), "{codec:?}: {:?}", out.problems);
    }
}

#[test]
fn sound_that_comes_first_waits_for_the_picture() {
    let mut importer = Importer::new(ImportConfig::default());
    importer.expect(1, 1);
    let now = Instant::now();
    let audio = importer.add(&Format::new(Codec::Opus, "")).unwrap();
    (0..5).for_each(|n| importer.push(audio, opus(n, u32::from(n) * 960), now));
    assert_eq!(importer.poll(), None, "players fix their tracks with the first catalog");
    let video = importer.add(&Format::new(Codec::H264, "")).unwrap();
    for (sequence, payload) in [(0, h264::sps()), (1, h264::pps(0)), (2, h264::idr(0))] {
        importer.push(video, unit(sequence, 0, payload, sequence == 2), now);
    }
    let events: Vec<_> = std::iter::from_fn(|| importer.poll()).collect();
    let kinds: Vec<_> = events
        .iter()
        .map(|output| match output {
            Output::Event(Event::Track(track)) => track.config.kind(),
            _ => "frame",
        })
        .collect();
    assert_eq!(kinds, ["video", "audio", "frame", "frame", "frame", "frame", "frame", "frame"]);

    let mut alone = Importer::new(ImportConfig::default());
    alone.expect(1, 1);
    let audio = alone.add(&Format::new(Codec::Opus, "")).unwrap();
    let came = (0..100u16).map(|n| {
        alone.push(audio, opus(n, u32::from(n) * 960), now + Duration::from_millis(u64::from(n) * 20));
        std::iter::from_fn(|| alone.poll()).count()
    });
    let first = came.collect::<Vec<_>>().iter().position(|count| *count > 0);
    assert_eq!(first, Some(51), "a second of sound is not held longer");
}

/// A player buffers for reordering that is announced; over RTP there is none unless the stream says so.
#[test]
fn nobody_waits_for_reordering_that_is_not_declared() {
    let mut session = Session::new(Codec::H264);
    for (sequence, payload) in [(0, h264::sps_main()), (1, h264::pps(0)), (2, h264::idr(0))] {
        session.push(unit(sequence, 0, payload, sequence == 2));
    }
    let out = session.finish();
    let CodecConfig::Video(video) = &out.tracks[0].config else { panic!("a picture") };
    assert_eq!((&video.codec_string[..], video.reorder_frames), ("avc3.4d401e", 0));
    assert_eq!(video.jitter, Duration::from_millis(40));
}

#[test]
fn sources_and_streams_come_and_go() {
    let mut session = Session::new(Codec::Opus);
    (0..10).for_each(|n| session.push(opus(n, u32::from(n) * 960)));
    // The same track from another source: two packets are believed.
    for n in 0..10u16 {
        session.now += Duration::from_millis(20);
        session.push(Packet { ssrc: 10, ..opus(30_000 + n, 4_000_000_000u32 + u32::from(n) * 960) });
    }
    assert_eq!(session.out.frames.len(), 20);
    assert!(session.out.frames.windows(2).all(|pair| pair[0].pts < pair[1].pts));
    assert_eq!(session.importer.ssrc(session.stream), Some(10));
    session.importer.remove(session.stream, session.now);
    let ended = std::iter::from_fn(|| session.importer.poll());
    assert_eq!(ended.filter(|output| matches!(output, Output::Event(Event::TrackEnd(_)))).count(), 1);
    session.push(opus(0, 0));
    assert_eq!(session.importer.stats(session.stream), None);
    let added = (0..1000).filter_map(|_| session.importer.add(&Format::new(Codec::Vp8, "")));
    assert_eq!(added.count(), 16, "streams are bounded");
}
