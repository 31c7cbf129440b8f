//! Whom an address belongs to.

use std::net::{IpAddr, Ipv6Addr};

/// What limits are counted by: an IPv4 address, or the /64 of an IPv6 address, which is what one customer of a provider
/// has. An IPv4 address in IPv6 clothes is itself.
#[must_use]
pub fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}
