//! One announced broadcast: claims its path and hands its readers' demand to its tracks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use moqgate_core::{BroadcastProducer, Path, PublishError, PublishOptions};
use tokio::sync::watch;

use super::Shared;
use super::route::Route;
use super::track;

/// First and longest wait for a path that somebody else holds: most often it is the peer's own last session, which
/// falls silent soon.
const BUSY_WAIT_MIN: Duration = Duration::from_millis(20);
const BUSY_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long tracks may take to come to their end after the announcement has: a publisher withdraws a broadcast together
/// with the END of its tracks, while their last groups are still on their way.
const ENDING_MAX: Duration = Duration::from_secs(3);

/// Until the announcement ends, which drops the sender of `routes`. `name` is the path as the peer knows it.
pub(super) async fn serve(shared: Arc<Shared>, path: Path, name: String, mut routes: watch::Receiver<Route>) {
    loop {
        let Some(broadcast) = claim(&shared, &path, &mut routes).await else { return };
        let publisher = routes.borrow().publisher();
        if !follow(&shared, &broadcast, &name, &mut routes, publisher).await {
            return;
        }
    }
}

/// Serves one publisher. `true`: another one has taken its place under the same path.
async fn follow(
    shared: &Arc<Shared>,
    broadcast: &BroadcastProducer,
    name: &str,
    routes: &mut watch::Receiver<Route>,
    publisher: Option<u64>,
) -> bool {
    let mut tracks = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            // 1. Where it comes from.
            changed = routes.changed() => {
                if changed.is_err() {
                    let rest = tracks.for_each(|()| std::future::ready(()));
                    let _cut = tokio::time::timeout(ENDING_MAX, rest).await;
                    return false;
                }
                let route = routes.borrow_and_update().clone();
                if route.publisher() != publisher {
                    return true;
                }
                broadcast.update_route(route.hops, route.cost);
            }
            // 2. What is being read.
            Some(()) = tracks.next() => {}
            // 3. What somebody wants to read.
            request = broadcast.requested_track() => match request {
                Some(request) => tracks.push(track::serve(shared, name, request)),
                None => return false,
            },
        }
    }
}

/// Publishes the path, waiting while somebody else holds it. `None`: the session may not.
async fn claim(
    shared: &Shared,
    path: &Path,
    routes: &mut watch::Receiver<Route>,
) -> Option<BroadcastProducer> {
    let mut wait = BUSY_WAIT_MIN;
    loop {
        let Route { hops, cost } = routes.borrow_and_update().clone();
        let options = PublishOptions { hops, cost, dynamic: true };
        match shared.link.origin.publish(path, options, Instant::now()) {
            Ok(broadcast) => {
                tracing::info!(%path, "broadcast announced by peer");
                return Some(broadcast);
            }
            Err(PublishError::Busy) => {
                if wait == BUSY_WAIT_MIN {
                    tracing::debug!(%path, "path is held by another publisher, waiting");
                }
                tokio::select! {
                    biased;
                    changed = routes.changed() => changed.ok()?,
                    () = tokio::time::sleep(wait) => {}
                }
                wait = wait.saturating_mul(2).min(BUSY_WAIT_MAX);
            }
            Err(error) => {
                tracing::debug!(%path, %error, "announcement ignored");
                return None;
            }
        }
    }
}
