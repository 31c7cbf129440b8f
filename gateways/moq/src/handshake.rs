//! From a connection to a session: version, SETUP, and where the peer wants to go.

use std::time::Duration;

use bytes::BytesMut;
use moqgate_core::{Path, PathError, Secret};
use url::Url;

use crate::link::Violation;
use crate::transport::{Established, ReadFault, Reader, Session, UniArrivals};
use crate::wire::{Message as _, SessionCode, Setup, UniType, Version, stream_code};

/// Why there is no session. The peer was told, where it is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetupError {
    Violation(Violation),
    Lost,
}

/// Sends our SETUP and reads the peer's, which has `patience` to come. Versions without SETUP have nothing to say.
pub(crate) async fn exchange(
    established: &mut Established,
    version: Version,
    ours: &Setup,
    patience: Duration,
) -> Result<Setup, SetupError> {
    if !version.has_setup() {
        return Ok(Setup::default());
    }
    send(&established.session, version, ours).await?;
    let theirs = tokio::time::timeout(patience, receive(&mut established.uni, version)).await;
    theirs.unwrap_or_else(|_| {
        Err(SetupError::Violation(Violation { code: SessionCode::CONTROL_TIMEOUT, reason: "timeout".into() }))
    })
}

async fn send(session: &Session, version: Version, ours: &Setup) -> Result<(), SetupError> {
    let mut message = BytesMut::new();
    UniType::Setup.encode(&mut message);
    ours.encode(&mut message, version);
    let mut stream = session.open_uni().await.map_err(|_| SetupError::Lost)?;
    stream.set_priority(crate::transport::PRIORITY_CONTROL);
    stream.write(message.freeze()).await.map_err(|_| SetupError::Lost)?;
    stream.finish();
    Ok(())
}

/// Requests that come before SETUP wait in QUIC. Groups are refused, anything unknown is a violation: what it means
/// may depend on the SETUP.
async fn receive(uni: &mut UniArrivals, version: Version) -> Result<Setup, SetupError> {
    loop {
        let stream = uni.next().await.map_err(|_| SetupError::Lost)?;
        let mut reader = Reader::new(stream, version);
        let id = reader.stream_type().await.map_err(unreadable)?;
        match UniType::from_id(id, version) {
            Some(UniType::Setup) => {
                let setup = reader.message::<Setup>().await.map_err(unreadable)?;
                return setup.ok_or_else(|| SetupError::Violation(Violation::protocol("empty SETUP")));
            }
            Some(UniType::Group) => reader.stop(stream_code::INTERNAL),
            None => return Err(SetupError::Violation(Violation::protocol("unknown stream before SETUP"))),
        }
    }
}

fn unreadable(fault: ReadFault) -> SetupError {
    match fault {
        ReadFault::Lost => SetupError::Lost,
        other @ (ReadFault::Reset(_) | ReadFault::Truncated | ReadFault::Decode(_)) => {
            SetupError::Violation(Violation::protocol(other.to_string()))
        }
    }
}

/// Where a peer wants to work, and what it shows to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) root: Path,
    pub(crate) token: Option<Secret>,
}

impl Target {
    /// Of the URL of a CONNECT request.
    pub(crate) fn from_url(url: &Url) -> Result<Self, PathError> {
        Self::parse(url.path(), url.query())
    }

    /// Of the path and query in a SETUP, where the transport has no URL.
    pub(crate) fn from_setup(setup: &Setup) -> Result<Self, PathError> {
        match setup.path().unwrap_or_default().split_once('?') {
            Some((path, query)) => Self::parse(path, Some(query)),
            None => Self::parse(setup.path().unwrap_or_default(), None),
        }
    }

    fn parse(path: &str, query: Option<&str>) -> Result<Self, PathError> {
        let mut pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let token = pairs.find(|(key, value)| key == "jwt" && !value.is_empty());
        Ok(Self {
            root: Path::new(&percent_decoded(path))?,
            token: token.map(|(_, value)| Secret::new(&value)),
        })
    }
}

/// `%2F` and its like; what is not valid stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|hex| first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_setup(path: &str) -> Target {
        let mut setup = Setup::default();
        setup.set_path(path);
        Target::from_setup(&setup).expect("valid")
    }

    #[test]
    fn root_and_token_come_from_path_and_query() {
        let target = from_setup("/anon/x?jwt=a.b%2Bc&v=1");
        assert_eq!(target.root.as_str(), "anon/x");
        assert_eq!(target.token, Some(Secret::new("a.b+c")));
        assert_eq!(from_setup("/").root, Path::root());
        assert_eq!(from_setup("").token, None);
        assert_eq!(from_setup("?jwt=t").token, Some(Secret::new("t")));
        assert_eq!(from_setup("/a%20b/%zz").root.as_str(), "a b/%zz");
        let url = Url::parse("https://host:4443//live//?jwt=").expect("valid");
        let target = Target::from_url(&url).expect("valid");
        assert_eq!((target.root.as_str(), target.token), ("live", None));
    }
}
