//! `moqgate demo`: a clip that plays into the SRT listener for ever, as an encoder would, so that there is a picture to watch.

mod caller;
mod clip;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_srt::engine::Connection;
use tokio::net::UdpSocket;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::error::StartError;
use caller::{Call, CallError};
use clip::Clip;

/// Generated: a test picture and a tone, H.264 with B-frames and AAC, 10 s.
const CLIP: &[u8] = include_bytes!("../../../fixtures/demo.ts");
/// Where it is published.
pub(crate) const PATH: &str = "demo";
/// Before a lost connection is called again.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest UDP payload of an Ethernet frame.
const DATAGRAM: usize = 1500;

/// The demo, not connected yet.
pub(crate) struct Demo {
    listener: SocketAddr,
}

impl Demo {
    /// Refuses configurations in which the clip cannot get in.
    pub(crate) fn check(config: &Config) -> Result<(), StartError> {
        match &config.srt {
            None => Err(StartError::Demo("srt.listen is off")),
            Some(srt) if srt.passphrase.is_some() => {
                Err(StartError::Demo("it is not encrypted, srt.passphrase is set"))
            }
            Some(_) => Ok(()),
        }
    }

    /// A demo that plays into the listener at that address.
    pub(crate) fn new(listener: SocketAddr) -> Self {
        Self { listener: caller::near(listener) }
    }

    /// Plays until the token is cancelled, and calls again whenever the connection is lost.
    pub(crate) async fn run(self, stop: CancellationToken) {
        // 1. the stop, 2. the play: both are what `run_until_cancelled` does.
        stop.run_until_cancelled(async {
            loop {
                let reason = match self.play().await {
                    Ok(()) => "the listener closed the connection".to_owned(),
                    Err(error) => error.to_string(),
                };
                warn!(reason, "the demo is interrupted");
                sleep(PAUSE).await;
            }
        })
        .await;
    }

    async fn play(&self) -> Result<(), CallError> {
        let clip = Clip::new(CLIP).map_err(|error| CallError::Socket(io::Error::other(error)))?;
        let Call { socket, connection } = caller::call(self.listener, &format!("publish:{PATH}")).await?;
        info!(path = PATH, "the demo plays");
        let mut player = Player { socket, connection, clip, start: Instant::now() };
        player.run().await?;
        Ok(())
    }
}

/// One connection and the clip that goes over it.
struct Player {
    socket: UdpSocket,
    connection: Connection,
    clip: Clip,
    start: Instant,
}

impl Player {
    /// Returns when the connection is closed.
    async fn run(&mut self) -> io::Result<()> {
        let mut buffer = [0; DATAGRAM];
        while self.connection.closed().is_none() {
            while let Some(datagram) = self.connection.poll_transmit() {
                self.socket.send(&datagram).await?;
            }
            let Some(timer) = self.connection.poll_timeout() else { break };
            let due = self.start + self.clip.due();
            tokio::select! {
                biased;
                // 1. what the listener says
                received = self.socket.recv(&mut buffer) => {
                    let datagram = Bytes::copy_from_slice(&buffer[..received?]);
                    self.connection.handle(datagram, Instant::now());
                }
                // 2. the clip
                () = sleep_until(due.into()) => {
                    // A payload that finds no room is lost, as on any live link.
                    let _ = self.connection.push(&self.clip.next(), Instant::now());
                }
                // 3. the engine's timer
                () = sleep_until(timer.into()) => self.connection.handle_timeout(Instant::now()),
            }
        }
        Ok(())
    }
}
