//! How moqgate stops.

use std::sync::Arc;

use moqgate_core::{Gate, OpenAdmission, Origin, OriginConfig};
use moqgate_moq::{DialConfig, Dialer, Trust};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;

/// The order of a stop, as the log tells it.
const ORDER: [&str; 9] = [
    "accept no more",
    "readyz is 503",
    "finish importers, drop producers",
    "goodbye to peers",
    "drain",
    "cancel",
    "join",
    "flush the ledger",
    "stopped",
];

fn assert_order(log: &[String]) {
    let steps = log.iter().filter(|line| line.contains("stop: ") || line.contains("stopped"));
    let steps: Vec<_> = steps.collect();
    assert_eq!(steps.len(), ORDER.len(), "{log:#?}");
    for (line, step) in steps.iter().zip(ORDER) {
        assert!(line.contains(step), "{step:?} expected: {line}");
    }
}

#[test]
fn both_signals_stop_in_order() {
    for signal in ["TERM", "INT"] {
        let gateway = Gateway::start(&[]);
        gateway.signal(signal);
        let (code, log) = gateway.end();
        assert_eq!(code, Some(0), "{log:#?}");
        assert_order(&log);
        assert!(log.iter().any(|line| line.contains(&format!("SIG{signal}"))), "{log:#?}");
    }
}

/// A MoQ peer that stays until its runtime is dropped, although it is asked to leave.
fn stubborn_peer(gateway: &mut Gateway) -> Runtime {
    let runtime = Runtime::new().expect("a runtime");
    let gate = Gate::new(Origin::new(OriginConfig::default()), Arc::new(OpenAdmission));
    let url = format!("moqt://{}", gateway.listener("moq").expect("MoQ is on"));
    let config = DialConfig { trust: Trust::Insecure, ..DialConfig::new(url.parse().expect("a URL")) };
    runtime.spawn(Dialer::new(config, gate).run(CancellationToken::new()));
    gateway.until("a session", |gateway| {
        let sessions = gateway.get("/api/v1/sessions").json();
        (sessions["sessions"][0]["protocol"] == "moq").then_some(())
    });
    runtime
}

#[test]
fn draining_is_seen_and_a_second_signal_skips_it() {
    let mut gateway = Gateway::start(&["--grace", "10m"]);
    let _peer = stubborn_peer(&mut gateway);
    gateway.signal("TERM");
    gateway.wait_for("stop: drain");
    let ready = gateway.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.header("content-type"), "application/problem+json");
    assert_eq!(gateway.get("/healthz").status, 200);
    gateway.signal("TERM");
    let (code, log) = gateway.end();
    assert_eq!(code, Some(1), "{log:#?}");
    assert_order(&log);
    assert!(log.iter().any(|line| line.contains("the drain is skipped")), "{log:#?}");
}

#[test]
fn the_grace_period_bounds_the_drain() {
    let mut gateway = Gateway::start(&["--grace", "50ms"]);
    let _peer = stubborn_peer(&mut gateway);
    gateway.signal("TERM");
    let (code, log) = gateway.end();
    assert_eq!(code, Some(1), "{log:#?}");
    assert_order(&log);
}
