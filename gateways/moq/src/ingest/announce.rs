//! Follows what the peer announces.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use moqgate_core::Path;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::route::{Hops, Route};
use super::{Shared, Violation, broadcast};
use crate::transport::{ReadFault, Reader, SendStream};
use crate::wire::{
    ANNOUNCED_MAX, AnnounceEvent, AnnounceOk, AnnounceRequest, Announced, Announcement, BidiType, Message,
};

/// Until the peer ends its announcements or the session is over.
pub(super) async fn follow(shared: &Arc<Shared>) -> Result<(), Violation> {
    let Some((send, mut reader)) = ask(shared).await else { return Ok(()) };
    let followed = read(shared, &mut reader).await;
    // Held until here: the end of the request half would mean that announcements are no longer wanted.
    drop(send);
    followed
}

async fn ask(shared: &Shared) -> Option<(SendStream, Reader)> {
    let (version, hop) = (shared.link.version, shared.link.origin.hop_id());
    let (mut send, recv) = shared.link.session.open_bi().await.ok()?;
    let mut request = BytesMut::new();
    BidiType::Announce.encode(&mut request);
    AnnounceRequest { prefix: String::new(), exclude_hop: hop }.encode(&mut request, version);
    // A peer that stops the request may still announce.
    let _stopped = send.write(request.freeze()).await;
    Some((send, Reader::new(recv, version)))
}

async fn read(shared: &Arc<Shared>, reader: &mut Reader) -> Result<(), Violation> {
    let version = shared.link.version;
    let mut hops = Hops {
        own: shared.link.origin.hop_id(),
        responder: None,
        anonymous: shared.anonymous,
        cost: shared.link.cost,
    };
    if version.has_announce_ok() {
        let Some(ok) = next::<AnnounceOk>(reader).await? else { return Ok(()) };
        hops.responder = Some(ok.hop);
    }
    let (mut book, mut following) = (Announced::new(version), Following::default());
    let mut warned = false;
    while let Some(announcement) = next::<Announcement>(reader).await? {
        match book.push(announcement).map_err(Violation::Announce)? {
            Some(AnnounceEvent::Started { suffix, route } | AnnounceEvent::Rerouted { suffix, route }) => {
                following.route(shared, suffix, Route::new(route, hops));
            }
            Some(AnnounceEvent::Ended { suffix }) => following.end(suffix),
            None if book.ignored() > 0 && !warned => {
                warned = true;
                tracing::warn!(
                    most = ANNOUNCED_MAX,
                    "peer announces too many broadcasts, the rest is ignored"
                );
            }
            None => {}
        }
    }
    following.end_all().await;
    Ok(())
}

/// The next message; `None` when the peer has ended its announcements. A reset ends them as a FIN does: browsers reset
/// whatever they no longer need, and the session may still watch.
async fn next<M: Message>(reader: &mut Reader) -> Result<Option<M>, Violation> {
    match reader.message().await {
        Ok(message) => Ok(message),
        Err(ReadFault::Decode(error)) => Err(Violation::Decode(error)),
        Err(ReadFault::Reset(_) | ReadFault::Lost | ReadFault::Truncated) => Ok(None),
    }
}

/// Broadcasts that are withdrawn and still come to their end: more of them at once are cut short.
const ENDING_MAX: usize = 64;

/// The broadcasts that are being served. Bounded by the book that feeds it.
#[derive(Default)]
struct Following {
    live: HashMap<String, Live>,
    ending: VecDeque<(String, Serving)>,
}

struct Live {
    /// Dropping it lets the broadcast come to its end.
    routes: watch::Sender<Route>,
    serving: Serving,
}

/// The task of a broadcast. Dropping it cuts the broadcast short.
struct Serving {
    task: JoinHandle<Option<()>>,
    _cut: DropGuard,
}

impl Following {
    /// Serves the broadcast over `route`; without one, not at all.
    fn route(&mut self, shared: &Arc<Shared>, suffix: String, route: Option<Route>) {
        let Some(route) = route else { return self.end(suffix) };
        if let Some(live) = self.live.get(&suffix)
            && live.routes.send(route.clone()).is_ok()
        {
            return;
        }
        let path = match Path::new(&suffix).and_then(|suffix| shared.link.root.join(&suffix)) {
            Ok(path) => path,
            Err(error) => {
                tracing::debug!(%suffix, %error, "announcement ignored");
                return;
            }
        };
        self.ending.retain(|(ending, serving)| *ending != suffix && !serving.task.is_finished());
        let (routes, receiver) = watch::channel(route);
        let cancelled = CancellationToken::new();
        let serving = broadcast::serve(Arc::clone(shared), path, suffix.clone(), receiver);
        let task = shared.link.tasks.spawn(cancelled.clone().run_until_cancelled_owned(serving));
        let serving = Serving { task, _cut: cancelled.drop_guard() };
        self.live.insert(suffix, Live { routes, serving });
    }

    fn end(&mut self, suffix: String) {
        let Some(Live { serving, .. }) = self.live.remove(&suffix) else { return };
        if self.ending.len() >= ENDING_MAX {
            self.ending.pop_front();
        }
        self.ending.push_back((suffix, serving));
    }

    /// Lets everything come to its end.
    async fn end_all(self) {
        let live = self.live.into_values().map(|live| live.serving);
        // Collected first, so that all of them end at once.
        let ending: Vec<Serving> = self.ending.into_iter().map(|(_, serving)| serving).chain(live).collect();
        for serving in ending {
            let Serving { task, _cut } = serving;
            let _ended = task.await;
        }
    }
}
