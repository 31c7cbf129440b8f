//! How moqgate stops.

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
