//! The small values that configuration is made of, each parsed once and checked where it is parsed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

use moqgate_core::Secret;
use serde::Deserialize;

/// Where a listener binds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) enum Listen {
    /// It does not.
    Off,
    /// On every address of the machine, at this port; 0 picks a free one.
    Any(u16),
    /// At one address; port 0 picks a free one.
    At(SocketAddr),
}

impl Listen {
    /// The address to bind, or `None` for `off`. "Every address" is both address families where the machine has both.
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::Any(port) => Some(SocketAddr::new(unspecified(), port)),
            Self::At(address) => Some(address),
        }
    }
}

/// `[::]` where the machine has IPv6 (it then takes IPv4 as well), else `0.0.0.0`.
fn unspecified() -> IpAddr {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::At(address));
        }
        match text.strip_prefix(':').unwrap_or(text).parse() {
            Ok(port) => Ok(Self::Any(port)),
            Err(_) => Err(format!("{text:?} is not an IP address and port, a port, or `off`")),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A length of time: a whole number and `ms`, `s`, `m` or `h`; without a unit it is seconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let millis_per_unit = match &text[digits.len()..] {
            "ms" => 1,
            "s" | "" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(format!("{text:?} has no known unit: ms, s, m or h")),
        };
        let wrong = || format!("{text:?} is not a length of time such as 10s or 500ms");
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        number.checked_mul(millis_per_unit).map(Duration::from_millis).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A range of addresses: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) struct Network {
    address: IpAddr,
    /// Bits of it that count.
    prefix: u32,
}

impl Network {
    /// Whether it holds `address`. An IPv4 address that came over an IPv6 socket is itself.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let leading = |a: u128, b: u128, bits: u32| {
            a.checked_shr(bits).unwrap_or(0) == b.checked_shr(bits).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                leading(ours.to_bits().into(), theirs.to_bits().into(), u32::BITS - self.prefix)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                leading(ours.to_bits(), theirs.to_bits(), u128::BITS - self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address or a range such as 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let bits = if address.is_ipv4() { u32::BITS } else { u128::BITS };
        let prefix = prefix.map_or(Ok(bits), str::parse).map_err(|_| wrong())?;
        if prefix > bits { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A [`Secret`] as it is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Hidden(pub(crate) Secret);

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(Secret::new(&text))
    }
}

impl FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Secret::new(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_takes_off_a_port_and_an_address() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        assert_eq!("OFF".parse(), Ok(Listen::Off));
        assert_eq!("9000".parse(), Ok(Listen::Any(9000)));
        assert_eq!(":0".parse(), Ok(Listen::Any(0)));
        assert_eq!("127.0.0.1:1".parse(), Ok(Listen::At(SocketAddr::from(([127, 0, 0, 1], 1)))));
        assert_eq!("[::1]:1".parse(), Ok(Listen::At(SocketAddr::from((Ipv6Addr::LOCALHOST, 1)))));
        for wrong in ["", "on", "70000", "127.0.0.1", "::1", "host:80", "-1"] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn span_takes_a_number_and_a_unit() {
        let span = |text: &str| text.parse::<Span>().map(|span| span.0.as_millis());
        assert_eq!(span("10"), Ok(10_000));
        assert_eq!(span("500ms"), Ok(500));
        assert_eq!(span("2m"), Ok(120_000));
        assert_eq!(span("1h"), Ok(3_600_000));
        for wrong in
            ["", "s", "1.5s", "-1s", "10 s", "10d", "99999999999999999999s", "18446744073709551615h", "1é"]
        {
            assert!(span(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_network_holds_what_begins_like_it() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().expect("a network").contains(address.parse().expect("an address"))
        };
        assert!(holds("10.0.0.0/8", "10.200.3.4") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("0.0.0.0/0", "192.0.2.1") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1"));
        for wrong in ["", "10.0.0.0/33", "host/8", "::/129", "10.0.0.0/x"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let hidden: Hidden = "correct horse".parse().expect("infallible");
        assert!(!format!("{hidden:?}").contains("horse"));
        assert_eq!(hidden.0.expose(), "correct horse");
    }
}
