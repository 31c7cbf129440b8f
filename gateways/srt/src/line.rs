//! One connection on the port: its engine, its timer and its way to the importer.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_core::Path;
use moqgate_core::usage::EndReason;
use tracing::info;

use crate::accept::{CallKey, Terms};
use crate::admit::canonical;
use crate::crypto::Crypto;
use crate::engine::{CloseReason, Connection, Params, State};
use crate::feed::FeedReader;
use crate::ingest::Ending;
use crate::io::{Route, Wire};
use crate::metrics::Metrics;
use crate::queue::Inlet;
use crate::stats::Link;

/// How often reports see new numbers.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// A player that is shut down loses what it has not played yet: the end is told this much after its latency.
const LINGER: Duration = Duration::from_millis(100);

/// A connection and what it needs from the port.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) key: CallKey,
    pub(crate) route: Route,
    path: Path,
    engine: Connection,
    media: Media,
    who: &'static str,
    /// How long the peer holds back what we send.
    send_latency: Duration,
    /// Nothing more will be fed; when the last of it has arrived, if that is known already.
    finishing: Option<Option<Instant>>,
    link: Arc<Link>,
    reported: Instant,
    queue_dropped: u64,
    /// Said in the log instead of the engine's reason, which knows only "closed here".
    ending: Option<String>,
    /// A datagram came since the last [`Line::pump`].
    touched: bool,
    deadline: Option<Instant>,
}

/// What the port lends to a connection at work.
pub(crate) struct Tools<'a> {
    pub(crate) wire: &'a Wire,
    pub(crate) metrics: &'a Metrics,
    /// Reused from call to call.
    pub(crate) payloads: &'a mut Vec<Bytes>,
}

/// Which way media goes.
#[derive(Debug)]
pub(crate) enum Media {
    /// From the peer to an importer.
    In(Inlet),
    /// From a player's task to the peer.
    Out(FeedReader),
}

/// What a new connection is made of.
pub(crate) struct NewLine {
    pub(crate) local_id: u32,
    pub(crate) route: Route,
    pub(crate) path: Path,
    pub(crate) terms: Terms,
    /// Zero of our timestamps.
    pub(crate) start: Instant,
    pub(crate) crypto: Option<Crypto>,
    pub(crate) recv_window: u32,
    pub(crate) media: Media,
    /// What the log calls the peer.
    pub(crate) who: &'static str,
    pub(crate) link: Arc<Link>,
}

impl Line {
    pub(crate) fn new(new: NewLine, now: Instant) -> Self {
        let NewLine { local_id, route, path, terms, start, crypto, recv_window, media, who, link } = new;
        info!(
            peer = %canonical(route.peer),
            %path,
            latency_ms = match media {
                Media::In(_) => terms.recv_latency,
                Media::Out(_) => terms.send_latency,
            }.as_millis() as u64,
            encrypted = crypto.is_some(),
            "SRT {} connected",
            who,
        );
        let params = Params { recv_window, crypto, ..terms.params(local_id, start) };
        let engine = Connection::new(params, now);
        let deadline = engine.poll_timeout();
        let line = Self {
            key: terms.key,
            route,
            path,
            engine,
            media,
            who,
            send_latency: terms.send_latency,
            finishing: None,
            link,
            reported: now,
            queue_dropped: 0,
            ending: None,
            touched: false,
            deadline,
        };
        line.link.update(line.engine.stats(), 0);
        line
    }

    /// Takes a datagram of the peer. [`Line::pump`] must follow.
    pub(crate) fn handle(&mut self, datagram: Bytes, now: Instant) {
        self.engine.handle(datagram, now);
        self.touched = true;
    }

    /// Ends the connection with a shutdown. [`Line::pump`] must follow.
    pub(crate) fn close(&mut self, why: &str, now: Instant) {
        self.engine.close(now);
        self.ending.get_or_insert_with(|| why.to_owned());
        self.touched = true;
    }

    /// Ends the connection once what was fed has had its time to arrive. [`Line::pump`] must follow.
    fn finish(&mut self, why: &str) {
        self.ending.get_or_insert_with(|| why.to_owned());
        self.finishing.get_or_insert(None);
        self.touched = true;
    }

    /// The task of the connection's media has ended.
    pub(crate) fn end(&mut self, ending: &Ending, now: Instant) {
        if ending.gentle { self.finish(&ending.why) } else { self.close(&ending.why, now) }
    }

    /// Whether [`Line::close`] was called.
    pub(crate) fn is_closing(&self) -> bool {
        self.engine.state() != State::Open
    }

    /// There is something to send. [`Line::pump`] must follow.
    pub(crate) fn touch(&mut self) {
        self.touched = true;
    }

    /// Whether [`Line::pump`] has something to do.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.touched || self.deadline.is_some_and(|at| at <= now)
    }

    /// When [`Line::pump`] has something to do, if nothing arrives before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Moves everything that is ready: timers, answers, payloads. The reason, once the connection is over.
    pub(crate) fn pump(&mut self, tools: &mut Tools<'_>, now: Instant) -> Option<CloseReason> {
        self.touched = false;
        if self.deadline.is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
        }
        loop {
            let fed = self.pump_feed(now);
            while let Some(datagram) = self.engine.poll_transmit() {
                let counter = match tools.wire.send(&datagram, self.route) {
                    Ok(()) => &tools.metrics.sent,
                    Err(_) => &tools.metrics.send_failed,
                };
                counter.fetch_add(1, Relaxed);
            }
            if !fed {
                break;
            }
        }
        while let Some(payload) = self.engine.poll_deliver(now) {
            tools.payloads.push(payload);
        }
        if !tools.payloads.is_empty() {
            match &self.media {
                Media::In(inlet) => {
                    let dropped = inlet.append(tools.payloads);
                    tools.metrics.queue_dropped.fetch_add(dropped - self.queue_dropped, Relaxed);
                    self.queue_dropped = dropped;
                }
                // A player has nothing to say.
                Media::Out(_) => tools.payloads.clear(),
            }
        }
        let closed = self.engine.closed();
        if closed.is_some() || now.saturating_duration_since(self.reported) >= REPORT_INTERVAL {
            self.reported = now;
            self.link.update(self.engine.stats(), self.queue_dropped);
        }
        self.deadline = [self.engine.poll_timeout(), self.finishing.flatten()].into_iter().flatten().min();
        closed
    }

    /// Moves what fits from the feed to the engine, and ends the connection when that was all. Whether anything moved.
    fn pump_feed(&mut self, now: Instant) -> bool {
        let Media::Out(feed) = &self.media else { return false };
        let mut moved = false;
        while self.engine.has_room() {
            let Some(payload) = feed.pop() else { break };
            // There is room, and no payload is larger than what was agreed on.
            moved |= self.engine.push(&payload, now).is_ok();
        }
        if let Some(end) = &mut self.finishing
            && feed.is_empty()
        {
            let at = *end.get_or_insert(now + self.send_latency + LINGER);
            if at <= now {
                self.engine.close(now);
            }
        }
        moved
    }

    /// The closing line of the log.
    pub(crate) fn log_end(&self, reason: CloseReason) {
        match reason {
            CloseReason::Idle => self.link.ending(EndReason::Lost),
            CloseReason::Protocol => self.link.ending(EndReason::Failed),
            CloseReason::PeerShutdown | CloseReason::Local => {}
        }
        let engine = match reason {
            CloseReason::PeerShutdown => "the peer closed the connection",
            CloseReason::Idle => "nothing heard for 5 s",
            CloseReason::Local => "closed",
            CloseReason::Protocol => "the peer broke the protocol",
        };
        let stats = self.link.stats();
        info!(
            peer = %canonical(self.route.peer),
            path = %self.path,
            reason = self.ending.as_deref().unwrap_or(engine),
            received = stats.pkt_recv,
            lost = stats.pkt_rcv_loss,
            dropped = stats.pkt_rcv_drop + stats.pkt_snd_drop,
            sent = stats.pkt_sent,
            "SRT {} left",
            self.who,
        );
    }
}
