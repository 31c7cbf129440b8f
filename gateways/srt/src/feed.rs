//! Payloads on their way from a player's task to the task that owns its connection.
//!
//! The bound is the backpressure: a full feed makes the player's task wait, and what it skips then is whole groups.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Most payloads in a feed: 337 KB, or 130 ms at 20 Mbit/s. A keyframe that is larger passes through in parts.
const CAPACITY: usize = 256;

/// Where feeds announce that they have something, for all connections of one socket.
#[derive(Debug, Default)]
pub(crate) struct Dock {
    /// Connections with news, each at most once.
    waiting: Mutex<Vec<u32>>,
    wake: Notify,
}

impl Dock {
    /// Waits for news.
    pub(crate) async fn ready(&self) {
        self.wake.notified().await;
    }

    /// The connections with news.
    pub(crate) fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn announce(&self, id: u32) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        self.wake.notify_one();
    }
}

#[derive(Debug, Default)]
struct State {
    payloads: VecDeque<Bytes>,
    /// The dock knows that there is something.
    announced: bool,
    /// The connection is over.
    gone: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    room: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The player's end.
#[derive(Debug)]
pub(crate) struct FeedWriter {
    shared: Arc<Shared>,
    dock: Arc<Dock>,
    id: u32,
}

/// The connection's end; dropping it tells the player's task that the connection is over.
#[derive(Debug)]
pub(crate) struct FeedReader(Arc<Shared>);

/// A new feed of connection `id`, which announces itself at `dock`.
pub(crate) fn feed(dock: Arc<Dock>, id: u32) -> (FeedWriter, FeedReader) {
    let shared = Arc::new(Shared::default());
    (FeedWriter { shared: Arc::clone(&shared), dock, id }, FeedReader(shared))
}

impl FeedWriter {
    /// Moves what fits, oldest first.
    pub(crate) fn offer(&self, payloads: &mut VecDeque<Bytes>) {
        let announce = {
            let mut state = self.shared.lock();
            let fits = payloads.len().min(CAPACITY.saturating_sub(state.payloads.len()));
            state.payloads.extend(payloads.drain(..fits));
            fits > 0 && !std::mem::replace(&mut state.announced, true)
        };
        if announce {
            self.dock.announce(self.id);
        }
    }

    /// Waits for room, or for the end of the connection.
    pub(crate) async fn room(&self) {
        self.until(|state| state.gone || state.payloads.len() <= CAPACITY / 2).await;
    }

    /// Waits for the end of the connection.
    pub(crate) async fn gone(&self) {
        self.until(|state| state.gone).await;
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let mut notified = std::pin::pin!(self.shared.room.notified());
            notified.as_mut().enable();
            if holds(&self.shared.lock()) {
                return;
            }
            notified.await;
        }
    }
}

impl FeedReader {
    /// The next payload.
    pub(crate) fn pop(&self) -> Option<Bytes> {
        let (payload, room) = {
            let mut state = self.0.lock();
            let payload = state.payloads.pop_front();
            state.announced &= payload.is_some();
            (payload, state.payloads.len() == CAPACITY / 2)
        };
        if room {
            self.0.room.notify_waiters();
        }
        payload
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().payloads.is_empty()
    }
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        self.0.lock().gone = true;
        self.0.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_feed_takes_no_more_until_it_is_half_empty() {
        let dock = Arc::new(Dock::default());
        let (writer, reader) = feed(Arc::clone(&dock), 7);
        let mut payloads: VecDeque<Bytes> = (0..CAPACITY + 2).map(|_| Bytes::from_static(b"x")).collect();
        writer.offer(&mut payloads);
        assert_eq!(payloads.len(), 2);
        dock.ready().await;
        assert_eq!(dock.take(), [7]);
        writer.offer(&mut payloads);
        assert!(dock.take().is_empty(), "announced already");
        let room = writer.room();
        let drain = async {
            while !reader.is_empty() {
                reader.pop();
            }
        };
        tokio::join!(room, drain);
        assert_eq!(reader.pop(), None);
        writer.offer(&mut payloads);
        assert_eq!(dock.take(), [7]);
        assert!(payloads.is_empty());
        drop(reader);
        writer.gone().await;
        writer.room().await;
    }
}
