//! Where a caller calls: `rtmp://user:password@host:1935/app/key?token=…`, or `rtmps://`.

use std::fmt;

use moqgate_core::{Direction, Secret};

use crate::session::client::{Login, Wish};

/// Port of a URL that names none.
const PORT: u16 = 1935;
/// And with TLS.
const TLS_PORT: u16 = 443;

/// A server somewhere else. `Display` and `Debug` show neither the key nor the user.
#[derive(Clone)]
pub struct Remote {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Name or address; a name is looked up for each attempt.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// All of the path but its last segment.
    pub app: String,
    /// The last segment of the path, with the query.
    pub key: Secret,
    /// Shown to servers that ask for it as Adobe's do.
    pub login: Option<Login>,
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Neither `rtmp://` nor `rtmps://`.
    #[error("must begin with rtmp:// or rtmps://")]
    Scheme,
    /// No host, or a port that is none.
    #[error("must name a host, and a port from 1 to 65535 if any")]
    Address,
    /// The path has less than two segments.
    #[error("must have an application and a stream key: rtmp://host/app/key")]
    Path,
    /// A user without a password, or one that cannot be read.
    #[error("must name a user as user:password@, with percent escapes that can be read")]
    User,
}

impl Remote {
    /// Reads an address as ffmpeg does: the key is the last segment of the path, and has the query.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn parse(url: &str) -> Result<Self, RemoteError> {
        let (tls, rest) = match url.split_once("://") {
            Some(("rtmp", rest)) => (false, rest),
            Some(("rtmps", rest)) => (true, rest),
            _ => return Err(RemoteError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, address) =
            authority.rsplit_once('@').map_or((None, authority), |(user, at)| (Some(user), at));
        let (host, port) = address_of(address, if tls { TLS_PORT } else { PORT })?;
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let (app, key) = path.trim_matches('/').rsplit_once('/').ok_or(RemoteError::Path)?;
        if key.contains(char::is_control) || app.contains(char::is_control) {
            return Err(RemoteError::Path);
        }
        let key = query.map_or(key.to_owned(), |query| format!("{key}?{query}"));
        let login = user.map(login_of).transpose()?;
        Ok(Self { tls, host: host.to_owned(), port, app: app.to_owned(), key: Secret::new(&key), login })
    }

    /// What to ask for there. `shown` is put behind application and `tcUrl`.
    pub(crate) fn wish(&self, direction: Direction, shown: &str) -> Wish {
        Wish {
            direction,
            app: format!("{}{shown}", self.app),
            tc_url: format!("{self}{shown}"),
            key: self.key.expose().to_owned(),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, port) = if self.tls { ("rtmps", TLS_PORT) } else { ("rtmp", PORT) };
        let host = &self.host;
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]")?,
            false => write!(f, "{scheme}://{host}")?,
        }
        if self.port != port {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}", self.app)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Host and port; an IPv6 address stands in brackets.
fn address_of(address: &str, default: u16) -> Result<(&str, u16), RemoteError> {
    let (host, rest) = match address.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(RemoteError::Address)?,
        None => address.split_at(address.find(':').unwrap_or(address.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(RemoteError::Address)?,
        None if rest.is_empty() => default,
        None => return Err(RemoteError::Address),
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(RemoteError::Address);
    }
    Ok((host, port))
}

fn login_of(user: &str) -> Result<Login, RemoteError> {
    let (user, password) =
        user.split_once(':').filter(|(user, _)| !user.is_empty()).ok_or(RemoteError::User)?;
    let password = Secret::new(&unescape(password)?);
    Ok(Login::new(unescape(user)?, password))
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
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(RemoteError::User) };
        out.push((high << 4 | low) as u8);
    }
    String::from_utf8(out).map_err(|_| RemoteError::User)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_last_segment() {
        let remote = Remote::parse("rtmp://host.example/live/eu/cam0?token=a/b&x=1").expect("an address");
        assert_eq!((remote.host.as_str(), remote.port, remote.tls), ("host.example", 1935, false));
        assert_eq!((remote.app.as_str(), remote.key.expose()), ("live/eu", "cam0?token=a/b&x=1"));
        let wish = remote.wish(Direction::Publish, "");
        assert_eq!(wish.tc_url, "rtmp://host.example/live/eu");
        let remote = Remote::parse("rtmps://u:p%40ss@[::1]:444/app/key").expect("an address");
        assert_eq!((remote.host.as_str(), remote.port, remote.tls), ("::1", 444, true));
        assert!(remote.login.is_some());
        assert_eq!(remote.wish(Direction::Publish, "?q").tc_url, "rtmps://[::1]:444/app?q");
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let remote = Remote::parse("rtmp://joe:s3cret@h:1/app/k3y?token=t0ken").expect("an address");
        let shown = format!("{remote} {remote:?} {:?}", remote.login);
        for secret in ["s3cret", "k3y", "t0ken"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn refusals() {
        for (url, error) in [
            ("srt://h:1", RemoteError::Scheme),
            ("h/app/key", RemoteError::Scheme),
            ("rtmp:///app/key", RemoteError::Address),
            ("rtmp://h:0/app/key", RemoteError::Address),
            ("rtmp://h:x/app/key", RemoteError::Address),
            ("rtmp://[::1/app/key", RemoteError::Address),
            ("rtmp://h", RemoteError::Path),
            ("rtmp://h/app", RemoteError::Path),
            ("rtmp://h/app/?token=x", RemoteError::Path),
            ("rtmp://joe@h/app/key", RemoteError::User),
            ("rtmp://joe:%2@h/app/key", RemoteError::User),
        ] {
            assert_eq!(Remote::parse(url).err(), Some(error), "{url}");
        }
    }
}
