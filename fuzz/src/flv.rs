//! FLV: a file, and its tags through the importer.

use std::collections::BTreeSet;

use bytes::Bytes;
use moqgate_mux::flv::{File, Importer};

use crate::follow;

pub(crate) fn import(data: &[u8]) {
    let Ok(file) = File::new(Bytes::copy_from_slice(data)) else { return };
    let (mut importer, mut known) = (Importer::new(), BTreeSet::new());
    for tag in file {
        importer.push(tag);
        std::iter::from_fn(|| importer.poll()).for_each(|event| follow(&event, &mut known));
    }
    importer.finish();
    std::iter::from_fn(|| importer.poll()).for_each(|event| follow(&event, &mut known));
    assert!(known.is_empty(), "every track ends");
}
