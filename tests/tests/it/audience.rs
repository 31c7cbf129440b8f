//! Who watches, across relays: two gateways, and a released relay beside them.

use std::path::Path;
use std::process::Command;

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::peers::{self, Relay};
use moqgate_tests::process::Process;
use moqgate_tests::{media, tools, wait};

use crate::{RUN, WHOLE};

const TOOLS: [&str; 3] = ["ffmpeg", "moq", "moq-relay"];
const BROADCAST: &str = "live/cam0";

/// A gateway that believes what others on this machine say of their viewers.
fn origin() -> Gateway {
    Gateway::start(&["--moq-trust-downstream-from", "127.0.0.0/8"])
}

/// A gateway before each of these.
fn edge(upstreams: &[&str]) -> Gateway {
    let urls = upstreams.join(",");
    let edge = Gateway::start(&["--relay", &urls, "--relay-tls-insecure"]);
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
        let some = || std::fs::metadata(folder.path().join(file)).is_ok_and(|file| file.len() > 100_000);
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

#[test]
fn a_released_relay_in_between_sees_nothing_that_it_would_reject() {
    if !tools::require(&TOOLS) {
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
    for file in ["edge.ts", "relay.ts"] {
        let some = || std::fs::metadata(folder.path().join(file)).is_ok_and(|file| file.len() > 100_000);
        wait::until_true("media", RUN, some);
    }
    assert_eq!(viewers(&origin), Some(1), "released relays do not count for us");
    others.iter_mut().for_each(Process::kill);
    wait_viewers("of the edge", &edge, 1);
    let size = std::fs::metadata(folder.path().join("relay.ts")).expect("a file").len();
    let grown = || std::fs::metadata(folder.path().join("relay.ts")).is_ok_and(|file| file.len() > size);
    wait::until_true("media goes on", RUN, grown);
    first.kill();
    beside.kill();
    wait_viewers("of the origin", &origin, 0);
    for gateway in [&origin, &edge] {
        assert_eq!(gateway.log().find("relay lost"), None, "no session ended");
    }
    assert_eq!(
        relay.log().lines().into_iter().find(|line| line.contains("decode") || line.contains(" ERROR ")),
        None
    );
}

fn origin_before(relay: &Relay) -> Gateway {
    Gateway::start(&["--relay", &secure(relay.address()), "--relay-tls-insecure"])
}
