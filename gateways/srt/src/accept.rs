//! The listener's handshake, without a socket or a clock (draft-sharabayko-srt section 4.3.1).
//!
//! Induction leaves no state. A conclusion with a right cookie waits in a bounded table until somebody decides; its
//! repeats are dropped meanwhile, and answered with the same words afterwards, so that a lost reply makes no second
//! connection.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_core::{Secret, place};

use crate::cookie::CookieJar;
use crate::crypto::{Crypto, KeyError, KeyMaterial};
use crate::engine::{Params, PeerFlags};
use crate::reject::Reject;
use crate::streamid::{self, Defaults, StreamId};
use crate::wire::handshake::{
    self, CONCLUSION, FLAG_HSREQ, FLAG_KMREQ, INDUCTION, MAGIC, flags, peer_ip_field,
};
use crate::wire::packet::MAX_PAYLOAD;
use crate::wire::{Control, ControlBody, Extensions, Handshake, HandshakeError, HsExtension, Seq};

/// Conclusions that wait for a decision, or whose refusal is remembered.
pub const MAX_PENDING: usize = 1024;
/// The same, from one IPv4 address or one IPv6 /64. Refusals stay for [`PENDING_EXPIRY`], so this also bounds the
/// wrong passphrases per second that one place can make us compute.
pub const MAX_PENDING_PER_PLACE: usize = 128;
/// After this a pending conclusion is forgotten: libsrt callers give up after 3 s.
pub const PENDING_EXPIRY: Duration = Duration::from_secs(5);

/// The version this gateway claims in HSRSP: libsrt 1.5.1.
const OUR_VERSION: u32 = 0x0001_0501;
/// Oldest libsrt with HSv5.
const MIN_VERSION: u32 = 0x0001_0300;
/// MTU that both sides start from, bytes.
const MTU: u32 = 1500;
/// IP 20, UDP 8, SRT 16.
const OVERHEAD: u32 = 44;
/// A TS packet.
const MIN_PAYLOAD: u32 = 188;
/// libsrt's own limit for a handshake's MSS field.
const MIN_MSS: u32 = 32;

/// What the listener asks of every caller.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Receive latency of ours; the larger of it and the caller's wish holds, milliseconds.
    pub latency: u16,
    /// Most that a caller can ask for, milliseconds: memory is rate times latency.
    pub max_latency: u16,
    /// Our receive buffer, packets.
    pub flow_window: u32,
    /// What completes stream ids.
    pub defaults: Defaults,
}

/// Names one connection attempt: the same caller repeats itself with the same three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// Where it comes from.
    pub from: SocketAddr,
    /// The caller's socket id.
    pub socket_id: u32,
    /// Its first sequence number.
    pub initial_seq: u32,
}

/// A conclusion that somebody has to decide about.
#[derive(Debug, Clone)]
pub struct Call {
    /// Give it back to [`Acceptor::accept`] or [`Acceptor::refuse`].
    pub key: CallKey,
    /// What the caller wants.
    pub stream: StreamId,
    /// Its key material, if it encrypts.
    pub material: Option<KeyMaterial>,
}

/// What the two sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Which attempt it was.
    pub key: CallKey,
    /// First sequence number of both directions.
    pub initial_seq: Seq,
    /// When the first conclusion arrived, and its timestamp: the zero of the caller's clock.
    pub arrived: Instant,
    /// See `arrived`; microseconds.
    pub timestamp: u32,
    /// Latency of what we receive.
    pub recv_latency: Duration,
    /// Latency of what we send.
    pub send_latency: Duration,
    /// The caller's flow window, packets.
    pub flow_window: u32,
    /// Largest payload, bytes.
    pub max_payload: usize,
    /// The caller's [`flags`].
    pub flags: u32,
}

impl Terms {
    /// The parameters of the connection `local_id`, without keys; our timestamps count from `start`.
    pub fn params(&self, local_id: u32, start: Instant) -> Params {
        let has = |flag| self.flags & flag != 0;
        Params {
            handshake_arrival: self.arrived,
            handshake_timestamp: self.timestamp,
            recv_latency: self.recv_latency,
            peer_latency: self.send_latency,
            flow_window: self.flow_window,
            max_payload: self.max_payload,
            peer_flags: PeerFlags {
                drops_too_late: has(flags::TLPKTDROP),
                nak_report: has(flags::NAKREPORT),
                marks_retransmissions: has(flags::REXMITFLG),
            },
            ..Params::new(local_id, self.key.socket_id, self.initial_seq, start)
        }
    }
}

/// Why a handshake datagram gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Silence {
    /// Not a handshake that a listener takes, or with impossible fields.
    Malformed,
    /// A cookie that was not issued to this address.
    Cookie,
    /// A repeat of an attempt that is being decided.
    Waiting,
}

/// What to do about a handshake datagram.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing; count it.
    Silent(Silence),
    /// Send this. No state was made.
    Reply(Bytes),
    /// Send this: the caller is refused.
    Refuse {
        /// The datagram.
        reply: Bytes,
        /// Why.
        reject: Reject,
        /// Why, in words.
        detail: String,
    },
    /// Ask about this; the attempt is pending.
    Ask(Box<Call>),
}

/// An accepted call: send `reply`, build the connection of `terms`.
#[derive(Debug)]
pub struct Accepted {
    /// The conclusion reply.
    pub reply: Bytes,
    /// What was agreed.
    pub terms: Terms,
}

/// The listener's half of every handshake on one port.
#[derive(Debug)]
pub struct Acceptor {
    jar: CookieJar,
    rules: Rules,
    start: Instant,
    entries: HashMap<CallKey, Entry>,
    /// Pending and refused entries in the order of their making.
    expiry: VecDeque<(Instant, CallKey)>,
    waiting: usize,
    places: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
enum Entry {
    Pending(Box<Pending>),
    /// The refusal, to be repeated until it expires.
    Refused(Handshake),
    /// The reply, to be repeated as long as the connection lives, and the zero of our timestamps in it.
    Accepted(Handshake, Instant),
}

#[derive(Debug)]
struct Pending {
    request: Handshake,
    hs: HsExtension,
    material: Option<KeyMaterial>,
    arrived: Instant,
    timestamp: u32,
}

impl Acceptor {
    /// A listener with an empty table and a cookie key of its own.
    pub fn new(rules: Rules, now: Instant) -> Self {
        Self {
            jar: CookieJar::new(now),
            rules,
            start: now,
            entries: HashMap::new(),
            expiry: VecDeque::new(),
            waiting: 0,
            places: HashMap::new(),
        }
    }

    /// Attempts in the table that are pending or refused.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a handshake packet that came to socket id 0.
    pub fn handle(&mut self, body: Bytes, timestamp: u32, from: SocketAddr, now: Instant) -> Verdict {
        self.expire(now);
        let Ok(request) = Handshake::parse(body) else { return Verdict::Silent(Silence::Malformed) };
        match request.kind {
            INDUCTION => Verdict::Reply(self.induction(request, from, now)),
            CONCLUSION => self.conclusion(request, timestamp, from, now),
            _ => Verdict::Silent(Silence::Malformed),
        }
    }

    /// Never longer than the request: no use to whoever spoofs addresses.
    fn induction(&self, mut request: Handshake, from: SocketAddr, now: Instant) -> Bytes {
        request.version = handshake::VERSION;
        request.encryption = 0;
        request.extension = MAGIC;
        request.cookie = self.jar.issue(from, now);
        request.extensions = Bytes::new();
        self.datagram(&request, request.socket_id, self.start, now)
    }

    fn conclusion(&mut self, request: Handshake, timestamp: u32, from: SocketAddr, now: Instant) -> Verdict {
        let sane = request.version >= 4
            && request.initial_seq < Seq::MAX
            && request.mss >= MIN_MSS
            && request.flow_window >= 2
            && request.socket_id != 0;
        if !sane {
            return Verdict::Silent(Silence::Malformed);
        }
        if !self.jar.accepts(request.cookie, from, now) {
            return Verdict::Silent(Silence::Cookie);
        }
        let key = CallKey { from, socket_id: request.socket_id, initial_seq: request.initial_seq };
        match self.entries.get(&key) {
            Some(Entry::Pending(_)) => return Verdict::Silent(Silence::Waiting),
            Some(Entry::Refused(reply)) => {
                return Verdict::Reply(self.datagram(reply, key.socket_id, self.start, now));
            }
            Some(Entry::Accepted(reply, start)) => {
                return Verdict::Reply(self.datagram(reply, key.socket_id, *start, now));
            }
            None => {}
        }
        let place = place(from.ip());
        if self.waiting >= MAX_PENDING || self.places.get(&place).is_some_and(|n| *n >= MAX_PENDING_PER_PLACE)
        {
            // Not remembered: the table is what is full.
            let reply = self.refusal(request, Reject::Backlog);
            let reply = self.datagram(&reply, key.socket_id, self.start, now);
            let detail = "too many handshakes are waiting".into();
            return Verdict::Refuse { reply, reject: Reject::Backlog, detail };
        }
        self.waiting += 1;
        *self.places.entry(place).or_default() += 1;
        self.expiry.push_back((now + PENDING_EXPIRY, key));
        match judge(&request, &self.rules.defaults) {
            Ok((hs, stream, material)) => {
                let pending = Pending { request, hs, material: material.clone(), arrived: now, timestamp };
                self.entries.insert(key, Entry::Pending(Box::new(pending)));
                Verdict::Ask(Box::new(Call { key, stream, material }))
            }
            Err((reject, detail)) => {
                let reply = self.refusal(request, reject);
                let datagram = self.datagram(&reply, key.socket_id, self.start, now);
                self.entries.insert(key, Entry::Refused(reply));
                Verdict::Refuse { reply: datagram, reject, detail }
            }
        }
    }

    /// Lets a pending caller in as `local_id`. `None`: it is not pending any more.
    pub fn accept(&mut self, key: CallKey, local_id: u32, now: Instant) -> Option<Accepted> {
        let entry = self.entries.get_mut(&key)?;
        let Entry::Pending(pending) = entry else { return None };
        let Pending { request, hs, material, arrived, timestamp } = &mut **pending;
        let rules = &self.rules;
        let recv_latency = rules.latency.max(hs.send_latency.min(rules.max_latency));
        // Nothing of ours asks for latency in the other direction. A player may ask for as much as an encoder.
        let send_latency = hs.receive_latency.min(rules.max_latency);
        let mss = request.mss.min(MTU);
        let terms = Terms {
            key,
            initial_seq: Seq::new(request.initial_seq),
            arrived: *arrived,
            timestamp: *timestamp,
            recv_latency: Duration::from_millis(recv_latency.into()),
            send_latency: Duration::from_millis(send_latency.into()),
            // It bounds what we keep for the caller as well.
            flow_window: request.flow_window.min(rules.flow_window),
            max_payload: ((mss - OVERHEAD) as usize).min(MAX_PAYLOAD),
            flags: hs.flags,
        };
        let response = HsExtension {
            version: OUR_VERSION,
            flags: flags::OURS,
            receive_latency: recv_latency,
            send_latency,
        };
        // The good answer to key material is the same key material.
        let key_response = material.as_ref().map(|material| material.raw().clone());
        let extensions = Extensions { response: Some(response), key_response, ..Extensions::default() };
        let reply = Handshake {
            version: handshake::VERSION,
            encryption: 0,
            extension: extensions.field(),
            initial_seq: request.initial_seq,
            mss,
            flow_window: rules.flow_window,
            kind: CONCLUSION,
            socket_id: local_id,
            cookie: request.cookie,
            peer_ip: peer_ip_field(key.from.ip()),
            extensions: extensions.to_bytes(),
        };
        *entry = Entry::Accepted(reply.clone(), now);
        self.release(key);
        Some(Accepted { reply: self.datagram(&reply, key.socket_id, now, now), terms })
    }

    /// Refuses a pending caller. `None`: it is not pending any more.
    pub fn refuse(&mut self, key: CallKey, reject: Reject, now: Instant) -> Option<Bytes> {
        let Some(Entry::Pending(pending)) = self.entries.get(&key) else { return None };
        let reply = self.refusal(pending.request.clone(), reject);
        let datagram = self.datagram(&reply, key.socket_id, self.start, now);
        self.entries.insert(key, Entry::Refused(reply));
        Some(datagram)
    }

    /// The connection has ended: a caller with this key is a new one.
    pub fn forget(&mut self, key: CallKey) {
        if matches!(self.entries.get(&key), Some(Entry::Accepted(..))) {
            self.entries.remove(&key);
        }
    }

    /// Forgets what has waited or been refused for [`PENDING_EXPIRY`].
    pub fn expire(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.expiry.front() {
            // An accepted key left the table of the waiting already, but not this queue.
            let accepted = !matches!(self.entries.get(&key), Some(Entry::Pending(_) | Entry::Refused(_)));
            if !accepted {
                if at > now {
                    break;
                }
                self.entries.remove(&key);
                self.release(key);
            }
            self.expiry.pop_front();
        }
    }

    /// When [`Acceptor::expire`] has something to forget.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.expiry.front().map(|(at, _)| *at)
    }

    fn release(&mut self, key: CallKey) {
        self.waiting = self.waiting.saturating_sub(1);
        let place = place(key.from.ip());
        if let Some(count) = self.places.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&place);
            }
        }
    }

    /// The request with its type replaced, as libsrt answers.
    fn refusal(&self, mut request: Handshake, reject: Reject) -> Handshake {
        request.version = handshake::VERSION;
        request.kind = reject.wire();
        request.extensions = Bytes::new();
        request
    }

    fn datagram(&self, handshake: &Handshake, destination: u32, start: Instant, now: Instant) -> Bytes {
        // Modulo 2^32, as every timestamp on the wire.
        let timestamp = now.saturating_duration_since(start).as_micros() as u32;
        Control { timestamp, destination, body: ControlBody::Handshake(handshake.to_bytes()) }.to_bytes()
    }
}

type Judged = (HsExtension, StreamId, Option<KeyMaterial>);

/// Everything that can be said about a conclusion without asking anybody.
fn judge(request: &Handshake, defaults: &Defaults) -> Result<Judged, (Reject, String)> {
    let refuse = |reject: Reject, detail: &str| Err((reject, detail.to_owned()));
    if request.version != handshake::VERSION {
        return Err((Reject::Version, format!("handshake version {} instead of 5", request.version)));
    }
    if request.extension & FLAG_HSREQ == 0 {
        return refuse(Reject::Rogue, "handshake without an SRT extension");
    }
    // An own copy: what is kept for seconds must not pin a receive buffer.
    let blocks = Extensions::parse(Bytes::copy_from_slice(&request.extensions)).map_err(|error| {
        let reject =
            if error == HandshakeError::StreamIdTooLong { Reject::BadRequest } else { Reject::Rogue };
        (reject, error.to_string())
    })?;
    let Some(hs) = blocks.request else {
        return refuse(Reject::Rogue, "handshake without an SRT extension");
    };
    if hs.version < MIN_VERSION {
        return refuse(Reject::Rogue, "SRT version before 1.3.0");
    }
    if hs.flags & flags::STREAM != 0 {
        return refuse(Reject::MessageApi, "buffer mode (transtype=file) is not supported");
    }
    if blocks.congestion.as_deref().is_some_and(|name| name != b"live") {
        return refuse(Reject::Congestion, "congestion control other than live");
    }
    if blocks.filter.is_some() {
        return refuse(Reject::Filter, "packet filters (FEC) are not supported");
    }
    if blocks.group.is_some() {
        return refuse(Reject::Group, "bonded groups are not supported");
    }
    if request.mss < OVERHEAD + MIN_PAYLOAD {
        return refuse(Reject::Unacceptable, "MTU too small for a TS packet");
    }
    if request.extension & FLAG_KMREQ != 0 && blocks.key_request.is_none() {
        return refuse(Reject::Rogue, "key material announced and not sent");
    }
    let stream = streamid::parse(blocks.stream_id.as_deref(), defaults)
        .map_err(|error| (Reject::from(error), error.to_string()))?;
    let material = blocks
        .key_request
        .map(KeyMaterial::parse)
        .transpose()
        .map_err(|error| (Reject::from(error), error.to_string()))?;
    Ok((hs, stream, material))
}

/// Brings passphrase and key material together: both or neither. With both it takes about a millisecond.
///
/// # Errors
/// [`Reject::Unsecure`] if only one side encrypts, [`Reject::BadSecret`] if the passphrases differ.
pub fn open_keys(
    passphrase: Option<Secret>,
    material: Option<&KeyMaterial>,
) -> Result<Option<Crypto>, (Reject, &'static str)> {
    match (passphrase, material) {
        (None, None) => Ok(None),
        (Some(passphrase), Some(material)) => match Crypto::open(passphrase, material) {
            Ok(crypto) => Ok(Some(crypto)),
            Err(KeyError::WrongPassphrase) => Err((Reject::BadSecret, "wrong passphrase")),
            Err(error) => Err((Reject::from(error), "key material is not usable")),
        },
        (Some(_), None) => Err((Reject::Unsecure, "a passphrase is required and the caller has none")),
        (None, Some(_)) => {
            Err((Reject::Unsecure, "the caller encrypts and no passphrase is configured for it"))
        }
    }
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
