//! The secrets of stream keys.

use moqgate_core::Secret;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

/// Marks a text as a secret of ours, for people, for scanners, and for whoever must not log it.
const MARK: &str = "mg_";
/// 32 letters that survive every URL, stream id and dictation (Crockford's).
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 120 bits: nobody finds one by trying.
const LENGTH: usize = 24;
/// Ids are no secrets; 40 bits tell a million of them apart.
const ID_LENGTH: usize = 8;
/// A passphrase that we choose: the same 120 bits, and within what libsrt takes.
const PASSPHRASE_LENGTH: usize = 24;

/// SHA-256 of a secret.
pub(crate) type Digest = [u8; 32];

/// What is kept of a secret.
pub(crate) fn digest(secret: &str) -> Digest {
    Sha256::digest(secret.as_bytes()).into()
}

/// Whether a text has the form of a stream key's secret.
pub(crate) fn looks_like_secret(text: &str) -> bool {
    text.strip_prefix(MARK)
        .is_some_and(|rest| rest.len() == LENGTH && rest.bytes().all(|byte| LETTERS.contains(&byte)))
}

/// A new secret.
pub(super) fn generate() -> Secret {
    Secret::new(&format!("{MARK}{}", letters(LENGTH)))
}

/// A new id.
pub(super) fn generate_id() -> String {
    letters(ID_LENGTH)
}

/// A new passphrase.
pub(super) fn generate_passphrase() -> Secret {
    Secret::new(&letters(PASSPHRASE_LENGTH))
}

/// From the generator of the `rand` crate, which is seeded by the system and made for secrets.
fn letters(count: usize) -> String {
    let mut rng = rand::rng();
    (0..count).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_recognised() {
        let (one, other) = (generate(), generate());
        assert!(one != other && looks_like_secret(one.expose()) && one.expose().len() == 27);
        for text in ["", "mg_", "cam0", "mg_0123456789abcdefghjkmnpq!", "mg_0123456789abcdefghjkmnpqrs"] {
            assert!(!looks_like_secret(text), "{text}");
        }
        assert_ne!(digest(one.expose()), digest(other.expose()));
    }
}
