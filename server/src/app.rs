//! The parts of moqgate, put together: everything is bound before anything is served.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use moqgate_core::{Gate, Origin, OriginConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::bind;
use crate::calls::{Caller, Way};
use crate::config::call::Call;
use crate::config::{self, Config, Mode, Usage};
use crate::demo::Demo;
use crate::entrance::{Entrance, Refusals};
use crate::error::StartError;
use crate::http::{self, Api, Calls, Gateways};
use crate::ledger::{self, Exporter, How, Ledger, Rows};
use crate::readiness::Readiness;
use crate::ready::Bound;
use crate::shutdown::Running;
use crate::stage::Stage;
use crate::stats;
use crate::store::Store;

/// How often the usage report looks for rows that are idle.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Ids of nodes are below 2^53, so that every peer's number type holds them.
const HOP_ID_BITS: u32 = 53;

/// Everything, bound and silent.
pub(crate) struct App {
    api: Api,
    listeners: Listeners,
    relays: Vec<moqgate_moq::Dialer>,
    pushes: Vec<Caller>,
    pulls: Vec<Caller>,
    demo: Option<Demo>,
    ledger: Option<Ledger>,
    exporter: Option<Exporter>,
    /// Where usage is published, if it is.
    stats: Option<Gate>,
    grace: Duration,
}

/// What is to be bound.
struct Wanted {
    moq: Option<SocketAddr>,
    srt: Option<config::Srt>,
    rtmp: Option<config::Rtmp>,
    webrtc: Option<config::Webrtc>,
    http: Option<config::Http>,
    tls: Option<config::Tls>,
    grace: Duration,
}

/// What is bound; `None` is off.
struct Listeners {
    moq: Option<bind::Moq>,
    srt: Option<moqgate_srt::Listener>,
    rtmp: Option<moqgate_rtmp::Listener>,
    webrtc: Option<moqgate_webrtc::Listener>,
    http: Option<TcpListener>,
}

impl Listeners {
    async fn bind(config: Wanted, gate: &Gate) -> Result<Self, StartError> {
        let rtmp =
            config.rtmp.as_ref().map(|rtmp| bind::rtmp(rtmp, config.tls.as_ref(), gate)).transpose()?;
        let moq = bind::moq(config.moq, config.tls, config.grace, gate).await?;
        let srt = config.srt.map(|srt| bind::srt(srt, gate)).transpose()?;
        let webrtc = match config.webrtc {
            Some(webrtc) => Some(bind::webrtc(webrtc, gate).await?),
            None => None,
        };
        let http = bind::http(config.http).await?;
        Ok(Self { moq, srt, rtmp, webrtc, http })
    }

    fn gateways(&self) -> Gateways {
        Gateways {
            srt: self.srt.as_ref().map(moqgate_srt::Listener::metrics),
            rtmp: self.rtmp.as_ref().map(moqgate_rtmp::Listener::metrics),
            webrtc: self.webrtc.as_ref().map(moqgate_webrtc::Listener::metrics),
            moq: self.moq.as_ref().map(|moq| moq.listener.metrics()),
            ..Gateways::default()
        }
    }

    fn bound(&self) -> Result<Bound, StartError> {
        Ok(Bound {
            moq: self.moq.as_ref().map(|moq| moq.listener.local_addr()),
            srt: self.srt.as_ref().map(moqgate_srt::Listener::local_addr),
            rtmp: self.rtmp.as_ref().map(moqgate_rtmp::Listener::local_addr),
            webrtc: self.webrtc.as_ref().map(moqgate_webrtc::Listener::local_addr),
            http: self.http.as_ref().map(TcpListener::local_addr).transpose().map_err(no_address)?,
            ..Bound::default()
        })
    }
}

impl App {
    /// Binds every port.
    pub(crate) async fn build(config: Config, mode: Option<Mode>) -> Result<Self, StartError> {
        let is_demo = mode == Some(Mode::Demo);
        if is_demo {
            Demo::check(&config)?;
        }
        let store = config.data_dir.as_deref().map(open_store).transpose()?;
        let origin = Origin::new(OriginConfig {
            hop_id: rand::random::<u64>() >> (u64::BITS - HOP_ID_BITS) | 1,
            retention_age: config.retention_age,
            retention_bytes: config.retention_bytes,
            bookkeeping: store.as_ref().map(|_| ledger::bookkeeping()),
            objectives: config.objectives.iter().map(|objective| objective.counted.clone()).collect(),
            ..OriginConfig::default()
        });
        let (readiness, refusals) = (Readiness::default(), Refusals::default());
        let access = bind::access(&config.auth, config.admin_token.as_ref(), store.as_ref(), &origin)?;
        let policy = bind::policy(config.auth, &config.node, &access, is_demo)?;
        let watch = access.supervisor.clone();
        let entrance =
            Entrance::new(policy, watch, readiness.clone(), refusals.clone(), config.trusted_relays);
        let gate = Gate::new(origin.clone(), Arc::new(entrance));

        let is_certificate_configured = config.tls.is_some();
        let passphrase = config.srt.as_ref().and_then(|srt| srt.passphrase.clone());
        let metrics_per_broadcast = config.http.as_ref().is_some_and(|http| http.metrics_per_broadcast);
        let wanted = Wanted {
            moq: config.moq,
            srt: config.srt,
            rtmp: config.rtmp,
            webrtc: config.webrtc,
            http: config.http,
            tls: config.tls,
            grace: config.grace,
        };
        let listeners = Listeners::bind(wanted, &gate).await?;
        let relays: Vec<_> = config.relays.into_iter().map(|relay| bind::relay(relay, &gate)).collect();
        let callers = |calls: Vec<Call>, way| -> Result<Vec<Caller>, StartError> {
            calls.into_iter().map(|call| Caller::new(call, way, &gate)).collect()
        };
        let stats = config.stats.then(|| gate.clone());
        let pushes = callers(config.pushes, Way::Push)?;
        let pulls = callers(config.pulls, Way::Pull)?;
        let api = Api {
            origin,
            rows: Rows::default(),
            ledger: ledger::Status::default(),
            keeps_ledger: store.is_some(),
            refusals,
            gateways: Gateways {
                relays: relays.iter().map(moqgate_moq::Dialer::metrics).collect(),
                calls: Calls::new(&pushes, &pulls),
                ..listeners.gateways()
            },
            node: config.node.into(),
            bound: Bound { is_certificate_configured, ..listeners.bound()? },
            readiness,
            objectives: config.objectives.into(),
            access,
            metrics_per_broadcast,
        };
        let (ledger, exporter) = keep_books(store, &api, &config.usage)?;
        let demo = is_demo.then(|| Demo::new(api.bound.srt, api.bound.rtmp, passphrase)).transpose()?;
        Ok(Self { api, listeners, relays, pushes, pulls, demo, ledger, exporter, stats, grace: config.grace })
    }

    /// Says that everything is bound, and what to paste.
    pub(crate) fn announce(&self) -> Result<(), StartError> {
        let playing = self.demo.as_ref().map(Demo::path);
        self.api.bound.announce(playing).map_err(|source| StartError::System { what: "print", source })
    }

    /// Serves.
    pub(crate) fn start(self) -> Running {
        let (ingest, viewers, background, http) =
            (Stage::default(), Stage::default(), Stage::default(), Stage::default());
        background.spawn(report(self.api.origin.clone(), self.api.rows.clone(), background.token()));
        if let Some(exporter) = self.exporter {
            background.spawn(exporter.run(background.token()));
        }
        if let Some(ledger) = &self.ledger {
            let (ended, stop) = (ledger.ended(), background.token());
            background.spawn(async move {
                tokio::select! {
                    biased;
                    // 1. the stop
                    () = stop.cancelled() => {}
                    // 2. the end of the thread, after which nothing would be billed
                    () = ended => {}
                }
            });
        }
        if let Some(gate) = self.stats {
            background.spawn(stats::publish(gate, Arc::clone(&self.api.node), background.token()));
        }
        let supervisor = self.api.access.supervisor.clone();
        background.spawn(supervisor.clone().run(background.token()));
        if let Some(keys) = self.api.access.keys.clone() {
            background.spawn(keys.follow(background.token(), move || supervisor.look(SystemTime::now())));
        }
        if let Some(srt) = self.listeners.srt {
            ingest.spawn(srt.run(ingest.token()));
        }
        if let Some(rtmp) = self.listeners.rtmp {
            ingest.spawn(rtmp.run(ingest.token()));
        }
        let mut sessions = Router::new();
        if let Some(webrtc) = self.listeners.webrtc {
            sessions = webrtc.router();
            ingest.spawn(webrtc.run(ingest.token()));
        }
        if let Some(demo) = self.demo {
            ingest.spawn(demo.run(ingest.token()));
        }
        if let Some(bind::Moq { listener, tcp }) = self.listeners.moq {
            let routes = http::certificate_router(listener.certificate_hash());
            http.spawn(http::serve(tcp, routes, http.token().cancelled_owned()));
            viewers.spawn(listener.run(viewers.token()));
        }
        for relay in self.relays {
            viewers.spawn(relay.run(viewers.token()));
        }
        // A pull is a publisher of ours, a push is a viewer.
        self.pulls.into_iter().for_each(|pull| ingest.spawn(pull.run(ingest.token())));
        self.pushes.into_iter().for_each(|push| viewers.spawn(push.run(viewers.token())));
        if let Some(listener) = self.listeners.http {
            let routes = http::router(self.api.clone()).merge(sessions);
            http.spawn(http::serve(listener, routes, http.token().cancelled_owned()));
        }
        Running {
            readiness: self.api.readiness,
            ingest,
            viewers,
            background,
            http,
            origin: self.api.origin,
            rows: self.api.rows,
            ledger: self.ledger,
            grace: self.grace,
        }
    }
}

/// The database of `folder`, which is made when it is missing.
pub(crate) fn open_store(folder: &Path) -> Result<Store, StartError> {
    let file = |source| StartError::File { key: "data-dir", path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(file)?;
    Ok(Store::open(folder)?)
}

/// Starts to write usage down, where there is a folder for it, and prepares its export, where somebody wants it.
fn keep_books(
    store: Option<Store>,
    api: &Api,
    config: &Usage,
) -> Result<(Option<Ledger>, Option<Exporter>), StartError> {
    let Some(store) = store else {
        info!("no data-dir: usage is kept in memory only, and gone when moqgate ends");
        return Ok((None, None));
    };
    info!(database = %store, interval = ?config.interval, "usage is written down");
    let exporter = |export| Exporter::new(store.clone(), export, api.ledger.clone());
    let exporter = config.export.clone().map(exporter).transpose();
    let exporter = exporter.map_err(|error| StartError::Tls { reason: error.to_string() })?;
    let how = How {
        node: api.node.to_string(),
        interval: config.interval,
        keep: config.keep,
        endpoint: config.export.as_ref().map(|export| export.url.to_string()),
    };
    Ok((Some(Ledger::start(store, api.origin.clone(), how, api.ledger.clone())?), exporter))
}

fn no_address(source: io::Error) -> StartError {
    StartError::System { what: "read the address of a listener", source }
}

/// Looks for idle rows until the token is cancelled.
async fn report(origin: Origin, rows: Rows, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(REPORT_INTERVAL);
    loop {
        tokio::select! {
            biased;
            // 1. the stop
            () = stop.cancelled() => return,
            // 2. the report
            _ = ticks.tick() => drop(rows.report(&origin, Instant::now())),
        }
    }
}
