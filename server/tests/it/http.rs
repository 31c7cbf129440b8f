//! The HTTP contract.

use crate::gateway::Gateway;
use crate::http_client::{Answer, request};

fn assert_problem(answer: &Answer, status: u16, title: &str, detail: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = answer.json();
    assert_eq!(body["type"], "about:blank");
    assert_eq!(body["title"], title);
    assert_eq!(body["status"], status);
    assert!(body["detail"].as_str().expect("a detail").contains(detail), "{body}");
}

#[test]
fn an_idle_gateway_says_so_in_every_form() {
    let gateway = Gateway::start(&["--node", "ams-1"]);
    assert_eq!(gateway.get("/healthz").status, 200);
    assert_eq!(gateway.get("/readyz").status, 200);
    assert_eq!(gateway.get("/api/v1/broadcasts").body, r#"{"broadcasts":[]}"#);
    assert_eq!(gateway.get("/api/v1/sessions").body, r#"{"sessions":[]}"#);
    assert_eq!(gateway.get("/api/v1/slo").body, r#"{"entries":[],"objectives":[]}"#);
    let usage = gateway.get("/api/v1/usage?path=live/cam0");
    assert_eq!(usage.header("content-type"), "application/json");
    let usage = usage.json();
    assert_eq!(usage["node"], "ams-1");
    assert!(usage["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{usage}");
    assert_eq!(usage["usage"], serde_json::json!([]));
    assert_eq!(usage["sessions"], serde_json::json!([]));
}

#[test]
fn metrics_are_prometheus_text() {
    let metrics = Gateway::start(&["--node", "a\"b"]).get("/metrics");
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let build =
        format!("moqgate_build_info{{version=\"{}\",node=\"a\\\"b\"}} 1\n", env!("CARGO_PKG_VERSION"));
    assert!(metrics.body.contains(&build), "{}", metrics.body);
    assert!(metrics.body.contains("\nmoqgate_broadcasts 0\n"), "{}", metrics.body);
}

#[test]
fn every_error_is_a_problem_document() {
    let gateway = Gateway::start(&[]);
    let ask = |method, target| request(gateway.http(), method, target, "");
    assert_problem(&ask("GET", "/nothing"), 404, "Not Found", "/nothing");
    assert_problem(&ask("GET", "/api/v1/"), 404, "Not Found", "/api/v1/");
    assert_problem(&ask("DELETE", "/api/v1/sessions/srt-1"), 404, "Not Found", "srt-1");
    assert_problem(&ask("DELETE", "/api/v1/sessions/%ff"), 400, "Bad Request", "");
    let wrong_method = ask("POST", "/api/v1/usage");
    assert_problem(&wrong_method, 405, "Method Not Allowed", "POST");
    assert_eq!(wrong_method.header("allow"), "GET,HEAD");
    assert_problem(&ask("GET", "/api/v1/usage?paht=live"), 400, "Bad Request", "paht");
    assert_problem(&ask("GET", "/api/v1/usage?path=a%00b"), 400, "Bad Request", "path");
    assert_problem(&ask("GET", "/api/v1/usage?path=a&path=b"), 400, "Bad Request", "duplicate");
}

#[test]
fn pages_of_other_origins_may_read_and_nothing_else() {
    let gateway = Gateway::start(&[]);
    for target in ["/api/v1/broadcasts", "/nothing", "/metrics"] {
        assert_eq!(gateway.get(target).header("access-control-allow-origin"), "*");
    }
    let preflight =
        request(gateway.http(), "OPTIONS", "/api/v1/sessions/x", "access-control-request-method: DELETE\r\n");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-methods"), "GET, HEAD");
}

#[test]
fn people_get_pages() {
    let gateway = Gateway::start(&[]);
    let dashboard = gateway.get("/");
    assert_eq!(dashboard.header("content-type"), "text/html; charset=utf-8");
    assert!(dashboard.body.contains("<title>moqgate</title>"));
}
