//! FLV in, and FLV out and in again.

use bytes::Bytes;
use moqgate_mux::event::{CodecConfig, Event, MediaFrame, Track, TrackId};
use moqgate_mux::flv::{Capabilities, Exporter, File, Importer, Tag, TagKind, file_header, write_tag};

use crate::export::{broadcast, catalog, name};

/// What an importer makes of these tags.
pub(crate) fn import(tags: impl IntoIterator<Item = Tag>) -> Imported {
    let mut importer = Importer::new();
    let mut events = Vec::new();
    for tag in tags {
        importer.push(tag);
        events.extend(std::iter::from_fn(|| importer.poll()));
    }
    importer.finish();
    events.extend(std::iter::from_fn(|| importer.poll()));
    Imported { events }
}

pub(crate) fn import_file(bytes: Vec<u8>) -> Imported {
    import(File::new(Bytes::from(bytes)).unwrap())
}

pub(crate) struct Imported {
    pub(crate) events: Vec<Event>,
}

impl Imported {
    pub(crate) fn tracks(&self) -> Vec<&Track> {
        let events = self.events.iter();
        events.filter_map(|event| if let Event::Track(track) = event { Some(track) } else { None }).collect()
    }

    pub(crate) fn suffixes(&self) -> Vec<&'static str> {
        self.tracks().iter().map(|track| track.config.suffix()).collect()
    }

    pub(crate) fn frames(&self, track: u32) -> Vec<&MediaFrame> {
        let of = |event| match event {
            &Event::Frame { track: id, ref frame } if id == TrackId(track) => Some(frame),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }

    /// Of the track with this name ending.
    pub(crate) fn frames_of(&self, suffix: &str) -> Vec<&MediaFrame> {
        let track = self.tracks().into_iter().find(|track| track.config.suffix() == suffix).unwrap().id;
        self.frames(track.0)
    }

    pub(crate) fn problems(&self) -> Vec<&'static str> {
        let reason =
            |event: &Event| if let Event::Problem(problem) = event { Some(problem.reason) } else { None };
        self.events.iter().filter_map(reason).collect()
    }

    pub(crate) fn configs(&self) -> Vec<&CodecConfig> {
        let events = self.events.iter();
        events
            .filter_map(|event| if let Event::Config { config, .. } = event { Some(config) } else { None })
            .collect()
    }
}

/// The tags of what an importer found.
pub(crate) fn export(events: &[Event], capabilities: Capabilities) -> Vec<Tag> {
    let (tracks, frames) = broadcast(events);
    let mut exporter = Exporter::new(capabilities);
    exporter.catalog(&catalog(&tracks));
    let mut tags = Vec::new();
    for (track, frame) in frames {
        let of = tracks.iter().find(|known| known.id == track).unwrap();
        exporter.push(&name(track, &of.config), frame.pts, frame.keyframe, &frame.payload);
        tags.extend(std::iter::from_fn(|| exporter.poll()));
    }
    exporter.finish();
    tags.extend(std::iter::from_fn(|| exporter.poll()));
    tags
}

pub(crate) fn file(tags: &[Tag]) -> Vec<u8> {
    let mut bytes = file_header().to_vec();
    tags.iter().for_each(|tag| write_tag(tag, &mut bytes));
    bytes
}

pub(crate) fn video(timestamp_ms: u32, body: &[u8]) -> Tag {
    Tag { kind: TagKind::Video, timestamp_ms, body: Bytes::copy_from_slice(body) }
}

pub(crate) fn audio(timestamp_ms: u32, body: &[u8]) -> Tag {
    Tag { kind: TagKind::Audio, timestamp_ms, body: Bytes::copy_from_slice(body) }
}
