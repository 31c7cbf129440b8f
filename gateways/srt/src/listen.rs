//! The port: one UDP socket, every connection on it, and the task that serves them.
//!
//! The engines run in this one task. A datagram costs one lookup, one pass through its engine and, with its batch,
//! one wake-up of its importer; no connection can make another wait, because nothing here awaits anything but the
//! socket, the clock and decisions.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_core::{Gate, place};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::accept::{Acceptor, Call, CallKey, MAX_PENDING, Rules, Silence, Verdict};
use crate::admit::{Admitted, Decision, Judge, Role, canonical};
use crate::config::Config;
use crate::crypto::{MAX_PASSPHRASE, MIN_PASSPHRASE};
use crate::egress::{Play, play};
use crate::engine::CloseReason;
use crate::error::BindError;
use crate::feed::{Dock, feed};
use crate::ingest::{Ending, EndingGuard, ingest};
use crate::io::{Batch, Route, Wire};
use crate::line::{Line, Media, NewLine, Tools};
use crate::metrics::{Ignored, Metrics};
use crate::queue::queue;
use crate::reject::Reject;
use crate::streamid::Defaults;
use crate::wire::{Control, ControlBody, Packet};

/// Receive buffer of a connection, packets, and what we announce as flow window: libsrt's default.
const WINDOW: u32 = 8192;
/// Receive calls in a row before timers get their turn.
const MAX_BATCHES: usize = 8;
/// After a socket error: long enough not to spin, short enough not to lose a buffer full.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// Socket ids have 30 bits: libsrt uses the next one to mark groups.
const ID_MASK: u32 = (1 << 30) - 1;

/// Refusals named in the log per second.
const REFUSALS_LOGGED: u32 = 20;

/// A bound SRT listener.
pub struct Listener {
    port: Port,
    local: SocketAddr,
}

impl Listener {
    /// Takes the address. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`], one clear line.
    pub fn bind(config: Config, gate: Gate) -> Result<Self, BindError> {
        let lengths = MIN_PASSPHRASE..=MAX_PASSPHRASE;
        if config.passphrase.as_ref().is_some_and(|secret| !lengths.contains(&secret.expose().len())) {
            return Err(BindError::Passphrase);
        }
        let address = config.listen;
        let socket_error = |source| BindError::Socket { address, source };
        let wire = Wire::bind(address).map_err(socket_error)?;
        let local = wire.local_addr().map_err(socket_error)?;
        let (granted, wanted) = wire.receive_buffer();
        if granted < wanted / 4 {
            info!(granted, wanted, "small SRT receive buffer: raise net.core.rmem_max to lose fewer packets");
        }
        Ok(Self { port: Port::new(config, gate, wire, local), local })
    }

    /// The address that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Counters of this listener; they outlive it.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.port.metrics)
    }

    /// Serves until `shutdown`, then says goodbye to every encoder, finishes every broadcast and waits for every task.
    pub async fn run(self, shutdown: CancellationToken) {
        self.port.run(shutdown).await;
    }
}

struct Port {
    wire: Wire,
    acceptor: Acceptor,
    routes: HashMap<CallKey, Route>,
    lines: HashMap<u32, Line>,
    /// Connections by place, for the limit.
    places: HashMap<IpAddr, usize>,
    max_connections: usize,
    max_per_place: usize,
    judge: Judge,
    decisions: (mpsc::Sender<Decision>, mpsc::Receiver<Decision>),
    endings: (mpsc::Sender<Ending>, mpsc::Receiver<Ending>),
    /// Players with something to send.
    dock: Arc<Dock>,
    play_wait: Duration,
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
    payloads: Vec<Bytes>,
    over: Vec<(u32, CloseReason)>,
    refusal_log: LogLimit,
}

/// Strangers can be refused as often as they like; the metrics count all of them, the log names some.
#[derive(Debug)]
struct LogLimit {
    second: Instant,
    lines: u32,
}

impl LogLimit {
    fn allows(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            *self = Self { second: now, lines: 0 };
        }
        self.lines += 1;
        self.lines <= REFUSALS_LOGGED
    }
}

impl Port {
    fn new(config: Config, gate: Gate, wire: Wire, local: SocketAddr) -> Self {
        let millis = |latency: Duration| u16::try_from(latency.as_millis()).unwrap_or(u16::MAX);
        let rules = Rules {
            latency: millis(config.latency),
            max_latency: millis(config.max_latency.max(config.latency)),
            flow_window: WINDOW,
            defaults: Defaults { path: config.default_path, app: config.default_app },
        };
        let tasks = TaskTracker::new();
        Self {
            wire,
            acceptor: Acceptor::new(rules, Instant::now()),
            routes: HashMap::new(),
            lines: HashMap::new(),
            places: HashMap::new(),
            max_connections: config.max_connections,
            max_per_place: config.max_connections_per_place,
            judge: Judge::new(gate, config.passphrase, config.play_wait, tasks.clone()),
            decisions: mpsc::channel(MAX_PENDING),
            // One for every connection, twice: a connection that just ended may still have one on its way.
            endings: mpsc::channel(2 * config.max_connections.max(1)),
            dock: Arc::default(),
            play_wait: config.play_wait,
            tasks,
            metrics: Arc::new(Metrics::new(local)),
            payloads: Vec::new(),
            over: Vec::new(),
            refusal_log: LogLimit { second: Instant::now(), lines: 0 },
        }
    }

    async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Batch::new();
        let dock = Arc::clone(&self.dock);
        loop {
            let next = self.service(Instant::now());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(decision) = self.decisions.1.recv() => self.decide(decision, Instant::now()),
                Some(ending) = self.endings.1.recv() => self.end(&ending, Instant::now()),
                () = dock.ready() => self.board(),
                () = sleep_until(next) => {}
                ready = self.wire.readable() => {
                    let outcome = ready.and_then(|()| self.receive(&mut batch, &shutdown));
                    if let Err(error) = outcome {
                        warn!(%error, "SRT socket");
                        tokio::time::sleep(ERROR_PAUSE).await;
                    }
                }
            }
        }
        self.stop(Instant::now()).await;
    }

    /// Takes what the socket has.
    fn receive(&mut self, batch: &mut Batch, shutdown: &CancellationToken) -> std::io::Result<()> {
        for _ in 0..MAX_BATCHES {
            if !self.wire.receive(batch)? {
                break;
            }
            let now = Instant::now();
            for (datagram, route) in batch.datagrams() {
                self.datagram(datagram, route, shutdown, now);
            }
            if !batch.is_full() {
                break;
            }
        }
        Ok(())
    }

    fn datagram(&mut self, datagram: Bytes, route: Route, shutdown: &CancellationToken, now: Instant) {
        self.metrics.datagrams.fetch_add(1, Relaxed);
        self.metrics.bytes.fetch_add(datagram.len() as u64, Relaxed);
        match Packet::peek_destination(&datagram) {
            None => self.metrics.ignore(Ignored::Malformed),
            Some(0) => match Packet::parse(datagram) {
                Ok(Packet::Control(Control { timestamp, body: ControlBody::Handshake(body), .. })) => {
                    self.handshake(body, timestamp, route, shutdown, now);
                }
                _ => self.metrics.ignore(Ignored::Malformed),
            },
            Some(id) => match self.lines.get_mut(&id) {
                None => self.metrics.ignore(Ignored::Unknown),
                // The id alone is no proof: it is sent in the clear.
                Some(line) if line.route.peer != route.peer => self.metrics.ignore(Ignored::WrongAddress),
                Some(line) => {
                    if contain(|| line.handle(datagram, now)).is_none() {
                        self.over.push((id, CloseReason::Protocol));
                    }
                }
            },
        }
    }

    fn handshake(
        &mut self,
        body: Bytes,
        timestamp: u32,
        route: Route,
        shutdown: &CancellationToken,
        now: Instant,
    ) {
        match self.acceptor.handle(body, timestamp, route.peer, now) {
            Verdict::Silent(silence) => self.metrics.ignore(match silence {
                Silence::Malformed => Ignored::Handshake,
                Silence::Cookie => Ignored::Cookie,
                Silence::Waiting => Ignored::Waiting,
            }),
            Verdict::Reply(reply) => {
                self.metrics.replies.fetch_add(1, Relaxed);
                self.send(&reply, route);
            }
            Verdict::Refuse { reply, reject, detail } => {
                self.log_refusal(route.peer, reject, &detail, now);
                self.send(&reply, route);
            }
            Verdict::Ask(call) => self.ask(*call, route, shutdown, now),
        }
        self.metrics.waiting.store(self.acceptor.waiting() as u64, Relaxed);
    }

    fn ask(&mut self, call: Call, route: Route, shutdown: &CancellationToken, now: Instant) {
        let key = call.key;
        let here = self.places.get(&place(route.peer.ip())).copied().unwrap_or_default();
        if self.lines.len() + self.routes.len() >= self.max_connections || here >= self.max_per_place {
            self.refuse(key, route, Reject::Overload, "the limit of connections is reached", now);
            return;
        }
        self.routes.insert(key, route);
        let (judge, decisions, shutdown) = (self.judge.clone(), self.decisions.0.clone(), shutdown.clone());
        self.tasks.spawn(async move {
            if let Some(decision) = shutdown.run_until_cancelled(judge.decide(call)).await {
                decisions.send(decision).await.ok();
            }
        });
    }

    fn decide(&mut self, decision: Decision, now: Instant) {
        let Decision { key, outcome } = decision;
        let Some(route) = self.routes.remove(&key) else { return };
        match outcome {
            Ok(admitted) => self.admit(key, route, *admitted, now),
            Err((reject, detail)) => self.refuse(key, route, reject, &detail, now),
        }
        self.metrics.waiting.store(self.acceptor.waiting() as u64, Relaxed);
    }

    fn admit(&mut self, key: CallKey, route: Route, admitted: Admitted, now: Instant) {
        let local_id = self.fresh_id();
        let Some(accepted) = self.acceptor.accept(key, local_id, now) else { return };
        let Admitted { session, role, link, crypto } = admitted;
        let path = session.path().clone();
        let ending = EndingGuard::new(local_id, self.endings.0.clone());
        let terms = accepted.terms;
        let (media, who) = match role {
            Role::Publish(broadcast) => {
                let (inlet, outlet) = queue();
                self.tasks.spawn(ingest(session, broadcast, Arc::clone(&link), outlet, ending));
                (Media::In(inlet), "publisher")
            }
            Role::Play => {
                let (writer, reader) = feed(Arc::clone(&self.dock), local_id);
                let new = Play::new(session, path.clone(), self.play_wait, &terms, writer);
                self.tasks.spawn(play(new, ending));
                (Media::Out(reader), "player")
            }
        };
        let new = NewLine {
            local_id,
            route,
            path,
            terms,
            start: now,
            crypto,
            recv_window: WINDOW,
            media,
            who,
            link,
        };
        self.lines.insert(local_id, Line::new(new, now));
        *self.places.entry(place(route.peer.ip())).or_default() += 1;
        self.metrics.opened.fetch_add(1, Relaxed);
        self.send(&accepted.reply, route);
    }

    fn refuse(&mut self, key: CallKey, route: Route, reject: Reject, detail: &str, now: Instant) {
        if let Some(reply) = self.acceptor.refuse(key, reject, now) {
            self.log_refusal(route.peer, reject, detail, now);
            self.send(&reply, route);
        }
    }

    fn log_refusal(&mut self, peer: SocketAddr, reject: Reject, detail: &str, now: Instant) {
        self.metrics.refuse(reject);
        if !self.refusal_log.allows(now) {
            return;
        }
        let (peer, code) = (canonical(peer), reject.reason());
        info!(%peer, reason = reject.as_str(), code, detail, "SRT caller refused");
    }

    /// The broadcast of a connection is over, or its session.
    fn end(&mut self, ending: &Ending, now: Instant) {
        if let Some(line) = self.lines.get_mut(&ending.id) {
            line.end(ending, now);
        }
    }

    /// Players have something to send.
    fn board(&mut self) {
        for id in self.dock.take() {
            if let Some(line) = self.lines.get_mut(&id) {
                line.touch();
            }
        }
    }

    /// Serves every connection that has something to do, and returns when the next one will.
    fn service(&mut self, now: Instant) -> Option<Instant> {
        let mut tools = Tools { wire: &self.wire, metrics: &self.metrics, payloads: &mut self.payloads };
        if self.acceptor.poll_timeout().is_some_and(|at| at <= now) {
            self.acceptor.expire(now);
            self.metrics.waiting.store(self.acceptor.waiting() as u64, Relaxed);
        }
        let mut next = self.acceptor.poll_timeout();
        for (id, line) in &mut self.lines {
            if line.is_due(now) {
                let closed = contain(|| line.pump(&mut tools, now)).unwrap_or_else(|| {
                    tools.payloads.clear();
                    Some(CloseReason::Protocol)
                });
                if let Some(reason) = closed {
                    self.over.push((*id, reason));
                    continue;
                }
            }
            if let Some(at) = line.deadline() {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        while let Some((id, reason)) = self.over.pop() {
            self.remove(id, reason);
        }
        next
    }

    fn remove(&mut self, id: u32, reason: CloseReason) {
        let Some(line) = self.lines.remove(&id) else { return };
        line.log_end(reason);
        self.acceptor.forget(line.key);
        let place = place(line.route.peer.ip());
        if let Some(count) = self.places.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&place);
            }
        }
        self.metrics.closed.fetch_add(1, Relaxed);
    }

    fn send(&self, datagram: &[u8], route: Route) {
        let counter = match self.wire.send(datagram, route) {
            Ok(()) => &self.metrics.sent,
            Err(_) => &self.metrics.send_failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Random, so that it cannot be guessed and is not used again soon.
    fn fresh_id(&self) -> u32 {
        loop {
            let id = rand::random::<u32>() & ID_MASK;
            if id != 0 && !self.lines.contains_key(&id) {
                return id;
            }
        }
    }

    async fn stop(mut self, now: Instant) {
        for line in self.lines.values_mut() {
            line.close("the server is stopping", now);
        }
        self.service(now);
        // Those whose peer had gone already, and that were only delivering the rest.
        for id in self.lines.keys().copied().collect::<Vec<_>>() {
            self.remove(id, CloseReason::Local);
        }
        let tasks = self.tasks.clone();
        tasks.close();
        // With it go decisions on their way and the sessions in them.
        drop(self);
        tasks.wait().await;
    }
}

/// Works on one connection. A fault in its engine ends that connection and no other; `None` says that it happened.
fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work));
    if done.is_err() {
        error!("a fault in the SRT engine ended a connection");
    }
    done.ok()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_logged_up_to_a_rate() {
        let start = Instant::now();
        let mut limit = LogLimit { second: start, lines: 0 };
        let allowed = (0..1000).filter(|_| limit.allows(start)).count();
        assert_eq!(allowed, REFUSALS_LOGGED as usize);
        assert!(limit.allows(start + Duration::from_secs(1)));
    }
}
