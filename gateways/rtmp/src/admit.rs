//! What happens before a peer publishes or plays: it is decided about, and may have to wait.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use moqgate_core::{
    Denied, DenyReason, Direction, Path, Protocol, PublishError, PublishOptions, Request, Session,
};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::connection::{End, Live, Media, count};
use crate::egress::Player;
use crate::ingest::Ingest;
use crate::listen::Shared;
use crate::session::Ask;
use crate::stats::Link;

/// Read while a peer waits for the decision: what it says meanwhile is short, and only its end matters.
const WAITING_INPUT: usize = 16 << 10;
/// Most that a decision may take; encoders wait longer.
const DECISION_LIMIT: Duration = Duration::from_secs(10);

/// Waits for something while the peer stays; what it says meanwhile is kept.
pub(crate) async fn until_gone<T>(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    shared: &Shared,
    link: &Link,
    awaited: impl Future<Output = T>,
) -> Result<T, End> {
    let mut awaited = pin!(awaited);
    loop {
        let room = input.len() < WAITING_INPUT;
        tokio::select! {
            biased;
            done = &mut awaited => return Ok(done),
            read = stream.read_buf(input), if room => match read {
                Ok(0) => return Err(End::Closed),
                Ok(read) => count(shared, link, read),
                Err(error) => return Err(End::Io(error)),
            },
        }
    }
}

/// Decides about a peer, and opens what it publishes or plays.
pub(crate) async fn admit(
    shared: &Shared,
    peer: SocketAddr,
    link: &Arc<Link>,
    ask: Ask,
) -> Result<Result<Live, Denied>, End> {
    let request = Request {
        protocol: Protocol::Rtmp,
        direction: ask.direction,
        path: ask.name.path,
        credential: ask.name.credential,
        peer,
    };
    let grant = match tokio::time::timeout(DECISION_LIMIT, shared.gate.admit(&request)).await {
        Ok(Ok(grant)) => grant,
        Ok(Err(denied)) => return Ok(Err(denied)),
        Err(_) => return Ok(Err(denied(DenyReason::Unavailable, "admission took too long"))),
    };
    let session = shared.gate.open(request, grant, SystemTime::now(), Some(link.clone()));
    let path = session.path().clone();
    let media = if ask.direction == Direction::Publish {
        publish(&session, &path, link).map(|ingest| Media::In(Box::new(ingest)))
    } else {
        tokio::select! {
            biased;
            player = Player::open(&session, path.clone(), &ask.capabilities, shared.play_wait) => {
                player.map(|player| Media::Out(Box::new(player)))
            }
            reason = session.killed() => return Err(End::Killed(reason)),
        }
    };
    Ok(media.map(|media| Live { path, media, session }))
}

fn publish(session: &Session, path: &Path, link: &Arc<Link>) -> Result<Ingest, Denied> {
    let publish = session.publisher().publish(path, PublishOptions::default(), Instant::now());
    let broadcast = publish.map_err(|error| {
        let reason = match error {
            PublishError::Busy => DenyReason::Conflict,
            PublishError::Forbidden | _ => DenyReason::Forbidden,
        };
        denied(reason, &error.to_string())
    })?;
    Ok(Ingest::new(broadcast, Arc::clone(link)))
}

fn denied(reason: DenyReason, detail: &str) -> Denied {
    Denied { reason, detail: detail.to_owned() }
}
