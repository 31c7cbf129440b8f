use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use moqgate_core::Direction;
use moqgate_mux::flv::{Tag, TagKind};

use super::{Client, ClientError, ClientEvent, Wish};
use crate::proto::amf0::Value;
use crate::proto::chunk::{ChunkReader, ChunkWriter};
use crate::proto::command::{Said, body, object};
use crate::proto::handshake::{BLOCK, ClientHandshake};
use crate::proto::message::{Message, kind};
use crate::session::{Ask, Event, Limits, Refusal, Session};

fn wish(direction: Direction) -> Wish {
    Wish {
        direction,
        app: "live".to_owned(),
        tc_url: "rtmp://host/live".to_owned(),
        key: "cam0?token=abc".to_owned(),
    }
}

fn tag(kind: TagKind, timestamp_ms: u32, body: &[u8]) -> Tag {
    Tag { kind, timestamp_ms, body: Bytes::copy_from_slice(body) }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A client and one of our own sessions, without a wire between them.
struct Pair {
    client: Client,
    server: Session,
    now: Instant,
    up: BytesMut,
    down: BytesMut,
    asked: Option<Ask>,
    tags: Vec<Tag>,
    stopped: bool,
    events: Vec<ClientEvent>,
}

impl Pair {
    fn new(direction: Direction) -> Self {
        let now = Instant::now();
        Self {
            client: Client::new(wish(direction), Limits::default(), 1, now),
            server: Session::new(Limits::default(), 2, now),
            now,
            up: BytesMut::new(),
            down: BytesMut::new(),
            asked: None,
            tags: Vec::new(),
            stopped: false,
            events: Vec::new(),
        }
    }

    /// Carries everything until nothing is said any more.
    fn run(&mut self) -> Result<(), ClientError> {
        loop {
            self.up.extend_from_slice(&self.client.output());
            assert_eq!(self.server.push(&mut self.up, self.now), Ok(()));
            let mut any = false;
            while let Some(event) = self.server.poll() {
                any = true;
                match event {
                    Event::Ask(ask) => self.asked = Some(*ask),
                    Event::Tag(tag) => self.tags.push(tag),
                    Event::Stopped => self.stopped = true,
                }
            }
            let output = self.server.output();
            any |= !output.is_empty();
            self.down.extend_from_slice(&output);
            self.client.push(&mut self.down, self.now)?;
            while let Some(event) = self.client.poll() {
                any = true;
                self.events.push(event);
            }
            if !any {
                return Ok(());
            }
        }
    }
}

#[test]
fn it_publishes_to_our_own_server() {
    let mut pair = Pair::new(Direction::Publish);
    pair.run().expect("legal");
    let ask = pair.asked.take().expect("it asks");
    assert_eq!((ask.direction, ask.name.path.as_str()), (Direction::Publish, "live/cam0"));
    assert_eq!(ask.capabilities.fourccs, ["*", "*", "*"]);
    pair.client.send(tag(TagKind::Video, 0, b"too early"));
    pair.server.accept(pair.now);
    pair.run().expect("legal");
    let [ClientEvent::Started(capabilities)] = &pair.events[..] else { panic!("{:?}", pair.events) };
    assert!(capabilities.knows("hvc1") && capabilities.caps_ex == 6);

    let script = [&[2, 0, 10][..], b"onMetaData", &[3, 0, 0, 9]].concat();
    let large = vec![0x17; 100_000];
    let sent = [
        tag(TagKind::Script, 0, &script),
        tag(TagKind::Video, 0, &large),
        tag(TagKind::Audio, 0x0100_0001, &[0xaf, 1, 2]),
    ];
    sent.iter().for_each(|tag| pair.client.send(tag.clone()));
    pair.run().expect("legal");
    assert_eq!(pair.tags, sent, "the order to keep the metadata was taken off again");
    assert_eq!(pair.client.poll_timeout(), None);
    pair.client.finish();
    pair.run().expect("legal");
    assert!(pair.stopped);
}

#[test]
fn it_plays_from_our_own_server() {
    let mut pair = Pair::new(Direction::Subscribe);
    pair.run().expect("legal");
    let ask = pair.asked.take().expect("it asks");
    assert_eq!((ask.direction, ask.name.path.as_str()), (Direction::Subscribe, "live/cam0"));
    pair.server.accept(pair.now);
    let sent = tag(TagKind::Audio, 7, &[0xaf, 1, 2]);
    pair.server.send(sent.clone());
    pair.server.finish();
    pair.run().expect("legal");
    assert!(
        matches!(&pair.events[..], [ClientEvent::Started(_), ClientEvent::Tag(tag), ClientEvent::Ended]
        if *tag == sent),
        "{:?}",
        pair.events
    );
    pair.client.finish();
    pair.run().expect("legal");
    assert!(pair.stopped);
}

#[test]
fn a_refusal_keeps_the_servers_words_and_not_the_key() {
    let mut pair = Pair::new(Direction::Publish);
    pair.run().expect("legal");
    let reason = moqgate_core::DenyReason::Conflict;
    pair.server.refuse(&Refusal::new(
        Direction::Publish,
        reason,
        "cam0?token=abc has\nsomebody else".to_owned(),
    ));
    let refused = pair.run().expect_err("refused");
    assert_eq!(
        refused,
        ClientError::Refused {
            code: "NetStream.Publish.BadName".to_owned(),
            description: "... hassomebody else".to_owned()
        }
    );
}

/// A server made of nothing but messages.
struct Server {
    client: Client,
    now: Instant,
    input: BytesMut,
    writer: ChunkWriter,
    reader: ChunkReader,
    output: BytesMut,
}

impl Server {
    fn new(direction: Direction) -> Self {
        let now = Instant::now();
        let mut server = Self {
            client: Client::new(wish(direction), Limits::default(), 1, now),
            now,
            input: BytesMut::from(&ClientHandshake::hello(3)[..]),
            writer: ChunkWriter::default(),
            reader: ChunkReader::default(),
            output: BytesMut::new(),
        };
        server.input.put_bytes(0, BLOCK);
        server.push().expect("a handshake");
        // C0, C1 and C2.
        server.output = server.output.split_off(1 + 2 * BLOCK);
        server
    }

    fn push(&mut self) -> Result<(), ClientError> {
        let outcome = self.client.push(&mut self.input, self.now);
        self.output.extend_from_slice(&self.client.output());
        outcome
    }

    fn send(&mut self, kind: u8, stream: u32, body: impl Into<Bytes>) -> Result<(), ClientError> {
        self.writer.write(3, &Message { kind, timestamp: 0, stream, body: body.into() }, &mut self.input);
        self.push()
    }

    fn say(&mut self, name: &str, txn: f64, arguments: Vec<Value>) -> Result<(), ClientError> {
        self.send(kind::COMMAND, 0, body(name, txn, arguments))
    }

    /// Names and numbers of what the client has called since.
    fn called(&mut self) -> Vec<(String, f64)> {
        let mut called = Vec::new();
        while let Some(message) = self.reader.read(&mut self.output).expect("legal") {
            if message.kind == kind::COMMAND {
                let said = Said::parse(&message.body, false).expect("legal");
                called.push((said.name, said.txn));
            }
        }
        called
    }

    fn status(&mut self, level: &str, code: &str) -> Result<(), ClientError> {
        let info = object([("level", text(level)), ("code", text(code))]);
        self.say("onStatus", 0.0, vec![Value::Null, info])
    }
}

#[test]
fn a_server_from_before_enhanced_rtmp_says_little() {
    let mut server = Server::new(Direction::Publish);
    assert_eq!(server.called(), [("connect".to_owned(), 1.0)]);
    server.say("onBWDone", 0.0, vec![Value::Null]).expect("ignored");
    server.say("_result", 1.0, vec![Value::Null, Value::Null]).expect("legal");
    assert_eq!(
        server.called(),
        [("releaseStream".to_owned(), 2.0), ("FCPublish".to_owned(), 3.0), ("createStream".to_owned(), 4.0)]
    );
    // Many know neither of the first two.
    server.say("_error", 2.0, vec![Value::Null]).expect("a courtesy");
    server.say("_result", 4.0, vec![Value::Null, Value::Number(1.0)]).expect("legal");
    assert_eq!(server.called(), [("publish".to_owned(), 5.0)]);
    server.status("status", "NetStream.Publish.Start").expect("legal");
    let Some(ClientEvent::Started(capabilities)) = server.client.poll() else { panic!("started") };
    assert!(!capabilities.knows("hvc1"), "what it did not say it does not know");
}

#[test]
fn one_that_never_says_that_it_begins_is_played_all_the_same() {
    let mut server = Server::new(Direction::Subscribe);
    server.say("_result", 1.0, vec![]).expect("legal");
    server.say("_result", 4.0, vec![Value::Null, Value::Number(1.0)]).expect("legal");
    server.send(kind::AUDIO, 1, &[0xaf, 1, 2][..]).expect("legal");
    assert!(matches!(server.client.poll(), Some(ClientEvent::Started(_))));
    assert!(matches!(server.client.poll(), Some(ClientEvent::Tag(_))));
    // Something else's stream.
    server.send(kind::AUDIO, 5, &[0xaf, 1, 2][..]).expect("legal");
    assert_eq!(server.client.poll(), None);
    let idle = Limits::default().idle;
    assert_eq!(server.client.handle_timeout(server.now + idle - Duration::from_millis(1)), Ok(()));
    assert_eq!(server.client.handle_timeout(server.now + idle), Err(ClientError::Idle));
}

#[test]
fn a_refused_connect_is_told_by_its_description() {
    let mut server = Server::new(Direction::Publish);
    let info = object([("level", text("error")), ("description", text("code=403 need auth; authmod=adobe"))]);
    let refused = server.say("_error", 1.0, vec![Value::Null, info]);
    assert!(
        matches!(refused, Err(ClientError::Refused { description, .. }) if description.contains("authmod"))
    );
}

#[test]
fn hostile_servers_are_left() {
    let mut server = Server::new(Direction::Publish);
    let flood = (0..1000).find_map(|_| server.say("onBWDone", 0.0, vec![]).err());
    assert_eq!(flood, Some(ClientError::Flood));
    let mut server = Server::new(Direction::Publish);
    let large = (0..10).find_map(|_| server.send(kind::DATA, 0, vec![0; 10_000]).err());
    assert_eq!(large, Some(ClientError::Flood));
    let mut server = Server::new(Direction::Publish);
    server.say("_result", 1.0, vec![]).expect("legal");
    assert!(matches!(server.say("_result", 4.0, vec![Value::Null]), Err(ClientError::Order(_))));
    let mut server = Server::new(Direction::Publish);
    let start = Limits::default().start;
    assert_eq!(server.client.handle_timeout(server.now + start), Err(ClientError::Deadline));
}
