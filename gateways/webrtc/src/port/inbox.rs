//! Datagrams on their way from the port to one peer.
//!
//! The port never waits: a full inbox drops its oldest datagram, which the peer sees as a loss, and no other peer sees
//! at all.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// Most datagrams that wait: half a second at 10 Mbit/s.
const CAPACITY: usize = 512;
/// The first byte of a DTLS record (RFC 7983 section 7).
const DTLS: RangeInclusive<u8> = 20..=63;

/// The queue of one address family of one peer.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    datagrams: VecDeque<(Bytes, SocketAddr)>,
    nudged: bool,
    /// The last datagram was a record of the handshake.
    paused: bool,
    waker: Option<Waker>,
    dropped: u64,
}

/// What the reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A datagram and where it came from.
    Datagram(Bytes, SocketAddr),
    /// Nothing arrived, but there is something to send.
    Nudge,
}

impl Inbox {
    /// Appends a datagram. Whether another one had to go for it.
    pub(crate) fn push(&self, datagram: Bytes, from: SocketAddr) -> bool {
        let (full, waker) = {
            let mut state = self.lock();
            let full = state.datagrams.len() == CAPACITY;
            if full {
                state.datagrams.pop_front();
                state.dropped += 1;
            }
            state.datagrams.push_back((datagram, from));
            (full, state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        full
    }

    /// Makes the reader look for what is to be sent.
    pub(crate) fn nudge(&self) {
        let waker = {
            let mut state = self.lock();
            state.nudged = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next finding; otherwise a waker is parked. Only the last one that asked is woken.
    ///
    /// Behind a record of the handshake nothing is there for one poll: the engine takes datagrams in bursts, has the keys
    /// that the last record brings only when the burst is over, and drops media that comes before.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Found> {
        let mut state = self.lock();
        if std::mem::take(&mut state.nudged) {
            return Poll::Ready(Found::Nudge);
        }
        if std::mem::take(&mut state.paused) && !state.datagrams.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some((datagram, from)) = state.datagrams.pop_front() {
            state.paused = datagram.first().is_some_and(|first| DTLS.contains(first));
            return Poll::Ready(Found::Datagram(datagram, from));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
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
        let datagrams = (0..CAPACITY as u32 + 2).map(|n| Bytes::copy_from_slice(&n.to_be_bytes()));
        let dropped = datagrams.filter(|datagram| inbox.push(datagram.clone(), from)).count();
        assert_eq!(dropped, 2);
        inbox.nudge();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(inbox.poll(&mut cx), Poll::Ready(Found::Nudge));
        let first = Bytes::from_static(&[0, 0, 0, 2]);
        assert_eq!(inbox.poll(&mut cx), Poll::Ready(Found::Datagram(first, from)));
    }

    /// The keys are in the last record of the handshake, and a publisher sends media right behind it.
    #[test]
    fn media_behind_a_handshake_waits_for_another_look() {
        let (inbox, from) = (Inbox::default(), SocketAddr::from(([192, 0, 2, 1], 9)));
        let (record, media) = (Bytes::from_static(&[22, 254, 253]), Bytes::from_static(&[128, 96]));
        for datagram in [&record, &media, &media] {
            inbox.push(datagram.clone(), from);
        }
        let mut cx = Context::from_waker(Waker::noop());
        let found = |datagram: &Bytes| Poll::Ready(Found::Datagram(datagram.clone(), from));
        assert_eq!(inbox.poll(&mut cx), found(&record));
        assert_eq!(inbox.poll(&mut cx), Poll::Pending);
        assert_eq!(inbox.poll(&mut cx), found(&media));
        assert_eq!(inbox.poll(&mut cx), found(&media));
    }
}
