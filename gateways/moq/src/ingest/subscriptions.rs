//! Which live subscription an arriving group or datagram belongs to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moqgate_core::GroupProducer;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::wire::{Datagram, GroupHead};

/// Groups and datagrams that wait for the owner of their track, per subscription: a burst of a second of audio in one
/// group per frame. Group streams beyond it wait in their own tasks, datagrams are dropped.
const ARRIVALS_MAX: usize = 64;

/// What arrived for a subscription.
pub(super) enum Arrival {
    /// The head of a group stream; the answer opens the group, or drops the sender to refuse it.
    Group(GroupHead, oneshot::Sender<OpenGroup>),
    /// A group in a datagram.
    Datagram(Datagram),
}

/// What a group stream writes into.
pub(super) struct OpenGroup {
    pub(super) producer: GroupProducer,
    /// Units of the peer's timestamps per second.
    pub(super) timescale: u64,
    /// The subscription ended and nobody wants the rest.
    pub(super) cancelled: CancellationToken,
    /// Held until the group is at its end.
    pub(super) _under_way: UnderWay,
}

/// Somebody waits until all of its clones are dropped. Nothing is ever sent.
pub(super) type UnderWay = mpsc::Sender<Infallible>;

/// The subscriptions of a session, by id.
#[derive(Default)]
pub(super) struct Subscriptions {
    next: AtomicU64,
    live: Mutex<HashMap<u64, mpsc::Sender<Arrival>>>,
}

impl Subscriptions {
    /// Hands an arrival to the owner of its track, waiting for room. `false`: there is no such subscription.
    pub(super) async fn deliver(&self, id: u64, arrival: Arrival) -> bool {
        let Some(sender) = self.lock().get(&id).cloned() else { return false };
        sender.send(arrival).await.is_ok()
    }

    /// Hands an arrival over if there is room.
    pub(super) fn offer(&self, id: u64, arrival: Arrival) {
        if let Some(sender) = self.lock().get(&id) {
            // Full or closing: a datagram is not worth waiting for.
            let _dropped = sender.try_send(arrival);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Arrival>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The claim on a subscribe id. Dropping it makes later groups of that id unknown.
pub(super) struct Registration {
    shared: Arc<Shared>,
    id: u64,
}

impl Registration {
    /// Takes the next id.
    pub(super) fn new(shared: &Arc<Shared>) -> (Self, mpsc::Receiver<Arrival>) {
        let (sender, receiver) = mpsc::channel(ARRIVALS_MAX);
        let id = shared.subscriptions.next.fetch_add(1, Ordering::Relaxed);
        shared.subscriptions.lock().insert(id, sender);
        (Self { shared: Arc::clone(shared), id }, receiver)
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.subscriptions.lock().remove(&self.id);
    }
}
