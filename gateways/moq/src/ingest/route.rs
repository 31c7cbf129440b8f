//! From what a peer says to what the origin keeps: routes, and from what readers want to what a peer is asked.

use std::time::Duration;

use moqgate_core::{Cost, Start, Subscription};

use crate::wire::{self, DOWNSTREAM_MAX, HOPS_MAX, Range, Terms, VARINT_MAX};

/// Least maximum age that we ask for. Released publishers leave out every group of a burst but the newest at 0, and
/// live viewers ask for 0; how old a group a viewer gets is decided where it is sent to the viewer.
const MAX_AGE_MIN: Duration = Duration::from_secs(1);

/// Who a session's announcements come from and go to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hops {
    /// Our own id: a chain that holds it is a loop.
    pub(super) own: u64,
    /// The responder's id from ANNOUNCE_OK, appended by us; `None` where the sender has appended it (03 and 04).
    pub(super) responder: Option<u64>,
    /// Stands for a publisher that does not say who it is.
    pub(super) anonymous: u64,
    /// Added to both costs.
    pub(super) cost: u64,
}

/// A usable way to a broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) hops: Vec<u64>,
    pub(super) cost: Cost,
}

impl Route {
    /// The chain as we see it. `None` if it comes from ourselves or is too long to be passed on: not an error.
    pub(super) fn new(route: wire::Route, hops: Hops) -> Option<Self> {
        let mut chain = route.hops;
        chain.extend(hops.responder);
        if chain.first().is_none_or(|publisher| *publisher == 0) {
            chain.insert(0, hops.anonymous);
        }
        if chain.contains(&hops.own) || chain.len() as u64 > HOPS_MAX {
            return None;
        }
        let add = |cost: u64| cost.saturating_add(hops.cost).min(VARINT_MAX);
        Some(Self { hops: chain, cost: Cost { warm: add(route.warm), cold: add(route.cold) } })
    }

    /// Identifies the content: as long as it is the same, subscriptions survive a change of route.
    pub(super) fn publisher(&self) -> Option<u64> {
        self.hops.first().copied()
    }
}

/// What to ask of the peer so that all readers of a track are served.
///
/// The end stays open: a released relay neither ends nor answers a subscription that has run out of its range, so
/// readers with an end are ended here, by the first group past it.
///
/// `counted`: the peer is told how many viewers there are.
pub(super) fn terms(subscription: Subscription, counted: bool) -> Terms {
    let start = match subscription.start {
        Start::From(sequence) => Some(sequence),
        Start::Latest | Start::WithinAge => None,
    };
    Terms {
        priority: subscription.priority,
        ordered: 0,
        max_age: subscription.max_age.max(MAX_AGE_MIN),
        range: Range { start, ..Range::default() },
        downstream: if counted { subscription.downstream.min(DOWNSTREAM_MAX) } else { 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOPS: Hops = Hops { own: 50, responder: Some(7), anonymous: 99, cost: 1 };

    fn check(hops: Hops, chain: &[u64], expected: Option<&[u64]>) {
        let route = Route::new(wire::Route::from_hops(chain.to_vec()), hops);
        assert_eq!(route.map(|route| route.hops).as_deref(), expected);
    }

    #[test]
    fn the_responder_is_appended() {
        check(HOPS, &[], Some(&[7]));
        check(HOPS, &[3], Some(&[3, 7]));
        check(Hops { responder: None, ..HOPS }, &[3, 7], Some(&[3, 7]));
    }

    #[test]
    fn who_does_not_say_gets_an_id() {
        check(Hops { responder: Some(0), ..HOPS }, &[], Some(&[99, 0]));
        check(Hops { responder: None, ..HOPS }, &[0, 0], Some(&[99, 0, 0]));
        check(Hops { responder: None, ..HOPS }, &[], Some(&[99]));
    }

    #[test]
    fn loops_and_endless_chains_are_dropped() {
        check(HOPS, &[3, 50, 4], None);
        check(Hops { responder: Some(50), ..HOPS }, &[], None);
        let chain: Vec<u64> = (100..132).collect();
        check(HOPS, &chain, None);
        check(Hops { responder: None, ..HOPS }, &chain, Some(&chain));
    }

    #[test]
    fn costs_add_up_and_saturate() {
        let cost = |warm, cold| {
            Route::new(wire::Route { hops: vec![], warm, cold }, Hops { cost: 3, ..HOPS }).unwrap().cost
        };
        assert_eq!(cost(0, 4), Cost { warm: 3, cold: 7 });
        assert_eq!(cost(0, VARINT_MAX), Cost { warm: 3, cold: VARINT_MAX });
    }

    #[test]
    fn readers_are_served_together() {
        let wanted = Subscription { start: Start::From(0), end: Some(9), ..Subscription::default() };
        assert_eq!(terms(wanted, true).range, Range { start: Some(0), ..Range::default() });
        assert_eq!(terms(wanted, true).max_age, MAX_AGE_MIN);
        let wanted = Subscription { max_age: Duration::from_secs(9), start: Start::From(4), ..wanted };
        assert_eq!(terms(wanted, true).max_age, Duration::from_secs(9));
        assert_eq!(terms(wanted, true).range.start, Some(4));
        for crowd in [7, 0] {
            let crowd = Subscription { downstream: crowd, ..wanted };
            assert_eq!(terms(crowd, true).downstream, crowd.downstream);
            assert_eq!(terms(crowd, false).downstream, 1);
        }
    }
}
