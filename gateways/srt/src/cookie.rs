//! The SYN cookie of the induction step: proof that a caller receives at its address, without state.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a cookie is handed out; it is accepted for one period more.
const PERIOD: Duration = Duration::from_secs(60);

/// Makes and checks cookies under a random key of its own. libsrt's cookie has no secret, so that anyone can compute
/// it; this one is HMAC-SHA256 over address and period.
pub struct CookieJar {
    key: Hmac<Sha256>,
    start: Instant,
}

impl CookieJar {
    /// A jar with a key from the operating system's generator.
    pub fn new(now: Instant) -> Self {
        let key: [u8; 32] = rand::random();
        let key = Hmac::new_from_slice(&key).expect("HMAC takes a key of any length");
        Self { key, start: now }
    }

    /// The cookie for a caller at `from`. Never 0, which means "no cookie".
    pub fn issue(&self, from: SocketAddr, now: Instant) -> u32 {
        self.compute(from, self.period(now))
    }

    /// Whether `cookie` was issued to `from` in this period or the one before.
    pub fn accepts(&self, cookie: u32, from: SocketAddr, now: Instant) -> bool {
        let period = self.period(now);
        cookie == self.compute(from, period)
            || period.checked_sub(1).is_some_and(|previous| cookie == self.compute(from, previous))
    }

    fn period(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / PERIOD.as_secs()
    }

    fn compute(&self, from: SocketAddr, period: u64) -> u32 {
        let mut mac = self.key.clone();
        match from {
            SocketAddr::V4(v4) => mac.update(&v4.ip().octets()),
            SocketAddr::V6(v6) => mac.update(&v6.ip().octets()),
        }
        mac.update(&from.port().to_be_bytes());
        mac.update(&period.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        let cookie = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        cookie.max(1)
    }
}

impl fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieJar")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_for_its_address_and_two_periods() {
        let start = Instant::now();
        let jar = CookieJar::new(start);
        let (here, there) = ("192.0.2.1:9".parse().expect("a"), "192.0.2.1:10".parse().expect("b"));
        let cookie = jar.issue(here, start);
        assert!(jar.accepts(cookie, here, start));
        assert!(!jar.accepts(cookie, there, start));
        assert!(!jar.accepts(0, here, start));
        assert!(jar.accepts(cookie, here, start + PERIOD));
        assert!(!jar.accepts(cookie, here, start + 2 * PERIOD));
    }

    #[test]
    fn another_listener_has_another_key() {
        let now = Instant::now();
        let here = "192.0.2.1:9".parse().expect("address");
        let cookies: std::collections::HashSet<u32> =
            (0..4).map(|_| CookieJar::new(now).issue(here, now)).collect();
        assert!(cookies.len() > 1);
    }
}
