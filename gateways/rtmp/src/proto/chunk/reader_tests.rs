use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::reader::{MAX_CHUNKS, MAX_PARTIAL, MAX_STREAMS};
use super::{ChunkError, ChunkReader, ChunkWriter};
use crate::proto::message::{MAX_AUDIO, MAX_VIDEO, Message, kind};

fn message(kind: u8, timestamp: u32, body: impl Into<Bytes>) -> Message {
    Message { kind, timestamp, stream: 1, body: body.into() }
}

fn set_chunk_size(size: u32) -> Message {
    Message { kind: kind::SET_CHUNK_SIZE, timestamp: 0, stream: 0, body: size.to_be_bytes().to_vec().into() }
}

/// Reads all of `input`, `step` bytes at a time.
fn read_in(steps: usize, input: &[u8]) -> Result<Vec<Message>, ChunkError> {
    let mut reader = ChunkReader::default();
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    for piece in input.chunks(steps) {
        buffer.extend_from_slice(piece);
        while let Some(message) = reader.read(&mut buffer)? {
            messages.push(message);
        }
        assert!(buffer.len() <= 18, "only a header waits");
    }
    Ok(messages)
}

fn read(input: &[u8]) -> Result<Vec<Message>, ChunkError> {
    let messages = read_in(usize::MAX, input);
    assert_eq!(messages, read_in(1, input), "cutting the input elsewhere changes nothing");
    messages
}

/// A header of format 0.
fn full(csid: u8, timestamp: u32, len: usize, kind: u8, out: &mut Vec<u8>) {
    out.put_u8(csid);
    out.put_uint(timestamp.into(), 3);
    out.put_uint(len as u64, 3);
    out.put_u8(kind);
    out.put_u32_le(1);
}

fn times(input: &[u8]) -> Vec<u32> {
    read(input).expect("legal").iter().map(|message| message.timestamp).collect()
}

#[test]
fn what_ffmpeg_sends_first() {
    let mut input = vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0x10, 0];
    // createStream, format 1 on a stream that had connect before it.
    full(3, 0, 2, kind::COMMAND, &mut input);
    input.extend([5, 5, 0x43, 0, 0, 0, 0, 0, 1, kind::COMMAND, 6]);
    // publish: the message stream id is little endian.
    input.extend([8, 0, 0, 0, 0, 0, 1, 0x14, 1, 0, 0, 0, 7]);
    let messages = read(&input).expect("legal");
    assert_eq!(messages[0].body[..], [0, 0, 0x10, 0]);
    assert_eq!((messages[2].kind, &messages[2].body[..]), (kind::COMMAND, &[6][..]));
    assert_eq!(messages[3].stream, 1);
}

#[test]
fn deltas_add_up_and_a_third_format_repeats_them() {
    let mut input = Vec::new();
    full(6, 1000, 1, kind::VIDEO, &mut input);
    input.push(1);
    // Straight after a full header the delta is nothing, as servers have it.
    input.extend([0xc6, 2]);
    input.extend([0x46, 0, 0, 40, 0, 0, 1, kind::VIDEO, 3]);
    input.extend([0xc6, 4]);
    input.extend([0x86, 0, 0, 20, 5]);
    assert_eq!(times(&input), [1000, 1000, 1040, 1080, 1100]);
}

#[test]
fn time_wraps_at_32_bits() {
    let mut input = Vec::new();
    full(6, 0xff_ffff, 1, kind::VIDEO, &mut input);
    input.put_u32(u32::MAX - 9);
    input.push(1);
    input.extend([0x86, 0, 0, 40, 2]);
    assert_eq!(times(&input), [u32::MAX - 9, 30]);
}

#[test]
fn line_36_extended_timestamps_with_and_without_repeats() {
    for repeated in [true, false] {
        let body: Vec<u8> = (0..300).map(|n| n as u8 | 0x80).collect();
        let mut input = Vec::new();
        full(6, 0xff_ffff, body.len(), kind::VIDEO, &mut input);
        input.put_u32(0x0100_0ae0);
        for (n, chunk) in body.chunks(128).enumerate() {
            if n > 0 {
                input.push(0xc6);
                if repeated {
                    input.put_u32(0x0100_0ae0);
                }
            }
            input.extend(chunk);
        }
        // And the next one is small again.
        full(6, 5, 0, kind::VIDEO, &mut input);
        let messages = read(&input).expect("legal");
        assert_eq!(messages[0], message(kind::VIDEO, 0x0100_0ae0, body));
        assert_eq!(messages[1].timestamp, 5);
    }
}

#[test]
fn line_36_extended_deltas() {
    let mut input = Vec::new();
    full(6, 10, 1, kind::VIDEO, &mut input);
    input.push(1);
    input.extend([0x86, 0xff, 0xff, 0xff, 0x01, 0, 0, 0, 2]);
    // Format 3 with a new message repeats the delta, in the header and in time.
    input.extend([0xc6, 0x01, 0, 0, 0, 3]);
    // An extended delta that would have needed no extension is no reason to stumble.
    input.extend([0x86, 0xff, 0xff, 0xff, 0, 0, 0, 5, 4]);
    assert_eq!(times(&input), [10, 0x0100_000a, 0x0200_000a, 0x0200_000f]);
}

#[test]
fn line_37_chunk_streams_interleave() {
    // Audio between the chunks of a picture, shorter than what is missing and longer.
    for audio in [&[7; 10][..], &[7; 128]] {
        let video: Vec<u8> = (0..200).collect();
        let mut input = Vec::new();
        full(6, 40, video.len(), kind::VIDEO, &mut input);
        input.extend(&video[..128]);
        full(4, 41, audio.len(), kind::AUDIO, &mut input);
        input.extend(audio);
        input.push(0xc6);
        input.extend(&video[128..]);
        assert_eq!(
            read(&input).expect("legal"),
            [message(kind::AUDIO, 41, audio.to_vec()), message(kind::VIDEO, 40, video)]
        );
    }
}

#[test]
fn line_37_control_messages_come_on_any_chunk_stream() {
    let mut input = Vec::new();
    full(5, 0, 4, kind::SET_CHUNK_SIZE, &mut input);
    input.extend([0, 0, 2, 0]);
    full(6, 0, 500, kind::VIDEO, &mut input);
    input.extend([1; 500]);
    assert_eq!(read(&input).expect("legal")[1].body.len(), 500);
}

#[test]
fn two_ways_to_write_a_chunk_stream_id_are_one_stream() {
    let mut input = vec![0, 6];
    let mut header = Vec::new();
    full(0, 7, 130, kind::AUDIO, &mut header);
    input.extend(&header[1..]);
    input.extend([9; 128]);
    // 70 = 64 + 6, in three bytes.
    input.extend([0xc1, 6, 0, 9, 9]);
    assert_eq!(read(&input), Ok(vec![message(kind::AUDIO, 7, vec![9; 130])]));
}

#[test]
fn a_new_chunk_size_holds_for_messages_under_way() {
    let mut input = Vec::new();
    full(6, 0, 400, kind::VIDEO, &mut input);
    input.extend([1; 128]);
    full(2, 0, 4, kind::SET_CHUNK_SIZE, &mut input);
    input.extend([0, 0, 1, 0]);
    input.push(0xc6);
    input.extend([2; 256]);
    input.extend([0xc6, 3, 3, 3, 3]);
    input.extend([3; 12]);
    assert_eq!(read(&input).expect("legal")[1].body.len(), 400);
}

#[test]
fn chunk_sizes_of_nonsense_end_the_connection() {
    for size in [0, 0x8000_0000] {
        let mut out = BytesMut::new();
        ChunkWriter::default().write(2, &set_chunk_size(size), &mut out);
        assert_eq!(read(&out), Err(ChunkError::ChunkSize(size)));
    }
    // The largest one that is legal means no limit.
    let mut out = BytesMut::new();
    ChunkWriter::default().write(2, &set_chunk_size(0x7fff_ffff), &mut out);
    let mut input = out.to_vec();
    full(6, 0, 100_000, kind::VIDEO, &mut input);
    input.extend(vec![1; 100_000]);
    assert_eq!(read_in(4096, &input).expect("legal")[1].body.len(), 100_000);
}

#[test]
fn abort_drops_what_is_under_way() {
    let mut input = Vec::new();
    full(6, 0, 200, kind::VIDEO, &mut input);
    input.extend([1; 128]);
    full(2, 0, 4, kind::ABORT, &mut input);
    input.extend([0, 0, 0, 6]);
    full(6, 1, 1, kind::VIDEO, &mut input);
    input.push(7);
    let messages = read(&input).expect("legal");
    assert_eq!(messages[1], message(kind::VIDEO, 1, vec![7]));
}

#[test]
fn line_49_empty_messages_are_messages() {
    let mut input = Vec::new();
    full(4, 20, 0, kind::AUDIO, &mut input);
    full(4, 40, 0, kind::DATA, &mut input);
    let messages = read(&input).expect("legal");
    assert_eq!(messages, [message(kind::AUDIO, 20, vec![]), message(kind::DATA, 40, vec![])]);
}

#[test]
fn a_full_header_in_place_of_format_3_is_understood() {
    let mut input = Vec::new();
    full(6, 40, 130, kind::VIDEO, &mut input);
    input.extend([1; 128]);
    full(6, 40, 130, kind::VIDEO, &mut input);
    input.extend([1; 2]);
    assert_eq!(read(&input), Ok(vec![message(kind::VIDEO, 40, vec![1; 130])]));
}

#[test]
fn headers_that_cannot_be_end_the_connection() {
    assert_eq!(read(&[0xc6, 1]), Err(ChunkError::NoHeader(6)));
    assert_eq!(read(&[0x86, 0, 0, 1, 1]), Err(ChunkError::NoHeader(6)));
    // Old librtmp's ping reply.
    assert_eq!(read(&[0x42, 0, 0, 1, 0, 0, 6, 4, 0, 7, 0, 0, 0, 1]).expect("tolerated")[0].stream, 0);
    let mut overlap = Vec::new();
    full(6, 40, 130, kind::VIDEO, &mut overlap);
    overlap.extend([1; 128]);
    full(6, 80, 10, kind::VIDEO, &mut overlap);
    assert_eq!(read(&overlap), Err(ChunkError::Overlap(6)));
    let mut short = Vec::new();
    full(2, 0, 2, kind::ABORT, &mut short);
    short.extend([0, 0]);
    assert_eq!(read(&short), Err(ChunkError::Control(kind::ABORT)));
}

#[test]
fn line_50_promises_cost_nothing_and_bounds_hold() {
    let mut long = Vec::new();
    full(4, 0, MAX_AUDIO + 1, kind::AUDIO, &mut long);
    assert_eq!(read(&long), Err(ChunkError::TooLong { kind: kind::AUDIO, len: MAX_AUDIO + 1 }));

    let mut many = Vec::new();
    for csid in 0..=MAX_STREAMS as u8 {
        full(2 + csid, 0, 1000, kind::VIDEO, &mut many);
        many.extend([0; 128]);
    }
    assert_eq!(read_in(usize::MAX, &many), Err(ChunkError::Streams));

    // Four pictures at once, each of the longest, are more than a connection may hold.
    let mut reader = ChunkReader::default();
    let mut out = BytesMut::new();
    ChunkWriter::default().write(2, &set_chunk_size(1 << 20), &mut out);
    let mut failed = None;
    for round in 0..9 {
        for csid in 6..10 {
            if round == 0 {
                let mut header = Vec::new();
                full(csid, 0, MAX_VIDEO, kind::VIDEO, &mut header);
                out.extend_from_slice(&header);
            } else {
                out.put_u8(0xc0 | csid);
            }
            out.put_bytes(0, 1 << 20);
            while failed.is_none() {
                match reader.read(&mut out) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => failed = Some(error),
                }
            }
            assert!(reader.partial() <= MAX_PARTIAL + (1 << 20));
        }
    }
    assert_eq!(failed, Some(ChunkError::Partial));
}

#[test]
fn sixteen_megabytes_in_chunks_of_one_byte_are_cut_off() {
    let mut out = BytesMut::new();
    ChunkWriter::default().write(2, &set_chunk_size(1), &mut out);
    let mut input = out.to_vec();
    full(6, 0, MAX_VIDEO, kind::VIDEO, &mut input);
    input.push(0);
    input.extend([0xc6, 0].repeat(MAX_CHUNKS as usize));
    assert_eq!(read_in(4096, &input), Err(ChunkError::Chunks));
    // And sixteen in one piece already at the header.
    let mut whole = Vec::new();
    full(6, 0, 0xff_ffff, kind::VIDEO, &mut whole);
    assert_eq!(read(&whole), Err(ChunkError::TooLong { kind: kind::VIDEO, len: 0xff_ffff }));
}

#[test]
fn the_longest_picture_passes_at_the_default_chunk_size() {
    let mut out = BytesMut::new();
    ChunkWriter::default().write(6, &message(kind::VIDEO, 0, vec![5; MAX_VIDEO]), &mut out);
    assert_eq!(read_in(65_536, &out).expect("legal")[0].body.len(), MAX_VIDEO);
}

/// Cuts messages into chunks as any writer might: `sizes` gives the lengths of the turns that each chunk stream takes.
fn interleave(messages: &[(u8, Message)], chunk_size: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    ChunkWriter::default().write(2, &set_chunk_size(chunk_size as u32), &mut out);
    let mut out = out.to_vec();
    let mut queues: Vec<Vec<Vec<u8>>> = Vec::new();
    for csid in 3..7 {
        let mut chunks = Vec::new();
        for (_, message) in messages.iter().filter(|(own, _)| *own == csid) {
            let mut whole = BytesMut::new();
            let mut writer = ChunkWriter::default();
            writer.write(2, &set_chunk_size(chunk_size as u32), &mut BytesMut::new());
            writer.write(csid, message, &mut whole);
            let extended = if message.timestamp >= 0xff_ffff { 4 } else { 0 };
            let (mut at, mut header, mut left) = (0, 12 + extended, message.body.len());
            loop {
                let body = left.min(chunk_size);
                chunks.push(whole[at..at + header + body].to_vec());
                at += header + body;
                left -= body;
                header = 1 + extended;
                if left == 0 {
                    break;
                }
            }
        }
        chunks.reverse();
        queues.push(chunks);
    }
    while queues.iter().any(|queue| !queue.is_empty()) {
        for queue in &mut queues {
            if let Some(chunk) = queue.pop() {
                out.extend(chunk);
            }
        }
    }
    out
}

fn any_message() -> impl Strategy<Value = (u8, Message)> {
    let time = prop_oneof![0..0xff_ffffu32, Just(0xff_fffe), Just(0xff_ffff), 0xff_ffff..=u32::MAX];
    let kinds = prop_oneof![Just(kind::AUDIO), Just(kind::VIDEO), Just(kind::DATA)];
    (3..7u8, kinds, time, proptest::collection::vec(any::<u8>(), 0..700))
        .prop_map(|(csid, kind, time, body)| (csid, message(kind, time, body)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunk_size_and_interleaving_round_trips(
        messages in proptest::collection::vec(any_message(), 0..20),
        chunk_size in 1..400usize,
        step in 1..1000usize,
    ) {
        let mut read = read_in(step, &interleave(&messages, chunk_size)).expect("legal");
        read.remove(0);
        // Within a chunk stream the order is kept; bodies differ enough to tell messages apart.
        let mut expected: Vec<_> = messages.into_iter().map(|(_, message)| message).collect();
        let key = |message: &Message| (message.timestamp, message.kind, message.body.clone());
        expected.sort_by_key(key);
        read.sort_by_key(key);
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn anything_may_come(input in proptest::collection::vec(any::<u8>(), 0..3000), step in 1..200usize) {
        let mut reader = ChunkReader::default();
        let mut buffer = BytesMut::new();
        'all: for piece in input.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                match reader.read(&mut buffer) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'all,
                }
            }
            prop_assert!(reader.partial() <= input.len());
            prop_assert!(buffer.len() <= 18);
        }
    }
}
