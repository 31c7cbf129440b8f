//! `rml_rtmp` 0.8: an independent peer, and where it stumbles over what is legal. Each fault is why that part is our
//! own (docs/DEPENDENCIES.md); a test that fails here says that the library has got better.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use moqgate_rtmp::proto::chunk::{ChunkReader, ChunkWriter};
use moqgate_rtmp::proto::message::{Message, kind};
use rml_rtmp::chunk_io::{ChunkDeserializer, ChunkSerializer};
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::messages::MessagePayload;
use rml_rtmp::time::RtmpTimestamp;

fn payload(type_id: u8, timestamp: u32, data: Vec<u8>) -> MessagePayload {
    MessagePayload {
        type_id,
        timestamp: RtmpTimestamp::new(timestamp),
        message_stream_id: 1,
        data: Bytes::from(data),
    }
}

fn serialize(writer: &mut ChunkSerializer, message: &MessagePayload, force: bool) -> Vec<u8> {
    writer.serialize(message, force, false).expect("a legal message").bytes
}

/// What our reader makes of `input`.
fn ours(input: &[u8]) -> Vec<Message> {
    let (mut reader, mut input) = (ChunkReader::default(), BytesMut::from(input));
    std::iter::from_fn(|| reader.read(&mut input).expect("legal")).collect()
}

/// A picture with sound between its chunks.
fn interleaved(sound: usize) -> Vec<u8> {
    let mut input = vec![6, 0, 0, 0, 0, 0, 200, kind::VIDEO, 1, 0, 0, 0];
    input.extend([1; 128]);
    input.extend([4, 0, 0, 0, 0, 0, sound as u8, kind::AUDIO, 1, 0, 0, 0]);
    input.extend(vec![2; sound]);
    input.push(0xc6);
    input.extend([1; 72]);
    input
}

#[test]
fn what_it_writes_is_read() {
    let mut writer = ChunkSerializer::new();
    let mut input = Vec::new();
    let messages = [(9, 0, 500), (8, 0, 20), (9, 40, 300), (8, 21, 20), (9, 80, 300), (9, 0x0200_0000, 300)];
    for (kind, timestamp, len) in messages {
        input.extend(serialize(&mut writer, &payload(kind, timestamp, vec![7; len]), false));
    }
    let read: Vec<_> = ours(&input).iter().map(|m| (m.kind, m.timestamp, m.body.len())).collect();
    assert_eq!(read, messages);
    // With a full header on every chunk, which no other writer does.
    let forced = serialize(&mut ChunkSerializer::new(), &payload(20, 0, vec![7; 300]), true);
    assert_eq!(forced[12 + 128] >> 6, 0, "a full header in the middle of a message");
    assert_eq!(ours(&forced)[0].body.len(), 300);
}

#[test]
fn what_we_write_is_read_by_it() {
    let mut out = BytesMut::new();
    let mut writer = ChunkWriter::default();
    for (timestamp, len) in [(0, 500), (40, 20), (0x0100_0000, 300)] {
        let body = Bytes::from(vec![3; len]);
        writer.write(6, &Message { kind: kind::VIDEO, timestamp, stream: 1, body }, &mut out);
    }
    let mut reader = ChunkDeserializer::new();
    let mut read = Vec::new();
    let mut input = &out[..];
    while let Some(message) = reader.get_next_message(input).expect("legal") {
        read.push((message.timestamp.value, message.data.len()));
        input = &[];
    }
    assert_eq!(read, [(0, 500), (40, 20), (0x0100_0000, 300)]);
}

#[test]
fn fault_line_37_interleaved_chunk_streams() {
    // Shorter sound: it panics. Longer sound: payloads are mixed.
    let short = catch_unwind(AssertUnwindSafe(|| {
        let mut reader = ChunkDeserializer::new();
        reader.get_next_message(&interleaved(20)).map(|message| message.is_some())
    }));
    let broken = !matches!(short, Ok(Ok(true)));
    let mut reader = ChunkDeserializer::new();
    let long = catch_unwind(AssertUnwindSafe(|| reader.get_next_message(&interleaved(200))));
    let mixed = match long {
        Ok(Ok(Some(message))) => message.data.iter().any(|&byte| byte != message.data[0]),
        _ => true,
    };
    assert!(broken && mixed, "rml_rtmp reads interleaved chunk streams now");
    for sound in [20, 128] {
        let mut kinds: Vec<_> = ours(&interleaved(sound)).iter().map(|m| (m.kind, m.body.len())).collect();
        kinds.sort();
        assert_eq!(kinds, [(8, sound), (9, 200)]);
    }
}

#[test]
fn fault_line_36_extended_timestamps_that_are_not_repeated() {
    let mut input = vec![6, 0xff, 0xff, 0xff, 0, 0, 200, kind::VIDEO, 1, 0, 0, 0, 1, 0, 0, 0];
    input.extend([9; 128]);
    input.push(0xc6);
    input.extend([9; 72]);
    let theirs = ChunkDeserializer::new().get_next_message(&input);
    assert!(!matches!(theirs, Ok(Some(_))), "rml_rtmp reads them now");
    assert_eq!(ours(&input)[0].body, vec![9; 200]);
}

#[test]
fn fault_a_chunk_size_of_nothing_is_taken() {
    assert!(ChunkDeserializer::new().set_max_chunk_size(0).is_ok(), "rml_rtmp refuses it now");
}

#[test]
fn fault_a_short_command_panics() {
    let read = catch_unwind(|| payload(kind::COMMAND, 0, vec![5]).to_rtmp_message().is_ok());
    assert!(read.is_err(), "rml_rtmp survives it now");
}

#[test]
fn fault_line_49_an_empty_message_is_not_written() {
    let theirs = serialize(&mut ChunkSerializer::new(), &payload(kind::AUDIO, 0, vec![]), false);
    assert!(theirs.is_empty(), "rml_rtmp writes it now");
    let mut out = BytesMut::new();
    let silence = Message { kind: kind::AUDIO, timestamp: 20, stream: 1, body: Bytes::new() };
    ChunkWriter::default().write(4, &silence, &mut out);
    assert_eq!(ours(&out), [silence]);
}

#[test]
fn fault_a_message_that_starts_with_format_3_after_a_full_header() {
    // Servers add nothing there, the specification adds the timestamp; it relies on the latter.
    let mut writer = ChunkSerializer::new();
    let mut input = serialize(&mut writer, &payload(kind::AUDIO, 40, vec![1; 10]), false);
    let first = input.len();
    input.extend(serialize(&mut writer, &payload(kind::AUDIO, 80, vec![2; 10]), false));
    assert_eq!(input[first] >> 6, 3, "rml_rtmp writes a delta now");
}

#[test]
fn fault_values_of_amf0_that_end_a_session() {
    for (what, body) in [
        ("date", &[0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]),
        ("long string", &[0x0c, 0, 0, 0, 1, b'a']),
        ("typed object", &[0x10, 0, 1, b'C', 0, 0, 9]),
    ] {
        let read = rml_amf0::deserialize(&mut std::io::Cursor::new(body));
        assert!(read.is_err(), "rml_amf0 reads a {what} now");
    }
}

#[test]
fn fault_its_handshake_announces_digests_to_everybody() {
    let mut server = Handshake::new(PeerType::Server);
    let hello = [&[3][..], &[0; 1536]].concat();
    let Ok(HandshakeProcessResult::InProgress { response_bytes }) = server.process_bytes(&hello) else {
        panic!("a reply")
    };
    assert_ne!(response_bytes[5..9], [0; 4], "rml_rtmp answers a plain handshake plainly now");
}
