//! A peer whose every byte the test decides: raw QUIC, no session behind it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use moqgate_moq::wire::{
    AnnounceOk, AnnounceRequest, Announcement, BidiType, DecodeError, FrameHeads, GroupHead, Message, Route,
    Setup, Subscribe, SubscribeReply, Track, TrackInfo, UniType, Version, take_type,
};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use web_transport_proto::{error_from_http3, error_to_http3};

use crate::rig::within;

/// The hop id that scripted peers say they have.
pub(crate) const HOP: u64 = 7;

/// A code as streams carry it.
pub(crate) fn mapped(code: u32) -> quinn::VarInt {
    quinn::VarInt::from_u64(error_to_http3(code)).expect("in range")
}

fn unmapped(code: quinn::VarInt) -> Option<u32> {
    error_from_http3(code.into_inner())
}

pub(crate) struct Peer {
    pub(crate) quic: quinn::Connection,
    pub(crate) version: Version,
}

impl Peer {
    /// Connects, says SETUP where there is one, and reads the gateway's.
    pub(crate) async fn connect(address: SocketAddr, version: Version) -> Self {
        let mut setup = Setup::default();
        setup.set_hop(HOP);
        Self::connect_as(address, version, &setup).await
    }

    pub(crate) async fn connect_as(address: SocketAddr, version: Version, setup: &Setup) -> Self {
        let quic = within("handshake", dial(address, version)).await;
        let peer = Self { quic, version };
        if version.has_setup() {
            let mut ours = peer.open_uni(UniType::Setup).await;
            ours.send(setup).await;
            ours.finish();
            let mut theirs = peer.accept_uni(UniType::Setup).await;
            theirs.message::<Setup>().await;
        }
        peer
    }

    pub(crate) async fn open_uni(&self, kind: UniType) -> Stream {
        let mut stream =
            Stream::of(self.version, within("open", self.quic.open_uni()).await.expect("open"), None);
        let mut bytes = BytesMut::new();
        kind.encode(&mut bytes);
        stream.write(&bytes).await;
        stream
    }

    async fn accept_uni(&self, kind: UniType) -> Stream {
        let recv = within("stream of the gateway", self.quic.accept_uni()).await.expect("alive");
        let mut stream =
            Stream { version: self.version, send: None, recv: Some(recv), buffer: BytesMut::new() };
        assert_eq!(UniType::from_id(stream.kind().await, self.version), Some(kind));
        stream
    }

    /// The next request of the gateway, which must be of that kind.
    pub(crate) async fn accept(&self, kind: BidiType) -> Stream {
        let (send, recv) = within("request of the gateway", self.quic.accept_bi()).await.expect("alive");
        let mut stream = Stream::of(self.version, send, Some(recv));
        assert_eq!(BidiType::from_id(stream.kind().await, self.version), Some(kind));
        stream
    }

    /// Takes the gateway's ANNOUNCE request and answers it with an empty set.
    pub(crate) async fn announcing(&self) -> Stream {
        let mut stream = self.accept(BidiType::Announce).await;
        let request: AnnounceRequest = stream.message().await;
        assert_eq!(request.prefix, "");
        if self.version.has_announce_ok() {
            stream.send(&AnnounceOk { hop: HOP, active: 0 }).await;
        }
        stream
    }

    /// Describes a track in answer to TRACK, on versions that ask.
    pub(crate) async fn describe(&self, broadcast: &str, track: &str, info: &TrackInfo) {
        if !self.version.has_tracks() {
            return;
        }
        let mut stream = self.accept(BidiType::Track).await;
        let asked: Track = stream.message().await;
        assert_eq!((asked.broadcast.as_str(), asked.track.as_str()), (broadcast, track));
        stream.send(info).await;
        stream.finish();
        stream.expect_fin().await;
    }

    /// Takes a SUBSCRIBE, and says OK to it on versions that want to hear it.
    pub(crate) async fn subscribed(&self) -> (Stream, Subscribe) {
        let mut stream = self.accept(BidiType::Subscribe).await;
        let subscribe: Subscribe = stream.message().await;
        if !self.version.has_start_and_end() {
            stream.send(&SubscribeReply::Ok(subscribe.terms)).await;
        }
        (stream, subscribe)
    }

    /// A group of which only the head and these frames are sent.
    pub(crate) async fn group(&self, subscribe_id: u64, sequence: u64, frames: &[(u64, &[u8])]) -> Stream {
        let mut stream = self.open_uni(UniType::Group).await;
        stream.send(&GroupHead { subscribe_id, sequence, frame_start: 0 }).await;
        let mut heads = FrameHeads::new(self.version);
        let mut bytes = BytesMut::new();
        for (timestamp, payload) in frames {
            heads.encode(*timestamp, payload.len(), &mut bytes);
            bytes.extend_from_slice(payload);
        }
        stream.write(&bytes).await;
        stream
    }

    pub(crate) async fn whole_group(&self, subscribe_id: u64, sequence: u64, frames: &[(u64, &[u8])]) {
        self.group(subscribe_id, sequence, frames).await.finish();
    }

    /// The code that the gateway closes the session with.
    pub(crate) async fn closed(&self) -> u64 {
        let ended = within("close", self.quic.closed()).await;
        let quinn::ConnectionError::ApplicationClosed(close) = ended else { panic!("not closed: {ended}") };
        close.error_code.into_inner()
    }
}

/// An announcement of a broadcast with these hops.
pub(crate) fn start(suffix: &str, hops: &[u64]) -> Announcement {
    Announcement::Start { suffix: suffix.into(), route: Route { hops: hops.to_vec(), warm: 0, cold: 0 } }
}

pub(crate) struct Stream {
    version: Version,
    send: Option<quinn::SendStream>,
    recv: Option<quinn::RecvStream>,
    buffer: BytesMut,
}

impl Stream {
    fn of(version: Version, send: quinn::SendStream, recv: Option<quinn::RecvStream>) -> Self {
        Self { version, send: Some(send), recv, buffer: BytesMut::new() }
    }

    pub(crate) async fn send<M: Message>(&mut self, message: &M) {
        self.write(&message.to_bytes(self.version)).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let send = self.send.as_mut().expect("a sending half");
        within("write", send.write_all(bytes)).await.expect("taken");
    }

    pub(crate) fn finish(&mut self) {
        self.send.as_mut().expect("a sending half").finish().expect("open");
    }

    pub(crate) fn reset(&mut self, code: u32) {
        self.send.as_mut().expect("a sending half").reset(mapped(code)).expect("open");
    }

    /// The code that the gateway stops our half with.
    pub(crate) async fn stopped(&mut self) -> Option<u32> {
        let send = self.send.as_mut().expect("a sending half");
        within("stop", send.stopped()).await.expect("alive").and_then(unmapped)
    }

    async fn kind(&mut self) -> u64 {
        loop {
            if let Some(kind) = take_type(&mut self.buffer) {
                return kind;
            }
            self.fill().await.expect("a stream type");
        }
    }

    pub(crate) async fn message<M: Message>(&mut self) -> M {
        loop {
            if let Some(message) = M::decode(&mut self.buffer, self.version).expect("valid") {
                return message;
            }
            self.fill().await.expect("a message");
        }
    }

    /// As [`Stream::message`], with a decoder of its own.
    pub(crate) async fn item<T>(
        &mut self,
        decode: impl Fn(&mut BytesMut, Version) -> Result<Option<T>, DecodeError>,
    ) -> T {
        loop {
            if let Some(item) = decode(&mut self.buffer, self.version).expect("valid") {
                return item;
            }
            self.fill().await.expect("a message");
        }
    }

    pub(crate) async fn expect_fin(&mut self) {
        let more: Option<Bytes> = self.fill().await.map(|()| self.buffer.copy_to_bytes(self.buffer.len()));
        assert_eq!(more, None);
    }

    async fn fill(&mut self) -> Option<()> {
        let recv = self.recv.as_mut().expect("a receiving half");
        let chunk = within("bytes of the gateway", recv.read_chunk(65536, true)).await.expect("no reset")?;
        self.buffer.extend_from_slice(&chunk.bytes);
        Some(())
    }
}

pub(crate) async fn dial(address: SocketAddr, version: Version) -> quinn::Connection {
    let endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("binds");
    let connecting = endpoint.connect_with(client_config(version), address, "localhost");
    connecting.expect("valid").await.expect("connects")
}

pub(crate) fn client_config(version: Version) -> quinn::ClientConfig {
    client_config_for(version.token())
}

pub(crate) fn client_config_for(alpn: &str) -> quinn::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.into()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("a cipher suite")))
}

/// Believes anybody, and checks no signature.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}
