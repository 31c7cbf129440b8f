//! The stop, written once, in its order.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use moqgate_core::Origin;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::ledger::{Ledger, Rows};
use crate::readiness::Readiness;
use crate::signals::Signals;
use crate::stage::Stage;

/// Something was cut off.
const EXIT_CUT_OFF: u8 = 1;

/// Answers are made at once; only a peer that does not read its own takes longer.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Everything that runs, in the order in which it stops.
pub(crate) struct Running {
    /// Whether new sessions are accepted.
    pub(crate) readiness: Readiness,
    /// The listeners that bring media in, and what imports it.
    pub(crate) ingest: Stage,
    /// The sessions of viewers and relays.
    pub(crate) viewers: Stage,
    /// What only looks: the periodic report.
    pub(crate) background: Stage,
    /// The HTTP API: last, so that health checks see the stop.
    pub(crate) http: Stage,
    /// The directory.
    pub(crate) origin: Origin,
    /// Its account.
    pub(crate) rows: Rows,
    /// What is written down, if there is a folder for it.
    pub(crate) ledger: Option<Ledger>,
    /// How long sessions may take to end.
    pub(crate) grace: Duration,
}

impl Running {
    /// Waits for a reason to stop: a signal, or a task that ended although it should not.
    pub(crate) async fn reason(&self, signals: &mut Signals) -> Reason {
        tokio::select! {
            biased;
            signal = signals.next() => Reason::Signal(signal),
            () = self.ingest.fallen() => Reason::Fallen("a listener for media"),
            () = self.viewers.fallen() => Reason::Fallen("MoQ"),
            () = self.background.fallen() => Reason::Fallen("the report"),
            () = self.http.fallen() => Reason::Fallen("HTTP"),
        }
    }

    /// Stops in order. `skip` resolves when nobody wants to wait any longer.
    pub(crate) async fn stop(self, reason: Reason, skip: impl Future<Output = &'static str>) -> ExitCode {
        match reason {
            Reason::Signal(signal) => info!(signal, grace = ?self.grace, "stop: accept no more"),
            Reason::Fallen(part) => error!(part, "it ended by itself; stop: accept no more"),
        }
        self.readiness.drain();
        self.origin.stopping();
        info!("stop: readyz is 503");
        let mut patience = std::pin::pin!(patience(self.grace, skip));

        info!("stop: finish importers, drop producers");
        self.ingest.stop();
        let mut in_order = matches!(reason, Reason::Signal(_));
        in_order &= within(&mut patience, self.ingest.ended()).await;
        info!("stop: goodbye to peers");
        self.viewers.stop();
        info!("stop: drain");
        in_order = in_order && within(&mut patience, self.viewers.ended()).await;

        info!("stop: cancel");
        for stage in [&self.ingest, &self.viewers, &self.background] {
            stage.abandon();
        }
        info!("stop: join");
        for stage in [&self.ingest, &self.viewers, &self.background] {
            stage.ended().await;
        }
        info!("stop: flush the ledger");
        self.rows.flush(&self.origin);
        if let Some(ledger) = self.ledger {
            in_order &= ledger.close().await;
        }
        self.http.stop();
        let _ = tokio::time::timeout(LAST_ANSWERS, self.http.ended()).await;
        self.http.abandon();
        self.http.ended().await;
        info!(in_order, "stopped");
        if in_order { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CUT_OFF) }
    }
}

/// Why the process stops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reason {
    /// It was told to.
    Signal(&'static str),
    /// A part of it is gone, so that it is better started anew.
    Fallen(&'static str),
}

/// Resolves when the grace period has ended or is skipped.
async fn patience(grace: Duration, skip: impl Future<Output = &'static str>) {
    tokio::select! {
        biased;
        signal = skip => warn!(signal, "the drain is skipped"),
        () = tokio::time::sleep_until(Instant::now() + grace) => warn!("the grace period has ended"),
    }
}

/// Whether `work` ended before the patience did.
async fn within(patience: &mut (impl Future<Output = ()> + Unpin), work: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = work => true,
        () = patience => false,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use moqgate_core::OriginConfig;
    use tokio::sync::oneshot;

    use super::*;

    fn running() -> Running {
        Running {
            readiness: Readiness::default(),
            ingest: Stage::default(),
            viewers: Stage::default(),
            background: Stage::default(),
            http: Stage::default(),
            origin: Origin::new(OriginConfig::default()),
            rows: Rows::default(),
            ledger: None,
            grace: Duration::from_secs(10),
        }
    }

    fn is_success(code: ExitCode) -> bool {
        format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS)
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_obey_end_at_once() {
        let running = running();
        for stage in [&running.ingest, &running.viewers, &running.background] {
            let token = stage.token();
            stage.spawn(async move { token.cancelled().await });
        }
        let (started, readiness) = (Instant::now(), running.readiness.clone());
        assert!(is_success(running.stop(Reason::Signal("test"), pending()).await));
        assert!(readiness.is_draining());
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn importers_end_before_viewers_are_told() {
        let running = running();
        let (ingest, viewers) = (running.ingest.token(), running.viewers.token());
        let (told, (seen, was_told)) = (viewers.clone(), oneshot::channel());
        running.ingest.spawn(async move {
            ingest.cancelled().await;
            tokio::time::sleep_until(Instant::now() + Duration::from_secs(1)).await;
            let _ = seen.send(told.is_cancelled());
        });
        running.viewers.spawn(async move { viewers.cancelled().await });
        assert!(is_success(running.stop(Reason::Signal("test"), pending()).await));
        assert_eq!(was_told.await, Ok(false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_period_ends_what_does_not() {
        let running = running();
        running.viewers.spawn(pending());
        let started = Instant::now();
        assert!(!is_success(running.stop(Reason::Signal("test"), pending()).await));
        assert_eq!(started.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_noticed() {
        let running = running();
        running.ingest.spawn(async { panic!("on purpose") });
        running.ingest.fallen().await;
        assert!(!is_success(running.stop(Reason::Fallen("test"), pending()).await));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_skips_the_drain() {
        let running = running();
        running.ingest.spawn(pending());
        let started = Instant::now();
        assert!(!is_success(running.stop(Reason::Signal("test"), ready("SIGTERM")).await));
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
