//! How long frames take, and what is left of the promises about it.

use std::collections::BTreeMap;
use std::time::Instant;

use moqgate_core::{Histogram, Origin};

use super::text::{Kind, Labels, Page};
use crate::config::Objective;

/// Writes the histogram by transport, or by transport and broadcast, and then one sample for every objective.
pub(super) fn write(page: &mut Page, origin: &Origin, objectives: &[Objective], per_broadcast: bool) {
    let mut histograms: BTreeMap<(&str, Option<String>), Histogram> = BTreeMap::new();
    for totals in origin.latency_totals() {
        let broadcast = totals.broadcast.map(|path| path.to_string()).filter(|_| per_broadcast);
        // With a series per broadcast, the series of one that has gone has ended.
        if broadcast.is_some() || !per_broadcast {
            *histograms.entry((totals.transport.as_str(), broadcast)).or_default() += totals.histogram;
        }
    }
    let labelled = histograms.into_iter().map(|((transport, broadcast), histogram)| {
        let labels = Labels::default().with("transport", transport);
        (broadcast.map_or(labels.clone(), |broadcast| labels.with("broadcast", &broadcast)), histogram)
    });
    page.histograms(
        "moqgate_egress_latency_seconds",
        "From the entry of a frame into the model to its acceptance by a viewer's sink.",
        labelled.collect(),
    );
    write_objectives(page, origin, objectives);
}

fn write_objectives(page: &mut Page, origin: &Origin, objectives: &[Objective]) {
    let readings = origin.objectives(Instant::now());
    let observed: Vec<_> = objectives
        .iter()
        .zip(readings)
        .map(|(objective, reading)| (labels(objective), objective.budget_left(reading.all), reading.all))
        .collect();
    page.family(
        "moqgate_latency_objective_budget_left_ratio",
        "Part of the slow frames that an objective allows and that have not happened; negative: it is missed.",
        Kind::Gauge,
        observed.iter().map(|(labels, left, _)| (labels.clone(), *left)),
    );
    page.family(
        "moqgate_latency_objective_frames",
        "Frames within the window of an objective.",
        Kind::Gauge,
        observed.iter().map(|(labels, _, all)| (labels.clone(), all.frames)),
    );
    page.family(
        "moqgate_latency_objective_slow_frames",
        "Frames within the window of an objective that took longer than it allows.",
        Kind::Gauge,
        observed.iter().map(|(labels, _, all)| (labels.clone(), all.slow)),
    );
}

fn labels(objective: &Objective) -> Labels {
    let counted = &objective.counted;
    Labels::default()
        .with("objective", &counted.broadcasts.to_string())
        .with("transport", counted.transport.map_or("", moqgate_core::Protocol::as_str))
        .with("percentile", &objective.percentile.to_string())
        .with("below_seconds", &counted.below.as_secs_f64().to_string())
}
