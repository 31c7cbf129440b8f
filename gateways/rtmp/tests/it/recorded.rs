//! Recorded encoders and servers (fixtures/rtmp), without sockets and without the programs.

use std::time::Instant;

use bytes::BytesMut;
use moqgate_core::{Credential, Direction, Secret};
use moqgate_mux::flv::{Tag, TagKind};
use moqgate_rtmp::session::client::{Client, ClientEvent, Wish};
use moqgate_rtmp::session::{Ask, Event, Limits, Session};

const OLD: &[u8] = include_bytes!("../../../../fixtures/rtmp/ffmpeg5-h264-aac.bin");
const NEW: &[u8] = include_bytes!("../../../../fixtures/rtmp/ffmpeg9-av1-opus.bin");

const TAKES: &[u8] = include_bytes!("../../../../fixtures/rtmp/ffmpeg5-takes.bin");
const GIVES: &[u8] = include_bytes!("../../../../fixtures/rtmp/ffmpeg5-gives.bin");

/// What a session makes of `recording`, given to it in pieces of `step`.
fn replay(recording: &[u8], step: usize) -> (Ask, Vec<Tag>, bool) {
    let now = Instant::now();
    let mut session = Session::new(Limits::default(), 1, now);
    let (mut input, mut asked, mut tags, mut stopped) = (BytesMut::new(), None, Vec::new(), false);
    for piece in recording.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            session.push(&mut input, now).expect("a real encoder is legal");
            let mut any = false;
            while let Some(event) = session.poll() {
                any = true;
                match event {
                    Event::Ask(ask) => {
                        asked = Some(*ask);
                        session.accept(now);
                    }
                    Event::Tag(tag) => tags.push(tag),
                    Event::Stopped => stopped = true,
                }
            }
            if !any {
                break;
            }
        }
    }
    assert!(input.is_empty());
    (asked.expect("it publishes"), tags, stopped)
}

fn count(tags: &[Tag], kind: TagKind) -> usize {
    tags.iter().filter(|tag| tag.kind == kind).count()
}

#[test]
fn ffmpeg_5_is_read_wherever_it_is_cut() {
    let (ask, tags, stopped) = replay(OLD, usize::MAX);
    assert_eq!((ask.direction, ask.name.path.as_str()), (Direction::Publish, "live/rec"));
    assert_eq!(ask.name.credential, Credential::Token(Secret::new("abc")));
    assert!(!ask.capabilities.knows("avc1"));
    assert!(stopped, "deleteStream");
    assert_eq!(count(&tags, TagKind::Script), 1);
    // A configuration, 25 pictures, an end.
    assert_eq!(count(&tags, TagKind::Video), 27);
    assert!(count(&tags, TagKind::Audio) >= 48);
    for step in [1, 7, 128, 1000] {
        assert_eq!(replay(OLD, step).1, tags);
    }
}

#[test]
fn ffmpeg_9_announces_what_it_knows() {
    let (ask, tags, stopped) = replay(NEW, usize::MAX);
    assert_eq!(ask.capabilities.fourccs, ["hvc1", "av01", "vp09", "Opus"]);
    assert!(stopped);
    assert!(tags.iter().filter(|tag| tag.kind == TagKind::Video).all(|tag| tag.body[0] & 0x80 != 0));
    assert!(count(&tags, TagKind::Audio) >= 50);
    assert_eq!(replay(NEW, 11).1, tags);
}

/// What a client makes of `recording`, given to it in pieces of `step`.
fn call(direction: Direction, recording: &[u8], step: usize) -> Vec<ClientEvent> {
    let now = Instant::now();
    let text = str::to_owned;
    let wish =
        Wish { direction, app: text("live"), tc_url: text("rtmp://127.0.0.1:29512/live"), key: text("rec") };
    let mut client = Client::new(wish, Limits::default(), 1, now);
    let (mut input, mut events) = (BytesMut::new(), Vec::new());
    for piece in recording.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            client.push(&mut input, now).expect("a real server is legal");
            let before = events.len();
            events.extend(std::iter::from_fn(|| client.poll()));
            if events.len() == before {
                break;
            }
        }
    }
    events
}

#[test]
fn a_server_that_takes_says_nothing_of_codecs() {
    for step in [1, 7, 128, usize::MAX] {
        let events = call(Direction::Publish, TAKES, step);
        let [ClientEvent::Started(capabilities)] = &events[..] else { panic!("{events:?}") };
        assert!(capabilities.fourccs.is_empty());
    }
}

#[test]
fn a_server_that_gives_is_read_wherever_it_is_cut() {
    let events = call(Direction::Subscribe, GIVES, usize::MAX);
    assert!(matches!(events[0], ClientEvent::Started(_)));
    let tags = events[1..].iter().filter_map(|event| match event {
        ClientEvent::Tag(tag) => Some(tag.clone()),
        ClientEvent::Started(_) | ClientEvent::Ended => None,
    });
    let tags: Vec<_> = tags.collect();
    // A configuration, 25 pictures, an end.
    assert_eq!(count(&tags, TagKind::Video), 27);
    assert!(count(&tags, TagKind::Audio) >= 48);
    assert_eq!(count(&tags, TagKind::Script), 1);
    for step in [1, 7, 128, 1000] {
        assert_eq!(call(Direction::Subscribe, GIVES, step), events);
    }
}
