//! Following a broadcast's catalog.

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use moqgate_core::{Forwarded, Frame, FrameSink, GroupConsumer, TrackConsumer};

use super::Catalog;

/// Reads the catalog's track: only the newest catalog counts.
#[derive(Debug)]
pub struct CatalogReader {
    track: TrackConsumer,
    group: Option<GroupConsumer>,
    newest: Newest,
    ended: bool,
}

#[derive(Debug, Default)]
struct Newest(Option<Bytes>);

impl FrameSink for Newest {
    type Error = std::convert::Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Self::Error> {
        self.0 = Some(frame.payload);
        Ok(())
    }

    /// A catalog that is read here goes nowhere.
    fn now(&self) -> Option<Instant> {
        None
    }
}

impl CatalogReader {
    /// Follows `track`, a subscription to [`TRACK`](super::TRACK).
    pub fn new(track: TrackConsumer) -> Self {
        Self { track, group: None, newest: Newest::default(), ended: false }
    }

    /// Whether there is a new catalog, or there will be none any more; otherwise a waker is parked.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut changed = false;
        while !self.ended {
            let Some(group) = &mut self.group else {
                match self.track.poll_next_group(cx) {
                    Poll::Ready(Ok(Some(group))) => self.group = Some(group),
                    Poll::Ready(Ok(None) | Err(_)) => {
                        self.ended = true;
                        changed = true;
                    }
                    Poll::Pending => break,
                }
                continue;
            };
            match group.poll_forward(cx, &mut self.newest) {
                Poll::Ready(Ok(Forwarded::Frames(_))) => changed = true,
                Poll::Ready(Ok(Forwarded::End) | Err(_)) => self.group = None,
                Poll::Pending => break,
            }
        }
        changed
    }

    /// The newest catalog, once, or why it cannot be read.
    pub fn take(&mut self) -> Option<Result<Catalog, serde_json::Error>> {
        self.newest.0.take().map(|text| Catalog::from_json(&text))
    }

    /// Whether no further catalog will come.
    pub fn is_ended(&self) -> bool {
        self.ended
    }
}
