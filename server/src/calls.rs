//! The servers that are called: one caller each, whatever the protocol.

use std::sync::Arc;

use moqgate_core::{CallCounters, Gate, Protocol};
use tokio_util::sync::CancellationToken;

use crate::bind;
use crate::config::call::{Call, Remote};
use crate::error::StartError;

/// Which way media goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Out of a local broadcast.
    Push,
    /// Into one.
    Pull,
}

impl Way {
    /// Metric label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
        }
    }
}

/// One that calls.
#[derive(Debug)]
pub(crate) enum Caller {
    /// Over SRT.
    Srt(moqgate_srt::Caller),
    /// Over RTMP or RTMPS.
    Rtmp(Box<moqgate_rtmp::Caller>),
}

impl Caller {
    /// One that has not called yet.
    pub(crate) fn new(call: Call, way: Way, gate: &Gate) -> Result<Self, StartError> {
        let Call { path, remote, trust } = call;
        Ok(match remote {
            Remote::Srt(remote) => {
                let way = match way {
                    Way::Push => moqgate_srt::Way::Push,
                    Way::Pull => moqgate_srt::Way::Pull,
                };
                let config = moqgate_srt::CallerConfig::new(way, remote, path);
                Self::Srt(moqgate_srt::Caller::new(config, gate.clone()))
            }
            Remote::Rtmp(remote) => {
                let way = match way {
                    Way::Push => moqgate_rtmp::Way::Push,
                    Way::Pull => moqgate_rtmp::Way::Pull,
                };
                let mut config = moqgate_rtmp::CallerConfig::new(way, remote, path);
                if config.remote.tls {
                    let tls = moqgate_moq::tls_client(&bind::trust(trust));
                    let wrong =
                        |error: moqgate_moq::TrustError| StartError::Tls { reason: error.to_string() };
                    config.tls = Some(Arc::new(tls.map_err(wrong)?));
                }
                Self::Rtmp(Box::new(moqgate_rtmp::Caller::new(config, gate.clone())))
            }
        })
    }

    /// Its counters.
    pub(crate) fn counters(&self) -> (Protocol, CallCounters) {
        match self {
            Self::Srt(caller) => (Protocol::Srt, caller.counters()),
            Self::Rtmp(caller) => (Protocol::Rtmp, caller.counters()),
        }
    }

    /// Calls until the token is cancelled.
    pub(crate) async fn run(self, stop: CancellationToken) {
        match self {
            Self::Srt(caller) => caller.run(stop).await,
            Self::Rtmp(caller) => caller.run(stop).await,
        }
    }
}
