//! Which announcements of a stream are live, on either side of it: ids since 06, suffixes before.

use std::collections::{HashMap, HashSet};

use super::announce::{Announcement, Route};
use super::version::Version;

/// Most live announcements on one stream that we keep for a peer: about 10 MB with the longest names. What goes beyond
/// is ignored: a busy relay has done nothing wrong.
pub const ANNOUNCED_MAX: usize = 4096;

/// The receiver's book. All that it refuses closes the session.
#[derive(Debug)]
pub struct Announced {
    version: Version,
    next_id: u64,
    ids: HashMap<u64, String>,
    live: HashSet<String>,
    ignored: u64,
}

impl Announced {
    /// At the beginning of a reply stream.
    pub fn new(version: Version) -> Self {
        Self { version, next_id: 0, ids: HashMap::new(), live: HashSet::new(), ignored: 0 }
    }

    /// How many announcements were ignored because there were too many.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Books one announcement and says what it means. `None`: nothing.
    pub fn push(&mut self, announcement: Announcement) -> Result<Option<AnnounceEvent>, AnnounceError> {
        match announcement {
            Announcement::Start { suffix, route } => self.start(normalise(&suffix), route),
            Announcement::Restart { suffix, route } => self.replace(normalise(&suffix), route),
            Announcement::End { suffix } => self.end(normalise(&suffix)),
            Announcement::EndId { id } => {
                let Some(suffix) = self.ids.remove(&id) else { return self.unknown(id) };
                self.live.remove(&suffix);
                Ok(Some(AnnounceEvent::Ended { suffix }))
            }
            Announcement::RestartId { id, route } => {
                let Some(suffix) = self.ids.get(&id).cloned() else { return self.unknown(id) };
                Ok(Some(AnnounceEvent::Rerouted { suffix, route }))
            }
            Announcement::Unknown { .. } => Ok(None),
        }
    }

    fn start(&mut self, suffix: String, route: Route) -> Result<Option<AnnounceEvent>, AnnounceError> {
        if self.live.contains(&suffix) {
            if self.version == Version::Lite05 {
                return Ok(Some(AnnounceEvent::Rerouted { suffix, route }));
            }
            return Err(AnnounceError::AlreadyLive(suffix));
        }
        let id = self.version.has_typed_announce().then_some(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        if self.live.len() >= ANNOUNCED_MAX {
            self.ignored = self.ignored.saturating_add(1);
            return Ok(None);
        }
        if let Some(id) = id {
            self.ids.insert(id, suffix.clone());
        }
        self.live.insert(suffix.clone());
        Ok(Some(AnnounceEvent::Started { suffix, route }))
    }

    fn replace(&mut self, suffix: String, route: Route) -> Result<Option<AnnounceEvent>, AnnounceError> {
        if self.live.contains(&suffix) {
            return Ok(Some(AnnounceEvent::Rerouted { suffix, route }));
        }
        self.start(suffix, route)
    }

    fn end(&mut self, suffix: String) -> Result<Option<AnnounceEvent>, AnnounceError> {
        if self.live.remove(&suffix) {
            return Ok(Some(AnnounceEvent::Ended { suffix }));
        }
        // The released peers ignore it on 05.
        let harmless = self.version == Version::Lite05 || self.ignored > 0;
        if harmless { Ok(None) } else { Err(AnnounceError::NotLive(suffix)) }
    }

    /// An id that is not live: of an announcement that was ignored, or the peer's mistake.
    fn unknown(&self, id: u64) -> Result<Option<AnnounceEvent>, AnnounceError> {
        let harmless = self.ignored > 0 && id < self.next_id;
        if harmless { Ok(None) } else { Err(AnnounceError::UnknownId(id)) }
    }
}

/// What an announcement means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnnounceEvent {
    /// A broadcast came.
    Started {
        /// Its path below the prefix, normalised.
        suffix: String,
        /// How it is reached.
        route: Route,
    },
    /// A live one is reached in another way, or was published anew.
    Rerouted {
        /// Its path below the prefix, normalised.
        suffix: String,
        /// How it is reached now.
        route: Route,
    },
    /// It went.
    Ended {
        /// Its path below the prefix, normalised.
        suffix: String,
    },
}

/// How a peer broke the rules of announcing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// Announced while live.
    #[error("announcement of {0:?}, which is live")]
    AlreadyLive(String),
    /// Ended while not live.
    #[error("end of {0:?}, which is not live")]
    NotLive(String),
    /// An id never given, or retired.
    #[error("announce id {0}, which is not live")]
    UnknownId(u64),
}

/// The sender's book.
#[derive(Debug)]
pub struct Announcing {
    version: Version,
    next_id: u64,
    live: HashMap<String, Sent>,
}

#[derive(Debug)]
struct Sent {
    id: u64,
    publisher: Option<u64>,
}

impl Announcing {
    /// At the beginning of a reply stream.
    pub fn new(version: Version) -> Self {
        Self { version, next_id: 0, live: HashMap::new() }
    }

    /// What to send so that the peer knows `suffix` by this route: a start, a route change, on 03 and 04 an end and a
    /// start if the publisher is another one, or nothing where the version cannot tell the difference.
    ///
    /// On 03 and 04 the sender's own hop must already be the last of `route.hops`, later it must not be there.
    pub fn announce(&mut self, suffix: &str, route: Route) -> Vec<Announcement> {
        let publisher = route.hops.first().copied();
        let Some(sent) = self.live.get_mut(suffix) else {
            let id = self.next_id;
            self.next_id = self.next_id.saturating_add(1);
            self.live.insert(suffix.to_owned(), Sent { id, publisher });
            return vec![Announcement::Start { suffix: suffix.to_owned(), route }];
        };
        let same = std::mem::replace(&mut sent.publisher, publisher) == publisher;
        let suffix = suffix.to_owned();
        match self.version {
            Version::Lite06 => vec![Announcement::RestartId { id: sent.id, route }],
            Version::Lite05 => vec![Announcement::Start { suffix, route }],
            Version::Lite03 | Version::Lite04 if same => Vec::new(),
            Version::Lite03 | Version::Lite04 => {
                vec![Announcement::End { suffix: suffix.clone() }, Announcement::Start { suffix, route }]
            }
        }
    }

    /// What to send so that the peer forgets `suffix`. `None`: it does not know it.
    pub fn end(&mut self, suffix: &str) -> Option<Announcement> {
        let sent = self.live.remove(suffix)?;
        Some(if self.version.has_typed_announce() {
            Announcement::EndId { id: sent.id }
        } else {
            Announcement::End { suffix: suffix.to_owned() }
        })
    }
}

/// Strips and collapses slashes, so that `/a//b/` and `a/b` are one broadcast.
fn normalise(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if !out.is_empty() {
            out.push('/');
        }
        out.push_str(segment);
    }
    out
}
