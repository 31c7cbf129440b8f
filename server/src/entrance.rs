//! The admission of this process: the policy, shut while draining, with every refusal counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use moqgate_core::{Admission, AdmissionFuture, Denied, DenyReason, Direction, Grant, Protocol, Request};

use crate::admission::{Policy, Supervisor};
use crate::config::Network;
use crate::readiness::Readiness;

/// Refusals so far, by protocol and reason. Clones share one count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<BTreeMap<(Protocol, DenyReason), u64>>>);

impl Refusals {
    /// A reading, sorted by protocol and reason.
    pub(crate) fn totals(&self) -> BTreeMap<(Protocol, DenyReason), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, protocol: Protocol, reason: DenyReason) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((protocol, reason)).or_default() += 1;
    }
}

/// The policy, as long as this process takes sessions at all.
#[derive(Debug)]
pub(crate) struct Entrance {
    policy: Policy,
    supervisor: Supervisor,
    readiness: Readiness,
    refusals: Refusals,
    /// Where relays are whose word is taken for how many viewers are behind them.
    relays: Vec<Network>,
}

impl Entrance {
    /// An entrance that shuts when `readiness` drains.
    pub(crate) fn new(
        policy: Policy,
        supervisor: Supervisor,
        readiness: Readiness,
        refusals: Refusals,
        relays: Vec<Network>,
    ) -> Self {
        Self { policy, supervisor, readiness, refusals, relays }
    }

    async fn decide(&self, request: &Request) -> Result<Grant, Denied> {
        if self.readiness.is_draining() {
            return Err(Denied { reason: DenyReason::Unavailable, detail: "moqgate is stopping".to_owned() });
        }
        if request.path.is_root() && request.direction != Direction::Both {
            return Err(Denied {
                reason: DenyReason::BadRequest,
                detail: "no broadcast is named".to_owned(),
            });
        }
        let mut grant = self.policy.decide(request, SystemTime::now()).await?;
        grant.relay |= self.relays.iter().any(|network| network.contains(request.peer.ip()));
        self.supervisor.admit(request, &grant, Instant::now())?;
        Ok(grant)
    }
}

impl Admission for Entrance {
    fn admit<'a>(&'a self, request: &'a Request) -> AdmissionFuture<'a> {
        Box::pin(async move {
            let decision = self.decide(request).await;
            decision.inspect_err(|denied| self.refusals.count(request.protocol, denied.reason))
        })
    }
}

#[cfg(test)]
mod tests {
    use moqgate_core::{Credential, Origin, OriginConfig, Path};

    use super::*;

    fn open(readiness: Readiness, refusals: Refusals, relays: Vec<Network>) -> Entrance {
        let supervisor = Supervisor::new(Origin::new(OriginConfig::default()), None);
        Entrance::new(Policy::default(), supervisor, readiness, refusals, relays)
    }

    fn request(path: &str, protocol: Protocol) -> Request {
        Request {
            protocol,
            direction: Direction::Publish,
            path: Path::new(path).expect("a right path"),
            credential: Credential::None,
            peer: ([127, 0, 0, 1], 1).into(),
        }
    }

    #[tokio::test]
    async fn it_is_open_until_it_drains() {
        let (readiness, refusals) = (Readiness::default(), Refusals::default());
        let entrance = open(readiness.clone(), refusals.clone(), Vec::new());
        let grant = entrance.admit(&request("live/a", Protocol::Srt)).await.expect("open");
        assert!(grant.may_publish(&Path::new("live/a").expect("a right path")));
        assert_eq!(refusals.totals(), BTreeMap::new());

        readiness.drain();
        let denied = entrance.admit(&request("live/a", Protocol::Srt)).await.expect_err("shut");
        assert_eq!(denied.reason, DenyReason::Unavailable);
        assert_eq!(refusals.totals(), BTreeMap::from([((Protocol::Srt, DenyReason::Unavailable), 1)]));
    }

    #[tokio::test]
    async fn relays_are_believed_where_they_are() {
        let relays = vec!["127.0.0.0/8".parse().expect("a network")];
        let entrance = open(Readiness::default(), Refusals::default(), relays);
        let mut request = request("live/a", Protocol::Moq);
        assert!(entrance.admit(&request).await.expect("open").relay);
        request.peer = ([192, 0, 2, 1], 1).into();
        assert!(!entrance.admit(&request).await.expect("open").relay);
    }

    #[tokio::test]
    async fn a_publisher_names_a_broadcast() {
        let entrance = open(Readiness::default(), Refusals::default(), Vec::new());
        let denied = entrance.admit(&request("", Protocol::Srt)).await.expect_err("nothing named");
        assert_eq!(denied.reason, DenyReason::BadRequest);
    }
}
