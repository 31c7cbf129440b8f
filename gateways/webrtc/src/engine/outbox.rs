//! Datagrams on their way out: those of one size to one address leave in one call (GSO).

use std::net::SocketAddr;

use bytes::BytesMut;

use crate::port::Shared;

/// Largest run: what one UDP datagram may have, which is what the kernel takes at once.
const RUN_MAX: usize = 65_000;

pub(super) struct Outbox<'a> {
    port: &'a Shared,
    run: Option<Run>,
}

struct Run {
    datagrams: BytesMut,
    to: SocketAddr,
    /// Size of each but the last.
    segment: usize,
    count: usize,
}

impl Run {
    /// Whether `datagram` may stand behind the others.
    fn takes(&self, datagram: &[u8], to: SocketAddr, most: usize) -> bool {
        self.to == to
            && self.count < most
            && datagram.len() <= self.segment
            && self.datagrams.len() == self.count * self.segment
            && self.datagrams.len() + datagram.len() <= RUN_MAX
    }
}

impl<'a> Outbox<'a> {
    pub(super) fn new(port: &'a Shared) -> Self {
        Self { port, run: None }
    }

    pub(super) fn push(&mut self, datagram: BytesMut, to: SocketAddr) {
        match &mut self.run {
            Some(run) if run.takes(&datagram, to, self.port.max_segments()) => {
                run.datagrams.extend_from_slice(&datagram);
                run.count += 1;
            }
            _ => {
                self.leave();
                self.run = Some(Run { segment: datagram.len(), datagrams: datagram, to, count: 1 });
            }
        }
    }

    fn leave(&mut self) {
        if let Some(run) = self.run.take() {
            let segment = (run.count > 1).then_some(run.segment);
            self.port.send(&run.datagrams, segment, run.to);
        }
    }
}

impl Drop for Outbox<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All but the last datagram of a run have one size.
    #[test]
    fn a_run_ends_with_the_first_shorter_datagram() {
        let (to, other) = (SocketAddr::from(([192, 0, 2, 1], 1)), SocketAddr::from(([192, 0, 2, 1], 2)));
        let mut run = Run { datagrams: BytesMut::from(&[0; 10][..]), to, segment: 10, count: 1 };
        assert!(run.takes(&[0; 10], to, 64) && run.takes(&[0; 3], to, 64));
        assert!(!run.takes(&[0; 11], to, 64), "longer");
        assert!(!run.takes(&[0; 10], other, 64), "to somebody else");
        assert!(!run.takes(&[0; 10], to, 1), "more than the socket takes");
        run.datagrams.extend_from_slice(&[0; 3]);
        run.count += 1;
        assert!(!run.takes(&[0; 3], to, 64), "behind a shorter one");
    }
}
