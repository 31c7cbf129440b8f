//! What ffmpeg makes of a clip or of a stream: its packets with their times, and its frames, decoded.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Log, Process};
use crate::{media, tools};

/// Which ffmpeg: Debian's, or the newer one that knows enhanced RTMP and AV1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ffmpeg {
    /// 5.1 in Debian 12.
    Debian,
    /// The static build of `imageio-ffmpeg`.
    Newer,
}

impl Ffmpeg {
    /// Its name for [`tools::require`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "ffmpeg",
            Self::Newer => tools::NEWER_FFMPEG,
        }
    }

    /// The command, which says nothing while nothing is wrong.
    #[must_use]
    pub fn command(self) -> Command {
        let mut command = Command::new(tools::program(self.name()));
        command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y"]);
        command
    }

    /// What it announces to an RTMP server; nothing, as every player of old.
    #[must_use]
    pub fn rtmp_options(self) -> &'static [&'static str] {
        match self {
            Self::Debian => &[],
            Self::Newer => &["-rtmp_enhanced_codecs", "hvc1,av01,Opus"],
        }
    }
}

/// One packet. Microseconds after the first packet of the picture is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    /// When it is shown.
    pub pts: i64,
    /// When it is decoded.
    pub dts: i64,
}

/// One stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// In the order of the container.
    pub packets: Vec<Packet>,
    /// MD5 of every decoded picture, in the order in which they are shown. Of sound, of every packet: decoders of AAC fill
    /// in noise, and those of Opus have a lead-in, so that what they make of a packet depends on where they began.
    pub frames: Vec<String>,
}

/// A clip or a stream, picture and sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The picture.
    pub video: Stream,
    /// The sound.
    pub audio: Stream,
}

/// What the sound is coded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// AAC, with ADTS headers or without, which do not count.
    Aac,
    /// Opus.
    Opus,
}

impl Sound {
    /// Takes off what one container has around a packet and another has not.
    fn unwrapped(self) -> &'static [&'static str] {
        match self {
            Self::Aac => &["-bsf:a", "aac_adtstoasc"],
            Self::Opus => &[],
        }
    }
}

/// An ffmpeg that reads something to its end and lists it.
pub struct Lister {
    process: Process,
    packets: PathBuf,
    frames: PathBuf,
}

impl Lister {
    /// Reads `input` with these options before it. The lists go to `folder` under `name`.
    #[must_use]
    pub fn start(
        ffmpeg: Ffmpeg,
        sound: Sound,
        options: &[&str],
        input: &OsStr,
        folder: &Path,
        name: &str,
    ) -> Self {
        let (packets, frames) =
            (folder.join(format!("{name}.packets")), folder.join(format!("{name}.frames")));
        let mut command = ffmpeg.command();
        command.args(options).arg("-i").arg(input);
        command.args(["-map", "0:v", "-map", "0:a", "-c", "copy"]).args(sound.unwrapped());
        command.args(["-f", "framemd5"]).arg(&packets);
        command.args([
            "-map",
            "0:v",
            "-map",
            "0:a",
            "-fps_mode",
            "passthrough",
            "-enc_time_base:v",
            "1:1000000",
        ]);
        command.args(["-f", "framemd5"]).arg(&frames);
        Self { process: Process::start(&format!("ffmpeg lists {name}"), &mut command), packets, frames }
    }

    /// The process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has listed, once it has ended.
    ///
    /// # Panics
    ///
    /// When it has not ended well within `limit`, or had anything to complain about.
    #[track_caller]
    #[must_use]
    pub fn listing(&mut self, limit: std::time::Duration) -> Listing {
        let status = self.process.wait(limit);
        let said = complaints(self.process.log());
        assert!(status.success() && said.is_empty(), "{status}: {said:#?}");
        read(&self.packets, &self.frames)
    }
}

/// What ffmpeg found wrong. That a connection was closed is an input/output error to its SRT, however it was closed.
fn complaints(log: &Log) -> Vec<String> {
    let mut lines = log.lines();
    let closed = |line: &String| {
        let asked = line.starts_with("srt://") || line.starts_with("[in#0/mpegts");
        asked && line.ends_with(": Input/output error")
    };
    if let Some(at) = lines.iter().position(closed) {
        let repeated = lines.get(at + 1).is_some_and(|line| line.contains("Last message repeated"));
        lines.drain(at..=at + usize::from(repeated));
    }
    lines
}

/// The listing of a file, the picture in its first stream.
///
/// # Panics
///
/// When ffmpeg cannot read it.
#[track_caller]
#[must_use]
pub fn of_file(ffmpeg: Ffmpeg, sound: Sound, file: &Path) -> Listing {
    let folder = tempfile::tempdir().expect("a folder");
    let mut lister = Lister::start(ffmpeg, sound, &["-copyts"], file.as_os_str(), folder.path(), "clip");
    let mut listing = lister.listing(crate::wait::SOON);
    // ffmpeg corrects decoding times that it does not like; ffprobe does not.
    let rows = media::probe(file, "packet=stream_index,pts_time,dts_time");
    let micros = |field: &str| field.replace('.', "").parse::<i64>().expect("six digits after the point");
    let zero = rows.iter().find(|row| row[0] == "0").map_or(0, |row| micros(&row[1]));
    for (stream, out) in [("0", &mut listing.video), ("1", &mut listing.audio)] {
        let own = rows.iter().filter(|row| row[0] == stream);
        out.packets =
            own.map(|row| Packet { pts: micros(&row[1]) - zero, dts: micros(&row[2]) - zero }).collect();
    }
    listing
}

/// One line of `framemd5`.
struct Line {
    stream: usize,
    packet: Packet,
    hash: String,
}

fn read(packets: &Path, frames: &Path) -> Listing {
    let (packets, frames) = (lines(packets), lines(frames));
    let zero = packets.iter().find(|line| line.stream == 0).map_or(0, |line| line.packet.pts);
    let mut listing = Listing::default();
    for (stream, out) in [(0, &mut listing.video), (1, &mut listing.audio)] {
        let own = packets.iter().filter(|line| line.stream == stream);
        out.packets = own
            .clone()
            .map(|line| Packet { pts: line.packet.pts - zero, dts: line.packet.dts - zero })
            .collect();
        let hashed: Vec<&Line> = match stream {
            0 => frames.iter().filter(|line| line.stream == stream).collect(),
            _ => own.collect(),
        };
        out.frames = hashed.into_iter().map(|line| line.hash.clone()).collect();
    }
    listing
}

/// The lines of a list.
fn lines(list: &Path) -> Vec<Line> {
    let text = fs::read_to_string(list).unwrap_or_else(|error| panic!("{}: {error}", list.display()));
    let mut bases: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(base) = line.strip_prefix("#tb ") {
            let (stream, base) = base.split_once(": ").expect("a stream and its time base");
            let (over, under) = base.split_once('/').expect("a fraction");
            let number = |text: &str| text.parse::<i64>().expect("a number");
            bases.insert(stream.parse().expect("a number"), (number(over), number(under)));
        } else if !line.starts_with('#') {
            let fields: Vec<_> = line.split(',').map(str::trim).collect();
            let stream = fields[0].parse().expect("a stream");
            let (over, under) = bases[&stream];
            let micros = |field: &str| field.parse::<i64>().expect("a time") * over * 1_000_000 / under;
            let packet = Packet { pts: micros(fields[2]), dts: micros(fields[1]) };
            found.push(Line { stream, packet, hash: fields[5].to_owned() });
        }
    }
    found
}

impl Listing {
    /// The same clip without the sound that this listing lacks at the beginning, which is at most `late` frames.
    #[must_use]
    pub fn beginning_of(&self, source: &Self, late: usize) -> Self {
        let lacks = source.audio.frames.len().saturating_sub(self.audio.frames.len()).min(late);
        let mut source = source.clone();
        source.audio.frames.drain(..lacks);
        source.audio.packets.drain(..lacks.min(source.audio.packets.len()));
        source
    }

    /// Fails with the first difference from `source`, in words. Times of picture and sound may be `off` microseconds.
    ///
    /// # Panics
    ///
    /// When they differ.
    #[track_caller]
    pub fn assert_is(&self, source: &Self, off: [i64; 2], decoding_times: bool, what: &str) {
        let streams = [("video", &self.video, &source.video), ("audio", &self.audio, &source.audio)];
        for ((kind, own, wanted), off) in streams.into_iter().zip(off) {
            let far = |at: usize| {
                let (own, wanted) = (own.packets[at], wanted.packets[at]);
                (own.pts - wanted.pts).abs() > off || decoding_times && (own.dts - wanted.dts).abs() > off
            };
            let lengths = (own.packets.len(), own.frames.len());
            let wanted_lengths = (wanted.packets.len(), wanted.frames.len());
            let unlike = |at: &usize| own.frames[*at] != wanted.frames[*at];
            let common = lengths.0.min(wanted_lengths.0);
            let moved = (0..common).find(|&at| far(at)).map(|at| (at, own.packets[at], wanted.packets[at]));
            assert_eq!(
                (lengths, moved),
                (wanted_lengths, None),
                "{what}: {kind}: (packets, frames), first moved"
            );
            let unlike = (0..own.frames.len()).find(unlike);
            assert_eq!(unlike, None, "{what}: {kind}: the first frame with other content");
        }
    }
}
