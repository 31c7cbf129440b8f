//! Applies the events of an importer to a broadcast: tracks, groups at keyframes, the catalog, the status.
//!
//! It is the same for every container. Video opens a group per keyframe; audio and data one per frame, or for audio
//! one per configured duration. The catalog is sent again when the set of tracks or their parameters change, and never
//! for anything measured.

mod timeline;
mod track;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_core::{
    BroadcastProducer, CreateTrackError, Frame, PushError, Timestamp, TrackInfo, TrackProducer, TrackStatus,
};

use crate::catalog::{self, Catalog, Framing, MpegtsTrack, RENDITIONS_MAX};
use crate::codec::legacy_payload;
use crate::event::{AudioCodec, CodecConfig, DataKind, Event, MediaFrame, Track, TrackId};
use timeline::Timeline;
use track::{Applied, Media};

/// Ticks per second of media tracks.
const TIMESCALE: u64 = 1_000_000;

/// Longest audio group: what is lost at once when a reader falls behind, and how long one may have to wait to join.
const AUDIO_GROUP_MAX: Duration = Duration::from_millis(200);

/// How long a catalog is of use to somebody who is behind. The newest one always is.
const CATALOG_MAX_AGE: Duration = Duration::from_secs(5);

/// What an operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherConfig {
    /// Duration of an audio group, at most 200 ms; zero is one frame per group, which every peer handles best.
    pub audio_group: Duration,
    /// How long media is of use to anybody.
    pub max_age: Duration,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self { audio_group: Duration::ZERO, max_age: Duration::from_secs(30) }
    }
}

/// Why nothing more can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Another publisher took the path over, or the broadcast has ended.
    #[error("the broadcast has ended")]
    Closed,
}

/// What was applied, and what could not be. Media that was pushed is counted by the model, not here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublisherStats {
    /// Catalogs sent.
    pub catalogs: u64,
    /// Frames left out: before a keyframe, back in time, or too large.
    pub frames_dropped: u64,
    /// Groups that had to end between keyframes because they were full.
    pub groups_rolled: u64,
    /// Tracks left out because the broadcast has as many as peers read.
    pub tracks_refused: u64,
}

/// Owns a broadcast and fills it. Dropping it aborts what is open; [`finish`](Self::finish) ends it cleanly.
#[derive(Debug)]
pub struct Publisher {
    broadcast: BroadcastProducer,
    config: PublisherConfig,
    catalog: Option<TrackProducer>,
    sent: Option<String>,
    /// Tracks came, changed or ended since the last catalog. All of it is told at once, before the next frame: when
    /// the whole input ends there is none, and readers are not sent away from tracks that they have not read to the end.
    stale: bool,
    tracks: BTreeMap<TrackId, Media>,
    next_name: u32,
    timeline: Timeline,
    stats: PublisherStats,
}

impl Publisher {
    /// Takes a broadcast over. Its catalog track is there at once, so that readers can wait for the first catalog.
    pub fn new(broadcast: BroadcastProducer, config: PublisherConfig) -> Self {
        let catalog = broadcast.create_track(TrackInfo {
            name: catalog::TRACK.into(),
            timescale: catalog::TIMESCALE,
            priority: catalog::PRIORITY,
            max_age: CATALOG_MAX_AGE,
        });
        let config = PublisherConfig { audio_group: config.audio_group.min(AUDIO_GROUP_MAX), ..config };
        Self {
            broadcast,
            config,
            catalog: catalog.ok(),
            sent: None,
            stale: false,
            tracks: BTreeMap::new(),
            next_name: 0,
            timeline: Timeline::default(),
            stats: PublisherStats::default(),
        }
    }

    /// The broadcast, for its revocation and its viewers.
    pub fn broadcast(&self) -> &BroadcastProducer {
        &self.broadcast
    }

    /// Counts so far.
    pub fn stats(&self) -> PublisherStats {
        self.stats
    }

    /// Applies one event. `received` is when its bytes came in, `wall_ms` the time since 2020-01-01 UTC
    /// ([`catalog::wall_ms`]) in milliseconds, which only a catalog carries.
    ///
    /// # Errors
    /// [`PublishError`]: the broadcast is over and nothing was published.
    pub fn apply(&mut self, event: Event, received: Instant, wall_ms: u64) -> Result<(), PublishError> {
        match event {
            Event::Track(track) => self.open(track)?,
            Event::Config { track, config } => self.configure(track, config)?,
            Event::TrackEnd(id) => self.end(id),
            Event::Frame { track, frame } => {
                self.announce(received, wall_ms)?;
                self.frame(track, frame, received)?;
            }
            Event::Discontinuity => {
                self.tracks.values_mut().for_each(Media::interrupt);
                self.timeline.interrupt();
            }
            Event::Problem(_) => {}
        }
        Ok(())
    }

    /// Ready with a track of pictures whose readers would do better with a keyframe: one has come, or has lost what it
    /// needs. Who imports from an encoder that can be asked passes it on, rate limited.
    pub fn poll_keyframe_wanted(&mut self, cx: &mut Context<'_>) -> Poll<TrackId> {
        for (id, media) in &mut self.tracks {
            if media.poll_keyframe_wanted(cx).is_ready() {
                return Poll::Ready(*id);
            }
        }
        Poll::Pending
    }

    /// Ends all tracks and the broadcast.
    pub fn finish(self) {
        self.tracks.into_values().for_each(Media::finish);
        if let Some(catalog) = self.catalog {
            catalog.finish();
        }
    }

    fn end(&mut self, id: TrackId) {
        if let Some(media) = self.tracks.remove(&id) {
            media.finish();
        }
        self.stale = true;
    }

    fn open(&mut self, track: Track) -> Result<(), PublishError> {
        self.stale = true;
        if self.tracks.len() >= RENDITIONS_MAX {
            self.stats.tracks_refused += 1;
            return Ok(());
        }
        let name: Arc<str> = format!("{}.{}", self.next_name, track.config.suffix()).into();
        self.next_name += 1;
        let info = TrackInfo {
            name,
            timescale: TIMESCALE,
            priority: priority(&track.config),
            max_age: self.config.max_age,
        };
        match self.broadcast.create_track(info) {
            Ok(producer) => {
                let id = track.id;
                let media = Media::new(producer, track, self.config.audio_group);
                if let Some(replaced) = self.tracks.insert(id, media) {
                    replaced.finish();
                }
                Ok(())
            }
            Err(CreateTrackError::Closed) => Err(PublishError::Closed),
            Err(_) => {
                self.stats.tracks_refused += 1;
                Ok(())
            }
        }
    }

    /// New parameters. Another coding cannot go on under the same name: players have chosen a decoder by it.
    fn configure(&mut self, id: TrackId, config: CodecConfig) -> Result<(), PublishError> {
        let Some(media) = self.tracks.get_mut(&id) else { return Ok(()) };
        self.stale = true;
        if media.track.config.suffix() == config.suffix() {
            media.track.config = config;
            return Ok(());
        }
        let track = Track { config, ..media.track.clone() };
        self.open(track)
    }

    fn frame(&mut self, id: TrackId, frame: MediaFrame, received: Instant) -> Result<(), PublishError> {
        let Some(media) = self.tracks.get_mut(&id) else { return Ok(()) };
        let timestamp = self.timeline.place(frame.pts);
        // The time also stands in the payload; it is only written anew after a jump.
        let payload =
            if timestamp == frame.pts { frame.payload } else { legacy_payload(timestamp, &[frame.media()]) };
        match media.push(Frame { timestamp, received, payload }, frame.keyframe) {
            Ok(Applied::Pushed) => {}
            Ok(Applied::Rolled) => self.stats.groups_rolled += 1,
            Ok(Applied::Dropped) | Err(PushError::FrameTooLarge) => self.stats.frames_dropped += 1,
            Err(_) => return Err(PublishError::Closed),
        }
        Ok(())
    }

    /// Sends the catalog and sets the status, if they differ from the last ones.
    fn announce(&mut self, received: Instant, wall_ms: u64) -> Result<(), PublishError> {
        if !std::mem::take(&mut self.stale) {
            return Ok(());
        }
        let catalog = self.tracks.values().fold(Catalog::default(), |mut catalog, media| {
            list(&mut catalog, media.name(), &media.track);
            catalog
        });
        let text = catalog.to_json();
        if self.sent.as_ref() == Some(&text) {
            return Ok(());
        }
        self.broadcast.set_status(self.tracks.values().map(status).collect());
        let Some(track) = &self.catalog else { return Err(PublishError::Closed) };
        let mut group = track.append_group().map_err(|_closed| PublishError::Closed)?;
        let timestamp = Timestamp::from_scale(wall_ms, catalog::TIMESCALE).unwrap_or_default();
        let payload = Bytes::from(text.clone());
        group.push(Frame { timestamp, received, payload }).map_err(|_closed| PublishError::Closed)?;
        group.finish();
        self.sent = Some(text);
        self.stats.catalogs += 1;
        Ok(())
    }
}

fn priority(config: &CodecConfig) -> u8 {
    match config {
        CodecConfig::Audio(_) => 80,
        CodecConfig::Video(_) => 60,
        CodecConfig::Data(_) => 40,
    }
}

/// Enters a track where its readers look for it.
fn list(catalog: &mut Catalog, name: &str, track: &Track) {
    let framing = match &track.config {
        CodecConfig::Data(data) if data.kind == DataKind::Scte35 => Framing::Section,
        CodecConfig::Video(_) | CodecConfig::Audio(_) | CodecConfig::Data(_) => Framing::Pes,
    };
    let playable = match &track.config {
        CodecConfig::Video(video) => {
            catalog.video.renditions.insert(name.to_owned(), video.into());
            true
        }
        CodecConfig::Audio(audio) => {
            let playable = matches!(
                audio.codec,
                AudioCodec::Aac | AudioCodec::Opus | AudioCodec::Mp3 | AudioCodec::Flac
            );
            if playable {
                catalog.audio.renditions.insert(name.to_owned(), audio.into());
            }
            playable
        }
        CodecConfig::Data(_) => false,
    };
    if let Some(origin) = &track.origin {
        let entry = if playable {
            MpegtsTrack::playable(origin)
        } else {
            MpegtsTrack::verbatim(origin, framing, codec(&track.config))
        };
        catalog.mpegts.tracks.insert(name.to_owned(), entry);
    }
}

fn codec(config: &CodecConfig) -> &str {
    match config {
        CodecConfig::Video(video) => &video.codec_string,
        CodecConfig::Audio(audio) => &audio.codec_string,
        CodecConfig::Data(_) => config.suffix(),
    }
}

fn status(media: &Media) -> TrackStatus {
    let config = &media.track.config;
    let (width, height) = match config {
        CodecConfig::Video(video) => (Some(video.width), Some(video.height)),
        CodecConfig::Audio(_) | CodecConfig::Data(_) => (None, None),
    };
    TrackStatus {
        name: media.name().to_owned(),
        kind: config.kind().to_owned(),
        codec: codec(config).to_owned(),
        width,
        height,
    }
}

#[cfg(test)]
mod tests;
