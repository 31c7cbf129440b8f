//! What every state of a session shares: the chunk streams, what is to be sent, and the counts that bound a peer.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::error::SessionError;
use crate::proto::ack::{Acks, DEFAULT_WINDOW};
use crate::proto::amf0::Value;
use crate::proto::chunk::{ChunkReader, ChunkWriter, SEND_CHUNK_SIZE};
use crate::proto::command;
use crate::proto::message::{Message, UserControl, control_number, kind};

/// Commands and control messages per second. A player acknowledges ten times a second at 200 Mbit/s.
const MAX_CONTROLS: u32 = 100;

/// Chunk streams that we send on.
const CSID_CONTROL: u8 = 2;
const CSID_RESULT: u8 = 3;
const CSID_AUDIO: u8 = 4;
const CSID_STATUS: u8 = 5;
const CSID_VIDEO: u8 = 6;

/// User control events that we send.
const STREAM_BEGIN: u16 = 0;
const STREAM_EOF: u16 = 1;
const SET_BUFFER_LENGTH: u16 = 3;
const PING_REQUEST: u16 = 6;
const PING_RESPONSE: u16 = 7;

/// Both directions of the chunk stream.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) reader: ChunkReader,
    writer: ChunkWriter,
    pub(super) out: BytesMut,
    acks: Acks,
    second: Instant,
    controls: u32,
}

impl Wire {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            reader: ChunkReader::default(),
            writer: ChunkWriter::default(),
            out: BytesMut::new(),
            acks: Acks::default(),
            second: now,
            controls: 0,
        }
    }

    /// Counts bytes that were read, and acknowledges them when it is time.
    pub(super) fn received(&mut self, bytes: usize, chunks: bool) {
        let due = self.acks.received(bytes);
        // Before the end of the handshake nothing but the handshake may be sent.
        if let Some(total) = due.filter(|_| chunks) {
            self.control(kind::ACK, &total.to_be_bytes());
        }
    }

    /// Bytes since the connection began.
    pub(super) fn total(&self) -> u64 {
        self.acks.total()
    }

    /// Counts a message that carries no media.
    pub(super) fn count(&mut self, now: Instant) -> Result<(), SessionError> {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.controls) = (now, 0);
        }
        self.controls += 1;
        if self.controls > MAX_CONTROLS { Err(SessionError::Flood) } else { Ok(()) }
    }

    /// Does what a control message asks for.
    pub(super) fn obey(&mut self, message: &Message) {
        match message.kind {
            kind::WINDOW_ACK => {
                if let Some(window) = control_number(&message.body) {
                    self.acks.set_window(window);
                }
            }
            kind::USER_CONTROL => {
                if let UserControl::PingRequest(nonce) = UserControl::parse(&message.body) {
                    self.user_control(PING_RESPONSE, nonce);
                }
            }
            // Chunk size and abort are the reader's; what the peer acknowledges, TCP knows better.
            _ => {}
        }
    }

    /// What goes in front of the answer to `connect`: from here on replies fit into one chunk.
    pub(super) fn greet(&mut self) {
        self.set_window();
        let [a, b, c, d] = DEFAULT_WINDOW.to_be_bytes();
        // 2: a dynamic limit.
        self.control(kind::PEER_BANDWIDTH, &[a, b, c, d, 2]);
        self.set_chunk_size(SEND_CHUNK_SIZE as u32);
    }

    /// Asks for acknowledgements.
    pub(super) fn set_window(&mut self) {
        self.control(kind::WINDOW_ACK, &DEFAULT_WINDOW.to_be_bytes());
    }

    /// What follows is cut into pieces of this size.
    pub(super) fn set_chunk_size(&mut self, size: u32) {
        self.control(kind::SET_CHUNK_SIZE, &size.to_be_bytes());
    }

    /// Says how much of a stream we hold.
    pub(super) fn set_buffer_length(&mut self, stream: u32, millis: u32) {
        let mut body = SET_BUFFER_LENGTH.to_be_bytes().to_vec();
        body.extend(stream.to_be_bytes());
        body.extend(millis.to_be_bytes());
        self.control(kind::USER_CONTROL, &body);
    }

    /// A command to a server.
    pub(super) fn call(&mut self, name: &str, txn: f64, stream: u32, arguments: Vec<Value>) {
        self.command(CSID_RESULT, stream, name, txn, arguments);
    }

    pub(super) fn stream_begin(&mut self, stream: u32) {
        self.user_control(STREAM_BEGIN, stream);
    }

    pub(super) fn stream_eof(&mut self, stream: u32) {
        self.user_control(STREAM_EOF, stream);
    }

    pub(super) fn ping(&mut self, nonce: u32) {
        self.user_control(PING_REQUEST, nonce);
    }

    /// `_result` or `_error` for `txn`, unless nobody waits for it.
    pub(super) fn answer(&mut self, name: &str, txn: f64, arguments: Vec<Value>) {
        if txn != 0.0 {
            self.command(CSID_RESULT, 0, name, txn, arguments);
        }
    }

    /// A command of ours on the connection itself.
    pub(super) fn notify(&mut self, name: &str, arguments: Vec<Value>) {
        self.command(CSID_RESULT, 0, name, 0.0, arguments);
    }

    /// `onStatus` on a message stream.
    pub(super) fn status(&mut self, stream: u32, level: &str, code: &str, description: &str) {
        let info = command::object([
            ("level", Value::Text(level.to_owned())),
            ("code", Value::Text(code.to_owned())),
            ("description", Value::Text(description.to_owned())),
        ]);
        self.command(CSID_STATUS, stream, "onStatus", 0.0, vec![Value::Null, info]);
    }

    /// A message with media, or data for a player.
    pub(super) fn media(&mut self, kind: u8, timestamp: u32, stream: u32, body: Bytes) {
        let csid = match kind {
            kind::AUDIO => CSID_AUDIO,
            kind::VIDEO => CSID_VIDEO,
            _ => CSID_STATUS,
        };
        self.writer.write(csid, &Message { kind, timestamp, stream, body }, &mut self.out);
    }

    fn command(&mut self, csid: u8, stream: u32, name: &str, txn: f64, arguments: Vec<Value>) {
        let body = command::body(name, txn, arguments);
        self.writer.write(csid, &Message { kind: kind::COMMAND, timestamp: 0, stream, body }, &mut self.out);
    }

    fn user_control(&mut self, event: u16, number: u32) {
        let mut body = event.to_be_bytes().to_vec();
        body.extend(number.to_be_bytes());
        self.control(kind::USER_CONTROL, &body);
    }

    fn control(&mut self, kind: u8, body: &[u8]) {
        let body = Bytes::copy_from_slice(body);
        self.writer.write(CSID_CONTROL, &Message { kind, timestamp: 0, stream: 0, body }, &mut self.out);
    }
}
