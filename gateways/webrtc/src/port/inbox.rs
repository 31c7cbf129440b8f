//! Datagrams on their way from the port to one peer.
//!
//! The port never waits: a full inbox drops its oldest datagram, which the peer sees as a loss, and no other peer sees
//! at all.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::BytesMut;

/// Most datagrams that wait: half a second at 10 Mbit/s.
const CAPACITY: usize = 512;

/// The queue of one peer.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    datagrams: VecDeque<(BytesMut, SocketAddr)>,
    waker: Option<Waker>,
}

impl Inbox {
    /// Appends a datagram. Whether another one had to go for it.
    pub(crate) fn push(&self, datagram: BytesMut, from: SocketAddr) -> bool {
        let (full, waker) = {
            let mut state = self.lock();
            let full = state.datagrams.len() == CAPACITY;
            if full {
                state.datagrams.pop_front();
            }
            state.datagrams.push_back((datagram, from));
            (full, state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        full
    }

    /// Wakes whoever took last.
    pub(crate) fn wake(&self) {
        let waker = self.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves what is there to `into`, which is empty. Who took last is woken by what comes next.
    pub(crate) fn take(&self, into: &mut VecDeque<(BytesMut, SocketAddr)>, cx: &mut Context<'_>) {
        let mut state = self.lock();
        std::mem::swap(&mut state.datagrams, into);
        if state.waker.is_none() {
            state.waker = Some(cx.waker().clone());
        } else if let Some(waker) = &mut state.waker {
            waker.clone_from(cx.waker());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_inbox_drops_its_oldest() {
        let (inbox, from) = (Inbox::default(), SocketAddr::from(([192, 0, 2, 1], 9)));
        let datagrams = (0..CAPACITY as u32 + 2).map(|n| BytesMut::from(&n.to_be_bytes()[..]));
        let dropped = datagrams.filter(|datagram| inbox.push(datagram.clone(), from)).count();
        assert_eq!(dropped, 2);
        let mut taken = VecDeque::new();
        inbox.take(&mut taken, &mut Context::from_waker(Waker::noop()));
        assert_eq!(taken.len(), CAPACITY);
        assert_eq!(taken[0], (BytesMut::from(&[0, 0, 0, 2][..]), from));
    }
}
