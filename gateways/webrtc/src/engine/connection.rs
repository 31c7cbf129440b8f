//! A connection of the library and where it stands: datagrams and time in, datagrams out.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::sansio::Protocol as _;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use tokio::sync::watch;

use super::{EngineError, State};

/// By which addresses the library knows the port, one of each family. They are names: no packet carries them.
const NAMES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 9),
];
/// A deadline that has passed is handled no more often: timers of these protocols count milliseconds.
const TICK: Duration = Duration::from_millis(1);
/// The first byte of a DTLS record (RFC 7983 section 7).
const DTLS: RangeInclusive<u8> = 20..=63;

pub(super) struct Connection {
    library: RTCPeerConnection,
    state: watch::Sender<State>,
}

impl Connection {
    pub(super) fn new(library: RTCPeerConnection) -> Self {
        Self { library, state: watch::Sender::new(State::Connecting) }
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Applies an offer. Gives the answer as the library writes it.
    pub(super) fn answer(&mut self, offer: String, now: Instant) -> Result<String, EngineError> {
        self.library.set_remote_description(now, RTCSessionDescription::offer(offer)?)?;
        let answer = self.library.create_answer(None)?;
        let text = answer.sdp.clone();
        self.library.set_local_description(now, answer)?;
        for name in NAMES {
            let candidate = format!("candidate:1 1 udp 2130706431 {} {} typ host", name.ip(), name.port());
            let candidate = RTCIceCandidateInit { candidate, ..RTCIceCandidateInit::default() };
            self.library.add_local_candidate(candidate)?;
        }
        self.settle();
        Ok(text)
    }

    /// Takes datagrams. What is to be sent for them waits in [`Connection::poll_transmit`].
    pub(super) fn handle(&mut self, datagrams: &mut VecDeque<(BytesMut, SocketAddr)>, now: Instant) {
        for (message, peer_addr) in datagrams.drain(..) {
            let is_record = message.first().is_some_and(|first| DTLS.contains(first));
            let local_addr = if peer_addr.is_ipv4() { NAMES[0] } else { NAMES[1] };
            let transport_protocol = TransportProtocol::UDP;
            let transport = TransportContext { local_addr, peer_addr, transport_protocol, ecn: None };
            // What a stranger sends may be anything.
            self.library.handle_read(TaggedBytesMut { now, transport, message }).ok();
            if is_record {
                // Its last record brings the keys, and a publisher sends media right behind it.
                self.settle();
            }
        }
        self.settle();
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        // What went wrong shows in the state.
        self.library.handle_timeout(now).ok();
        self.settle();
    }

    /// What to send next, and where. Take all of it after everything that is done here.
    pub(super) fn poll_transmit(&mut self) -> Option<(BytesMut, SocketAddr)> {
        let datagram = self.library.poll_write()?;
        Some((datagram.message, datagram.transport.peer_addr))
    }

    /// When [`Connection::handle_timeout`] has something to do, not before a moment from `now`.
    pub(super) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.library.poll_timeout().map(|due| due.max(now + TICK))
    }

    /// Says goodbye.
    pub(super) fn close(&mut self) {
        // There is nobody to tell, and nothing to do about it.
        self.library.close().ok();
    }

    /// Follows the library's state.
    fn settle(&mut self) {
        while let Some(event) = self.library.poll_event() {
            let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event else { continue };
            let state = if state == RTCPeerConnectionState::Connected {
                State::Connected
            } else if matches!(state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed) {
                State::Gone
            } else {
                continue;
            };
            self.state.send_if_modified(|now| *now != State::Gone && std::mem::replace(now, state) != state);
        }
        // Media leaves the chain before its end; data channels that a remote opens lead nowhere.
        while self.library.poll_read().is_some() {}
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
