//! One RTMP connection as a server sees it, sans-IO; [`client`] is the other side.
//!
//! ```text
//! Handshake -> AwaitConnect -> AwaitStart -> Deciding -> Publishing | Playing
//!                                  ^______________________________|
//! ```
//!
//! [`Session::push`] takes bytes, [`Session::poll`] gives out what they mean, [`Session::output`] is what has to be
//! sent. After [`Event::Ask`] nothing is read until [`Session::accept`] or [`Session::refuse`].

pub mod client;
mod connect;
mod error;
mod key;
mod live;
mod start;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use moqgate_mux::flv::Tag;

use crate::proto::command::Command;
use crate::proto::handshake::{ServerHandshake, Step};
use crate::proto::message::{Message, kind};
use connect::AwaitConnect;
use live::{After, Playing, Publishing};
use start::{AwaitStart, Deciding, Live, Started};
use wire::Wire;

pub use error::{Refusal, SessionError};
pub use key::{KeyError, StreamName, resolve};
pub use start::Ask;

/// Bytes of messages before publishing or playing.
const MAX_PREAMBLE: usize = 64 << 10;
/// Commands before publishing or playing; FMLE sends eight.
const MAX_PREAMBLE_COMMANDS: u32 = 16;
/// Events that wait; what follows stays in the input.
const MAX_EVENTS: usize = 64;
/// A silent peer is asked whether it is there: middleboxes forget connections after a minute.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// How long a peer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte to `publish` or `play`.
    pub start: Duration,
    /// Without media while publishing: then the path is free again.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // Shorter idle times cut encoders off that wait for their camera.
        Self { start: Duration::from_secs(10), idle: Duration::from_secs(20) }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The client wants to publish or to play.
    Ask(Box<Ask>),
    /// Media of the publisher.
    Tag(Tag),
    /// The publisher or player has stopped; it may ask again.
    Stopped,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    wire: Wire,
    state: State,
    events: VecDeque<Event>,
    limits: Limits,
    seed: u64,
    /// End of the time for the preamble.
    deadline: Instant,
    preamble: usize,
    preamble_commands: u32,
    heard: Instant,
    pinged: Instant,
}

#[derive(Debug)]
enum State {
    Handshake(ServerHandshake),
    Connect(AwaitConnect),
    Start(AwaitStart),
    Deciding(Deciding),
    Publishing(Publishing),
    Playing(Playing),
    /// After an error or a refusal.
    Over,
}

impl Session {
    /// A session whose peer has just connected. `seed` is any number that differs between connections.
    pub fn new(limits: Limits, seed: u64, now: Instant) -> Self {
        Self {
            wire: Wire::new(now),
            state: State::Handshake(ServerHandshake::default()),
            events: VecDeque::new(),
            limits,
            seed,
            deadline: now + limits.start,
            preamble: 0,
            preamble_commands: 0,
            heard: now,
            pinged: now,
        }
    }

    /// Takes from the front of `input` what it can, until a decision is needed or many events wait: then it has to be
    /// called again, after [`Session::poll`], with what is left.
    ///
    /// # Errors
    /// [`SessionError`]: the session is over; what [`Session::output`] still has explains it to the client.
    pub fn push(&mut self, input: &mut BytesMut, now: Instant) -> Result<(), SessionError> {
        let before = input.len();
        let outcome = self.consume(input, now);
        let consumed = before - input.len();
        if consumed > 0 {
            self.heard = now;
        }
        self.wire.received(consumed, !matches!(self.state, State::Handshake(_)));
        if outcome.is_err() {
            self.state = State::Over;
        }
        outcome
    }

    /// What happened next; `None` when nothing did.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What happened next, if it is media: for whoever has no time for the rest, as long as there is media.
    pub fn poll_tag(&mut self) -> Option<Tag> {
        match self.events.pop_front()? {
            Event::Tag(tag) => Some(tag),
            other @ (Event::Ask(_) | Event::Stopped) => {
                self.events.push_front(other);
                None
            }
        }
    }

    /// Whether there is an event or output to take.
    pub fn wants_attention(&self) -> bool {
        !self.events.is_empty() || !self.wire.out.is_empty()
    }

    /// What has to be sent; empty when nothing has.
    pub fn output(&mut self) -> Bytes {
        if self.wire.out.is_empty() {
            return Bytes::new();
        }
        self.wire.out.split().freeze()
    }

    /// Whether [`Event::Ask`] waits for its answer.
    pub fn is_deciding(&self) -> bool {
        matches!(self.state, State::Deciding(_))
    }

    /// Bytes that were received.
    pub fn received(&self) -> u64 {
        self.wire.total()
    }

    /// The answer to [`Event::Ask`]: go ahead.
    pub fn accept(&mut self, now: Instant) {
        if !self.is_deciding() {
            return;
        }
        if let State::Deciding(deciding) = std::mem::replace(&mut self.state, State::Over) {
            self.state = match deciding.accept(&mut self.wire, now) {
                Live::Publishing(publishing) => State::Publishing(publishing),
                Live::Playing(playing) => State::Playing(playing),
            };
        }
    }

    /// The answer to [`Event::Ask`]: no. Nothing more is read.
    pub fn refuse(&mut self, refusal: &Refusal) {
        if let State::Deciding(deciding) = std::mem::replace(&mut self.state, State::Over) {
            deciding.refuse(&mut self.wire, refusal);
        }
    }

    /// Ends publishing or playing with an error status. Nothing more is read.
    pub fn end(&mut self, why: &Refusal) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Publishing(Publishing { stream, .. }) | State::Playing(Playing { stream, .. }) => {
                self.wire.status(stream, "error", why.code, &why.description);
            }
            State::Handshake(_) | State::Connect(_) | State::Start(_) | State::Deciding(_) | State::Over => {}
        }
    }

    /// Sends a tag to a player; without one it does nothing.
    pub fn send(&mut self, tag: Tag) {
        if let State::Playing(playing) = &self.state {
            playing.send(&mut self.wire, tag);
        }
    }

    /// Tells a player that there will be no more.
    pub fn finish(&mut self) {
        if let State::Playing(playing) = &self.state {
            playing.finish(&mut self.wire);
        }
    }

    /// When [`Session::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Handshake(_) | State::Connect(_) | State::Start(_) => Some(self.deadline),
            State::Publishing(publishing) => Some(self.next_ping().min(publishing.heard + self.limits.idle)),
            State::Playing(_) => Some(self.next_ping()),
            // Who decides has a limit of its own.
            State::Deciding(_) | State::Over => None,
        }
    }

    /// Looks at the limits.
    ///
    /// # Errors
    /// [`SessionError`]: the peer has taken too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        let over = match &self.state {
            State::Handshake(_) | State::Connect(_) | State::Start(_) => {
                (now >= self.deadline).then_some(SessionError::Deadline)
            }
            State::Publishing(publishing) => {
                (now >= publishing.heard + self.limits.idle).then_some(SessionError::Idle)
            }
            State::Playing(_) | State::Deciding(_) | State::Over => None,
        };
        if let Some(error) = over {
            self.state = State::Over;
            return Err(error);
        }
        if matches!(self.state, State::Publishing(_) | State::Playing(_)) && now >= self.next_ping() {
            self.pinged = now;
            self.wire.ping(self.wire.total() as u32);
        }
        Ok(())
    }

    fn next_ping(&self) -> Instant {
        self.heard.max(self.pinged) + PING_INTERVAL
    }

    fn consume(&mut self, input: &mut BytesMut, now: Instant) -> Result<(), SessionError> {
        while self.events.len() < MAX_EVENTS {
            match &mut self.state {
                State::Handshake(handshake) => match handshake.advance(input, self.seed)? {
                    Step::More => return Ok(()),
                    Step::Reply(reply) => self.wire.out.extend_from_slice(&reply),
                    Step::Done => self.state = State::Connect(AwaitConnect),
                },
                State::Deciding(_) => return Ok(()),
                State::Over => {
                    input.clear();
                    return Ok(());
                }
                State::Connect(_) | State::Start(_) | State::Publishing(_) | State::Playing(_) => {
                    let message = self.wire.reader.read(input)?;
                    self.check_preamble(message.as_ref())?;
                    let Some(message) = message else { return Ok(()) };
                    self.message(message, now)?;
                }
            }
        }
        Ok(())
    }

    fn check_preamble(&mut self, message: Option<&Message>) -> Result<(), SessionError> {
        if matches!(self.state, State::Publishing(_)) {
            return Ok(());
        }
        // A player says little for ever: control messages have a rate of their own.
        if let Some(message) = message.filter(|_| !matches!(self.state, State::Playing(_))) {
            self.preamble += message.body.len();
        }
        if self.preamble + self.wire.reader.partial() > MAX_PREAMBLE {
            return Err(SessionError::Preamble);
        }
        Ok(())
    }

    fn message(&mut self, message: Message, now: Instant) -> Result<(), SessionError> {
        match message.kind {
            kind::COMMAND | kind::COMMAND_AMF3 => {
                self.wire.count(now)?;
                let command = Command::parse(&message.body, message.kind == kind::COMMAND_AMF3)?;
                self.command(command, message.stream, now)
            }
            kind::AUDIO | kind::VIDEO | kind::DATA | kind::DATA_AMF3 | kind::AGGREGATE => {
                let mut any = false;
                if let State::Publishing(publishing) = &mut self.state {
                    let events = &mut self.events;
                    any = publishing.media(&message, now, |tag| events.push_back(Event::Tag(tag)));
                }
                // Empty or stray messages are free to send and cost us as much as others.
                if any { Ok(()) } else { self.wire.count(now) }
            }
            _ => {
                self.wire.count(now)?;
                self.wire.obey(&message);
                Ok(())
            }
        }
    }

    fn command(&mut self, command: Command, stream: u32, now: Instant) -> Result<(), SessionError> {
        if matches!(self.state, State::Connect(_) | State::Start(_)) {
            self.preamble_commands += 1;
            if self.preamble_commands > MAX_PREAMBLE_COMMANDS {
                return Err(SessionError::Preamble);
            }
        }
        let wire = &mut self.wire;
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Connect(connect) => State::Start(connect.command(wire, command)?),
            State::Start(start) => match start.command(wire, command, stream)? {
                Started::Not(start) => State::Start(start),
                Started::Asked(deciding, ask) => {
                    self.events.push_back(Event::Ask(Box::new(ask)));
                    State::Deciding(deciding)
                }
            },
            State::Publishing(publishing) => match publishing.command(wire, command)? {
                After::More(publishing) => State::Publishing(publishing),
                After::Over(start) => self.stopped(start, now),
            },
            State::Playing(playing) => match playing.command(wire, command)? {
                After::More(playing) => State::Playing(playing),
                After::Over(start) => self.stopped(start, now),
            },
            other @ (State::Handshake(_) | State::Deciding(_) | State::Over) => other,
        };
        Ok(())
    }

    fn stopped(&mut self, start: AwaitStart, now: Instant) -> State {
        self.events.push_back(Event::Stopped);
        self.deadline = now + self.limits.start;
        (self.preamble, self.preamble_commands) = (0, 0);
        State::Start(start)
    }
}
