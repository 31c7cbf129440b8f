//! Payloads on their way from the socket's task to the task of one broadcast.
//!
//! The socket's task never waits: a full queue drops its oldest payload, which the broadcast sees as a loss, and no
//! other stream sees at all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Most payloads in a queue: 5.4 MB, or two seconds at 20 Mbit/s, of payloads of 1316 bytes.
const CAPACITY: usize = 4096;

#[derive(Debug, Default)]
struct State {
    payloads: VecDeque<Bytes>,
    dropped: u64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end; dropping it ends the queue.
#[derive(Debug)]
pub(crate) struct Inlet(Arc<Shared>);

/// The reading end.
#[derive(Debug)]
pub(crate) struct Outlet(Arc<Shared>);

/// A new queue.
pub(crate) fn queue() -> (Inlet, Outlet) {
    let shared = Arc::new(Shared::default());
    (Inlet(Arc::clone(&shared)), Outlet(shared))
}

impl Inlet {
    /// Appends all of `payloads` under one lock and wakes the reader once. Returns how many were dropped so far.
    pub(crate) fn append(&self, payloads: &mut Vec<Bytes>) -> u64 {
        let dropped = {
            let mut state = self.0.lock();
            for payload in payloads.drain(..) {
                if state.payloads.len() == CAPACITY {
                    state.payloads.pop_front();
                    state.dropped += 1;
                }
                state.payloads.push_back(payload);
            }
            state.dropped
        };
        self.0.wake.notify_one();
        dropped
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_one();
    }
}

impl Outlet {
    /// Waits for payloads and swaps all of them into `into`, which must be empty. `false`: the queue has ended.
    /// Cancel-safe.
    pub(crate) async fn take(&self, into: &mut VecDeque<Bytes>) -> bool {
        loop {
            {
                let mut state = self.0.lock();
                if !state.payloads.is_empty() {
                    std::mem::swap(&mut state.payloads, into);
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            self.0.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(n: u32) -> Bytes {
        Bytes::copy_from_slice(&n.to_be_bytes())
    }

    #[tokio::test]
    async fn a4_a_full_queue_drops_its_oldest_and_an_ended_one_is_read_out() {
        let (inlet, outlet) = queue();
        let mut payloads: Vec<Bytes> = (0..CAPACITY as u32 + 3).map(payload).collect();
        assert_eq!(inlet.append(&mut payloads), 3);
        drop(inlet);
        let mut taken = VecDeque::new();
        assert!(outlet.take(&mut taken).await);
        assert_eq!((taken.len(), taken.front().cloned()), (CAPACITY, Some(payload(3))));
        taken.clear();
        assert!(!outlet.take(&mut taken).await);
    }
}
