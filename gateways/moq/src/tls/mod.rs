//! Certificates: the one that is served, and which ones are believed.

mod certificate;
mod verify;

pub use certificate::{CertificateError, CertificateHash};
pub(crate) use certificate::{Certificates, RENEWAL_CHECK};
pub(crate) use verify::client_config;
pub use verify::{TrustError, tls_client};

use sha2::{Digest as _, Sha256};

/// SHA-256 of a certificate's DER: what browsers and released peers pin.
pub(crate) fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

/// Lower-case hex, as `/certificate.sha256` carries it.
pub(crate) fn to_hex(digest: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// The digest that 64 hex digits stand for, surrounding white space ignored.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip() {
        let digest = fingerprint(b"abc");
        assert_eq!(to_hex(&digest), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(from_hex(&format!(" {}\n", to_hex(&digest))), Some(digest));
        assert_eq!(from_hex("ba78"), None);
        assert_eq!(from_hex(&"zz".repeat(32)), None);
    }
}
