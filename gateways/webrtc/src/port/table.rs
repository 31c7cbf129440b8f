//! Who a datagram belongs to.
//!
//! A fragment of ours (`ice-ufrag`) is known only to the peer that was given it over HTTP, so a binding request that
//! names it says whose address that is. Everything else goes where its address goes. An address that works for one
//! peer is not given to another: somebody who knows only a fragment of their own could otherwise, with a forged
//! source, take another peer's media away.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::stun::Kind;

/// Most addresses of one peer: a laptop with several networks, a TURN relay and TCP has about ten.
const ADDRESSES_MAX: usize = 16;
/// After so long without a datagram an address may pass to another peer: a browser that opens a new session from the
/// port of one that it has just left.
const SILENT: Duration = Duration::from_secs(5);

/// Identifies a peer in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PeerId(u64);

/// The routes of one port. Pure; `R` is what datagrams are handed to.
#[derive(Debug)]
pub(crate) struct Table<R> {
    next: u64,
    fragments: HashMap<String, PeerId>,
    addresses: HashMap<SocketAddr, Owner>,
    peers: HashMap<PeerId, Peer<R>>,
}

#[derive(Debug)]
struct Owner {
    peer: PeerId,
    heard: Instant,
}

#[derive(Debug)]
struct Peer<R> {
    route: R,
    fragments: Vec<String>,
    addresses: Vec<SocketAddr>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self { next: 0, fragments: HashMap::new(), addresses: HashMap::new(), peers: HashMap::new() }
    }
}

impl<R> Table<R> {
    /// Enters a peer that has no name yet.
    pub(crate) fn insert(&mut self, route: R) -> PeerId {
        let id = PeerId(self.next);
        self.next += 1;
        self.peers.insert(id, Peer { route, fragments: Vec::new(), addresses: Vec::new() });
        id
    }

    /// Also calls a peer by `fragment`; of the names before, only the last one is still known, for an ICE restart.
    pub(crate) fn rename(&mut self, id: PeerId, fragment: &str) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.fragments.len() == 2 {
            self.fragments.remove(&peer.fragments.remove(0));
        }
        peer.fragments.push(fragment.to_owned());
        self.fragments.insert(fragment.to_owned(), id);
    }

    /// Forgets a peer and its addresses.
    pub(crate) fn remove(&mut self, id: PeerId) {
        let Some(peer) = self.peers.remove(&id) else { return };
        for fragment in peer.fragments {
            self.fragments.remove(&fragment);
        }
        for address in peer.addresses {
            self.addresses.remove(&address);
        }
    }

    /// Where a datagram of this kind from this address goes.
    pub(crate) fn route(&mut self, kind: Kind<'_>, from: SocketAddr, now: Instant) -> Option<&R> {
        let id = match kind {
            Kind::Check(fragment) => {
                let id = *self.fragments.get(fragment)?;
                self.confirm(id, from, now).then_some(id)?
            }
            Kind::Stun | Kind::Media => {
                let owner = self.addresses.get_mut(&from)?;
                owner.heard = now;
                owner.peer
            }
            Kind::Noise => return None,
        };
        self.peers.get(&id).map(|peer| &peer.route)
    }

    /// `id` said that it is at `from`. Whether that is its address now.
    fn confirm(&mut self, id: PeerId, from: SocketAddr, now: Instant) -> bool {
        match self.addresses.get_mut(&from) {
            Some(owner) if owner.peer == id => {
                owner.heard = now;
                return true;
            }
            Some(owner) if now.saturating_duration_since(owner.heard) < SILENT => return false,
            Some(owner) => {
                let before = owner.peer;
                if let Some(peer) = self.peers.get_mut(&before) {
                    peer.addresses.retain(|address| *address != from);
                }
            }
            None => {}
        }
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        if peer.addresses.len() == ADDRESSES_MAX {
            self.addresses.remove(&peer.addresses.remove(0));
        }
        peer.addresses.push(from);
        self.addresses.insert(from, Owner { peer: id, heard: now });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn enter(table: &mut Table<char>, fragment: &str, route: char) -> PeerId {
        let id = table.insert(route);
        table.rename(id, fragment);
        id
    }

    #[test]
    fn media_follows_the_address_that_a_check_confirmed() {
        let (mut table, now) = (Table::default(), Instant::now());
        enter(&mut table, "a", 'a');
        enter(&mut table, "b", 'b');
        assert_eq!(table.route(Kind::Media, at(1), now), None);
        assert_eq!(table.route(Kind::Check("b"), at(1), now), Some(&'b'));
        assert_eq!(table.route(Kind::Media, at(1), now), Some(&'b'));
        assert_eq!(table.route(Kind::Check("nobody"), at(2), now), None);
        assert_eq!(table.route(Kind::Noise, at(1), now), None);
    }

    #[test]
    fn a_forged_source_does_not_take_a_peer_s_address() {
        let (mut table, now) = (Table::default(), Instant::now());
        enter(&mut table, "victim", 'v');
        enter(&mut table, "thief", 't');
        table.route(Kind::Check("victim"), at(1), now);
        assert_eq!(table.route(Kind::Check("thief"), at(1), now), None);
        assert_eq!(table.route(Kind::Media, at(1), now + SILENT / 2), Some(&'v'));
        assert_eq!(table.route(Kind::Check("thief"), at(1), now + SILENT), None, "it was heard meanwhile");
        let later = now + 2 * SILENT;
        assert_eq!(table.route(Kind::Check("thief"), at(1), later), Some(&'t'), "silent addresses pass on");
    }

    #[test]
    fn what_a_peer_holds_is_bounded_and_goes_with_it() {
        let (mut table, now) = (Table::default(), Instant::now());
        let peer = enter(&mut table, "a", 'a');
        for port in 0..100 {
            assert_eq!(table.route(Kind::Check("a"), at(port), now), Some(&'a'));
        }
        assert_eq!(table.addresses.len(), ADDRESSES_MAX);
        for fragment in ["b", "c", "d"] {
            table.rename(peer, fragment);
        }
        assert_eq!(table.fragments.len(), 2);
        assert_eq!(table.route(Kind::Check("b"), at(0), now), None);
        table.remove(peer);
        assert!(table.addresses.is_empty() && table.fragments.is_empty() && table.peers.is_empty());
    }
}
