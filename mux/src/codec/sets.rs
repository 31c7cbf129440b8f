//! The parameter sets of a video stream: what a decoder must have before a keyframe.

/// Which level of parameters a set describes; also the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SetKind {
    /// Video parameter set (H.265 only).
    Video,
    /// Sequence parameter set.
    Sequence,
    /// Picture parameter set.
    Picture,
}

/// Names a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetKey {
    pub(crate) kind: SetKind,
    pub(crate) id: u8,
}

/// All sets together; real streams have well under 4 KiB, and they are repeated in front of every keyframe.
const SETS_BYTES_MAX: usize = 64 * 1024;

/// The latest set of every id.
#[derive(Debug, Default)]
pub(crate) struct ParameterSets {
    sets: Vec<Set>,
    bytes: usize,
}

#[derive(Debug)]
struct Set {
    key: SetKey,
    parent: u8,
    nal: Vec<u8>,
}

impl ParameterSets {
    /// Keeps `nal` as the set `key` that refers to the set `parent` one level up. The latest wins; a new sequence set
    /// makes the picture sets that refer to it void, as decoders do.
    pub(crate) fn store(&mut self, key: SetKey, parent: u8, nal: &[u8]) {
        let found = self.sets.binary_search_by_key(&key, |set| set.key);
        if found.is_ok_and(|at| self.sets[at].nal == nal) {
            return;
        }
        if key.kind == SetKind::Sequence {
            self.sets.retain(|set| set.key.kind != SetKind::Picture || set.parent != key.id);
        }
        self.sets.retain(|set| set.key != key);
        self.bytes = self.sets.iter().map(|set| set.nal.len()).sum();
        if self.bytes + nal.len() > SETS_BYTES_MAX {
            return;
        }
        self.bytes += nal.len();
        let at = self.sets.partition_point(|set| set.key < key);
        self.sets.insert(at, Set { key, parent, nal: nal.to_vec() });
    }

    /// The set that `key` refers to one level up.
    pub(crate) fn parent(&self, key: SetKey) -> Option<u8> {
        self.sets.iter().find(|set| set.key == key).map(|set| set.parent)
    }

    /// All sets in the order in which they have to be sent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SetKey, &[u8])> {
        self.sets.iter().map(|set| (set.key, set.nal.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: SetKind, id: u8) -> SetKey {
        SetKey { kind, id }
    }

    #[test]
    fn keeps_the_latest_in_sending_order() {
        let mut sets = ParameterSets::default();
        sets.store(key(SetKind::Sequence, 0), 0, b"sps");
        sets.store(key(SetKind::Picture, 1), 0, b"pps1");
        sets.store(key(SetKind::Picture, 0), 0, b"pps0");
        sets.store(key(SetKind::Picture, 0), 0, b"pps0b");
        let held: Vec<_> = sets.iter().map(|(_, nal)| nal.to_vec()).collect();
        assert_eq!(held, [&b"sps"[..], b"pps0b", b"pps1"]);
        assert_eq!(sets.parent(key(SetKind::Picture, 1)), Some(0));

        sets.store(key(SetKind::Sequence, 0), 0, b"new");
        assert_eq!(sets.iter().count(), 1);
    }

    #[test]
    fn never_holds_more_than_the_limit() {
        let mut sets = ParameterSets::default();
        for id in 0..=255 {
            sets.store(key(SetKind::Picture, id), 0, &[1; 4096]);
        }
        assert!(sets.bytes <= SETS_BYTES_MAX);
    }
}
