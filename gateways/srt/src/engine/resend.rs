//! What is to be sent again, and how much of the link that may take.

use std::collections::VecDeque;

use super::Micros;
use super::limits::{RESEND_BURST, RESEND_FLOOR, RESEND_PERCENT, RESEND_RUNS};

/// Packet indexes waiting for retransmission: disjoint runs, oldest first. Repeated NAKs merge.
#[derive(Debug, Default)]
pub(crate) struct ResendList {
    runs: VecDeque<(u64, u64)>,
}

impl ResendList {
    /// Adds `first ..= last`.
    pub(crate) fn insert(&mut self, first: u64, last: u64) {
        // The runs that touch the new one.
        let from = self.runs.partition_point(|run| run.1.saturating_add(1) < first);
        let to = self.runs.partition_point(|run| run.0 <= last.saturating_add(1));
        if from == to {
            if self.runs.len() < RESEND_RUNS {
                self.runs.insert(from, (first, last));
            }
            return;
        }
        let merged = (first.min(self.runs[from].0), last.max(self.runs[to - 1].1));
        self.runs[from] = merged;
        if to - from > 1 {
            self.runs.drain(from + 1..to);
        }
    }

    /// Forgets everything before `index`.
    pub(crate) fn remove_below(&mut self, index: u64) {
        while let Some(run) = self.runs.front_mut() {
            if run.1 >= index {
                run.0 = run.0.max(index);
                return;
            }
            self.runs.pop_front();
        }
    }

    /// The oldest one.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.front().map(|run| run.0)
    }
}

/// The bytes that may still be spent on retransmissions: a share of what is newly sent, and a floor.
#[derive(Debug)]
pub(crate) struct ResendBudget {
    bytes: u64,
    filled_at: Micros,
}

impl ResendBudget {
    pub(crate) fn new(now: Micros) -> Self {
        Self { bytes: RESEND_BURST, filled_at: now }
    }

    /// `bytes` of new data were accepted.
    pub(crate) fn earn(&mut self, bytes: u64) {
        self.bytes = (self.bytes + bytes * RESEND_PERCENT / 100).min(RESEND_BURST);
    }

    /// Whether `bytes` may be sent now; if so, they are spent.
    pub(crate) fn spend(&mut self, bytes: u64, now: Micros) -> bool {
        let earned = (now - self.filled_at).max(0) as u64 * RESEND_FLOOR / 1_000_000;
        if earned > 0 {
            self.bytes = (self.bytes + earned).min(RESEND_BURST);
            self.filled_at = now;
        }
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_budget_is_a_share_of_the_input_and_a_floor() {
        let mut budget = ResendBudget::new(0);
        assert!(budget.spend(RESEND_BURST, 0));
        assert!(!budget.spend(1, 0));
        budget.earn(2_000);
        assert!(budget.spend(1_000, 0));
        assert!(!budget.spend(1, 0));
        assert!(budget.spend(RESEND_FLOOR, 1_000_000));
        assert!(!budget.spend(1, 1_000_000));
    }

    #[test]
    fn a_broken_up_list_stays_bounded() {
        let mut list = ResendList::default();
        for index in 0..100_000 {
            list.insert(index * 2, index * 2);
        }
        assert_eq!(list.runs.len(), RESEND_RUNS);
        list.insert(0, 300_000);
        assert_eq!(list.runs.len(), 1);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(ops in prop::collection::vec((0u8..4, 0u64..200, 0u64..20), 0..60)) {
            let mut list = ResendList::default();
            let mut model = BTreeSet::new();
            for (op, at, len) in ops {
                if op < 3 {
                    list.insert(at, at + len);
                    model.extend(at..=at + len);
                } else {
                    list.remove_below(at);
                    model.retain(|&index| index >= at);
                }
                prop_assert_eq!(list.first(), model.first().copied());
            }
            let all: Vec<u64> = list.runs.iter().flat_map(|&(first, last)| first..=last).collect();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }
    }
}
