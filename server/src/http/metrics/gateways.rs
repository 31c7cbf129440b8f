//! What the gateways count for operators: packets, handshakes, refusals. Never billed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::text::{Kind, Labels, Page};

/// The counters of every gateway that runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateways {
    /// Of the SRT listener.
    pub(crate) srt: Option<Arc<moqgate_srt::Metrics>>,
    /// Of the MoQ listener.
    pub(crate) moq: Option<moqgate_moq::Metrics>,
    /// Of the sessions to relays.
    pub(crate) relays: Vec<moqgate_moq::Metrics>,
}

impl Gateways {
    pub(super) fn write(&self, page: &mut Page) {
        if let Some(srt) = &self.srt {
            write_srt(page, &srt.samples());
        }
        self.write_moq(page);
    }

    fn write_moq(&self, page: &mut Page) {
        let listeners = self.moq.iter().map(|metrics| ("listener", metrics));
        let relays = self.relays.iter().map(|metrics| ("relay", metrics));
        let mut families: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for (role, metrics) in listeners.chain(relays) {
            for (name, value) in metrics.snapshot() {
                *families.entry(name).or_default().entry(role).or_default() += value;
            }
        }
        for (name, roles) in families {
            let samples =
                roles.into_iter().map(|(role, value)| (Labels::default().with("role", role), value));
            page.family(
                &format!("moqgate_moq_{name}_total"),
                "Of native MoQ, by role.",
                Kind::Counter,
                samples,
            );
        }
    }
}

/// Samples of one family follow one another.
fn write_srt(page: &mut Page, samples: &[moqgate_srt::Sample]) {
    for family in samples.chunk_by(|a, b| a.name == b.name) {
        let Some(first) = family.first() else { continue };
        let kind = if first.name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
        let labelled = family.iter().map(|sample| {
            let none = Labels::default();
            (sample.label.map_or(none.clone(), |(name, value)| none.with(name, value)), sample.value)
        });
        page.family(first.name, first.help, kind, labelled);
    }
}
