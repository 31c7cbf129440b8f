//! What a scripted subscriber gets, byte for byte where it matters.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use moqgate_core::{BroadcastProducer, Protocol, Session, TrackProducer};
use moqgate_moq::wire::{GroupHead, Message as _, Version};
use quinn::VarInt;

use crate::peer::client_config;
use crate::rig::*;
use crate::script::*;

/// A listener with `cam` that has a track `v`.
struct Studio {
    server: Server,
    video: TrackProducer,
    _broadcast: BroadcastProducer,
    encoder: Session,
}

impl Studio {
    fn new() -> Self {
        let server = Server::start(11);
        let encoder = local(&server.gate, Protocol::Srt);
        let broadcast = publish(&encoder, "cam");
        Self { video: track(&broadcast, "v"), _broadcast: broadcast, encoder, server }
    }

    async fn viewer(&self, version: Version) -> quinn::Connection {
        ready(self.server.address, version).await
    }
}

/// SUBSCRIBE id 0, cam, v, priority 60, max age 0, and these bounds on 06.
fn subscribe(bounds: &str) -> String {
    let body = format!("00 03{} 01{} 3c 00 {bounds}", ascii("cam"), ascii("v"));
    format!("02 {:02x} {body}", unhex(&body).len())
}

#[tokio::test]
async fn refusals_carry_the_code_that_fits() {
    let studio = Studio::new();
    push_group(&studio.video, &[frame(0, "x")]);
    let quic = studio.viewer(Version::Lite06).await;
    let (cam, v) = (ascii("cam"), ascii("v"));
    let missing = ascii("nop");
    for (what, request, code) in [
        ("SUBSCRIBE of no broadcast", format!("02 0d 00 03{missing} 01{v} 00 00 0000 0000"), 0x36),
        ("SUBSCRIBE of no track", format!("02 0d 00 03{cam} 01 7a 00 00 0000 0000"), 0x33),
        ("TRACK of no broadcast", format!("06 06 03{missing} 01{v}"), 0x36),
        ("TRACK of no track", format!("06 06 03{cam} 01 7a"), 0x33),
        ("FETCH of no broadcast", format!("03 0a 03{missing} 01{v} 00 00 00 00"), 0x36),
        ("FETCH of the future", format!("03 0a 03{cam} 01{v} 00 09 00 00"), 0x33),
        ("SUBSCRIBE too long", format!("02 0f 00 03{cam} 01{v} 00 00 0000 0000 00 00"), 0x1),
        ("TRACK too long", format!("06 07 03{cam} 01{v} 00"), 0x1),
        ("ANNOUNCE too long", "01 02 00 07".into(), 0x1),
        ("FETCH 4..2", format!("03 0a 03{cam} 01{v} 00 00 04 03"), 0x1),
        (
            "SUBSCRIBE with a frame end but no group end",
            format!("02 0d 00 03{cam} 01{v} 00 00 0000 0005"),
            0x1,
        ),
    ] {
        let (_send, mut reply) = bi(&quic, &request).await;
        assert_eq!(rest(&mut reply).await, (String::new(), Ended::Reset(code)), "{what}");
    }
    let (mut send, mut reply) = bi(&quic, &subscribe("00000000")).await;
    expect(&mut reply, "000100").await;
    say(&mut send, "02 0000").await;
    assert_eq!(rest(&mut reply).await, (String::new(), Ended::Reset(0x12)), "UPDATE too short");
    studio.server.stop().await;
}

#[tokio::test]
async fn a_track_is_described_and_sent_as_the_version_wants_it() {
    let (cam, v) = (ascii("cam"), ascii("v"));
    // Priority 60, (ordered,) 30 s, a million ticks a second. START, group head, and two frames: 1000 and 967 us.
    for (version, info, request, start, group) in [
        (
            Version::Lite06,
            "09 3c 80007530 800f4240",
            "00000000",
            "000105",
            "00 03 000500  47d0 02 6869  4041 00",
        ),
        (
            Version::Lite05,
            "0a 3c 00 80007530 800f4240",
            "000000",
            "000105",
            "00 02 0005  47d0 02 6869  4041 00",
        ),
        (Version::Lite04, "", "000000", "00 05 3c 00 00 00 00", "00 02 0005  02 6869  00"),
        (Version::Lite03, "", "000000", "00 05 3c 00 00 00 00", "00 02 0005  02 6869  00"),
    ] {
        let studio = Studio::new();
        let mut open = studio.video.create_group(5).expect("new");
        open.push(frame(1000, "hi")).expect("taken");
        open.push(frame(967, "")).expect("taken");
        open.finish();
        let quic = studio.viewer(version).await;
        if !info.is_empty() {
            let (_send, mut reply) = bi(&quic, &format!("06 06 03{cam} 01{v}")).await;
            assert_eq!(rest(&mut reply).await, (info.replace(' ', ""), Ended::Fin), "{version}");
        }
        let (_send, mut reply) = bi(&quic, &subscribe(request)).await;
        expect(&mut reply, start).await;
        assert_eq!(next_uni(&quic).await, (group.replace(' ', ""), Ended::Fin), "{version}");
        // The end: END is exclusive, FIN follows; before 05 FIN is all there is.
        studio.video.finish();
        let end = if version.has_start_and_end() { "010106" } else { "" };
        assert_eq!(rest(&mut reply).await, (end.into(), Ended::Fin), "{version}");
        studio.server.stop().await;
    }
}

#[tokio::test]
async fn announcements_follow_the_version() {
    for (version, request, first, second, end) in [
        (Version::Lite06, "010100", "020b01 0007 0363616d 00 0000", "0005 0178 00 0000", "010100"),
        (Version::Lite05, "01020000", "020b01 06 01 0363616d 00", "04 01 0178 00", "06 00 0363616d 00"),
        (Version::Lite04, "01020000", "07 01 0363616d 01 0b", "05 01 0178 01 0b", "06 00 0363616d 00"),
        (Version::Lite03, "010100", "06 01 0363616d 01", "04 01 0178 01", "06 00 0363616d 00"),
    ] {
        let studio = Studio::new();
        let _hidden = publish(&studio.encoder, ".stats/node");
        let quic = studio.viewer(version).await;
        let (mut send, mut reply) = bi(&quic, request).await;
        expect(&mut reply, first).await;
        let _second = publish(&studio.encoder, "x");
        expect(&mut reply, second).await;
        let Studio { server, video, _broadcast, encoder: _encoder } = studio;
        drop((video, _broadcast));
        expect(&mut reply, end).await;
        // FIN takes the request back, and is answered by FIN.
        send.finish().expect("open");
        assert_eq!(rest(&mut reply).await, (String::new(), Ended::Fin), "{version}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_prefix_selects_whole_segments_and_shows_the_hidden() {
    let studio = Studio::new();
    let _more: Vec<_> = ["a/b", "ab/c", ".s/x"].map(|name| publish(&studio.encoder, name)).into();
    let quic = studio.viewer(Version::Lite06).await;
    for (prefix, answer) in [
        ("a", format!("020b01 0005 01{} 00 0000", ascii("b"))),
        ("/a//b/", "020b01 0004 00 00 0000".into()),
        (".s", format!("020b01 0005 01{} 00 0000", ascii("x"))),
        ("nothing", "020b00".into()),
    ] {
        let request = format!("01 {:02x} {:02x}{}", prefix.len() + 1, prefix.len(), ascii(prefix));
        let (_send, mut reply) = bi(&quic, &request).await;
        expect(&mut reply, &answer).await;
    }
    studio.server.stop().await;
}

#[tokio::test]
async fn unsubscribing_is_answered_in_kind_and_gives_up_open_groups() {
    let studio = Studio::new();
    let mut open = studio.video.append_group().expect("open");
    open.push(frame(0, "x")).expect("taken");
    let quic = studio.viewer(Version::Lite06).await;
    for reset in [false, true] {
        let (mut send, mut reply) = bi(&quic, &subscribe("00000000")).await;
        expect(&mut reply, "000100").await;
        let mut group = within("group", quic.accept_uni()).await.expect("alive");
        expect(&mut group, "00 03 000000 00 01 78").await;
        let expected = if reset {
            send.reset(VarInt::from_u64(0x52e4_a40f_a8dd).expect("in range")).expect("open");
            Ended::Reset(0x2)
        } else {
            send.finish().expect("open");
            Ended::Fin
        };
        assert_eq!(rest(&mut reply).await, (String::new(), expected));
        assert_eq!(rest(&mut group).await, (String::new(), Ended::Reset(0x1)));
    }
    let egress = row(&studio.server.gate, "cam", Protocol::Moq).expect("a row").egress;
    assert_eq!((egress.subscriptions.opened, egress.subscriptions.closed), (2, 2));
    assert_eq!((egress.active.opened, egress.active.closed), (2, 2));
    studio.server.stop().await;
}

#[tokio::test]
async fn ranges_bound_groups_and_frames() {
    let studio = Studio::new();
    for at in 0..6u64 {
        let frames: Vec<_> = (0..3).map(|i| frame(at * 10 + i, vec![(at * 16 + i) as u8])).collect();
        push_group(&studio.video, &frames);
    }
    let quic = studio.viewer(Version::Lite06).await;
    // Groups 2 to 4, from frame 1 of the first to frame 0 of the last.
    let (mut send, mut reply) = bi(&quic, &subscribe("02 05 01 01")).await;
    expect(&mut reply, "000102").await;
    let mut groups = [next_uni(&quic).await, next_uni(&quic).await, next_uni(&quic).await];
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    let expected =
        ["00 03 000201 2a0121 020122", "00 03 000300 3c0130 020131 020132", "00 03 000400 40500140"];
    assert_eq!(groups, expected.map(|group| (group.replace(' ', ""), Ended::Fin)));
    // The same by FETCH: bare frames, the first with its absolute time.
    let fetch = format!("03 0a 03{} 01{} 3c 02 01 03", ascii("cam"), ascii("v"));
    let (_fetch, mut answer) = bi(&quic, &fetch).await;
    assert_eq!(rest(&mut answer).await, ("2a0121020122".into(), Ended::Fin));
    let egress = row(&studio.server.gate, "cam", Protocol::Moq).expect("a row").egress;
    assert_eq!((egress.groups, egress.frames, egress.bytes, egress.fetches), (3, 8, 8, 1));
    // The end of the range ends nothing: it can be moved.
    say(&mut send, "06 3c 00 02 00 00 00").await;
    eventually("groups past the old end", || {
        push_group(&studio.video, &[frame(60, "u")]);
        row(&studio.server.gate, "cam", Protocol::Moq).is_some_and(|row| row.egress.groups > 3)
    })
    .await;
    studio.server.stop().await;
}

#[tokio::test]
async fn a_datagram_group_leaves_as_a_datagram() {
    let studio = Studio::new();
    let quic = studio.viewer(Version::Lite05).await;
    push_group(&studio.video, &[frame(0, "x")]);
    let (_send, mut reply) = bi(&quic, &subscribe("000000")).await;
    expect(&mut reply, "000100").await;
    next_uni(&quic).await;
    for (sequence, payload) in [(1, vec![0; 5000]), (2, b"world".to_vec())] {
        let mut group = studio.video.create_datagram(sequence).expect("new");
        group.push(frame(3, payload)).expect("taken");
        group.finish();
    }
    let datagram = within("datagram", quic.read_datagram()).await.expect("alive");
    assert_eq!(hex(&datagram), "000203776f726c64", "and the one that fits no packet is dropped");
    let egress = row(&studio.server.gate, "cam", Protocol::Moq).expect("a row").egress;
    assert_eq!((egress.groups, egress.datagrams, egress.bytes), (2, 1, 6), "what was dropped is not charged");
    assert_eq!(studio.server.count("datagrams_dropped"), 1);
    studio.server.stop().await;
}

/// A peer that grants this many bytes over all streams, and this many streams.
async fn granting(address: SocketAddr, window: u32, streams: u32) -> quinn::Connection {
    let mut transport = quinn::TransportConfig::default();
    transport
        .receive_window(window.into())
        .stream_receive_window(window.into())
        .max_concurrent_uni_streams(streams.into());
    let mut config = client_config(Version::Lite06);
    config.transport_config(Arc::new(transport));
    let endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("binds");
    let quic = within("handshake", endpoint.connect_with(config, address, "localhost").expect("valid")).await;
    let quic = quic.expect("connects");
    uni(&quic, "010100", true).await;
    next_uni(&quic).await;
    quic
}

#[tokio::test]
async fn a_group_is_given_up_when_it_is_blocked_and_superseded_and_not_before() {
    const LARGE: usize = 200_000;
    let studio = Studio::new();
    let quic = granting(studio.server.address, 50_000, 100).await;
    let mut first = studio.video.append_group().expect("open");
    first.push(frame(0, "head")).expect("taken");
    let (_send, mut reply) = bi(&quic, &subscribe("00000000")).await;
    expect(&mut reply, "000100").await;
    let mut old = within("group 0", quic.accept_uni()).await.expect("alive");
    expect(&mut old, &format!("00 03 000000 00 04 {}", ascii("head"))).await;

    // Superseded, but not blocked: it goes on.
    push_group(&studio.video, &[frame(1000, "new")]);
    assert_eq!(next_uni(&quic).await.1, Ended::Fin);
    first.push(frame(500, "tail")).expect("taken");
    expect(&mut old, &format!("43e8 04 {}", ascii("tail"))).await;

    // Blocked, and there is a newer one: given up. The newest one is blocked too, and is not.
    first.push(frame(600, vec![1; LARGE])).expect("taken");
    let mut second = studio.video.append_group().expect("open");
    second.push(frame(2000, vec![2; LARGE])).expect("taken");
    second.finish();
    let (_, ended) = rest(&mut old).await;
    assert_eq!(ended, Ended::Reset(0x34));
    let (bytes, ended) = next_uni(&quic).await;
    assert_eq!(ended, Ended::Fin);
    assert!(bytes.len() > 2 * LARGE);
    assert_eq!(studio.server.count("groups_expired"), 1);
    drop(first);
    studio.server.stop().await;
}

/// More than may be under way at once.
#[tokio::test]
async fn a_long_past_arrives_whole() {
    const GROUPS: u64 = 700;
    let studio = Studio::new();
    for i in 0..=GROUPS {
        push_group(&studio.video, &[frame(i * 10_000, vec![i as u8; 100])]);
    }
    let quic = granting(studio.server.address, 50_000_000, 5_000).await;
    // From group 1, max age 20 s.
    let body = format!("00 03{} 01{} 3c 80004e20 01000000", ascii("cam"), ascii("v"));
    let (_send, mut reply) = bi(&quic, &format!("02 {:02x} {body}", unhex(&body).len())).await;
    expect(&mut reply, "000101").await;
    for sequence in 1..=GROUPS {
        let (group, ended) = next_uni(&quic).await;
        // In its order: what competes for nothing need not be overtaken.
        let mut head = BytesMut::from(&unhex(&group)[1..]);
        let head = GroupHead::decode(&mut head, Version::Lite06).expect("valid").expect("whole");
        assert_eq!((head.sequence, ended), (sequence, Ended::Fin));
    }
    assert_eq!(studio.server.count("groups_expired"), 0);
    studio.server.stop().await;
}

/// An encoder that vanishes takes nothing back: what was complete arrives, then the track fails.
#[tokio::test]
async fn what_was_complete_when_the_publisher_vanished_arrives() {
    let studio = Studio::new();
    let quic = granting(studio.server.address, 50_000, 100).await;
    push_group(&studio.video, &[frame(0, vec![1; 200_000])]);
    let (_send, mut reply) = bi(&quic, &subscribe("00000000")).await;
    expect(&mut reply, "000100").await;
    let Studio { server, video, _broadcast, encoder } = studio;
    drop((video, _broadcast, encoder));
    let (bytes, ended) = next_uni(&quic).await;
    assert_eq!((ended, bytes.len() > 2 * 200_000), (Ended::Fin, true));
    assert_eq!(rest(&mut reply).await, (String::new(), Ended::Reset(0x1)));
    server.stop().await;
}

/// Being full for a moment is not being blocked: a burst that does not fit at once still arrives whole at max age 0.
#[tokio::test]
async fn a_burst_larger_than_the_peers_window_arrives_whole() {
    let studio = Studio::new();
    let quic = granting(studio.server.address, 50_000, 100).await;
    push_group(&studio.video, &[frame(0, "x")]);
    let (_send, mut reply) = bi(&quic, &subscribe("00000000")).await;
    expect(&mut reply, "000100").await;
    next_uni(&quic).await;
    for i in 1..9 {
        push_group(&studio.video, &[frame(i * 21_333, vec![i as u8; 20_000])]);
    }
    let reading = futures_util::future::join_all((0..8).map(|_| next_uni(&quic)));
    let groups = within("burst", reading).await;
    assert!(
        groups.iter().all(|(_, ended)| *ended == Ended::Fin),
        "{:?}",
        groups.iter().map(|(_, ended)| ended)
    );
    assert_eq!(studio.server.count("groups_expired"), 0);
    studio.server.stop().await;
}

#[tokio::test]
async fn a_viewer_who_allows_age_gets_it() {
    const LARGE: usize = 200_000;
    let studio = Studio::new();
    let quic = granting(studio.server.address, 50_000, 100).await;
    push_group(&studio.video, &[frame(0, vec![1; LARGE])]);
    // Max age 1 s: the second group is only half a second ahead.
    let body = format!("00 03{} 01{} 3c 43e8 00000000", ascii("cam"), ascii("v"));
    let (_send, mut reply) = bi(&quic, &format!("02 {:02x} {body}", unhex(&body).len())).await;
    expect(&mut reply, "000100").await;
    push_group(&studio.video, &[frame(500_000, vec![2; LARGE])]);
    // Both at once: they share what the peer grants.
    let mut old = within("group 0", quic.accept_uni()).await.expect("alive");
    for (bytes, ended) in <[_; 2]>::from(tokio::join!(rest(&mut old), next_uni(&quic))) {
        assert_eq!((ended, bytes.len() > 2 * LARGE), (Ended::Fin, true));
    }
    studio.server.stop().await;
}

#[tokio::test]
async fn probe_reports_at_once_and_ends_with_its_request() {
    let studio = Studio::new();
    for version in Version::PREFERENCE {
        let quic = studio.viewer(version).await;
        let (mut send, mut reply) = bi(&quic, "04").await;
        let mut length = [0];
        within("report", reply.read_exact(&mut length)).await.expect("alive");
        assert!(length[0] >= 2 || !version.has_probe_rtt());
        send.finish().expect("open");
        assert_eq!(rest(&mut reply).await.1, Ended::Fin);
    }
    studio.server.stop().await;
}

#[tokio::test]
async fn a_viewer_that_vanishes_closes_its_gauges() {
    let studio = Studio::new();
    push_group(&studio.video, &[frame(0, "x")]);
    let quic = studio.viewer(Version::Lite06).await;
    let (_send, mut reply) = bi(&quic, &subscribe("00000000")).await;
    expect(&mut reply, "000100").await;
    quic.close(VarInt::from_u32(0), b"");
    eventually("closed", || {
        let egress = row(&studio.server.gate, "cam", Protocol::Moq).expect("a row").egress;
        (egress.active.opened, egress.active.closed) == (1, 1)
    })
    .await;
    studio.server.stop().await;
}
