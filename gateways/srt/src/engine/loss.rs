//! The receiver's loss list: what is missing, and when to ask for it (draft-sharabayko-srt section 4.8.2).
//!
//! Each run of missing packets has its own timer. A fresh gap is held for a moment, since a reordered packet usually
//! arrives by itself; after that it is asked for again at every period until it is filled or given up.

use std::collections::VecDeque;

use super::Micros;
use super::limits::NAK_SCAN_INTERVAL;

/// Runs of missing packets, oldest first; disjoint. Packet indexes are 64 bit and do not wrap.
///
/// Bounded by the receive window: there are at most half as many runs as slots.
#[derive(Debug, Default)]
pub(crate) struct LossList {
    runs: VecDeque<Run>,
    /// No run is due before this; may be early.
    next_due: Option<Micros>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    found: Micros,
    due: Micros,
}

impl LossList {
    /// The oldest missing packet.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.front().map(|run| run.first)
    }

    /// When the next run is to be asked for.
    pub(crate) fn next_due(&self) -> Option<Micros> {
        if self.runs.is_empty() { None } else { self.next_due }
    }

    /// A gap beyond everything seen so far, found at `now`, to be asked for after `hold`.
    pub(crate) fn append(&mut self, first: u64, last: u64, now: Micros, hold: Micros) {
        let due = now + hold;
        self.next_due =
            Some(if self.runs.is_empty() { due } else { self.next_due.map_or(due, |at| at.min(due)) });
        self.runs.push_back(Run { first, last, found: now, due });
    }

    /// One packet arrived. When it was found missing, if it was.
    pub(crate) fn remove(&mut self, index: u64) -> Option<Micros> {
        let at = self.runs.partition_point(|run| run.last < index);
        let found = self.runs.get(at).filter(|run| run.first <= index)?.found;
        self.remove_range(index, index, |_, _| ());
        Some(found)
    }

    /// Everything before `index` was given up.
    pub(crate) fn remove_below(&mut self, index: u64) {
        while let Some(run) = self.runs.front_mut() {
            if run.first >= index {
                return;
            }
            if run.last >= index {
                run.first = index;
                return;
            }
            self.runs.pop_front();
        }
    }

    /// Takes `first ..= last` out and tells `removed` each run that was really missing.
    pub(crate) fn remove_range(&mut self, first: u64, last: u64, mut removed: impl FnMut(u64, u64)) {
        let mut at = self.runs.partition_point(|run| run.last < first);
        while let Some(run) = self.runs.get_mut(at) {
            if run.first > last {
                return;
            }
            let whole = *run;
            removed(whole.first.max(first), whole.last.min(last));
            match (whole.first < first, whole.last > last) {
                (true, true) => {
                    run.last = first - 1;
                    self.runs.insert(at + 1, Run { first: last + 1, ..whole });
                    return;
                }
                (true, false) => {
                    run.last = first - 1;
                    at += 1;
                }
                (false, true) => {
                    run.first = last + 1;
                    return;
                }
                (false, false) => {
                    self.runs.remove(at);
                }
            }
        }
    }

    /// The runs that are due at `now`, oldest first, as long as `take` accepts them; each is due again a `period`
    /// later.
    pub(crate) fn take_due(&mut self, now: Micros, period: Micros, mut take: impl FnMut(u64, u64) -> bool) {
        let mut next: Option<Micros> = None;
        let mut full = false;
        for run in &mut self.runs {
            if !full && run.due <= now {
                if take(run.first, run.last) {
                    run.due = now + period;
                } else {
                    full = true;
                }
            }
            next = Some(next.map_or(run.due, |at| at.min(run.due)));
        }
        self.next_due = next.map(|at| at.max(now + NAK_SCAN_INTERVAL));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn due(list: &mut LossList, now: Micros) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        list.take_due(now, 20_000, |first, last| {
            out.push((first, last));
            true
        });
        out
    }

    #[test]
    fn each_gap_has_its_own_hold_and_period() {
        let mut list = LossList::default();
        list.append(5, 9, 0, 1_000);
        list.append(12, 12, 1_000, 3_000);
        assert_eq!(list.next_due(), Some(1_000));
        assert_eq!(due(&mut list, 1_000), [(5, 9)]);
        assert_eq!(list.next_due(), Some(4_000));
        assert_eq!(list.remove(7), Some(0));
        assert_eq!(list.remove(10), None);
        assert_eq!(due(&mut list, 4_000), [(12, 12)]);
        assert_eq!(due(&mut list, 20_999), []);
        assert_eq!(due(&mut list, 21_000), [(5, 6), (8, 9)]);
        list.remove_below(9);
        assert_eq!(list.first(), Some(9));
        assert_eq!(due(&mut list, 90_000), [(9, 9), (12, 12)]);
        list.remove(9);
        list.remove(12);
        assert_eq!(list.first(), None);
        assert_eq!(list.next_due(), None);
    }

    #[test]
    fn what_does_not_fit_stays_due() {
        let mut list = LossList::default();
        for index in 0..4 {
            list.append(index * 10, index * 10, 0, 0);
        }
        let mut out = Vec::new();
        list.take_due(0, 20_000, |first, _| {
            out.push(first);
            out.len() < 3
        });
        assert_eq!(out, [0, 10, 20]);
        assert_eq!(list.next_due(), Some(NAK_SCAN_INTERVAL));
        assert_eq!(due(&mut list, NAK_SCAN_INTERVAL), [(20, 20), (30, 30)]);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(ops in prop::collection::vec((0u8..4, 0u64..200, 0u64..20), 0..60)) {
            let mut list = LossList::default();
            let mut model = BTreeSet::new();
            let mut end = 0;
            for (op, at, len) in ops {
                match op {
                    0 => {
                        list.append(end + 1, end + 1 + len, 0, 0);
                        model.extend(end + 1..=end + 1 + len);
                        end += len + 2;
                    }
                    1 => {
                        list.remove(at);
                        model.remove(&at);
                    }
                    2 => {
                        let mut gone = 0;
                        list.remove_range(at, at + len, |first, last| gone += last - first + 1);
                        let before = model.len();
                        model.retain(|index| !(at..=at + len).contains(index));
                        prop_assert_eq!(gone as usize, before - model.len());
                    }
                    _ => {
                        list.remove_below(at);
                        model.retain(|&index| index >= at);
                    }
                }
                prop_assert_eq!(list.first(), model.first().copied());
            }
            let all: Vec<u64> = due(&mut list, 1).into_iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }
    }
}
