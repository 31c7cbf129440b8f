//! Many WHIP publishers and WHEP viewers from one thread, at the pace of the media: a load for
//! `tests/bench/webrtc_load.py`.
//!
//! usage: `webrtc_load HTTP_HOST:PORT FILE.h264 PUBLISHERS VIEWERS SECONDS`
//!
//! Every publisher sends the pictures of the file (access units behind delimiters, 30 a second) over and over with 50
//! Opus packets a second as `live/cam0`, `live/cam1` and so on, each shifted against the others; viewers watch them in
//! turn. All are full peers: they check, decrypt, report and ask for what is missing. A line `connected` says that all
//! are there; the last line is JSON: what was sent, how late, and what the viewers got.

#![expect(clippy::unwrap_used, reason = "a tool for measuring has nobody to report to but its caller")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::interceptor::{
    NackGeneratorBuilder, NackResponderBuilder, ReceiverReportBuilder, Registry, SenderReportBuilder, Slot,
    TwccReceiverBuilder, TwccSenderBuilder,
};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::packetizer::Payloader as _;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol as _;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Largest payload, as the gateway's own packets.
const PAYLOAD: usize = 1172;
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 30);
const SOUND: Duration = Duration::from_millis(20);
/// 48 kbit/s.
const SOUND_BYTES: usize = 120;
/// A keyframe and a second behind it.
const RECEIVE_BUFFER: usize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(20);

/// What all of them count.
#[derive(Default)]
struct Counts {
    frames: AtomicU64,
    sent: AtomicU64,
    late_us: AtomicU64,
    latest_us: AtomicU64,
    received: AtomicU64,
    received_frames: AtomicU64,
    lost: AtomicU64,
    ended: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, address, file, publishers, viewers, seconds] = &arguments[..] else {
        println!("usage: webrtc_load HTTP_HOST:PORT FILE.h264 PUBLISHERS VIEWERS SECONDS");
        return;
    };
    let (publishers, viewers): (u32, u32) = (publishers.parse().unwrap(), viewers.parse().unwrap());
    let http: SocketAddr = address.parse().unwrap();
    let clip = Arc::new(clip(&std::fs::read(file).unwrap()));
    let (end, ended) = watch::channel(false);
    let counts = Arc::new(Counts::default());
    let mut tasks = JoinSet::new();
    for number in 0..publishers {
        let client = Client::open(http, &format!("/whip/live/cam{number}"), true).await;
        let shift = Duration::from_secs(2) / publishers * number;
        tasks.spawn(publish(client, Arc::clone(&clip), shift, Arc::clone(&counts), ended.clone()));
    }
    for number in 0..viewers {
        let path = format!("/whep/live/cam{}", number % publishers.max(1));
        let client = Client::open(http, &path, false).await;
        tasks.spawn(view(client, Arc::clone(&counts), ended.clone()));
    }
    println!("connected {publishers} publishers {viewers} viewers");
    let began =
        (counts.sent.load(Relaxed), counts.received.load(Relaxed), counts.received_frames.load(Relaxed));
    counts.latest_us.store(0, Relaxed);
    tokio::time::sleep(Duration::from_secs(seconds.parse().unwrap())).await;
    let took = |counter: &AtomicU64, before: u64| counter.load(Relaxed) - before;
    let (sent, received, frames) = (
        took(&counts.sent, began.0),
        took(&counts.received, began.1),
        took(&counts.received_frames, began.2),
    );
    end.send_replace(true);
    while tasks.join_next().await.is_some() {}
    let late = counts.late_us.load(Relaxed) / counts.frames.load(Relaxed).max(1);
    println!(
        "{{\"sent\": {sent}, \"received\": {received}, \"received_frames\": {frames}, \"lost\": {}, \"ended\": {}, \
         \"late_us\": {late}, \"latest_us\": {}}}",
        counts.lost.load(Relaxed),
        counts.ended.load(Relaxed),
        counts.latest_us.load(Relaxed)
    );
}

/// The pictures of a byte stream, each as payloads. A unit delimiter begins a picture.
fn clip(stream: &[u8]) -> Vec<Vec<Bytes>> {
    let starts: Vec<usize> = stream
        .windows(4)
        .enumerate()
        .filter(|(_, window)| window[..3] == [0, 0, 1] && window[3] & 0x1f == 9)
        .map(|(at, _)| at)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    let mut payloader = H264Payloader::default();
    let units = starts.iter().zip(ends).map(|(start, end)| Bytes::copy_from_slice(&stream[*start..end]));
    units.map(|unit| payloader.payload(PAYLOAD, &unit).unwrap()).collect()
}

struct Client {
    pc: RTCPeerConnection,
    socket: UdpSocket,
    local: SocketAddr,
    state: RTCPeerConnectionState,
    ssrcs: [u32; 2],
    packets: Vec<rtp::Packet>,
}

fn codecs() -> [RTCRtpCodecParameters; 2] {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback { typ: typ.into(), parameter: parameter.into() };
    let codec = |mime: &str, clock_rate, channels, fmtp: &str, rtcp_feedback, payload_type| {
        let (mime_type, sdp_fmtp_line) = (mime.to_owned(), fmtp.to_owned());
        let rtp_codec = RTCRtpCodec { mime_type, clock_rate, channels, sdp_fmtp_line, rtcp_feedback };
        RTCRtpCodecParameters { rtp_codec, payload_type }
    };
    let fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
    let video = vec![feedback("nack", ""), feedback("nack", "pli"), feedback("transport-cc", "")];
    let audio = vec![feedback("transport-cc", "")];
    [
        codec("video/H264", 90_000, 0, fmtp, video, 102),
        codec("audio/opus", 48_000, 2, "minptime=10;useinbandfec=1", audio, 111),
    ]
}

const KINDS: [RtpCodecKind; 2] = [RtpCodecKind::Video, RtpCodecKind::Audio];

fn connection(publishes: bool) -> RTCPeerConnection {
    let mut engine = MediaEngine::default();
    for (kind, codec) in KINDS.into_iter().zip(codecs()) {
        engine.register_codec(codec, kind).unwrap();
        for uri in [
            "urn:ietf:params:rtp-hdrext:sdes:mid",
            "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        ] {
            let extension = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
            engine.register_header_extension(extension, kind, None).unwrap();
        }
    }
    let registry = Registry::new();
    let registry = if publishes {
        registry
            .with(Slot::NackResponder, NackResponderBuilder::new().build())
            .with(Slot::TwccSender, TwccSenderBuilder::new().build())
            .with(Slot::SenderReport, SenderReportBuilder::new().build())
    } else {
        registry
            .with(Slot::NackGenerator, NackGeneratorBuilder::new().build())
            .with(Slot::TwccReceiver, TwccReceiverBuilder::new().build())
            .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build())
    };
    RTCPeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .build(Instant::now())
        .unwrap()
}

impl Client {
    /// A connected peer.
    async fn open(http: SocketAddr, url: &str, publishes: bool) -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        // What is lost is to be the gateway's loss, and not that of a load that was late to read.
        socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
        let socket = UdpSocket::from_std(socket).unwrap();
        let local = socket.local_addr().unwrap();
        let mut pc = connection(publishes);
        let base = u32::from(local.port()) << 8;
        let ssrcs = [base | 1, base | 2];
        for ((kind, codec), ssrc) in KINDS.into_iter().zip(codecs()).zip(ssrcs) {
            transceiver(&mut pc, kind, codec.rtp_codec, publishes.then_some(ssrc));
        }
        let now = Instant::now();
        let offer = pc.create_offer(None).unwrap();
        pc.set_local_description(now, offer.clone()).unwrap();
        let candidate = format!("candidate:1 1 udp 2130706431 127.0.0.1 {} typ host", local.port());
        pc.add_local_candidate(RTCIceCandidateInit { candidate, ..RTCIceCandidateInit::default() }).unwrap();
        let answer: String = post(http, url, &offer.sdp)
            .await
            .split_inclusive('\n')
            .filter(|line| !(line.starts_with("a=candidate") && line.contains(" tcp ")))
            .collect();
        pc.set_remote_description(now, RTCSessionDescription::answer(answer).unwrap()).unwrap();
        let (state, packets) = (RTCPeerConnectionState::New, Vec::new());
        let mut client = Self { pc, socket, local, state, ssrcs, packets };
        let limit = Instant::now() + LIMIT;
        while client.state != RTCPeerConnectionState::Connected {
            assert!(Instant::now() < limit, "{url}: not connected in time");
            client.step(limit).await;
        }
        client
    }

    /// Waits for a datagram, a timeout of the peer, or `until`, and does what follows.
    async fn step(&mut self, until: Instant) {
        let due = self.pc.poll_timeout().map_or(until, |due| due.min(until));
        let wait = tokio::time::sleep_until(due.into());
        tokio::select! {
            biased;
            ready = self.socket.readable() => {
                ready.unwrap();
                let mut buffer = [0; 2048];
                while let Ok((length, from)) = self.socket.try_recv_from(&mut buffer) {
                    let transport = TransportContext {
                        local_addr: self.local,
                        peer_addr: from,
                        transport_protocol: TransportProtocol::UDP,
                        ecn: None,
                    };
                    let message = BytesMut::from(&buffer[..length]);
                    self.pc.handle_read(TaggedBytesMut { now: Instant::now(), transport, message }).unwrap();
                }
            }
            () = wait => {}
        }
        if self.pc.poll_timeout().is_some_and(|due| due <= Instant::now()) {
            self.pc.handle_timeout(Instant::now()).unwrap();
        }
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(event) = self.pc.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                self.state = state;
            }
        }
        while let Some(message) = self.pc.poll_read() {
            if let RTCMessage::RtpPacket(_, packet) = message.message {
                self.packets.push(packet);
            }
        }
        while let Some(datagram) = self.pc.poll_write() {
            // What does not fit is lost, as on a network.
            self.socket.try_send_to(&datagram.message, datagram.transport.peer_addr).ok();
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed)
    }

    fn send(&mut self, packet: rtp::Packet) {
        let message = RTCMessage::RtpPacket(String::new(), packet);
        self.pc.handle_write(TaggedRTCMessage { now: Instant::now(), message }).unwrap();
    }

    fn close(&mut self) {
        self.pc.close().unwrap();
        self.pump();
    }
}

fn transceiver(pc: &mut RTCPeerConnection, kind: RtpCodecKind, codec: RTCRtpCodec, ssrc: Option<u32>) {
    let init =
        |direction| RTCRtpTransceiverInit { direction, streams: Vec::new(), send_encodings: Vec::new() };
    let Some(ssrc) = ssrc else {
        let receive = init(RTCRtpTransceiverDirection::Recvonly);
        pc.add_transceiver_from_kind(kind, Some(receive)).unwrap();
        return;
    };
    let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), ..RTCRtpCodingParameters::default() };
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: coding,
        active: true,
        codec,
        ..RTCRtpEncodingParameters::default()
    };
    let name = format!("{kind}");
    let track = MediaStreamTrack::new("load".to_owned(), name.clone(), name, kind, vec![encoding]);
    pc.add_transceiver_from_track(track, Some(init(RTCRtpTransceiverDirection::Sendonly))).unwrap();
}

/// Posts an offer. Gives the answer.
async fn post(http: SocketAddr, url: &str, offer: &str) -> String {
    let mut stream = TcpStream::connect(http).await.unwrap();
    let length = offer.len();
    let request = format!(
        "POST {url} HTTP/1.1\r\nHost: {http}\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{offer}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 201"), "{url}: {answer}");
    body.to_owned()
}

/// Sends pictures and sound when they are due, until the end.
async fn publish(
    mut client: Client,
    clip: Arc<Vec<Vec<Bytes>>>,
    shift: Duration,
    counts: Arc<Counts>,
    end: watch::Receiver<bool>,
) {
    let begin = Instant::now() + shift;
    let sound = Bytes::from([&[0xfc][..], &[0x5a; SOUND_BYTES - 1]].concat());
    let (mut pictures, mut sounds) = (0u32, 0u32);
    let (mut video, mut audio) = (0u16, 0u16);
    while !*end.borrow() && !client.is_over() {
        let (picture, packet) = (begin + FRAME * pictures, begin + SOUND * sounds);
        let due = picture.min(packet);
        if Instant::now() < due {
            client.step(due).await;
            client.packets.clear();
            continue;
        }
        let late = u64::try_from(due.elapsed().as_micros()).unwrap();
        counts.late_us.fetch_add(late, Relaxed);
        counts.latest_us.fetch_max(late, Relaxed);
        counts.frames.fetch_add(1, Relaxed);
        let header = |payload_type, ssrc, sequence_number, timestamp, marker| rtp::Header {
            version: 2,
            marker,
            payload_type,
            sequence_number,
            timestamp,
            ssrc,
            ..rtp::Header::default()
        };
        if packet <= picture {
            let header = header(111, client.ssrcs[1], audio, sounds.wrapping_mul(960), false);
            client.send(rtp::Packet { header, payload: sound.clone() });
            (audio, sounds) = (audio.wrapping_add(1), sounds + 1);
            counts.sent.fetch_add(1, Relaxed);
        } else {
            let payloads = &clip[pictures as usize % clip.len()];
            for (index, payload) in payloads.iter().enumerate() {
                let last = index + 1 == payloads.len();
                let header = header(102, client.ssrcs[0], video, pictures.wrapping_mul(3000), last);
                client.send(rtp::Packet { header, payload: payload.clone() });
                video = video.wrapping_add(1);
            }
            pictures += 1;
            counts.sent.fetch_add(payloads.len() as u64, Relaxed);
        }
        client.pump();
        tokio::task::yield_now().await;
    }
    counts.ended.fetch_add(u64::from(!*end.borrow()), Relaxed);
    client.close();
}

/// Counts what comes, until the end.
async fn view(mut client: Client, counts: Arc<Counts>, mut end: watch::Receiver<bool>) {
    // By source: the first and the newest number, and how many came.
    let mut streams: HashMap<u32, (u64, u64, u64)> = HashMap::new();
    while !client.is_over() {
        tokio::select! {
            biased;
            _ = end.wait_for(|end| *end) => break,
            () = client.step(Instant::now() + LIMIT) => {}
        }
        for packet in client.packets.drain(..) {
            let number = packet.header.sequence_number;
            let (_, newest, came) =
                streams.entry(packet.header.ssrc).or_insert((u64::from(number), u64::from(number), 0));
            // Numbers wrap: the newest and what lies half of their range ahead.
            let ahead = number.wrapping_sub(*newest as u16);
            if ahead < 0x8000 {
                *newest += u64::from(ahead);
            }
            *came += 1;
            counts.received.fetch_add(1, Relaxed);
            counts.received_frames.fetch_add(u64::from(packet.header.marker), Relaxed);
        }
    }
    let lost = |(first, newest, came): (u64, u64, u64)| (newest - first + 1).saturating_sub(came);
    counts.lost.fetch_add(streams.into_values().map(lost).sum(), Relaxed);
    counts.ended.fetch_add(u64::from(!*end.borrow()), Relaxed);
    client.close();
}
