//! What a session moves at the moment, for whoever watches over it.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    Path,
    usage::{Counters, Side},
};

/// Meters that are kept before those are looked for that have gone.
const SWEEP_MIN: usize = 16;

/// What a session has moved so far, and what it is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moved {
    /// Payload bytes that it published, of broadcasts that have ended too.
    pub ingress_bytes: u64,
    /// What it publishes: broadcasts with a live track.
    pub publishing: Vec<Path>,
    /// What it watches: broadcasts of which it reads a track.
    pub watching: Vec<Path>,
}

/// The meters of one session.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    live: Vec<(Path, Side, Arc<Counters>)>,
    /// Published through meters that have gone.
    gone: u64,
    sweep_at: usize,
}

impl Meters {
    pub(crate) fn enlist(&self, path: &Path, side: Side, counters: &Arc<Counters>) {
        let mut state = self.lock();
        if state.live.len() >= state.sweep_at {
            state.sweep();
        }
        state.live.push((path.clone(), side, Arc::clone(counters)));
    }

    pub(crate) fn read(&self) -> Moved {
        let mut state = self.lock();
        state.sweep();
        let mut moved = Moved { ingress_bytes: state.gone, ..Moved::default() };
        for (path, side, counters) in &state.live {
            let totals = counters.totals();
            let is_active = totals.active.live() > 0;
            match side {
                Side::Ingress => {
                    moved.ingress_bytes += totals.bytes;
                    moved.publishing.extend(is_active.then(|| path.clone()));
                }
                Side::Egress => moved.watching.extend(is_active.then(|| path.clone())),
            }
        }
        moved
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Folds the meters that nobody else holds any more: they do not change.
    fn sweep(&mut self) {
        for (path, side, counters) in mem::take(&mut self.live) {
            if Arc::strong_count(&counters) > 1 {
                self.live.push((path, side, counters));
            } else if side == Side::Ingress {
                self.gone += counters.totals().bytes;
            }
        }
        self.sweep_at = (self.live.len() * 2).max(SWEEP_MIN);
    }
}
