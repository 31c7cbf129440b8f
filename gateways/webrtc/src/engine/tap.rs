//! Where media leaves the engine and enters it: the ends of its chain of interceptors.
//!
//! [`Tap`] stands next to the application. It takes what arrives out of the chain into a bounded queue, and puts what
//! is to be sent into it. [`Counter`] stands next to the wire and counts what passes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_mux::rtp::Packet as Media;
use rtc::interceptor::{Attribute, AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;
use rtc::shared::error::Error;

use super::estimate::Estimate;
use super::pace::Pace;
use super::{Extensions, Inbound};
use crate::metrics::{Feedback, Metrics};

/// Most packets from a peer that wait for its importer: a second of 20 Mbit/s. A full queue drops its oldest, which
/// the importer sees as a loss.
const INBOUND_MAX: usize = 2048;
/// When so much waits for its turn, who sends waits for room. What the pace carries in this time comes late by as much,
/// and is charged although it may be lost with the connection.
const OUTBOUND_TIME: Duration = Duration::from_millis(100);
/// What is sent again goes before what is new, up to what the pace carries in this time; a player that asks for more asks
/// later again. A link that loses because it is full would otherwise lose more the more is asked for.
const REPEAT_TIME: Duration = Duration::from_millis(100);
/// Beside so many bytes, a frame of a slow stream.
const OUTBOUND_BYTES_MIN: usize = 16 << 10;
/// And whatever the pace is, not more than so many bytes.
const OUTBOUND_BYTES_MAX: usize = 4 << 20;
/// What RTP and SRTP add to a payload, bytes.
const HEADERS: usize = 36;

/// What both ends of a peer share.
#[derive(Debug, Default)]
pub(super) struct Queues {
    inbound: Mutex<VecDeque<Inbound>>,
    outbound: Mutex<Outbound>,
    /// What the link carries.
    pub(super) estimate: Arc<Estimate>,
}

#[derive(Debug, Default)]
struct Outbound {
    /// What leaves at once.
    first: VecDeque<Packet>,
    /// What leaves at the pace, with its bytes.
    paced: VecDeque<(Packet, usize)>,
    bytes: usize,
    pace: Pace,
    waker: Option<Waker>,
}

impl Outbound {
    fn bytes_max(&self) -> usize {
        self.pace.bytes_in(OUTBOUND_TIME).clamp(OUTBOUND_BYTES_MIN, OUTBOUND_BYTES_MAX)
    }
}

impl Queues {
    /// Takes all that has arrived.
    pub(super) fn take(&self, into: &mut VecDeque<Inbound>) {
        into.append(&mut lock(&self.inbound));
    }

    /// Ready when there is room for packets.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut outbound = lock(&self.outbound);
        if outbound.bytes < outbound.bytes_max() {
            return Poll::Ready(());
        }
        outbound.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Queues a packet that leaves at once.
    pub(super) fn send(&self, packet: Packet) {
        lock(&self.outbound).first.push_back(packet);
    }

    /// Queues a packet that leaves at the pace. The packets of one frame belong together, so only [`Queues::poll_room`]
    /// says no.
    pub(super) fn send_paced(&self, packet: Packet) {
        let bytes = HEADERS + if let Packet::Rtp(media) = &packet { media.payload.len() } else { 0 };
        let mut outbound = lock(&self.outbound);
        outbound.bytes += bytes;
        outbound.paced.push_back((packet, bytes));
    }

    /// Bits per second at which packets leave.
    pub(super) fn set_pace(&self, rate: u64) {
        lock(&self.outbound).pace.set_rate(rate);
    }

    fn put(&self, inbound: Inbound) {
        let mut queue = lock(&self.inbound);
        if queue.len() == INBOUND_MAX {
            queue.pop_front();
        }
        queue.push_back(inbound);
    }

    fn next(&self, now: Instant) -> Option<Packet> {
        let mut outbound = lock(&self.outbound);
        if let Some(packet) = outbound.first.pop_front() {
            return Some(packet);
        }
        if outbound.paced.is_empty() || !outbound.pace.is_ready(now) {
            return None;
        }
        let (packet, bytes) = outbound.paced.pop_front()?;
        outbound.pace.took(bytes);
        outbound.bytes -= bytes;
        let room = outbound.bytes < outbound.bytes_max() / 2;
        let waker = if room { outbound.waker.take() } else { None };
        drop(outbound);
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(packet)
    }

    /// So much left beside the pace.
    fn took(&self, bytes: usize) {
        lock(&self.outbound).pace.took(bytes);
    }

    /// Whether the link can bear more of what is sent again.
    fn can_repeat(&self, now: Instant) -> bool {
        lock(&self.outbound).pace.debt(now) < REPEAT_TIME
    }

    /// When [`Queues::next`] has something, if it has not now.
    fn due(&self) -> Option<Instant> {
        let outbound = lock(&self.outbound);
        if outbound.paced.is_empty() { None } else { outbound.pace.due() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The application's end of the chain.
pub(super) struct Tap {
    queues: Arc<Queues>,
    extensions: Extensions,
}

impl Tap {
    pub(super) fn new(queues: Arc<Queues>, extensions: Extensions) -> Self {
        Self { queues, extensions }
    }

    fn media(&self, packet: rtp::Packet, now: Instant) -> Inbound {
        let read = |id: Option<u8>| id.and_then(|id| packet.header.get_extension(id));
        let (mid, rid) = (read(self.extensions.mid), read(self.extensions.rid));
        let media = Media {
            ssrc: packet.header.ssrc,
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: packet.payload,
        };
        Inbound::Media { packet: media, payload_type: packet.header.payload_type, mid, rid, now }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        match packet.message.packet {
            Packet::Rtp(media) => self.queues.put(self.media(media, packet.now)),
            Packet::Rtcp(reports) => {
                for report in reports.iter().filter_map(|report| control(report.as_ref())) {
                    self.queues.put(report);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, _: TaggedPacket) -> Result<(), Error> {
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        let now = Instant::now();
        let packet = self.queues.next(now)?;
        Some(TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(packet),
        })
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.queues.due()
    }
}

/// What a report means to whoever imports or exports.
fn control(report: &dyn rtcp::Packet) -> Option<Inbound> {
    let report = report.as_any();
    if let Some(sender) = report.downcast_ref::<SenderReport>() {
        return Some(Inbound::SenderReport { ssrc: sender.ssrc, ntp: sender.ntp_time, rtp: sender.rtp_time });
    }
    if let Some(pli) = report.downcast_ref::<PictureLossIndication>() {
        return Some(Inbound::KeyframeRequest { ssrc: pli.media_ssrc });
    }
    if let Some(fir) = report.downcast_ref::<FullIntraRequest>() {
        return fir.fir.first().map(|entry| Inbound::KeyframeRequest { ssrc: entry.ssrc });
    }
    let receiver = report.downcast_ref::<ReceiverReport>()?.reports.first()?;
    Some(Inbound::ReceiverReport {
        fraction_lost: receiver.fraction_lost,
        last_report: receiver.last_sender_report,
        delay: receiver.delay,
    })
}

/// The wire's end of the chain.
pub(super) struct Counter {
    metrics: Arc<Metrics>,
    queues: Arc<Queues>,
    read: VecDeque<TaggedPacket>,
    written: VecDeque<TaggedPacket>,
}

impl Counter {
    pub(super) fn new(metrics: Arc<Metrics>, queues: Arc<Queues>) -> Self {
        Self { metrics, queues, read: VecDeque::new(), written: VecDeque::new() }
    }

    fn count(&self, packet: &AttributedPacket, received: bool) {
        match &packet.packet {
            Packet::Rtp(_) if received => self.metrics.rtp_received(),
            Packet::Rtp(_) => self.metrics.rtp_sent(packet.has(&Attribute::Retransmission)),
            Packet::Rtcp(reports) => reports
                .iter()
                .filter_map(|report| feedback(report.as_ref()))
                .for_each(|feedback| self.metrics.feedback(feedback, received)),
            _ => {}
        }
    }
}

fn feedback(report: &dyn rtcp::Packet) -> Option<Feedback> {
    let report = report.as_any();
    if report.is::<TransportLayerNack>() {
        Some(Feedback::Nack)
    } else if report.is::<PictureLossIndication>() {
        Some(Feedback::Pli)
    } else if report.is::<FullIntraRequest>() {
        Some(Feedback::Fir)
    } else {
        None
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Counter {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut packet: TaggedPacket) -> Result<(), Error> {
        self.count(&packet.message, true);
        if let Packet::Rtcp(reports) = &mut packet.message.packet
            && reports.iter().any(|report| report.as_any().is::<TransportLayerNack>())
            && !self.queues.can_repeat(packet.now)
        {
            reports.retain(|report| !report.as_any().is::<TransportLayerNack>());
        }
        self.read.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.count(&packet.message, false);
        if let Packet::Rtp(media) = &packet.message.packet
            && packet.message.has(&Attribute::Retransmission)
        {
            self.queues.took(HEADERS + media.payload.len());
        }
        self.written.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.written.pop_front()
    }
}

/// For an interceptor that needs not know which streams there are.
macro_rules! binds_nothing {
    ($($kind:ty),+) => {$(
        impl Interceptor for $kind {
            fn bind_local_stream(&mut self, _: &StreamInfo) {}
            fn unbind_local_stream(&mut self, _: &StreamInfo) {}
            fn bind_remote_stream(&mut self, _: &StreamInfo) {}
            fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
        }
    )+};
}
pub(super) use binds_nothing;
binds_nothing!(Tap, Counter);

/// A media packet as the chain takes it.
pub(super) fn outgoing(packet: Media, payload_type: u8) -> Packet {
    let header = rtp::Header {
        version: 2,
        marker: packet.marker,
        payload_type,
        sequence_number: packet.sequence,
        timestamp: packet.timestamp,
        ssrc: packet.ssrc,
        ..rtp::Header::default()
    };
    Packet::Rtp(rtp::Packet { header, payload: packet.payload })
}

/// A request for a keyframe of `ssrc`.
pub(super) fn keyframe_request(ssrc: u32) -> Packet {
    Packet::Rtcp(vec![Box::new(PictureLossIndication { sender_ssrc: 1, media_ssrc: ssrc })])
}

/// What a sender report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// The stream's source.
    pub(crate) ssrc: u32,
    /// Wall clock, seconds since 1900 in the upper 32 bits.
    pub(crate) ntp: u64,
    /// The stream's clock at that time.
    pub(crate) rtp: u32,
    /// Packets sent so far.
    pub(crate) packets: u32,
    /// Payload bytes sent so far.
    pub(crate) bytes: u32,
}

/// Sender reports of all streams of a peer, which share one clock.
pub(super) fn sender_reports(reports: &[Report]) -> Packet {
    let report = |report: &Report| -> Box<dyn rtcp::Packet> {
        Box::new(SenderReport {
            ssrc: report.ssrc,
            ntp_time: report.ntp,
            rtp_time: report.rtp,
            packet_count: report.packets,
            octet_count: report.bytes,
            reports: Vec::new(),
            profile_extensions: Bytes::new(),
        })
    };
    Packet::Rtcp(reports.iter().map(report).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transport-wide numbers of a publisher count what it sent to us. Players are sent none of its extensions.
    #[test]
    fn line_60_nothing_of_the_publisher_s_link_is_passed_on() {
        let mut arrived = rtp::Packet {
            header: rtp::Header { ssrc: 7, sequence_number: 9, ..rtp::Header::default() },
            payload: Bytes::from_static(b"media"),
        };
        arrived.header.set_extension(3, Bytes::from_static(&[1, 2])).expect("an extension");
        let tap = Tap::new(Arc::default(), Extensions::default());
        let Inbound::Media { packet, payload_type, .. } = tap.media(arrived, Instant::now()) else {
            panic!("media")
        };
        let Packet::Rtp(sent) = outgoing(packet, payload_type) else { panic!("media") };
        assert!(!sent.header.extension && sent.header.extensions.is_empty());
        assert_eq!((sent.header.ssrc, &sent.payload[..]), (7, &b"media"[..]));
    }

    #[test]
    fn pictures_wait_for_their_turn_and_nothing_else_does() {
        let packet = |ssrc, bytes| {
            let media = Media { ssrc, payload: vec![0; bytes].into(), ..Media::default() };
            outgoing(media, 96)
        };
        let ssrc = |packet: Option<Packet>| match packet {
            Some(Packet::Rtp(media)) => Some(media.header.ssrc),
            _ => None,
        };
        let (queues, start) = (Queues::default(), Instant::now());
        let mut now = start;
        let mut cx = Context::from_waker(Waker::noop());
        queues.set_pace(800_000);
        for _ in 0..20 {
            assert!(
                queues.poll_room(&mut cx).is_ready() || lock(&queues.outbound).bytes >= OUTBOUND_BYTES_MIN
            );
            queues.send_paced(packet(1, 1164));
        }
        assert!(queues.poll_room(&mut cx).is_pending(), "100 ms of 800 kbit/s, or 16 KiB");
        let mut left = 0;
        while let Some(due) = queues.next(now).map_or_else(|| queues.due(), |_| Some(now)) {
            left += usize::from(due == now);
            if due > now {
                queues.send(packet(2, 100));
                assert_eq!(ssrc(queues.next(due)), Some(2), "sound goes first");
                now = due;
            }
        }
        // 24,000 bytes at 100,000 a second, the first of which leave at once.
        let took = now.saturating_duration_since(start);
        assert!((200..260).contains(&took.as_millis()), "{took:?}");
        assert!(left == 20 && queues.poll_room(&mut cx).is_ready());
    }

    #[test]
    fn a_link_that_is_full_is_not_sent_everything_again() {
        let now = Instant::now();
        let tagged = |packet| TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(packet),
        };
        let nack = || {
            let nack: Box<dyn rtcp::Packet> = Box::new(TransportLayerNack::default());
            let pli: Box<dyn rtcp::Packet> = Box::new(PictureLossIndication::default());
            tagged(Packet::Rtcp(vec![nack, pli]))
        };
        let queues = Arc::<Queues>::default();
        queues.set_pace(960_000);
        let mut counter = Counter::new(Arc::default(), Arc::clone(&queues));
        let passed = |counter: &mut Counter| {
            counter.handle_read(nack()).expect("infallible");
            match counter.poll_read().expect("what came").message.packet {
                Packet::Rtcp(reports) => reports.len(),
                Packet::Rtp(_) | _ => 0,
            }
        };
        assert_eq!(passed(&mut counter), 2);
        for _ in 0..20 {
            let media = Media { payload: vec![0; 1164].into(), ..Media::default() };
            let mut again = tagged(outgoing(media, 96));
            again.message.add(Attribute::Retransmission);
            counter.handle_write(again).expect("infallible");
        }
        assert_eq!(passed(&mut counter), 1, "200 ms too much has left");
    }

    #[test]
    fn a_queue_that_nobody_reads_drops_its_oldest() {
        let queues = Queues::default();
        for ssrc in 0..INBOUND_MAX as u32 + 3 {
            queues.put(Inbound::KeyframeRequest { ssrc });
        }
        let mut taken = VecDeque::new();
        queues.take(&mut taken);
        assert_eq!(taken.len(), INBOUND_MAX);
        assert!(matches!(taken.front(), Some(Inbound::KeyframeRequest { ssrc: 3 })));
    }
}
