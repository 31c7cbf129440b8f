//! Where a caller calls: `srt://host:port?streamid=…&passphrase=…&pbkeylen=16&latency=120`.

use std::fmt;
use std::time::Duration;

use moqgate_core::Secret;

use crate::crypto::{MAX_PASSPHRASE, MIN_PASSPHRASE};
use crate::wire::handshake::MAX_STREAM_ID;

/// A listener somewhere else. Its `Display` shows no secrets.
#[derive(Debug, Clone)]
pub struct Remote {
    /// `host:port`; a name is looked up for each attempt.
    pub address: String,
    /// Sent as it is, at most 512 bytes; empty is not sent.
    pub stream_id: String,
    /// Encrypts the connection, 10 to 79 bytes. The caller makes the keys.
    pub passphrase: Option<Secret>,
    /// Bytes of the key: 16, 24 or 32.
    pub key_length: usize,
    /// Latency that we ask for, both ways; the larger of it and the listener's holds.
    pub latency: Duration,
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It does not begin with `srt://`.
    #[error("must begin with srt://")]
    Scheme,
    /// No host, or no port.
    #[error("must name a host and a port")]
    Address,
    /// `mode=listener` or `mode=rendezvous`.
    #[error("only mode=caller is supported")]
    Mode,
    /// Longer than 512 bytes.
    #[error("streamid must have at most 512 bytes")]
    StreamId,
    /// Shorter than 10 bytes, or longer than 79.
    #[error("passphrase must have 10 to 79 bytes")]
    Passphrase,
    /// Neither 16 nor 24 nor 32.
    #[error("pbkeylen must be 16, 24 or 32")]
    KeyLength,
    /// No number of milliseconds up to 65535.
    #[error("latency must be milliseconds, at most 65535")]
    Latency,
    /// A `%` that two hexadecimal digits do not follow, or no UTF-8.
    #[error("a percent escape that cannot be read")]
    Escape,
}

impl Remote {
    /// A listener at `host:port` without stream id and passphrase, with libsrt's latency of 120 ms.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            stream_id: String::new(),
            passphrase: None,
            key_length: 16,
            latency: Duration::from_millis(120),
        }
    }

    /// Reads an address as the tools of libsrt do. A `#` in the stream id need not be escaped; keys that are not known
    /// are passed over.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn parse(url: &str) -> Result<Self, RemoteError> {
        let rest = url.strip_prefix("srt://").ok_or(RemoteError::Scheme)?;
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let address = address.trim_end_matches('/');
        let (host, port) = address.rsplit_once(':').ok_or(RemoteError::Address)?;
        if host.is_empty() || !port.parse::<u16>().is_ok_and(|port| port != 0) {
            return Err(RemoteError::Address);
        }
        let mut remote = Self::new(address);
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            remote.set(key, &unescape(value)?)?;
        }
        Ok(remote)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), RemoteError> {
        match key {
            "mode" if value != "caller" => return Err(RemoteError::Mode),
            "streamid" if value.len() > MAX_STREAM_ID => return Err(RemoteError::StreamId),
            "streamid" => value.clone_into(&mut self.stream_id),
            "passphrase" if !(MIN_PASSPHRASE..=MAX_PASSPHRASE).contains(&value.len()) => {
                return Err(RemoteError::Passphrase);
            }
            "passphrase" => self.passphrase = Some(Secret::new(value)),
            "pbkeylen" => {
                let length = value.parse().ok().filter(|length| [16, 24, 32].contains(length));
                self.key_length = length.ok_or(RemoteError::KeyLength)?;
            }
            "latency" => {
                let millis: u16 = value.parse().map_err(|_| RemoteError::Latency)?;
                self.latency = Duration::from_millis(millis.into());
            }
            _ => {}
        }
        Ok(())
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "srt://{}", self.address)
    }
}

fn unescape(text: &str) -> Result<String, RemoteError> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(RemoteError::Escape) };
        out.push((high << 4 | low) as u8);
    }
    String::from_utf8(out).map_err(|_| RemoteError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_the_tools_of_libsrt_take_them() {
        let remote = Remote::parse(
            "srt://host.example:9000?streamid=#!::r=live/a,m=publish&passphrase=0123456789&pbkeylen=32&latency=300&x=y",
        )
        .expect("an address");
        assert_eq!(
            (remote.address.as_str(), remote.stream_id.as_str()),
            ("host.example:9000", "#!::r=live/a,m=publish")
        );
        assert_eq!((remote.key_length, remote.latency), (32, Duration::from_millis(300)));
        assert_eq!(remote.passphrase.as_ref().map(Secret::expose), Some("0123456789"));
        assert_eq!(remote.to_string(), "srt://host.example:9000");
        let remote =
            Remote::parse("srt://[::1]:9000/?mode=caller&streamid=%23!::r=a%2Fb").expect("an address");
        assert_eq!((remote.address.as_str(), remote.stream_id.as_str()), ("[::1]:9000", "#!::r=a/b"));
    }

    #[test]
    fn refusals() {
        for (url, error) in [
            ("rtmp://h:1", RemoteError::Scheme),
            ("srt://h", RemoteError::Address),
            ("srt://:9000", RemoteError::Address),
            ("srt://h:0", RemoteError::Address),
            ("srt://h:9000?mode=listener", RemoteError::Mode),
            ("srt://h:9000?passphrase=short", RemoteError::Passphrase),
            ("srt://h:9000?pbkeylen=17", RemoteError::KeyLength),
            ("srt://h:9000?latency=1s", RemoteError::Latency),
            ("srt://h:9000?streamid=%2", RemoteError::Escape),
            ("srt://h:9000?streamid=%ff", RemoteError::Escape),
        ] {
            assert_eq!(Remote::parse(url).err(), Some(error), "{url}");
        }
        let long = format!("srt://h:9000?streamid={}", "a".repeat(513));
        assert_eq!(Remote::parse(&long).err(), Some(RemoteError::StreamId));
    }
}
