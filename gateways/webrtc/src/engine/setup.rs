//! How peers are made: what is registered with the library, and what is left out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::{RTCCryptoProvider, SignatureScheme};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{
    CongestionControlBuilder, NackGeneratorBuilder, NackResponderBuilder, ReceiverReportBuilder, Registry,
    Slot, TwccReceiverBuilder, TwccSenderBuilder,
};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::RTCPeerConnectionBuilder;
use rtc::peer_connection::certificate::{CertificateParams, RTCCertificate};
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

use super::connection::Connection;
use super::estimate::Estimator;
use super::repair::Repair;
use super::tap::{Counter, Queues, Tap};
use super::{EngineError, Extensions, Peer, Sending};
use crate::metrics::Metrics;
use crate::port::Berth;
use crate::sdp::{Offer, Payload, uri};

/// A peer that says nothing for this long is thought to be away; its checks come every few seconds.
const DISCONNECTED: Duration = Duration::from_secs(5);
/// After this much more it is gone.
const FAILED: Duration = Duration::from_secs(10);
/// Packets of a stream that can be sent again: a second of 5 Mbit/s.
const RESEND_PACKETS: u16 = 512;
/// How many packets back a missing one is asked for: two seconds of 5 Mbit/s.
const NACK_PACKETS: u16 = 1024;
/// How often what is missing is asked for.
const NACK_INTERVAL: Duration = Duration::from_millis(50);
/// How often one packet is asked for: after half a second the importer has given it up.
const NACKS_PER_PACKET: u16 = 10;

/// What makes peers.
pub(crate) struct Engine {
    certificate: RTCCertificate,
    crypto: Arc<dyn RTCCryptoProvider>,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// An engine with a certificate of its own.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Result<Self, EngineError> {
        let crypto = rtc::crypto::default_provider().map_err(|error| EngineError(error.to_string()))?;
        let params = CertificateParams::new(vec!["moqgate".to_owned()])
            .map_err(|error| EngineError(error.to_string()))?;
        let scheme = SignatureScheme::EcdsaP256Sha256;
        let certificate = RTCCertificate::generate(crypto.crypto(), scheme, params)?;
        Ok(Self { certificate, crypto, metrics })
    }

    /// Accepts an offer. What is sent is in `sending`; without any, everything offered is received. Gives the peer and
    /// the answer as the library writes it.
    pub(crate) fn accept(
        &self,
        offer: &Offer,
        sending: &[Sending],
        berth: Berth,
    ) -> Result<(Peer, String), EngineError> {
        let queues = Arc::<Queues>::default();
        let connection = self.connection(offer, sending, &queues)?;
        Peer::new(connection, offer, queues, berth)
    }

    pub(super) fn connection(
        &self,
        offer: &Offer,
        sending: &[Sending],
        queues: &Arc<Queues>,
    ) -> Result<Connection, EngineError> {
        let configuration =
            RTCConfigurationBuilder::new().with_certificates(vec![self.certificate.clone()]).build();
        let settings = SettingEngineBuilder::new()
            .with_crypto_provider(Arc::clone(&self.crypto))
            .with_lite(true)
            .with_include_loopback_candidate(true)
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_ice_timeouts(Some(DISCONNECTED), Some(FAILED), None)
            .build();
        let mut library = RTCPeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_media_engine(media_engine(offer, sending)?)
            .with_setting_engine(settings)
            .with_interceptor_registry(self.chain(offer, sending, queues))
            .build(Instant::now())?;
        for stream in sending {
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Sendonly,
                streams: Vec::new(),
                send_encodings: Vec::new(),
            };
            library.add_transceiver_from_track(local_track(stream), Some(init))?;
        }
        Ok(Connection::new(library))
    }

    fn chain(&self, offer: &Offer, sending: &[Sending], queues: &Arc<Queues>) -> Registry {
        let extensions = Extensions { mid: offer.extension(uri::MID), rid: offer.extension(uri::RID) };
        let registry = Registry::new()
            .with(Slot::Custom(1), Counter::new(Arc::clone(&self.metrics), Arc::clone(queues)))
            .with(Slot::Custom(20_000), Tap::new(Arc::clone(queues), extensions));
        if !sending.is_empty() {
            let responder = NackResponderBuilder::new().with_size(RESEND_PACKETS).build();
            let registry = registry.with(Slot::NackResponder, responder);
            if offer.extension(uri::TRANSPORT_CC).is_none() {
                return registry;
            }
            let estimator = Estimator::new(Arc::clone(&queues.estimate));
            return registry
                .with(Slot::TwccSender, TwccSenderBuilder::new().build())
                .with(Slot::CongestionControl, CongestionControlBuilder::new(estimator).build());
        }
        let nacks = NackGeneratorBuilder::new()
            .with_size(NACK_PACKETS)
            .with_interval(NACK_INTERVAL)
            .with_max_nacks_per_packet(NACKS_PER_PACKET);
        registry
            .with(Slot::Custom(6_500), Repair::new(offer))
            .with(Slot::NackGenerator, nacks.build())
            .with(Slot::TwccReceiver, TwccReceiverBuilder::new().build())
            .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build())
    }
}

/// Knows what was offered, or what is sent, by the offered numbers. Retransmission has no format of its own here: what
/// comes back in one is restored in front of the library (see `repair`), which would ask for it without end, and players are
/// sent packets again as they were.
fn media_engine(offer: &Offer, sending: &[Sending]) -> Result<MediaEngine, EngineError> {
    let mut engine = MediaEngine::default();
    let payloads: Vec<&Payload> = if sending.is_empty() {
        offer.payloads().collect()
    } else {
        sending.iter().map(|stream| &stream.payload).collect()
    };
    for payload in payloads {
        let codec = RTCRtpCodecParameters { rtp_codec: codec(payload), payload_type: payload.number };
        engine.register_codec(codec, kind(payload))?;
    }
    let receives = sending.is_empty();
    for (uri, audio, wanted) in [
        (uri::MID, true, true),
        (uri::RID, false, receives),
        (uri::RRID, false, receives),
        (uri::TRANSPORT_CC, true, true),
    ] {
        let capability = || RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
        if wanted {
            engine.register_header_extension(capability(), RtpCodecKind::Video, None)?;
        }
        if wanted && audio {
            engine.register_header_extension(capability(), RtpCodecKind::Audio, None)?;
        }
    }
    Ok(engine)
}

fn kind(payload: &Payload) -> RtpCodecKind {
    if payload.format.codec().is_video() { RtpCodecKind::Video } else { RtpCodecKind::Audio }
}

fn codec(payload: &Payload) -> RTCRtpCodec {
    let codec = payload.format.codec();
    let (kind, feedback): (_, &[(&str, &str)]) = if codec.is_video() {
        ("video", &[("nack", ""), ("nack", "pli"), ("ccm", "fir"), ("transport-cc", "")])
    } else {
        ("audio", &[("transport-cc", "")])
    };
    let feedback = feedback
        .iter()
        .map(|(typ, parameter)| RTCPFeedback { typ: (*typ).to_owned(), parameter: (*parameter).to_owned() });
    RTCRtpCodec {
        mime_type: format!("{kind}/{}", codec.name()),
        clock_rate: codec.clock_rate(),
        channels: payload.channels,
        sdp_fmtp_line: payload.parameters.clone(),
        rtcp_feedback: feedback.collect(),
    }
}

fn local_track(stream: &Sending) -> MediaStreamTrack {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(stream.ssrc),
            ..RTCRtpCodingParameters::default()
        },
        active: true,
        codec: codec(&stream.payload),
        ..RTCRtpEncodingParameters::default()
    };
    let name = if stream.payload.format.codec().is_video() { "video" } else { "audio" };
    MediaStreamTrack::new(
        "moqgate".to_owned(),
        name.to_owned(),
        name.to_owned(),
        kind(&stream.payload),
        vec![encoding],
    )
}
