//! The only module that knows the WebRTC library: ICE, DTLS, SRTP, RTCP and the application of descriptions.
//!
//! A [`Peer`] is one connection. It has no socket and no task: datagrams come from its inbox on the shared port and
//! leave through it, and the task of its session drives it ([`Peer::alongside`]). It never gathers candidates of its own
//! and never looks for those of the remote (ICE lite, RFC 8445 section 2.5): the remote checks, and the address that it
//! checks from is where media goes.

mod connection;
mod estimate;
mod outbox;
mod pace;
mod repair;
mod setup;
mod tap;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use moqgate_mux::rtp::Packet as Media;
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::port::{Berth, Shared};
use crate::sdp::{Offer, Payload};
use connection::Connection;
use outbox::Outbox;
use tap::Queues;

pub(crate) use pace::PACE_START;
pub(crate) use setup::Engine;
pub(crate) use tap::Report;

/// Why a description could not be applied. The text is the library's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct EngineError(String);

impl From<rtc::shared::error::Error> for EngineError {
    fn from(error: rtc::shared::error::Error) -> Self {
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

/// How far ahead the timer of a connection that waits for nothing is set.
const IDLE: Duration = Duration::from_secs(3600);

/// One connection.
pub(crate) struct Peer {
    driven: Mutex<Driven>,
    queues: Arc<Queues>,
    state: watch::Receiver<State>,
    berth: Berth,
}

/// A connection, and when it wants to be called.
struct Driven {
    connection: Connection,
    due: Option<Instant>,
}

impl Driven {
    /// Sends what there is to send.
    fn flush(&mut self, port: &Shared) {
        let mut outbox = Outbox::new(port);
        while let Some((datagram, to)) = self.connection.poll_transmit() {
            outbox.push(datagram, to);
        }
        self.due = self.connection.poll_timeout(Instant::now());
    }
}

impl Peer {
    fn new(
        mut connection: Connection,
        offer: &Offer,
        queues: Arc<Queues>,
        berth: Berth,
    ) -> Result<(Self, String), EngineError> {
        let now = Instant::now();
        let answer = connection.answer(offer.to_engine(), now)?;
        let state = connection.state();
        let driven = Mutex::new(Driven { connection, due: Some(now) });
        Ok((Self { driven, queues, state, berth }, answer))
    }

    /// Applies an offer with other ICE credentials of the remote. Gives the answer as the library writes it.
    pub(crate) fn restart(&self, offer: &Offer) -> Result<String, EngineError> {
        let now = Instant::now();
        let mut driven = self.lock();
        let answer = driven.connection.answer(offer.to_engine(), now);
        driven.due = Some(now);
        drop(driven);
        // The session's task drives the connection, and does not know of it.
        self.berth.inbox().wake();
        answer
    }

    /// The place on the port.
    pub(crate) fn berth(&self) -> &Berth {
        &self.berth
    }

    /// Follows where the connection stands.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Drives the connection and does `work` in one task. Whatever waits for this peer must be a part of `work`, which is
    /// polled after everything that arrived.
    pub(crate) async fn alongside<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut timer = pin!(tokio::time::sleep(IDLE));
        let mut arrived = VecDeque::new();
        poll_fn(|cx| {
            loop {
                self.berth.inbox().take(&mut arrived, cx);
                if !arrived.is_empty() {
                    let mut driven = self.lock();
                    driven.connection.handle(&mut arrived, Instant::now());
                    driven.flush(self.berth.port());
                }
                if let Poll::Ready(done) = work.as_mut().poll(cx) {
                    return Poll::Ready(done);
                }
                if self.poll_due(timer.as_mut(), cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Ready when time has passed for the connection.
    fn poll_due(&self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        let mut driven = self.lock();
        let Some(due) = driven.due else { return Poll::Pending };
        loop {
            let now = Instant::now();
            if due <= now {
                driven.connection.handle_timeout(now);
                driven.flush(self.berth.port());
                return Poll::Ready(());
            }
            // A timer that is too early costs less than one that is set again for every packet.
            if timer.is_elapsed() || timer.deadline().into_std() > due {
                timer.as_mut().reset(due.into());
            }
            std::task::ready!(timer.as_mut().poll(cx));
        }
    }

    /// Takes all that came from the remote, when there is something. Cancel-safe; for the work that is done
    /// [alongside](Self::alongside).
    pub(crate) async fn receive(&self, into: &mut VecDeque<Inbound>) {
        poll_fn(|_| {
            self.queues.take(into);
            if into.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
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
        self.lock().flush(self.berth.port());
    }

    /// Asks the remote for a keyframe.
    pub(crate) fn request_keyframe(&self, ssrc: u32) {
        self.queues.send(tap::keyframe_request(ssrc));
        self.flush();
    }

    /// Says goodbye. Nothing arrives any more.
    pub(crate) fn close(&self) {
        let mut driven = self.lock();
        driven.connection.close();
        driven.flush(self.berth.port());
    }

    fn lock(&self) -> MutexGuard<'_, Driven> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
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
