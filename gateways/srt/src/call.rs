//! The caller's handshake, without a socket or a clock (draft-sharabayko-srt section 4.3.1).
//!
//! The induction is repeated until the listener answers with its cookie, then the conclusion until it is answered.
//! Answers count only from the remote address, which the shell checks, and to our socket id.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::accept::{CallKey, Terms};
use crate::crypto::Generated;
use crate::wire::handshake::{self, CONCLUSION, INDUCTION, MAGIC, flags, peer_ip_field};
use crate::wire::packet::MAX_PAYLOAD;
use crate::wire::{Control, ControlBody, Extensions, Handshake, HsExtension, Packet, Seq};

/// Distance of two copies of a request, as libsrt has it.
pub const REPEAT: Duration = Duration::from_millis(250);
/// Then nobody is there. libsrt gives up after this too.
pub const GIVE_UP: Duration = Duration::from_secs(3);

/// The version that we claim: libsrt 1.5.1.
const OUR_VERSION: u32 = 0x0001_0501;
/// Oldest libsrt with HSv5.
const MIN_VERSION: u32 = 0x0001_0300;
/// MTU that both sides start from, bytes.
const MTU: u32 = 1500;
/// IP 20, UDP 8, SRT 16.
const OVERHEAD: u32 = 44;
/// A TS packet.
const MIN_PAYLOAD: u32 = 188;
/// Types from here on are refusals.
const REFUSED: i32 = 1000;
/// Extension field of an induction request: UDT's datagram mode.
const DATAGRAM: u16 = 2;

/// What a caller asks for.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The listener.
    pub remote: SocketAddr,
    /// Sent as it is; empty is not sent.
    pub stream_id: String,
    /// Latency of both directions; the larger of it and the listener's holds, milliseconds.
    pub latency: u16,
    /// Receive buffer, packets.
    pub flow_window: u32,
    /// Socket id of ours, random, neither 0 nor above 30 bits.
    pub local_id: u32,
    /// First sequence number, random, less than `0x7FFF_FFFF`.
    pub initial_seq: u32,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody answered for [`GIVE_UP`].
    #[error("no answer")]
    Silence,
    /// The listener does not want it; what `srt_getrejectreason` calls the reason.
    #[error("refused, reason {0}{words}", words = words(*.0))]
    Refused(i32),
    /// The listener is not one of HSv5, or its answer makes no sense.
    #[error("the listener's answer makes no sense: {0}")]
    Answer(&'static str),
    /// One side encrypts and the other does not, or the passphrases differ.
    #[error("the listener does not accept the passphrase")]
    Secret,
}

/// What the codes of a listener mean, for the log.
fn words(reason: i32) -> &'static str {
    match reason {
        10 => " (wrong passphrase)",
        11 => " (a passphrase on one side only)",
        1400 => " (bad request)",
        1401 => " (not authorised)",
        1402 => " (overloaded)",
        1403 => " (forbidden)",
        1404 => " (not found)",
        1409 => " (the path has a publisher)",
        _ => "",
    }
}

/// A handshake in progress.
#[derive(Debug)]
pub struct Calling {
    offer: Offer,
    keys: Option<Generated>,
    start: Instant,
    request: Handshake,
    concluding: bool,
    due: Instant,
    give_up: Instant,
}

/// A connection that was agreed on.
#[derive(Debug)]
pub struct Called {
    /// What was agreed on; `key.socket_id` is the listener's.
    pub terms: Terms,
    /// The keys, if there is a passphrase.
    pub keys: Option<Generated>,
    /// Zero of our timestamps.
    pub start: Instant,
}

impl Calling {
    /// A handshake that begins at `now`. With `keys` the connection is encrypted.
    pub fn new(offer: Offer, keys: Option<Generated>, now: Instant) -> Self {
        let request = Handshake {
            version: 4,
            encryption: 0,
            extension: DATAGRAM,
            initial_seq: offer.initial_seq,
            mss: MTU,
            flow_window: offer.flow_window,
            kind: INDUCTION,
            socket_id: offer.local_id,
            cookie: 0,
            peer_ip: peer_ip_field(offer.remote.ip()),
            extensions: Bytes::new(),
        };
        Self { offer, keys, start: now, request, concluding: false, due: now, give_up: now + GIVE_UP }
    }

    /// The next datagram for the listener, if one is due.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if now < self.due {
            return None;
        }
        self.due = now + REPEAT;
        // Modulo 2^32, as every timestamp on the wire.
        let timestamp = now.saturating_duration_since(self.start).as_micros() as u32;
        let body = ControlBody::Handshake(self.request.to_bytes());
        Some(Control { timestamp, destination: 0, body }.to_bytes())
    }

    /// When [`Calling::poll_transmit`] or [`Calling::check`] has something to say.
    pub fn poll_timeout(&self) -> Instant {
        self.due.min(self.give_up)
    }

    /// Whether there is still hope at `now`.
    ///
    /// # Errors
    /// [`CallError::Silence`].
    pub fn check(&self, now: Instant) -> Result<(), CallError> {
        if now >= self.give_up { Err(CallError::Silence) } else { Ok(()) }
    }

    /// Takes a datagram of the listener. `None`: not the end of it yet. Data may overtake the answer and is lost.
    ///
    /// # Errors
    /// [`CallError`]; the call is over.
    pub fn handle(&mut self, datagram: Bytes, now: Instant) -> Result<Option<Called>, CallError> {
        let Ok(Packet::Control(Control { timestamp, destination, body: ControlBody::Handshake(body) })) =
            Packet::parse(datagram)
        else {
            return Ok(None);
        };
        let Ok(answer) = Handshake::parse(body) else { return Ok(None) };
        if destination != self.offer.local_id {
            return Ok(None);
        }
        if answer.kind >= REFUSED {
            return Err(CallError::Refused(answer.kind - REFUSED));
        }
        match (self.concluding, answer.kind) {
            (false, INDUCTION) => self.conclude(&answer, now).map(|()| None),
            (true, CONCLUSION) => self.agree(answer, timestamp, now).map(Some),
            // A repeated answer to the induction.
            _ => Ok(None),
        }
    }

    fn conclude(&mut self, answer: &Handshake, now: Instant) -> Result<(), CallError> {
        if answer.version != handshake::VERSION || answer.extension != MAGIC {
            return Err(CallError::Answer("it does not speak HSv5"));
        }
        let hs = HsExtension {
            version: OUR_VERSION,
            flags: flags::OURS,
            receive_latency: self.offer.latency,
            send_latency: self.offer.latency,
        };
        let stream_id = Some(self.offer.stream_id.as_bytes().to_vec()).filter(|id| !id.is_empty());
        let key_request = self.keys.as_ref().map(|keys| keys.material.raw().clone());
        let extensions = Extensions { request: Some(hs), stream_id, key_request, ..Extensions::default() };
        self.request.version = handshake::VERSION;
        self.request.encryption = self.keys.as_ref().map_or(0, |keys| keys.material.encryption_field());
        self.request.extension = extensions.field();
        self.request.kind = CONCLUSION;
        self.request.cookie = answer.cookie;
        self.request.extensions = extensions.to_bytes();
        self.concluding = true;
        self.due = now;
        Ok(())
    }

    fn agree(&mut self, answer: Handshake, timestamp: u32, now: Instant) -> Result<Called, CallError> {
        if answer.initial_seq != self.offer.initial_seq || answer.socket_id == 0 {
            return Err(CallError::Answer("another sequence number than ours"));
        }
        let blocks = Extensions::parse(answer.extensions)
            .map_err(|_| CallError::Answer("an extension that cannot be read"))?;
        let hs = blocks.response.ok_or(CallError::Answer("no SRT extension"))?;
        if hs.version < MIN_VERSION {
            return Err(CallError::Answer("SRT version before 1.3.0"));
        }
        // One word instead of the material is a failure state.
        let accepted = match (&self.keys, &blocks.key_response) {
            (None, None) => true,
            (Some(keys), Some(response)) => response == keys.material.raw(),
            _ => false,
        };
        if !accepted {
            return Err(CallError::Secret);
        }
        let mss = answer.mss.min(MTU);
        if mss < OVERHEAD + MIN_PAYLOAD {
            return Err(CallError::Answer("MTU too small for a TS packet"));
        }
        let terms = Terms {
            key: CallKey {
                from: self.offer.remote,
                socket_id: answer.socket_id,
                initial_seq: self.offer.initial_seq,
            },
            initial_seq: Seq::new(self.offer.initial_seq),
            arrived: now,
            timestamp,
            // The listener has taken the larger of both wishes: its results hold.
            recv_latency: Duration::from_millis(hs.send_latency.into()),
            send_latency: Duration::from_millis(hs.receive_latency.into()),
            flow_window: answer.flow_window,
            max_payload: ((mss - OVERHEAD) as usize).min(MAX_PAYLOAD),
            flags: hs.flags,
        };
        Ok(Called { terms, keys: self.keys.take(), start: self.start })
    }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
