//! Who is told what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::OriginConsumer;
use crate::{
    BroadcastConsumer, Path,
    broadcast::BroadcastShared,
    waiters::{Seat, Waiters},
};

/// A change of what is listed.
#[derive(Debug, Clone)]
pub enum Announcement {
    /// A broadcast is there. It counts as listed for the session for as long as the consumer is held.
    Started(BroadcastConsumer),
    /// A broadcast that was announced now comes over another route.
    Rerouted(BroadcastConsumer),
    /// A broadcast that was announced has gone.
    Ended(Path),
}

/// Follows what is listed below a prefix. It begins with everything that is there, without waiting.
///
/// Changes that nobody has looked at yet are merged: a path costs one entry however often it came and went.
#[derive(Debug)]
pub struct Announcements {
    consumer: OriginConsumer,
    listener: usize,
    /// What the reader was told: path, epoch and route version.
    known: BTreeMap<Path, (u64, u64)>,
    seat: Option<Seat>,
}

/// The queues of everybody who listens, kept under the directory's lock.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    entries: BTreeMap<usize, Listener>,
    next: usize,
}

#[derive(Debug)]
struct Listener {
    prefix: Path,
    dirty: BTreeSet<Path>,
    waiters: Waiters,
}

impl Listeners {
    pub(super) fn changed(&mut self, path: &Path, woken: &mut Vec<Waker>) {
        for listener in self.entries.values_mut().filter(|listener| path.has_prefix(&listener.prefix)) {
            listener.dirty.insert(path.clone());
            listener.waiters.take(woken);
        }
    }
}

impl Announcements {
    pub(super) fn new(consumer: OriginConsumer, prefix: Path) -> Self {
        let listener = {
            let mut state = consumer.origin().lock();
            let dirty = state.broadcasts.keys().filter(|path| path.has_prefix(&prefix)).cloned().collect();
            let id = state.listeners.next;
            state.listeners.next += 1;
            state.listeners.entries.insert(id, Listener { prefix, dirty, waiters: Waiters::default() });
            id
        };
        Self { consumer, listener, known: BTreeMap::new(), seat: None }
    }

    /// Waits for the next change.
    pub async fn next(&mut self) -> Announcement {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next change, if there is one already: how to read the initial set.
    pub fn try_next(&mut self) -> Option<Announcement> {
        match self.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(announcement) => Some(announcement),
            Poll::Pending => None,
        }
    }

    /// The poll form of [`next`](Self::next).
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Announcement> {
        loop {
            let (path, current) = {
                let mut guard = self.consumer.origin().lock();
                let state = &mut *guard;
                let Some(listener) = state.listeners.entries.get_mut(&self.listener) else {
                    return Poll::Pending;
                };
                let Some(path) = listener.dirty.pop_first() else {
                    listener.waiters.park(&mut self.seat, cx.waker());
                    return Poll::Pending;
                };
                let current = state.broadcasts.get(&path).cloned();
                let told = self.known.get(&path).map(|(epoch, _)| *epoch);
                if told.is_some() && current.as_ref().is_some_and(|current| Some(current.epoch) != told) {
                    // Its end is told first; what came instead waits for the next look.
                    listener.dirty.insert(path.clone());
                }
                (path, current)
            };
            if let Some(announcement) = self.compare(path, current) {
                return Poll::Ready(announcement);
            }
        }
    }

    fn compare(&mut self, path: Path, current: Option<Arc<BroadcastShared>>) -> Option<Announcement> {
        let visible = current.filter(|_| self.consumer.may_subscribe(&path));
        let told = self.known.get(&path).copied();
        match (told, visible) {
            (None, None) => None,
            (None, Some(current)) => {
                self.known.insert(path, (current.epoch, current.route_version()));
                Some(Announcement::Started(self.consumer.consumer_of(&current)))
            }
            (Some((epoch, version)), Some(current)) if epoch == current.epoch => {
                let now = current.route_version();
                if now == version {
                    return None;
                }
                self.known.insert(path, (epoch, now));
                Some(Announcement::Rerouted(self.consumer.consumer_of(&current)))
            }
            (Some(_), _) => {
                self.known.remove(&path);
                Some(Announcement::Ended(path))
            }
        }
    }
}

impl Drop for Announcements {
    fn drop(&mut self) {
        self.consumer.origin().lock().listeners.entries.remove(&self.listener);
    }
}
