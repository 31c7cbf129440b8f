//! Stream ids: what the caller wants, in every form that encoders send.
//!
//! | form | meaning |
//! |---|---|
//! | `#!::r=live/cam0,m=publish` | the SRT access control guide; without `m` it is a request |
//! | `#!:{r=live/cam0,m=publish}` | the same, nested |
//! | `publish:live/cam0[:user:password]`, `read:live/cam0` | MediaMTX's form |
//! | `live/cam0`, `host.example/live/cam0`, `srt://host/live/cam0` | a bare name publishes |
//! | nothing | the configured default path |
//!
//! A query (`?token=…`) may follow any path, a `#feedback…` suffix is cut, one pair of quotes and white space around
//! the whole are cut too.

use moqgate_core::{Credential, Path, Secret};

use crate::wire::handshake::MAX_STREAM_ID;

/// Nested groups in `#!:{…}`.
const MAX_DEPTH: usize = 4;
/// Key-value pairs: a stream id of 512 bytes has no honest use for more.
const MAX_PAIRS: usize = 32;

/// What the caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Send media to us.
    Publish,
    /// Receive media from us.
    Request,
}

/// A stream id, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamId {
    /// What to do.
    pub mode: Mode,
    /// With which broadcast.
    pub path: Path,
    /// What the caller shows to be let in.
    pub credential: Credential,
}

/// Names that complete what an encoder left out.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// Broadcast of a caller that sends no stream id.
    pub path: Option<Path>,
    /// Put before a name of one segment (vMix sends no application name).
    pub app: Option<Path>,
}

/// Why a stream id is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamIdError {
    /// More than 512 bytes.
    #[error("stream id longer than 512 bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("stream id is not UTF-8")]
    NotText,
    /// `#!:` and then neither `:` nor a balanced `{…}`.
    #[error("stream id does not parse")]
    Syntax,
    /// A key that decides something is there twice.
    #[error("stream id has a key twice")]
    Duplicate,
    /// No path, and none is configured.
    #[error("no stream id, and no default path is configured")]
    NoPath,
    /// The path is not one.
    #[error("stream id names no valid path")]
    Path,
    /// `m` is neither `publish` nor `request`.
    #[error("mode of the stream id is not supported")]
    Mode,
    /// `t` is neither `stream` nor a credential.
    #[error("type of the stream id is not supported")]
    Type,
}

/// Reads a stream id; `None` and the empty one stand for "not sent".
///
/// # Errors
/// [`StreamIdError`]; nothing is guessed.
pub fn parse(id: Option<&[u8]>, defaults: &Defaults) -> Result<StreamId, StreamIdError> {
    let id = id.unwrap_or_default();
    if id.len() > MAX_STREAM_ID {
        return Err(StreamIdError::TooLong);
    }
    let id = std::str::from_utf8(id).map_err(|_| StreamIdError::NotText)?;
    let id = unquote(id);
    let id = id.split_once("#feedback").map_or(id, |(before, _)| before.trim_end());
    let fields = if let Some(access) = id.strip_prefix("#!:") {
        Fields::access_control(access)?
    } else if id.is_empty() {
        Fields { mode: Some("publish"), ..Fields::default() }
    } else {
        Fields::plain(id)?
    };
    fields.finish(defaults)
}

/// The parts of any form, before they are judged.
#[derive(Debug, Default)]
struct Fields<'a> {
    resource: Option<&'a str>,
    host: Option<&'a str>,
    mode: Option<&'a str>,
    kind: Option<&'a str>,
    user: Option<&'a str>,
    password: Option<&'a str>,
    session: Option<&'a str>,
    token: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// What follows `#!:`.
    fn access_control(text: &'a str) -> Result<Self, StreamIdError> {
        let mut fields = Self::default();
        if let Some(flat) = text.strip_prefix(':') {
            for (count, pair) in flat.split(',').enumerate() {
                if count == MAX_PAIRS {
                    return Err(StreamIdError::Syntax);
                }
                fields.pair(pair)?;
            }
            return Ok(fields);
        }
        let inner = text.trim_end().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        for pair in split_nested(inner.ok_or(StreamIdError::Syntax)?)? {
            fields.pair(pair)?;
        }
        Ok(fields)
    }

    /// One `key=value`. Text without `=` is what is left of an unknown value that held a comma, and means nothing.
    fn pair(&mut self, pair: &'a str) -> Result<(), StreamIdError> {
        let Some((key, value)) = pair.split_once('=') else { return Ok(()) };
        self.set(key.trim(), unquote(value))
    }

    fn set(&mut self, key: &str, value: &'a str) -> Result<(), StreamIdError> {
        let slot = match key {
            "r" => &mut self.resource,
            "h" => &mut self.host,
            "m" => &mut self.mode,
            "t" => &mut self.kind,
            "u" | "user" | "username" => &mut self.user,
            "s" => &mut self.session,
            "pass" | "password" => &mut self.password,
            "token" | "secret" | "key" | "jwt" => &mut self.token,
            _ => return Ok(()),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(StreamIdError::Duplicate),
        }
    }

    /// `publish:…`, `read:…` or a bare name.
    fn plain(id: &'a str) -> Result<Self, StreamIdError> {
        let (mode, rest) = match id.split_once(':') {
            Some((word @ ("publish" | "read" | "request"), rest)) => (Some(word), rest),
            _ => (None, id),
        };
        let (name, query) = rest.split_once('?').map_or((rest, None), |(name, query)| (name, Some(query)));
        let mut fields = Self { mode: Some(mode.unwrap_or("publish")), ..Self::default() };
        let mut parts = name.split(':');
        if mode.is_none() || name.contains("://") {
            fields.resource = Some(name);
        } else {
            fields.resource = parts.next();
            fields.user = parts.next().filter(|user| !user.is_empty());
            fields.password = parts.next();
            // MediaMTX puts a query after a last colon; without one, more colons are no form of ours.
            if let Some(extra) = parts.next() {
                fields.query(extra)?;
            }
        }
        fields.query(query.unwrap_or_default())?;
        Ok(fields)
    }

    /// `key=value&…` after a path. Only credentials are taken from it.
    fn query(&mut self, query: &'a str) -> Result<(), StreamIdError> {
        for pair in query.split('&').take(MAX_PAIRS) {
            let Some((key, value)) = pair.split_once('=') else { continue };
            match key {
                "user" | "username" | "u" | "pass" | "password" | "token" | "secret" | "key" | "jwt" => {
                    self.set(key, value)?;
                }
                // What it stands for in a query differs by vendor; only a path may hold the others.
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(mut self, defaults: &Defaults) -> Result<StreamId, StreamIdError> {
        let mode = match self.mode {
            Some("publish") => Mode::Publish,
            None | Some("request" | "read") => Mode::Request,
            Some(_) => return Err(StreamIdError::Mode),
        };
        match self.kind {
            None | Some("" | "stream") => {}
            Some("file" | "auth") => return Err(StreamIdError::Type),
            // Some encoders can only be given one key for a secret, and take this one.
            Some(token) => self.token = self.token.or(Some(token)),
        }
        Ok(StreamId { mode, path: self.path(defaults)?, credential: self.credential() })
    }

    fn path(&mut self, defaults: &Defaults) -> Result<Path, StreamIdError> {
        // Old SRS wrote host, application and stream into `h`.
        let name = match (self.resource, self.host) {
            (Some(resource), _) if !resource.is_empty() => resource,
            (_, Some(host)) if host.contains('/') => host,
            _ => return defaults.path.clone().ok_or(StreamIdError::NoPath),
        };
        let (name, query) = name.split_once('?').unwrap_or((name, ""));
        self.query(query)?;
        let path = Path::new(strip_host(name)).map_err(|_| StreamIdError::Path)?;
        if path.is_root() {
            return defaults.path.clone().ok_or(StreamIdError::NoPath);
        }
        match &defaults.app {
            Some(app) if path.segments().count() == 1 => app.join(&path).map_err(|_| StreamIdError::Path),
            _ => Ok(path),
        }
    }

    fn credential(&self) -> Credential {
        let secret = self.password.or(self.token).or(self.session);
        match (self.user, secret) {
            (Some(user), secret) => {
                Credential::User { user: user.into(), password: Secret::new(secret.unwrap_or_default()) }
            }
            (None, Some(secret)) if !secret.is_empty() => Credential::Token(Secret::new(secret)),
            (None, _) => Credential::None,
        }
    }
}

/// Cuts `srt://authority/`, and a first segment that can only be a host: it has a dot or a port, and at least two
/// segments follow.
fn strip_host(name: &str) -> &str {
    if let Some((_, rest)) = name.split_once("://") {
        return rest.split_once('/').map_or("", |(_, path)| path);
    }
    match name.split_once('/') {
        Some((host, rest)) if rest.contains('/') && looks_like_host(host) => rest,
        _ => name,
    }
}

fn looks_like_host(segment: &str) -> bool {
    segment == "localhost" || segment.contains('.') || segment.contains(':')
}

/// White space, then one pair of quotes, then white space again.
fn unquote(text: &str) -> &str {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.trim();
        }
    }
    text
}

/// Splits the inside of `{…}` at the commas of its own level.
fn split_nested(text: &str) -> Result<Vec<&str>, StreamIdError> {
    let mut pairs = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if depth + 1 == MAX_DEPTH => return Err(StreamIdError::Syntax),
            b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1).ok_or(StreamIdError::Syntax)?,
            b',' if depth == 0 => {
                pairs.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        if pairs.len() == MAX_PAIRS {
            return Err(StreamIdError::Syntax);
        }
    }
    if depth != 0 {
        return Err(StreamIdError::Syntax);
    }
    pairs.push(&text[start..]);
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> Path {
        Path::new(text).expect("path")
    }

    fn read(id: &str) -> Result<StreamId, StreamIdError> {
        parse(Some(id.as_bytes()), &Defaults::default())
    }

    fn publishes(id: &str, expected: &str) -> Credential {
        let id = read(id).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!((id.mode, id.path), (Mode::Publish, path(expected)));
        id.credential
    }

    fn user(user: &str, password: &str) -> Credential {
        Credential::User { user: user.into(), password: Secret::new(password) }
    }

    fn token(text: &str) -> Credential {
        Credential::Token(Secret::new(text))
    }

    #[test]
    fn access_control_form() {
        assert_eq!(publishes("#!::r=live/cam0,m=publish", "live/cam0"), Credential::None);
        assert_eq!(publishes("#!::m=publish,r=/live/cam0/,t=stream", "live/cam0"), Credential::None);
        assert_eq!(publishes("#!::r=a,m=publish,u=bob,s=secret", "a"), user("bob", "secret"));
        assert_eq!(publishes("#!::r=a,m=publish,u=bob", "a"), user("bob", ""));
        assert_eq!(publishes("#!::r=a,m=publish,s=once", "a"), token("once"));
        assert_eq!(publishes("#!::r=a,m=publish,t=ey.J0.x", "a"), token("ey.J0.x"));
        assert_eq!(publishes("#!::r=a=b,m=publish", "a=b"), Credential::None);
        assert_eq!(publishes("#!::h=srs.example,r=live/a,m=publish", "live/a"), Credential::None);
        assert_eq!(publishes("#!::h=127.0.0.1/live/a,m=publish", "live/a"), Credential::None);
        assert_eq!(publishes("#!:{r=live/a,m=publish,x={r=b,y={m=c}}}", "live/a"), Credential::None);
    }

    #[test]
    fn a_missing_mode_is_a_request() {
        for id in ["#!::r=live/a", "#!::r=live/a,m=request", "read:live/a", "#!:{r=live/a}"] {
            let id = read(id).expect(id);
            assert_eq!((id.mode, id.path), (Mode::Request, path("live/a")));
        }
    }

    #[test]
    fn action_form() {
        assert_eq!(publishes("publish:live/a", "live/a"), Credential::None);
        assert_eq!(publishes("publish:live/a:bob:pw", "live/a"), user("bob", "pw"));
        assert_eq!(publishes("publish:live/a:bob:pw:token=x", "live/a"), user("bob", "pw"));
        assert_eq!(publishes("publish:live/a?token=x", "live/a"), token("x"));
    }

    #[test]
    fn bare_names() {
        assert_eq!(publishes("live/cam0", "live/cam0"), Credential::None);
        assert_eq!(publishes("cam0", "cam0"), Credential::None);
        assert_eq!(publishes("a/b/c", "a/b/c"), Credential::None);
        assert_eq!(publishes("host.example/live/cam0", "live/cam0"), Credential::None);
        assert_eq!(publishes("localhost:9000/live/cam0", "live/cam0"), Credential::None);
        assert_eq!(publishes("v1.2/cam0", "v1.2/cam0"), Credential::None);
        assert_eq!(publishes("srt://host:9000/live/cam0", "live/cam0"), Credential::None);
        assert_eq!(publishes(" \"live/cam0\" ", "live/cam0"), Credential::None);
        assert_eq!(publishes("'#!::r=live/cam0,m=publish'", "live/cam0"), Credential::None);
    }

    #[test]
    fn line_28_a_long_stream_id_is_refused() {
        assert_eq!(read(&"a".repeat(600)), Err(StreamIdError::TooLong));
        assert!(read(&"a".repeat(512)).is_ok());
    }

    #[test]
    fn line_29_blackmagic_keys_are_ignored() {
        let id = "#!::bmd_uuid=d6c6fc34-3b80-11ef,bmd_name=ATEM Mini, Studio 2,r=live/a,m=publish,bmd_uuid=2";
        assert_eq!(publishes(id, "live/a"), Credential::None);
    }

    #[test]
    fn line_30_feedback_suffix_is_cut() {
        assert_eq!(publishes("live/a#feedbackplay", "live/a"), Credential::None);
        assert_eq!(publishes("#!::r=live/a,m=publish#feedbackplay", "live/a"), Credential::None);
        assert_eq!(publishes("publish:live/a#feedbackplay", "live/a"), Credential::None);
    }

    #[test]
    fn line_31_default_app_for_one_segment() {
        let defaults = Defaults { path: None, app: Some(path("live")) };
        for id in ["cam0", "#!::r=cam0,m=publish", "publish:cam0"] {
            let id = parse(Some(id.as_bytes()), &defaults).expect(id);
            assert_eq!(id.path, path("live/cam0"));
        }
        let id = parse(Some(b"other/cam0"), &defaults).expect("two segments");
        assert_eq!(id.path, path("other/cam0"));
    }

    #[test]
    fn line_32_query_inside_resource_or_host() {
        assert_eq!(publishes("#!::r=live/a?secret=x,m=publish", "live/a"), token("x"));
        assert_eq!(publishes("#!::h=h.example/live/a?secret=x,m=publish", "live/a"), token("x"));
        assert_eq!(publishes("live/a?user=u&pass=p&vhost=v", "live/a"), user("u", "p"));
    }

    #[test]
    fn nothing_sent_means_the_default_path() {
        let defaults = Defaults { path: Some(path("live/default")), app: None };
        for id in [None, Some(&b""[..]), Some(b"  "), Some(b"#!::m=publish")] {
            let id = parse(id, &defaults).expect("default");
            assert_eq!((id.mode, id.path), (Mode::Publish, path("live/default")));
        }
        assert_eq!(parse(None, &Defaults::default()), Err(StreamIdError::NoPath));
        assert_eq!(read("/"), Err(StreamIdError::NoPath));
    }

    #[test]
    fn refusals() {
        for (id, error) in [
            ("#!:x", StreamIdError::Syntax),
            ("#!:{r=a,m=publish", StreamIdError::Syntax),
            ("#!:{r=a}}", StreamIdError::Syntax),
            ("#!:{a={b={c={d={e=f}}}}}", StreamIdError::Syntax),
            ("#!::r=a,r=b,m=publish", StreamIdError::Duplicate),
            ("#!::r=a,m=bidirectional", StreamIdError::Mode),
            ("#!::r=a,m=publish,t=file", StreamIdError::Type),
            ("#!::r=a\u{7},m=publish", StreamIdError::Path),
        ] {
            assert_eq!(read(id), Err(error), "{id}");
        }
        assert_eq!(parse(Some(&[0xff]), &Defaults::default()), Err(StreamIdError::NotText));
        let many: Vec<String> = (0..40).map(|n| format!("x{n}=1")).collect();
        assert_eq!(read(&format!("#!::{}", many.join(","))), Err(StreamIdError::Syntax));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(id: Vec<u8>) {
            let _ = parse(Some(&id), &Defaults::default());
        }

        #[test]
        fn any_text_in_any_form_never_panics(
            form in prop::sample::select(vec!["#!::", "#!:{", "publish:", "srt://", ""]), id in "[#!:{}=,/?&\"a-z é]{0,60}",
        ) {
            let _ = read(&format!("{form}{id}"));
        }
    }
}
