//! `GET /api/v1/broadcasts`: what is live.

use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::State;
use moqgate_core::{BroadcastSnapshot, TrackStatus};
use serde::Serialize;

use super::Api;
use crate::wall::rfc3339;

/// The answer.
#[derive(Serialize)]
pub(super) struct Broadcasts {
    broadcasts: Vec<Broadcast>,
}

#[derive(Serialize)]
struct Broadcast {
    path: String,
    protocol: &'static str,
    session: String,
    since: String,
    /// The audience, viewers behind relays included.
    viewers: u64,
    tracks: Vec<Track>,
}

#[derive(Serialize)]
struct Track {
    name: String,
    kind: String,
    codec: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
}

impl From<BroadcastSnapshot> for Broadcast {
    fn from(broadcast: BroadcastSnapshot) -> Self {
        Self {
            path: broadcast.path.to_string(),
            protocol: broadcast.protocol.as_str(),
            session: broadcast.session.to_string(),
            since: rfc3339(UNIX_EPOCH + broadcast.since),
            viewers: broadcast.viewers,
            tracks: broadcast.tracks.into_iter().map(Track::from).collect(),
        }
    }
}

impl From<TrackStatus> for Track {
    fn from(track: TrackStatus) -> Self {
        Self {
            name: track.name,
            kind: track.kind,
            codec: track.codec,
            width: track.width,
            height: track.height,
        }
    }
}

/// `GET /api/v1/broadcasts`
pub(super) async fn list(State(api): State<Api>) -> Json<Broadcasts> {
    Json(Broadcasts { broadcasts: api.origin.broadcasts().into_iter().map(Broadcast::from).collect() })
}
