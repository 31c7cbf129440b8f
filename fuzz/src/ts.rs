//! MPEG-TS: the importer, with the input cut as its first byte says.

use std::collections::BTreeSet;

use moqgate_mux::event::Event;
use moqgate_mux::ts::{ImportConfig, Importer};

pub(crate) fn import(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut importer = Importer::new(ImportConfig::default());
    let mut known = BTreeSet::new();
    for piece in rest.chunks(usize::from(*first) * 8 + 1) {
        importer.push(piece);
        drain(&mut importer, &mut known);
    }
    importer.finish();
    drain(&mut importer, &mut known);
}

/// A track is told before anything happens on it, and once.
fn drain(importer: &mut Importer, known: &mut BTreeSet<u32>) {
    while let Some(event) = importer.poll() {
        match event {
            Event::Track(track) => assert!(known.insert(track.id.0), "a new track has a new id"),
            Event::Config { track, .. } | Event::Frame { track, .. } => {
                assert!(known.contains(&track.0), "its track was told");
            }
            Event::TrackEnd(track) => assert!(known.remove(&track.0), "its track was told"),
            Event::Discontinuity | Event::Problem(_) => {}
        }
    }
}
