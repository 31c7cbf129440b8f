//! {SRT, RTMP, native MoQ} in, {SRT, RTMP, native MoQ} out: what arrives is what was sent, and what was charged is what
//! the clip holds.
//!
//! One test is one clip. All its publishers run at once against one gateway, each on a path of its own, and each has a
//! player of every protocol, which has come before it. So the row of the usage report with a publisher's path and a
//! player's protocol is one cell of the matrix.

use std::ffi::OsString;
use std::path::Path;

use moqgate_tests::fixture::{Fixture, Payload};
use moqgate_tests::gateway::Gateway;
use moqgate_tests::listing::{self, Ffmpeg, Lister, Listing, Sound};
use moqgate_tests::process::Process;
use moqgate_tests::usage::Counters;
use moqgate_tests::{media, peers, tools, wait};

use crate::{RUN, WHOLE};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Srt,
    Rtmp,
    Moq,
}

use Protocol::{Moq, Rtmp, Srt};

impl Protocol {
    /// As in the usage report.
    fn name(self) -> &'static str {
        match self {
            Srt => "srt",
            Rtmp => "rtmp",
            Moq => "moq",
        }
    }
}

/// RTMP counts milliseconds, and nobody rounds alike.
const MILLISECOND: i64 = 1000;
/// A tick of 90 kHz and the microsecond to which it is cut.
const TICK: i64 = 12;

/// What a test runs.
struct Matrix {
    clip: &'static str,
    ffmpeg: Ffmpeg,
    /// Those that can carry the codecs of the clip, in both directions.
    protocols: &'static [Protocol],
    sound: Sound,
    /// How much more than the picture's the times of the sound may be off, in microseconds.
    sound_off: i64,
}

const ALL: &[Protocol] = &[Srt, Rtmp, Moq];

#[test]
fn h264_without_b_frames_and_aac() {
    Matrix { clip: "plain.ts", ffmpeg: Ffmpeg::Debian, protocols: ALL, sound: Sound::Aac, sound_off: 0 }
        .run();
}

#[test]
fn h264_with_a_pyramid_of_b_frames_and_aac() {
    Matrix { clip: "pyramid.ts", ffmpeg: Ffmpeg::Debian, protocols: ALL, sound: Sound::Aac, sound_off: 0 }
        .run();
}

#[test]
fn hevc_with_b_frames_and_aac() {
    Matrix { clip: "hevc.ts", ffmpeg: Ffmpeg::Newer, protocols: ALL, sound: Sound::Aac, sound_off: 0 }.run();
}

#[test]
fn h264_with_b_frames_and_opus() {
    Matrix { clip: "opus.ts", ffmpeg: Ffmpeg::Newer, protocols: ALL, sound: Sound::Opus, sound_off: 0 }.run();
}

/// ffmpeg can neither write nor read AV1 in MPEG-TS. MP4 takes the lead-in of Opus, 6.5 ms, out of its times, FLV does not.
#[test]
fn av1_and_opus() {
    Matrix {
        clip: "av1.mp4",
        ffmpeg: Ffmpeg::Newer,
        protocols: &[Rtmp, Moq],
        sound: Sound::Opus,
        sound_off: 7000,
    }
    .run();
}

/// Gateway arguments with which nothing of a clip is forgotten, and a player stays long enough for its publisher to come,
/// and not much longer after it has left.
const ARGUMENTS: [&str; 6] = ["--retention-age", "60s", "--srt-play-wait", "12s", "--rtmp-play-wait", "12s"];

/// One publisher and its players.
struct Row {
    source: Protocol,
    path: String,
    players: Vec<(Protocol, Player)>,
    /// The frames of sound at the beginning of the clip that each player came too late for.
    missing: Vec<usize>,
}

/// A native publisher does not wait: frames of sound that it sent before it was asked for them are gone. Half a second.
const LATE_FRAMES: usize = 25;

enum Player {
    Ffmpeg(Lister),
    Moq(Process, OsString),
}

impl Matrix {
    fn is_ts(&self) -> bool {
        Path::new(self.clip).extension().is_some_and(|extension| extension == "ts")
    }

    /// Whether the times of the clip are cut to milliseconds on the way in: by RTMP, and by FLV in front of the released
    /// client.
    fn is_rounded(&self, source: Protocol) -> bool {
        source == Rtmp || source == Moq && !self.is_ts()
    }

    fn run(&self) {
        if !tools::require(&["ffmpeg", "ffprobe", "moq", self.ffmpeg.name()]) {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = tools::root().join("fixtures").join(self.clip);
        let clip = Fixture::at(&file);
        let gateway = Gateway::start(&ARGUMENTS);
        let mut rows: Vec<Row> =
            self.protocols.iter().map(|source| self.row(&gateway, *source, folder.path())).collect();
        let players = rows.iter().map(|row| row.players.len()).sum::<usize>();
        wait::until_true("all players", wait::SOON, || {
            ALL.iter().map(|protocol| gateway.sessions(protocol.name()).len()).sum::<usize>() == players
        });
        let publishers: Vec<_> = rows.iter().map(|row| self.publish(&gateway, row, &file)).collect();
        for mut publisher in publishers {
            assert!(publisher.wait(RUN).success());
        }
        let source = listing::of_file(self.ffmpeg, self.sound, &file);
        for row in &mut rows {
            for (sink, player) in &mut row.players {
                let what = format!("{}, {} to {}", self.clip, row.source.name(), sink.name());
                let seen = player.listing(self.ffmpeg, self.sound);
                let off = if self.is_rounded(row.source) || *sink == Rtmp { MILLISECOND } else { TICK };
                let decoding_times = *sink != Moq; // The released client makes its own.
                let late = if row.source == Moq { LATE_FRAMES } else { 0 };
                let wanted = seen.beginning_of(&source, late);
                row.missing.push(source.audio.frames.len() - wanted.audio.frames.len());
                seen.assert_is(&wanted, [off, off + self.sound_off], decoding_times, &what);
            }
        }
        wait::until_true("the end of all sessions", wait::SOON, || {
            ALL.iter().all(|protocol| gateway.sessions(protocol.name()).is_empty())
        });
        for row in &rows {
            row.check_usage(&gateway, &clip);
        }
    }

    fn row(&self, gateway: &Gateway, source: Protocol, folder: &Path) -> Row {
        let path = format!("live/{}", source.name());
        let players = self.protocols.iter().map(|sink| {
            let name = format!("{}-{}", source.name(), sink.name());
            let player = match sink {
                Srt => {
                    let id = format!("#!::r={path},m=request");
                    let url = media::srt_url_with(gateway.srt(), &id, "&latency=1000000");
                    Player::Ffmpeg(Lister::start(
                        self.ffmpeg,
                        self.sound,
                        &["-copyts"],
                        url.as_ref(),
                        folder,
                        &name,
                    ))
                }
                Rtmp => {
                    let url = gateway.rtmp_url(&path);
                    let options = [&["-copyts"], self.ffmpeg.rtmp_options()].concat();
                    Player::Ffmpeg(Lister::start(
                        self.ffmpeg,
                        self.sound,
                        &options,
                        url.as_ref(),
                        folder,
                        &name,
                    ))
                }
                Moq => {
                    let format = if self.is_ts() { "ts" } else { "fmp4" };
                    let copy = folder.join(format!("{name}.{format}"));
                    let process = peers::export(&gateway.moq_url(), &path, format, &copy, WHOLE);
                    Player::Moq(process, copy.into_os_string())
                }
            };
            (*sink, player)
        });
        Row { source, players: players.collect(), path, missing: Vec::new() }
    }

    fn publish(&self, gateway: &Gateway, row: &Row, clip: &Path) -> Process {
        // The newer ffmpeg keeps the last packets of a clip to itself when it leaves an SRT connection of much latency.
        let ffmpeg = if row.source == Srt { Ffmpeg::Debian } else { self.ffmpeg };
        let mut command = ffmpeg.command();
        command.arg("-re").arg("-i").arg(clip).args(["-map", "0", "-c", "copy"]);
        match row.source {
            Srt => {
                let url = media::srt_url(gateway.srt(), &row.path, "&latency=1000000");
                Process::start("ffmpeg to SRT", command.args(["-f", "mpegts", &url]))
            }
            Rtmp => {
                let url = gateway.rtmp_url(&row.path);
                Process::start("ffmpeg to RTMP", command.args(["-f", "flv", &url]))
            }
            Moq => {
                // Of the containers that the released client reads, FLV has AV1 and frames one by one.
                let (format, name) = if self.is_ts() { ("mpegts", "ts") } else { ("flv", "flv") };
                command.args(["-f", format, "-"]);
                peers::import(&gateway.moq_url(), &row.path, name, &command)
            }
        }
    }
}

impl Player {
    #[track_caller]
    fn listing(&mut self, ffmpeg: Ffmpeg, sound: Sound) -> Listing {
        match self {
            Self::Ffmpeg(lister) => lister.listing(RUN),
            Self::Moq(process, copy) => {
                process.wait(RUN);
                listing::of_file(ffmpeg, sound, Path::new(copy))
            }
        }
    }
}

impl Row {
    /// The media of the clip went in once, and out to each player what it got of them. What moved beside it is the
    /// publisher's catalog: whoever read all of it read as much as went in, and nobody read more.
    #[track_caller]
    fn check_usage(&self, gateway: &Gateway, clip: &Fixture) {
        let media = |missing: usize| clip.payload_without(missing, clip.first_pts(), TIMELINE);
        let source = self.source.name();
        let usage = gateway.usage();
        // What nobody was there for was not fetched from a native publisher.
        let least = self.missing.iter().min().copied().unwrap_or_default();
        let beside = beside(usage.ingress(&self.path, source), media(least));
        assert!(self.source == Moq || beside.frames <= CATALOGS_MAX, "{source}: {beside:?} beside the media");
        for ((sink, _), missing) in self.players.iter().zip(&self.missing) {
            let cell = format!("{source} to {}", sink.name());
            let egress = usage.egress(&self.path, sink.name());
            let read = self::beside(egress, media(*missing));
            if read.frames == beside.frames {
                assert_eq!(read, beside, "{cell}: beside the media");
            }
            assert!((1..=beside.frames).contains(&read.frames), "{cell}: {read:?} of {beside:?}");
            assert!(
                read.bytes <= beside.bytes && read.groups <= beside.groups,
                "{cell}: {read:?} of {beside:?}"
            );
            assert_eq!((egress.active.opened, egress.active.live()), (1, 0), "{cell}: viewers");
            assert_eq!(egress.subscriptions.live(), 0, "{cell}: subscriptions");
        }
    }
}

/// How often the gateway itself writes a catalog: for the first track, and for one that comes later.
const CATALOGS_MAX: u64 = 2;

/// Some time of a time line on which every timestamp of a clip takes four bytes: from 16 ms to 17 minutes.
const TIMELINE: u64 = 1_000_000;

/// What was charged in excess of `media`.
#[track_caller]
fn beside(counters: Counters, media: Payload) -> Payload {
    assert_eq!((counters.fetches, counters.datagrams), (0, 0));
    let more = |all: u64, media: u64| {
        all.checked_sub(media).unwrap_or_else(|| panic!("{counters:?} is not {media:?}"))
    };
    Payload {
        groups: more(counters.groups, media.groups),
        frames: more(counters.frames, media.frames),
        bytes: more(counters.bytes, media.bytes),
    }
}
