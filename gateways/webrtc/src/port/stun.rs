//! What a datagram says about its destination before anything is decrypted (RFC 5764 section 5.1.2, RFC 8489).

/// Fixed value in every STUN header.
const MAGIC_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const HEADER: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const USERNAME: u16 = 0x0006;
/// Longest USERNAME, bytes (RFC 8489 section 14.3).
const USERNAME_MAX: usize = 513;

/// What kind of datagram it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// A STUN binding request; the fragment that its receiver chose stands first in its user name.
    Check(&'a str),
    /// Any other STUN message.
    Stun,
    /// DTLS, SRTP or SRTCP: it belongs to whoever the address belongs to.
    Media,
    /// None of these.
    Noise,
}

/// Tells what `datagram` is. Looks at nothing that would need a key.
pub(crate) fn kind(datagram: &[u8]) -> Kind<'_> {
    match datagram.first() {
        Some(0..=3) => stun(datagram).unwrap_or(Kind::Noise),
        Some(20..=63 | 128..=191) => Kind::Media,
        _ => Kind::Noise,
    }
}

fn stun(datagram: &[u8]) -> Option<Kind<'_>> {
    let (header, mut attributes) = datagram.split_at_checked(HEADER)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[4..8] != MAGIC_COOKIE || length != attributes.len() || length % 4 != 0 {
        return None;
    }
    if header[..2] != BINDING_REQUEST {
        return Some(Kind::Stun);
    }
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        if u16::from_be_bytes([head[0], head[1]]) == USERNAME {
            if length > USERNAME_MAX {
                return None;
            }
            let ours = value.split(|byte| *byte == b':').next()?;
            return std::str::from_utf8(ours).ok().map(Kind::Check);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    Some(Kind::Stun)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A binding request without integrity, as far as routing looks at it.
    pub(crate) fn check(username: &str) -> Vec<u8> {
        let padded = username.len().next_multiple_of(4);
        let mut datagram = vec![0, 1];
        datagram.extend(u16::try_from(4 + padded).expect("short").to_be_bytes());
        datagram.extend(MAGIC_COOKIE);
        datagram.extend([7; 12]);
        datagram.extend(USERNAME.to_be_bytes());
        datagram.extend(u16::try_from(username.len()).expect("short").to_be_bytes());
        datagram.extend(username.as_bytes());
        datagram.resize(HEADER + 4 + padded, 0);
        datagram
    }

    #[test]
    fn the_first_half_of_the_user_name_is_ours() {
        assert_eq!(kind(&check("ours:theirs")), Kind::Check("ours"));
        assert_eq!(kind(&check("alone")), Kind::Check("alone"));
    }

    #[test]
    fn the_first_byte_tells_the_protocols_apart() {
        assert_eq!(kind(&[22, 254, 253]), Kind::Media);
        assert_eq!(kind(&[0x80, 96]), Kind::Media);
        assert_eq!(kind(&[64; 30]), Kind::Noise);
        assert_eq!(kind(&[]), Kind::Noise);
    }

    #[test]
    fn damaged_messages_are_noise() {
        let whole = check("ours:theirs");
        for end in 0..whole.len() {
            assert!(!matches!(kind(&whole[..end]), Kind::Check(_)), "{end} bytes");
        }
        let mut lying = check("ours:theirs");
        lying[23] = 200;
        assert_eq!(kind(&lying), Kind::Noise);
        let mut response = check("ours:theirs");
        response[0] = 1;
        assert_eq!(kind(&response), Kind::Stun);
    }
}
