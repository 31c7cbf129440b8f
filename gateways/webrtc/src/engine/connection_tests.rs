//! Both ends without a network.

use std::sync::Arc;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::RTCPeerConnectionBuilder;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

use super::*;
use crate::engine::tap::Queues;
use crate::engine::{Engine, Inbound};
use crate::metrics::Metrics;
use crate::sdp::Offer;

const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4000);
const SSRC: u32 = 7;

/// A publisher of VP8.
fn publisher(now: Instant) -> RTCPeerConnection {
    let codec = RTCRtpCodec { mime_type: "video/VP8".into(), clock_rate: 90_000, ..RTCRtpCodec::default() };
    let parameters = RTCRtpCodecParameters { rtp_codec: codec.clone(), payload_type: 96 };
    let mut engine = MediaEngine::default();
    engine.register_codec(parameters, RtpCodecKind::Video).expect("a codec");
    let builder = RTCPeerConnectionBuilder::new().with_media_engine(engine);
    let mut client = builder.build(now).expect("a peer");
    let coding = RTCRtpCodingParameters { ssrc: Some(SSRC), ..RTCRtpCodingParameters::default() };
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: coding,
        active: true,
        codec,
        ..RTCRtpEncodingParameters::default()
    };
    let name = String::from("picture");
    let track = MediaStreamTrack::new(name.clone(), name.clone(), name, RtpCodecKind::Video, vec![encoding]);
    let direction = RTCRtpTransceiverDirection::Sendonly;
    let init = RTCRtpTransceiverInit { direction, streams: Vec::new(), send_encodings: Vec::new() };
    client.add_transceiver_from_track(track, Some(init)).expect("a transceiver");
    client
}

fn host(address: SocketAddr) -> RTCIceCandidateInit {
    let candidate = format!("candidate:1 1 udp 2130706431 {} {} typ host", address.ip(), address.port());
    RTCIceCandidateInit { candidate, ..RTCIceCandidateInit::default() }
}

/// A publisher, and the connection that has answered it.
fn pair(now: Instant) -> (RTCPeerConnection, Connection, Arc<Queues>) {
    let mut client = publisher(now);
    let offer = client.create_offer(None).expect("an offer");
    client.set_local_description(now, offer.clone()).expect("it is ours");
    client.add_local_candidate(host(CLIENT)).expect("a candidate");
    let offer = Offer::parse(&offer.sdp).expect("it is one");
    let queues = Arc::<Queues>::default();
    let engine = Engine::new(Arc::<Metrics>::default()).expect("an engine");
    let mut ours = engine.connection(&offer, &[], &queues).expect("a connection");
    let answer = ours.answer(offer.to_engine(), now).expect("an answer");
    let answer = RTCSessionDescription::answer(answer).expect("it is one");
    client.set_remote_description(now, answer).expect("it fits");
    client.add_remote_candidate(host(NAMES[0])).expect("a candidate");
    (client, ours, queues)
}

/// What the client sends, which is everything there is to send.
fn sent(client: &mut RTCPeerConnection) -> VecDeque<(BytesMut, SocketAddr)> {
    while client.poll_event().is_some() {}
    std::iter::from_fn(|| client.poll_write()).map(|datagram| (datagram.message, CLIENT)).collect()
}

/// The keys are in the last record of the handshake. Media that arrives together with it is taken.
#[test]
fn media_behind_a_handshake_is_taken() {
    let mut now = Instant::now();
    let (mut client, mut ours, queues) = pair(now);
    let picture = |sequence_number| rtp::Packet {
        header: rtp::Header {
            version: 2,
            payload_type: 96,
            sequence_number,
            ssrc: SSRC,
            ..rtp::Header::default()
        },
        payload: Bytes::from_static(&[0x10, 0, 0, 0, 1]),
    };
    for turn in 0..100 {
        now += Duration::from_millis(20);
        client.handle_timeout(now).expect("time passes");
        // Media behind whatever is sent; the client drops it while it has no keys.
        let mut flight = sent(&mut client);
        let message = RTCMessage::RtpPacket("picture".into(), picture(turn));
        client.handle_write(TaggedRTCMessage { now, message }).expect("taken");
        flight.extend(sent(&mut client));
        let had_keys = flight.iter().any(|(datagram, _)| datagram[0] >= 128);
        ours.handle(&mut flight, now);
        ours.handle_timeout(now);
        let mut inbound = VecDeque::new();
        queues.take(&mut inbound);
        if had_keys {
            assert!(
                inbound.iter().any(|found| matches!(found, Inbound::Media { .. })),
                "turn {turn}: {inbound:?}"
            );
            assert_eq!(*ours.state().borrow(), State::Connected);
            return;
        }
        while let Some((message, _)) = ours.poll_transmit() {
            let transport = TransportContext {
                local_addr: CLIENT,
                peer_addr: NAMES[0],
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            };
            client.handle_read(TaggedBytesMut { now, transport, message }).expect("taken");
        }
    }
    panic!("never connected");
}
