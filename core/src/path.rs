//! Names of broadcasts.

use std::{fmt, sync::Arc};

/// Most segments that a path may have (moq-lite).
const SEGMENTS_MAX: usize = 32;
/// Longest path in bytes: twice what an SRT stream id can carry.
const BYTES_MAX: usize = 1024;

/// The normalised name of a broadcast: segments joined by single slashes, none at either end.
///
/// Cloning shares the text. The empty path is the root of everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

/// Why a text is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// More than 1024 bytes.
    #[error("path is longer than {BYTES_MAX} bytes")]
    TooLong,
    /// More than 32 segments.
    #[error("path has more than {SEGMENTS_MAX} segments")]
    TooDeep,
    /// A control character, which no log line or metric label should have to carry.
    #[error("path holds a control character")]
    Control,
    /// `*` and `**` are patterns in moq-lite and name nothing.
    #[error("path holds a wildcard segment")]
    Wildcard,
}

impl Path {
    /// Normalises `text`: leading, trailing and repeated slashes vanish.
    ///
    /// # Errors
    /// [`PathError`] when the text is too long, too deep, or holds what no path may hold.
    pub fn new(text: &str) -> Result<Self, PathError> {
        if text.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        let segments: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
        if segments.len() > SEGMENTS_MAX {
            return Err(PathError::TooDeep);
        }
        if segments.iter().any(|segment| matches!(*segment, "*" | "**")) {
            return Err(PathError::Wildcard);
        }
        let joined = segments.join("/");
        if joined.len() > BYTES_MAX {
            return Err(PathError::TooLong);
        }
        Ok(Self(joined.into()))
    }

    /// The path that covers every other.
    #[must_use]
    pub fn root() -> Self {
        Self("".into())
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The normalised text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, outermost first; none for the root.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// `self` followed by `below`.
    ///
    /// # Errors
    /// [`PathError`] when the two together are too long or too deep.
    pub fn join(&self, below: &Self) -> Result<Self, PathError> {
        match (self.is_root(), below.is_root()) {
            (true, _) => Ok(below.clone()),
            (_, true) => Ok(self.clone()),
            _ => Self::new(&format!("{self}/{below}")),
        }
    }

    /// Whether `prefix` covers this path, segment by segment: `foo` covers `foo` and `foo/bar`, not `foobar`.
    #[must_use]
    pub fn has_prefix(&self, prefix: &Self) -> bool {
        self.remainder(prefix).is_some()
    }

    /// What is left of this path below `prefix`, or `None` when the prefix does not cover it.
    #[must_use]
    pub fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        self.remainder(prefix).map(|rest| Self(rest.into()))
    }

    fn remainder(&self, prefix: &Self) -> Option<&str> {
        if prefix.is_root() {
            return Some(&self.0);
        }
        let rest = self.0.strip_prefix(prefix.as_str())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Path {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::new(text).unwrap()
    }

    #[test]
    fn slashes_are_normalised() {
        assert_eq!(path("//live///cam0/").as_str(), "live/cam0");
        assert!(path("///").is_root());
        assert_eq!(path("live/cam0").segments().collect::<Vec<_>>(), ["live", "cam0"]);
    }

    #[test]
    fn prefixes_match_whole_segments() {
        assert!(path("foo/bar").has_prefix(&path("foo")));
        assert!(path("foo").has_prefix(&path("foo")));
        assert!(!path("foobar").has_prefix(&path("foo")));
        assert!(path("anything").has_prefix(&Path::root()));
        assert_eq!(path("foo/bar").strip_prefix(&path("foo")), Some(path("bar")));
        assert_eq!(path("foo").strip_prefix(&path("foo")), Some(Path::root()));
        assert_eq!(path("foo").strip_prefix(&path("bar")), None);
    }

    #[test]
    fn what_cannot_be_a_path_is_refused() {
        assert_eq!(Path::new("a\nb"), Err(PathError::Control));
        assert_eq!(Path::new(&"a/".repeat(33)), Err(PathError::TooDeep));
        assert_eq!(Path::new(&"a".repeat(1025)), Err(PathError::TooLong));
        assert_eq!(Path::new("a/**/b"), Err(PathError::Wildcard));
        assert_eq!(path("a").join(&path(&"b".repeat(1024))), Err(PathError::TooLong));
    }

    #[test]
    fn join_is_the_inverse_of_strip() {
        assert_eq!(path("anon").join(&path("cam/0")).unwrap(), path("anon/cam/0"));
        assert_eq!(Path::root().join(&path("cam")).unwrap(), path("cam"));
        assert_eq!(path("cam").join(&Path::root()).unwrap(), path("cam"));
    }
}
