//! What the gateways count for operators: packets, handshakes, refusals. Never billed.

use std::collections::BTreeMap;
use std::sync::Arc;

use moqgate_core::{CallCounters, Protocol, Sample};

use super::text::{Kind, Labels, Page};
use crate::calls::{Caller, Way};

/// The counters of every gateway that runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateways {
    /// Of the SRT listener.
    pub(crate) srt: Option<Arc<moqgate_srt::Metrics>>,
    /// Of the RTMP listener.
    pub(crate) rtmp: Option<Arc<moqgate_rtmp::Metrics>>,
    /// Of the WebRTC listener.
    pub(crate) webrtc: Option<Arc<moqgate_webrtc::Metrics>>,
    /// Of the MoQ listener.
    pub(crate) moq: Option<moqgate_moq::Metrics>,
    /// Of the sessions to relays.
    pub(crate) relays: Vec<moqgate_moq::Metrics>,
    /// Of what calls servers elsewhere.
    pub(crate) calls: Calls,
}

/// The counters of pushes and pulls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Vec<(Way, Protocol, CallCounters)>);

impl Calls {
    /// Those of all callers.
    pub(crate) fn new(pushes: &[Caller], pulls: &[Caller]) -> Self {
        let of = |way, callers: &[Caller]| -> Vec<_> {
            let counters = callers.iter().map(Caller::counters);
            counters.map(|(protocol, counters)| (way, protocol, counters)).collect()
        };
        Self([of(Way::Push, pushes), of(Way::Pull, pulls)].concat())
    }

    fn write(&self, page: &mut Page) {
        type Read = fn(&CallCounters) -> u64;
        let families: [(&str, &str, Kind, Read); 3] = [
            ("moqgate_calls", "Pushes and pulls that go on.", Kind::Gauge, CallCounters::live),
            ("moqgate_calls_total", "Calls to servers elsewhere.", Kind::Counter, CallCounters::attempts),
            (
                "moqgate_call_failures_total",
                "Calls that failed or broke.",
                Kind::Counter,
                CallCounters::failures,
            ),
        ];
        for (name, help, kind, read) in families {
            let mut sums: BTreeMap<_, u64> = BTreeMap::new();
            for (way, protocol, counters) in &self.0 {
                *sums.entry((way.as_str(), protocol.as_str())).or_default() += read(counters);
            }
            let samples = sums.into_iter().map(|((way, protocol), value)| {
                (Labels::default().with("way", way).with("protocol", protocol), value)
            });
            page.family(name, help, kind, samples);
        }
    }
}

impl Gateways {
    pub(super) fn write(&self, page: &mut Page) {
        let samples = [
            self.srt.as_ref().map(|srt| srt.samples()),
            self.rtmp.as_ref().map(|rtmp| rtmp.samples()),
            self.webrtc.as_ref().map(|webrtc| webrtc.samples()),
        ];
        for samples in samples.into_iter().flatten() {
            write(page, &samples);
        }
        self.write_moq(page);
        self.calls.write(page);
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
fn write(page: &mut Page, samples: &[Sample]) {
    for family in samples.chunk_by(|a, b| a.name == b.name) {
        let Some(Sample { name, help, .. }) = family.first() else { continue };
        let kind = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
        let labelled = family.iter().map(|sample| {
            let none = Labels::default();
            (sample.label.map_or(none.clone(), |(name, value)| none.with(name, value)), sample.value)
        });
        page.family(name, help, kind, labelled);
    }
}
