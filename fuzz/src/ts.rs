//! MPEG-TS: the importer, with the input cut as its first byte says.

use std::collections::BTreeSet;

use moqgate_mux::ts::{ImportConfig, Importer};

use crate::follow;

pub(crate) fn import(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut importer = Importer::new(ImportConfig::default());
    let mut known = BTreeSet::new();
    for piece in rest.chunks(usize::from(*first) * 8 + 1) {
        importer.push(piece);
        std::iter::from_fn(|| importer.poll()).for_each(|event| follow(&event, &mut known));
    }
    importer.finish();
    std::iter::from_fn(|| importer.poll()).for_each(|event| follow(&event, &mut known));
}
