//! What the peer opens.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use web_transport_proto::{Frame, StreamUni};

use super::web::read_varint;
use super::{RecvStream, SendStream, Session, SessionLost};

/// Streams whose WebTransport prefix is still on its way. A peer that dribbles prefixes stalls itself only.
const UNDECODED_MAX: usize = 256;
/// Critical HTTP/3 streams that are kept open; what comes beyond is dropped.
const CRITICAL_MAX: usize = 8;
/// H3_REQUEST_REJECTED (RFC 9114, section 8.1): a second HTTP request on a connection that serves one session.
const REQUEST_REJECTED: u32 = 0x10b;

/// Streams of one kind, opened by the peer, with the prefix of WebTransport taken off.
pub(crate) struct Arrivals<K: Kind> {
    session: Session,
    decoding: FuturesUnordered<BoxFuture<'static, Decoded<K::Stream>>>,
    /// The peer's control and QPACK streams: never read, never closed.
    critical: Vec<quinn::RecvStream>,
}

/// Unidirectional streams.
pub(crate) type UniArrivals = Arrivals<Uni>;
/// Bidirectional streams.
pub(crate) type BiArrivals = Arrivals<Bi>;

impl<K: Kind> Arrivals<K> {
    pub(super) fn new(session: Session, critical: Vec<quinn::RecvStream>) -> Self {
        Self { session, decoding: FuturesUnordered::new(), critical }
    }

    /// The next stream. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<K::Stream, SessionLost> {
        let Some(web) = &self.session.0.web else {
            return K::accept(&self.session.0.quic).await.map(K::raw).map_err(|_| SessionLost);
        };
        loop {
            let room = self.decoding.len() < UNDECODED_MAX;
            tokio::select! {
                biased;
                Some(decoded) = self.decoding.next() => match decoded {
                    Decoded::Stream(stream) => return Ok(stream),
                    Decoded::Critical(stream) if self.critical.len() < CRITICAL_MAX => self.critical.push(stream),
                    Decoded::Critical(_) | Decoded::Foreign => {}
                },
                arrived = K::accept(&self.session.0.quic), if room => {
                    self.decoding.push(K::decode(arrived.map_err(|_| SessionLost)?, web.id));
                }
            }
        }
    }
}

pub(crate) enum Decoded<S> {
    Stream(S),
    Critical(quinn::RecvStream),
    /// Not ours: dropped, which resets it.
    Foreign,
}

/// The two kinds of stream.
pub(crate) trait Kind {
    type Quic: Send;
    type Stream: Send;
    fn accept(
        quic: &quinn::Connection,
    ) -> impl Future<Output = Result<Self::Quic, quinn::ConnectionError>> + Send;
    fn raw(stream: Self::Quic) -> Self::Stream;
    fn decode(stream: Self::Quic, session: u64) -> BoxFuture<'static, Decoded<Self::Stream>>;
}

pub(crate) struct Uni;

impl Kind for Uni {
    type Quic = quinn::RecvStream;
    type Stream = RecvStream;

    async fn accept(quic: &quinn::Connection) -> Result<Self::Quic, quinn::ConnectionError> {
        quic.accept_uni().await
    }

    fn raw(stream: Self::Quic) -> Self::Stream {
        RecvStream::new(stream)
    }

    fn decode(mut stream: Self::Quic, session: u64) -> BoxFuture<'static, Decoded<Self::Stream>> {
        Box::pin(async move {
            let Some(kind) = read_varint(&mut stream).await else { return Decoded::Foreign };
            // Control and the two of QPACK (RFC 9114, section 6.2; RFC 9204, section 4.2).
            if matches!(kind, 0x0 | 0x2 | 0x3) {
                return Decoded::Critical(stream);
            }
            if kind != StreamUni::WEBTRANSPORT.0.into_inner()
                || read_varint(&mut stream).await != Some(session)
            {
                return Decoded::Foreign;
            }
            Decoded::Stream(RecvStream::new(stream))
        })
    }
}

pub(crate) struct Bi;

impl Kind for Bi {
    type Quic = (quinn::SendStream, quinn::RecvStream);
    type Stream = (SendStream, RecvStream);

    async fn accept(quic: &quinn::Connection) -> Result<Self::Quic, quinn::ConnectionError> {
        quic.accept_bi().await
    }

    fn raw((send, recv): Self::Quic) -> Self::Stream {
        let send = SendStream::new(send);
        send.set_priority(super::PRIORITY_CONTROL);
        (send, RecvStream::new(recv))
    }

    fn decode((mut send, mut recv): Self::Quic, session: u64) -> BoxFuture<'static, Decoded<Self::Stream>> {
        Box::pin(async move {
            let kind = read_varint(&mut recv).await;
            if kind != Some(Frame::WEBTRANSPORT.0.into_inner())
                || read_varint(&mut recv).await != Some(session)
            {
                let _ended = send.reset(REQUEST_REJECTED.into());
                return Decoded::Foreign;
            }
            Decoded::Stream(Self::raw((send, recv)))
        })
    }
}
