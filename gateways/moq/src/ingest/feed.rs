//! One SUBSCRIBE stream.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use bytes::BytesMut;
use moqgate_core::GroupProducer;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Shared;
use super::progress::Progress;
use super::subscriptions::{Arrival, OpenGroup, Registration, UnderWay};
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
    under_way: Option<(UnderWay, mpsc::Receiver<Infallible>)>,
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
            under_way: Some(mpsc::channel(1)),
            cancelled,
            progress: Progress::new(version),
        })
    }

    /// What is asked for.
    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    /// Asks for something else. `false`: that was asked for already.
    pub(super) async fn update(&mut self, terms: Terms) -> bool {
        if terms == self.terms {
            return false;
        }
        self.terms = terms;
        tracing::debug!(id = self.id(), viewers = terms.downstream, "subscription update sent");
        if let Some(request) = &mut self.request {
            let _stopped = request.write(SubscribeUpdate(terms).to_bytes(self.version)).await;
        }
        true
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

    /// What a group stream of this subscription writes into.
    pub(super) fn opened(&self, producer: GroupProducer, timescale: u64) -> Option<OpenGroup> {
        let (under_way, _) = self.under_way.as_ref()?;
        let cancelled = self.cancelled.clone();
        Some(OpenGroup { producer, timescale, cancelled, _under_way: under_way.clone() })
    }

    /// Ends the subscription, and lets groups that are under way come to their end. The future waits for that.
    pub(super) fn complete(mut self) -> impl Future<Output = ()> + use<> {
        if let Some(guard) = self.guard.take() {
            guard.disarm();
        }
        let under_way = self.under_way.take();
        async move {
            if let Some((ours, mut groups)) = under_way {
                drop(ours);
                let _none = groups.recv().await;
            }
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
