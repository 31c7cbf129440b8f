//! The Prometheus text exposition format, version 0.0.4.

use std::fmt::{Display, Write as _};

use moqgate_core::Histogram;

/// A page of metrics, one family after the other.
#[derive(Default)]
pub(super) struct Page(String);

/// What a family measures.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Goes both ways.
    Gauge,
}

impl Page {
    /// Opens a family and writes its samples; a family without samples is left out.
    pub(super) fn family<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        kind: Kind,
        samples: impl IntoIterator<Item = (Labels, V)>,
    ) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_some() {
            let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        for (Labels(labels), value) in samples {
            let _ = match labels.as_str() {
                "" => writeln!(self.0, "{name} {value}"),
                labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
            };
        }
    }

    /// Writes a family of histograms; one without any is left out.
    pub(super) fn histograms(&mut self, name: &str, help: &str, histograms: Vec<(Labels, Histogram)>) {
        if histograms.is_empty() {
            return;
        }
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (labels, histogram) in histograms {
            for (bound, below) in histogram.buckets() {
                let Labels(labels) = labels.clone().with("le", &bound.as_secs_f64().to_string());
                let _ = writeln!(self.0, "{name}_bucket{{{labels}}} {below}");
            }
            let (Labels(bounded), Labels(labels)) = (labels.clone().with("le", "+Inf"), labels);
            let (count, sum) = (histogram.count(), histogram.sum().as_secs_f64());
            let _ = writeln!(self.0, "{name}_bucket{{{bounded}}} {count}");
            let _ = writeln!(self.0, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
        }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// The labels of one sample, in the order they were given.
#[derive(Clone, Default)]
pub(super) struct Labels(String);

impl Labels {
    /// Adds one; the value may hold anything.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        let separator = if self.0.is_empty() { "" } else { "," };
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let _ = write!(self.0, "{separator}{name}=\"{value}\"");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let mut page = Page::default();
        let labels = Labels::default().with("tier", "a\"b\\c\nd").with("protocol", "srt");
        page.family("x_total", "What.", Kind::Counter, [(labels, 1.5)]);
        page.family("y", "Bare.", Kind::Gauge, [(Labels::default(), 2)]);
        page.family("z", "None.", Kind::Gauge, std::iter::empty::<(Labels, u64)>());
        let text = "# HELP x_total What.\n# TYPE x_total counter\nx_total{tier=\"a\\\"b\\\\c\\nd\",protocol=\"srt\"} 1.5\n\
                    # HELP y Bare.\n# TYPE y gauge\ny 2\n";
        assert_eq!(page.finish(), text);
    }
}
