//! Who may come in.

use std::{
    fmt,
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{Path, Pattern};

/// How a session is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Native Media over QUIC.
    Moq,
    /// SRT.
    Srt,
    /// RTMP and RTMPS.
    Rtmp,
    /// WHIP and WHEP.
    Webrtc,
}

impl Protocol {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// Every protocol.
    pub const ALL: [Self; 4] = [Self::Moq, Self::Srt, Self::Rtmp, Self::Webrtc];

    /// The name in reports and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Moq => "moq",
            Self::Srt => "srt",
            Self::Rtmp => "rtmp",
            Self::Webrtc => "webrtc",
        }
    }
}

/// What a session is for, seen from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The peer publishes.
    Publish,
    /// The peer watches.
    Subscribe,
    /// The peer may do both.
    Both,
}

impl Direction {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Both => "both",
        }
    }
}

/// A text that no log line may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must use it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a peer showed to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Credential {
    /// Nothing.
    #[default]
    None,
    /// A token or stream key, whichever way the protocol carries it.
    Token(Secret),
    /// A user and a password.
    User {
        /// The name.
        user: Arc<str>,
        /// The password, possibly empty.
        password: Secret,
    },
}

/// What a peer asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// How it is connected.
    pub protocol: Protocol,
    /// What it wants to do.
    pub direction: Direction,
    /// The broadcast, or the root below which the session works (MoQ).
    pub path: Path,
    /// What it showed.
    pub credential: Credential,
    /// Where it is.
    pub peer: SocketAddr,
}

/// Who a publisher is, so that it can take over its own ghost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular, from this address. It may only take over what has fallen silent.
    Anonymous(IpAddr),
    /// The holder of this credential. It may take over at once.
    Credential(Arc<str>),
}

/// What a session may use up. It is ended when it passes one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// What it may publish, in payload bits per second over the window of whoever watches over it.
    pub bitrate: Option<u64>,
    /// How many may watch with this credential, and how many may watch what is published with it.
    pub viewers: Option<u64>,
    /// How long it may last.
    pub duration: Option<Duration>,
}

/// What a session may do. Only a grant opens a session.
#[derive(Debug, Clone)]
pub struct Grant {
    /// What the session sees as its root (MoQ); the peer's paths are relative to it.
    pub root: Path,
    /// The broadcast that is meant, where the peer named it by its credential alone.
    pub path: Option<Path>,
    /// What it may publish.
    pub publish: Vec<Pattern>,
    /// What it may watch.
    pub subscribe: Vec<Pattern>,
    /// The label that splits usage.
    pub tier: Arc<str>,
    /// Who pays.
    pub tenant: Arc<str>,
    /// Who publishes.
    pub identity: Identity,
    /// The passphrase that an SRT peer must have used.
    pub passphrase: Option<Secret>,
    /// When it ends. Whoever watches over the sessions ends this one then.
    pub expires: Option<SystemTime>,
    /// What it may use up.
    pub limits: Limits,
    /// The peer is a relay of ours: what it says of viewers behind it is believed. Everybody else is one viewer.
    pub relay: bool,
}

impl Grant {
    /// Lets `identity` in and do nothing.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            root: Path::root(),
            path: None,
            publish: Vec::new(),
            subscribe: Vec::new(),
            tier: "".into(),
            tenant: "".into(),
            identity,
            passphrase: None,
            expires: None,
            limits: Limits::default(),
            relay: false,
        }
    }

    /// Lets `identity` do everything.
    #[must_use]
    pub fn everything(identity: Identity) -> Self {
        Self { publish: vec![Pattern::all()], subscribe: vec![Pattern::all()], ..Self::new(identity) }
    }

    /// Whether the session may publish `path`.
    #[must_use]
    pub fn may_publish(&self, path: &Path) -> bool {
        self.publish.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether the session may watch `path`.
    #[must_use]
    pub fn may_subscribe(&self, path: &Path) -> bool {
        self.subscribe.iter().any(|pattern| pattern.matches(path))
    }
}

/// Why a peer is not let in, in words that its user can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Denied {
    /// What kind of refusal, which every protocol has a code for.
    pub reason: DenyReason,
    /// One sentence for the log and, where the protocol can carry it, for the peer.
    pub detail: String,
}

/// Kinds of refusal, named as HTTP names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DenyReason {
    /// The request makes no sense.
    BadRequest,
    /// A credential is missing or not known.
    Unauthorized,
    /// The credential does not cover this.
    Forbidden,
    /// There is no such broadcast.
    NotFound,
    /// The path has another publisher.
    Conflict,
    /// A limit is reached.
    Overloaded,
    /// Not now: the process is stopping, or what decides cannot be reached.
    Unavailable,
}

impl DenyReason {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::Overloaded,
        Self::Unavailable,
    ];

    /// One word for logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What [`Admission::admit`] returns.
pub type AdmissionFuture<'a> = Pin<Box<dyn Future<Output = Result<Grant, Denied>> + Send + 'a>>;

/// Business logic that lets peers in.
pub trait Admission: Send + Sync + 'static {
    /// Decides about one request. It may take its time: gateways ask from a task of the peer's own.
    fn admit<'a>(&'a self, request: &'a Request) -> AdmissionFuture<'a>;
}

/// Lets everybody do everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAdmission;

impl Admission for OpenAdmission {
    fn admit<'a>(&'a self, request: &'a Request) -> AdmissionFuture<'a> {
        let grant = Grant {
            root: if request.direction == Direction::Both { request.path.clone() } else { Path::root() },
            ..Grant::everything(Identity::Anonymous(request.peer.ip()))
        };
        Box::pin(std::future::ready(Ok(grant)))
    }
}
