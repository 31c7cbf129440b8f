//! A UDP link that loses, delays and so reorders, the same way for the same seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How often a quiet direction looks whether the proxy has been dropped.
const IDLE: Duration = Duration::from_millis(50);
/// Larger than any datagram of the protocols under test.
const DATAGRAM: usize = 2048;
/// What precedes the payload of an SRT packet.
const SRT_HEADER: usize = 16;

/// What the link does to each datagram, independently.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// How many of 1000 are lost.
    pub loss_per_mille: u64,
    /// The shortest delay.
    pub delay_min: Duration,
    /// The longest delay; datagrams that draw a shorter one overtake.
    pub delay_max: Duration,
    /// Where the dice start.
    pub seed: u64,
}

/// The narrowest place of a link: datagrams wait for their turn there, and those that would wait for too long are lost.
#[derive(Clone, Copy, Debug)]
pub struct Narrow {
    /// What passes, bits per second of UDP payload.
    pub rate: u64,
    /// How long a datagram may wait at most.
    pub queue: Duration,
}

/// One SRT data packet on its way to the server.
#[derive(Clone, Debug)]
pub struct Passed {
    /// When it was handed to the server.
    pub at: SystemTime,
    /// What it carried.
    pub payload: Vec<u8>,
}

/// What went over the link from the client to the server, as SRT packets.
#[derive(Debug, Default)]
pub struct Counts {
    /// Data packets, first transmissions and repeated ones.
    pub data: AtomicU64,
    /// Data packets marked as retransmitted.
    pub resent: AtomicU64,
    /// Data packets lost, of either kind.
    pub lost: AtomicU64,
    /// Data packets that were passed on, in this order.
    pub passed: Mutex<Vec<Passed>>,
}

/// A proxy for one client. It runs until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy in front of `server`.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[must_use]
    pub fn start(server: SocketAddr, link: Link) -> Self {
        Self::narrow(server, link, None)
    }

    /// Starts a proxy in front of `server` whose way to the client is narrow.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[must_use]
    pub fn narrow(server: SocketAddr, link: Link, narrow: Option<Narrow>) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a free port"));
        let back = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a free port"));
        back.connect(server).expect("a local address");
        let address = front.local_addr().expect("it is bound");
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let client = Arc::new(Mutex::new(None));
        let up = Direction {
            from: front.clone(),
            to: To::Server(back.clone()),
            client: client.clone(),
            link,
            counts: Some(counts.clone()),
            stop: stop.clone(),
            narrow: None,
        };
        let seed = link.seed ^ u64::MAX;
        let down = Direction {
            from: back,
            to: To::Client(front),
            client,
            link: Link { seed, ..link },
            counts: None,
            stop: stop.clone(),
            narrow,
        };
        let threads = [up, down].map(|direction| std::thread::spawn(move || direction.run()));
        Self { address, counts, stop, threads: threads.into() }
    }

    /// Where the client connects.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// (data packets, retransmissions among them, data packets lost) so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.counts.data), read(&self.counts.resent), read(&self.counts.lost))
    }

    /// The data packets that were passed on so far.
    #[must_use]
    pub fn passed(&self) -> Vec<Passed> {
        self.counts.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

enum To {
    Server(Arc<UdpSocket>),
    Client(Arc<UdpSocket>),
}

struct Direction {
    from: Arc<UdpSocket>,
    to: To,
    client: Arc<Mutex<Option<SocketAddr>>>,
    link: Link,
    counts: Option<Arc<Counts>>,
    stop: Arc<AtomicBool>,
    narrow: Option<Narrow>,
}

impl Direction {
    fn run(&self) {
        let mut free = Instant::now();
        let mut dice = Dice(self.link.seed);
        let mut waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>> = BinaryHeap::new();
        let mut buffer = [0; DATAGRAM];
        let mut serial = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let due = waiting.peek().map_or(IDLE, |next| next.0.0.saturating_duration_since(Instant::now()));
            // Zero would mean no timeout at all.
            let timeout = due.clamp(Duration::from_micros(100), IDLE);
            self.from.set_read_timeout(Some(timeout)).expect("the timeout is not zero");
            match self.from.recv_from(&mut buffer) {
                Ok((length, peer)) => {
                    let delay = self.arrived(&buffer[..length], peer, &mut dice);
                    let turn = self.turn(length, &mut free);
                    if let Some(delay) = delay.and_then(|delay| Some(delay + turn?)) {
                        serial += 1;
                        waiting.push(Reverse((Instant::now() + delay, serial, buffer[..length].to_vec())));
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // The other side is not there (yet, or any more): as on a real link, nothing is heard of it.
                Err(_) => std::thread::park_timeout(timeout),
            }
            while waiting.peek().is_some_and(|next| next.0.0 <= Instant::now()) {
                if let Some(Reverse((_, _, datagram))) = waiting.pop() {
                    self.send(&datagram);
                }
            }
        }
    }

    /// Throws the dice for one datagram: how long it takes, or `None` when it is lost.
    fn arrived(&self, datagram: &[u8], peer: SocketAddr, dice: &mut Dice) -> Option<Duration> {
        let lost = dice.below(1000) < self.link.loss_per_mille;
        let span = self.link.delay_max.saturating_sub(self.link.delay_min).as_micros();
        let extra = dice.below(u64::try_from(span).unwrap_or(0) + 1);
        if let Some(counts) = &self.counts {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
            counts.note(datagram, lost);
        }
        (!lost).then(|| self.link.delay_min + Duration::from_micros(extra))
    }

    /// How long a datagram takes through the narrowest place, or `None` when too much waits there. `free` is when the last
    /// one is through.
    fn turn(&self, length: usize, free: &mut Instant) -> Option<Duration> {
        let Some(narrow) = self.narrow else { return Some(Duration::ZERO) };
        let now = Instant::now();
        let start = (*free).max(now);
        if start - now > narrow.queue {
            return None;
        }
        *free = start + Duration::from_micros(length as u64 * 8_000_000 / narrow.rate);
        Some(*free - now)
    }

    fn send(&self, datagram: &[u8]) {
        if let Some(counts) = &self.counts {
            counts.pass(datagram);
        }
        let _ = match &self.to {
            To::Server(socket) => socket.send(datagram),
            To::Client(socket) => match *self.client.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(client) => socket.send_to(datagram, client),
                None => Ok(0),
            },
        };
    }
}

impl Counts {
    /// An SRT data packet has a clear first bit; bit 26 of its second word says that it is sent again.
    fn note(&self, datagram: &[u8], lost: bool) {
        let &[first, _, _, _, flags, ..] = datagram else { return };
        if first & 0x80 != 0 {
            return;
        }
        self.data.fetch_add(1, Ordering::Relaxed);
        self.resent.fetch_add(u64::from(flags & 0x04 != 0), Ordering::Relaxed);
        self.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
    }
}

impl Counts {
    fn pass(&self, datagram: &[u8]) {
        if let Some(payload) = datagram.get(SRT_HEADER..).filter(|_| datagram[0] & 0x80 == 0) {
            let passed = Passed { at: SystemTime::now(), payload: payload.to_vec() };
            self.passed.lock().unwrap_or_else(PoisonError::into_inner).push(passed);
        }
    }
}

/// SplitMix64: enough for independent losses, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;

    const ONE_WAY: Duration = Duration::from_millis(5);

    #[test]
    fn a_clean_link_carries_both_ways() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        server.set_read_timeout(Some(wait::SOON)).expect("not zero");
        let link = Link { loss_per_mille: 0, delay_min: ONE_WAY, delay_max: ONE_WAY, seed: 1 };
        let proxy = Proxy::start(server.local_addr().expect("bound"), link);
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        client.set_read_timeout(Some(wait::SOON)).expect("not zero");
        client.send_to(&[0, 0, 0, 1, 0x04], proxy.address()).expect("sent");
        let mut buffer = [0; 16];
        let (length, from) = server.recv_from(&mut buffer).expect("it came through");
        assert_eq!(length, 5);
        server.send_to(b"back", from).expect("sent");
        assert_eq!(client.recv_from(&mut buffer).expect("it came back").0, 4);
        assert_eq!(proxy.counts(), (1, 1, 0));
    }

    #[test]
    fn the_dice_are_fair_enough() {
        let mut dice = Dice(7);
        let lost = (0..100_000).filter(|_| dice.below(1000) < 20).count();
        assert!((1800..2200).contains(&lost), "{lost} of 100000");
    }
}
