//! The MoQ port's TCP side, and `--relay` from one moqgate to another.

use crate::gateway::Gateway;
use crate::http_client::request;

fn fingerprint(gateway: &Gateway) -> String {
    let answer = request(gateway.listener("moq").expect("MoQ is on"), "GET", "/certificate.sha256", "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("content-length"), "64");
    answer.body
}

#[test]
fn the_certificate_is_named_on_the_tcp_side_of_the_port() {
    let gateway = Gateway::start(&[]);
    let hash = fingerprint(&gateway);
    let is_lower_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    assert!(hash.len() == 64 && hash.chars().all(is_lower_hex), "{hash:?}");
    let at = gateway.listener("moq").expect("MoQ is on");
    assert_eq!(request(at, "GET", "/healthz", "").status, 200);
    let other = request(at, "GET", "/announced", "");
    assert_eq!((other.status, other.header("content-type")), (404, "application/problem+json"));
}

/// Starts a second moqgate that plays the demo and publishes to the first, and waits until it is there.
fn check_relayed(relay: &mut Gateway, url: &str, trust: &[&str]) {
    let mut flags = vec!["demo", "--rtmp-listen", "off", "--relay", url];
    flags.extend(trust);
    let edge = Gateway::start(&flags);
    let broadcast = relay.until("the broadcast at the relay", |relay| {
        let list = relay.get("/api/v1/broadcasts").json();
        list["broadcasts"].as_array().and_then(|list| list.first().cloned())
    });
    assert_eq!((&broadcast["path"], &broadcast["protocol"]), (&"demo".into(), &"moq".into()));
    edge.signal("TERM");
    assert_eq!(edge.end().0, Some(0));
    relay.until("its end", |relay| {
        (relay.get("/api/v1/broadcasts").body == r#"{"broadcasts":[]}"#).then_some(())
    });
}

#[test]
fn broadcasts_reach_a_relay_however_it_is_trusted() {
    let mut relay = Gateway::start(&[]);
    let at = relay.listener("moq").expect("MoQ is on");
    let hash = fingerprint(&relay);
    check_relayed(&mut relay, &format!("http://{at}"), &[]);
    check_relayed(&mut relay, &format!("moqt://{at}"), &["--relay-tls-fingerprint", &hash]);
    check_relayed(&mut relay, &format!("https://{at}"), &["--relay-tls-insecure"]);
}

#[test]
fn a_relay_with_another_certificate_is_not_believed() {
    let relay = Gateway::start(&[]);
    let url = format!("moqt://{}", relay.listener("moq").expect("MoQ is on"));
    let mut edge = Gateway::start(&["--relay", &url, "--relay-tls-fingerprint", &"00".repeat(32)]);
    edge.wait_for("relay unreachable");
    assert_eq!(relay.get("/api/v1/sessions").body, r#"{"sessions":[]}"#);
}
