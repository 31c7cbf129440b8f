//! Recorded sessions of the released peers: every stream of every transcript is read to its end, and what was read is
//! written again to the same bytes. What the recordings hold of deliberate mistakes is listed by name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::{Buf, BytesMut};
use moqgate_moq::wire::{
    AnnounceOk, AnnounceRequest, Announcement, BidiType, DecodeError, Fetch, FrameHeads, Goaway, GroupHead,
    Message, Probe, Setup, Subscribe, SubscribeReply, SubscribeUpdate, Track, TrackInfo, UniType, Version,
    take_type,
};

#[test]
fn lite_03() {
    check("lite03", Version::Lite03);
}

#[test]
fn lite_04() {
    check("lite04", Version::Lite04);
}

#[test]
fn lite_05() {
    check("lite05", Version::Lite05);
}

#[test]
fn lite_06() {
    check("lite06", Version::Lite06);
}

#[test]
fn endings_and_goaway() {
    check("endings", Version::Lite06);
    check("goaway", Version::Lite06);
}

#[test]
fn browser() {
    check("webtransport-browser", Version::Lite05);
}

/// The streams that cannot be read to their end, and why: `FILE | CASE | STREAM SENDER | FAULT`.
const FAULTS: &str = include_str!("golden_faults.txt");

/// Reads all transcripts whose name begins with `name`.
fn check(name: &str, version: Version) {
    let mut faults = String::new();
    let mut messages = 0;
    for file in files(name) {
        let text = std::fs::read_to_string(&file).expect("transcript");
        let file = file.file_stem().expect("name").to_string_lossy().into_owned();
        for ((case, session, stream), halves) in streams(&text) {
            let version = session.unwrap_or(version);
            if file.starts_with("webtransport") && !halves.values().any(|half| is_prefixed(&half.bytes)) {
                continue;
            }
            for (sender, half) in &halves {
                let opened = stream.starts_with(*sender);
                let kind =
                    halves.get(&stream.chars().next().expect("stream name")).map(|half| &half.bytes[..]);
                match read(version, &stream, opened, kind.unwrap_or_default(), half) {
                    Ok(count) => messages += count,
                    Err(fault) => {
                        writeln!(faults, "{file} | {case} | {stream} {sender} | {fault}").expect("string")
                    }
                }
            }
        }
    }
    assert!(messages > 10, "{name}: only {messages} messages");
    let faults: Vec<&str> = faults.lines().collect();
    let expected: Vec<&str> = FAULTS.lines().filter(|fault| fault.starts_with(name)).collect();
    assert_eq!(faults, expected, "{name}, {messages} messages:\n{}", faults.join("\n"));
}

fn files(name: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/moq");
    let entries = std::fs::read_dir(&folder).expect("fixtures");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    files.retain(|file| file.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)));
    files.sort();
    assert!(!files.is_empty(), "no transcript {name}");
    files
}

/// One direction of one stream.
#[derive(Default)]
struct Half {
    bytes: Vec<u8>,
    /// The recording leaves bytes out from here on.
    cut: bool,
}

type Key = (String, Option<Version>, String);

/// `[version] TIME SENDER STREAM <|> HEX[ ... (N bytes)][ FIN][ ; note]`, in cases headed by `# == title`.
fn streams(text: &str) -> BTreeMap<Key, BTreeMap<char, Half>> {
    let mut streams: BTreeMap<Key, BTreeMap<char, Half>> = BTreeMap::new();
    let mut case = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("# == ") {
            case = title.to_owned();
            continue;
        }
        let mut words = line.split_whitespace().peekable();
        let session = words.next_if(|word| word.starts_with('v')).map(|word| match word {
            "v3" => Version::Lite03,
            "v4" => Version::Lite04,
            "v5" => Version::Lite05,
            _ => Version::Lite06,
        });
        let (Some(time), Some(sender), Some(stream), Some(_), Some(hex)) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        if time.parse::<u64>().is_err() || !(stream.contains("uni") || stream.contains("bidi")) {
            continue;
        }
        let halves = streams.entry((case.clone(), session, stream.to_owned())).or_default();
        let half = halves.entry(sender.chars().next().expect("sender")).or_default();
        let digits = hex.as_bytes();
        if digits.iter().all(u8::is_ascii_hexdigit) && !half.cut {
            let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
            let byte = |pair: &[u8]| pair.iter().fold(0, |byte, next| (byte << 4) | digit(*next));
            half.bytes.extend(digits.chunks(2).map(byte));
        }
        half.cut |= line.contains(" ... ") || line.contains("frames follow") || line.contains("bytes in all");
    }
    streams
}

/// How many messages and frames one half holds, or what is wrong with it.
fn read(version: Version, stream: &str, opened: bool, opener: &[u8], half: &Half) -> Result<usize, String> {
    let mut kind = BytesMut::from(opener);
    let mut buf = BytesMut::from(&half.bytes[..]);
    strip_prefix(&mut kind);
    if opened {
        strip_prefix(&mut buf);
        take_type(&mut buf);
    }
    let Some(kind) = take_type(&mut kind) else { return Ok(0) };
    let mut reader = Strict { version, buf, count: 0 };
    let read = if stream.contains("uni") {
        reader.uni(kind)
    } else if opened {
        reader.request(kind)
    } else {
        reader.reply(kind)
    };
    read?;
    if !reader.buf.is_empty() && !half.cut {
        return Err(format!("{} bytes left", reader.buf.len()));
    }
    Ok(reader.count)
}

fn strip_prefix(buf: &mut BytesMut) {
    if is_prefixed(buf) {
        buf.advance(3);
    }
}

/// WebTransport: `40 41` or `40 54`, then session 0. Its other streams are HTTP/3.
fn is_prefixed(bytes: &[u8]) -> bool {
    matches!(bytes, [0x40, 0x41 | 0x54, 0x00, ..])
}

struct Strict {
    version: Version,
    buf: BytesMut,
    count: usize,
}

impl Strict {
    fn uni(&mut self, kind: u64) -> Result<(), String> {
        match UniType::from_id(kind, self.version) {
            Some(UniType::Setup) => self.one::<Setup>(),
            Some(UniType::Group) => {
                self.one::<GroupHead>()?;
                self.frames()
            }
            None => Err(format!("unknown uni {kind:#x}")),
        }
    }

    fn request(&mut self, kind: u64) -> Result<(), String> {
        match BidiType::from_id(kind, self.version) {
            Some(BidiType::Announce) => self.one::<AnnounceRequest>(),
            Some(BidiType::Subscribe) => {
                self.one::<Subscribe>()?;
                self.all::<SubscribeUpdate>()
            }
            Some(BidiType::Fetch) => self.one::<Fetch>(),
            Some(BidiType::Track) => self.one::<Track>(),
            Some(BidiType::Goaway) => self.one::<Goaway>(),
            Some(BidiType::Probe) => Ok(()),
            None => Err(format!("unknown bidi {kind:#x}")),
        }
    }

    fn reply(&mut self, kind: u64) -> Result<(), String> {
        match BidiType::from_id(kind, self.version) {
            Some(BidiType::Announce) => {
                if self.version.has_announce_ok() {
                    self.one::<AnnounceOk>()?;
                }
                self.all::<Announcement>()
            }
            Some(BidiType::Subscribe) => self.all::<SubscribeReply>(),
            Some(BidiType::Fetch) => self.frames(),
            Some(BidiType::Track) => self.one::<TrackInfo>(),
            Some(BidiType::Probe) => self.all::<Probe>(),
            Some(BidiType::Goaway) | None => Ok(()),
        }
    }

    fn one<M: Message>(&mut self) -> Result<(), String> {
        if self.buf.is_empty() {
            return Ok(());
        }
        let before = self.buf.clone();
        let message =
            M::decode(&mut self.buf, self.version).map_err(|error: DecodeError| error.to_string())?;
        let Some(message) = message else { return Ok(()) };
        let taken = &before[..before.len() - self.buf.len()];
        let again = message.to_bytes(self.version);
        self.count += 1;
        if again == taken { Ok(()) } else { Err(format!("{taken:02x?} became {:02x?}", &again[..])) }
    }

    fn all<M: Message>(&mut self) -> Result<(), String> {
        let mut before = usize::MAX;
        while self.buf.len() < before {
            before = self.buf.len();
            self.one::<M>()?;
        }
        Ok(())
    }

    fn frames(&mut self) -> Result<(), String> {
        let (mut reader, mut writer) = (FrameHeads::new(self.version), FrameHeads::new(self.version));
        loop {
            let before = self.buf.clone();
            let head = reader.decode(&mut self.buf).map_err(|error| error.to_string())?;
            let Some(head) = head else { return Ok(()) };
            let mut again = BytesMut::new();
            writer.encode(head.timestamp.unwrap_or(0), head.size, &mut again);
            if again != before[..before.len() - self.buf.len()] {
                return Err(format!("head {head:?} became {again:02x?}"));
            }
            self.count += 1;
            if self.buf.len() < head.size {
                return Ok(());
            }
            self.buf.advance(head.size);
        }
    }
}
