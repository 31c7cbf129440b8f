//! What the gateways know of their peers' links: gauges over the sessions that are live.

use std::collections::BTreeMap;

use moqgate_core::SessionSnapshot;

use super::text::{Kind, Labels, Page};

/// Sum and largest of one statistic over sessions.
#[derive(Default)]
struct Spread {
    sum: f64,
    max: f64,
}

/// Writes every statistic of every session: summed up by protocol, or session by session.
pub(super) fn write(page: &mut Page, sessions: &[SessionSnapshot], per_session: bool) {
    match per_session {
        true => write_each(page, sessions),
        false => write_sums(page, sessions),
    }
}

fn write_sums(page: &mut Page, sessions: &[SessionSnapshot]) {
    let mut spreads: BTreeMap<(&str, &str), Spread> = BTreeMap::new();
    for session in sessions {
        for (name, value) in &session.link {
            let spread = spreads.entry((session.protocol.as_str(), name)).or_default();
            spread.sum += value;
            spread.max = spread.max.max(*value);
        }
    }
    for ((protocol, name), spread) in spreads {
        let name = format!("moqgate_{protocol}_link_{name}");
        let help = "Over the sessions that are live";
        let sample = |value| [(Labels::default(), value)];
        page.family(&format!("{name}_sum"), &format!("{help}: the sum."), Kind::Gauge, sample(spread.sum));
        page.family(
            &format!("{name}_max"),
            &format!("{help}: the largest."),
            Kind::Gauge,
            sample(spread.max),
        );
    }
}

fn write_each(page: &mut Page, sessions: &[SessionSnapshot]) {
    let mut families: BTreeMap<String, Vec<(Labels, f64)>> = BTreeMap::new();
    for session in sessions {
        let labels = Labels::default().with("broadcast", session.path.as_str()).with("session", &session.id);
        for (name, value) in &session.link {
            let family = format!("moqgate_{}_link_{name}", session.protocol.as_str());
            families.entry(family).or_default().push((labels.clone(), *value));
        }
    }
    for (name, samples) in families {
        page.family(&name, "Of one live session.", Kind::Gauge, samples);
    }
}
