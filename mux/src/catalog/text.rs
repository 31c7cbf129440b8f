//! Bytes as text, the two ways in which catalogs hold them.

/// Lowercase hex, for codec descriptions.
pub(super) mod hex {
    use std::fmt::Write;

    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::catalog) fn serialize<S: Serializer>(
        bytes: &Option<Bytes>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        for byte in bytes.iter().flatten() {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(in crate::catalog) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Bytes>, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(text.as_bytes()).map(|bytes| Some(bytes.into())).ok_or_else(|| D::Error::custom("not hex"))
    }

    fn decode(text: &[u8]) -> Option<Vec<u8>> {
        let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, []) = text.as_chunks::<2>() else { return None };
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
    }
}

/// Base64 with padding (RFC 4648 section 4), for descriptors of a transport stream.
pub(super) mod base64 {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    pub(in crate::catalog) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes))
    }

    pub(in crate::catalog) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(text.as_bytes()).map(Bytes::from).ok_or_else(|| D::Error::custom("not base64"))
    }

    pub(super) fn encode(bytes: &[u8]) -> String {
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
            let group = at(0) << 16 | at(1) << 8 | at(2);
            for digit in 0..4 {
                let filled = digit <= chunk.len();
                let value = ALPHABET[(group >> (18 - 6 * digit) & 63) as usize];
                text.push(if filled { char::from(value) } else { '=' });
            }
        }
        text
    }

    pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
        let (groups, []) = text.as_chunks::<4>() else { return None };
        let mut bytes = Vec::with_capacity(groups.len() * 3);
        for group in groups {
            let padding = group.iter().rev().take_while(|byte| **byte == b'=').count();
            let mut value = 0u32;
            for byte in &group[..4 - padding.min(2)] {
                let digit = ALPHABET.iter().position(|known| known == byte)?;
                value = value << 6 | u32::try_from(digit).ok()?;
            }
            value <<= 6 * padding.min(2);
            bytes.extend_from_slice(&value.to_be_bytes()[1..4 - padding.min(2)]);
        }
        Some(bytes)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn matches_the_vectors_of_the_standard() {
            let vectors = [
                ("", ""),
                ("f", "Zg=="),
                ("fo", "Zm8="),
                ("foo", "Zm9v"),
                ("foob", "Zm9vYg=="),
                ("CUEI", "Q1VFSQ=="),
            ];
            for (plain, text) in vectors {
                assert_eq!(encode(plain.as_bytes()), text);
                assert_eq!(decode(text.as_bytes()).as_deref(), Some(plain.as_bytes()));
            }
            assert_eq!(decode(b"Zg="), None);
            assert_eq!(decode(b"Z!=="), None);
            assert_eq!(decode(b"===="), None);
        }
    }
}
