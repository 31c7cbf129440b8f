//! All tracks of one player.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use moqgate_core::{BroadcastConsumer, Start, Subscription, Timestamp, TrackError};

use super::reader::{Bounds, Queued, Reader};
use crate::catalog::{self, Catalog};
use crate::export::{START_LEAD_MAX, START_WAIT_MAX};

/// How long a track may take to be there: publishers of native broadcasts are asked for it first.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// How long the sound waits for the first picture, to begin beside it: as long as an exporter would hold it back, so that
/// no sound is taken from the model, and charged, that an exporter then leaves out.
const START_WAIT: Duration = Duration::from_micros(START_WAIT_MAX.unsigned_abs());
/// How long a sound that is new waits for the next picture.
const PICTURE_WAIT: Duration = Duration::from_millis(500);
/// Exporters leave out what lies further before the first picture.
const SOUND_LEAD_MAX: Duration = Duration::from_micros(START_LEAD_MAX.unsigned_abs());
/// Sound is read from a little before the picture, since groups begin where they like.
const START_MARGIN: Duration = Duration::from_millis(500);
/// Most readers of one player: what a catalog may list, three times.
const READERS_MAX: usize = 3 * catalog::RENDITIONS_MAX;

/// What tells which tracks of a catalog are read: an exporter.
pub trait Exports {
    /// Another catalog holds from the next frame on.
    fn catalog(&mut self, catalog: &Catalog);
    /// The tracks that can be carried.
    fn tracks(&self) -> Vec<String>;
}

/// How one kind of player reads.
#[derive(Clone, Copy, Debug)]
pub struct PlayConfig {
    /// Of each track's queue.
    pub bounds: Bounds,
    /// Sound begins this much before the first picture is shown, at most 200 ms: priming and reordering put it there when a broadcast
    /// begins, and none of that is lost to a player that was waiting.
    pub sound_lead: Duration,
    /// Media that a player may be behind before it skips to a newer group.
    pub behind_max: Duration,
    /// It is sent media in real time: what it was behind when it began it stays behind, which is no fault of it.
    pub paced: bool,
    /// The clock that stamps frames; none is read here.
    pub clock: fn() -> Instant,
}

/// The readers of one player.
#[derive(Debug)]
pub struct Readers {
    config: PlayConfig,
    readers: Vec<Reader>,
    /// What the guide was behind when the player began or skipped, microseconds.
    baseline: Option<i64>,
}

impl Readers {
    /// None yet.
    pub fn new(config: PlayConfig) -> Self {
        Self { config, readers: Vec::new(), baseline: None }
    }

    /// Whether nothing is read.
    pub fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    /// Whether everything was read to its end.
    pub fn is_over(&self) -> bool {
        self.readers.iter().all(Reader::is_over)
    }

    /// Whether a track has nothing to give yet, and may still have.
    pub fn is_waiting(&self) -> bool {
        self.readers.iter().any(|reader| reader.head().is_none() && !reader.is_over())
    }

    /// Reads what `catalog` lists and the exporter can carry, and nothing else any more; the exporter does not wait for
    /// what cannot be had. `horizon` is as in [`Reader::fill`], `sleep` the clock of the caller.
    pub async fn follow<S: Future<Output = ()>>(
        &mut self,
        broadcast: &BroadcastConsumer,
        mut catalog: Catalog,
        exporter: &mut impl Exports,
        horizon: i64,
        sleep: impl Fn(Duration) -> S,
    ) -> Vec<(String, Missing)> {
        exporter.catalog(&catalog);
        let is_video = |name: &String| catalog.video.renditions.contains_key(name.as_str());
        let (mut names, rest): (Vec<_>, Vec<_>) = exporter.tracks().into_iter().partition(is_video);
        // The picture first: everything else begins beside it.
        names.extend(rest);
        self.readers.retain(|reader| names.iter().any(|name| name == reader.name()));
        let mut missing = Vec::new();
        for name in names.into_iter().take(READERS_MAX) {
            if self.readers.iter().any(|reader| reader.name() == name) {
                continue;
            }
            if let Err(why) = self.subscribe(broadcast, &name, &catalog, horizon, &sleep).await {
                catalog.video.renditions.remove(&name);
                catalog.audio.renditions.remove(&name);
                catalog.mpegts.tracks.remove(&name);
                missing.push((name, why));
            }
        }
        exporter.catalog(&catalog);
        missing
    }

    /// Begins to read a track.
    async fn subscribe<S: Future<Output = ()>>(
        &mut self,
        broadcast: &BroadcastConsumer,
        name: &str,
        catalog: &Catalog,
        horizon: i64,
        sleep: &impl Fn(Duration) -> S,
    ) -> Result<(), Missing> {
        let video = catalog.video.renditions.get(name);
        let depth = video.map_or(0.0, |video| {
            video.framerate.unwrap_or_default() * f64::from(video.jitter.unwrap_or_default()) / 1e3
        });
        let (floor, age) = match video {
            Some(_) => (Timestamp::ZERO, None),
            None => self.beside_video(horizon, sleep).await,
        };
        let (start, max_age) = age.map_or((Start::Latest, Duration::ZERO), |age| (Start::WithinAge, age));
        let subscription = Subscription { max_age, start, ..Subscription::default() };
        let track = within(sleep(SUBSCRIBE_LIMIT), broadcast.subscribe(name, subscription)).await;
        let track = track.ok_or(Missing::Late)?.map_err(Missing::Refused)?;
        let (bounds, clock) = (self.config.bounds, self.config.clock);
        let depth = depth.round() as usize;
        self.readers.push(Reader::new(name.to_owned(), video.is_some(), depth, floor, bounds, clock, track));
        Ok(())
    }

    /// Where a track begins that goes with the picture: at its first frame, and how long ago that was.
    async fn beside_video<S: Future<Output = ()>>(
        &mut self,
        horizon: i64,
        sleep: &impl Fn(Duration) -> S,
    ) -> (Timestamp, Option<Duration>) {
        let lead = self.config.sound_lead.min(SOUND_LEAD_MAX);
        let Some(video) = self.readers.iter_mut().find(|reader| reader.is_video()) else {
            return (Timestamp::ZERO, None);
        };
        let limit = if video.has_begun() { PICTURE_WAIT } else { START_WAIT };
        let first = poll_fn(|cx| {
            let more = video.head().is_some() || video.fill(horizon, cx);
            if more { Poll::Ready(()) } else { Poll::Pending }
        });
        within(sleep(limit), first).await;
        let Some(first) = video.head() else { return (Timestamp::ZERO, None) };
        let micros = u64::try_from(lead.as_micros()).unwrap_or(u64::MAX);
        let floor = Timestamp::from_micros(first.pts.as_micros().saturating_sub(micros));
        let behind = Duration::from_micros(video.backlog().max(0).unsigned_abs());
        (floor, Some(behind + START_MARGIN))
    }

    /// Takes frames up to `horizon`. Whether there are more than before, or the end of one was found; otherwise a waker
    /// is parked where more would come from.
    pub fn fill(&mut self, horizon: i64, cx: &mut Context<'_>) -> bool {
        let mut more = false;
        for reader in self.readers.iter_mut().filter(|reader| !reader.is_over()) {
            more |= reader.fill(horizon, cx);
        }
        more
    }

    /// Of all next frames the one that is decoded first: its reader, and that time in microseconds.
    pub fn first(&self) -> Option<(usize, i64)> {
        let heads = self.readers.iter().enumerate();
        heads
            .filter_map(|(index, reader)| Some((reader.head()?.decode, index)))
            .min()
            .map(|(at, index)| (index, at))
    }

    /// Takes the next frame off that reader's queue, with the track's name.
    pub fn pop(&mut self, index: usize) -> Option<(&str, Queued)> {
        let frame = self.readers.get_mut(index)?.pop()?;
        if self.baseline.is_none() {
            let guide = self.guide().filter(|_| self.config.paced);
            self.baseline = Some(guide.map_or(0, |guide| self.readers[guide].backlog()));
        }
        Some((self.readers[index].name(), frame))
    }

    /// Takes what that reader's queue has room for out of the model; whoever waits is not woken by this.
    pub fn refill(&mut self, index: usize, horizon: i64) {
        if let Some(reader) = self.readers.get_mut(index) {
            reader.fill(horizon, &mut Context::from_waker(Waker::noop()));
        }
    }

    /// The reader that tells how far behind the player is: the first picture's, or the first one.
    fn guide(&self) -> Option<usize> {
        let video = self.readers.iter().position(Reader::is_video);
        video.or((!self.readers.is_empty()).then_some(0))
    }

    /// Goes on with a newer group when the player has fallen behind. By how much, if it did.
    pub fn skip(&mut self) -> Option<Duration> {
        let (guide, baseline) = (self.guide()?, self.baseline?);
        let backlog = self.readers[guide].backlog();
        let behind_max = i64::try_from(self.config.behind_max.as_micros()).unwrap_or(i64::MAX);
        if backlog <= baseline.saturating_add(behind_max) || !self.readers[guide].is_behind() {
            return None;
        }
        let first = self.readers[guide].skip_to_newest(&mut Context::from_waker(Waker::noop()))?;
        for (index, reader) in self.readers.iter_mut().enumerate() {
            if index != guide {
                reader.skip_to(first);
            }
        }
        self.baseline = None;
        Some(Duration::from_micros(backlog.unsigned_abs()))
    }
}

/// Why a listed track is not read.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// Its publisher does not answer.
    #[error("its publisher does not answer")]
    Late,
    /// There is none.
    #[error(transparent)]
    Refused(TrackError),
}

/// What `future` gives, if that comes before `limit` is over.
async fn within<F: Future>(limit: impl Future<Output = ()>, future: F) -> Option<F::Output> {
    let (mut limit, mut future) = (pin!(limit), pin!(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => limit.as_mut().poll(cx).map(|()| None),
    })
    .await
}
