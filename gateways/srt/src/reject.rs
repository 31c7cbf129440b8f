//! Refusals as libsrt 1.5 knows them (`srt_getrejectreason`).

use moqgate_core::DenyReason;

use crate::crypto::KeyError;
use crate::streamid::StreamIdError;

/// Why a caller is refused. On the wire a library reason is 1000 + reason; the access control reasons (1400 and up,
/// named after HTTP) are 1000 + reason too, which makes 403 the wire value 2403.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// Damaged or contradictory handshake.
    Rogue,
    /// Too many handshakes wait for a decision.
    Backlog,
    /// Not HSv5.
    Version,
    /// Wrong passphrase.
    BadSecret,
    /// One side encrypts, the other does not.
    Unsecure,
    /// Buffer API asked for.
    MessageApi,
    /// A congestion control other than `live`.
    Congestion,
    /// A packet filter (FEC) asked for.
    Filter,
    /// A member of a bonded group.
    Group,
    /// AES-GCM asked for.
    CryptoMode,
    /// The stream id does not parse or names nothing.
    BadRequest,
    /// A credential is missing or not known.
    Unauthorized,
    /// A limit is reached.
    Overload,
    /// The credential does not cover this.
    Forbidden,
    /// No such broadcast.
    NotFound,
    /// A mode (`m`) that does not exist here.
    BadMode,
    /// An MTU too small for a TS packet.
    Unacceptable,
    /// The path has another publisher.
    Conflict,
    /// A type (`t`) that does not exist here.
    UnsupportedMedia,
    /// Stopping, or what decides cannot be reached.
    Unavailable,
}

impl Reject {
    /// Every refusal, in the order in which they are counted.
    pub const ALL: [Self; 20] = [
        Self::Rogue,
        Self::Backlog,
        Self::Version,
        Self::BadSecret,
        Self::Unsecure,
        Self::MessageApi,
        Self::Congestion,
        Self::Filter,
        Self::Group,
        Self::CryptoMode,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Overload,
        Self::Forbidden,
        Self::NotFound,
        Self::BadMode,
        Self::Unacceptable,
        Self::Conflict,
        Self::UnsupportedMedia,
        Self::Unavailable,
    ];

    /// Position in [`Reject::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// What `srt_getrejectreason` returns at the caller.
    pub const fn reason(self) -> i32 {
        match self {
            Self::Rogue => 4,
            Self::Backlog => 5,
            Self::Version => 8,
            Self::BadSecret => 10,
            Self::Unsecure => 11,
            Self::MessageApi => 12,
            Self::Congestion => 13,
            Self::Filter => 14,
            Self::Group => 15,
            Self::CryptoMode => 17,
            Self::BadRequest => 1400,
            Self::Unauthorized => 1401,
            Self::Overload => 1402,
            Self::Forbidden => 1403,
            Self::NotFound => 1404,
            Self::BadMode => 1405,
            Self::Unacceptable => 1406,
            Self::Conflict => 1409,
            Self::UnsupportedMedia => 1415,
            Self::Unavailable => 1503,
        }
    }

    /// The type field of the handshake that says so.
    pub const fn wire(self) -> i32 {
        1000 + self.reason()
    }

    /// One word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rogue => "rogue",
            Self::Backlog => "backlog",
            Self::Version => "version",
            Self::BadSecret => "bad_secret",
            Self::Unsecure => "unsecure",
            Self::MessageApi => "message_api",
            Self::Congestion => "congestion",
            Self::Filter => "filter",
            Self::Group => "group",
            Self::CryptoMode => "crypto_mode",
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Overload => "overload",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::BadMode => "bad_mode",
            Self::Unacceptable => "unacceptable",
            Self::Conflict => "conflict",
            Self::UnsupportedMedia => "unsupported_media",
            Self::Unavailable => "unavailable",
        }
    }
}

impl From<DenyReason> for Reject {
    fn from(reason: DenyReason) -> Self {
        match reason {
            DenyReason::BadRequest => Self::BadRequest,
            DenyReason::Unauthorized => Self::Unauthorized,
            DenyReason::Forbidden => Self::Forbidden,
            DenyReason::NotFound => Self::NotFound,
            DenyReason::Conflict => Self::Conflict,
            DenyReason::Overloaded => Self::Overload,
            DenyReason::Unavailable => Self::Unavailable,
        }
    }
}

impl From<StreamIdError> for Reject {
    fn from(error: StreamIdError) -> Self {
        match error {
            StreamIdError::Mode => Self::BadMode,
            StreamIdError::Type => Self::UnsupportedMedia,
            StreamIdError::TooLong
            | StreamIdError::NotText
            | StreamIdError::Syntax
            | StreamIdError::Duplicate
            | StreamIdError::NoPath
            | StreamIdError::Path => Self::BadRequest,
        }
    }
}

impl From<KeyError> for Reject {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Malformed => Self::Rogue,
            KeyError::Cipher => Self::CryptoMode,
            KeyError::WrongPassphrase => Self::BadSecret,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_place_and_its_own_code() {
        let mut codes = std::collections::BTreeSet::new();
        for (index, reject) in Reject::ALL.into_iter().enumerate() {
            assert_eq!(reject.index(), index);
            assert!(codes.insert(reject.wire()));
            // 1018 to 1999 arrive at libsrt as "unknown".
            assert!((1000..1018).contains(&reject.wire()) || (2000..3000).contains(&reject.wire()));
        }
        assert_eq!(Reject::Forbidden.wire(), 0x963);
    }
}
