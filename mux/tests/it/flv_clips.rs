//! FLV as ffmpeg writes and reads it.

use std::path::{Path, PathBuf};

use moqgate_mux::event::MediaFrame;
use moqgate_mux::flv::Capabilities;

use crate::builder;
use crate::export::{Scratch, hashes, run, tool};
use crate::flv::{self, Imported};
use crate::ts_clips::clip;

/// The newer ffmpeg that `./test` installs for enhanced RTMP.
pub(crate) fn newer_ffmpeg() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || {
        set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))).map(|cache| cache.join("moqgate"))
    };
    let folder = set("MOQGATE_TOOLS").or_else(cache)?.join("python/lib");
    let inside = |folder: &Path| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let found = inside(&folder)
        .into_iter()
        .flat_map(|python| inside(&python.join("site-packages/imageio_ffmpeg/binaries")))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ffmpeg-")));
    let strict = std::env::var_os("STRICT").is_some_and(|value| value == "1");
    assert!(found.is_some() || !strict, "the newer ffmpeg is not installed");
    found
}

/// A file that ffmpeg writes.
fn make(ffmpeg: &Path, name: &str, arguments: &[&str]) -> Vec<u8> {
    let scratch = Scratch::new(&format!("{name}.flv"), b"");
    let mut all = vec!["-v", "error", "-nostdin", "-y"];
    all.extend(arguments);
    all.extend(["-f", "flv", scratch.path()]);
    run(ffmpeg, &all);
    std::fs::read(scratch.path()).unwrap()
}

fn fixture(name: &str) -> String {
    format!("{}/../fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Without delimiters.
fn plain(frame: &MediaFrame) -> &[u8] {
    let media = frame.media();
    let rest = media.strip_prefix(&[0, 0, 0, 1, 0x09]).or(media.strip_prefix(&[0, 0, 0, 1, 0x46, 0x01]));
    rest.map_or(media, |rest| &rest[1..])
}

fn same(old: &[&MediaFrame], new: &[&MediaFrame], slack_ms: u64, what: &str) {
    assert_eq!(old.len(), new.len(), "{what}");
    assert!(!old.is_empty());
    let shift = new[0].pts.as_micros() as i64 - old[0].pts.as_micros() as i64;
    for (number, (old, new)) in old.iter().zip(new).enumerate() {
        let off = new.pts.as_micros() as i64 - old.pts.as_micros() as i64 - shift;
        assert!(off.unsigned_abs() <= slack_ms * 1000, "{what} {number}: {off} us");
        assert_eq!(old.keyframe, new.keyframe, "{what} {number}");
        assert!(
            plain(old) == plain(new),
            "{what} {number}: {} {} bytes",
            old.media().len(),
            new.media().len()
        );
    }
}

#[test]
fn ffmpeg_copies_a_clip_and_nothing_is_lost() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    for name in ["bframes", "demo"] {
        let from_ts = builder::import(&clip(&format!("{name}.ts")));
        let from_flv =
            flv::import_file(make(&ffmpeg, name, &["-i", &fixture(&format!("{name}.ts")), "-c", "copy"]));
        assert_eq!(from_flv.suffixes(), ["avc3", "aac"]);
        assert!(from_flv.problems().is_empty(), "{:?}", from_flv.problems());
        assert!(from_flv.configs().is_empty(), "{:?}", from_flv.configs());
        let (old, new) = (from_ts.tracks()[0].config.clone(), from_flv.tracks()[0].config.clone());
        assert_eq!(old, new);
        same(&from_ts.frames(builder::VIDEO), &from_flv.frames(0), 2, name);
        same(&from_ts.frames(builder::AUDIO), &from_flv.frames(1), 2, name);
        let decode = |frames: Vec<&MediaFrame>| {
            frames.iter().map(|frame| frame.dts.unwrap_or(frame.pts)).collect::<Vec<_>>()
        };
        assert!(decode(from_flv.frames(0)).is_sorted());
    }
}

/// Encoded by the newer ffmpeg, read, written, and decoded by it to the same pictures and sound.
fn through(name: &str, arguments: &[&str], suffixes: &[&str]) -> Option<(Imported, Imported)> {
    let ffmpeg = newer_ffmpeg()?;
    let mut all = vec![
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=25:duration=2",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=48000:duration=2",
    ];
    all.extend(arguments);
    let original = make(&ffmpeg, name, &all);
    let before = flv::import_file(original.clone());
    assert_eq!(before.suffixes(), suffixes, "{name} {:?}", before.problems());
    assert!(before.problems().is_empty(), "{name} {:?}", before.problems());
    let exported = flv::file(&flv::export(&before.events, Capabilities::everything()));
    let after = flv::import_file(exported.clone());
    assert_eq!(after.suffixes(), suffixes, "{name}");
    assert!(after.problems().is_empty(), "{name} {:?}", after.problems());
    for (old, new) in before.tracks().into_iter().zip(after.tracks()) {
        same(&before.frames(old.id.0), &after.frames(new.id.0), 2, name);
    }
    let original = Scratch::new(&format!("{name}-a.flv"), &original);
    let exported = Scratch::new(&format!("{name}-b.flv"), &exported);
    for stream in ["0:v", "0:a"] {
        let (old, new) = (hashes(&ffmpeg, original.path(), stream), hashes(&ffmpeg, exported.path(), stream));
        assert!(!old.is_empty() && old == new, "{name} {stream}: {} {}", old.len(), new.len());
    }
    Some((before, after))
}

#[test]
fn enhanced_h265() {
    let arguments = [
        "-c:v",
        "libx265",
        "-x265-params",
        "log-level=error:bframes=2",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-ac",
        "2",
    ];
    through("h265", &arguments, &["hev1", "aac"]);
}

#[test]
fn enhanced_av1_and_opus() {
    let arguments = [
        "-c:v",
        "libsvtav1",
        "-preset",
        "11",
        "-svtav1-params",
        "keyint=25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "libopus",
        "-ac",
        "2",
    ];
    through("av1", &arguments, &["av01", "opus"]);
}

#[test]
fn enhanced_vp9_and_ac3() {
    let arguments = [
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "ac3",
        "-ac",
        "2",
    ];
    through("vp9", &arguments, &["vp09", "ac3"]);
}

#[test]
fn enhanced_flac_and_eac3_and_mp3() {
    for (codec, suffix) in [("flac", "flac"), ("eac3", "eac3"), ("libmp3lame", "mp3")] {
        let arguments = [
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-g",
            "25",
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            codec,
            "-ac",
            "2",
        ];
        through(suffix, &arguments, &["avc3", suffix]);
    }
}

#[test]
fn line_55_second_tracks() {
    let arguments = [
        "-map",
        "0:v",
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-map",
        "1:a",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-bf",
        "0",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-ac",
        "2",
        "-b:a:1",
        "64k",
    ];
    through("multitrack", &arguments, &["avc3", "avc3", "aac", "aac"]);
}

#[test]
fn every_clip_leaves_as_flv_and_ffmpeg_decodes_the_same() {
    let Some(ffmpeg) = newer_ffmpeg() else { return };
    for name in ["bframes", "demo", "hevc", "latm", "ac3", "eac3", "opus"] {
        let original = clip(&format!("{name}.ts"));
        let before = builder::import(&original);
        let exported = flv::file(&flv::export(&before.events, Capabilities::everything()));
        let after = flv::import_file(exported.clone());
        assert_eq!(before.suffixes(), after.suffixes(), "{name}");
        for track in before.tracks() {
            let pid = track.origin.as_ref().unwrap().pid;
            same(&before.frames(pid), &after.frames_of(track.config.suffix()), 2, name);
        }
        let original = Scratch::new(&format!("{name}-o.ts"), &original);
        let exported = Scratch::new(&format!("{name}-e.flv"), &exported);
        for stream in ["0:v", "0:a"] {
            let (old, new) =
                (hashes(&ffmpeg, original.path(), stream), hashes(&ffmpeg, exported.path(), stream));
            // What Opus skips at its start is told per packet in one container and once in the other, and ffmpeg heeds
            // only the first.
            let from = usize::from(name == "opus" && stream == "0:a");
            let differ: Vec<usize> =
                (from..old.len().max(new.len())).filter(|at| old.get(*at) != new.get(*at)).collect();
            assert!(
                !old.is_empty() && differ.is_empty(),
                "{name} {stream}: {} {} {differ:?}",
                old.len(),
                new.len()
            );
        }
    }
}

#[test]
fn flv_leaves_as_a_transport_stream() {
    let Some(ffmpeg) = newer_ffmpeg() else { return };
    let original = make(&ffmpeg, "to-ts", &["-i", &fixture("bframes.ts"), "-c", "copy"]);
    let exported =
        Scratch::new("from-flv.ts", &crate::export::export(&flv::import_file(original.clone()).events));
    let original = Scratch::new("from-flv.flv", &original);
    for stream in ["0:v", "0:a"] {
        let (old, new) = (hashes(&ffmpeg, original.path(), stream), hashes(&ffmpeg, exported.path(), stream));
        assert!(!old.is_empty() && old == new, "{stream}: {} {}", old.len(), new.len());
    }
}
