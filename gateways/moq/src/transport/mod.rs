//! One MoQ session's worth of transport: raw QUIC and WebTransport, made to look alike.
//!
//! A [`Session`] opens streams and sends datagrams; [`Arrivals`] yields what the peer opens; [`Ending`] resolves when the
//! session is over. Stream codes are the MoQ ones here; on the wire both transports carry them mapped into the range that
//! HTTP/3 reserves for WebTransport (draft-ietf-webtrans-http3, section 4.4): released peers do so on raw QUIC as well.
//! Session codes are mapped on WebTransport and plain on raw QUIC.

mod arrivals;
mod quic;
mod reader;
mod stream;
mod web;

pub(crate) use arrivals::{Arrivals, BiArrivals, UniArrivals};
pub(crate) use quic::{ALPN_WEBTRANSPORT, Purpose, endpoint, transport_config};
pub(crate) use reader::{ReadFault, Reader};
pub(crate) use stream::{ReadError, RecvStream, SendStream, WriteError};
pub(crate) use web::{H3Error, WebRequest, connect};

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use web_transport_proto::{Capsule, error_from_http3, error_to_http3};

use self::web::Web;

/// How long the close capsule may take to reach the peer before the connection is closed under it.
const CLOSE_GRACE: Duration = Duration::from_millis(250);

/// Priority of everything that is not media; media priorities are below it.
pub(crate) const PRIORITY_CONTROL: i32 = i32::MAX;

/// A session; clones share it.
#[derive(Clone)]
pub(crate) struct Session(Arc<Inner>);

struct Inner {
    quic: quinn::Connection,
    web: Option<Web>,
}

/// The whole of an established session.
pub(crate) struct Established {
    pub(crate) session: Session,
    pub(crate) uni: UniArrivals,
    pub(crate) bi: BiArrivals,
    pub(crate) ending: Ending,
}

impl Session {
    /// A connection whose ALPN is a MoQ version.
    pub(crate) fn raw(quic: quinn::Connection) -> Established {
        let session = Self(Arc::new(Inner { quic, web: None }));
        Established {
            uni: Arrivals::new(session.clone(), Vec::new()),
            bi: Arrivals::new(session.clone(), Vec::new()),
            ending: Ending { session: session.clone(), capsules: None },
            session,
        }
    }

    /// Opens a unidirectional stream; waits while the peer grants no more of them.
    pub(crate) async fn open_uni(&self) -> Result<SendStream, SessionLost> {
        let quic = self.0.quic.open_uni().await.map_err(|_| SessionLost)?;
        let mut stream = SendStream::new(quic);
        if let Some(web) = &self.0.web {
            stream.prefix(web.uni_header.clone()).await.map_err(|_| SessionLost)?;
        }
        Ok(stream)
    }

    /// Opens a bidirectional stream; waits while the peer grants no more of them.
    pub(crate) async fn open_bi(&self) -> Result<(SendStream, RecvStream), SessionLost> {
        let (send, recv) = self.0.quic.open_bi().await.map_err(|_| SessionLost)?;
        let mut send = SendStream::new(send);
        send.set_priority(PRIORITY_CONTROL);
        if let Some(web) = &self.0.web {
            send.prefix(web.bi_header.clone()).await.map_err(|_| SessionLost)?;
        }
        Ok((send, RecvStream::new(recv)))
    }

    /// Largest datagram body that fits now; 0 if the peer takes none.
    pub(crate) fn datagram_max(&self) -> usize {
        let header = self.0.web.as_ref().map_or(0, |web| web.datagram_header.len());
        self.0.quic.max_datagram_size().map_or(0, |size| size.saturating_sub(header))
    }

    /// Sends a datagram, or drops it: datagrams are never worth waiting for.
    pub(crate) fn send_datagram(&self, body: Bytes) -> bool {
        let body = match &self.0.web {
            None => body,
            Some(web) => {
                let mut framed = BytesMut::with_capacity(web.datagram_header.len() + body.len());
                framed.extend_from_slice(&web.datagram_header);
                framed.extend_from_slice(&body);
                framed.freeze()
            }
        };
        self.0.quic.send_datagram(body).is_ok()
    }

    /// The next datagram of this session; resolves to `None` when it is over.
    pub(crate) async fn recv_datagram(&self) -> Option<Bytes> {
        loop {
            let mut body = self.0.quic.read_datagram().await.ok()?;
            match &self.0.web {
                None => return Some(body),
                Some(web) if body.starts_with(&web.datagram_header) => {
                    return Some(body.split_off(web.datagram_header.len()));
                }
                Some(_) => {}
            }
        }
    }

    /// Ends the session with a session code and a short reason, and lets the peer read it.
    pub(crate) async fn close(&self, code: u32, reason: &str) {
        let Some(web) = &self.0.web else {
            self.0.quic.close(code.into(), reason.as_bytes());
            return;
        };
        if let Some(mut connect) = web.take_connect() {
            let capsule = Capsule::CloseWebTransportSession { code, reason: reason.to_owned() };
            let mut frame = BytesMut::new();
            web::data_frame(&capsule, &mut frame);
            if connect.write_all(&frame).await.is_ok() && connect.finish().is_ok() {
                // Resolves when the peer has it all, or the connection is gone: either will do.
                let _settled = tokio::time::timeout(CLOSE_GRACE, connect.stopped()).await;
            }
        }
        self.0.quic.close(mapped(code), b"");
    }

    /// The name of the transport, for logs and listings.
    pub(crate) fn transport(&self) -> &'static str {
        if self.0.web.is_some() { "webtransport" } else { "quic" }
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.quic.remote_address()
    }

    /// The peer publishes: it may open as many groups as it likes.
    pub(crate) fn expect_groups(&self) {
        quic::expect_groups(&self.0.quic);
    }

    /// The peer has many requests: it may have more.
    pub(crate) fn expect_requests(&self) {
        quic::expect_requests(&self.0.quic);
    }

    /// Lets QUIC hold as much as the path turned out to carry. To be called now and then.
    pub(crate) fn adapt(&self, purpose: Purpose) {
        let window = purpose.send_window(self.0.quic.stats().path.cwnd);
        self.0.quic.set_send_window(window);
    }

    pub(crate) fn stats(&self) -> quinn::ConnectionStats {
        self.0.quic.stats()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("transport", &self.transport()).finish_non_exhaustive()
    }
}

/// The session is over; [`Ending::wait`] tells why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session over")]
pub(crate) struct SessionLost;

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The peer closed it with a session code.
    Peer(u32, String),
    /// We closed it.
    Local,
    /// The connection broke: timeout, reset, a violation of QUIC.
    Lost(String),
}

/// Resolves when the session is over.
pub(crate) struct Ending {
    session: Session,
    capsules: Option<web_transport_proto::Http3CapsuleReader<quinn::RecvStream>>,
}

impl Ending {
    fn web(session: Session, connect: quinn::RecvStream) -> Self {
        Self { session, capsules: Some(web_transport_proto::Http3CapsuleReader::new(connect)) }
    }

    /// Waits for the end. Not cancel safe on WebTransport: keep one future for the life of the session.
    pub(crate) async fn wait(&mut self) -> Close {
        let quic = self.session.0.quic.clone();
        let Some(capsules) = &mut self.capsules else { return ending_of(quic.closed().await, false) };
        tokio::select! {
            biased;
            error = quic.closed() => ending_of(error, true),
            (code, reason) = close_capsule(capsules) => {
                // The transport's own close has the last word if it is there already: a broken connection also ends the stream.
                match quic.close_reason() {
                    Some(error) => ending_of(error, true),
                    None => Close::Peer(code, reason),
                }
            }
        }
    }
}

async fn close_capsule(
    capsules: &mut web_transport_proto::Http3CapsuleReader<quinn::RecvStream>,
) -> (u32, String) {
    loop {
        match capsules.read().await {
            Ok(Some(Capsule::CloseWebTransportSession { code, reason })) => return (code, reason),
            Ok(Some(Capsule::Grease { .. } | Capsule::Unknown { .. })) => {}
            // The end of the CONNECT stream without a capsule is a clean close (draft-ietf-webtrans-http3, section 6).
            Ok(None) | Err(_) => return (0, String::new()),
        }
    }
}

fn ending_of(error: quinn::ConnectionError, web: bool) -> Close {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            let wire = close.error_code.into_inner();
            let code = if web { error_from_http3(wire) } else { u32::try_from(wire).ok() };
            Close::Peer(code.unwrap_or(0), String::from_utf8_lossy(&close.reason).into_owned())
        }
        quinn::ConnectionError::LocallyClosed => Close::Local,
        other @ (quinn::ConnectionError::VersionMismatch
        | quinn::ConnectionError::TransportError(_)
        | quinn::ConnectionError::ConnectionClosed(_)
        | quinn::ConnectionError::Reset
        | quinn::ConnectionError::TimedOut
        | quinn::ConnectionError::CidsExhausted) => Close::Lost(other.to_string()),
    }
}

/// A MoQ code as both transports carry it on streams.
fn mapped(code: u32) -> quinn::VarInt {
    quinn::VarInt::from_u64(error_to_http3(code)).expect("the mapped range lies below 2^62")
}

/// The MoQ code of a stream code from the wire. Codes outside the mapped range say nothing: they read as 0.
fn unmapped(code: quinn::VarInt) -> u32 {
    error_from_http3(code.into_inner()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_map_into_the_reserved_range_and_back() {
        for (code, wire) in [
            (0x0, 0x52e4_a40f_a8db),
            (0x1, 0x52e4_a40f_a8dc),
            (0x12, 0x52e4_a40f_a8ed),
            (0x33, 0x52e4_a40f_a90f),
            (0x34, 0x52e4_a40f_a910),
            (0x36, 0x52e4_a40f_a912),
            (u32::MAX, 0x52e5_ac98_3162),
        ] {
            assert_eq!(mapped(code).into_inner(), wire);
            assert_eq!(unmapped(mapped(code)), code);
        }
        assert_eq!(unmapped(0x33u32.into()), 0, "a plain code says nothing");
    }
}
