//! The dialer: keeps one session to a relay.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use moqgate_core::{Backoff, Credential, Direction, Gate, Grant, Identity, Path, Protocol, Request};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::DialConfig;
use crate::connect::{self, DialError, Dialled};
use crate::link::{Link, QuicStats};
use crate::metrics::Metrics;
use crate::session::{self, End, Farewell};
use crate::transport::Purpose;
use crate::wire::SessionCode;

/// How long a session that has been replaced, or is stopping, may take to send what it has.
const LINGER: Duration = Duration::from_millis(500);

/// Publishes every local broadcast to a relay, and serves local viewers what the relay announces.
#[derive(Debug)]
pub struct Dialer {
    config: DialConfig,
    gate: Gate,
    metrics: Metrics,
}

impl Dialer {
    /// Not connected before [`Dialer::run`].
    #[must_use]
    pub fn new(config: DialConfig, gate: Gate) -> Self {
        Self { config, gate, metrics: Metrics::default() }
    }

    /// The counters of this dialer.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Connects, and connects again whenever the session ends or the relay asks to leave, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let tracker = TaskTracker::new();
        let stop = shutdown.clone();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            never = self.keep_connected(&tracker, &stop) => match never {},
        }
        tracker.close();
        tracker.wait().await;
    }

    async fn keep_connected(
        &self,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> std::convert::Infallible {
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max, rand::random());
        let mut target = self.config.url.clone();
        // Sessions that the relay asked to leave run on until there is another one.
        let mut leaving: Option<CancellationToken> = None;
        // Said once, not at every attempt.
        let mut unreachable = false;
        loop {
            let wait = match self.open(&target, tracker, stop).await {
                Ok(mut live) => {
                    unreachable = false;
                    if let Some(old) = leaving.take() {
                        old.cancel();
                    }
                    tracing::info!(url = %shown(&target), "relay connected");
                    target.clone_from(&self.config.url);
                    let (turn, lasted) = live.watch().await;
                    match turn {
                        Turn::Leave(uri) => {
                            let wait = after_goaway(&mut backoff, lasted);
                            tracing::info!(url = %shown(&target), retry_s = wait.as_secs_f32(), "relay asks to reconnect");
                            target = uri.unwrap_or(target);
                            leaving = Some(live.stop);
                            wait
                        }
                        Turn::Ended(end) => {
                            let wait = backoff.after(lasted);
                            tracing::warn!(url = %shown(&target), reason = %end, retry_s = wait.as_secs_f32(), "relay lost");
                            wait
                        }
                    }
                }
                Err(error) => {
                    target.clone_from(&self.config.url);
                    let wait = backoff.next_wait();
                    let (url, retry_s) = (shown(&target), wait.as_secs_f32());
                    if std::mem::replace(&mut unreachable, true) {
                        tracing::debug!(%url, %error, retry_s, "relay unreachable");
                    } else {
                        tracing::warn!(%url, %error, retry_s, "relay unreachable");
                    }
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn open(
        &self,
        url: &Url,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Live, DialError> {
        let hop = self.gate.origin().hop_id();
        let Dialled { established, version, setup } = connect::connect(url, &self.config, hop).await?;
        let transport = established.session.clone();
        let request = Request {
            protocol: Protocol::Moq,
            direction: Direction::Both,
            path: Path::root(),
            credential: Credential::None,
            peer: transport.peer(),
        };
        // The operator named this peer: no admission is asked.
        let identity = Identity::Credential(shown(url).into());
        let grant = Grant { relay: true, ..Grant::everything(identity) };
        let stats = Arc::new(QuicStats(transport.clone()));
        let core = self.gate.open(request, grant, SystemTime::now(), Some(stats));
        let link = Arc::new(Link::new(transport, version, hop, setup, &core, self.metrics.counters()));
        let goaway = link.goaway.subscribe();
        let stop = stop.child_token();
        let farewell =
            Farewell { stop: stop.clone(), goaway: false, grace: LINGER, code: SessionCode::NO_ERROR };
        let session =
            tracker.spawn(session::run(established, link, core, Purpose::Relay, farewell, tracker.clone()));
        Ok(Live { session, goaway, stop, since: Instant::now() })
    }
}

/// A session to the relay.
struct Live {
    session: JoinHandle<End>,
    goaway: watch::Receiver<Option<String>>,
    stop: CancellationToken,
    since: Instant,
}

enum Turn {
    /// The relay leaves; it may name another place.
    Leave(Option<Url>),
    Ended(String),
}

impl Live {
    /// What ends its turn as the session that counts, and after how long.
    async fn watch(&mut self) -> (Turn, Duration) {
        let turn = tokio::select! {
            biased;
            Ok(uri) = self.goaway.wait_for(Option::is_some) => {
                Turn::Leave(uri.as_deref().filter(|uri| !uri.is_empty()).and_then(|uri| Url::parse(uri).ok()))
            }
            end = &mut self.session => {
                let reason = end.map_or_else(|error| error.to_string(), |end| end.to_string());
                Turn::Ended(reason)
            }
        };
        (turn, self.since.elapsed())
    }
}

/// A URL without what is nobody's business: query and user.
fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{port}{}", url.path())
    })
}

/// The relay asked to reconnect: at once, unless it has just done so. A relay that drains lets everybody in again for as
/// long as it is there.
fn after_goaway(backoff: &mut Backoff, lasted: Duration) -> Duration {
    if lasted < Backoff::SETTLED {
        return backoff.next_wait();
    }
    backoff.reset();
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_drains_is_not_hammered() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), 1);
        assert_eq!(after_goaway(&mut backoff, Backoff::SETTLED), Duration::ZERO);
        for least in [0.75, 1.5, 3.0] {
            assert!(after_goaway(&mut backoff, Duration::from_millis(1)).as_secs_f64() >= least);
        }
    }

    #[test]
    fn tokens_do_not_reach_the_log() {
        let url = Url::parse("https://user:pw@relay.example:4443/live?jwt=secret").expect("valid");
        assert_eq!(shown(&url), "https://relay.example:4443/live");
    }
}
