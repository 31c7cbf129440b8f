//! One SUBSCRIBE stream.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Shared;
use super::progress::Progress;
use super::subscriptions::{Arrival, Registration};
use crate::transport::{ReadFault, Reader, SendStream};
use crate::wire::{BidiType, Message, Subscribe, SubscribeReply, SubscribeUpdate, Terms, Version};

/// A live subscription. Dropping it unsubscribes and gives up the groups that are under way.
pub(super) struct Feed {
    version: Version,
    registration: Registration,
    request: Option<SendStream>,
    replies: Reader,
    arrivals: mpsc::Receiver<Arrival>,
    /// The peer has said all that it will say.
    replied: bool,
    terms: Terms,
    cancelled: CancellationToken,
    guard: Option<DropGuard>,
    pub(super) progress: Progress,
}

/// What happened on a subscription.
pub(super) enum Event {
    /// A group came.
    Arrival(Arrival),
    /// The peer said something; `None`: it has said all.
    Reply(Result<Option<SubscribeReply>, ReadFault>),
}

impl Feed {
    /// Asks for a track. `None`: the session is over.
    pub(super) async fn open(
        shared: &Arc<Shared>,
        broadcast: &str,
        track: &str,
        terms: Terms,
    ) -> Option<Self> {
        let version = shared.link.version;
        let (mut request, replies) = shared.link.session.open_bi().await.ok()?;
        // Before the request leaves: groups may come before any reply.
        let (registration, arrivals) = Registration::new(shared);
        let mut bytes = BytesMut::new();
        BidiType::Subscribe.encode(&mut bytes);
        let (broadcast, track) = (broadcast.to_owned(), track.to_owned());
        Subscribe { id: registration.id(), broadcast, track, terms }.encode(&mut bytes, version);
        // Stopped or lost: the replies say so.
        let _stopped = request.write(bytes.freeze()).await;
        let cancelled = CancellationToken::new();
        Some(Self {
            version,
            registration,
            request: Some(request),
            replies: Reader::new(replies, version),
            arrivals,
            replied: false,
            terms,
            guard: Some(cancelled.clone().drop_guard()),
            cancelled,
            progress: Progress::new(version),
        })
    }

    /// Asks for something else.
    pub(super) async fn update(&mut self, terms: Terms) {
        if terms == self.terms {
            return;
        }
        self.terms = terms;
        if let Some(request) = &mut self.request {
            let _stopped = request.write(SubscribeUpdate(terms).to_bytes(self.version)).await;
        }
    }

    /// Waits for what happens next. Cancel safe.
    pub(super) async fn event(&mut self) -> Event {
        tokio::select! {
            biased;
            Some(arrival) = self.arrivals.recv() => Event::Arrival(arrival),
            reply = self.replies.message(), if !self.replied => {
                self.replied = !matches!(reply, Ok(Some(_)));
                Event::Reply(reply)
            }
        }
    }

    /// Tells group streams that they are no longer wanted.
    pub(super) fn cancelled(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// Ends the subscription, letting groups that are under way come to their end.
    pub(super) fn complete(mut self) {
        if let Some(guard) = self.guard.take() {
            guard.disarm();
        }
    }

    /// For the log.
    pub(super) fn id(&self) -> u64 {
        self.registration.id()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // A FIN unsubscribes gracefully.
        if let Some(request) = self.request.take() {
            request.finish();
        }
    }
}
