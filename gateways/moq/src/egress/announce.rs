//! ANNOUNCE: what there is to watch.

use std::collections::HashMap;

use bytes::BytesMut;
use moqgate_core::{Announcement as Change, Announcements, BroadcastConsumer, Path};

use crate::link::Link;
use crate::transport::{Reader, SendStream};
use crate::wire::{AnnounceOk, AnnounceRequest, Announcing, HOPS_MAX, Message as _, Route, stream_code};

/// Answers one ANNOUNCE_REQUEST, until the peer takes it back.
pub(crate) async fn serve(link: &Link, mut reply: SendStream, mut request: Reader) {
    let asked = match request.message::<AnnounceRequest>().await {
        Ok(Some(asked)) => asked,
        Ok(None) => return reply.finish(),
        Err(fault) => return super::refuse_unreadable(reply, fault, stream_code::CANCELLED),
    };
    let Some(prefix) = link.absolute(&asked.prefix) else { return reply.reset(stream_code::CANCELLED) };
    let exclude =
        if link.version.has_exclude_hop() { asked.exclude_hop } else { link.peer.hop().unwrap_or(0) };
    let mut listing = Listing {
        link,
        exclude,
        changes: link.peer_watches().then(|| link.consumer.announced(&prefix)),
        prefix,
        book: Announcing::new(link.version),
        held: HashMap::new(),
    };
    let mut out = BytesMut::new();
    listing.begin(&mut out);
    loop {
        if !out.is_empty() && reply.write(out.split().freeze()).await.is_err() {
            return;
        }
        tokio::select! {
            biased;
            // A FIN is how to stop announcing; a RESET of this half would end the session of released peers.
            _over = request.end() => return reply.finish(),
            change = listing.next() => listing.apply(change, &mut out),
        }
        listing.drain(&mut out);
    }
}

/// What the peer was told, and what it is told next.
struct Listing<'a> {
    link: &'a Link,
    prefix: Path,
    /// Routes through this node are not announced; 0 is none.
    exclude: u64,
    /// None for a peer that only publishes.
    changes: Option<Announcements>,
    book: Announcing,
    /// Holding the consumer is what makes a broadcast listed for the session.
    held: HashMap<Path, BroadcastConsumer>,
}

impl Listing<'_> {
    /// The initial set, which 05 and later count beforehand.
    fn begin(&mut self, out: &mut BytesMut) {
        let mut set = BytesMut::new();
        self.drain(&mut set);
        if self.link.version.has_announce_ok() {
            let active = self.held.len() as u64;
            AnnounceOk { hop: self.link.hop, active }.encode(out, self.link.version);
        }
        out.extend_from_slice(&set);
    }

    async fn next(&mut self) -> Change {
        match &mut self.changes {
            Some(changes) => changes.next().await,
            None => std::future::pending().await,
        }
    }

    /// Everything that is known already, so that a burst of changes is one write.
    fn drain(&mut self, out: &mut BytesMut) {
        while let Some(change) = self.changes.as_mut().and_then(Announcements::try_next) {
            self.apply(change, out);
        }
    }

    fn apply(&mut self, change: Change, out: &mut BytesMut) {
        match change {
            Change::Started(broadcast) | Change::Rerouted(broadcast) => self.announce(broadcast, out),
            Change::Ended(path) => self.end(&path, out),
        }
    }

    fn announce(&mut self, broadcast: BroadcastConsumer, out: &mut BytesMut) {
        let path = broadcast.info().path().clone();
        let Some(suffix) = path.strip_prefix(&self.prefix).filter(|suffix| !is_hidden(suffix)) else {
            return;
        };
        let Some(route) = self.route(&broadcast) else { return self.end(&path, out) };
        for message in self.book.announce(suffix.as_str(), route) {
            message.encode(out, self.link.version);
        }
        self.held.insert(path, broadcast);
    }

    fn end(&mut self, path: &Path, out: &mut BytesMut) {
        let Some(suffix) = path.strip_prefix(&self.prefix) else { return };
        if let Some(message) = self.book.end(suffix.as_str()) {
            message.encode(out, self.link.version);
        }
        self.held.remove(path);
    }

    /// The route as this version states it. `None`: not for this peer, which is on it itself, or too long.
    fn route(&self, broadcast: &BroadcastConsumer) -> Option<Route> {
        let moqgate_core::Route { mut hops, cost } = broadcast.route();
        if self.exclude != 0 && hops.contains(&self.exclude) {
            return None;
        }
        // Since 05 the receiver appends our hop, before we do.
        if !self.link.version.has_announce_ok() {
            hops.push(self.link.hop);
        }
        let fits = hops.len() as u64 <= HOPS_MAX;
        fits.then_some(Route { hops, warm: cost.warm, cold: cost.cold })
    }
}

/// A segment that begins with a dot keeps a broadcast out of listings, unless the prefix named it.
fn is_hidden(suffix: &Path) -> bool {
    suffix.segments().any(|segment| segment.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_hide() {
        let path = |text| Path::new(text).expect("valid");
        assert!(is_hidden(&path(".stats/node")));
        assert!(is_hidden(&path("a/.b/c")));
        assert!(!is_hidden(&path("a.b/c.hang")));
        assert!(!is_hidden(&Path::root()));
    }
}
