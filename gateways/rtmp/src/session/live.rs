//! Publishing and playing.

use std::time::Instant;

use bytes::Bytes;
use moqgate_mux::flv::{Tag, TagKind};

use super::error::SessionError;
use super::start::AwaitStart;
use super::wire::Wire;
use crate::proto::amf0::{Reader, Value};
use crate::proto::command::Command;
use crate::proto::message::{Message, kind, split_aggregate};

/// The client publishes.
#[derive(Debug)]
pub(super) struct Publishing {
    pub(super) start: AwaitStart,
    pub(super) stream: u32,
    /// When media came last.
    pub(super) heard: Instant,
}

/// The client plays.
#[derive(Debug)]
pub(super) struct Playing {
    pub(super) start: AwaitStart,
    pub(super) stream: u32,
}

/// Whether a command ended what was going on.
pub(super) enum After<T> {
    More(T),
    Over(AwaitStart),
}

impl Publishing {
    pub(super) fn command(mut self, wire: &mut Wire, command: Command) -> Result<After<Self>, SessionError> {
        if matches!(command, Command::DeleteStream | Command::CloseStream) {
            return Ok(After::Over(self.start));
        }
        self.start.serve(wire, command)?;
        Ok(After::More(self))
    }

    /// Gives out the tags in a media message. Returns whether there were any.
    pub(super) fn media(&mut self, message: &Message, now: Instant, give: impl FnMut(Tag)) -> bool {
        let any = tags(message, self.stream, give);
        if any {
            self.heard = now;
        }
        any
    }
}

/// Gives out the tags in a media message for `stream`. Returns whether there were any.
pub(super) fn tags(message: &Message, stream: u32, mut give: impl FnMut(Tag)) -> bool {
    // Some send media on stream 0; on another stream it is not part of this broadcast.
    if message.stream != 0 && message.stream != stream {
        return false;
    }
    let mut any = false;
    let mut pass = |message: &Message| {
        if let Some(tag) = tag(message) {
            any = true;
            give(tag);
        }
    };
    if message.kind == kind::AGGREGATE {
        split_aggregate(message).iter().for_each(&mut pass);
    } else {
        pass(message);
    }
    any
}

impl Playing {
    pub(super) fn command(mut self, wire: &mut Wire, command: Command) -> Result<After<Self>, SessionError> {
        if matches!(command, Command::DeleteStream | Command::CloseStream) {
            return Ok(After::Over(self.start));
        }
        self.start.serve(wire, command)?;
        Ok(After::More(self))
    }

    pub(super) fn send(&self, wire: &mut Wire, tag: Tag) {
        wire.media(kind_of(tag.kind), tag.timestamp_ms, self.stream, tag.body);
    }

    pub(super) fn finish(&self, wire: &mut Wire) {
        wire.status(self.stream, "status", "NetStream.Play.UnpublishNotify", "The publisher left.");
        wire.stream_eof(self.stream);
    }
}

/// The type of the message that carries such a tag.
pub(super) fn kind_of(kind: TagKind) -> u8 {
    match kind {
        TagKind::Audio => kind::AUDIO,
        TagKind::Video => kind::VIDEO,
        TagKind::Script => kind::DATA,
    }
}

/// The tag in a message; none in one that is empty or means nothing.
fn tag(message: &Message) -> Option<Tag> {
    let (kind, body) = match message.kind {
        kind::AUDIO => (TagKind::Audio, message.body.clone()),
        kind::VIDEO => (TagKind::Video, message.body.clone()),
        kind::DATA => (TagKind::Script, script(message.body.clone())?),
        kind::DATA_AMF3 => {
            // A byte that selects nothing, which some leave out.
            let skip = usize::from(message.body.first() == Some(&0));
            (TagKind::Script, script(message.body.slice(skip..))?)
        }
        _ => return None,
    };
    if body.is_empty() { None } else { Some(Tag { kind, timestamp_ms: message.timestamp, body }) }
}

/// The body of a script tag: without the order to keep it, which is meant for us.
fn script(body: Bytes) -> Option<Bytes> {
    let mut reader = Reader::new(&body);
    let first = reader.next_value().ok()??;
    match first.as_text()? {
        "@setDataFrame" => Some(body.slice_ref(reader.rest())),
        "@clearDataFrame" => None,
        _ => Some(body),
    }
    .filter(|script| matches!(Reader::new(script).next_value(), Ok(Some(Value::Text(_)))))
}
