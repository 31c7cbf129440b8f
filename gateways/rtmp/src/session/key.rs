//! Stream keys: which broadcast a client means, in every form that encoders send.
//!
//! | application | key | path | shown |
//! |---|---|---|---|
//! | `live` | `cam0` | `live/cam0` | |
//! | `live` | `cam0?secret=x` | `live/cam0` | token `x` |
//! | `live?secret=x` | `cam0` | `live/cam0` | token `x` |
//! | `live?secret=x/cam0` | | `live/cam0` | token `x` (OBS with all of it in the server field) |
//! | `live/cam0` | | `live/cam0` | |
//! | `live/cam0` | `?x` | `live/cam0` | token `x` |
//! | `live` | `cam0?user=u&pass=p` | `live/cam0` | user `u` |
//! | | `live/cam0` | `live/cam0` | |
//! | `live` | `rtmp://host/live/cam0` | `live/cam0` | |
//! | `live` | `mp4:cam0` | `live/cam0` | |
//!
//! Values of a query are taken as they stand: clients do not encode them.

use moqgate_core::{Credential, Path, Secret};

/// Longest path: what a key field in an encoder takes, and more than any name needs.
const MAX_PATH: usize = 256;
/// Pairs of one query that are looked at.
const MAX_PAIRS: usize = 32;
/// What Flash put in front of a name for the kind of its file.
const PREFIXES: [&str; 4] = ["mp4:", "flv:", "mp3:", "live:"];

/// Which broadcast, and what the client showed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName {
    /// The broadcast.
    pub path: Path,
    /// What the queries held.
    pub credential: Credential,
}

/// Why there is no broadcast of that name. Says nothing of the key, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Neither application nor key.
    #[error("the URL has no application and no stream key")]
    Empty,
    /// A path that no broadcast can have.
    #[error("the stream key makes no valid path")]
    Path,
    /// The same credential twice, and two different ones.
    #[error("the stream key shows two credentials")]
    Ambiguous,
}

/// Understands application and key of one client.
///
/// # Errors
/// [`KeyError`] when there is no broadcast to name.
pub fn resolve(app: &str, key: &str) -> Result<StreamName, KeyError> {
    let (app, app_query) = cut_query(app);
    let (key, key_query) = cut_query(key);
    let (mut key, mut app_query) = (clean(key, app), app_query);
    let mut shown = Shown::default();
    if key.is_empty()
        && let Some((query, name)) = app_query.rsplit_once('/')
    {
        let (name, more) = cut_query(name);
        (app_query, key) = (query, name);
        shown.query(more)?;
    }
    shown.query(app_query)?;
    shown.query(key_query)?;
    let joined = format!("{app}/{key}");
    if joined.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(KeyError::Path);
    }
    let path = Path::new(&joined).map_err(|_| KeyError::Path)?;
    if path.is_root() {
        return Err(KeyError::Empty);
    }
    if path.as_str().len() > MAX_PATH {
        return Err(KeyError::Path);
    }
    Ok(StreamName { path, credential: shown.credential() })
}

fn cut_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

/// The name in a key: without the URL that some put there as a whole, and without the prefix of a file's kind.
fn clean<'a>(key: &'a str, app: &str) -> &'a str {
    let mut name = key;
    for scheme in ["rtmp://", "rtmps://"] {
        if let Some(rest) = key.strip_prefix(scheme) {
            let path = rest.split_once('/').map_or("", |(_, path)| path);
            // The application is in there too.
            let below = path.strip_prefix(app.trim_matches('/')).filter(|rest| rest.starts_with('/'));
            name = below.unwrap_or(path);
        }
    }
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

/// Credentials of the queries.
#[derive(Default)]
struct Shown<'a> {
    user: Option<&'a str>,
    password: Option<&'a str>,
    token: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn query(&mut self, query: &'a str) -> Result<(), KeyError> {
        for pair in query.split(['&', '?']).filter(|pair| !pair.is_empty()).take(MAX_PAIRS) {
            let Some((name, value)) = pair.split_once('=') else {
                // `?x`, when nothing else says what it is.
                self.token.get_or_insert(pair);
                continue;
            };
            let slot = match name {
                "user" | "username" | "u" => &mut self.user,
                "pass" | "password" => &mut self.password,
                "token" | "secret" | "key" | "jwt" => &mut self.token,
                _ => continue,
            };
            // OBS and ffmpeg may send the same query in application and key.
            if slot.is_some_and(|before| before != value) {
                return Err(KeyError::Ambiguous);
            }
            *slot = Some(value);
        }
        Ok(())
    }

    fn credential(&self) -> Credential {
        match (self.user, self.password.or(self.token)) {
            (Some(user), secret) => {
                Credential::User { user: user.into(), password: Secret::new(secret.unwrap_or_default()) }
            }
            (None, Some(secret)) if !secret.is_empty() => Credential::Token(Secret::new(secret)),
            (None, _) => Credential::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(text: &str) -> Credential {
        Credential::Token(Secret::new(text))
    }

    fn path(app: &str, key: &str) -> String {
        resolve(app, key).map_or_else(|error| format!("{error:?}"), |name| name.path.to_string())
    }

    #[test]
    fn line_46_the_key_forms_of_obs() {
        for (app, key, credential) in [
            ("live", "cam0", Credential::None),
            ("live", "cam0?secret=x", token("x")),
            ("live?secret=x", "cam0", token("x")),
            ("live?secret=x/cam0", "", token("x")),
            ("live?vhost=a/cam0?secret=x", "", token("x")),
            ("live?token=x", "cam0?token=x", token("x")),
            ("live/cam0", "?x", token("x")),
            ("live/cam0", "?token=a/b=c", token("a/b=c")),
            ("live?token=a/b", "cam0", token("a/b")),
            ("live/cam0", "", Credential::None),
            ("", "live/cam0", Credential::None),
            ("/live/", "/cam0/", Credential::None),
            ("live", "cam0?vhost=example.org", Credential::None),
            ("live", "cam0?vhost=example.org?token=x", token("x")),
            ("live", "rtmp://host:1935/live/cam0", Credential::None),
            ("live", "rtmps://host/live/cam0?token=x", token("x")),
            ("live", "mp4:cam0", Credential::None),
            ("live", "flv:cam0?jwt=x", token("x")),
        ] {
            let name = resolve(app, key);
            assert_eq!(
                name,
                Ok(StreamName { path: Path::new("live/cam0").expect("path"), credential }),
                "{app} {key}"
            );
        }
    }

    #[test]
    fn users_have_passwords() {
        let user = |password: &str| Credential::User { user: "u".into(), password: Secret::new(password) };
        assert_eq!(resolve("live", "a?user=u&pass=p").expect("legal").credential, user("p"));
        assert_eq!(resolve("live?user=u", "a?password=p").expect("legal").credential, user("p"));
        assert_eq!(resolve("live?user=u", "a").expect("legal").credential, user(""));
    }

    #[test]
    fn applications_nest() {
        assert_eq!(path("a/b", "c"), "a/b/c");
        assert_eq!(path("live", "rtmp://host/other/cam0"), "live/other/cam0");
        assert_eq!(path("live", "with space"), "live/with space");
    }

    #[test]
    fn what_names_nothing_is_refused() {
        assert_eq!(resolve("", ""), Err(KeyError::Empty));
        assert_eq!(resolve("/", "?token=x"), Err(KeyError::Empty));
        assert_eq!(resolve("live", "../other"), Err(KeyError::Path));
        assert_eq!(resolve("live/./x", "a"), Err(KeyError::Path));
        assert_eq!(resolve("live", "a\0b"), Err(KeyError::Path));
        assert_eq!(resolve("live", "a\r\nb"), Err(KeyError::Path));
        assert_eq!(resolve("live", &"a".repeat(300)), Err(KeyError::Path));
        assert_eq!(resolve("live?token=x", "a?token=y"), Err(KeyError::Ambiguous));
    }

    #[test]
    fn errors_keep_the_key_to_themselves() {
        let error = resolve("live", "../s3cret").expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }

    proptest! {
        #[test]
        fn anything_may_come(app in ".{0,80}", key in ".{0,80}") {
            if let Ok(name) = resolve(&app, &key) {
                prop_assert!(!name.path.is_root());
                prop_assert!(!name.path.as_str().contains('?'));
                prop_assert!(name.path.segments().all(|segment| segment != ".."));
            }
        }
    }
}
