//! How a session begins: an offer in, an answer out.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moqgate_core::{
    BroadcastProducer, Credential, Direction, Full, Protocol, PublishError, PublishOptions, Request, Seat,
    Session,
};
use rand::RngExt as _;
use rand::distr::Alphanumeric;
use tracing::info;

use super::{Client, ask};
use crate::egress::{Player, play};
use crate::engine::Sending;
use crate::error::Refusal;
use crate::ingest::{Ingest, ingest};
use crate::link::Link;
use crate::listen::Shared;
use crate::metrics::Kind;
use crate::sdp::{self, Offer};
use crate::sessions::{Live, Parts};

/// How long a decision about a client may take.
const DECISION_LIMIT: Duration = Duration::from_secs(10);

type Opening = Result<Response, Refusal>;

/// A client that was let in.
struct Entered {
    path: moqgate_core::Path,
    offer: Offer,
    credential: Credential,
    client: Client,
    session: Session,
    link: Arc<Link>,
    seat: Seat,
}

/// `POST /whip/{path}`
pub(super) async fn whip(
    State(shared): State<Arc<Shared>>,
    client: Option<Extension<Client>>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Opening {
    let client = client.map(|Extension(client)| client).unwrap_or_default();
    let opening = async {
        let entered =
            enter(&shared, Direction::Publish, client, &path, query.as_deref(), &headers, body).await?;
        let broadcast = publish(&entered)?;
        let media = Ingest::new(broadcast, &entered.offer, Arc::clone(&entered.link));
        let (live, response) = answer(&shared, Kind::Whip, entered, &[])?;
        let peer = Arc::clone(&live.peer);
        shared.tasks.spawn(async move { peer.alongside(ingest(live, media)).await });
        Ok(response)
    };
    refused(&shared, opening.await)
}

/// `POST /whep/{path}`
pub(super) async fn whep(
    State(shared): State<Arc<Shared>>,
    client: Option<Extension<Client>>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Opening {
    let client = client.map(|Extension(client)| client).unwrap_or_default();
    let opening = async {
        let entered =
            enter(&shared, Direction::Subscribe, client, &path, query.as_deref(), &headers, body).await?;
        let wait = shared.config.offer_wait;
        let player =
            Player::open(&entered.session, &entered.path, &entered.offer, wait, &shared.reordered).await?;
        let (live, response) = answer(&shared, Kind::Whep, entered, &player.sending())?;
        let peer = Arc::clone(&live.peer);
        shared.tasks.spawn(async move { peer.alongside(play(live, player)).await });
        Ok(response)
    };
    refused(&shared, opening.await)
}

/// Counts and logs a refusal. The path stays out of the log: a stream key may stand in the place of a name.
fn refused(shared: &Shared, opening: Opening) -> Opening {
    opening.inspect_err(|refusal| {
        shared.metrics.refuse(refusal.reason());
        info!(status = refusal.status().as_u16(), detail = refusal.detail(), "WebRTC client refused");
    })
}

fn full(full: Full) -> Refusal {
    let detail = match full {
        Full::All => "there are too many sessions",
        Full::Place => "there are too many sessions from this address",
        Full::Pending => "there are too many sessions from this address that are not connected yet",
    };
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// Reads what is asked and decides about it.
async fn enter(
    shared: &Shared,
    direction: Direction,
    client: Client,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Entered, Refusal> {
    let body = body.map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))?;
    let offer = ask::offer(headers, &body)?;
    let path = ask::path(path)?;
    let credential = ask::credential(headers, query)?;
    let Client(peer) = client;
    let seat = shared.places.take(peer.ip()).map_err(full)?;
    let request =
        Request { protocol: Protocol::Webrtc, direction, path, credential: credential.clone(), peer };
    let grant = match tokio::time::timeout(DECISION_LIMIT, shared.gate.admit(&request)).await {
        Ok(decision) => decision?,
        Err(_) => return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "admission took too long")),
    };
    let link = Arc::<Link>::default();
    let session = shared.gate.open(request, grant, SystemTime::now(), Some(Arc::clone(&link) as _));
    let path = session.path().clone();
    Ok(Entered { path, offer, credential, client, session, link, seat })
}

fn publish(entered: &Entered) -> Result<BroadcastProducer, Refusal> {
    let sends = |section: &sdp::Section| section.is_media() && section.direction.sends();
    if !entered.offer.sections().iter().any(sends) {
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "the offer does not send anything"));
    }
    let publisher = entered.session.publisher();
    publisher.publish(&entered.path, PublishOptions::default(), Instant::now()).map_err(|error| {
        let status = match error {
            PublishError::Busy => StatusCode::CONFLICT,
            PublishError::Forbidden | _ => StatusCode::FORBIDDEN,
        };
        Refusal::new(status, error.to_string())
    })
}

/// Makes the peer, enters the session and writes the answer.
fn answer(
    shared: &Arc<Shared>,
    kind: Kind,
    entered: Entered,
    sending: &[Sending],
) -> Result<(Live, Response), Refusal> {
    let Entered { path, offer, credential, client: Client(client), session, link, seat } = entered;
    let accepted = shared.engine.accept(&offer, sending, shared.port.berth());
    let (peer, text) =
        accepted.map_err(|error| Refusal::new(StatusCode::NOT_ACCEPTABLE, error.to_string()))?;
    let candidates = shared.candidates(client.ip());
    let text = sdp::finish(&text, &offer, &candidates);
    let id = random(22);
    let fragment = sdp::attribute_of(&text, "ice-ufrag").unwrap_or_default().to_owned();
    peer.berth().rename(&fragment);
    let response = created(shared, &id, &fragment, text);
    let parts = Parts { kind, path, peer, session, link, seat, offer, credential, candidates, fragment };
    Ok((Live::enter(shared, id, parts), response))
}

fn created(shared: &Shared, id: &str, tag: &str, text: String) -> Response {
    let mut response = (StatusCode::CREATED, text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(super::SDP_TYPE));
    headers.insert("accept-patch", HeaderValue::from_static(super::FRAGMENT_TYPE));
    for (name, value) in [(header::LOCATION, format!("/webrtc/{id}")), (header::ETAG, format!("\"{tag}\""))] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    super::name_servers(shared, headers);
    response
}

/// Letters and digits that nobody can guess, 5.9 bits each.
fn random(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}
