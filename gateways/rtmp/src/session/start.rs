//! Connected: streams are created, until the client publishes or plays.

use moqgate_core::Direction;

use super::error::{Refusal, SessionError};
use super::key::{StreamName, resolve};
use super::live::{Playing, Publishing};
use super::wire::Wire;
use crate::proto::amf0::Value;
use crate::proto::command::{Capabilities, Command, Connect, object};

/// Message streams of one connection; an encoder needs one.
const MAX_STREAMS: u32 = 8;

/// Between `connect` and `publish` or `play`.
#[derive(Debug)]
pub(super) struct AwaitStart {
    connect: Connect,
    streams: u32,
}

/// What the client asks for; the answer is [`Session::accept`](super::Session::accept) or
/// [`Session::refuse`](super::Session::refuse).
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// [`Direction::Publish`] or [`Direction::Subscribe`].
    pub direction: Direction,
    /// The broadcast, and what the client showed.
    pub name: StreamName,
    /// What it can take, if it plays.
    pub capabilities: Capabilities,
    /// Its program.
    pub agent: Option<String>,
}

/// Waiting for the decision.
#[derive(Debug)]
pub(super) struct Deciding {
    start: AwaitStart,
    direction: Direction,
    stream: u32,
}

/// What a command led to.
pub(super) enum Started {
    Not(AwaitStart),
    Asked(Deciding, Ask),
}

impl AwaitStart {
    pub(super) fn new(connect: Connect) -> Self {
        Self { connect, streams: 0 }
    }

    /// `stream` is the message stream that the command came on.
    pub(super) fn command(
        mut self,
        wire: &mut Wire,
        command: Command,
        stream: u32,
    ) -> Result<Started, SessionError> {
        if let Command::Publish { key } = &command {
            return self.ask(wire, Direction::Publish, key, stream);
        }
        if let Command::Play { key } = &command {
            return self.ask(wire, Direction::Subscribe, key, stream);
        }
        self.serve(wire, command)?;
        Ok(Started::Not(self))
    }

    /// Commands that are the same before and during a broadcast.
    pub(super) fn serve(&mut self, wire: &mut Wire, command: Command) -> Result<(), SessionError> {
        let text = |text: &str| Value::Text(text.to_owned());
        match command {
            Command::ReleaseStream { txn } => {
                wire.answer("_result", txn, vec![Value::Null, Value::Undefined])
            }
            Command::FcPublish { txn, key } => {
                wire.answer("_result", txn, vec![Value::Null, Value::Undefined]);
                let info =
                    object([("code", text("NetStream.Publish.Start")), ("description", Value::Text(key))]);
                wire.notify("onFCPublish", vec![Value::Null, info]);
            }
            Command::FcUnpublish { key } => {
                let info = object([
                    ("code", text("NetStream.Unpublish.Success")),
                    ("description", Value::Text(key)),
                ]);
                wire.notify("onFCUnpublish", vec![Value::Null, info]);
            }
            Command::CreateStream { txn } => {
                if self.streams == MAX_STREAMS {
                    return Err(SessionError::Streams);
                }
                self.streams += 1;
                wire.answer("_result", txn, vec![Value::Null, Value::Number(self.streams.into())]);
            }
            Command::GetStreamLength { txn } => {
                wire.answer("_result", txn, vec![Value::Null, Value::Number(0.0)]);
            }
            Command::Courtesy { txn } => wire.answer("_result", txn, vec![Value::Null, Value::Null]),
            Command::Unknown { txn, .. } => {
                let info = object([
                    ("level", text("error")),
                    ("code", text("NetConnection.Call.Failed")),
                    ("description", text("no such command")),
                ]);
                wire.answer("_error", txn, vec![Value::Null, info]);
            }
            Command::Connect(_) | Command::Publish { .. } | Command::Play { .. } => {
                return Err(SessionError::Order("connect, publish or play out of place"));
            }
            Command::DeleteStream | Command::CloseStream | Command::Answer => {}
        }
        Ok(())
    }

    fn ask(
        self,
        wire: &mut Wire,
        direction: Direction,
        key: &str,
        stream: u32,
    ) -> Result<Started, SessionError> {
        // Some send it on stream 0, and some without a stream of their own.
        let stream = if stream == 0 { self.streams.max(1) } else { stream };
        let name = match resolve(&self.connect.app, key) {
            Ok(name) => name,
            Err(error) => {
                let reason = moqgate_core::DenyReason::BadRequest;
                say_no(wire, stream, &Refusal::new(direction, reason, error.to_string()));
                return Err(error.into());
            }
        };
        let ask = Ask {
            direction,
            name,
            capabilities: self.connect.capabilities.clone(),
            agent: self.connect.flash_ver.clone(),
        };
        Ok(Started::Asked(Deciding { start: self, direction, stream }, ask))
    }
}

/// Live one way or the other.
pub(super) enum Live {
    Publishing(Publishing),
    Playing(Playing),
}

impl Deciding {
    pub(super) fn accept(self, wire: &mut Wire, now: std::time::Instant) -> Live {
        wire.stream_begin(self.stream);
        match self.direction {
            Direction::Subscribe => {
                wire.status(self.stream, "status", "NetStream.Play.Reset", "Resetting.");
                wire.status(self.stream, "status", "NetStream.Play.Start", "Started playing.");
                Live::Playing(Playing { start: self.start, stream: self.stream })
            }
            Direction::Publish | Direction::Both => {
                wire.status(self.stream, "status", "NetStream.Publish.Start", "Started publishing.");
                Live::Publishing(Publishing { start: self.start, stream: self.stream, heard: now })
            }
        }
    }

    pub(super) fn refuse(self, wire: &mut Wire, refusal: &Refusal) {
        say_no(wire, self.stream, refusal);
    }
}

fn say_no(wire: &mut Wire, stream: u32, refusal: &Refusal) {
    wire.status(stream, "error", refusal.code, &refusal.description);
}
