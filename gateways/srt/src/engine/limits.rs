//! Every bound and period of the engine, with its reason. Times are microseconds.

use super::Micros;

/// libsrt's default receive buffer and flow window, packets: 86 Mbit/s for one second.
pub(crate) const DEFAULT_WINDOW: u32 = 8192;

/// Smallest usable window, packets: libsrt's own minimum.
pub(crate) const WINDOW_MIN: u32 = 32;

/// Largest window, packets: 3 MB of slots at most, more than any latency of live mode needs.
pub(crate) const WINDOW_MAX: u32 = 65_536;

/// An ACK that is due waits so long for another wake-up, which sends it on its way: a delivery, or the next packets. Light
/// ACKs keep a fast sender's window open all the same.
pub(crate) const ACK_SLACK: Micros = 10_000;

/// Deliveries and ACKs are due on this grid, so that a stream costs at most 200 wake-ups a second.
pub(crate) const TICK: Micros = 5_000;

/// Least distance of two full ACKs, and of two ACKACKs for different ACKs (libsrt's SYN interval).
pub(crate) const ACK_INTERVAL: Micros = 10_000;

/// A light ACK after this many data packets without a full one: a fast sender must see its window open.
pub(crate) const LIGHT_ACK_PACKETS: u32 = 64;

/// Numbered ACKs whose ACKACK is still awaited: ten seconds of them.
pub(crate) const ACKS_REMEMBERED: usize = 1024;

/// Least distance of two NAKs for the same packet.
pub(crate) const NAK_INTERVAL_MIN: Micros = 20_000;

/// Allowance for the time that a burst of retransmissions takes to arrive.
pub(crate) const NAK_SLACK: Micros = 2_000;

/// Longest that a fresh gap waits for a reordered packet on a path that is not known to reorder.
pub(crate) const REORDER_HOLD_MIN: Micros = 10_000;

/// Least distance of two scans of the loss list, so that many small gaps share a NAK.
pub(crate) const NAK_SCAN_INTERVAL: Micros = 1_000;

/// RTT before the first sample, as libsrt sends it in its first ACKs.
pub(crate) const INITIAL_RTT: Micros = 100_000;

/// RTT variation before the first sample.
pub(crate) const INITIAL_RTT_VAR: Micros = 50_000;

/// Largest RTT or variation believed, so that a peer cannot put our timers off for ever.
pub(crate) const RTT_MAX: Micros = 10_000_000;

/// A keepalive goes out after this long without sending anything.
pub(crate) const KEEPALIVE_INTERVAL: Micros = 1_000_000;

/// The peer is gone after this long without a packet from it.
pub(crate) const IDLE_TIMEOUT: Micros = 5_000_000;

/// A packet stamped longer ago than this carries a broken timestamp: no latency is as long.
pub(crate) const TIMESTAMP_PAST: Micros = 60_000_000;

/// A packet stamped further ahead than the latency plus this carries a broken timestamp.
pub(crate) const TIMESTAMP_AHEAD: Micros = 10_000_000;

/// Successive broken timestamps after which the sender's clock is taken to have jumped.
pub(crate) const TIMESTAMP_JUMPS: u32 = 64;

/// Successive in-order packets outside the window after which the sender is taken to have jumped there.
pub(crate) const FAR_PACKETS: u32 = 64;

/// How fast the estimate of the peer's clock moves, microseconds per second: five times what a bad oscillator
/// drifts, too slow for a viewer to notice, and all that a lying peer can do to its own stream.
pub(crate) const DRIFT_SLEW: Micros = 500;

/// A drift window ends after this long ..
pub(crate) const DRIFT_WINDOW: Micros = 5_000_000;

/// .. and not before this many samples.
pub(crate) const DRIFT_SAMPLES: i64 = 64;

/// Control packets waiting for the shell, which empties the queue after every call.
pub(crate) const CONTROL_QUEUE: usize = 64;

/// Least distance of two drop requests.
pub(crate) const DROP_REQUEST_INTERVAL: Micros = 10_000;

/// The sender keeps at least this much, whatever the latency is (libsrt).
pub(crate) const TOO_LATE_MIN: Micros = 1_000_000;

/// Packets pushed and not sent for which there is still room: enough to keep a window busy between two ACKs, so few
/// that a slow peer is noticed where frames can still be left out.
pub(crate) const UNSENT_MAX: u64 = 64;

/// Slack of the too-late drop (libsrt: two SYN intervals).
pub(crate) const TOO_LATE_SLACK: Micros = 20_000;

/// Part of the input rate that may be spent on retransmissions, percent.
pub(crate) const RESEND_PERCENT: u64 = 50;

/// Retransmission that is always allowed, bytes per second, so that thin streams recover from bursts.
pub(crate) const RESEND_FLOOR: u64 = 125_000;

/// Unused retransmission allowance that may be saved up, bytes: a burst of 700 lost packets.
pub(crate) const RESEND_BURST: u64 = 1_000_000;

/// Separate runs of packets waiting for retransmission; a list that is more broken up than this is merged by
/// dropping what arrives last, since the peer repeats its NAKs.
pub(crate) const RESEND_RUNS: usize = 4096;

/// What a late timer may catch up on: pacing must not hold new data back by more than its own rate does.
pub(crate) const PACING_CREDIT: Micros = 3_000;

/// Bytes of IP, UDP and SRT headers that libsrt's byte counters include per packet.
pub(crate) const HEADER_BYTES: u64 = 44;

/// Window of the rates in the statistics.
pub(crate) const METER_WINDOW: Micros = 1_000_000;

/// Slots that an empty receive buffer keeps allocated.
pub(crate) const SLOTS_KEPT: usize = 512;

/// ACKs and NAKs of packets never sent after which the peer is cut off: a few may be due to a restart behind the
/// same address, a thousand are not.
pub(crate) const VIOLATIONS_MAX: u32 = 1000;
