//! Protocol versions: their tokens, their order of preference, and what each of them has.

use std::fmt;

/// A released version of moq-lite. Later ones compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `moq-lite-03`
    Lite03,
    /// `moq-lite-04`
    Lite04,
    /// `moq-lite-05`, what browsers speak
    Lite05,
    /// `moq-lite-06`, what relays speak among each other
    Lite06,
}

impl Version {
    /// All of them, the preferred one first: the order in which a server chooses and a client offers.
    pub const PREFERENCE: [Self; 4] = [Self::Lite06, Self::Lite05, Self::Lite04, Self::Lite03];

    /// The token used as TLS ALPN on raw QUIC and as WebTransport sub-protocol.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Lite03 => "moq-lite-03",
            Self::Lite04 => "moq-lite-04",
            Self::Lite05 => "moq-lite-05",
            Self::Lite06 => "moq-lite-06",
        }
    }

    /// The version of a token. Look-alikes such as `moq-lite-06-wip` are other protocols.
    pub fn from_token(token: &[u8]) -> Option<Self> {
        Self::PREFERENCE.into_iter().find(|version| version.token().as_bytes() == token)
    }

    /// The first entry of a client's list that we speak: on WebTransport the client's order decides.
    pub fn choose<'a>(offered: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        offered.into_iter().find_map(|token| Self::from_token(token.as_bytes()))
    }

    /// Both sides open one SETUP stream.
    pub fn has_setup(self) -> bool {
        self >= Self::Lite05
    }

    /// The announce reply begins with ANNOUNCE_OK, and the receiver, not the sender, appends the sender's hop.
    pub fn has_announce_ok(self) -> bool {
        self >= Self::Lite05
    }

    /// Announcements carry a type, ids and costs.
    pub fn has_typed_announce(self) -> bool {
        self >= Self::Lite06
    }

    /// Announcements name their hops; before, they only count them.
    pub fn has_hop_ids(self) -> bool {
        self >= Self::Lite04
    }

    /// ANNOUNCE_REQUEST names a hop whose routes are not wanted.
    pub fn has_exclude_hop(self) -> bool {
        matches!(self, Self::Lite04 | Self::Lite05)
    }

    /// SUBSCRIBE, UPDATE, OK and TRACK_INFO carry the byte that asks for oldest-first delivery.
    pub fn has_ordered(self) -> bool {
        self <= Self::Lite05
    }

    /// TRACK, per-frame timestamps and datagrams exist.
    pub fn has_tracks(self) -> bool {
        self >= Self::Lite05
    }

    /// Subscriptions are answered by START, END and DROP; before, by OK and DROP.
    pub fn has_start_and_end(self) -> bool {
        self >= Self::Lite05
    }

    /// SUBSCRIBE, UPDATE, FETCH and GROUP bound frames within a group, and a group start is a plain floor.
    pub fn has_frame_bounds(self) -> bool {
        self >= Self::Lite06
    }

    /// PROBE reports carry a round-trip time.
    pub fn has_probe_rtt(self) -> bool {
        self >= Self::Lite04
    }

    /// GOAWAY exists.
    pub fn has_goaway(self) -> bool {
        self >= Self::Lite04
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_exact() {
        for version in Version::PREFERENCE {
            assert_eq!(Version::from_token(version.token().as_bytes()), Some(version));
        }
        assert_eq!(Version::from_token(b"moq-lite-06-wip"), None);
        assert_eq!(Version::from_token(b"moql"), None);
    }

    #[test]
    fn the_client_chooses() {
        assert_eq!(Version::choose(["moq-lite-04", "moq-lite-06"]), Some(Version::Lite04));
        assert_eq!(Version::choose(["moql", "moqt-18", "moq-lite-05"]), Some(Version::Lite05));
        assert_eq!(Version::choose(["moql"]), None);
    }
}
