//! The exporter: frames of a broadcast in, tags out.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use moqgate_core::Timestamp;

use super::write::{self, Label};
use super::{Tag, TagKind};
use crate::catalog::Catalog;
use crate::export::{Coding, Lineup, Source, Unit, sources};

/// What the receiver has said that it reads. Without a word it reads H.264, AAC and MP3, one track each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    four_ccs: BTreeSet<[u8; 4]>,
    any: bool,
    multitrack: bool,
}

impl Capabilities {
    /// A receiver from before Enhanced RTMP.
    pub fn legacy() -> Self {
        Self::default()
    }

    /// Reads every coding, and several tracks.
    pub fn everything() -> Self {
        Self { any: true, multitrack: true, ..Self::default() }
    }

    /// Reads this coding too: an entry of `fourCcList`, or a key of `videoFourCcInfoMap` or `audioFourCcInfoMap` with the
    /// flag "can decode" or "can forward". `*` is every coding.
    #[must_use]
    pub fn with_four_cc(mut self, code: &str) -> Self {
        self.any |= code == "*";
        self.four_ccs.extend(<[u8; 4]>::try_from(code.as_bytes()));
        self
    }

    /// Reads several tracks (bit 1 of `capsEx`).
    #[must_use]
    pub fn with_multitrack(mut self) -> Self {
        self.multitrack = true;
        self
    }

    fn reads(&self, label: &Label) -> bool {
        let coding = self.any || self.four_ccs.contains(&label.four_cc);
        label.is_legacy() || (coding && (label.number == 0 || self.multitrack))
    }
}

/// Exports a broadcast as a sequence of tags whose time begins with 0.
///
/// Give it the catalog whenever there is a new one ([`catalog`](Self::catalog)), read the tracks it names
/// ([`tracks`](Self::tracks)), and give it their frames in the order of each track. The first tag is `onMetaData`; parameters
/// come before the first frame of each track and again when they change; the first picture is a keyframe.
#[derive(Debug)]
pub struct Exporter {
    capabilities: Capabilities,
    lineup: Lineup,
    /// In the order of the lineup's tracks.
    entries: Vec<Entry>,
    /// Microseconds of the first unit.
    origin: Option<i64>,
    /// The tracks have changed since the last `onMetaData`.
    stale: bool,
    last_ms: u32,
    tags: VecDeque<Tag>,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    label: Label,
    /// The record that was sent last.
    record: Option<Vec<u8>>,
}

impl Exporter {
    /// An exporter for a receiver that can do this.
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            lineup: Lineup::default(),
            entries: Vec::new(),
            origin: None,
            stale: false,
            last_ms: 0,
            tags: VecDeque::new(),
        }
    }

    /// The broadcast has these tracks now. The largest picture and the first sound that the receiver reads are its
    /// tracks 0; the others follow where it reads several, and are left out where it does not.
    pub fn catalog(&mut self, catalog: &Catalog) {
        let mut sources = sources(catalog);
        // Stable: among equals, and for sound, the order of names decides.
        sources.sort_by_key(|source| std::cmp::Reverse(pixels(source)));
        let mut before = std::mem::take(&mut self.entries);
        let count = before.len();
        before.retain(|entry| sources.iter().any(|source| entry.continues(source)));
        self.stale |= before.len() < count;
        for source in sources {
            let entry = match before.iter().position(|entry| entry.continues(&source)) {
                Some(index) => Some(before.swap_remove(index).with(source)),
                None => self.admit(source, &before),
            };
            self.entries.extend(entry);
        }
        self.lineup.set(self.entries.iter().map(|entry| entry.source.clone()).collect());
    }

    /// A new track with the first number that is free, if the receiver reads that.
    fn admit(&mut self, source: Source, others: &[Entry]) -> Option<Entry> {
        let taken = |number: &u8| {
            let mut held = self.entries.iter().chain(others).map(|entry| &entry.label);
            held.any(|label| label.is_video() == source.is_video() && label.number == *number)
        };
        let number = (0..=u8::MAX).find(|number| !taken(number))?;
        let label = Label::new(&source, number).filter(|label| self.capabilities.reads(label))?;
        self.stale = true;
        Some(Entry { source, label, record: None })
    }

    /// Names of the tracks that it wants to be given.
    pub fn tracks(&self) -> impl Iterator<Item = &str> {
        self.lineup.sources().map(|source| source.name.as_str())
    }

    /// Takes the next frame of a track: its presentation time, whether it is the first of its group, and its *legacy*
    /// payload. Frames of other tracks are left out.
    pub fn push(&mut self, track: &str, timestamp: Timestamp, keyframe: bool, payload: &Bytes) {
        self.lineup.push(track, timestamp, keyframe, payload);
        self.drain();
    }

    /// The next tag. Take all of them after every other call.
    pub fn poll(&mut self) -> Option<Tag> {
        self.tags.pop_front()
    }

    /// The broadcast is over: gives out what still waited for other tracks, and the end of H.264.
    pub fn finish(&mut self) {
        self.lineup.finish();
        self.drain();
        let avc = |entry: &Entry| entry.label.is_video() && entry.label.is_legacy() && entry.record.is_some();
        if self.entries.iter().any(avc) {
            self.emit(TagKind::Video, self.last_ms, Bytes::from_static(&[0x17, 2, 0, 0, 0]));
        }
    }

    fn drain(&mut self) {
        while let Some((index, unit)) = self.lineup.pop() {
            self.unit(index, &unit);
        }
    }

    fn unit(&mut self, index: usize, unit: &Unit) {
        let origin = *self.origin.get_or_insert(unit.dts);
        let millis = |time: i64| (time - origin + 500).div_euclid(1000);
        let time = millis(unit.dts).max(0);
        let composition = i32::try_from(millis(unit.pts).max(0) - time).unwrap_or_default();
        // Only 32 bits travel.
        let stamp = u32::try_from(time & i64::from(u32::MAX)).unwrap_or_default();
        if std::mem::take(&mut self.stale) {
            self.introduce(unit, stamp);
        }
        let Some(entry) = self.entries.get_mut(index) else { return };
        let kind = if entry.label.is_video() { TagKind::Video } else { TagKind::Audio };
        let fresh = entry.fresh_record(unit);
        let (label, coding) = (entry.label, entry.source.coding.clone());
        let known = entry.record.is_some();
        if let Some(record) = fresh {
            self.emit(kind, stamp, label.config(&coding, &record));
        }
        if !known {
            return;
        }
        if let Some(body) = label.frame(&coding, unit.keyframe, composition, &unit.data) {
            self.emit(kind, stamp, body);
            self.last_ms = stamp;
        }
    }

    /// `onMetaData`, and the parameters of all sound: players look for both kinds before they start.
    fn introduce(&mut self, unit: &Unit, stamp: u32) {
        let labels: Vec<_> = self.entries.iter().map(|entry| entry.label).collect();
        let body = write::metadata(&self.values(), &labels);
        self.emit(TagKind::Script, stamp, body);
        let sound = self.entries.iter_mut().filter(|entry| !entry.label.is_video());
        let bodies: Vec<_> = sound
            .filter_map(|entry| Some((entry.fresh_record(unit)?, entry)))
            .map(|(record, entry)| entry.label.config(&entry.source.coding, &record))
            .collect();
        bodies.into_iter().for_each(|body| self.emit(TagKind::Audio, stamp, body));
    }

    fn emit(&mut self, kind: TagKind, timestamp_ms: u32, body: Bytes) {
        self.tags.push_back(Tag { kind, timestamp_ms, body });
    }

    /// What is known of the first tracks.
    fn values(&self) -> Vec<(&'static str, f64)> {
        let mut values = vec![("duration", 0.0)];
        for entry in self.entries.iter().filter(|entry| entry.label.number == 0) {
            let Some(video) = entry.source.coding.video() else {
                values.push(("audiocodecid", entry.label.codec_id()));
                continue;
            };
            values.push(("videocodecid", entry.label.codec_id()));
            values.extend(video.width.map(|width| ("width", f64::from(width))));
            values.extend(video.height.map(|height| ("height", f64::from(height))));
            values.extend(video.framerate.map(|rate| ("framerate", rate)));
        }
        values
    }
}

impl Entry {
    /// The same track in the same coding, though perhaps with other parameters.
    fn continues(&self, source: &Source) -> bool {
        let label = Label::new(source, self.label.number);
        self.source.name == source.name && label.as_ref() == Some(&self.label)
    }

    fn with(self, source: Source) -> Self {
        let record = self.record.filter(|_| self.source.coding == source.coding);
        Self { source, record, ..self }
    }

    /// The record, if it has to be sent before this unit.
    fn fresh_record(&mut self, unit: &Unit) -> Option<Vec<u8>> {
        let due = if self.label.is_video() { unit.keyframe } else { self.record.is_none() };
        if !due {
            return None;
        }
        let record = write::record(&self.source.coding, &unit.data)?;
        if self.record.as_ref() == Some(&record) {
            return None;
        }
        self.record = Some(record.clone());
        // A format that says everything in each frame has no header in the legacy form.
        let bare = self.label.is_legacy() && matches!(self.source.coding, Coding::Mp3 { .. });
        (!bare).then_some(record)
    }
}

/// For pictures, how many there are in each; for sound, nothing.
fn pixels(source: &Source) -> u64 {
    let side = |side: Option<u32>| u64::from(side.unwrap_or(1));
    source.coding.video().map_or(0, |video| side(video.width) * side(video.height))
}
