//! RTMP: the handshake, chunks, AMF0 and commands, stream keys, and a whole session of a server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use moqgate_core::Direction;
use moqgate_mux::flv::{Tag, TagKind};
use moqgate_rtmp::proto::amf0::{self, Value};
use moqgate_rtmp::proto::chunk::{ChunkReader, ChunkWriter};
use moqgate_rtmp::proto::command::Command;
use moqgate_rtmp::proto::handshake::{BLOCK, ServerHandshake, Step};
use moqgate_rtmp::proto::message::Message;
use moqgate_rtmp::session::client::{Client, ClientEvent, Wish};
use moqgate_rtmp::session::{Event, Limits, Refusal, Session, resolve};

/// C0, C1 and C2.
const CLIENT_HANDSHAKE: usize = 1 + 2 * BLOCK;
/// Longest path of a broadcast.
const MAX_PATH: usize = 256;

/// The first byte says where the input is cut.
fn pieces(data: &[u8]) -> Option<(usize, &[u8])> {
    data.split_first().map(|(first, rest)| (usize::from(*first) + 1, rest))
}

pub(crate) fn handshake(data: &[u8]) {
    let Some((step, data)) = pieces(data) else { return };
    assert_eq!(shake(data, step), shake(data, usize::MAX), "cutting changes nothing");
}

/// Bytes that were answered, and what follows the handshake if it succeeds.
fn shake(data: &[u8], step: usize) -> (usize, Result<Option<BytesMut>, ()>) {
    let (mut handshake, mut input, mut answered) = (ServerHandshake::default(), BytesMut::new(), 0);
    let mut pieces = data.chunks(step);
    loop {
        match handshake.advance(&mut input, 1) {
            Ok(Step::More) => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return (answered, Ok(None)),
            },
            Ok(Step::Reply(reply)) => answered += reply.len(),
            Ok(Step::Done) => {
                pieces.for_each(|piece| input.extend_from_slice(piece));
                assert_eq!(input, data[CLIENT_HANDSHAKE..], "what follows belongs to the chunks");
                return (answered, Ok(Some(input)));
            }
            Err(_) => return (answered, Err(())),
        }
    }
}

pub(crate) fn chunks(data: &[u8]) {
    let Some((step, data)) = pieces(data) else { return };
    let (messages, whole) = unchunk(data, usize::MAX);
    assert_eq!(unchunk(data, step), (messages.clone(), whole), "cutting changes nothing");
    let (mut writer, mut written) = (ChunkWriter::default(), BytesMut::new());
    messages.iter().for_each(|message| writer.write(5, message, &mut written));
    assert_eq!(unchunk(&written, usize::MAX), (messages, true), "what is written reads the same");
}

/// The messages, and whether all of the input could be read.
fn unchunk(data: &[u8], step: usize) -> (Vec<Message>, bool) {
    let (mut reader, mut input, mut messages) = (ChunkReader::default(), BytesMut::new(), Vec::new());
    for piece in data.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            match reader.read(&mut input) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, false),
            }
        }
        assert!(reader.partial() <= data.len(), "nothing is held that did not come");
        assert!(input.len() <= 18, "all but a header is taken");
    }
    (messages, true)
}

pub(crate) fn command(data: &[u8]) {
    let _ = Command::parse(data, false);
    let _ = Command::parse(data, true);
}

pub(crate) fn amf0(data: &[u8]) {
    let values = read(data);
    let written = amf0::write(&values);
    let again = read(&written);
    let plain = |values: &[Value]| values.iter().map(plain).collect::<Vec<_>>();
    assert_eq!(plain(&values), plain(&again), "what is written reads the same");
}

fn read(data: &[u8]) -> Vec<Value> {
    let mut reader = amf0::Reader::new(data);
    std::iter::from_fn(|| reader.next_value().ok().flatten()).collect()
}

/// A value without what writing does not keep: the order of properties, empty and repeated keys. As text, since NaN is
/// not equal to itself.
fn plain(value: &Value) -> String {
    match value {
        Value::Object(properties) => {
            let named = properties.iter().filter(|(key, _)| !key.is_empty());
            let properties: BTreeMap<_, _> = named.map(|(key, value)| (key, plain(value))).collect();
            format!("{properties:?}")
        }
        Value::Array(values) => format!("{:?}", values.iter().map(plain).collect::<Vec<_>>()),
        Value::Number(_) | Value::Boolean(_) | Value::Text(_) | Value::Null | Value::Undefined => {
            format!("{value:?}")
        }
    }
}

/// Application and key, with a zero between them.
pub(crate) fn key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (app, key) = text.split_once('\0').unwrap_or((&text, ""));
    let Ok(name) = resolve(app, key) else { return };
    let path = name.path.as_str();
    assert!(!path.is_empty() && path.len() <= MAX_PATH, "{path:?}");
    assert!(path.split('/').all(|segment| !matches!(segment, "" | "." | "..")), "{path:?}");
    assert!(!path.contains('?') && !path.chars().any(char::is_control), "{path:?}");
    assert_eq!(resolve(path, "").map(|name| name.path), Ok(name.path), "a path names itself");
}

/// Chunks into a session behind its handshake. The first byte says where they are cut; odd ones let nobody in.
pub(crate) fn session(data: &[u8]) {
    let Some((step, chunks)) = pieces(data) else { return };
    let refuses = step % 2 == 0;
    assert_eq!(serve(chunks, step, refuses), serve(chunks, usize::MAX, refuses), "cutting changes nothing");
}

/// What a session says until its peer has sent everything, and whether it was content.
fn serve(chunks: &[u8], step: usize, refuses: bool) -> (Vec<Event>, bool) {
    let now = Instant::now();
    let mut session = Session::new(Limits::default(), 1, now);
    let (mut input, mut events) = (BytesMut::new(), Vec::new());
    let mut hello = vec![3];
    hello.resize(CLIENT_HANDSHAKE, 0);
    for piece in hello.chunks(hello.len()).chain(chunks.chunks(step)) {
        input.extend_from_slice(piece);
        loop {
            let outcome = session.push(&mut input, now);
            let mut any = false;
            while let Some(event) = session.poll() {
                any = true;
                if let Event::Ask(ask) = &event {
                    if refuses {
                        let reason = moqgate_core::DenyReason::Forbidden;
                        session.refuse(&Refusal::new(ask.direction, reason, String::new()));
                    } else {
                        session.accept(now);
                        let body = Bytes::from_static(&[0xaf, 1, 0x21]);
                        session.send(Tag { kind: TagKind::Audio, timestamp_ms: 0, body });
                    }
                }
                events.push(event);
            }
            let _ = session.output();
            if outcome.is_err() {
                return (events, false);
            }
            if !any {
                break;
            }
        }
    }
    outlast(session, now);
    (events, true)
}

/// Nobody waits for a silent peer in vain: timers move on, and end whoever neither publishes nor plays.
fn outlast(mut session: Session, mut now: Instant) {
    for _ in 0..8 {
        let Some(next) = session.poll_timeout() else { return };
        assert!(next > now, "a timeout that lies in the past keeps a shell busy for ever");
        now = next;
        if session.handle_timeout(now).is_err() {
            assert_eq!(session.poll_timeout(), None);
            return;
        }
        let _ = session.output();
    }
    let later = now + Duration::from_secs(3600);
    assert_eq!(session.handle_timeout(later), Ok(()), "only players may be silent");
}

/// The first byte says where the input is cut, the second whether the client publishes or plays.
pub(crate) fn client(data: &[u8]) {
    let Some((step, data)) = pieces(data) else { return };
    let Some((way, data)) = data.split_first() else { return };
    let direction = if way & 1 == 0 { Direction::Publish } else { Direction::Subscribe };
    let (now, text) = (Instant::now(), |text: &str| text.to_owned());
    let wish = Wish { direction, app: text("live"), tc_url: text("rtmp://host/live"), key: text("key") };
    let mut client = Client::new(wish, Limits::default(), 1, now);
    let (mut input, mut started) = (BytesMut::new(), false);
    for piece in data.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            let outcome = client.push(&mut input, now);
            let mut any = false;
            while let Some(event) = client.poll() {
                any = true;
                match event {
                    ClientEvent::Started(_) => {
                        assert!(!std::mem::replace(&mut started, true), "it starts once")
                    }
                    ClientEvent::Tag(_) => assert!(started && direction == Direction::Subscribe),
                    ClientEvent::Ended => assert!(started),
                }
            }
            client.output();
            if outcome.is_err() {
                assert!(client.push(&mut input, now).is_ok() && client.poll().is_none(), "it is over");
                return;
            }
            if !any {
                break;
            }
        }
    }
    client.finish();
}
