//! One RTMP connection as a client sees it, sans-IO.
//!
//! ```text
//! Handshake -> Connecting -> Creating -> Starting -> Live
//! ```
//!
//! [`Client::push`] takes bytes, [`Client::poll`] gives out what they mean, [`Client::output`] is what has to be sent.

mod auth;
#[cfg(test)]
mod auth_tests;
mod error;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use moqgate_core::Direction;
use moqgate_mux::flv::{Tag, TagKind};

use super::Limits;
use super::live::{kind_of, tags};
use super::wire::Wire;
use crate::proto::amf0::Value;
use crate::proto::command::{Capabilities, Said, object};
use crate::proto::handshake::{ClientHandshake, Step};
use crate::proto::message::{Message, kind};

pub use auth::{Login, LoginError};
pub use error::ClientError;

/// Bytes of messages before publishing or playing.
const MAX_PREAMBLE: usize = 64 << 10;
/// Events that wait; what follows stays in the input.
const MAX_EVENTS: usize = 64;
/// What ffmpeg and OBS set, which every server has met.
const CHUNK_SIZE: u32 = 4096;
/// How much a player says that it holds, milliseconds: what ffmpeg says.
const BUFFER_MS: u32 = 3000;
/// Of `play`: live, or else recorded.
const LIVE_OR_RECORDED: f64 = -2000.0;
/// `capsEx` of what we read and write: 2 multitrack, 4 `ModEx` (enhanced RTMP v2).
const CAPS_EX: f64 = 6.0;
/// `CanForward` of the FourCC maps: nothing is decoded here.
const CAN_FORWARD: f64 = 4.0;
/// Shorter keys are names, and parts of other words.
const SECRET_LEN: usize = 8;
/// The order to keep what follows for players that come later.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

/// Numbers of the calls whose answers matter, and of the others. The fixed ones are those of ffmpeg.
mod txn {
    pub(super) const CONNECT: f64 = 1.0;
    pub(super) const RELEASE_STREAM: f64 = 2.0;
    pub(super) const FC_PUBLISH: f64 = 3.0;
    pub(super) const CREATE_STREAM: f64 = 4.0;
    pub(super) const START: f64 = 5.0;
    pub(super) const FC_UNPUBLISH: f64 = 6.0;
    pub(super) const DELETE_STREAM: f64 = 7.0;
}

/// What to ask a server for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// [`Direction::Publish`] to publish there, [`Direction::Subscribe`] to play from there.
    pub direction: Direction,
    /// Application, as it is sent.
    pub app: String,
    /// `scheme://host:port/app`.
    pub tc_url: String,
    /// Stream key, with its query.
    pub key: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// The server agreed; it can take these codings.
    Started(Capabilities),
    /// Media of what is played.
    Tag(Tag),
    /// What is played is over.
    Ended,
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    wish: Wish,
    state: State,
    events: VecDeque<ClientEvent>,
    limits: Limits,
    deadline: Instant,
    preamble: usize,
    capabilities: Capabilities,
}

#[derive(Debug)]
enum State {
    Handshake(ClientHandshake),
    Connecting,
    Creating,
    Starting { stream: u32 },
    Live { stream: u32, heard: Instant },
    Over,
}

impl Client {
    /// A client whose connection is just open. `seed` is any number that differs between connections.
    pub fn new(wish: Wish, limits: Limits, seed: u64, now: Instant) -> Self {
        let mut wire = Wire::new(now);
        wire.out.extend_from_slice(&ClientHandshake::hello(seed));
        Self {
            wire,
            wish,
            state: State::Handshake(ClientHandshake::default()),
            events: VecDeque::new(),
            limits,
            deadline: now + limits.start,
            preamble: 0,
            capabilities: Capabilities::default(),
        }
    }

    /// Takes from the front of `input` what it can, until many events wait: then it has to be called again, after
    /// [`Client::poll`], with what is left.
    ///
    /// # Errors
    /// [`ClientError`]: the connection is over.
    pub fn push(&mut self, input: &mut BytesMut, now: Instant) -> Result<(), ClientError> {
        let before = input.len();
        let outcome = self.consume(input, now);
        self.wire.received(before - input.len(), !matches!(self.state, State::Handshake(_)));
        if outcome.is_err() {
            self.state = State::Over;
        }
        outcome
    }

    /// What happened next; `None` when nothing did.
    pub fn poll(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// What has to be sent; empty when nothing has.
    pub fn output(&mut self) -> Bytes {
        self.wire.out.split().freeze()
    }

    /// Sends a tag of what is published. It does nothing before [`ClientEvent::Started`].
    pub fn send(&mut self, tag: Tag) {
        let State::Live { stream, .. } = self.state else { return };
        let body = match tag.kind {
            TagKind::Audio | TagKind::Video => tag.body,
            TagKind::Script => [SET_DATA_FRAME, &tag.body].concat().into(),
        };
        self.wire.media(kind_of(tag.kind), tag.timestamp_ms, stream, body);
    }

    /// Says goodbye, if there is anything to leave. Nothing more is read.
    pub fn finish(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Over);
        let (State::Live { stream, .. } | State::Starting { stream }) = state else { return };
        if self.wish.direction == Direction::Publish {
            self.call("FCUnpublish", txn::FC_UNPUBLISH, 0, vec![text(&self.wish.key)]);
        }
        self.call("deleteStream", txn::DELETE_STREAM, 0, vec![Value::Number(stream.into())]);
    }

    /// When [`Client::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Live { heard, .. } if self.wish.direction == Direction::Subscribe => {
                Some(heard + self.limits.idle)
            }
            // A server has little to say to a publisher.
            State::Live { .. } | State::Over => None,
            State::Handshake(_) | State::Connecting | State::Creating | State::Starting { .. } => {
                Some(self.deadline)
            }
        }
    }

    /// Looks at the limits.
    ///
    /// # Errors
    /// [`ClientError`]: the server has taken too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return Ok(());
        }
        let idle = matches!(self.state, State::Live { .. });
        self.state = State::Over;
        Err(if idle { ClientError::Idle } else { ClientError::Deadline })
    }

    fn consume(&mut self, input: &mut BytesMut, now: Instant) -> Result<(), ClientError> {
        while self.events.len() < MAX_EVENTS {
            match &mut self.state {
                State::Handshake(handshake) => match handshake.advance(input)? {
                    Step::More => return Ok(()),
                    Step::Reply(reply) => self.wire.out.extend_from_slice(&reply),
                    Step::Done => self.connect(),
                },
                State::Over => {
                    input.clear();
                    return Ok(());
                }
                State::Connecting | State::Creating | State::Starting { .. } | State::Live { .. } => {
                    let Some(message) = self.wire.reader.read(input)? else { return Ok(()) };
                    self.message(&message, now)?;
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self) {
        let all = || object([("*", Value::Number(CAN_FORWARD))]);
        let info = object([
            ("app", text(&self.wish.app)),
            ("type", text("nonprivate")),
            ("flashVer", text("FMLE/3.0 (compatible; moqgate)")),
            ("tcUrl", text(&self.wish.tc_url)),
            ("objectEncoding", Value::Number(0.0)),
            ("fourCcList", Value::Array(vec![text("*")])),
            ("videoFourCcInfoMap", all()),
            ("audioFourCcInfoMap", all()),
            ("capsEx", Value::Number(CAPS_EX)),
        ]);
        self.wire.call("connect", txn::CONNECT, 0, vec![info]);
        self.wire.set_chunk_size(CHUNK_SIZE);
        self.state = State::Connecting;
    }

    fn message(&mut self, message: &Message, now: Instant) -> Result<(), ClientError> {
        if !matches!(self.state, State::Live { .. }) {
            self.preamble += message.body.len();
            if self.preamble > MAX_PREAMBLE {
                return Err(ClientError::Flood);
            }
        }
        match message.kind {
            kind::COMMAND | kind::COMMAND_AMF3 => {
                self.wire.count(now).map_err(|_| ClientError::Flood)?;
                let said = Said::parse(&message.body, message.kind == kind::COMMAND_AMF3)?;
                self.said(&said, now)
            }
            kind::AUDIO | kind::VIDEO | kind::DATA | kind::DATA_AMF3 | kind::AGGREGATE => {
                if self.media(message, now) {
                    return Ok(());
                }
                self.wire.count(now).map_err(|_| ClientError::Flood)
            }
            _ => {
                self.wire.count(now).map_err(|_| ClientError::Flood)?;
                self.wire.obey(message);
                Ok(())
            }
        }
    }

    /// Gives out what is played. Whether that was any.
    fn media(&mut self, message: &Message, now: Instant) -> bool {
        if self.wish.direction != Direction::Subscribe {
            return false;
        }
        let is_media = matches!(message.kind, kind::AUDIO | kind::VIDEO | kind::AGGREGATE);
        if let State::Starting { stream } = self.state
            && is_media
        {
            // Not every server says that it begins.
            self.start(stream, now);
        }
        let State::Live { stream, heard } = &mut self.state else { return false };
        let events = &mut self.events;
        let any = tags(message, *stream, |tag| events.push_back(ClientEvent::Tag(tag)));
        if any && is_media {
            *heard = now;
        }
        any
    }

    fn said(&mut self, said: &Said, now: Instant) -> Result<(), ClientError> {
        match (&self.state, said.name.as_str()) {
            (State::Connecting, "_result") if said.txn == txn::CONNECT => {
                for info in &said.arguments {
                    self.capabilities.add(info);
                }
                self.create();
            }
            (State::Connecting, "_error") if said.txn == txn::CONNECT => return Err(self.refusal(said)),
            (State::Creating, "_result") if said.txn == txn::CREATE_STREAM => {
                let stream = said.arguments.iter().find_map(Value::as_number);
                let Some(stream) = stream.filter(|stream| *stream >= 0.0) else {
                    return Err(ClientError::Order("createStream gave no stream"));
                };
                self.ask(stream as u32);
            }
            (State::Creating, "_error") if said.txn == txn::CREATE_STREAM => return Err(self.refusal(said)),
            (State::Starting { .. }, "_error") if said.txn == txn::START => return Err(self.refusal(said)),
            (_, "onStatus") => return self.status(said, now),
            (_, "close") => return Err(ClientError::Closed),
            // What was called as a courtesy need not be known to the server.
            _ => {}
        }
        Ok(())
    }

    fn status(&mut self, said: &Said, now: Instant) -> Result<(), ClientError> {
        let property = |key: &str| said.arguments.iter().find_map(|value| value.get(key)?.as_text());
        if property("level") == Some("error") {
            return Err(self.refusal(said));
        }
        match (&self.state, property("code").unwrap_or_default()) {
            (State::Starting { stream }, "NetStream.Publish.Start" | "NetStream.Play.Start") => {
                let stream = *stream;
                self.start(stream, now);
            }
            (
                State::Live { .. },
                "NetStream.Play.Stop" | "NetStream.Play.Complete" | "NetStream.Play.UnpublishNotify",
            ) => {
                self.events.push_back(ClientEvent::Ended);
            }
            _ => {}
        }
        Ok(())
    }

    fn create(&mut self) {
        if self.wish.direction == Direction::Publish {
            self.call("releaseStream", txn::RELEASE_STREAM, 0, vec![text(&self.wish.key)]);
            self.call("FCPublish", txn::FC_PUBLISH, 0, vec![text(&self.wish.key)]);
        } else {
            self.wire.set_window();
        }
        self.call("createStream", txn::CREATE_STREAM, 0, vec![]);
        self.state = State::Creating;
    }

    fn ask(&mut self, stream: u32) {
        let key = text(&self.wish.key);
        if self.wish.direction == Direction::Publish {
            self.call("publish", txn::START, stream, vec![key, text("live")]);
        } else {
            self.call("play", txn::START, stream, vec![key, Value::Number(LIVE_OR_RECORDED)]);
            self.wire.set_buffer_length(stream, BUFFER_MS);
        }
        self.state = State::Starting { stream };
    }

    fn start(&mut self, stream: u32, now: Instant) {
        self.events.push_back(ClientEvent::Started(std::mem::take(&mut self.capabilities)));
        self.state = State::Live { stream, heard: now };
    }

    /// The server's words, without the key: they go to the log.
    fn refusal(&self, said: &Said) -> ClientError {
        let property = |key: &str| {
            let text = said.arguments.iter().find_map(|value| value.get(key)?.as_text()).unwrap_or_default();
            let secret = Some(self.wish.key.as_str()).filter(|key| key.len() >= SECRET_LEN);
            secret.map_or(text.to_owned(), |secret| text.replace(secret, "..."))
        };
        ClientError::refused(&property("code"), &property("description"))
    }

    /// A command with a null where others have an object.
    fn call(&mut self, name: &str, txn: f64, stream: u32, mut arguments: Vec<Value>) {
        arguments.insert(0, Value::Null);
        self.wire.call(name, txn, stream, arguments);
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
