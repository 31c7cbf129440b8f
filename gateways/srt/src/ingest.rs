//! Payloads of one connection to frames of one broadcast.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use moqgate_core::{BroadcastProducer, Session};
use tokio::sync::mpsc;

use crate::import::{Import, Now};
use crate::queue::Outlet;
use crate::stats::Link;

/// What a broadcast's task tells the port when it ends, however it ends.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Socket id of the connection.
    pub(crate) id: u32,
    /// Why, in words.
    pub(crate) why: String,
    /// What was sent may still arrive; otherwise the connection ends at once.
    pub(crate) gentle: bool,
}

/// Sends the [`Ending`] when dropped, so that a connection never outlives its broadcast.
#[derive(Debug)]
pub(crate) struct EndingGuard {
    ending: Option<Ending>,
    port: mpsc::Sender<Ending>,
}

impl EndingGuard {
    pub(crate) fn new(id: u32, port: mpsc::Sender<Ending>) -> Self {
        Self { ending: Some(Ending { id, why: "its task stopped".to_owned(), gentle: false }), port }
    }

    pub(crate) fn because(&mut self, why: String) {
        if let Some(ending) = &mut self.ending {
            ending.why = why;
        }
    }

    /// There is nothing more to send.
    pub(crate) fn drained(&mut self, why: String) {
        if let Some(ending) = &mut self.ending {
            ending.gentle = true;
        }
        self.because(why);
    }
}

impl Drop for EndingGuard {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            // The channel has room for one of every connection; a port that is gone needs no news.
            self.port.try_send(ending).ok();
        }
    }
}

/// Imports until the connection ends, or the session or the broadcast is taken away.
pub(crate) async fn ingest(
    session: Session,
    broadcast: BroadcastProducer,
    link: Arc<Link>,
    payloads: Outlet,
    mut ending: EndingGuard,
) {
    let mut import = Import::new(broadcast, link);
    let mut batch = VecDeque::new();
    let why = loop {
        let applied = tokio::select! {
            more = payloads.take(&mut batch) => {
                if !more {
                    break None;
                }
                import.push(&mut batch, Now::read())
            }
            () = sleep_until(import.timeout()) => import.handle_timeout(Now::read()),
            reason = session.killed() => break Some(reason.to_string()),
        };
        if let Err(error) = applied {
            break Some(error.to_string());
        }
    };
    if let Some(why) = why {
        ending.because(why);
    }
    import.finish(Now::read());
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
