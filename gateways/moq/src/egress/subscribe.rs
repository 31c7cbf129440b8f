//! SUBSCRIBE: the groups of a track, as they come.
//!
//! ```text
//!   SUBSCRIBE ──▶ (waiting for the track) ──▶ START ──▶ groups … ──▶ END ──▶ last groups out ──▶ FIN
//!        │                  │ refused: RESET                 │ FIN of the request: open groups RESET, FIN
//!        └─ unreadable: RESET                                 └ RESET of the request: the same with RESET
//! ```

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use moqgate_core::{
    BroadcastConsumer, GroupConsumer, Path, Start, Subscription, Timestamp, TrackConsumer, TrackError,
};
use tokio::time::{Instant, Sleep};

use super::in_flight::{Fate, Feeding, InFlight};
use super::outbox::Outbox;
use crate::link::Link;
use crate::transport::{ReadFault, Reader, SendStream, SessionLost};
use crate::wire::{
    DecodeError, Message as _, Subscribe, SubscribeReply, SubscribeUpdate, Terms, Version, stream_code,
};

/// Groups of one subscription under way at once: ten seconds of audio frames. Once they are blocked, one more costs the
/// oldest of them.
const IN_FLIGHT_MAX: usize = 512;
/// How long a group must have been blocked before it may be given up. A burst of audio behind a keyframe
/// waits for less on any path that can carry the stream at all.
const BLOCKED_MIN: Duration = Duration::from_millis(200);
/// How often a blocked group's age is looked at: time moves without this subscription being woken.
const AGE_CHECK: Duration = Duration::from_millis(100);

/// Answers one SUBSCRIBE until the track or the subscription ends.
pub(crate) async fn serve(link: &Link, reply: SendStream, mut request: Reader) {
    let mut asked = match request.item(decode_subscribe).await {
        Ok(Some(asked)) => asked,
        Ok(None) => return reply.reset(stream_code::CANCELLED),
        Err(fault) => return super::refuse_unreadable(reply, fault, stream_code::CANCELLED),
    };
    let Some(broadcast) = link.consume(&asked.broadcast) else {
        return reply.reset(stream_code::UNROUTABLE);
    };
    let track = match wait_for_track(link, &broadcast, &mut asked, &mut request).await {
        Ok(Ok(track)) => track,
        Ok(Err(error)) => return reply.reset(super::refusal(error)),
        Err(leaving) => return leaving.answer(reply),
    };
    let mut feed = Feed::new(link, &asked, broadcast.info().path().clone(), track, reply);
    let outcome = loop {
        tokio::select! {
            biased;
            change = next_change(link, &mut request) => match change {
                Ok(terms) => feed.update(terms),
                Err(leaving) => break Outcome::Left(leaving),
            },
            outcome = poll_fn(|cx| feed.poll(cx)) => break outcome,
        }
    };
    feed.close(outcome);
}

/// The track, as soon as its publisher has described it. Terms that change meanwhile count.
async fn wait_for_track(
    link: &Link,
    broadcast: &BroadcastConsumer,
    asked: &mut Subscribe,
    request: &mut Reader,
) -> Result<Result<TrackConsumer, TrackError>, Leaving> {
    loop {
        let subscription = subscription(link, &asked.terms);
        tokio::select! {
            biased;
            track = broadcast.subscribe(&asked.track, subscription) => return Ok(track),
            change = next_change(link, request) => asked.terms = change?,
        }
    }
}

/// We say in our SETUP that we read audience counts, where there is one.
fn decode_subscribe(buf: &mut BytesMut, version: Version) -> Result<Option<Subscribe>, DecodeError> {
    if version.has_setup() {
        Subscribe::decode_extended(buf, version)
    } else {
        Subscribe::decode(buf, version)
    }
}

fn decode_update(buf: &mut BytesMut, version: Version) -> Result<Option<SubscribeUpdate>, DecodeError> {
    match version.has_setup() {
        true => SubscribeUpdate::decode_extended(buf, version),
        false => SubscribeUpdate::decode(buf, version),
    }
}

fn subscription(link: &Link, terms: &Terms) -> Subscription {
    let version = link.version;
    let start = match terms.range.start {
        // A floor of 0 rules nothing out. On 06 that is the same as none, unless it places a frame.
        Some(0) if !version.has_frame_bounds() => Start::WithinAge,
        Some(first) => Start::From(first),
        None if version.has_frame_bounds() => Start::WithinAge,
        None => Start::Latest,
    };
    Subscription {
        priority: terms.priority,
        max_age: terms.max_age,
        start,
        end: terms.range.end,
        downstream: link.viewers(terms.downstream),
    }
}

/// How a subscriber takes its request back.
enum Leaving {
    /// FIN: answered by FIN.
    Politely,
    /// RESET, or an unreadable message: answered by RESET with this code.
    With(u32),
}

impl Leaving {
    fn answer(self, reply: SendStream) {
        match self {
            Self::Politely => reply.finish(),
            Self::With(code) => reply.reset(code),
        }
    }
}

async fn next_change(link: &Link, request: &mut Reader) -> Result<Terms, Leaving> {
    match request.item(decode_update).await {
        Ok(Some(SubscribeUpdate(terms))) => {
            link.counters.subscription_updates.bump();
            Ok(terms)
        }
        Ok(None) => Err(Leaving::Politely),
        Err(ReadFault::Reset(code)) => Err(Leaving::With(code)),
        Err(ReadFault::Lost) => Err(Leaving::With(stream_code::SESSION_CLOSED)),
        Err(ReadFault::Truncated | ReadFault::Decode(_)) => Err(Leaving::With(stream_code::MALFORMED_TRACK)),
    }
}

enum Outcome {
    /// The track ended and all of it is out.
    Finished,
    /// The track ended early.
    Failed(TrackError),
    /// The subscriber left.
    Left(Leaving),
    Lost,
}

/// A subscription that runs.
struct Feed<'a> {
    link: &'a Link,
    feeding: Feeding,
    terms: Terms,
    path: Path,
    track: TrackConsumer,
    replies: Outbox,
    /// The newest first.
    groups: Vec<InFlight>,
    started: bool,
    /// How it came that the track has no more groups for this subscription.
    ended: Option<Result<(), TrackError>>,
    age_check: Pin<Box<Sleep>>,
    age_check_armed: bool,
}

impl<'a> Feed<'a> {
    fn new(link: &'a Link, asked: &Subscribe, path: Path, track: TrackConsumer, reply: SendStream) -> Self {
        let mut replies = Outbox::new(reply, link.version);
        // Only 03 and 04 have it, and there it comes first: what was asked, without a range.
        replies.push(&SubscribeReply::Ok(Terms { priority: asked.terms.priority, ..Terms::default() }));
        let feeding = Feeding {
            subscribe_id: asked.id,
            timescale: track.info().timescale,
            priority: asked.terms.priority,
        };
        Self {
            link,
            feeding,
            terms: asked.terms,
            path,
            track,
            replies,
            groups: Vec::new(),
            started: false,
            ended: None,
            age_check: Box::pin(tokio::time::sleep(AGE_CHECK)),
            age_check_armed: false,
        }
    }

    /// The bounds of a running subscription move at their end only; its start has happened.
    fn update(&mut self, terms: Terms) {
        let (path, track, id) = (&self.path, &self.track.info().name, self.feeding.subscribe_id);
        let hop = self.link.peer.hop();
        tracing::debug!(%path, %track, id, hop, viewers = terms.downstream, "subscription updated");
        let start = self.track.subscription().start;
        self.track.update(Subscription { start, ..subscription(self.link, &terms) });
        self.terms = terms;
        self.feeding.priority = terms.priority;
        self.ended = None;
        self.rank();
    }

    /// Does all that can be done now. Ready when the subscription is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            let more = self.take_groups(cx);
            // Before the groups: media may use up what the peer grants.
            if let Poll::Ready(Err(_)) = self.replies.poll_flush(cx) {
                return Poll::Ready(Outcome::Lost);
            }
            if self.drive_groups(cx).is_err() {
                return Poll::Ready(Outcome::Lost);
            }
            if !more {
                break;
            }
            if self.groups.len() < IN_FLIGHT_MAX {
                continue;
            }
            // Full. The rest waits in the track, unless it has waited for long enough.
            let oldest = self.groups.len() - 1;
            if !self.groups.get(oldest).is_some_and(|group| group.is_blocked_for(BLOCKED_MIN)) {
                break;
            }
            self.give_up(oldest, stream_code::TOO_FAR_BEHIND);
        }
        self.expire(cx);
        match self.replies.poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Outcome::Lost),
            Poll::Ready(Ok(())) => self.outcome().map_or(Poll::Pending, Poll::Ready),
            Poll::Pending => Poll::Pending,
        }
    }

    /// What the subscription came to, once all of it is out. The end of the range alone finishes nothing: an update may
    /// still move it.
    fn outcome(&self) -> Option<Outcome> {
        match self.ended {
            _ if !self.groups.is_empty() => None,
            Some(Err(error)) => Some(Outcome::Failed(error)),
            Some(Ok(())) => self.track_end().map(|_| Outcome::Finished),
            None => None,
        }
    }

    /// Where the track ends, if it ends before the range does.
    fn track_end(&self) -> Option<u64> {
        let bound = self.terms.range.end.map_or(u64::MAX, |last| last.saturating_add(1));
        self.track.end_sequence().filter(|end| *end <= bound)
    }

    /// Opens every group that has come, however many at once: none is skipped for being overtaken in a burst. `true` if
    /// there was no room for all of them.
    fn take_groups(&mut self, cx: &mut Context<'_>) -> bool {
        while self.ended.is_none() {
            if self.groups.len() >= IN_FLIGHT_MAX {
                return true;
            }
            match self.track.poll_next_group(cx) {
                Poll::Ready(Ok(Some(group))) => self.begin(group),
                Poll::Ready(Ok(None)) => {
                    self.ended = Some(Ok(()));
                    if let Some(group) = self.track_end() {
                        self.replies.push(&SubscribeReply::End { group });
                    }
                }
                Poll::Ready(Err(error)) => self.ended = Some(Err(error)),
                Poll::Pending => return false,
            }
        }
        false
    }

    fn begin(&mut self, group: GroupConsumer) {
        let (sequence, range) = (group.sequence(), self.terms.range);
        if !self.started {
            self.started = true;
            let (id, path, track) = (self.feeding.subscribe_id, &self.path, &self.track.info().name);
            tracing::debug!(%path, %track, id, group = sequence, max_age = ?self.terms.max_age, "subscription starts");
            self.replies.push(&SubscribeReply::Start { group: sequence });
        }
        let frame_start = if range.start == Some(sequence) { range.frame_start } else { 0 };
        let mut in_flight = InFlight::new(self.link, group, frame_start, self.feeding);
        if let Some(last) = range.frame_end.filter(|_| range.end == Some(sequence)) {
            in_flight.limit(last.saturating_add(1));
        }
        let newest = self.newest();
        let place = self.groups.partition_point(|other| other.sequence() > sequence);
        for older in self.groups.iter_mut().skip(place) {
            older.supersede(newest);
        }
        if place > 0 {
            in_flight.supersede(newest);
        }
        self.groups.insert(place, in_flight);
    }

    fn newest(&self) -> Timestamp {
        self.track.newest_timestamp().unwrap_or(Timestamp::from_micros(0))
    }

    fn rank(&mut self) {
        for (rank, group) in self.groups.iter_mut().enumerate() {
            group.set_rank(rank, self.feeding);
        }
    }

    /// A burst leaves in its order: a viewer begins with whatever it gets first. What is left after that competes, and
    /// then the newest comes first, here and in QUIC.
    fn drive_groups(&mut self, cx: &mut Context<'_>) -> Result<(), SessionLost> {
        for at in (0..self.groups.len()).rev() {
            if self.groups.get(at).is_some_and(InFlight::is_fresh) {
                self.drive(at, cx)?;
            }
        }
        let mut at = 0;
        while at < self.groups.len() {
            if !self.drive(at, cx)? {
                at += 1;
            }
        }
        self.rank();
        Ok(())
    }

    /// `true` if the group is done and gone.
    fn drive(&mut self, at: usize, cx: &mut Context<'_>) -> Result<bool, SessionLost> {
        let Some(group) = self.groups.get_mut(at) else { return Ok(false) };
        let Poll::Ready(fate) = group.poll(self.link, self.feeding, cx)? else { return Ok(false) };
        if fate == Fate::Sent {
            self.link.counters.groups_sent.bump();
        }
        self.groups.remove(at);
        Ok(true)
    }

    /// Gives up groups that are blocked, superseded and older than the subscriber and the publisher allow. Blocked is
    /// the point: a group that only has not been finished yet is about to be, and most likely in time.
    fn expire(&mut self, cx: &mut Context<'_>) {
        let allowed = self.terms.max_age.min(self.track.info().max_age);
        loop {
            let newest = self.newest();
            let old = |group: &InFlight| {
                group.is_blocked_for(BLOCKED_MIN) && group.age(newest).is_some_and(|age| age >= allowed)
            };
            while let Some(at) = self.groups.iter().rposition(old) {
                self.give_up(at, stream_code::OLD);
            }
            let waiting = self
                .groups
                .iter()
                .any(|group| group.is_blocked_for(Duration::ZERO) && group.age(newest).is_some());
            if !waiting {
                self.age_check_armed = false;
                return;
            }
            if !self.age_check_armed {
                self.age_check.as_mut().reset(Instant::now() + AGE_CHECK);
                self.age_check_armed = true;
            }
            if self.age_check.as_mut().poll(cx).is_pending() {
                return;
            }
            self.age_check_armed = false;
        }
    }

    fn give_up(&mut self, at: usize, code: u32) {
        let mut group = self.groups.remove(at);
        if group.is_unopened() {
            let sequence = group.sequence();
            self.replies.push(&SubscribeReply::Drop {
                first: sequence,
                last: sequence,
                code: u64::from(code),
            });
        }
        group.reset(code);
        self.link.counters.groups_expired.bump();
    }

    /// Ends the reply half; groups still open are given up.
    fn close(mut self, outcome: Outcome) {
        for group in &mut self.groups {
            group.reset(stream_code::CANCELLED);
        }
        let reply = self.replies.into_stream();
        match outcome {
            Outcome::Finished => reply.finish(),
            Outcome::Failed(error) => reply.reset(super::refusal(error)),
            Outcome::Left(leaving) => leaving.answer(reply),
            Outcome::Lost => {}
        }
    }
}
