//! What the operator can set.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use moqgate_core::{PlaceLimits, Secret};

/// Settings of one listener. `Config::default()` listens on port 8189 of every address and is open to everybody.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where media comes in, UDP and TCP of the same number; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Addresses at which peers reach us although no interface has them: the outside of a NAT.
    pub hosts: Vec<IpAddr>,
    /// Names of such addresses and what they stand for at first; they are looked up again every minute.
    pub host_names: Vec<(String, Vec<IpAddr>)>,
    /// STUN and TURN servers that clients are told to use.
    pub ice_servers: Vec<IceServer>,
    /// How long an offer to watch waits for its broadcast before it is refused.
    pub offer_wait: Duration,
    /// How long a player whose publisher left waits for the next one before its session ends.
    pub play_wait: Duration,
    /// Most sessions at once.
    pub max_sessions: usize,
    /// Most sessions at once from one IPv4 address or one IPv6 /64.
    pub max_sessions_per_place: usize,
    /// Most sessions at once that are not connected yet.
    pub max_pending: usize,
    /// Most of those from one IPv4 address or one IPv6 /64.
    pub max_pending_per_place: usize,
}

/// A server that helps clients to get through their NAT (RFC 9725 section 4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:`, `stuns:`, `turn:` or `turns:` URI.
    pub url: String,
    /// User of a TURN server.
    pub username: Option<String>,
    /// Its password.
    pub credential: Option<Secret>,
}

impl Config {
    pub(crate) fn places(&self) -> PlaceLimits {
        PlaceLimits {
            all: self.max_sessions,
            here: self.max_sessions_per_place,
            pending: self.max_pending,
            pending_here: self.max_pending_per_place,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8189)),
            hosts: Vec::new(),
            host_names: Vec::new(),
            ice_servers: Vec::new(),
            // Players that are refused ask again.
            offer_wait: Duration::from_secs(2),
            play_wait: Duration::from_secs(10),
            // Each holds about 0.2 MB beside the packets that it may have to send again.
            max_sessions: 8192,
            max_sessions_per_place: 4096,
            // Each is there for 20 seconds at most, and holds about 0.1 MB.
            max_pending: 512,
            max_pending_per_place: 128,
        }
    }
}

impl IceServer {
    /// The `Link` header field that names it.
    pub(crate) fn link(&self) -> String {
        let quoted = |text: &str| text.replace(['"', '\\', '\r', '\n'], "");
        let mut link = format!("<{}>; rel=\"ice-server\"", self.url.replace(['<', '>', '\r', '\n'], ""));
        if let (Some(username), Some(credential)) = (&self.username, &self.credential) {
            let (username, credential) = (quoted(username), quoted(credential.expose()));
            link += &format!(
                "; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\""
            );
        }
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_server_is_named_with_its_credential() {
        let stun = IceServer { url: "stun:stun.example.net".into(), username: None, credential: None };
        assert_eq!(stun.link(), "<stun:stun.example.net>; rel=\"ice-server\"");
        let turn = IceServer {
            url: "turn:turn.example.net?transport=udp".into(),
            username: Some("user".into()),
            credential: Some(Secret::new("pass\"word")),
        };
        assert_eq!(
            turn.link(),
            "<turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"user\"; \
             credential=\"password\"; credential-type=\"password\""
        );
    }
}
