//! Who watches, across relays: two gateways, and a released relay beside them.

use std::path::Path;
use std::process::Command;

use moqgate_tests::browser::Page;
use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::peers::{self, Relay};
use moqgate_tests::process::{Log, Process};
use moqgate_tests::{media, tools, wait};

use crate::{RUN, WHOLE};

const TOOLS: [&str; 2] = ["ffmpeg", "moq"];
const BROWSERS: [&str; 3] = ["ffmpeg", "chromium", "chromedriver"];
const BOTH: [&str; 5] = ["ffmpeg", "moq", "moq-relay", "chromium", "chromedriver"];
const BROADCAST: &str = "live/cam0";
/// With the time of every message that changes a subscription.
const LOG: [&str; 2] = ["--log", "info,moqgate_moq=debug"];
/// Bytes of a file that is being received: that media comes through is all that is asked, however starved the machine.
const SOME: u64 = 10_000;
/// Between two messages about one subscription, in seconds; clocks that are being set may take a little of it.
const SPACING: f64 = 0.99;

/// A gateway that believes what others on this machine say of their viewers.
fn origin() -> Gateway {
    Gateway::start(&[&["--moq-trust-downstream-from", "127.0.0.0/8"], &LOG[..]].concat())
}

/// A gateway before each of these.
fn edge(upstreams: &[&str]) -> Gateway {
    let urls = upstreams.join(",");
    let edge = Gateway::start(&[&["--relay", &urls, "--relay-tls-insecure"], &LOG[..]].concat());
    wait::until_true("the sessions upstream", wait::SOON, || edge.sessions("moq").len() == upstreams.len());
    edge
}

fn secure(address: std::net::SocketAddr) -> String {
    format!("https://{address}/")
}

fn viewers(gateway: &Gateway) -> Option<u64> {
    gateway.broadcast(BROADCAST)?["viewers"].as_u64()
}

#[track_caller]
fn wait_viewers(what: &str, gateway: &Gateway, count: u64) {
    wait::until_true(&format!("{count} viewers {what}"), RUN, || viewers(gateway) == Some(count));
}

/// Something that plays until it is killed.
fn play(name: &str, url: &str) -> Process {
    let mut command = Command::new(tools::program("ffmpeg"));
    command.args(["-nostdin", "-v", "error", "-i", url, "-c", "copy", "-f", "null", "-"]);
    Process::start(name, &mut command)
}

fn play_srt(gateway: &Gateway) -> Process {
    play("SRT player", &media::srt_url_with(gateway.srt(), &format!("#!::m=request,r={BROADCAST}"), ""))
}

fn play_rtmp(gateway: &Gateway) -> Process {
    play("RTMP player", &gateway.rtmp_url(BROADCAST))
}

fn watch(url: &str, folder: &Path, name: &str) -> Process {
    peers::export_ts(url, BROADCAST, &folder.join(name), WHOLE)
}

#[test]
fn players_of_every_protocol_behind_a_second_gateway_are_the_publishers_audience() {
    if !tools::require(&TOOLS) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let clip = Fixture::load("bframes");
    let origin = origin();
    let _encoder = media::push_forever(&clip.file(), &media::srt_url(origin.srt(), BROADCAST, ""));
    origin.wait_live(BROADCAST);
    let edge = edge(&[&secure(origin.moq())]);
    assert_eq!(viewers(&origin), Some(0));

    // What only the first gateway has is fetched for whoever asks the second one.
    let mut srt = play_srt(&edge);
    wait_viewers("of the origin", &origin, 1);
    let mut rtmp = play_rtmp(&edge);
    let mut moq = watch(&edge.moq_url(), folder.path(), "edge.ts");
    let mut direct = watch(&origin.moq_url(), folder.path(), "origin.ts");
    wait_viewers("of the origin", &origin, 4);
    wait_viewers("of the edge", &edge, 3);
    for file in ["edge.ts", "origin.ts"] {
        let some = || std::fs::metadata(folder.path().join(file)).is_ok_and(|file| file.len() > SOME);
        wait::until_true("media", RUN, some);
    }
    // One subscription a track, however many watch: the catalog, the picture and the sound; and the direct viewer's.
    let egress = origin.usage().egress(BROADCAST, "moq");
    assert_eq!(egress.active.live(), 2, "the edge and the direct viewer");
    assert!(egress.subscriptions.live() <= 6, "{egress:?}");
    let ingress = edge.usage().ingress(BROADCAST, "moq");
    assert_eq!(ingress.active.live(), 1, "{ingress:?}");

    moq.kill();
    wait_viewers("of the origin", &origin, 3);
    srt.kill();
    rtmp.kill();
    direct.kill();
    wait_viewers("of the origin", &origin, 0);
    assert_eq!(
        origin.broadcast(BROADCAST).expect("live")["protocol"],
        "srt",
        "it never came back from the edge"
    );
}

/// A message that changed a subscription, from a gateway's log.
struct Update {
    /// Seconds of the day.
    at: f64,
    subscription: u64,
    viewers: u64,
    /// Who sent it, where it was received.
    hop: Option<u64>,
}

/// What a gateway says that it has sent, or received.
fn updates(log: &Log, what: &str) -> Vec<Update> {
    let lines = log.lines().into_iter().filter(|line| line.contains(what));
    let update = |line: String| {
        let field = |name: &str| {
            let field = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok());
            field.or_else(|| (name == "hop=").then_some(0)).unwrap_or_else(|| panic!("no {name} in {line}"))
        };
        let clock = line.split(['T', 'Z']).nth(1).expect("a time of day").split(':');
        let at = clock.fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().expect("a number"));
        let hop = Some(field("hop=")).filter(|hop| *hop != 0);
        Update { at, subscription: field("id="), viewers: field("viewers="), hop }
    };
    lines.map(update).collect()
}

/// What `edge` said is what `origin` heard, nothing else was, and no subscription was spoken of twice in a second.
#[track_caller]
fn assert_spaced(edge: &Gateway, origin: &Gateway) {
    let said = |update: &Update| (update.subscription, update.viewers);
    // A log may be a moment behind.
    let (sent, received, from_edge) = wait::until("all that was sent to be heard", wait::SOON, || {
        let sent = updates(edge.log(), "subscription update sent");
        let received = updates(origin.log(), "subscription updated");
        let from_edge = received.iter().filter(|update| update.viewers != 1).find_map(|update| update.hop);
        let mut heard: Vec<_> = received.iter().filter(|update| update.hop == from_edge).map(said).collect();
        let mut told: Vec<_> = sent.iter().map(said).collect();
        // Stable, so that what is said of each subscription stays in its order.
        heard.sort_by_key(|update| update.0);
        told.sort_by_key(|update| update.0);
        (heard == told).then_some((sent, received, from_edge))
    });
    assert!(sent.len() > 3, "{} updates", sent.len());
    let foreign = received.iter().filter(|update| update.hop != from_edge);
    assert!(foreign.map(|update| update.viewers).all(|viewers| viewers == 1), "nobody else counts");
    for (number, update) in sent.iter().enumerate() {
        let next = sent.iter().skip(number + 1).find(|next| next.subscription == update.subscription);
        if let Some(next) = next {
            let apart = (next.at - update.at).rem_euclid(86_400.0);
            assert!(apart >= SPACING, "subscription {}: {apart} s apart", update.subscription);
        }
    }
}

#[test]
fn browsers_come_leave_and_are_killed_and_the_publisher_knows() {
    if !tools::require(&BROWSERS) {
        return;
    }
    let clip = Fixture::load("plain");
    let origin = origin();
    let _encoder = media::push_forever(&clip.file(), &media::srt_url(origin.srt(), BROADCAST, ""));
    origin.wait_live(BROADCAST);
    let edge = edge(&[&secure(origin.moq())]);
    let mut other_edge = self::edge(&[&secure(origin.moq())]);

    let native = Page::open("watch", &format!("url={}&name={BROADCAST}", edge.moq_url()));
    wait_viewers("with a native player", &origin, 1);
    let watch = || Page::visit(&format!("http://{}/watch/{BROADCAST}", edge.http()));
    let (left, killed) = (watch(), watch());
    wait_viewers("with two more over WHEP", &origin, 3);
    let mut crowd = [play_rtmp(&edge), play_rtmp(&edge), play_rtmp(&edge)];
    wait_viewers("with a crowd", &origin, 6);
    // A closed socket is seen at once.
    crowd.iter_mut().for_each(Process::kill);
    wait_viewers("without the crowd", &origin, 3);
    let _ = native.wait("probe().transport === 'webtransport' && picture()", RUN);
    let _ = left.wait("session.stats.video?.framesDecoded > 0", RUN);
    drop(left);
    wait_viewers("when a tab was closed", &origin, 2);
    let _orphan = play_rtmp(&other_edge);
    wait_viewers("with one behind another gateway", &origin, 3);
    // None of them says goodbye.
    native.kill();
    killed.kill();
    other_edge.process().kill();
    wait_viewers("when all others were killed", &origin, 0);
    assert_eq!(viewers(&edge), Some(0));
    assert_spaced(&edge, &origin);
    let told = updates(origin.log(), "subscription updated");
    assert!(told.iter().any(|update| update.viewers == 0), "told that nobody is left, not only unsubscribed");
}

#[test]
fn a_released_relay_in_between_sees_nothing_that_it_would_reject() {
    if !tools::require(&BOTH) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let clip = Fixture::load("bframes");
    let relay = Relay::start();
    let origin = origin_before(&relay);
    let _encoder = media::push_forever(&clip.file(), &media::srt_url(origin.srt(), BROADCAST, ""));
    origin.wait_live(BROADCAST);
    wait::until_true("the broadcast at the relay", RUN, || {
        relay.announced().iter().any(|name| name == BROADCAST)
    });
    let edge = edge(&[&secure(relay.address())]);

    // The edge's viewers come and go; the relay is asked once, and is one viewer whoever is behind it.
    let mut first = play_srt(&edge);
    wait_viewers("of the origin", &origin, 1);
    let mut others = [play_rtmp(&edge), watch(&edge.moq_url(), folder.path(), "edge.ts")];
    wait_viewers("of the edge", &edge, 3);
    let mut beside = watch(&relay.url(), folder.path(), "relay.ts");
    let page = Page::open("watch", &format!("url={}&name={BROADCAST}", relay.url()));
    for file in ["edge.ts", "relay.ts"] {
        let some = || std::fs::metadata(folder.path().join(file)).is_ok_and(|file| file.len() > SOME);
        wait::until_true("media", RUN, some);
    }
    let _ = page.wait("probe().transport === 'webtransport' && picture()", RUN);
    assert_eq!(viewers(&origin), Some(1), "released relays do not count for us");
    others.iter_mut().for_each(Process::kill);
    wait_viewers("of the edge", &edge, 1);
    let size = std::fs::metadata(folder.path().join("relay.ts")).expect("a file").len();
    let grown = || std::fs::metadata(folder.path().join("relay.ts")).is_ok_and(|file| file.len() > size);
    wait::until_true("media goes on", RUN, grown);
    first.kill();
    beside.kill();
    page.kill();
    wait_viewers("of the origin", &origin, 0);
    for gateway in [&origin, &edge] {
        assert_eq!(gateway.log().find("relay lost"), None, "no session ended");
        for what in ["subscription update sent", "subscription updated"] {
            let counts = updates(gateway.log(), what).into_iter().map(|update| update.viewers);
            assert_eq!(
                counts.filter(|count| *count != 1).count(),
                0,
                "the relay is not told, and tells nobody"
            );
        }
    }
    assert_eq!(
        relay.log().lines().into_iter().find(|line| line.contains("decode") || line.contains(" ERROR ")),
        None
    );
}

fn origin_before(relay: &Relay) -> Gateway {
    Gateway::start(&[&["--relay", &secure(relay.address()), "--relay-tls-insecure"], &LOG[..]].concat())
}
