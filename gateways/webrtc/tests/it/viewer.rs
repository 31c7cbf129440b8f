//! A player of its own, and a publisher that pushes straight into the model.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use moqgate_core::{
    Credential, Direction, Gate, Grant, Identity, OpenAdmission, Path, Protocol, PublishOptions, Request,
    Session, Timestamp,
};
use moqgate_mux::event::{CodecConfig, Event, MediaFrame, Track, TrackId, VideoCodec as Coding, VideoConfig};
use moqgate_mux::publisher::{Publisher, PublisherConfig};
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::Notify;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCSessionDescription,
};

use crate::rig::Rig;

/// Long enough for a machine that is busy with other tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
const VP8: u8 = 96;

/// A packet that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    /// The frame, behind its descriptor.
    pub(crate) frame: Vec<u8>,
}

/// Plays VP8.
pub(crate) struct Viewer {
    connection: Arc<dyn PeerConnection>,
    handler: Arc<Handler>,
}

#[derive(Default)]
struct Handler {
    gathered: Notify,
    seen: Mutex<Vec<Seen>>,
    arrived: Notify,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.notify_one();
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        // The driver waits for this future; it ends with the connection.
        while let Some(event) = track.poll().await {
            let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
            let header = &packet.header;
            let (sequence, timestamp) = (header.sequence_number, header.timestamp);
            let frame = packet.payload.get(4..).unwrap_or_default().to_vec();
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(Seen { sequence, timestamp, frame });
            drop(seen);
            self.arrived.notify_one();
        }
    }
}

/// Hands tracks over without making the driver wait.
struct Front(Arc<Handler>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Front {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.0.on_ice_gathering_state_change(state).await;
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let handler = Arc::clone(&self.0);
        tokio::spawn(async move { handler.on_track(track).await });
    }
}

impl Viewer {
    /// Watches a broadcast of `rig`.
    pub(crate) async fn watch(rig: &Rig, path: &str) -> Self {
        let mut media = MediaEngine::default();
        let feedback = |typ: &str, parameter: &str| RTCPFeedback {
            typ: typ.to_owned(),
            parameter: parameter.to_owned(),
        };
        let rtp_codec = RTCRtpCodec {
            mime_type: "video/VP8".to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: String::new(),
            rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli")],
        };
        let codec = RTCRtpCodecParameters { rtp_codec, payload_type: VP8 };
        media.register_codec(codec, RtpCodecKind::Video).expect("a codec");
        let handler = Arc::<Handler>::default();
        let builder = PeerConnectionBuilder::<SocketAddr>::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(media)
            .with_handler(Arc::new(Front(Arc::clone(&handler))))
            .with_udp_addrs(vec![SocketAddr::from(([127, 0, 0, 1], 0))]);
        let connection: Arc<dyn PeerConnection> = Arc::new(builder.build().await.expect("a connection"));
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            streams: Vec::new(),
            send_encodings: Vec::new(),
        };
        connection.add_transceiver_from_kind(RtpCodecKind::Video, Some(init)).await.expect("a transceiver");
        let offer = connection.create_offer(None).await.expect("an offer");
        connection.set_local_description(offer).await.expect("it is ours");
        tokio::time::timeout(LIMIT, handler.gathered.notified()).await.expect("candidates");
        let offer = connection.local_description().await.expect("an offer").sdp;
        let headers = [("content-type", "application/sdp")];
        let answer = rig.send("POST", &format!("/whep/{path}"), &headers, &offer).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let answer = RTCSessionDescription::answer(answer.body).expect("an answer");
        connection.set_remote_description(answer).await.expect("it fits");
        Self { connection, handler }
    }

    /// All packets, once `enough` says so.
    pub(crate) async fn until(&self, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let waiting = async {
            loop {
                let seen = self.handler.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if enough(&seen) {
                    return seen;
                }
                self.handler.arrived.notified().await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("enough packets")
    }

    pub(crate) async fn close(self) {
        self.connection.close().await.expect("it closes");
    }
}

/// Publishes pictures that nobody could decode: a letter for each.
pub(crate) struct Source {
    publisher: Publisher,
    _session: Session,
}

impl Source {
    pub(crate) fn publish(rig: &Rig, path: &str, coding: Coding) -> Self {
        let gate = Gate::new(rig.origin.clone(), Arc::new(OpenAdmission));
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let path = Path::new(path).expect("a path");
        let request = Request {
            protocol: Protocol::Srt,
            direction: Direction::Publish,
            path: path.clone(),
            credential: Credential::None,
            peer,
        };
        let grant = Grant::everything(Identity::Anonymous(peer.ip()));
        let session = gate.open(request, grant, SystemTime::now(), None);
        let broadcast = session.publisher().publish(&path, PublishOptions::default(), Instant::now());
        let publisher = Publisher::new(broadcast.expect("the path is free"), PublisherConfig::default());
        let mut source = Self { publisher, _session: session };
        source.add(0, coding);
        source
    }

    /// One more track.
    pub(crate) fn add(&mut self, track: u32, coding: Coding) {
        let codec_string = if coding == Coding::Vp8 { "vp8" } else { "vp09.00.31.08" };
        let config = CodecConfig::Video(VideoConfig {
            codec: coding,
            codec_string: codec_string.to_owned(),
            width: 640 >> track,
            height: 360 >> track,
            sample_aspect: None,
            framerate: None,
            reorder_frames: 0,
            jitter: Duration::ZERO,
        });
        self.apply(Event::Track(Track { id: TrackId(track), config, language: None, origin: None }));
    }

    /// A track is over.
    pub(crate) fn end(&mut self, track: u32) {
        self.apply(Event::TrackEnd(TrackId(track)));
    }

    /// A keyframe and then one picture every 40 ms, `letter` in each.
    pub(crate) fn push(&mut self, from: Duration, letter: u8, pictures: u32) {
        self.push_to(0, from, letter, pictures);
    }

    /// The same in another track.
    pub(crate) fn push_to(&mut self, track: u32, from: Duration, letter: u8, pictures: u32) {
        for number in 0..pictures {
            let micros = (from + number * Duration::from_millis(40)).as_micros() as u64;
            let mut payload = (micros | 0b11 << 62).to_be_bytes().to_vec();
            payload.extend([letter, number as u8]);
            let frame = MediaFrame {
                pts: Timestamp::from_micros(micros),
                dts: None,
                keyframe: number == 0,
                payload: Bytes::from(payload),
            };
            self.apply(Event::Frame { track: TrackId(track), frame });
        }
    }

    fn apply(&mut self, event: Event) {
        self.publisher.apply(event, Instant::now(), 0).expect("it is live");
    }

    pub(crate) fn finish(self) {
        self.publisher.finish();
    }
}
