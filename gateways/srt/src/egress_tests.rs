use std::sync::Arc;
use std::time::SystemTime;

use moqgate_core::{
    Admission, BroadcastProducer, Credential, Direction, Frame, Gate, OpenAdmission, Origin, OriginConfig,
    Protocol, PublishOptions, Request, Timestamp, TrackInfo, TrackProducer,
};
use moqgate_mux::catalog::{AudioRendition, VideoRendition};
use moqgate_mux::codec::legacy_payload;
use tokio::sync::mpsc;

use super::*;
use crate::feed::{Dock, FeedReader, feed};

const LARGE: usize = 200_000;
/// More than a payload, or it could not be found in one.
const SMALL: usize = 5_000;

/// A broadcast that the test fills, and a player of it whose feed the test drains.
struct Stage {
    gate: Gate,
    _session: Session,
    _broadcast: BroadcastProducer,
    _catalog: TrackProducer,
    video: TrackProducer,
    audio: TrackProducer,
    dock: Arc<Dock>,
    feed: FeedReader,
    player: tokio::task::JoinSet<()>,
}

async fn session(gate: &Gate, direction: Direction) -> Session {
    let request = Request {
        protocol: Protocol::Srt,
        direction,
        path: Path::root(),
        credential: Credential::None,
        peer: "127.0.0.1:1".parse().expect("address"),
    };
    let grant = OpenAdmission.admit(&request).await.expect("open");
    gate.open(request, grant, SystemTime::now(), None)
}

fn track(broadcast: &BroadcastProducer, name: &str) -> TrackProducer {
    let max_age = Duration::from_secs(30);
    let info = TrackInfo { name: name.into(), timescale: 1_000_000, priority: 1, max_age };
    broadcast.create_track(info).expect("a new track")
}

impl Stage {
    async fn new(lead: Duration) -> Self {
        let gate = Gate::new(Origin::new(OriginConfig::default()), Arc::new(OpenAdmission));
        let publisher = session(&gate, Direction::Publish).await;
        let path = Path::new("live/a").expect("path");
        let broadcast =
            publisher.publisher().publish(&path, PublishOptions::default(), Instant::now()).expect("free");
        let catalog = track(&broadcast, catalog::TRACK);
        let (video, audio) = (track(&broadcast, "0.avc3"), track(&broadcast, "1.mp3"));
        let mut listed = Catalog::default();
        let rendition = VideoRendition { codec: "avc3.64001f".to_owned(), ..VideoRendition::default() };
        listed.video.renditions.insert("0.avc3".to_owned(), rendition);
        let codec = "mp3".to_owned();
        let rendition =
            AudioRendition { codec, sample_rate: 48_000, number_of_channels: 2, ..AudioRendition::default() };
        listed.audio.renditions.insert("1.mp3".to_owned(), rendition);
        push(&catalog, &[(0, listed.to_json().into())]);
        let dock = Arc::<Dock>::default();
        let (writer, reader) = feed(Arc::clone(&dock), 1);
        let watcher = session(&gate, Direction::Subscribe).await;
        let play =
            Play { session: watcher, path, wait: Duration::from_secs(1), lead, payload: 1316, feed: writer };
        let ending = EndingGuard::new(1, mpsc::channel(1).0);
        let mut player = tokio::task::JoinSet::new();
        player.spawn(super::play(play, ending));
        let (_session, _broadcast, _catalog, feed) = (publisher, broadcast, catalog, reader);
        Self { gate, _session, _broadcast, _catalog, video, audio, dock, feed, player }
    }

    /// A group of five pictures, 40 ms apart, filled with the number of the group, and its sound.
    fn group(&self, number: u64, size: usize) {
        self.long_group(number, 5, size);
    }

    fn long_group(&self, number: u64, pictures: u64, size: usize) {
        let start = number * 200_000;
        let frames: Vec<_> = (0..pictures)
            .map(|n| {
                let pts = start + n * 40_000;
                let nal: &[u8] = if n == 0 { &[0, 0, 0, 1, 0x65] } else { &[0, 0, 0, 1, 0x41] };
                let body = vec![mark(number); size];
                (pts, legacy_payload(Timestamp::from_micros(pts), &[nal, &body]))
            })
            .collect();
        push(&self.video, &frames);
        for n in 0..pictures * 8 / 5 {
            let pts = start + n * 25_000;
            push(&self.audio, &[(pts, legacy_payload(Timestamp::from_micros(pts), &[&[0xff, 0xfb, 0x90]]))]);
        }
    }

    /// Takes payloads until one is full of the mark of group `number`; returns all marks that were seen.
    async fn drain_to(&self, number: u64) -> Vec<u8> {
        let mut seen = Vec::new();
        let work = async {
            loop {
                while let Some(payload) = self.feed.pop() {
                    let body = payload.get(188 + 20..188 + 180).unwrap_or_default();
                    if let Some(first) = body.first()
                        && body.iter().all(|byte| byte == first)
                        && *first >= 0x80
                        && *first != 0xff
                    {
                        if seen.last() != Some(first) {
                            seen.push(*first);
                        }
                        if *first == mark(number) {
                            return;
                        }
                    }
                }
                self.dock.ready().await;
                self.dock.take();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), work).await.expect("the group arrives");
        seen
    }

    fn charged(&self) -> (u64, u64) {
        let usage = self.gate.origin().usage(None).usage;
        usage.iter().fold((0, 0), |sum, row| (sum.0 + row.egress.frames, sum.1 + row.egress.bytes))
    }

    async fn until_charged(&self, frames: u64) {
        let work = async {
            while self.charged().0 < frames {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), work).await.expect("it is read");
    }
}

fn mark(number: u64) -> u8 {
    0x80 + number as u8
}

fn push(track: &TrackProducer, frames: &[(u64, Bytes)]) {
    let mut group = track.append_group().expect("open");
    for (pts, payload) in frames {
        let timestamp = Timestamp::from_micros(*pts);
        group.push(Frame { timestamp, received: Instant::now(), payload: payload.clone() }).expect("open");
    }
    group.finish();
}

#[tokio::test]
async fn who_is_behind_goes_on_with_the_newest_group() {
    // Everything is due at once: only the feed holds it back.
    let mut stage = Stage::new(Duration::from_secs(60)).await;
    stage.group(0, LARGE);
    stage.until_charged(5).await;
    for number in 1..60 {
        stage.group(number, LARGE);
    }
    let seen = stage.drain_to(59).await;
    assert!(!seen.contains(&mark(40)), "{seen:x?}");
    let (_, bytes) = stage.charged();
    assert!(bytes < 10 << 20, "{bytes} bytes: what was queued, and the newest");
    assert!(stage.player.try_join_next().is_none(), "it goes on");
}

#[tokio::test]
async fn a_player_begins_at_the_newest_group_with_its_sound() {
    let stage = Stage::new(Duration::from_secs(60)).await;
    for number in 0..3 {
        stage.group(number, SMALL);
    }
    // The catalog, five pictures, eight sounds: nothing of the first two groups.
    stage.until_charged(14).await;
    let seen = stage.drain_to(2).await;
    assert_eq!(seen, [mark(2)]);
    stage.group(3, SMALL);
    stage.until_charged(14 + 13).await;
    stage.drain_to(3).await;
    assert_eq!(stage.charged().0, 27);
}

#[tokio::test]
async fn media_leaves_the_model_in_real_time() {
    let lead = Duration::from_millis(120);
    let stage = Stage::new(lead).await;
    let start = Instant::now();
    stage.long_group(0, 50, SMALL);
    // Two seconds are there; a timer may be late but is never early.
    let mut last = 0;
    while last < 60 {
        assert!(start.elapsed() < Duration::from_secs(20), "{last} frames");
        while stage.feed.pop().is_some() {}
        let taken = stage.charged().0;
        if taken > last {
            // 25 pictures and 40 sounds a second, the catalog, and one of each beyond what is due.
            let media = start.elapsed() + lead + Duration::from_millis(20);
            let most = media.as_millis() as u64 * 65 / 1000 + 1 + 6;
            assert!(taken <= most, "{taken} frames after {:?}", start.elapsed());
            last = taken;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
