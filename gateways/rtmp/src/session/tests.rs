use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use moqgate_core::{Credential, DenyReason, Direction, Secret};
use moqgate_mux::flv::{Tag, TagKind};
use proptest::prelude::*;

use super::{Ask, Event, KeyError, Limits, Refusal, Session, SessionError};
use crate::proto::amf0::{Reader, Value, write};
use crate::proto::chunk::{ChunkError, ChunkReader, ChunkWriter};
use crate::proto::command::{body, object};
use crate::proto::handshake::{BLOCK, ClientHandshake, HandshakeError};
use crate::proto::message::{Message, kind};

/// A client made of nothing but messages, and the session that it talks to.
struct Client {
    session: Session,
    now: Instant,
    input: BytesMut,
    writer: ChunkWriter,
    reader: ChunkReader,
    output: BytesMut,
}

/// A command that the server sent.
#[derive(Debug, PartialEq)]
struct Said {
    name: String,
    txn: f64,
    stream: u32,
    arguments: Vec<Value>,
}

impl Client {
    fn new() -> Self {
        let now = Instant::now();
        let mut client = Self {
            session: Session::new(Limits::default(), 1, now),
            now,
            input: BytesMut::new(),
            writer: ChunkWriter::default(),
            reader: ChunkReader::default(),
            output: BytesMut::new(),
        };
        client.input.extend_from_slice(&ClientHandshake::hello(2));
        client.input.put_bytes(0, BLOCK);
        client.push().expect("a handshake");
        let reply = client.output.split();
        assert_eq!(reply.len(), 1 + 2 * BLOCK);
        client
    }

    fn push(&mut self) -> Result<(), SessionError> {
        let outcome = self.session.push(&mut self.input, self.now);
        self.output.extend_from_slice(&self.session.output());
        outcome
    }

    fn send(&mut self, csid: u8, kind: u8, stream: u32, body: impl Into<Bytes>) -> Result<(), SessionError> {
        self.send_at(0, csid, kind, stream, body)
    }

    fn send_at(
        &mut self,
        timestamp: u32,
        csid: u8,
        kind: u8,
        stream: u32,
        body: impl Into<Bytes>,
    ) -> Result<(), SessionError> {
        let message = Message { kind, timestamp, stream, body: body.into() };
        self.writer.write(csid, &message, &mut self.input);
        self.push()
    }

    fn command(
        &mut self,
        name: &str,
        txn: f64,
        stream: u32,
        arguments: Vec<Value>,
    ) -> Result<(), SessionError> {
        self.send(3, kind::COMMAND, stream, body(name, txn, arguments))
    }

    fn connect(&mut self, app: &str) {
        let properties = object([("app", text(app)), ("type", text("nonprivate"))]);
        self.command("connect", 1.0, 0, vec![properties]).expect("connect");
    }

    /// Everything that was sent and not looked at yet.
    fn messages(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.reader.read(&mut self.output).expect("we send legal chunks") {
            messages.push(message);
        }
        assert!(self.output.is_empty());
        messages
    }

    fn said(&mut self) -> Vec<Said> {
        let commands = self.messages().into_iter().filter(|message| message.kind == kind::COMMAND);
        commands
            .map(|message| {
                let mut reader = Reader::new(&message.body);
                let mut values = Vec::new();
                while let Some(value) = reader.next_value().expect("we send legal values") {
                    values.push(value);
                }
                let arguments = values.split_off(2);
                Said {
                    name: values[0].as_text().expect("a name").to_owned(),
                    txn: values[1].as_number().expect("a transaction"),
                    stream: message.stream,
                    arguments,
                }
            })
            .collect()
    }

    /// What the server said, by name and status code.
    fn codes(&mut self) -> Vec<String> {
        let code = |said: &Said| {
            let code =
                said.arguments.iter().find_map(|value| value.get("code")?.as_text().map(str::to_owned));
            code.unwrap_or_else(|| format!("{} {}", said.name, said.txn))
        };
        self.said().iter().map(code).collect()
    }

    fn asked(&mut self) -> Option<Ask> {
        match self.session.poll() {
            Some(Event::Ask(ask)) => Some(*ask),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    }

    fn accept(&mut self) {
        self.session.accept(self.now);
        self.push().expect("what waited is legal");
    }

    /// From nothing to publishing on stream 1.
    fn publishing() -> Self {
        let mut client = Self::new();
        client.connect("live");
        client.command("createStream", 2.0, 0, vec![Value::Null]).expect("createStream");
        client.command("publish", 3.0, 1, vec![Value::Null, text("cam0"), text("live")]).expect("publish");
        client.asked().expect("a publisher");
        client.accept();
        client.messages();
        client
    }

    fn tags(&mut self) -> Vec<Tag> {
        let mut tags = Vec::new();
        while let Some(event) = self.session.poll() {
            let Event::Tag(tag) = event else { panic!("{event:?}") };
            tags.push(tag);
        }
        tags
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn line_38_the_chunk_size_comes_before_any_long_reply() {
    let mut client = Client::new();
    client.connect("live");
    let messages = client.messages();
    let kinds: Vec<_> = messages.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [kind::WINDOW_ACK, kind::PEER_BANDWIDTH, kind::SET_CHUNK_SIZE, kind::COMMAND]);
    assert!(messages[..3].iter().all(|message| message.body.len() <= 128));
    assert!(messages[3].body.len() > 128);
}

#[test]
fn the_answer_to_connect_says_what_we_can_read() {
    let mut client = Client::new();
    client.connect("live");
    let said = client.said();
    assert_eq!((said[0].name.as_str(), said[0].txn), ("_result", 1.0));
    let info = &said[0].arguments[1];
    assert_eq!(info.get("code"), Some(&text("NetConnection.Connect.Success")));
    assert_eq!(info.get("objectEncoding"), Some(&Value::Number(0.0)));
    assert_eq!(info.get("capsEx"), Some(&Value::Number(6.0)));
    assert_eq!(info.get("fourCcList"), Some(&Value::Array(vec![text("*")])));
    assert_eq!(info.get("videoFourCcInfoMap").and_then(|map| map.get("*")), Some(&Value::Number(4.0)));
}

#[test]
fn ffmpeg_publishes_and_leaves() {
    let mut client = Client::new();
    client.connect("live");
    client.send(2, kind::SET_CHUNK_SIZE, 0, 4096u32.to_be_bytes().to_vec()).expect("legal");
    let key = || vec![Value::Null, text("cam0?token=abc")];
    client.command("releaseStream", 2.0, 0, key()).expect("legal");
    client.command("FCPublish", 3.0, 0, key()).expect("legal");
    client.command("createStream", 4.0, 0, vec![Value::Null]).expect("legal");
    assert_eq!(
        client.codes(),
        ["NetConnection.Connect.Success", "_result 2", "_result 3", "NetStream.Publish.Start", "_result 4"]
    );
    let arguments = vec![Value::Null, text("cam0?token=abc"), text("live")];
    client.command("publish", 5.0, 1, arguments).expect("legal");
    assert!(client.said().is_empty(), "nothing before the decision");
    let ask = client.asked().expect("a publisher");
    assert_eq!(ask.direction, Direction::Publish);
    assert_eq!(ask.name.path.as_str(), "live/cam0");
    assert_eq!(ask.name.credential, Credential::Token(Secret::new("abc")));
    client.accept();
    let messages = client.messages();
    assert_eq!(
        (messages[0].kind, &messages[0].body[..]),
        (kind::USER_CONTROL, &[0, 0, 0, 0, 0, 1][..]),
        "StreamBegin"
    );
    assert_eq!(messages[1].stream, 1);

    let metadata = || vec![text("onMetaData"), object([("width", Value::Number(320.0))])];
    let mut set = vec![text("@setDataFrame")];
    set.extend(metadata());
    client.send(4, kind::DATA, 1, write(&set)).expect("legal");
    client.send_at(0, 6, kind::VIDEO, 1, &[0x17, 0, 0, 0, 0][..]).expect("legal");
    client.send_at(23, 4, kind::AUDIO, 1, &[0xaf, 1, 2][..]).expect("legal");
    let tags = client.tags();
    assert_eq!(tags[0], Tag { kind: TagKind::Script, timestamp_ms: 0, body: write(&metadata()) });
    assert_eq!((tags[1].kind, tags[1].timestamp_ms), (TagKind::Video, 0));
    assert_eq!((tags[2].kind, tags[2].timestamp_ms), (TagKind::Audio, 23));

    client.command("FCUnpublish", 6.0, 0, key()).expect("legal");
    client.command("deleteStream", 7.0, 0, vec![Value::Null, Value::Number(1.0)]).expect("legal");
    assert_eq!(client.session.poll(), Some(Event::Stopped));
    assert_eq!(client.codes(), ["NetStream.Unpublish.Success"]);
}

#[test]
fn obs_sets_its_chunk_size_before_connect_and_republishes() {
    let mut client = Client::new();
    client.send(2, kind::SET_CHUNK_SIZE, 0, 4096u32.to_be_bytes().to_vec()).expect("legal");
    client.connect("live");
    for round in 0..3 {
        client.command("createStream", 4.0, 0, vec![Value::Null]).expect("legal");
        let stream = round + 1;
        client.command("publish", 5.0, stream, vec![Value::Null, text("cam0"), text("live")]).expect("legal");
        client.asked().expect("a publisher");
        client.accept();
        client.send(4, kind::VIDEO, stream, vec![0x17; 3000]).expect("legal");
        assert_eq!(client.tags().len(), 1);
        client.command("closeStream", 0.0, stream, vec![Value::Null]).expect("legal");
        assert_eq!(client.session.poll(), Some(Event::Stopped));
    }
}

#[test]
fn line_42_mobile_encoders_come_straight_to_the_point() {
    let mut client = Client::new();
    client.connect("live");
    client.send(2, kind::WINDOW_ACK, 0, 2_500_000u32.to_be_bytes().to_vec()).expect("legal");
    client.command("createStream", 2.0, 0, vec![Value::Null]).expect("legal");
    // No type of publishing.
    client.command("publish", 3.0, 1, vec![Value::Null, text("cam0")]).expect("legal");
    assert_eq!(client.asked().expect("a publisher").name.path.as_str(), "live/cam0");
}

#[test]
fn line_43_gstreamer_gets_its_status_on_its_stream() {
    let mut client = Client::new();
    client.connect("live");
    client.command("releaseStream", 0.0, 0, vec![Value::Null, text("cam0")]).expect("legal");
    client.messages();
    client.command("createStream", 3.0, 0, vec![Value::Null]).expect("legal");
    let result = client.said();
    assert_eq!(result[0].arguments[1], Value::Number(1.0), "no stream 0");
    client.command("publish", 0.0, 1, vec![Value::Null, text("cam0"), text("live")]).expect("legal");
    client.asked().expect("a publisher");
    client.accept();
    let status = client.said();
    assert_eq!((status[0].name.as_str(), status[0].stream, status[0].txn), ("onStatus", 1, 0.0));
    assert!(status[0].arguments.len() >= 2);
}

#[test]
fn line_47_fmle_gets_its_notice_and_nobody_needs_it() {
    let mut client = Client::new();
    client.connect("live");
    client.messages();
    client.command("FCPublish", 0.0, 0, vec![Value::Null, text("cam0")]).expect("legal");
    let said = client.said();
    assert_eq!(said.len(), 1, "nothing answers transaction 0");
    assert_eq!((said[0].name.as_str(), said[0].stream), ("onFCPublish", 0));
    // Publishes without having created a stream.
    client.command("publish", 0.0, 0, vec![Value::Null, text("cam0")]).expect("legal");
    client.asked().expect("a publisher");
    client.accept();
    assert_eq!(client.said()[0].stream, 1);
    client.send(4, kind::VIDEO, 0, &[0x17][..]).expect("media on stream 0");
    assert_eq!(client.tags().len(), 1);
}

#[test]
fn line_49_empty_messages_are_neither_passed_on_nor_answered() {
    let mut client = Client::publishing();
    for kind in [kind::AUDIO, kind::VIDEO, kind::DATA, kind::DATA_AMF3, kind::AGGREGATE] {
        client.send(4, kind, 1, Bytes::new()).expect("legal");
    }
    client.send(4, kind::DATA, 1, write(&[text("@setDataFrame")])).expect("legal");
    client.send(4, kind::DATA, 1, write(&[text("@clearDataFrame"), text("onMetaData")])).expect("legal");
    client.send(4, kind::DATA, 1, &[0x02, 0][..]).expect("legal");
    assert!(client.tags().is_empty());
    assert!(client.messages().is_empty());
}

#[test]
fn line_39_data_of_every_kind_passes() {
    let mut client = Client::publishing();
    let info = write(&[text("onFI"), object([("st", text("12:00:00.000"))])]);
    client.send(4, kind::DATA, 1, info.clone()).expect("legal");
    client.send(4, kind::DATA_AMF3, 1, [&[0][..], &info].concat()).expect("legal");
    let tags = client.tags();
    assert_eq!(tags.iter().map(|tag| &tag.body).collect::<Vec<_>>(), [&info, &info]);
}

#[test]
fn line_51_a_connect_without_tc_url_is_enough() {
    let mut client = Client::new();
    client.command("connect", 1.0, 0, vec![]).expect("legal");
    client.command("publish", 2.0, 1, vec![Value::Null, text("live/cam0")]).expect("legal");
    assert_eq!(client.asked().expect("a publisher").name.path.as_str(), "live/cam0");
}

#[test]
fn line_52_refusals_are_statuses_that_programs_know() {
    for (command, direction, reason, code) in [
        ("publish", Direction::Publish, DenyReason::BadRequest, "NetStream.Publish.BadName"),
        ("publish", Direction::Publish, DenyReason::Conflict, "NetStream.Publish.BadName"),
        ("publish", Direction::Publish, DenyReason::Unauthorized, "NetStream.Publish.Denied"),
        ("publish", Direction::Publish, DenyReason::Forbidden, "NetStream.Publish.Denied"),
        ("publish", Direction::Publish, DenyReason::Overloaded, "NetStream.Publish.Rejected"),
        ("play", Direction::Subscribe, DenyReason::NotFound, "NetStream.Play.StreamNotFound"),
        ("play", Direction::Subscribe, DenyReason::Forbidden, "NetStream.Play.Failed"),
    ] {
        let mut client = Client::new();
        client.connect("live");
        client.command("createStream", 2.0, 0, vec![Value::Null]).expect("legal");
        client.messages();
        client.command(command, 3.0, 1, vec![Value::Null, text("cam0")]).expect("legal");
        assert_eq!(client.asked().expect("somebody").direction, direction);
        client.session.refuse(&Refusal::new(direction, reason, "because".to_owned()));
        client.push().expect("nothing is wrong with the peer");
        let said = client.said();
        assert_eq!(said.len(), 1);
        let info = &said[0].arguments[1];
        assert_eq!((said[0].name.as_str(), said[0].stream), ("onStatus", 1));
        assert_eq!(info.get("level"), Some(&text("error")));
        assert_eq!(info.get("code"), Some(&text(code)));
        assert_eq!(info.get("description"), Some(&text("because")));
    }
}

#[test]
fn line_46_an_impossible_key_is_a_status_too() {
    let mut client = Client::new();
    client.connect("live");
    client.messages();
    let refused = client.command("publish", 2.0, 1, vec![Value::Null, text("../cam0")]);
    assert_eq!(refused, Err(SessionError::Key(KeyError::Path)));
    assert_eq!(client.codes(), ["NetStream.Publish.BadName"]);
}

#[test]
fn line_53_pings_are_answered_and_sent() {
    let mut client = Client::publishing();
    client.send(2, kind::USER_CONTROL, 0, &[0, 6, 1, 2, 3, 4][..]).expect("legal");
    assert_eq!(client.messages()[0].body[..], [0, 7, 1, 2, 3, 4]);
    let at = client.session.poll_timeout().expect("a time");
    assert_eq!(at, client.now + Duration::from_secs(15));
    client.session.handle_timeout(at).expect("not yet");
    client.output.extend_from_slice(&client.session.output());
    assert_eq!(client.messages()[0].body[..2], [0, 6]);
    // One is enough.
    assert!(client.session.poll_timeout().expect("a time") > at);
}

#[test]
fn line_54_a_publisher_that_fell_silent_is_given_up() {
    let mut client = Client::publishing();
    client.now += Duration::from_secs(19);
    client.send(2, kind::USER_CONTROL, 0, &[0, 7, 0, 0, 0, 0][..]).expect("a pong is no media");
    client.send(4, kind::VIDEO, 1, Bytes::new()).expect("nor is nothing");
    client.session.handle_timeout(client.now).expect("not yet");
    let end = client.now + Duration::from_secs(1);
    assert_eq!(client.session.handle_timeout(end), Err(SessionError::Idle));

    let mut alive = Client::publishing();
    alive.now += Duration::from_secs(19);
    alive.send(4, kind::AUDIO, 1, &[0xaf, 1][..]).expect("legal");
    alive.session.handle_timeout(alive.now + Duration::from_secs(19)).expect("it speaks");
}

#[test]
fn line_56_a_slow_decision_changes_no_timestamp_and_loses_nothing() {
    let mut client = Client::new();
    client.connect("live");
    // The encoder does not wait: media is right behind publish.
    let publish = body("publish", 3.0, vec![Value::Null, text("cam0")]);
    let message = Message { kind: kind::COMMAND, timestamp: 0, stream: 1, body: publish };
    client.writer.write(3, &message, &mut client.input);
    for (timestamp, kind) in [(1000, kind::VIDEO), (1005, kind::AUDIO), (1040, kind::VIDEO)] {
        let message = Message { kind, timestamp, stream: 1, body: Bytes::from_static(&[1, 2]) };
        client.writer.write(4, &message, &mut client.input);
    }
    client.push().expect("legal");
    client.asked().expect("a publisher");
    assert!(client.session.is_deciding());
    assert_eq!(client.session.poll_timeout(), None, "its time does not run while we think");
    client.now += Duration::from_secs(9);
    client.accept();
    let times: Vec<_> = client.tags().iter().map(|tag| tag.timestamp_ms).collect();
    assert_eq!(times, [1000, 1005, 1040]);
    assert!(client.input.is_empty());
}

#[test]
fn a_player_gets_what_it_waits_for() {
    let mut client = Client::new();
    let announced = object([("app", text("live")), ("fourCcList", Value::Array(vec![text("hvc1")]))]);
    client.command("connect", 1.0, 0, vec![announced]).expect("legal");
    client.send(2, kind::WINDOW_ACK, 0, 2_500_000u32.to_be_bytes().to_vec()).expect("legal");
    client.command("createStream", 2.0, 0, vec![Value::Null]).expect("legal");
    client.command("getStreamLength", 3.0, 0, vec![Value::Null, text("cam0")]).expect("legal");
    assert_eq!(client.codes(), ["NetConnection.Connect.Success", "_result 2", "_result 3"]);
    client.command("play", 4.0, 1, vec![Value::Null, text("cam0"), Value::Number(-2000.0)]).expect("legal");
    let ask = client.asked().expect("a player");
    assert_eq!(ask.direction, Direction::Subscribe);
    assert!(ask.capabilities.knows("hvc1") && !ask.capabilities.knows("av01"));
    client.accept();
    client.send(2, kind::USER_CONTROL, 0, &[0, 3, 0, 0, 0, 1, 0, 0, 0x0b, 0xb8][..]).expect("legal");
    assert_eq!(client.codes(), ["NetStream.Play.Reset", "NetStream.Play.Start"]);
    let tag = Tag { kind: TagKind::Video, timestamp_ms: 0x0100_0000, body: vec![0x17; 100_000].into() };
    client.session.send(tag);
    client.push().expect("nothing to read");
    let messages = client.messages();
    assert_eq!((messages[0].kind, messages[0].timestamp, messages[0].stream), (kind::VIDEO, 0x0100_0000, 1));
    assert_eq!(messages[0].body.len(), 100_000);
    client.session.finish();
    client.push().expect("nothing to read");
    assert_eq!(client.codes(), ["NetStream.Play.UnpublishNotify"]);
}

#[test]
fn acknowledgements_carry_the_running_total() {
    let mut client = Client::publishing();
    client.send(2, kind::WINDOW_ACK, 0, 10_000u32.to_be_bytes().to_vec()).expect("legal");
    client.messages();
    let mut totals = Vec::new();
    for _ in 0..30 {
        client.send(4, kind::VIDEO, 1, vec![1; 1000]).expect("legal");
        client.tags();
        let acks = client.messages().into_iter().filter(|message| message.kind == kind::ACK);
        totals.extend(acks.map(|ack| u32::from_be_bytes(ack.body[..].try_into().expect("four bytes"))));
    }
    assert_eq!(totals.len(), 3);
    assert!(totals.windows(2).all(|pair| pair[1] >= pair[0] + 10_000), "{totals:?}");
    assert!(u64::from(totals[2]) <= client.session.received());
}

#[test]
fn commands_that_we_do_not_know_are_answered_and_survived() {
    let mut client = Client::publishing();
    client.command("somethingElse", 9.0, 0, vec![Value::Null]).expect("legal");
    client.command("somethingElse", 0.0, 0, vec![Value::Null]).expect("legal");
    client.command("_checkbw", 10.0, 0, vec![Value::Null]).expect("legal");
    assert_eq!(client.codes(), ["NetConnection.Call.Failed", "_result 10"]);
    // A shared object and a type that nobody knows.
    client.send(3, 19, 0, &[1, 2, 3][..]).expect("ignored");
    client.send(3, 99, 0, Bytes::new()).expect("ignored");
}

#[test]
fn media_that_belongs_to_nothing_is_ignored() {
    let mut client = Client::new();
    client.connect("live");
    client.send(4, kind::VIDEO, 1, &[0x17, 1][..]).expect("before publish");
    let mut client = Client::publishing();
    client.send(4, kind::VIDEO, 7, &[0x17, 1][..]).expect("on another stream");
    assert!(client.tags().is_empty());
}

#[test]
fn strangers_are_cut_off() {
    let start = |input: &[u8]| {
        let now = Instant::now();
        Session::new(Limits::default(), 1, now).push(&mut BytesMut::from(input), now)
    };
    assert_eq!(start(b"GET / HTTP/1.1\r\n"), Err(SessionError::Handshake(HandshakeError::Http)));
    assert_eq!(start(&[0x16, 3, 1]), Err(SessionError::Handshake(HandshakeError::Tls)));

    let mut client = Client::new();
    let zero = client.send(2, kind::SET_CHUNK_SIZE, 0, vec![0; 4]);
    assert_eq!(zero, Err(SessionError::Chunk(ChunkError::ChunkSize(0))));

    let order = Client::new().command("createStream", 1.0, 0, vec![]);
    assert!(matches!(order, Err(SessionError::Order(_))));
    let mut twice = Client::new();
    twice.connect("live");
    assert!(matches!(twice.command("connect", 1.0, 0, vec![]), Err(SessionError::Order(_))));
    let again = Client::publishing().command("publish", 1.0, 1, vec![Value::Null, text("b")]);
    assert!(matches!(again, Err(SessionError::Order(_))));

    let mut nested = body("connect", 1.0, vec![]).to_vec();
    nested.extend([0x0a, 0, 0, 0, 1].repeat(10_000));
    assert!(matches!(Client::new().send(3, kind::COMMAND, 0, nested), Err(SessionError::Command(_))));
}

#[test]
fn who_does_not_come_to_the_point_is_cut_off() {
    let mut idle = Client::new();
    let at = idle.session.poll_timeout().expect("a time");
    idle.connect("live");
    assert_eq!(idle.session.poll_timeout(), Some(at), "talking does not buy time");
    assert_eq!(idle.session.handle_timeout(at), Err(SessionError::Deadline));

    let mut talker = Client::new();
    talker.connect("live");
    let talked = (0..20).try_for_each(|_| talker.command("releaseStream", 0.0, 0, vec![]));
    assert_eq!(talked, Err(SessionError::Preamble));

    let mut heavy = Client::new();
    heavy.connect("live");
    assert_eq!(heavy.send(6, kind::VIDEO, 0, vec![0; 70_000]), Err(SessionError::Preamble));

    let mut streams = Client::new();
    streams.connect("live");
    let created = (0..9).try_for_each(|_| streams.command("createStream", 2.0, 0, vec![]));
    assert_eq!(created, Err(SessionError::Streams));
}

#[test]
fn floods_are_cut_off_and_paced_talk_is_not() {
    for (kind, message) in [
        (kind::USER_CONTROL, vec![0, 6, 0, 0, 0, 1]),
        (kind::SET_CHUNK_SIZE, vec![0, 0, 1, 0]),
        (kind::ABORT, vec![0, 0, 0, 9]),
        (kind::ACK, vec![0; 4]),
        (kind::AUDIO, vec![]),
        (kind::DATA, vec![]),
    ] {
        let mut client = Client::publishing();
        let flood = (0..200).try_for_each(|_| client.send(2, kind, 1, message.clone()));
        assert_eq!(flood, Err(SessionError::Flood), "type {kind}");
        assert!(client.output.len() < 10_000);

        let mut paced = Client::publishing();
        for _ in 0..1000 {
            paced.now += Duration::from_millis(20);
            paced.send(2, kind, 1, message.clone()).expect("50 a second");
        }
    }
}

#[test]
fn events_wait_in_a_bounded_queue() {
    let mut client = Client::publishing();
    let message = Message { kind: kind::VIDEO, timestamp: 0, stream: 1, body: Bytes::from_static(&[1]) };
    for _ in 0..1000 {
        client.writer.write(4, &message, &mut client.input);
    }
    let mut all = 0;
    loop {
        client.push().expect("legal");
        let tags = client.tags().len();
        assert!(tags <= 64);
        all += tags;
        if tags == 0 {
            break;
        }
    }
    assert_eq!((all, client.input.len()), (1000, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_may_come_after_the_handshake(
        garbage in proptest::collection::vec(any::<u8>(), 0..2000),
        publishing in any::<bool>(),
        step in 1..300usize,
    ) {
        let mut client = if publishing { Client::publishing() } else { Client::new() };
        for piece in garbage.chunks(step) {
            client.input.extend_from_slice(piece);
            if client.push().is_err() {
                break;
            }
            while client.session.poll().is_some() {}
        }
        prop_assert!(client.input.len() <= 2000);
    }

    #[test]
    fn the_handshake_survives_anything(first in proptest::collection::vec(any::<u8>(), 0..40)) {
        let now = Instant::now();
        let mut session = Session::new(Limits::default(), 1, now);
        session.push(&mut BytesMut::from(&first[..]), now).ok();
        prop_assert!(session.output().len() <= 1 + 2 * BLOCK);
    }
}
