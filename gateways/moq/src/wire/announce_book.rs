//! Which announcements of a stream are live, on either side of it: ids since 06, suffixes before.

use std::collections::HashMap;

use super::announce::{Announcement, Route};
use super::version::Version;

/// Most live announcements on one stream that we keep for a peer: about 10 MB with the longest names.
pub const ANNOUNCED_MAX: usize = 4096;

/// The receiver's book. All that it refuses closes the session.
#[derive(Debug)]
pub struct Announced {
    version: Version,
    next_id: u64,
    ids: HashMap<u64, String>,
    live: HashMap<String, Option<u64>>,
}

impl Announced {
    /// At the beginning of a reply stream.
    pub fn new(version: Version) -> Self {
        Self { version, next_id: 0, ids: HashMap::new(), live: HashMap::new() }
    }

    /// Books one announcement and says what it means. `None`: nothing.
    pub fn push(&mut self, announcement: Announcement) -> Result<Option<AnnounceEvent>, AnnounceError> {
        match announcement {
            Announcement::Start { suffix, route } => self.start(normalise(&suffix), route).map(Some),
            Announcement::Restart { suffix, route } => Ok(Some(self.replace(normalise(&suffix), route)?)),
            Announcement::End { suffix } => self.end(normalise(&suffix)),
            Announcement::EndId { id } => {
                let suffix = self.ids.remove(&id).ok_or(AnnounceError::UnknownId(id))?;
                self.live.remove(&suffix);
                Ok(Some(AnnounceEvent::Ended { suffix }))
            }
            Announcement::RestartId { id, route } => {
                let suffix = self.ids.get(&id).cloned().ok_or(AnnounceError::UnknownId(id))?;
                Ok(Some(AnnounceEvent::Rerouted { suffix, route }))
            }
            Announcement::Unknown { .. } => Ok(None),
        }
    }

    fn start(&mut self, suffix: String, route: Route) -> Result<AnnounceEvent, AnnounceError> {
        if self.live.contains_key(&suffix) {
            if self.version == Version::Lite05 {
                return Ok(AnnounceEvent::Rerouted { suffix, route });
            }
            return Err(AnnounceError::AlreadyLive(suffix));
        }
        if self.live.len() >= ANNOUNCED_MAX {
            return Err(AnnounceError::TooMany);
        }
        let id = self.version.has_typed_announce().then_some(self.next_id);
        if let Some(id) = id {
            self.ids.insert(id, suffix.clone());
            self.next_id = id.saturating_add(1);
        }
        self.live.insert(suffix.clone(), id);
        Ok(AnnounceEvent::Started { suffix, route })
    }

    fn replace(&mut self, suffix: String, route: Route) -> Result<AnnounceEvent, AnnounceError> {
        if self.live.contains_key(&suffix) {
            return Ok(AnnounceEvent::Rerouted { suffix, route });
        }
        self.start(suffix, route)
    }

    fn end(&mut self, suffix: String) -> Result<Option<AnnounceEvent>, AnnounceError> {
        if self.live.remove(&suffix).is_some() {
            return Ok(Some(AnnounceEvent::Ended { suffix }));
        }
        // The released peers ignore it on 05.
        if self.version == Version::Lite05 { Ok(None) } else { Err(AnnounceError::NotLive(suffix)) }
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
    /// More than [`ANNOUNCED_MAX`] at once.
    #[error("more than {ANNOUNCED_MAX} announcements")]
    TooMany,
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
