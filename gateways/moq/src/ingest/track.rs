//! One track that somebody reads: asks the peer for it as long as that is so.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use moqgate_core::{
    CreateGroupError, Frame, StreamCode, Subscription, Timestamp, TrackError, TrackInfo, TrackProducer,
    TrackRequest,
};

use super::Shared;
use super::feed::{Event, Feed};
use super::progress::Contradiction;
use super::route::terms;
use super::subscriptions::{Arrival, OpenGroup};
use crate::transport::{ReadFault, Reader};
use crate::wire::{self, BidiType, Datagram, GroupHead, Message, SubscribeReply, Track, stream_code};

/// How long the peer may take to describe a track: what browsers give us.
const DESCRIBE_MAX: Duration = Duration::from_secs(10);

/// How long a track without readers is still received: a viewer that reloads its page finds it flowing. After that the
/// track ends here, so that nobody is ever served from a past that has gone stale.
const LINGER: Duration = Duration::from_secs(2);

/// How long groups may come after the peer has ended a track: their streams travel on their own.
const STRAGGLERS_MAX: Duration = Duration::from_secs(1);

/// How long to wait, and how often in a row, before a track is asked for again that the peer let go without ending it.
const RESUME_WAIT: Duration = Duration::from_millis(200);
const RESUMES_MAX: u32 = 3;

/// How long nothing is said about a subscription after something was: viewers who come and go within it cost the peer
/// no message, and then it is told how many there are.
const UPDATE_SPACING: Duration = Duration::from_secs(1);

/// The finest timescale of the model.
const TIMESCALE_MAX: u64 = 1_000_000;

/// What a track is taken to be where peers do not describe it (03 and 04): timestamps are times of arrival.
const UNDESCRIBED: wire::TrackInfo =
    wire::TrackInfo { priority: 127, ordered: 0, max_age: Duration::from_secs(30), timescale: TIMESCALE_MAX };

/// Answers the request and receives the track until nobody reads it or the peer ends it.
pub(super) async fn serve(shared: &Arc<Shared>, broadcast: &str, request: TrackRequest<'_>) {
    let name = Arc::clone(request.name());
    let described = tokio::time::timeout(DESCRIBE_MAX, describe(shared, broadcast, &name)).await;
    let late = Err(TrackError::Refused(StreamCode(stream_code::CONTROL_TIMEOUT.into())));
    let info = match described.unwrap_or(late) {
        Ok(info) => info,
        Err(error) => {
            tracing::debug!(broadcast, track = %name, %error, "track refused by peer");
            return request.reject(error);
        }
    };
    let accepted = request.accept(TrackInfo {
        name: Arc::clone(&name),
        timescale: info.timescale.min(TIMESCALE_MAX),
        priority: info.priority,
        max_age: info.max_age,
    });
    let Ok(producer) = accepted else { return };
    let track = Served {
        shared,
        broadcast,
        name,
        timescale: info.timescale,
        feed: None,
        timer: None,
        quiet_until: None,
        resumes: 0,
    };
    track.run(producer).await;
}

async fn describe(shared: &Shared, broadcast: &str, track: &str) -> Result<wire::TrackInfo, TrackError> {
    let version = shared.link.version;
    if !version.has_tracks() {
        return Ok(UNDESCRIBED);
    }
    let (mut request, reply) = shared.link.session.open_bi().await.map_err(|_| TrackError::Closed)?;
    let mut bytes = BytesMut::new();
    BidiType::Track.encode(&mut bytes);
    Track { broadcast: broadcast.to_owned(), track: track.to_owned() }.encode(&mut bytes, version);
    // Stopped or lost: the reply says so.
    let _stopped = request.write(bytes.freeze()).await;
    let info = Reader::new(reply, version).message().await.map_err(refusal)?;
    request.finish();
    info.ok_or(TrackError::NotFound)
}

/// What a failed reply says about the track.
fn refusal(fault: ReadFault) -> TrackError {
    match fault {
        ReadFault::Reset(stream_code::NOT_FOUND) => TrackError::NotFound,
        ReadFault::Reset(stream_code::UNROUTABLE) => TrackError::Unroutable,
        ReadFault::Reset(code) => TrackError::Refused(StreamCode(code.into())),
        ReadFault::Lost => TrackError::Closed,
        ReadFault::Truncated | ReadFault::Decode(_) => malformed(),
    }
}

fn malformed() -> TrackError {
    TrackError::Refused(StreamCode(stream_code::MALFORMED_TRACK.into()))
}

/// A track that is being received.
struct Served<'a> {
    shared: &'a Arc<Shared>,
    broadcast: &'a str,
    name: Arc<str>,
    /// Of the peer's timestamps.
    timescale: u64,
    feed: Option<Feed>,
    timer: Option<(Timer, tokio::time::Instant)>,
    /// Set by an update of the subscription: no other is sent before then.
    quiet_until: Option<tokio::time::Instant>,
    resumes: u32,
}

/// What is to be done when the time has come. There is never more than one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    /// Nobody reads: unsubscribe.
    Linger,
    /// The peer has ended the track: end it here.
    Finish,
    /// The peer has let go of the track: ask again.
    Resume,
}

/// How the track ends here.
enum Ending {
    /// As the peer ended it.
    Finished,
    /// Nobody wants it any more, or the broadcast has ended.
    Unwanted,
    /// It cannot be received.
    Failed(TrackError),
}

impl Served<'_> {
    async fn run(mut self, mut track: TrackProducer) {
        self.set(Timer::Linger, LINGER);
        let ending = loop {
            let (timer, quiet_until, told) = (self.timer.map(|(_, at)| at), self.quiet_until, self.told());
            tokio::select! {
                biased;
                // 1. What the peer sends.
                event = event(&mut self.feed) => if let Some(ending) = self.handle(event, &track) {
                    break ending;
                },
                // 2. What readers want.
                wanted = track.demand_changed(told) => match wanted {
                    None if track.is_closed() => break Ending::Unwanted,
                    wanted => self.demand(wanted).await,
                },
                // 3. What time it is.
                () = sleep_until(timer) => if let Some(ending) = self.expire(&track).await {
                    break ending;
                },
                () = sleep_until(quiet_until) => {
                    self.quiet_until = None;
                    self.update(track.subscription()).await;
                }
            }
        };
        match ending {
            Ending::Finished => {
                track.finish();
                // The broadcast may end with its last track, and would cut what is still on its way.
                if let Some(feed) = self.feed.take() {
                    feed.complete().await;
                }
            }
            Ending::Unwanted => drop(track),
            Ending::Failed(error) => {
                tracing::debug!(broadcast = self.broadcast, track = %self.name, %error, "track failed");
                track.abort(error);
            }
        }
    }

    fn set(&mut self, timer: Timer, after: Duration) {
        self.timer = Some((timer, tokio::time::Instant::now() + after));
    }

    fn waits_for(&self, timer: Timer) -> bool {
        self.timer.is_some_and(|(current, _)| current == timer)
    }

    /// Asks the peer for what readers want now.
    async fn demand(&mut self, wanted: Option<Subscription>) {
        if self.waits_for(Timer::Finish) {
            return;
        }
        let Some(wanted) = wanted else {
            self.set(Timer::Linger, LINGER);
            return self.update(None).await;
        };
        if self.waits_for(Timer::Resume) {
            return;
        }
        self.timer = None;
        match &self.feed {
            Some(_) => self.update(Some(wanted)).await,
            None => self.subscribe(wanted).await,
        }
    }

    /// How many viewers the peer believes there are, as long as that may be corrected.
    fn told(&self) -> Option<u64> {
        let counts = self.shared.link.counts_viewers && self.quiet_until.is_none();
        self.feed.as_ref().filter(|_| counts && self.timer.is_none()).map(|feed| feed.terms().downstream)
    }

    /// Tells the peer what is wanted now, once it may be told. Nobody is behind a subscription that is only held.
    async fn update(&mut self, wanted: Option<Subscription>) {
        let counted = self.shared.link.counts_viewers;
        let Some(feed) = self.feed.as_mut().filter(|_| self.quiet_until.is_none()) else { return };
        let terms = match wanted {
            Some(wanted) => terms(wanted, counted),
            None => wire::Terms { downstream: u64::from(!counted), ..feed.terms() },
        };
        if feed.update(terms).await {
            self.quiet_until = Some(tokio::time::Instant::now() + UPDATE_SPACING);
        }
    }

    async fn subscribe(&mut self, wanted: Subscription) {
        let terms = terms(wanted, self.shared.link.counts_viewers);
        self.quiet_until = None;
        self.feed = Feed::open(self.shared, self.broadcast, &self.name, terms).await;
        if let Some(feed) = &self.feed {
            tracing::debug!(broadcast = self.broadcast, track = %self.name, id = feed.id(), "subscribed");
        }
    }

    async fn expire(&mut self, track: &TrackProducer) -> Option<Ending> {
        let (timer, _) = self.timer.take()?;
        match (timer, track.subscription()) {
            (Timer::Finish, _) => Some(Ending::Finished),
            (_, None) => Some(Ending::Unwanted),
            // Somebody came back this very moment; the change is about to be seen.
            (Timer::Linger, Some(_)) => None,
            (Timer::Resume, Some(wanted)) => {
                self.subscribe(wanted).await;
                None
            }
        }
    }

    fn handle(&mut self, event: Event, track: &TrackProducer) -> Option<Ending> {
        let handled = match event {
            Event::Arrival(Arrival::Group(head, answer)) => self.group(head, track).map(|group| {
                if let Some(group) = group {
                    // A stream that has gone meanwhile leaves the group here, which aborts it.
                    let _gone = answer.send(group);
                }
            }),
            Event::Arrival(Arrival::Datagram(datagram)) => self.datagram(datagram, track),
            Event::Reply(Ok(Some(reply))) => self.reply(reply, track),
            Event::Reply(Ok(None)) => return self.fin(),
            Event::Reply(Err(fault)) => return Some(Ending::Failed(refusal(fault))),
        };
        match handled {
            Ok(()) if self.waits_for(Timer::Finish) && self.is_complete() => Some(Ending::Finished),
            Ok(()) => None,
            Err(contradiction) => {
                tracing::debug!(track = %self.name, %contradiction, "track contradicts itself");
                Some(Ending::Failed(malformed()))
            }
        }
    }

    /// Opens a group. `None`: it is not wanted.
    fn group(&mut self, head: GroupHead, track: &TrackProducer) -> Result<Option<OpenGroup>, Contradiction> {
        let Some(feed) = &mut self.feed else { return Ok(None) };
        // We never ask for the middle of a group, and cannot use it.
        if head.frame_start != 0 {
            return Ok(None);
        }
        let created = track.create_group(head.sequence);
        if !matches!(created, Err(CreateGroupError::Duplicate)) {
            feed.progress.group(head.sequence)?;
        }
        self.resumes = 0;
        Ok(created.ok().and_then(|producer| feed.opened(producer, self.timescale)))
    }

    fn datagram(&mut self, datagram: Datagram, track: &TrackProducer) -> Result<(), Contradiction> {
        let Some(feed) = &mut self.feed else { return Ok(()) };
        let Some(timestamp) = Timestamp::from_scale(datagram.timestamp, self.timescale) else {
            return Ok(());
        };
        let Ok(mut group) = track.create_datagram(datagram.sequence) else { return Ok(()) };
        feed.progress.group(datagram.sequence)?;
        let frame = Frame { timestamp, received: Instant::now(), payload: datagram.payload };
        if group.push(frame).is_ok() {
            group.finish();
        }
        Ok(())
    }

    fn reply(&mut self, reply: SubscribeReply, track: &TrackProducer) -> Result<(), Contradiction> {
        let Some(feed) = &mut self.feed else { return Ok(()) };
        if let Some(end) = feed.progress.reply(reply)? {
            track.finish_at(end);
        }
        Ok(())
    }

    /// The peer has said all about the subscription.
    fn fin(&mut self) -> Option<Ending> {
        let feed = self.feed.take()?;
        if feed.progress.may_finish() {
            let complete = feed.progress.is_complete();
            self.feed = Some(feed);
            self.set(Timer::Finish, STRAGGLERS_MAX);
            return complete.then_some(Ending::Finished);
        }
        // A relay that loses its source lets go like this, and has another one soon.
        drop(feed.complete());
        if self.resumes == RESUMES_MAX {
            return Some(Ending::Failed(TrackError::Aborted));
        }
        self.resumes += 1;
        self.set(Timer::Resume, RESUME_WAIT);
        None
    }

    fn is_complete(&self) -> bool {
        self.feed.as_ref().is_some_and(|feed| feed.progress.is_complete())
    }
}

async fn event(feed: &mut Option<Feed>) -> Event {
    match feed {
        Some(feed) => feed.event().await,
        None => pending().await,
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}
