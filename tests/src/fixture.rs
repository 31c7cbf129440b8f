//! Clips whose contents are known without the gateway.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{media, tools};

/// One access unit: PTS in 90 kHz, bytes, 1 for a join point.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Unit(u64, u64, u8);

#[derive(Clone, Debug, Deserialize)]
struct Track {
    codec: String,
    units: Vec<Unit>,
}

impl Track {
    fn is_video(&self) -> bool {
        self.units.iter().any(|unit| unit.2 == 0)
    }
}

/// A clip of `fixtures/` with the manifest that `tools/ts_manifest.py` made of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Fixture {
    #[serde(skip)]
    name: String,
    tracks: Vec<Track>,
}

/// What the model is charged for the media of a clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// One group per picture group, and one per audio frame.
    pub groups: u64,
    /// Access units.
    pub frames: u64,
    /// Access units and their timestamps.
    pub bytes: u64,
}

impl Fixture {
    /// Reads the manifest of `name`.
    ///
    /// # Panics
    ///
    /// When there is none, or it is damaged.
    #[must_use]
    pub fn load(name: &str) -> Self {
        Self::read(&tools::root().join(format!("fixtures/{name}.json")), name)
    }

    /// The manifest of a clip of `fixtures/` by its file: the one that lies beside it, or for a container that the script
    /// does not read, what ffprobe says.
    ///
    /// # Panics
    ///
    /// When there is neither.
    #[must_use]
    pub fn at(file: &std::path::Path) -> Self {
        let name = file.file_stem().and_then(std::ffi::OsStr::to_str).expect("a name");
        if file.extension().is_some_and(|extension| extension == "ts") {
            Self::load(name)
        } else {
            Self::probed(file)
        }
    }

    fn probed(file: &std::path::Path) -> Self {
        let mut tracks: Vec<Track> = Vec::new();
        for row in media::probe(file, "packet=stream_index,pts_time,size,flags") {
            let stream: usize = row[0].parse().expect("a stream");
            let micros = row[1].replace('.', "").parse::<u64>().expect("six digits after the point");
            let key = u8::from(row[3].starts_with('K'));
            let unit = Unit(micros * 9 / 100, row[2].parse().expect("a size"), key);
            tracks.resize_with(tracks.len().max(stream + 1), || Track {
                codec: String::new(),
                units: Vec::new(),
            });
            tracks[stream].units.push(unit);
        }
        Self { name: String::new(), tracks }
    }

    /// The manifest of any file, made now by the same script.
    ///
    /// # Panics
    ///
    /// When the script refuses the file.
    #[must_use]
    pub fn of(file: &std::path::Path) -> Self {
        let script = tools::root().join("tools/ts_manifest.py");
        let output =
            std::process::Command::new("python3").arg(script).arg(file).output().expect("python3 runs");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {problem}", file.display());
        serde_json::from_slice(&output.stdout).expect("the script writes manifests")
    }

    fn read(file: &std::path::Path, name: &str) -> Self {
        let text = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let manifest: Self = serde_json::from_slice(&text).expect("a manifest");
        Self { name: name.to_owned(), ..manifest }
    }

    /// The clip.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        tools::root().join(format!("fixtures/{}.ts", self.name))
    }

    /// How many access units the track of `codec` has.
    #[must_use]
    pub fn units(&self, codec: &str) -> usize {
        self.tracks.iter().filter(|track| track.codec == codec).map(|track| track.units.len()).sum()
    }

    /// The sizes of the access units of `codec`, in stream order.
    #[must_use]
    pub fn sizes(&self, codec: &str) -> Vec<u64> {
        let tracks = self.tracks.iter().filter(|track| track.codec == codec);
        tracks.flat_map(|track| track.units.iter().map(|unit| unit.1)).collect()
    }

    /// The smallest PTS of the clip, in 90 kHz.
    #[must_use]
    pub fn first_pts(&self) -> u64 {
        self.tracks.iter().flat_map(|track| &track.units).map(|unit| unit.0).min().unwrap_or_default()
    }

    /// What the model is charged when the PTS `zero` (90 kHz) of the clip becomes `base` microseconds of the broadcast.
    #[must_use]
    pub fn payload(&self, zero: u64, base: u64) -> Payload {
        self.payload_without(0, zero, base)
    }

    /// The same for whoever came too late for the first `missing` frames of sound.
    #[must_use]
    pub fn payload_without(&self, missing: usize, zero: u64, base: u64) -> Payload {
        let mut sum = Payload::default();
        let heard = |track: &Track| if track.is_video() { 0 } else { missing };
        for unit in self.tracks.iter().flat_map(|track| track.units.iter().skip(heard(track))) {
            let Unit(pts, bytes, join) = *unit;
            sum.groups += u64::from(join);
            sum.frames += 1;
            sum.bytes += bytes + varint_length(base + (pts - zero) * 100 / 9);
        }
        sum
    }
}

/// The length of a QUIC varint (RFC 9000, 16).
fn varint_length(value: u64) -> u64 {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_and_its_manifest_agree() {
        for name in ["bframes", "plain", "pyramid", "demo", "hevc", "latm", "mp2", "ac3", "eac3", "opus"] {
            let kept = Fixture::load(name);
            let made = Fixture::of(&kept.file());
            assert_eq!(kept.payload(0, 0), made.payload(0, 0), "{name}");
        }
    }

    #[test]
    fn the_main_clip_is_what_the_tests_think() {
        let clip = Fixture::load("bframes");
        assert_eq!((clip.units("h264"), clip.units("aac")), (300, 468));
        let payload = clip.payload(clip.first_pts(), 1 << 30);
        assert_eq!(payload, Payload { groups: 478, frames: 768, bytes: 878_568 + 119_995 + 8 * 768 });
    }
}
