//! Counters and gauges of a connection, under libsrt's names in snake case.

/// Counters since the connection began, and gauges of the moment. Byte counters include 44 bytes of headers per
/// packet, as libsrt's do.
///
/// Always: `pkt_recv == pkt_recv_unique + pkt_rcv_duplicate + pkt_rcv_belated + pkt_rcv_undecrypt`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Data packets within the window that arrived.
    pub pkt_recv: u64,
    /// Bytes of them.
    pub byte_recv: u64,
    /// Packets that arrived for the first time, in time and readable.
    pub pkt_recv_unique: u64,
    /// Packets found missing when a later one arrived, before recovery.
    pub pkt_rcv_loss: u64,
    /// Packets that arrived marked as retransmission.
    pub pkt_rcv_retrans: u64,
    /// Packets never delivered: too late, given up by the sender, or not decryptable.
    pub pkt_rcv_drop: u64,
    /// Packets that arrived after their turn.
    pub pkt_rcv_belated: u64,
    /// Packets that arrived again before their turn (libsrt counts them as belated).
    pub pkt_rcv_duplicate: u64,
    /// Packets that no key opens.
    pub pkt_rcv_undecrypt: u64,
    /// Full ACKs sent.
    pub pkt_sent_ack: u64,
    /// Light ACKs sent.
    pub pkt_sent_light_ack: u64,
    /// NAKs sent.
    pub pkt_sent_nak: u64,
    /// ACKACKs that confirmed an ACK of ours.
    pub pkt_recv_ackack: u64,
    /// Packets waiting for their turn.
    pub pkt_rcv_buf: u64,
    /// Media time between the first and the last of them, milliseconds.
    pub ms_rcv_buf: u64,
    /// Free receive buffer, packets.
    pub pkt_rcv_avail: u64,
    /// Latency of what we receive, milliseconds.
    pub ms_rcv_tsbpd_delay: u64,
    /// Bits per second received over the last second, in millions.
    pub mbps_recv_rate: f64,
    /// How long a fresh gap waits for a reordered packet, milliseconds (libsrt's pktReorderTolerance as a time).
    pub ms_reorder_hold: f64,
    /// Correction of the peer's clock since the handshake, microseconds.
    pub us_drift: i64,

    /// Data packets sent, retransmissions included.
    pub pkt_sent: u64,
    /// Bytes of them.
    pub byte_sent: u64,
    /// Data packets sent for the first time.
    pub pkt_sent_unique: u64,
    /// Retransmissions sent.
    pub pkt_retrans: u64,
    /// Bytes of them.
    pub byte_retrans: u64,
    /// Packets that NAKs asked for, repeats included.
    pub pkt_snd_loss: u64,
    /// Packets given up because they were too late or the buffer was full.
    pub pkt_snd_drop: u64,
    /// ACKs received.
    pub pkt_recv_ack: u64,
    /// NAKs received.
    pub pkt_recv_nak: u64,
    /// Packets sent and not acknowledged.
    pub pkt_flight_size: u64,
    /// Packets that the peer can take.
    pub pkt_flow_window: u64,
    /// Packets in the send buffer.
    pub pkt_snd_buf: u64,
    /// Media time between the first and the last of them, milliseconds.
    pub ms_snd_buf: u64,
    /// Latency that the peer adds to what we send, milliseconds.
    pub ms_snd_tsbpd_delay: u64,
    /// Bits per second sent over the last second, in millions.
    pub mbps_send_rate: f64,

    /// Smoothed round-trip time, milliseconds.
    pub ms_rtt: f64,
    /// Its variation, milliseconds.
    pub ms_rtt_var: f64,
    /// Link capacity estimated from packet pairs, in millions of bits per second.
    pub mbps_bandwidth: f64,
    /// Time since the connection began, milliseconds.
    pub ms_time_stamp: u64,
    /// What was ignored, by reason.
    pub ignored: Ignored,
}

/// Datagrams, or parts of them, that had no effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Not an SRT packet, or a control body shorter than its type needs.
    pub malformed: u64,
    /// For another socket id.
    pub destination: u64,
    /// Handshakes: the listener's matter.
    pub handshake: u64,
    /// Control types that live mode does not know.
    pub unknown: u64,
    /// Data packets outside the receive window.
    pub far_sequence: u64,
    /// Timestamps that made no sense; the packets were kept and treated as sent on arrival.
    pub timestamp: u64,
    /// ACKs of packets that were never sent.
    pub ack: u64,
    /// Malformed NAKs, and NAKs of packets that were never sent.
    pub nak: u64,
    /// ACKACKs whose number is not awaited.
    pub ackack: u64,
    /// Drop requests that concern nothing missing.
    pub drop_request: u64,
    /// Key requests that are not valid, too frequent, or on a connection without encryption.
    pub key_request: u64,
    /// Answers not sent because the shell did not take the earlier ones.
    pub answer: u64,
    /// Everything that came after the connection ended.
    pub closed: u64,
}
