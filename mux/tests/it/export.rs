//! What exporters write, read again: by the importers, and by ffmpeg.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use moqgate_mux::catalog::{AudioRendition, Catalog, Framing, MpegtsTrack, VideoRendition};
use moqgate_mux::event::{AudioCodec, CodecConfig, DataKind, Event, MediaFrame, Track, TrackId};
use moqgate_mux::ts::{ExportConfig, Exporter};

/// The name under which a track is exported.
pub(crate) fn name(id: TrackId, config: &CodecConfig) -> String {
    format!("{}.{}", id.0, config.suffix())
}

/// A catalog of these tracks, as the publisher writes it.
pub(crate) fn catalog(tracks: &[Track]) -> Catalog {
    let mut catalog = Catalog::default();
    for track in tracks {
        let name = name(track.id, &track.config);
        let mut verbatim = None;
        match &track.config {
            CodecConfig::Video(video) => {
                catalog.video.renditions.insert(name.clone(), VideoRendition::from(video));
            }
            CodecConfig::Audio(audio) => match audio.codec {
                AudioCodec::Ac3 | AudioCodec::Eac3 | AudioCodec::Mp2 => {
                    verbatim = Some((Framing::Pes, audio.codec_string.clone()));
                }
                _ => {
                    catalog.audio.renditions.insert(name.clone(), AudioRendition::from(audio));
                }
            },
            CodecConfig::Data(data) => {
                let section = data.kind == DataKind::Scte35;
                let framing = if section { Framing::Section } else { Framing::Pes };
                verbatim = Some((framing, track.config.suffix().to_owned()));
            }
        }
        if let Some(origin) = &track.origin {
            let entry = match verbatim {
                Some((framing, codec)) => MpegtsTrack::verbatim(origin, framing, &codec),
                None => MpegtsTrack::playable(origin),
            };
            catalog.mpegts.tracks.insert(name, entry);
        }
    }
    catalog
}

/// Tracks with their newest parameters, and all frames in order.
pub(crate) fn broadcast(events: &[Event]) -> (Vec<Track>, Vec<(TrackId, MediaFrame)>) {
    let mut tracks: BTreeMap<TrackId, Track> = BTreeMap::new();
    let mut frames = Vec::new();
    for event in events {
        match event {
            Event::Track(track) => drop(tracks.insert(track.id, track.clone())),
            Event::Config { track, config } => tracks.get_mut(track).unwrap().config = config.clone(),
            Event::Frame { track, frame } => frames.push((*track, frame.clone())),
            _ => {}
        }
    }
    (tracks.into_values().collect(), frames)
}

/// A transport stream of what an importer found.
pub(crate) fn export(events: &[Event]) -> Vec<u8> {
    let (tracks, frames) = broadcast(events);
    let names: BTreeMap<TrackId, String> =
        tracks.iter().map(|track| (track.id, name(track.id, &track.config))).collect();
    let mut exporter = Exporter::new(ExportConfig::default());
    exporter.catalog(&catalog(&tracks));
    let mut bytes = Vec::new();
    let mut take = |exporter: &mut Exporter| {
        while let Some(chunk) = exporter.poll() {
            assert!(chunk.len() <= 1316 && chunk.len() % 188 == 0);
            bytes.extend_from_slice(&chunk);
        }
    };
    for (track, frame) in frames {
        exporter.push(&names[&track], frame.pts, frame.keyframe, &frame.payload);
        take(&mut exporter);
    }
    exporter.finish();
    take(&mut exporter);
    bytes
}

/// A program on the search path; a missing one skips the test, or fails it under `STRICT=1`.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    let strict = std::env::var_os("STRICT").is_some_and(|value| value == "1");
    assert!(found.is_some() || !strict, "{name} is not installed");
    found
}

/// What a command prints, checked to have nothing to complain about.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("SVT_LOG", "1").output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{arguments:?}: {complaints}");
    String::from_utf8(output.stdout).unwrap()
}

/// A file that goes away with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("moqgate-mux-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// The decoded frames' hashes of one kind of stream, without their times.
pub(crate) fn hashes(ffmpeg: &Path, file: &str, stream: &str) -> Vec<String> {
    let arguments = [
        "-v",
        "error",
        "-nostdin",
        "-i",
        file,
        "-map",
        stream,
        "-fps_mode",
        "passthrough",
        "-f",
        "framemd5",
        "-",
    ];
    let text = run(ffmpeg, &arguments);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}
