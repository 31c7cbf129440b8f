//! Guessing: a place that shows one wrong credential after the other is not listened to for a while.
//!
//! The same wrong credential again and again is an encoder with a typing error, and costs nobody else at that address
//! anything.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use moqgate_core::place;

use super::keys::Digest;

/// Different wrong credentials in one [`WINDOW`]: more than a person mistypes.
const FAILURES_MAX: usize = 10;
/// How long failures are remembered, from the first one on.
const WINDOW: Duration = Duration::from_secs(60);
/// Places that are remembered. When there are more, the one that began first is forgotten.
const PLACES_MAX: usize = 4096;

/// Who failed.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    by_place: HashMap<IpAddr, Failures>,
    /// In the order in which they began.
    order: VecDeque<(Instant, IpAddr)>,
}

#[derive(Debug)]
struct Failures {
    since: Instant,
    /// The beginnings of the digests of what was shown.
    shown: BTreeSet<u64>,
}

impl Throttle {
    /// How long the place of `peer` has to wait, if it has to.
    pub(super) fn wait(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.forget(now);
        let failures = places.by_place.get(&place(peer))?;
        (failures.shown.len() >= FAILURES_MAX).then(|| (failures.since + WINDOW).duration_since(now))
    }

    /// A credential was wrong.
    pub(super) fn failed(&self, peer: IpAddr, shown: &Digest, now: Instant) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.forget(now);
        let place = place(peer);
        if !places.by_place.contains_key(&place) {
            while places.by_place.len() >= PLACES_MAX {
                let Some((_, oldest)) = places.order.pop_front() else { break };
                places.by_place.remove(&oldest);
            }
            places.order.push_back((now, place));
        }
        let failures =
            places.by_place.entry(place).or_insert_with(|| Failures { since: now, shown: BTreeSet::new() });
        if failures.shown.len() < FAILURES_MAX {
            let beginning = shown.iter().take(8).fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
            failures.shown.insert(beginning);
        }
    }
}

impl Places {
    fn forget(&mut self, now: Instant) {
        while let Some((since, place)) = self.order.front().copied() {
            if now.saturating_duration_since(since) < WINDOW {
                break;
            }
            self.order.pop_front();
            self.by_place.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::keys::digest;
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn many_guesses_have_to_wait_and_one_typing_error_has_not() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..1000 {
            throttle.failed(ip(1), &digest("typo"), now);
        }
        assert_eq!(throttle.wait(ip(1), now), None);
        for guess in 0..FAILURES_MAX {
            assert_eq!(throttle.wait(ip(2), now), None);
            throttle.failed(ip(2), &digest(&guess.to_string()), now + Duration::from_secs(1));
        }
        let wait = throttle.wait(ip(2), now + Duration::from_secs(11)).expect("too many");
        assert_eq!(wait, Duration::from_secs(50));
        assert_eq!(throttle.wait(ip(3), now), None, "others are not concerned");
        assert_eq!(throttle.wait(ip(2), now + Duration::from_secs(61)), None, "a minute later it may again");
    }

    #[test]
    fn a_network_is_one_place_and_places_are_bounded() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for guess in 0..u16::try_from(FAILURES_MAX).expect("few") {
            throttle.failed(
                Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, guess).into(),
                &digest(&guess.to_string()),
                now,
            );
        }
        assert!(throttle.wait(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 9, 9, 9, 9).into(), now).is_some());
        assert!(throttle.wait(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0).into(), now).is_none());
        for number in 0..10_000u32 {
            throttle.failed(IpAddr::V4(number.to_be_bytes().into()), &digest("x"), now);
        }
        let places = throttle.0.lock().unwrap();
        assert_eq!((places.by_place.len(), places.order.len()), (PLACES_MAX, PLACES_MAX));
    }
}
