//! The only module that knows the WebRTC library: ICE, DTLS, SRTP, RTCP and the application of descriptions.
//!
//! A [`Peer`] is one connection. It has no socket: datagrams come from its inbox on the shared port and leave through
//! it. It never gathers candidates of its own and never looks for those of the remote (ICE lite, RFC 8445 section 2.5):
//! the remote checks, and the address that it checks from is where media goes.

mod estimate;
mod pace;
mod repair;
mod runtime;
mod setup;
mod socket;
mod tap;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use moqgate_mux::rtp::Packet as Media;
use tokio::sync::watch;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionEventHandler, RTCPeerConnectionState, RTCSessionDescription,
};

use crate::port::Berth;
use crate::sdp::{Offer, Payload};
use runtime::Surroundings;
use tap::Queues;

pub(crate) use setup::Engine;
pub(crate) use tap::Report;

/// Why a description could not be applied. The text is the library's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct EngineError(String);

impl From<webrtc::error::Error> for EngineError {
    fn from(error: webrtc::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Checks and handshake.
    Connecting,
    /// Media may flow.
    Connected,
    /// It ended, from there or by silence.
    Gone,
}

/// Ids of header extensions that tell streams apart (RFC 8843, RFC 8852).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extensions {
    /// Of the media section's name.
    pub(crate) mid: Option<u8>,
    /// Of the simulcast layer's name.
    pub(crate) rid: Option<u8>,
}

/// What came from the remote.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A media packet.
    Media {
        /// The packet.
        packet: Media,
        /// How it is coded, by the negotiated number.
        payload_type: u8,
        /// The media section that it names.
        mid: Option<Bytes>,
        /// The layer that it names.
        rid: Option<Bytes>,
        /// When it arrived.
        now: Instant,
    },
    /// A sender report.
    SenderReport {
        /// The stream's source.
        ssrc: u32,
        /// Wall clock.
        ntp: u64,
        /// The stream's clock.
        rtp: u32,
    },
    /// How a stream of ours arrives.
    ReceiverReport {
        /// Lost since the last report, of 256.
        fraction_lost: u8,
        /// Middle bits of the NTP time of our last report.
        last_report: u32,
        /// How long the remote had it, 1/65536 s.
        delay: u32,
    },
    /// A keyframe is wanted.
    KeyframeRequest {
        /// The stream's source.
        ssrc: u32,
    },
}

/// A stream to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    /// How it is coded.
    pub(crate) payload: Payload,
    /// Its source.
    pub(crate) ssrc: u32,
}

/// One connection.
pub(crate) struct Peer {
    connection: Arc<dyn PeerConnection>,
    surroundings: Arc<Surroundings>,
    queues: Arc<Queues>,
    state: watch::Receiver<State>,
    berth: Berth,
}

struct Watcher(watch::Sender<State>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Watcher {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let state = if state == RTCPeerConnectionState::Connected {
            State::Connected
        } else if matches!(state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed) {
            State::Gone
        } else {
            return;
        };
        self.0.send_if_modified(|now| *now != State::Gone && std::mem::replace(now, state) != state);
    }
}

impl Peer {
    async fn answer(&self, offer: String) -> Result<String, EngineError> {
        self.connection.set_remote_description(RTCSessionDescription::offer(offer)?).await?;
        let answer = self.connection.create_answer(None).await?;
        let text = answer.sdp.clone();
        self.connection.set_local_description(answer).await?;
        Ok(text)
    }

    /// Applies an offer with other ICE credentials of the remote. Gives the answer as the library writes it.
    pub(crate) async fn restart(&self, offer: &Offer) -> Result<String, EngineError> {
        self.answer(offer.to_engine()).await
    }

    /// The place on the port.
    pub(crate) fn berth(&self) -> &Berth {
        &self.berth
    }

    /// Follows where the connection stands.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Waits for something from the remote and takes all of it. Cancel-safe.
    pub(crate) async fn receive(&self, into: &mut VecDeque<Inbound>) {
        loop {
            self.queues.take(into);
            if !into.is_empty() {
                return;
            }
            self.queues.arrived.notified().await;
        }
    }

    /// Ready when there is room for the packets of another picture.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.queues.poll_room(cx)
    }

    /// Queues a packet for sending; [`Peer::flush`] sends what is queued.
    pub(crate) fn send(&self, packet: Media, payload_type: u8) {
        self.queues.send(tap::outgoing(packet, payload_type));
    }

    /// The same for a packet of a picture, which leaves at the pace.
    pub(crate) fn send_paced(&self, packet: Media, payload_type: u8) {
        self.queues.send_paced(tap::outgoing(packet, payload_type));
    }

    /// What the link carries, bits per second, as far as the remote tells.
    pub(crate) fn estimate(&self) -> Option<u64> {
        self.queues.estimate.get()
    }

    /// At how many bits per second pictures leave.
    pub(crate) fn set_pace(&self, rate: u64) {
        self.queues.set_pace(rate);
    }

    /// Queues sender reports.
    pub(crate) fn report(&self, reports: &[Report]) {
        self.queues.send(tap::sender_reports(reports));
    }

    /// Sends what is queued.
    pub(crate) fn flush(&self) {
        self.berth.inboxes().v4.nudge();
    }

    /// Asks the remote for a keyframe.
    pub(crate) fn request_keyframe(&self, ssrc: u32) {
        self.queues.send(tap::keyframe_request(ssrc));
        self.flush();
    }

    /// Says goodbye and frees everything.
    pub(crate) async fn close(&self) {
        // There is nobody to tell, and nothing to do about it.
        self.connection.close().await.ok();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.surroundings.abort();
    }
}

/// Addresses of this machine's interfaces that others can reach it by.
pub(crate) fn interfaces() -> Vec<IpAddr> {
    let found = rtc::shared::ifaces::ifaces().unwrap_or_default();
    let addresses = found.into_iter().filter_map(|interface| Some(interface.addr?.ip().to_canonical()));
    let reachable = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified()),
    };
    addresses.filter(reachable).collect()
}

/// Wall clock as NTP has it: seconds since 1900 in the upper 32 bits.
pub(crate) fn ntp(now: SystemTime) -> u64 {
    /// Seconds from 1900 to 1970.
    const EPOCH: u64 = 2_208_988_800;
    let unix = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
    ((unix.as_secs() + EPOCH) << 32) | fraction
}
