//! What a token says: the claims of `moq-token` (`root`, `put`, `get`: everything below a prefix), and of its successor
//! `moq-auth` (`root`, `publish`, `subscribe`: patterns), which released relays take both.

use moqgate_core::{Path, Pattern};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// A claim that is not known may narrow the grant: such a token is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    #[serde(default)]
    root: String,
    #[serde(default)]
    put: Option<Prefixes>,
    #[serde(default)]
    get: Option<Prefixes>,
    #[serde(default)]
    publish: Option<Vec<String>>,
    #[serde(default)]
    subscribe: Option<Vec<String>>,
    /// When it ends, seconds since the Unix epoch.
    #[serde(default, deserialize_with = "seconds")]
    pub(super) exp: Option<u64>,
    /// When it begins.
    #[serde(default, deserialize_with = "seconds")]
    pub(super) nbf: Option<u64>,
    /// Whom it was made for: the tenant.
    #[serde(default)]
    pub(super) sub: Option<String>,
    #[serde(default, rename = "iat")]
    _iat: Option<IgnoredAny>,
    #[serde(default, rename = "iss")]
    _iss: Option<IgnoredAny>,
    #[serde(default, rename = "jti")]
    _jti: Option<IgnoredAny>,
}

/// The claims in the JWK of a key: the most that its tokens may say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scope {
    #[serde(default)]
    root: String,
    #[serde(default)]
    put: Option<Prefixes>,
    #[serde(default)]
    get: Option<Prefixes>,
    #[serde(default)]
    publish: Option<Vec<String>>,
    #[serde(default)]
    subscribe: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Prefixes {
    One(String),
    Many(Vec<String>),
}

/// Numbers of seconds are whole in practice and need not be (RFC 7519 section 2).
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = Option::<f64>::deserialize(deserializer)?;
    match number {
        Some(number) if !number.is_finite() => Err(serde::de::Error::custom("not a time")),
        Some(number) => Ok(Some(number.max(0.0) as u64)),
        None => Ok(None),
    }
}

/// What may be published and watched, from the root of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) publish: Vec<Pattern>,
    pub(super) subscribe: Vec<Pattern>,
}

impl Claims {
    /// What the token allows, or what is wrong with it.
    pub(super) fn rights(&self) -> Result<Rights, String> {
        rights(
            &self.root,
            (self.put.as_ref(), self.get.as_ref()),
            (self.publish.as_deref(), self.subscribe.as_deref()),
        )
    }
}

impl Scope {
    /// The most that a token may allow.
    pub(super) fn rights(&self) -> Result<Rights, String> {
        rights(
            &self.root,
            (self.put.as_ref(), self.get.as_ref()),
            (self.publish.as_deref(), self.subscribe.as_deref()),
        )
    }
}

impl Rights {
    /// Whether each of `other`'s patterns lies within one of these.
    pub(super) fn cover(&self, other: &Self) -> bool {
        let cover = |ours: &[Pattern], theirs: &[Pattern]| {
            theirs.iter().all(|inner| ours.iter().any(|outer| outer.contains(inner)))
        };
        cover(&self.publish, &other.publish) && cover(&self.subscribe, &other.subscribe)
    }
}

fn rights(
    root: &str,
    (put, get): (Option<&Prefixes>, Option<&Prefixes>),
    (publish, subscribe): (Option<&[String]>, Option<&[String]>),
) -> Result<Rights, String> {
    let root = Path::new(root).map_err(|error| format!("root: {error}"))?;
    let rights = if put.is_some() || get.is_some() {
        if publish.is_some() || subscribe.is_some() {
            return Err("it mixes put and get with publish and subscribe".to_owned());
        }
        Rights { publish: below(&root, put)?, subscribe: below(&root, get)? }
    } else {
        Rights { publish: under(&root, publish)?, subscribe: under(&root, subscribe)? }
    };
    if rights.publish.is_empty() && rights.subscribe.is_empty() {
        return Err("it allows nothing".to_owned());
    }
    Ok(rights)
}

fn below(root: &Path, prefixes: Option<&Prefixes>) -> Result<Vec<Pattern>, String> {
    let texts = match prefixes {
        None => &[][..],
        Some(Prefixes::One(one)) => std::slice::from_ref(one),
        Some(Prefixes::Many(many)) => many,
    };
    let pattern = |text: &String| {
        let prefix = Path::new(text).and_then(|prefix| root.join(&prefix));
        prefix.map(|prefix| Pattern::below(&prefix)).map_err(|error| error.to_string())
    };
    texts.iter().map(pattern).collect()
}

fn under(root: &Path, patterns: Option<&[String]>) -> Result<Vec<Pattern>, String> {
    let pattern = |text: &String| {
        Pattern::new(text).and_then(|pattern| pattern.under(root)).map_err(|error| error.to_string())
    };
    patterns.unwrap_or_default().iter().map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Rights, String> {
        serde_json::from_str::<Claims>(json).map_err(|error| error.to_string())?.rights()
    }

    fn all(patterns: &[&str]) -> Vec<Pattern> {
        patterns.iter().map(|text| Pattern::new(text).expect("a pattern")).collect()
    }

    #[test]
    fn both_generations() {
        let rights =
            read(r#"{"root":"/live/","put":"cam0","get":["","x"],"exp":1.5,"iat":1}"#).expect("legal");
        assert_eq!(rights.publish, all(&["live/cam0/**"]));
        assert_eq!(rights.subscribe, all(&["live/**", "live/x/**"]));
        let rights =
            read(r#"{"root":"live","publish":["cam0"],"subscribe":["**"],"jti":"x"}"#).expect("legal");
        assert_eq!(rights.publish, all(&["live/cam0"]));
        assert_eq!(rights.subscribe, all(&["live/**"]));
    }

    #[test]
    fn what_is_refused() {
        for (json, problem) in [
            (r#"{"put":"","publish":["**"]}"#, "mixes"),
            (r#"{"root":"live"}"#, "allows nothing"),
            (r#"{"put":[]}"#, "allows nothing"),
            (r#"{"put":"","cluster":true}"#, "unknown field"),
            (r#"{"rot":"live","put":""}"#, "unknown field"),
            (r#"{"put":"","exp":"soon"}"#, "invalid type"),
            (r#"{"publish":["a*b*c"]}"#, "one `*`"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(problem), "{json}: {error}");
        }
    }

    #[test]
    fn a_scope_is_the_most() {
        let scope: Scope = serde_json::from_str(r#"{"root":"live","put":["a"]}"#).expect("legal");
        let scope = scope.rights().expect("legal");
        assert!(scope.cover(&read(r#"{"put":"live/a/b"}"#).expect("legal")));
        assert!(!scope.cover(&read(r#"{"put":"live"}"#).expect("legal")));
        assert!(!scope.cover(&read(r#"{"get":"live/a"}"#).expect("legal")));
    }
}
