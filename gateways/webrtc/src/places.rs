//! How many sessions there are, and from where.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moqgate_core::place;

use crate::config::Config;

/// The counts of one listener.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    max_here: usize,
    max_pending: usize,
    max_pending_here: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: Here,
    places: HashMap<IpAddr, Here>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Here {
    sessions: usize,
    pending: usize,
}

/// One session's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    places: Arc<Places>,
    place: IpAddr,
    pending: bool,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            max: config.max_sessions,
            max_here: config.max_sessions_per_place,
            max_pending: config.max_pending,
            max_pending_here: config.max_pending_per_place,
            counts: Mutex::default(),
        }
    }

    /// Counts a session of a client at `address`, which is not connected yet. `None`: there are too many.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let place = place(address);
        let mut counts = self.lock();
        let (all, here) = (counts.all, counts.places.get(&place).copied().unwrap_or_default());
        let full = all.sessions >= self.max
            || here.sessions >= self.max_here
            || all.pending >= self.max_pending
            || here.pending >= self.max_pending_here;
        if full {
            return None;
        }
        for count in counts.of(place) {
            count.sessions += 1;
            count.pending += 1;
        }
        Some(Seat { places: Arc::clone(self), place, pending: true })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of(&mut self, place: IpAddr) -> [&mut Here; 2] {
        [&mut self.all, self.places.entry(place).or_default()]
    }
}

impl Seat {
    /// The session is connected.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.pending) {
            let mut counts = self.places.lock();
            for count in counts.of(self.place) {
                count.pending -= 1;
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.settle();
        let mut counts = self.places.lock();
        for count in counts.of(self.place) {
            count.sessions -= 1;
        }
        if counts.places.get(&self.place).is_some_and(|here| here.sessions == 0) {
            counts.places.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn limits_hold_and_seats_come_back() {
        let config = Config {
            max_sessions: 4,
            max_sessions_per_place: 3,
            max_pending: 3,
            max_pending_per_place: 2,
            ..Config::default()
        };
        let places = Arc::new(Places::new(&config));
        let home = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, n, 0, 0, 1));
        let away = IpAddr::from([192, 0, 2, 1]);
        let mut first = places.take(home(1)).expect("room");
        let second = places.take(home(2)).expect("room");
        assert!(places.take(home(3)).is_none(), "one /64 is one place");
        let other = places.take(away).expect("room");
        assert!(places.take(away).is_none(), "three in all");
        first.settle();
        first.settle();
        let third = places.take(home(3)).expect("room");
        assert!(places.take(away).is_none());
        drop((first, second, third, other));
        let counts = places.lock();
        assert_eq!((counts.places.len(), counts.all.sessions, counts.all.pending), (0, 0, 0));
    }
}
