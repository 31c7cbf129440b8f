use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use moqgate_core::usage::Totals;
use moqgate_core::{
    BroadcastConsumer, Credential, Direction, Forwarded, FrameSink, Gate, OpenAdmission, Origin,
    OriginConfig, Path, Protocol, PublishOptions, Request, Session, Start, Subscription,
};

use super::*;
use crate::codec::legacy_payload;
use crate::event::{AudioConfig, DataConfig, Problem, TsOrigin, VideoCodec, VideoConfig};
use crate::ts::{ImportConfig, Importer};

/// What every future here does at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("would wait"),
    }
}

struct Rig {
    gate: Gate,
    sessions: Vec<Session>,
    now: Instant,
}

impl Rig {
    #[expect(clippy::disallowed_methods, reason = "a test is where time comes from")]
    fn new() -> Self {
        let gate = Gate::new(Origin::new(OriginConfig::default()), Arc::new(OpenAdmission));
        Self { gate, sessions: Vec::new(), now: Instant::now() }
    }

    fn session(&mut self, protocol: Protocol) -> &Session {
        let request = Request {
            protocol,
            direction: Direction::Both,
            path: Path::root(),
            credential: Credential::None,
            peer: SocketAddr::from(([10, 0, 0, 1], 5000)),
        };
        let grant = ready(self.gate.admit(&request)).unwrap();
        self.sessions.push(self.gate.open(request, grant, SystemTime::UNIX_EPOCH, None));
        &self.sessions[self.sessions.len() - 1]
    }

    fn publisher(&mut self, config: PublisherConfig) -> Publisher {
        let (path, now) = (path(), self.now);
        let publisher = self.session(Protocol::Srt).publisher();
        Publisher::new(publisher.publish(&path, PublishOptions::default(), now).unwrap(), config)
    }

    fn viewer(&mut self) -> BroadcastConsumer {
        self.session(Protocol::Moq).consumer().consume(&path()).unwrap()
    }

    fn ingress(&self) -> Totals {
        let rows = self.gate.origin().usage(Some(&path())).usage;
        rows.into_iter().find(|row| row.protocol == Protocol::Srt).unwrap().ingress
    }
}

fn path() -> Path {
    Path::new("live/cam").unwrap()
}

#[derive(Default)]
struct Kept(VecDeque<Frame>);

impl FrameSink for Kept {
    type Error = ();

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn accept(&mut self, frame: Frame) -> Result<(), ()> {
        self.0.push_back(frame);
        Ok(())
    }

    fn now(&self) -> Option<Instant> {
        None
    }
}

/// All retained groups of a track: their frames' times and payloads.
fn read(viewer: &BroadcastConsumer, track: &str) -> Vec<Vec<(u64, Bytes)>> {
    let whole = Subscription { start: Start::From(0), ..Subscription::default() };
    let mut track = ready(viewer.subscribe(track, whole)).unwrap();
    let mut groups = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok(Some(mut group))) = track.poll_next_group(&mut context) {
        let mut kept = Kept::default();
        while let Poll::Ready(Ok(Forwarded::Frames(_))) = group.poll_forward(&mut context, &mut kept) {}
        groups.push(kept.0.into_iter().map(|frame| (frame.timestamp.as_micros(), frame.payload)).collect());
    }
    groups
}

fn times(groups: &[Vec<(u64, Bytes)>]) -> Vec<Vec<u64>> {
    groups.iter().map(|group| group.iter().map(|frame| frame.0).collect()).collect()
}

fn catalogs(viewer: &BroadcastConsumer) -> Vec<Catalog> {
    read(viewer, catalog::TRACK)
        .iter()
        .map(|group| {
            assert_eq!(group.len(), 1, "one frame holds all of it");
            Catalog::from_json(&group[0].1).unwrap()
        })
        .collect()
}

fn video(width: u32) -> CodecConfig {
    CodecConfig::Video(VideoConfig {
        codec: VideoCodec::H264,
        codec_string: "avc3.64001f".to_owned(),
        width,
        height: 720,
        sample_aspect: None,
        framerate: Some(25.0),
        reorder_frames: 0,
        jitter: Duration::from_millis(40),
    })
}

fn audio(codec: AudioCodec, name: &str) -> CodecConfig {
    CodecConfig::Audio(AudioConfig {
        codec,
        codec_string: name.to_owned(),
        sample_rate: 48_000,
        channels: 2,
        description: None,
        frame_duration: Duration::from_millis(20),
        jitter: Duration::from_millis(20),
    })
}

fn track(id: u32, config: CodecConfig) -> Event {
    let pid = u16::try_from(256 + id).unwrap();
    let origin = Some(TsOrigin { pid, stream_type: 6, descriptors: Bytes::new() });
    Event::Track(Track { id: TrackId(id), config, language: None, origin })
}

fn frame(id: u32, millis: u64, keyframe: bool) -> Event {
    sized(id, millis, keyframe, 10)
}

fn sized(id: u32, millis: u64, keyframe: bool, bytes: usize) -> Event {
    let pts = Timestamp::from_micros(millis * 1000);
    let payload = legacy_payload(pts, &[&vec![7; bytes]]);
    Event::Frame { track: TrackId(id), frame: MediaFrame { pts, dts: None, keyframe, payload } }
}

fn apply(publisher: &mut Publisher, rig: &Rig, events: impl IntoIterator<Item = Event>) {
    for event in events {
        publisher.apply(event, rig.now, 1234).unwrap();
    }
}

#[test]
fn the_model_is_charged_exactly_what_was_found_in_a_clip() {
    let clip = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bframes.ts");
    let data = std::fs::read(clip).unwrap();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(PublisherConfig::default());
    let mut importer = Importer::new(ImportConfig::default());
    let (mut bytes, mut frames) = (0, 0);
    for part in data.chunks(1316) {
        importer.push(part);
        while let Some(event) = importer.poll() {
            if let Event::Frame { frame, .. } = &event {
                bytes += frame.payload.len() as u64;
                frames += 1;
            }
            publisher.apply(event, rig.now, 0).unwrap();
        }
    }
    let viewer = rig.viewer();
    let sent = read(&viewer, catalog::TRACK);
    assert_eq!(publisher.stats(), PublisherStats { catalogs: sent.len() as u64, ..Default::default() });
    let catalog_bytes: u64 = sent.iter().map(|group| group[0].1.len() as u64).sum();
    let ingress = rig.ingress();
    assert_eq!(ingress.bytes, bytes + catalog_bytes);
    assert_eq!(ingress.frames, frames + sent.len() as u64);

    let pictures = read(&viewer, "0.avc3");
    assert!(pictures.len() >= 9, "a group per keyframe: {}", pictures.len());
    assert!(pictures[..9].iter().all(|group| group.len() == 30));
    let sounds = read(&viewer, "1.aac");
    assert!(sounds.iter().all(|group| group.len() == 1));
    let all = pictures.iter().chain(&sounds).flatten();
    assert_eq!(all.map(|frame| frame.1.len() as u64).sum::<u64>(), bytes);
}

#[test]
fn video_groups_begin_with_keyframes() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(PublisherConfig::default());
    let frames = [(0, false), (40, true), (120, false), (80, false), (160, true), (200, false)];
    apply(&mut publisher, &rig, [track(0, video(1280))]);
    apply(&mut publisher, &rig, frames.map(|(millis, key)| frame(0, millis, key)));
    let viewer = rig.viewer();
    let micros = [vec![40_000, 120_000, 80_000], vec![160_000, 200_000]];
    assert_eq!(times(&read(&viewer, "0.avc3")), micros);
    assert_eq!(publisher.stats().frames_dropped, 1);
    let info = ready(viewer.track_info("0.avc3")).unwrap();
    assert_eq!((info.timescale, info.priority, info.max_age), (1_000_000, 60, Duration::from_secs(30)));
}

#[test]
fn a_keyframe_that_steps_back_begins_no_group() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(PublisherConfig::default());
    apply(&mut publisher, &rig, [track(0, video(1280))]);
    apply(&mut publisher, &rig, [(1000, true), (960, true), (1040, true)].map(|(at, key)| frame(0, at, key)));
    assert_eq!(times(&read(&rig.viewer(), "0.avc3")), [vec![1_000_000, 960_000], vec![1_040_000]]);
}

#[test]
fn audio_is_a_frame_per_group_or_a_duration() {
    for (length, expected) in [(0, vec![1; 12]), (60, vec![3; 4]), (1000, vec![10, 2])] {
        let mut rig = Rig::new();
        let audio_group = Duration::from_millis(length);
        let mut publisher = rig.publisher(PublisherConfig { audio_group, ..Default::default() });
        apply(&mut publisher, &rig, [track(0, audio(AudioCodec::Opus, "opus"))]);
        apply(&mut publisher, &rig, (0..12).map(|at| frame(0, at * 20, true)));
        let viewer = rig.viewer();
        let sizes: Vec<usize> = read(&viewer, "0.opus").iter().map(Vec::len).collect();
        assert_eq!(sizes, expected, "{length} ms");
    }
}

#[test]
fn the_catalog_changes_with_the_tracks_and_only_then() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(PublisherConfig::default());
    let viewer = rig.viewer();
    assert_eq!(catalogs(&viewer), []);
    let info = ready(viewer.track_info(catalog::TRACK)).unwrap();
    assert_eq!((info.timescale, info.priority, info.max_age), (1000, 100, Duration::from_secs(5)));

    apply(&mut publisher, &rig, [track(0, video(1280)), track(1, audio(AudioCodec::Aac, "mp4a.40.2"))]);
    apply(
        &mut publisher,
        &rig,
        [Event::Config { track: TrackId(0), config: video(1280) }, frame(0, 0, true)],
    );
    apply(&mut publisher, &rig, [Event::Config { track: TrackId(0), config: video(1920) }]);
    apply(&mut publisher, &rig, [Event::Problem(Problem { track: None, reason: "x" }), Event::Discontinuity]);
    assert_eq!(
        catalogs(&viewer).len(),
        1,
        "what changes together is told together, before the frame that needs it"
    );
    apply(&mut publisher, &rig, [frame(0, 20, true)]);
    let sent = catalogs(&viewer);
    let widths = |catalog: &Catalog| catalog.video.renditions["0.avc3"].coded_width;
    assert_eq!(sent.iter().map(widths).collect::<Vec<_>>(), [Some(1280), Some(1920)]);
    assert_eq!(sent[0].audio.renditions.len(), 1);
    assert_eq!(times(&read(&viewer, catalog::TRACK))[0], [1_234_000]);

    // A track that ends is told with what comes next; a whole input that ends is not.
    apply(&mut publisher, &rig, [Event::TrackEnd(TrackId(1))]);
    assert_eq!(catalogs(&viewer).len(), 2);
    apply(&mut publisher, &rig, [frame(0, 40, true)]);
    assert_eq!(catalogs(&viewer)[2].audio.renditions.len(), 0);
    apply(&mut publisher, &rig, [Event::TrackEnd(TrackId(0))]);
    assert_eq!(publisher.stats().catalogs, 3);
    let mut track = ready(viewer.subscribe(catalog::TRACK, Subscription::default())).unwrap();
    publisher.finish();
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(track.poll_next_group(&mut context), Poll::Ready(Ok(Some(_)))));
    assert!(matches!(track.poll_next_group(&mut context), Poll::Ready(Ok(None))), "a clean end");
}

#[test]
fn another_coding_gets_another_track() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(PublisherConfig::default());
    let config = audio(AudioCodec::Eac3, "ec-3");
    apply(&mut publisher, &rig, [track(0, audio(AudioCodec::Mp3, "mp3")), frame(0, 0, true)]);
    apply(&mut publisher, &rig, [Event::Config { track: TrackId(0), config }, frame(0, 20, true)]);
    let viewer = rig.viewer();
    assert_eq!(times(&read(&viewer, "1.eac3")), [[20_000]]);
    let newest = catalogs(&viewer).pop().unwrap();
    assert!(newest.audio.renditions.is_empty());
    assert_eq!(newest.mpegts.tracks["1.eac3"].codec.as_deref(), Some("ec-3"));
}

#[test]
fn what_no_player_decodes_is_carried_and_named() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(PublisherConfig::default());
    let kinds = [DataKind::Klv, DataKind::Scte35];
    apply(&mut publisher, &rig, [track(0, audio(AudioCodec::Ac3, "ac-3"))]);
    let data =
        kinds.iter().zip(1..).map(|(kind, id)| track(id, CodecConfig::Data(DataConfig { kind: *kind })));
    apply(&mut publisher, &rig, data);
    apply(&mut publisher, &rig, (0..3).map(|id| frame(id, 5, true)));
    let viewer = rig.viewer();
    let newest = catalogs(&viewer).pop().unwrap();
    assert!(newest.audio.renditions.is_empty() && newest.video.renditions.is_empty());
    let framing = |name: &str| newest.mpegts.tracks[name].verbatim.as_ref().unwrap().framing;
    assert_eq!(
        [framing("0.ac3"), framing("1.klv"), framing("2.scte35")],
        [Framing::Pes, Framing::Pes, Framing::Section]
    );
    for name in ["0.ac3", "1.klv", "2.scte35"] {
        assert_eq!(times(&read(&viewer, name)), [[5000]]);
    }
    let listed = &rig.gate.origin().broadcasts()[0].tracks;
    let codecs: Vec<_> = listed.iter().map(|track| (track.kind.as_str(), track.codec.as_str())).collect();
    assert_eq!(codecs, [("audio", "ac-3"), ("data", "klv"), ("data", "scte35")]);
}

#[test]
fn full_groups_are_rolled() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(PublisherConfig::default());
    apply(&mut publisher, &rig, [track(0, video(1280))]);
    apply(&mut publisher, &rig, (0..8200).map(|at| frame(0, at, at == 0)));
    apply(&mut publisher, &rig, (0..5).map(|at| sized(0, 9000 + at, at == 0, 10 << 20)));
    let viewer = rig.viewer();
    let sizes: Vec<usize> = read(&viewer, "0.avc3").iter().map(Vec::len).collect();
    assert_eq!(sizes[..2], [8192, 8]);
    assert_eq!(sizes[2..], [3, 2]);
    assert_eq!(publisher.stats().groups_rolled, 2);
    assert_eq!(publisher.stats().frames_dropped, 0);
    apply(&mut publisher, &rig, [sized(0, 9100, true, 33 << 20), frame(0, 9200, true)]);
    assert_eq!(publisher.stats().frames_dropped, 1);
}

#[test]
fn time_never_goes_back_from_group_to_group() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(PublisherConfig::default());
    apply(&mut publisher, &rig, [track(0, video(1280)), track(1, audio(AudioCodec::Opus, "opus"))]);
    apply(&mut publisher, &rig, [frame(0, 60_000, true), frame(1, 60_000, true), frame(1, 59_990, true)]);
    // Both start again at 0.
    apply(&mut publisher, &rig, [frame(0, 0, true), frame(1, 0, true), frame(1, 20, true)]);
    let viewer = rig.viewer();
    let (pictures, sounds) = (read(&viewer, "0.avc3"), read(&viewer, "1.opus"));
    assert_eq!(times(&pictures), [[60_000_000], [60_040_000]]);
    assert_eq!(times(&sounds), [[60_000_000], [60_040_000], [60_060_000]]);
    // The time in the payload is the same.
    for (time, payload) in pictures.iter().chain(&sounds).flatten() {
        assert_eq!(payload, &legacy_payload(Timestamp::from_micros(*time), &[&[7; 10]]));
    }
}

#[test]
fn after_a_jump_video_waits_for_a_keyframe() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(PublisherConfig::default());
    apply(&mut publisher, &rig, [track(0, video(1280)), frame(0, 0, true), frame(0, 40, false)]);
    apply(&mut publisher, &rig, [Event::Discontinuity, frame(0, 80, false), frame(0, 120, true)]);
    assert_eq!(times(&read(&rig.viewer(), "0.avc3")), [vec![0, 40_000], vec![120_000]]);
}

#[test]
fn tracks_are_bounded() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(PublisherConfig::default());
    apply(&mut publisher, &rig, (0..70).map(|id| track(id, audio(AudioCodec::Opus, "opus"))));
    assert_eq!(publisher.stats().tracks_refused, 6);
    apply(&mut publisher, &rig, [frame(69, 0, true)]);
    assert_eq!(catalogs(&rig.viewer()).pop().unwrap().audio.renditions.len(), RENDITIONS_MAX);
}
