//! Sets of paths, as credentials name them.

use std::{fmt, str::FromStr, sync::Arc};

use crate::Path;

/// Most segments: as many as a path has.
const SEGMENTS_MAX: usize = 32;
/// Longest pattern in bytes: as long as a path.
const BYTES_MAX: usize = 1024;
/// Stands for any number of segments, none included.
const REST: &str = "**";

/// A set of paths, segment by segment: a literal, `*` for one segment, `a*b` for one segment that begins and ends so,
/// and once `**` for any number of segments. `live` is one path, `live/**` is that path and all below it, `**` is every
/// path. It is the grammar of moq-auth.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// More than 1024 bytes or 32 segments.
    #[error("pattern is longer than {BYTES_MAX} bytes or {SEGMENTS_MAX} segments")]
    TooLong,
    /// A control character.
    #[error("pattern holds a control character")]
    Control,
    /// Two `*` in one segment.
    #[error("a segment of a pattern may hold one `*`, or be `**`")]
    Star,
    /// `**` twice.
    #[error("a pattern may hold `**` once")]
    Rest,
}

impl Pattern {
    /// Reads a pattern; leading, trailing and repeated slashes vanish, as they do in paths.
    ///
    /// # Errors
    /// [`PatternError`] when it is none.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.chars().any(char::is_control) {
            return Err(PatternError::Control);
        }
        let segments: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
        let bad = |segment: &&str| *segment != REST && segment.matches('*').count() > 1;
        if segments.iter().any(bad) {
            return Err(PatternError::Star);
        }
        if segments.iter().filter(|segment| **segment == REST).count() > 1 {
            return Err(PatternError::Rest);
        }
        let joined = segments.join("/");
        if segments.len() > SEGMENTS_MAX || joined.len() > BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        Ok(Self(joined.into()))
    }

    /// Every path.
    #[must_use]
    pub fn all() -> Self {
        Self(REST.into())
    }

    /// `path` alone.
    #[must_use]
    pub fn exact(path: &Path) -> Self {
        Self(path.as_str().into())
    }

    /// `path` and everything below it.
    #[must_use]
    pub fn below(path: &Path) -> Self {
        if path.is_root() { Self::all() } else { Self(format!("{path}/{REST}").into()) }
    }

    /// The same set, moved below `root`.
    ///
    /// # Errors
    /// [`PatternError::TooLong`] when the two together are.
    pub fn under(&self, root: &Path) -> Result<Self, PatternError> {
        Self::new(&format!("{root}/{self}"))
    }

    /// Whether the set holds `path`.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let (pattern, path): (Vec<_>, Vec<_>) = (self.segments().collect(), path.segments().collect());
        let all = |pattern: &[&str], path: &[&str]| {
            pattern.len() == path.len() && pattern.iter().zip(path).all(|(one, other)| segment(one, other))
        };
        match pattern.iter().position(|segment| *segment == REST) {
            None => all(&pattern, &path),
            Some(rest) => {
                let (head, tail) = (&pattern[..rest], &pattern[rest + 1..]);
                path.len() >= head.len() + tail.len()
                    && all(head, &path[..head.len()])
                    && all(tail, &path[path.len() - tail.len()..])
            }
        }
    }

    /// Whether the set holds `root` or any path below it.
    #[must_use]
    pub fn reaches(&self, root: &Path) -> bool {
        let mut pattern = self.segments();
        for part in root.segments() {
            match pattern.next() {
                Some(REST) => return true,
                Some(wanted) if segment(wanted, part) => {}
                Some(_) | None => return false,
            }
        }
        true
    }

    /// Whether the set certainly holds all of `other`: `true` is sure, and `false` may be said of two sets whose texts
    /// are both rich in stars.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let (ours, theirs): (Vec<_>, Vec<_>) = (self.segments().collect(), other.segments().collect());
        if ours == theirs {
            return true;
        }
        let each = |ours: &[&str], theirs: &[&str]| {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(one, other)| covers(one, other))
        };
        let Some(rest) = ours.iter().position(|segment| *segment == REST) else {
            return !theirs.contains(&REST) && each(&ours, &theirs);
        };
        let (head, tail) = (&ours[..rest], &ours[rest + 1..]);
        theirs.len() >= head.len() + tail.len()
            && each(head, &theirs[..head.len()])
            && each(tail, &theirs[theirs.len() - tail.len()..])
    }

    /// The one path that the set holds, if it is written without stars.
    #[must_use]
    pub fn literal(&self) -> Option<Path> {
        if self.0.contains('*') { None } else { Path::new(&self.0).ok() }
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }
}

/// Whether one segment of a pattern holds another, of which neither is `**` or both are.
fn covers(outer: &str, inner: &str) -> bool {
    match (outer == REST || inner == REST, inner.contains('*')) {
        (true, _) => outer == inner,
        (false, false) => segment(outer, inner),
        (false, true) => outer == "*" || outer == inner,
    }
}

fn segment(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((begin, end)) => {
            text.len() >= begin.len() + end.len() && text.starts_with(begin) && text.ends_with(end)
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> Path {
        Path::new(text).unwrap()
    }

    fn check(pattern: &str, inside: &[&str], outside: &[&str]) {
        let set = Pattern::new(pattern).unwrap();
        for text in inside {
            assert!(set.matches(&path(text)), "{pattern} should hold {text}");
        }
        for text in outside {
            assert!(!set.matches(&path(text)), "{pattern} should not hold {text}");
        }
    }

    #[test]
    fn sets_of_paths() {
        check("live", &["live", "/live/"], &["", "live/a", "lively"]);
        check("live/**", &["live", "live/a", "live/a/b"], &["", "lively", "other/live"]);
        check("**", &["", "a", "a/b"], &[]);
        check("live/*", &["live/a"], &["live", "live/a/b"]);
        check("live/cam*", &["live/cam", "live/cam0"], &["live/ca", "live/xcam"]);
        check("live/a*a", &["live/aa", "live/aba"], &["live/a"]);
        check("**/cam0", &["cam0", "a/b/cam0"], &["cam0/a", ""]);
        check("a/**/z", &["a/z", "a/b/c/z"], &["a", "z", "a/b"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn what_may_lie_below_a_root() {
        let reaches = |pattern: &str, root: &str| Pattern::new(pattern).unwrap().reaches(&path(root));
        assert!(
            reaches("live/cam0", "") && reaches("live/cam0", "live") && reaches("live/cam0", "live/cam0")
        );
        assert!(!reaches("live/cam0", "live/cam1") && !reaches("live/cam0", "live/cam0/x"));
        assert!(reaches("live/**", "live/a/b") && !reaches("live/**", "other"));
        assert!(reaches("**/z", "a/b") && reaches("*/z", "a") && !reaches("*/z", "a/b"));
    }

    #[test]
    fn sets_in_sets() {
        let contains =
            |outer: &str, inner: &str| Pattern::new(outer).unwrap().contains(&Pattern::new(inner).unwrap());
        for (outer, inner) in [
            ("**", "a/*"),
            ("**", "**"),
            ("a/**", "a"),
            ("a/**", "a/b/**"),
            ("a/*", "a/b"),
            ("a/*", "a/b*"),
            ("a/**/z", "a/b/z"),
            ("cam*", "cam0"),
            ("a/**/z", "a/**/z"),
            ("a/**", "a/**/z"),
        ] {
            assert!(contains(outer, inner), "{outer} should hold {inner}");
        }
        for (outer, inner) in [
            ("a", "a/**"),
            ("a/**", "**"),
            ("a/**", "ab/c"),
            ("a/*", "a/**"),
            ("cam0", "cam*"),
            ("*/b", "**/b"),
            ("a/**/z", "a/**"),
            ("a/**", "*/b"),
        ] {
            assert!(!contains(outer, inner), "{outer} should not hold {inner}");
        }
    }

    #[test]
    fn roots_come_before() {
        let under = |pattern: &str, root: &str| Pattern::new(pattern).unwrap().under(&path(root));
        assert_eq!(under("cam/**", "a/b"), Pattern::new("a/b/cam/**"));
        assert_eq!(under("", "a"), Ok(Pattern::exact(&path("a"))));
        assert_eq!(under("**", ""), Ok(Pattern::all()));
        assert_eq!(Pattern::below(&path("a")), Pattern::new("a/**").unwrap());
        assert_eq!(Pattern::below(&Path::root()), Pattern::all());
        assert_eq!(Pattern::exact(&path("a/b")).literal(), Some(path("a/b")));
        assert_eq!(Pattern::new("a/*").unwrap().literal(), None);
    }

    #[test]
    fn what_is_no_pattern() {
        assert_eq!(Pattern::new("a*b*c"), Err(PatternError::Star));
        assert_eq!(Pattern::new("a**"), Err(PatternError::Star));
        assert_eq!(Pattern::new("**/a/**"), Err(PatternError::Rest));
        assert_eq!(Pattern::new("a\n"), Err(PatternError::Control));
        assert_eq!(Pattern::new(&"a/".repeat(33)), Err(PatternError::TooLong));
        assert_eq!(Pattern::new(&"a".repeat(1025)), Err(PatternError::TooLong));
    }

    proptest! {
        #[test]
        fn a_set_that_contains_another_holds_its_paths(
            outer in "(a|b|\\*|\\*\\*|a\\*)(/(a|b|ab|\\*|\\*\\*|a\\*)){0,3}",
            inner in "(a|b|\\*|\\*\\*|a\\*)(/(a|b|ab|\\*|\\*\\*|a\\*)){0,3}",
            text in "(a|b|ab)(/(a|b|ab)){0,4}",
        ) {
            let (Ok(outer), Ok(inner)) = (Pattern::new(&outer), Pattern::new(&inner)) else { return Ok(()) };
            let path = path(&text);
            if outer.contains(&inner) && inner.matches(&path) {
                prop_assert!(outer.matches(&path), "{outer} contains {inner}, which holds {path}");
            }
            if inner.matches(&path) {
                let segments: Vec<_> = path.segments().collect();
                for count in 0..=segments.len() {
                    let prefix = Path::new(&segments[..count].join("/")).unwrap();
                    prop_assert!(inner.reaches(&prefix), "{inner} holds {path}, which is below {prefix}");
                }
            }
        }

        #[test]
        fn anything_may_come(text in ".{0,60}") {
            if let Ok(pattern) = Pattern::new(&text) {
                prop_assert_eq!(Pattern::new(&pattern.to_string()), Ok(pattern));
            }
        }
    }
}
