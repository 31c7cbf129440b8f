//! How late a frame is beside SRT's own buffer: a measurement to be run by hand, on a release build.
//!
//!     MOQGATE_BINARY=target/release/moqgate MOQGATE_ENCODERS=20 \
//!         cargo test -p moqgate-tests --test it -- latency --ignored --nocapture

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use moqgate_tests::browser::Page;
use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::lossy::{Link, Passed, Proxy};
use moqgate_tests::{media, tools};

use crate::{KEEP, RUN};

/// A link that changes nothing and only writes down when what went by.
const TAP: Link = Link { loss_per_mille: 0, delay_min: Duration::ZERO, delay_max: Duration::ZERO, seed: 0 };
/// SRT's buffer, negotiated.
const LATENCY_MS: f64 = 200.0;
/// The picture's packet identifier in clips that ffmpeg has made.
const VIDEO_PID: u16 = 0x100;

/// From the last packet of a picture at the gateway's port to the picture in a browser's hands, the browser's own work
/// and two passes through the loopback included, SRT's buffer taken off.
#[test]
#[ignore = "a measurement, not a test: see the head of the file"]
fn from_the_last_packet_to_the_browser() {
    let encoders = tools::seconds("MOQGATE_ENCODERS", 1);
    let clip = Fixture::load("bframes");
    let gateway = Gateway::start(&KEEP);
    let page =
        Page::open("groups", &format!("url={}&name=live/cam0&age=60000&start=0&times=1", gateway.moq_url()));
    let _ = page.wait("all('waiting')", RUN);
    let _others: Vec<_> = (1..encoders)
        .map(|number| {
            media::push_forever(
                &clip.file(),
                &media::srt_url(gateway.srt(), &format!("live/cam{number}"), ""),
            )
        })
        .collect();
    let proxy = Proxy::start(gateway.srt(), TAP);
    let url = media::srt_url(proxy.address(), "live/cam0", "&latency=200000");
    assert!(media::push(&clip.file(), &url, 1.0).wait(RUN).success());
    let _ = page.wait("all('ended')", RUN);
    let seen = page
        .run("return Object.entries(viewers[0].tracks).find(([name]) => name.endsWith('.avc3'))[1].times");
    let seen: Vec<(f64, f64)> = serde_json::from_value(seen).expect("pairs of numbers");
    let arrived = last_packets(&proxy.passed());
    let first_seen = seen.iter().map(|frame| frame.0).fold(f64::INFINITY, f64::min);
    let first_sent = arrived.keys().next().copied().expect("a picture");
    let mut late: Vec<f64> = seen
        .iter()
        .filter_map(|(pts, at)| {
            // Timestamps are rebased: the earliest of one side is the earliest of the other.
            let sent = ((pts - first_seen) * 0.09).round() + first_sent as f64;
            Some(at - arrived.get(&(sent as u64))? - LATENCY_MS)
        })
        .collect();
    late.sort_by(f64::total_cmp);
    let at = |percent: usize| late[(late.len() * percent / 100).min(late.len() - 1)];
    println!(
        "{encoders} encoders, {} pictures: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        late.len(),
        at(50),
        at(95),
        at(99),
        at(100)
    );
}

/// PTS (90 kHz) of every picture, and when its last packet passed, in milliseconds of the wall clock.
fn last_packets(passed: &[Passed]) -> BTreeMap<u64, f64> {
    let mut pictures = BTreeMap::new();
    let mut open = None;
    for Passed { at, payload } in passed {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1000.0;
        for packet in payload.chunks_exact(188) {
            if u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff != VIDEO_PID {
                continue;
            }
            if packet[1] & 0x40 != 0 {
                open = Some(pts(packet));
            }
            if let Some(pts) = open {
                pictures.insert(pts, at);
            }
        }
    }
    pictures
}

/// The PTS of the PES header that a packet begins with.
fn pts(packet: &[u8]) -> u64 {
    let adaptation = if packet[3] & 0x20 != 0 { usize::from(packet[4]) + 1 } else { 0 };
    let field = &packet[4 + adaptation + 9..];
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|at| u64::from(field[at]));
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}
