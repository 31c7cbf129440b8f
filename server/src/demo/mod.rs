//! `moqgate demo`: a clip that plays into the SRT and the RTMP listener for ever, as encoders would, so that there is a picture
//! to watch.

mod clip;
mod source;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use moqgate_core::{Path, PathError, Secret};
use moqgate_rtmp::RemoteError;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::config::Config;
use crate::error::StartError;
use clip::Clip;
use source::Source;

/// Generated: a test picture and a tone, H.264 with B-frames and AAC, 10 s.
const CLIP: &[u8] = include_bytes!("../../../fixtures/demo.ts");
/// Where it is published over SRT.
const SRT_PATH: &str = "demo";
/// And over RTMP.
const RTMP_PATH: &str = "demo/rtmp";

/// The demo, not connected yet.
pub(crate) struct Demo {
    source: Source,
    srt: Option<moqgate_srt::Caller>,
    rtmp: Option<moqgate_rtmp::Caller>,
}

impl Demo {
    /// Refuses configurations in which the clip cannot get in.
    pub(crate) fn check(config: &Config) -> Result<(), StartError> {
        match (&config.srt, &config.rtmp) {
            (None, None) => Err(StartError::Demo("srt.listen and rtmp.listen are off")),
            _ => Ok(()),
        }
    }

    /// A demo that plays into the listeners at these addresses.
    pub(crate) fn new(
        srt: Option<SocketAddr>,
        rtmp: Option<SocketAddr>,
        passphrase: Option<Secret>,
    ) -> Result<Self, StartError> {
        let broken = |what| StartError::System { what: "play the demo", source: io::Error::other(what) };
        let clip = Clip::new(CLIP).map_err(|error| broken(error.to_string()))?;
        let path = Path::new(SRT_PATH).map_err(|error: PathError| broken(error.to_string()))?;
        let source = Source::new(clip, path.clone());
        let srt = srt.map(|at| {
            let remote = moqgate_srt::Remote {
                stream_id: format!("publish:{SRT_PATH}"),
                passphrase,
                ..moqgate_srt::Remote::new(&near(at).to_string())
            };
            let config = moqgate_srt::CallerConfig::new(moqgate_srt::Way::Push, remote, path.clone());
            moqgate_srt::Caller::new(config, source.gate().clone())
        });
        let rtmp = rtmp.map(|at| {
            let remote = moqgate_rtmp::Remote::parse(&format!("rtmp://{}/{RTMP_PATH}", near(at)))
                .map_err(|error: RemoteError| broken(error.to_string()))?;
            let config = moqgate_rtmp::CallerConfig::new(moqgate_rtmp::Way::Push, remote, path.clone());
            Ok::<_, StartError>(moqgate_rtmp::Caller::new(config, source.gate().clone()))
        });
        Ok(Self { source, srt, rtmp: rtmp.transpose()? })
    }

    /// A broadcast that there will be.
    pub(crate) fn path(&self) -> &'static str {
        if self.srt.is_some() { SRT_PATH } else { RTMP_PATH }
    }

    /// Plays until the token is cancelled, and calls again whenever a connection is lost.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let play = async {
            // 1. the stop, 2. the clip: both are what `run_until_cancelled` does.
            if let Some(Err(error)) = stop.run_until_cancelled(self.source.play()).await {
                error!(%error, "the demo cannot play");
            }
        };
        let srt = async {
            if let Some(caller) = self.srt {
                caller.run(stop.clone()).await;
            }
        };
        let rtmp = async {
            if let Some(caller) = self.rtmp {
                caller.run(stop.clone()).await;
            }
        };
        tokio::join!(play, srt, rtmp);
    }
}

/// The way to `listener` from the same machine: an address of every interface is reached by the loopback.
fn near(listener: SocketAddr) -> SocketAddr {
    let ip = match listener {
        _ if !listener.ip().is_unspecified() => listener.ip(),
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listener.port())
}
