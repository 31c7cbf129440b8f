//! `moqgate demo`: a publisher over SRT, and what the API says of it.

use crate::gateway::{Gateway, run};
use crate::http_client::request;

#[test]
fn the_clip_is_a_publisher_like_any_other() {
    let mut gateway = Gateway::start(&["demo"]);
    gateway.wait_for("the demo plays");
    let broadcast = gateway.get("/api/v1/broadcasts").json()["broadcasts"][0].clone();
    assert_eq!((&broadcast["path"], &broadcast["protocol"]), (&"demo".into(), &"srt".into()), "{broadcast}");
    let session = gateway.get("/api/v1/sessions").json()["sessions"][0].clone();
    assert_eq!(session["id"], broadcast["session"]);
    assert_eq!(session["direction"], "publish");
    assert_eq!(session["path"], "demo");
    assert!(session["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{session}");
    let packets = |gateway: &Gateway| {
        gateway.get("/api/v1/sessions").json()["sessions"][0]["link"]["packets_received"].as_u64()
    };
    gateway.until("packets", |gateway| packets(gateway).filter(|&count| count > 10));

    let tracks = gateway.until("tracks", |gateway| {
        let tracks = gateway.get("/api/v1/broadcasts").json()["broadcasts"][0]["tracks"].clone();
        tracks.as_array().filter(|tracks| tracks.len() == 2).cloned()
    });
    let video = tracks.iter().find(|track| track["kind"] == "video").expect("a picture");
    assert!(video["codec"].as_str().is_some_and(|codec| codec.starts_with("avc3.")), "{video}");
    assert_eq!((&video["width"], &video["height"]), (&640.into(), &360.into()));
    let audio = tracks.iter().find(|track| track["kind"] == "audio").expect("a tone");
    assert_eq!((&audio["codec"], &audio["width"]), (&"mp4a.40.2".into(), &serde_json::Value::Null));

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
    let mut gateway = Gateway::start(&["demo"]);
    gateway.wait_for("the demo plays");
    let id = gateway.get("/api/v1/sessions").json()["sessions"][0]["id"].as_str().expect("an id").to_owned();
    let ended = request(gateway.http(), "DELETE", &format!("/api/v1/sessions/{id}"), "");
    assert_eq!((ended.status, ended.body.as_str()), (204, ""));
    gateway.wait_for("the demo is interrupted");
    gateway.until("the gauge closes", |gateway| {
        let usage = gateway.get("/api/v1/usage").json();
        (usage["sessions"][0]["closed"] == 1).then_some(())
    });
    // It is gone, not paused: the clip comes back as another session.
    assert_eq!(request(gateway.http(), "DELETE", &format!("/api/v1/sessions/{id}"), "").status, 404);
}

#[test]
fn labels_per_broadcast_are_only_given_when_asked_for() {
    for (flags, labels) in [(&["demo"][..], false), (&["demo", "--metrics-per-broadcast"], true)] {
        let mut gateway = Gateway::start(flags);
        gateway.wait_for("the demo plays");
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
    for flags in [&["demo", "--srt-listen", "off"][..], &["demo", "--srt-passphrase", "0123456789"]] {
        let ended = run(flags);
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.starts_with("moqgate: demo: "), "{}", ended.stderr);
    }
}
