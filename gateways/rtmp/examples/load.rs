//! Many RTMP publishers from one thread, at the pace of the media: a load for `tests/bench/rtmp_load.py`.
//!
//! usage: `load HOST:PORT FILE.flv PUBLISHERS SECONDS`
//!
//! Every publisher sends the tags of the file over and over as `live/cam0`, `live/cam1` and so on, each shifted against
//! the others, one write per tag as encoders do. A line `publishing` says that all are accepted; at the end comes how
//! late the writes were.

#![expect(clippy::unwrap_used, reason = "a tool for measuring has nobody to report to but its caller")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use moqgate_mux::flv::{File, TagKind};
use moqgate_rtmp::proto::amf0::Value;
use moqgate_rtmp::proto::chunk::{ChunkReader, ChunkWriter, SEND_CHUNK_SIZE};
use moqgate_rtmp::proto::command::{body, object};
use moqgate_rtmp::proto::handshake::{ClientHandshake, Step};
use moqgate_rtmp::proto::message::{Message, kind};

/// Writes between looks at what the server says.
const READ_EVERY: usize = 200;

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, address, file, count, seconds] = &arguments[..] else {
        println!("usage: load HOST:PORT FILE.flv PUBLISHERS SECONDS");
        return;
    };
    let (address, count) = (address.parse().unwrap(), count.parse().unwrap());
    let time = Duration::from_secs(seconds.parse().unwrap());
    let clip = Clip::read(file);
    let mut publishers: Vec<_> = (0..count).map(|number| Publisher::open(address, number, &clip)).collect();
    println!("publishing {count} {} kbit/s", clip.bytes as u128 * 8 / clip.length.as_millis());
    run(&mut publishers, &clip, time);
}

/// What is repeated.
struct Clip {
    /// Metadata and parameters.
    start: Vec<Message>,
    /// The rest, with its time from the start.
    media: Vec<(Duration, Message)>,
    length: Duration,
    bytes: usize,
}

impl Clip {
    fn read(file: &str) -> Self {
        let data = Bytes::from(std::fs::read(file).unwrap());
        let (mut start, mut media) = (Vec::new(), Vec::new());
        for tag in File::new(data).unwrap() {
            let kind = match tag.kind {
                TagKind::Audio => kind::AUDIO,
                TagKind::Video => kind::VIDEO,
                TagKind::Script => kind::DATA,
            };
            let message = Message { kind, timestamp: tag.timestamp_ms, stream: 1, body: tag.body };
            // The second byte of AAC and AVC tells parameters, media and the end.
            match (message.kind, message.body.get(1)) {
                (kind::AUDIO | kind::VIDEO, Some(1)) => {
                    media.push((Duration::from_millis(message.timestamp.into()), message));
                }
                (kind::DATA, _) | (_, Some(0)) => start.push(message),
                _ => {}
            }
        }
        // Muxers write tags in the order of decoding times of the tracks together.
        media.sort_by_key(|(at, _)| *at);
        let last =
            media.iter().filter(|(_, message)| message.kind == kind::VIDEO).map(|(at, _)| *at).max().unwrap();
        let pictures = media.iter().filter(|(_, message)| message.kind == kind::VIDEO).count();
        let length = last + last / u32::try_from(pictures - 1).unwrap();
        media.retain(|(at, _)| *at < length);
        let bytes = media.iter().map(|(_, message)| message.body.len()).sum();
        Self { start, media, length, bytes }
    }
}

struct Publisher {
    stream: TcpStream,
    next: usize,
    lap: u32,
    writes: usize,
}

impl Publisher {
    fn open(address: SocketAddr, number: usize, clip: &Clip) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut input = BytesMut::new();
        stream.write_all(&ClientHandshake::hello(number as u64)).unwrap();
        let mut handshake = ClientHandshake::default();
        loop {
            match handshake.advance(&mut input).unwrap() {
                Step::More => read(&mut stream, &mut input),
                Step::Reply(reply) => stream.write_all(&reply).unwrap(),
                Step::Done => break,
            }
        }
        let text = |text: &str| Value::Text(text.to_owned());
        let url = format!("rtmp://{address}/live");
        let app = object([("app", text("live")), ("tcUrl", text(&url)), ("type", text("nonprivate"))]);
        let command = |stream, body| Message { kind: kind::COMMAND, timestamp: 0, stream, body };
        let size = Bytes::copy_from_slice(&(SEND_CHUNK_SIZE as u32).to_be_bytes());
        let mut writer = ChunkWriter::default();
        let mut send = |messages: &[Message]| {
            let mut out = BytesMut::new();
            messages.iter().for_each(|message| writer.write(3, message, &mut out));
            out
        };
        let connect = send(&[
            Message { kind: kind::SET_CHUNK_SIZE, timestamp: 0, stream: 0, body: size },
            command(0, body("connect", 1.0, vec![app])),
        ]);
        let mut reader = ChunkReader::default();
        stream.write_all(&connect).unwrap();
        answer(&mut stream, &mut reader, &mut input, b"_result");
        stream.write_all(&send(&[command(0, body("createStream", 2.0, vec![Value::Null]))])).unwrap();
        answer(&mut stream, &mut reader, &mut input, b"_result");
        let publish = vec![Value::Null, text(&format!("cam{number}")), text("live")];
        stream.write_all(&send(&[command(1, body("publish", 3.0, publish))])).unwrap();
        answer(&mut stream, &mut reader, &mut input, b"NetStream.Publish.Start");
        stream.write_all(&send(&clip.start)).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, next: 0, lap: 0, writes: 0 }
    }

    /// Sends what is next. Returns after how much of the lap the tag after it is due, laps included.
    fn send(&mut self, clip: &Clip, out: &mut BytesMut) -> Duration {
        let (_, message) = &clip.media[self.next];
        let mut message = message.clone();
        message.timestamp += self.lap * u32::try_from(clip.length.as_millis()).unwrap();
        out.clear();
        let mut writer = ChunkWriter::default();
        let size = Bytes::copy_from_slice(&(SEND_CHUNK_SIZE as u32).to_be_bytes());
        writer.write(2, &Message { kind: kind::SET_CHUNK_SIZE, timestamp: 0, stream: 0, body: size }, out);
        out.clear();
        writer.write(if message.kind == kind::AUDIO { 4 } else { 6 }, &message, out);
        let mut rest = &out[..];
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("a publisher was cut off: {error}"),
            }
        }
        self.writes += 1;
        if self.writes.is_multiple_of(READ_EVERY) {
            while self.stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
        }
        self.next += 1;
        if self.next == clip.media.len() {
            (self.next, self.lap) = (0, self.lap + 1);
        }
        clip.length * self.lap + clip.media[self.next].0
    }
}

fn run(publishers: &mut [Publisher], clip: &Clip, time: Duration) {
    let (begin, count) = (Instant::now(), u32::try_from(publishers.len()).unwrap());
    // Spread over one second, as encoders that know nothing of each other are.
    let shift = |index: usize| Duration::from_secs(1) / count * u32::try_from(index).unwrap();
    let mut due: BinaryHeap<_> =
        (0..publishers.len()).map(|index| Reverse((begin + shift(index) + clip.media[0].0, index))).collect();
    let (mut out, mut writes, mut late, mut worst) = (BytesMut::new(), 0u32, Duration::ZERO, Duration::ZERO);
    while let Some(Reverse((at, index))) = due.pop() {
        let now = Instant::now();
        if now.duration_since(begin) > time {
            break;
        }
        if at > now {
            std::thread::park_timeout(at - now);
        }
        let lateness = Instant::now().saturating_duration_since(at);
        (writes, late, worst) = (writes + 1, late + lateness, worst.max(lateness));
        let next = publishers[index].send(clip, &mut out);
        due.push(Reverse((begin + shift(index) + next, index)));
    }
    println!("sent {writes} tags, late by {:?} on average, {worst:?} at most", late / writes.max(1));
}

fn answer(stream: &mut TcpStream, reader: &mut ChunkReader, input: &mut BytesMut, wanted: &[u8]) {
    loop {
        while let Some(message) = reader.read(input).unwrap() {
            if message.kind == kind::COMMAND
                && message.body.windows(wanted.len()).any(|window| window == wanted)
            {
                return;
            }
        }
        read(stream, input);
    }
}

fn read(stream: &mut TcpStream, input: &mut BytesMut) {
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).unwrap();
    assert!(read > 0, "the server closed the connection");
    input.extend_from_slice(&buffer[..read]);
}
