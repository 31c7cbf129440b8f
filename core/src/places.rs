//! How many connections there are, and from where.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What limits are counted by: an IPv4 address, or the /64 of an IPv6 address, which is what one customer of a provider
/// has. An IPv4 address in IPv6 clothes is itself.
#[must_use]
pub fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// How many connections a listener holds at once. Those that are pending have not shown yet what they are here for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLimits {
    /// All of them.
    pub all: usize,
    /// From one [`place`].
    pub here: usize,
    /// Pending ones. Beyond it the oldest makes room.
    pub pending: usize,
    /// Pending ones from one place.
    pub pending_here: usize,
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Full {
    /// The limit of all connections.
    All,
    /// The limit of connections from one place.
    Place,
    /// The limit of pending connections from one place.
    Pending,
}

impl Full {
    /// Every reason, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::All, Self::Place, Self::Pending];

    /// Metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "connections",
            Self::Place => "place",
            Self::Pending => "pending",
        }
    }
}

/// The connections of one listener, as far as limits need them.
#[derive(Debug)]
pub struct Places {
    limits: PlaceLimits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: Here,
    places: HashMap<IpAddr, Here>,
    /// By age.
    pending: BTreeMap<u64, Pending>,
    /// The age of the next one.
    next: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Here {
    connections: usize,
    pending: usize,
}

#[derive(Debug)]
struct Pending {
    place: IpAddr,
    eviction: Eviction,
}

/// One connection's place, pending at first; free again when dropped.
#[derive(Debug)]
pub struct Seat {
    places: Arc<Places>,
    place: IpAddr,
    age: u64,
    eviction: Eviction,
}

/// Tells the owner of a pending connection that it has to make room, which one that has settled never has to.
///
/// Clones stand for the same connection; the one that polled last is woken.
#[derive(Debug, Clone, Default)]
pub struct Eviction(Arc<Mutex<Evicted>>);

#[derive(Debug, Default)]
struct Evicted {
    is: bool,
    waker: Option<Waker>,
}

impl Places {
    /// Nobody yet.
    #[must_use]
    pub fn new(limits: PlaceLimits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// Counts a connection from `address`, pending. Where too many are, the oldest of them makes room: many addresses
    /// together must not shut the port for everybody else.
    ///
    /// # Errors
    ///
    /// [`Full`] where a limit is reached that nobody makes room for.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Full> {
        let (place, limits) = (place(address), self.limits);
        let mut counts = self.lock();
        let (all, here) = (counts.all, counts.places.get(&place).copied().unwrap_or_default());
        if all.connections >= limits.all {
            return Err(Full::All);
        }
        if here.connections >= limits.here {
            return Err(Full::Place);
        }
        if here.pending >= limits.pending_here || limits.pending == 0 {
            return Err(Full::Pending);
        }
        let evicted = (all.pending >= limits.pending).then(|| counts.settle_oldest()).flatten();
        for count in counts.of(place) {
            count.connections += 1;
            count.pending += 1;
        }
        let (age, eviction) = (counts.next, Eviction::default());
        counts.next += 1;
        counts.pending.insert(age, Pending { place, eviction: eviction.clone() });
        drop(counts);
        if let Some(pending) = evicted {
            pending.eviction.evict();
        }
        Ok(Seat { places: Arc::clone(self), place, age, eviction })
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

    fn settle_oldest(&mut self) -> Option<Pending> {
        let age = *self.pending.first_key_value()?.0;
        self.settle(age)
    }
}

impl Seat {
    /// The connection has shown what it is here for.
    pub fn settle(&mut self) {
        self.places.lock().settle(self.age);
    }

    /// To be watched until the connection has settled.
    #[must_use]
    pub fn eviction(&self) -> Eviction {
        self.eviction.clone()
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

impl Eviction {
    /// Ready once the connection has to make room.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut evicted = self.lock();
        if evicted.is {
            return Poll::Ready(());
        }
        evicted.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn evict(&self) {
        let waker = {
            let mut evicted = self.lock();
            evicted.is = true;
            evicted.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Evicted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_evicted(seat: &Seat) -> bool {
        seat.eviction().poll(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn limits_hold_and_seats_come_back() {
        let places = Places::new(PlaceLimits { all: 4, here: 3, pending: 3, pending_here: 2 });
        let home = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, n, 0, 0, 1));
        let away = IpAddr::from([192, 0, 2, 1]);
        let mut first = places.take(home(1)).expect("room");
        let second = places.take(home(2)).expect("room");
        // One /64 is one place.
        assert_eq!(places.take(home(3)).err(), Some(Full::Pending));
        let other = places.take(away).expect("room");
        // Three in all: the oldest one makes room.
        let newest = places.take(away).expect("room");
        assert!(is_evicted(&first) && !is_evicted(&second));
        drop(newest);
        first.settle();
        first.settle();
        let mut third = places.take(home(3)).expect("room");
        assert_eq!(places.take(away).err(), Some(Full::All));
        third.settle();
        drop(other);
        assert_eq!(places.take(home(4)).err(), Some(Full::Place));
        drop((first, second, third));
        let counts = places.lock();
        assert_eq!((counts.places.len(), counts.all.connections, counts.all.pending), (0, 0, 0));
        assert!(counts.pending.is_empty());
    }
}
