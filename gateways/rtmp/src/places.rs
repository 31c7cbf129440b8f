//! How many connections there are, and from where.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moqgate_core::place;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::metrics::Turned;

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
    /// Whoever does nothing yet, by age.
    pending: BTreeMap<u64, Pending>,
    /// The age of the next one.
    next: u64,
}

#[derive(Debug)]
struct Pending {
    place: IpAddr,
    evicted: CancellationToken,
}

#[derive(Debug, Default, Clone, Copy)]
struct Here {
    connections: usize,
    pending: usize,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    places: Arc<Places>,
    place: IpAddr,
    age: u64,
    evicted: CancellationToken,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            max: config.max_connections,
            max_here: config.max_connections_per_place,
            max_pending: config.max_pending,
            max_pending_here: config.max_pending_per_place,
            counts: Mutex::default(),
        }
    }

    /// Counts a connection from `address`, which does nothing yet. Where too many do nothing, the oldest of them makes
    /// room: many addresses together must not shut the port for everybody else.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Turned> {
        let place = place(address);
        let mut counts = self.lock();
        let (all, here) = (counts.all, counts.places.get(&place).copied().unwrap_or_default());
        if all.connections >= self.max {
            return Err(Turned::Connections);
        }
        if here.connections >= self.max_here {
            return Err(Turned::Place);
        }
        if here.pending >= self.max_pending_here || self.max_pending == 0 {
            return Err(Turned::Pending);
        }
        if all.pending >= self.max_pending {
            counts.evict_oldest();
        }
        for count in counts.of(place) {
            count.connections += 1;
            count.pending += 1;
        }
        let (age, evicted) = (counts.next, CancellationToken::new());
        counts.next += 1;
        counts.pending.insert(age, Pending { place, evicted: evicted.clone() });
        Ok(Seat { places: Arc::clone(self), place, age, evicted })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of(&mut self, place: IpAddr) -> [&mut Here; 2] {
        [&mut self.all, self.places.entry(place).or_default()]
    }

    fn settle(&mut self, age: u64) -> Option<Pending> {
        let pending = self.pending.remove(&age)?;
        for count in self.of(pending.place) {
            count.pending -= 1;
        }
        Some(pending)
    }

    fn evict_oldest(&mut self) {
        let oldest = self.pending.first_key_value().map(|(age, _)| *age);
        if let Some(pending) = oldest.and_then(|age| self.settle(age)) {
            pending.evicted.cancel();
        }
    }
}

impl Seat {
    /// The connection publishes or plays.
    pub(crate) fn settle(&mut self) {
        self.places.lock().settle(self.age);
    }

    /// Cancelled when the connection has to make room, which it never has to once it has settled.
    pub(crate) fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.places.lock();
        counts.settle(self.age);
        for count in counts.of(self.place) {
            count.connections -= 1;
        }
        if counts.places.get(&self.place).is_some_and(|here| here.connections == 0) {
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
            max_connections: 4,
            max_connections_per_place: 3,
            max_pending: 3,
            max_pending_per_place: 2,
            ..Config::default()
        };
        let places = Arc::new(Places::new(&config));
        let home = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, n, 0, 0, 1));
        let away = IpAddr::from([192, 0, 2, 1]);
        let mut first = places.take(home(1)).expect("room");
        let second = places.take(home(2)).expect("room");
        // One /64 is one place.
        assert_eq!(places.take(home(3)).err(), Some(Turned::Pending));
        let other = places.take(away).expect("room");
        // Three in all: the oldest one makes room.
        let newest = places.take(away).expect("room");
        assert!(first.evicted().is_cancelled() && !second.evicted().is_cancelled());
        drop(newest);
        first.settle();
        first.settle();
        let mut third = places.take(home(3)).expect("room");
        assert_eq!(places.take(away).err(), Some(Turned::Connections));
        third.settle();
        drop(other);
        assert_eq!(places.take(home(4)).err(), Some(Turned::Place));
        drop((first, second, third));
        let counts = places.lock();
        assert_eq!((counts.places.len(), counts.all.connections, counts.all.pending), (0, 0, 0));
        assert!(counts.pending.is_empty());
    }
}
