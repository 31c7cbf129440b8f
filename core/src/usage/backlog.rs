//! Statements that wait to be written down.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock},
};

use super::{EndReason, Holder, Side, Statement};
use crate::{Path, Protocol};

/// Set in the number of a holder that stands for several. Numbers that are counted up never reach it.
const FOLDED: u64 = 1 << 62;
/// Most combinations of tenant, tier, protocol, broadcast and direction that are told apart among what was folded: those
/// of a large machine. What is beyond them keeps everything but its broadcast.
const KEYS_MAX: usize = 4096;

/// Statements in bounded memory, at most one per holder.
///
/// Of a holder that is still there, statements add up. Of those that have ended a number is kept; when there are more,
/// the oldest are put together by tenant, tier, protocol, broadcast and direction. Nothing is ever left out of the sum.
#[derive(Debug)]
pub struct Backlog {
    statements: BTreeMap<u64, Statement>,
    ended: VecDeque<u64>,
    keys: BTreeMap<Key, u64>,
    ended_max: usize,
    folded: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tenant: Arc<str>,
    tier: Arc<str>,
    protocol: Protocol,
    path: Path,
    side: Side,
}

impl Backlog {
    /// Keeps so many that have ended apart.
    #[must_use]
    pub fn new(ended_max: usize) -> Self {
        Self {
            statements: BTreeMap::new(),
            ended: VecDeque::new(),
            keys: BTreeMap::new(),
            ended_max,
            folded: 0,
        }
    }

    /// Puts one in, or adds it to the one that its holder has.
    pub fn add(&mut self, statement: Statement) {
        let number = statement.holder.number;
        match self.statements.get_mut(&number) {
            Some(known) => {
                let was_final = known.is_final;
                known.merge(&statement);
                if known.is_final && !was_final {
                    self.ended.push_back(number);
                }
            }
            None => {
                if statement.is_final {
                    self.ended.push_back(number);
                }
                self.statements.insert(number, statement);
            }
        }
        while self.ended.len() > self.ended_max {
            self.fold_oldest();
        }
    }

    /// Takes all of them out, in the order in which their holders came.
    pub fn take(&mut self) -> Vec<Statement> {
        self.ended.clear();
        self.keys.clear();
        std::mem::take(&mut self.statements).into_values().collect()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// How many were ever put together with others.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.folded
    }

    fn fold_oldest(&mut self) {
        let Some(mut oldest) = self.ended.pop_front().and_then(|number| self.statements.remove(&number))
        else {
            return;
        };
        self.folded += 1;
        let holder = &oldest.holder;
        let mut key = Key {
            tenant: Arc::clone(&holder.tenant),
            tier: Arc::clone(&holder.tier),
            protocol: holder.protocol,
            path: holder.path.clone(),
            side: holder.side,
        };
        if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(&key) {
            key.path = Path::root();
        }
        if let Some(together) = self.keys.get(&key).and_then(|number| self.statements.get_mut(number)) {
            together.merge(&oldest);
            return;
        }
        let number = holder.number | FOLDED;
        oldest.holder = Arc::new(Holder {
            number,
            session: "".into(),
            path: key.path.clone(),
            end: Arc::new(OnceLock::from(EndReason::Folded)),
            ..Holder::clone(holder)
        });
        self.keys.insert(key, number);
        self.statements.insert(number, oldest);
    }
}
