//! `moqgate demo`: a publisher over SRT and over RTMP, and what the API says of it.

use serde_json::Value;

use crate::gateway::{Gateway, run};
use crate::http_client::request;

/// The session that plays the clip over `protocol`, once it is there.
fn publisher(gateway: &mut Gateway, protocol: &str) -> Value {
    gateway.until(protocol, |gateway| {
        let sessions = gateway.get("/api/v1/sessions").json();
        sessions["sessions"].as_array()?.iter().find(|session| session["protocol"] == protocol).cloned()
    })
}

/// The broadcast of that path, once it has two tracks.
fn broadcast(gateway: &mut Gateway, path: &str) -> Value {
    gateway.until(path, |gateway| {
        let list = gateway.get("/api/v1/broadcasts").json();
        let found =
            list["broadcasts"].as_array()?.iter().find(|broadcast| broadcast["path"] == path).cloned();
        found.filter(|found| found["tracks"].as_array().is_some_and(|tracks| tracks.len() == 2))
    })
}

#[test]
fn the_clip_is_a_publisher_over_rtmp_too() {
    let mut gateway = Gateway::start(&["demo", "--srt-passphrase", "0123456789"]);
    for (path, protocol) in [("demo", "srt"), ("demo/rtmp", "rtmp")] {
        let live = broadcast(&mut gateway, path);
        assert_eq!(live["protocol"], protocol, "{live}");
        let codecs: Vec<_> =
            live["tracks"].as_array().expect("a list").iter().map(|track| &track["codec"]).collect();
        assert!(codecs.iter().any(|codec| codec.as_str().is_some_and(|codec| codec.starts_with("avc3."))));
        assert!(codecs.contains(&&"mp4a.40.2".into()), "{codecs:?}");
    }
    // Its own viewers are nobody's business.
    let usage = gateway.get("/api/v1/usage").json();
    let rows = usage["usage"].as_array().expect("rows");
    assert!(rows.iter().all(|row| row["egress"]["bytes"] == 0), "{usage}");
    gateway.signal("TERM");
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn the_clip_is_a_publisher_like_any_other() {
    let mut gateway = Gateway::start(&["demo", "--rtmp-listen", "off"]);
    let session = publisher(&mut gateway, "srt");
    let live = broadcast(&mut gateway, "demo");
    assert_eq!((&live["path"], &live["protocol"]), (&"demo".into(), &"srt".into()), "{live}");
    assert_eq!(session["id"], live["session"]);
    assert_eq!(session["direction"], "publish");
    assert_eq!(session["path"], "demo");
    assert!(session["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{session}");
    let packets = |gateway: &Gateway| {
        gateway.get("/api/v1/sessions").json()["sessions"][0]["link"]["packets_received"].as_u64()
    };
    gateway.until("packets", |gateway| packets(gateway).filter(|&count| count > 10));

    let tracks = live["tracks"].as_array().expect("tracks");
    let video = tracks.iter().find(|track| track["kind"] == "video").expect("a picture");
    assert!(video["codec"].as_str().is_some_and(|codec| codec.starts_with("avc3.")), "{video}");
    assert_eq!((&video["width"], &video["height"]), (&640.into(), &360.into()));
    let audio = tracks.iter().find(|track| track["kind"] == "audio").expect("a tone");
    assert_eq!((&audio["codec"], &audio["width"]), (&"mp4a.40.2".into(), &Value::Null));

    let usage = gateway.until("frames", |gateway| {
        let usage = gateway.get("/api/v1/usage?path=demo").json();
        usage["usage"][0]["ingress"]["frames"].as_u64().filter(|&frames| frames > 10).map(|_| usage)
    });
    let row = &usage["usage"][0];
    assert_eq!((&row["tier"], &row["protocol"]), (&"".into(), &"srt".into()));
    assert_eq!(row["ingress"]["announced"], serde_json::json!({"opened": 1, "closed": 0}));
    assert_eq!(row["ingress"]["active"], serde_json::json!({"opened": 1, "closed": 0}));
    assert_eq!((&row["egress"]["bytes"], &row["ingress"]["fetches"]), (&0.into(), &0.into()));
    assert_eq!(
        usage["sessions"][0],
        serde_json::json!({"tier": "", "protocol": "srt", "opened": 1, "closed": 0})
    );
    assert_eq!(gateway.get("/api/v1/usage?path=other").json()["usage"], serde_json::json!([]));
}

#[test]
fn a_session_can_be_ended() {
    for (protocol, off) in [("srt", "--rtmp-listen"), ("rtmp", "--srt-listen")] {
        let mut gateway = Gateway::start(&["demo", off, "off"]);
        let id = publisher(&mut gateway, protocol)["id"].as_str().expect("an id").to_owned();
        check_ended(&mut gateway, &id);
        // It is gone, not paused: the clip comes back as another session.
        assert_eq!(request(gateway.http(), "DELETE", &format!("/api/v1/sessions/{id}"), "").status, 404);
        assert_ne!(publisher(&mut gateway, protocol)["id"], id.as_str());
    }
}

fn check_ended(gateway: &mut Gateway, id: &str) {
    let ended = request(gateway.http(), "DELETE", &format!("/api/v1/sessions/{id}?for=0s"), "");
    assert_eq!((ended.status, ended.body.as_str()), (204, ""));
    gateway.until("the gauge closes", |gateway| {
        let usage = gateway.get("/api/v1/usage").json();
        (usage["sessions"][0]["closed"] == 1).then_some(())
    });
}

#[test]
fn labels_per_broadcast_are_only_given_when_asked_for() {
    for (more, labels) in [(&[][..], false), (&["--metrics-per-broadcast"], true)] {
        let mut gateway = Gateway::start(&[&["demo", "--rtmp-listen", "off"], more].concat());
        broadcast(&mut gateway, "demo");
        let metrics = gateway.get("/metrics").body;
        assert_eq!(metrics.contains("broadcast=\"demo\""), labels, "{metrics}");
        let sum = "moqgate_ingress_announced_opened_total{tier=\"\",protocol=\"srt\"} 1\n";
        assert_eq!(metrics.contains(sum), !labels, "{metrics}");
        assert!(
            metrics.contains("moqgate_sessions_opened_total{tier=\"\",protocol=\"srt\"} 1\n"),
            "{metrics}"
        );
    }
}

#[test]
fn it_says_when_the_clip_cannot_get_in() {
    let ended = run(&["demo", "--srt-listen", "off", "--rtmp-listen", "off"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.starts_with("moqgate: demo: "), "{}", ended.stderr);
}
