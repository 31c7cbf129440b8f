//! Which stream a packet of a publisher belongs to, and when its source is asked for a keyframe.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_mux::rtp::{Importer, StreamId};

use crate::sdp::{Offer, Section};

/// How often one source is asked for a keyframe because viewers want one: each costs as much as a second of video.
const DEMAND_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is asked after a loss.
const LOSS_INTERVAL: Duration = Duration::from_millis(300);
/// Most sources of one publisher; a browser that changes its camera takes a new one.
const SOURCES_MAX: usize = 64;

/// The streams of one publisher: one for each media section, layer and format.
///
/// A packet names its section and layer in header extensions, at least at the beginning of a source (RFC 8843 section
/// 9.2, RFC 8852); older senders name the sources in their offer; and a format that only one section has tells too.
#[derive(Debug)]
pub(crate) struct Streams {
    sections: Vec<Section>,
    known: HashMap<Key, StreamId>,
    sources: HashMap<u32, Place>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    section: usize,
    layer: Bytes,
    number: u8,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    stream: StreamId,
    number: u8,
    video: bool,
}

impl Streams {
    /// What `offer` sends.
    pub(crate) fn new(offer: &Offer) -> Self {
        Self { sections: offer.sections().to_vec(), known: HashMap::new(), sources: HashMap::new() }
    }

    /// The stream of a packet and whether it has pictures. `None`: nobody knows what it is.
    pub(crate) fn place(
        &mut self,
        source: u32,
        number: u8,
        mid: Option<Bytes>,
        layer: Option<Bytes>,
        importer: &mut Importer,
    ) -> Option<(StreamId, bool)> {
        if let Some(place) = self.sources.get(&source).filter(|place| place.number == number) {
            return Some((place.stream, place.video));
        }
        if self.sources.len() >= SOURCES_MAX {
            return None;
        }
        let section = self.section(source, number, mid)?;
        let layers = &self.sections[section].layers;
        let layer = layer.filter(|layer| layers.iter().any(|known| known.as_bytes() == &layer[..]));
        if !layers.is_empty() && layer.is_none() {
            return None;
        }
        let payload = self.sections[section].payloads.iter().find(|payload| payload.number == number)?;
        let key = Key { section, layer: layer.unwrap_or_default(), number };
        let stream = match self.known.get(&key) {
            Some(stream) => *stream,
            None => {
                let stream = importer.add(&payload.format)?;
                self.known.insert(key, stream);
                stream
            }
        };
        let video = payload.format.codec().is_video();
        self.sources.insert(source, Place { stream, number, video });
        Some((stream, video))
    }

    fn section(&self, source: u32, number: u8, mid: Option<Bytes>) -> Option<usize> {
        let find = |wanted: &dyn Fn(&Section) -> bool| {
            self.sections.iter().position(|section| section.is_media() && wanted(section))
        };
        if let Some(mid) = mid {
            return find(&|section| section.mid.as_ref().is_some_and(|name| name.as_bytes() == &mid[..]));
        }
        find(&|section| section.sources.contains(&source))
            .or_else(|| find(&|section| section.payloads.iter().any(|payload| payload.number == number)))
    }

    /// Every stream so far.
    pub(crate) fn ids(&self) -> impl Iterator<Item = StreamId> {
        self.known.values().copied()
    }
}

/// Decides when sources are asked for keyframes.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    sources: HashMap<u32, Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    last: Option<Instant>,
    /// When it should be asked.
    due: Option<Instant>,
}

impl Asked {
    fn want(&mut self, now: Instant, interval: Duration) {
        let due = self.last.map_or(now, |last| now.max(last + interval));
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }
}

impl Asker {
    /// A packet of `source` came.
    pub(crate) fn saw(&mut self, source: u32, video: bool) {
        if video && self.sources.len() < SOURCES_MAX {
            self.sources.entry(source).or_default();
        }
    }

    /// Viewers want keyframes.
    pub(crate) fn wanted(&mut self, now: Instant) {
        self.sources.values_mut().for_each(|asked| asked.want(now, DEMAND_INTERVAL));
    }

    /// Nothing of `source` can be decoded.
    pub(crate) fn lost(&mut self, source: u32, now: Instant) {
        if let Some(asked) = self.sources.get_mut(&source) {
            asked.want(now, LOSS_INTERVAL);
        }
    }

    /// When [`Asker::take`] has something.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.sources.values().filter_map(|asked| asked.due).min()
    }

    /// The sources to ask now.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<u32> {
        let due = self.sources.iter_mut().filter(|(_, asked)| asked.due.is_some_and(|due| due <= now));
        due.map(|(source, asked)| {
            (asked.due, asked.last) = (None, Some(now));
            *source
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_asked_at_once_and_then_seldom() {
        let (mut asker, now) = (Asker::default(), Instant::now());
        asker.saw(1, true);
        asker.saw(2, false);
        asker.wanted(now);
        assert_eq!(asker.take(now), [1]);
        asker.wanted(now);
        asker.wanted(now);
        assert_eq!((asker.take(now), asker.due()), (vec![], Some(now + DEMAND_INTERVAL)));
        asker.lost(1, now);
        assert_eq!(asker.due(), Some(now + LOSS_INTERVAL), "a loss cannot wait so long");
        assert_eq!(asker.take(now + LOSS_INTERVAL), [1]);
        assert_eq!(asker.due(), None);
    }
}
