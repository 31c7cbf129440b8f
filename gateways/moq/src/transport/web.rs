//! WebTransport over HTTP/3 (draft-ietf-webtrans-http3): settings, CONNECT, and the prefixes of its streams.
//!
//! One session per connection. QPACK is static table and literals only: our SETTINGS leave the dynamic table at 0.

use std::sync::{Mutex, PoisonError};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use url::Url;
use web_transport_proto::{Capsule, ConnectRequest, ConnectResponse, Frame, Settings, StreamUni, VarInt};

use super::{Arrivals, Ending, Established, Inner, Session};
use std::sync::Arc;

/// Critical streams of the peer that are kept open: control, and the two of QPACK. Closing one is a connection error.
const CRITICAL_MAX: usize = 4;

/// What a WebTransport session adds to a connection.
pub(super) struct Web {
    pub(super) id: u64,
    pub(super) uni_header: Bytes,
    pub(super) bi_header: Bytes,
    pub(super) datagram_header: Bytes,
    connect: Mutex<Option<quinn::SendStream>>,
    /// Open for as long as the session is.
    _control: quinn::SendStream,
}

impl Web {
    fn new(connect: quinn::SendStream, control: quinn::SendStream) -> Self {
        let id = quinn::VarInt::from(connect.id()).into_inner();
        let prefixed = |kind: VarInt| {
            let mut header = BytesMut::new();
            kind.encode(&mut header);
            put_varint(id, &mut header);
            header.freeze()
        };
        let mut datagram = BytesMut::new();
        put_varint(id / 4, &mut datagram);
        Self {
            id,
            uni_header: prefixed(StreamUni::WEBTRANSPORT.0),
            bi_header: prefixed(Frame::WEBTRANSPORT.0),
            datagram_header: datagram.freeze(),
            connect: Mutex::new(Some(connect)),
            _control: control,
        }
    }

    pub(super) fn take_connect(&self) -> Option<quinn::SendStream> {
        self.connect.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A capsule inside a DATA frame, as the CONNECT stream carries it.
pub(super) fn data_frame(capsule: &Capsule, out: &mut BytesMut) {
    let mut body = BytesMut::new();
    capsule.encode(&mut body);
    Frame::DATA.encode(out);
    put_varint(body.len() as u64, out);
    out.put(body);
}

/// A CONNECT request that waits for its answer.
pub(crate) struct WebRequest {
    quic: quinn::Connection,
    request: ConnectRequest,
    connect: (quinn::SendStream, quinn::RecvStream),
    control: quinn::SendStream,
    critical: Vec<quinn::RecvStream>,
}

impl WebRequest {
    /// Exchanges SETTINGS and reads the CONNECT request of a new connection.
    pub(crate) async fn accept(quic: quinn::Connection) -> Result<Self, H3Error> {
        let (control, critical) = exchange_settings(&quic).await?;
        let (send, mut recv) = quic.accept_bi().await?;
        let request = ConnectRequest::read(&mut recv).await.map_err(H3Error::request)?;
        Ok(Self { quic, request, connect: (send, recv), control, critical })
    }

    /// The sub-protocols that the client offers, the one it prefers first.
    pub(crate) fn protocols(&self) -> &[String] {
        &self.request.protocols
    }

    /// Path and query.
    pub(crate) fn url(&self) -> &Url {
        &self.request.url
    }

    /// Answers 200 with the selected sub-protocol.
    pub(crate) async fn accept_with(mut self, protocol: Option<&str>) -> Result<Established, H3Error> {
        let mut response = ConnectResponse::OK;
        response.protocol = protocol.map(str::to_owned);
        response.write(&mut self.connect.0).await.map_err(H3Error::request)?;
        Ok(established(self.quic, self.connect, self.control, self.critical))
    }
}

/// Opens a WebTransport session on a new connection; returns it with the sub-protocol that the server selected.
pub(crate) async fn connect(
    quic: quinn::Connection,
    url: Url,
    protocols: Vec<String>,
) -> Result<(Established, Option<String>), H3Error> {
    let (control, critical) = exchange_settings(&quic).await?;
    let (mut send, mut recv) = quic.open_bi().await?;
    let request = ConnectRequest::new(url).with_protocols(protocols);
    request.write(&mut send).await.map_err(H3Error::request)?;
    let response = ConnectResponse::read(&mut recv).await.map_err(H3Error::request)?;
    if let Some(protocol) = response.protocol.as_ref().filter(|token| !request.protocols.contains(token)) {
        return Err(H3Error::Handshake(format!("peer selected {protocol:?}, which was not offered")));
    }
    Ok((established(quic, (send, recv), control, critical), response.protocol))
}

/// Why there is no WebTransport session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum H3Error {
    #[error("{0}")]
    Lost(#[from] quinn::ConnectionError),
    #[error("HTTP/3: {0}")]
    Handshake(String),
}

impl H3Error {
    fn request(error: web_transport_proto::ConnectError) -> Self {
        Self::Handshake(error.to_string())
    }

    fn settings(error: web_transport_proto::SettingsError) -> Self {
        Self::Handshake(error.to_string())
    }
}

fn established(
    quic: quinn::Connection,
    (send, recv): (quinn::SendStream, quinn::RecvStream),
    control: quinn::SendStream,
    critical: Vec<quinn::RecvStream>,
) -> Established {
    let session = Session(Arc::new(Inner { quic, web: Some(Web::new(send, control)) }));
    Established {
        uni: Arrivals::new(session.clone(), critical),
        bi: Arrivals::new(session.clone(), Vec::new()),
        ending: Ending::web(session.clone(), recv),
        session,
    }
}

/// Sends our SETTINGS and reads the peer's, which must enable datagrams and some generation of WebTransport.
async fn exchange_settings(
    quic: &quinn::Connection,
) -> Result<(quinn::SendStream, Vec<quinn::RecvStream>), H3Error> {
    let mut control = quic.open_uni().await?;
    let mut ours = Settings::default();
    ours.enable_webtransport(1);
    ours.write(&mut control).await.map_err(H3Error::settings)?;

    let mut critical = Vec::new();
    while critical.len() < CRITICAL_MAX {
        let mut stream = quic.accept_uni().await?;
        let kind =
            read_varint(&mut stream).await.ok_or(H3Error::Handshake("control stream cut short".into()))?;
        if kind == StreamUni::CONTROL.0.into_inner() {
            // The reader wants to see the stream type, which is consumed by now.
            let typed = &[0u8][..];
            let theirs = Settings::read(&mut typed.chain(&mut stream)).await.map_err(H3Error::settings)?;
            critical.push(stream);
            return match theirs.supports_webtransport() {
                0 => Err(H3Error::Handshake("peer's SETTINGS do not enable WebTransport".into())),
                _ => Ok((control, critical)),
            };
        }
        critical.push(stream);
    }
    Err(H3Error::Handshake("no control stream".into()))
}

/// A varint, taking from the stream exactly the bytes it has. `None` if the stream ends or breaks.
pub(super) async fn read_varint(stream: &mut quinn::RecvStream) -> Option<u64> {
    let mut bytes = [0u8; 8];
    stream.read_exact(&mut bytes[..1]).await.ok()?;
    let length = 1usize << (bytes[0] >> 6);
    stream.read_exact(bytes.get_mut(1..length)?).await.ok()?;
    let first = u64::from(bytes[0] & 0x3f);
    Some(bytes.get(1..length)?.iter().fold(first, |value, byte| (value << 8) | u64::from(*byte)))
}

fn put_varint(value: u64, out: &mut BytesMut) {
    VarInt::from_u64(value).expect("stream ids and lengths lie below 2^62").encode(out);
}
