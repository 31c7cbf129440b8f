//! Who may change something over the API: whoever has the admin token, or, where there is none, this machine.

use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use moqgate_core::Secret;
use subtle::ConstantTimeEq as _;

use super::listen::Bounded;
use super::{Api, Problem};
use crate::admission::keys::{Digest, digest};

/// Headers by which a proxy says that it asks for somebody else.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// What opens the endpoints that change something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admin(Option<Digest>);

impl Admin {
    /// Only the digest is kept, which has one length for all tokens, so that comparing takes one time for all.
    pub(crate) fn new(token: Option<&Secret>) -> Self {
        Self(token.map(|token| digest(token.expose())))
    }

    fn admit(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<(), Problem> {
        let Some(expected) = &self.0 else { return from_here(headers, peer) };
        let said = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = said.and_then(|said| {
            let (scheme, token) = said.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        match token {
            Some(token) if bool::from(digest(token).ct_eq(expected)) => Ok(()),
            Some(_) => Err(Problem::unauthorized("the admin token is wrong")),
            None => Err(Problem::unauthorized("an admin token is needed: Authorization: Bearer …")),
        }
    }
}

/// A program on this machine that asks for itself: neither a proxy, nor a page in a browser.
fn from_here(headers: &HeaderMap, peer: SocketAddr) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").unwrap_or_default();
    // A page elsewhere cannot hide its origin, and one whose name was bent to this machine cannot hide that name.
    let is_foreign = text("origin").is_some_and(|origin| origin.split("://").nth(1) != Some(host));
    let is_local = peer.ip().to_canonical().is_loopback() && is_loopback(host);
    if is_local && !is_foreign && FORWARDED.iter().all(|name| !headers.contains_key(*name)) {
        return Ok(());
    }
    Err(Problem::forbidden("without an admin token only this machine may do that: set admin.token"))
}

fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Middleware that lets only those through.
pub(super) async fn guard(
    State(api): State<Api>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    api.access.admin.admit(request.headers(), peer)?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn without_a_token_only_this_machine() {
        let (admin, here) = (Admin::default(), SocketAddr::from(([127, 0, 0, 1], 1)));
        for good in [
            &[("host", "127.0.0.1:8080")][..],
            &[("host", "localhost:8080")],
            &[("host", "[::1]:8080")],
            &[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")],
        ] {
            assert!(admin.admit(&headers(good), here).is_ok(), "{good:?}");
        }
        for bad in [
            &[("host", "127.0.0.1:8080"), ("origin", "https://evil.example")][..],
            &[("host", "127.0.0.1:8080"), ("origin", "null")],
            &[("host", "evil.example:8080")],
            &[("host", "127.0.0.1:8080"), ("x-forwarded-for", "192.0.2.1")],
        ] {
            assert!(admin.admit(&headers(bad), here).is_err(), "{bad:?}");
        }
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 1));
        assert!(admin.admit(&headers(&[("host", "127.0.0.1:8080")]), elsewhere).is_err());
    }

    #[test]
    fn with_a_token_only_its_holder() {
        let admin = Admin::new(Some(&Secret::new("correct horse battery")));
        let here = SocketAddr::from(([127, 0, 0, 1], 1));
        let with =
            |value: &'static str| admin.admit(&headers(&[("host", "x"), ("authorization", value)]), here);
        assert!(with("Bearer correct horse battery").is_ok());
        assert!(with("bearer correct horse battery").is_ok());
        for wrong in ["Bearer wrong", "correct horse battery", "Basic correct horse battery", ""] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
        assert!(admin.admit(&headers(&[("host", "127.0.0.1")]), here).is_err());
        assert!(!format!("{admin:?}").contains("horse"));
    }
}
