//! What latency is promised: `[[objective]]` in the file, `--objective` on the command line.

use std::str::FromStr;
use std::time::Duration;

use moqgate_core::{Pattern, Protocol};
use serde::Deserialize;

use super::ConfigError;
use super::value::Span;

const KEY: &str = "objective";
/// What is promised of when nothing else is said.
const PERCENTILE: f64 = 99.0;
/// Long enough for some thousand pictures, short enough to notice.
const WINDOW: Duration = Duration::from_secs(300);
const WINDOW_MAX: Duration = Duration::from_secs(24 * 3600);

/// A promise as it is written.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawObjective {
    broadcast: String,
    transport: Option<String>,
    percentile: Option<f64>,
    below: Span,
    window: Option<Span>,
}

/// A promise: so many percent of what leaves these broadcasts within the window take at most so long.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Objective {
    /// What the model counts.
    pub(crate) counted: moqgate_core::Objective,
    /// Percent of the frames that must keep to it.
    pub(crate) percentile: f64,
}

impl FromStr for RawObjective {
    type Err = String;

    /// `broadcast=live/**,transport=moq,percentile=99,below=500ms,window=5m`
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut broadcast, mut transport, mut percentile, mut below, mut window) =
            (None, None, None, None, None);
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=VALUE"))?;
            match name.trim() {
                "broadcast" => broadcast = Some(value.to_owned()),
                "transport" => transport = Some(value.to_owned()),
                "percentile" => {
                    percentile = Some(value.parse().map_err(|_| format!("{value:?} is not a number"))?);
                }
                "below" => below = Some(value.parse()?),
                "window" => window = Some(value.parse()?),
                other => return Err(format!("an objective has no {other:?}")),
            }
        }
        let broadcast = broadcast.ok_or("an objective needs `broadcast`")?;
        let below = below.ok_or("an objective needs `below`")?;
        Ok(Self { broadcast, transport, percentile, below, window })
    }
}

impl RawObjective {
    pub(super) fn resolve(self) -> Result<Objective, ConfigError> {
        let wrong = |what: String| ConfigError::value(KEY, what);
        let broadcasts = Pattern::new(&self.broadcast).map_err(|error| wrong(error.to_string()))?;
        let transport = self.transport.map(|name| {
            let known = Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == name);
            known.ok_or_else(|| wrong(format!("{name:?} is no transport: moq, srt, rtmp or webrtc")))
        });
        let percentile = self.percentile.unwrap_or(PERCENTILE);
        if !(percentile > 0.0 && percentile < 100.0) {
            return Err(wrong("percentile must lie between 0 and 100".to_owned()));
        }
        let (Span(below), window) = (self.below, self.window.map_or(WINDOW, |Span(window)| window));
        if below.is_zero() || window.is_zero() || window > WINDOW_MAX {
            return Err(wrong("below and window must be above 0, and window at most 24 h".to_owned()));
        }
        let transport = transport.transpose()?;
        let counted = moqgate_core::Objective { broadcasts, transport, below, window };
        Ok(Objective { counted, percentile })
    }
}

impl Objective {
    /// How much of what may go wrong has not gone wrong yet: 1 is all of it, below 0 the promise is broken.
    pub(crate) fn budget_left(&self, observed: moqgate_core::Observed) -> f64 {
        if observed.frames == 0 {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let (frames, slow) = (observed.frames as f64, observed.slow as f64);
        1.0 - slow / (frames * (1.0 - self.percentile / 100.0))
    }
}

#[cfg(test)]
mod tests {
    use moqgate_core::{Observed, Path};

    use super::*;

    #[test]
    fn a_flag_says_what_a_table_says() {
        let flag: RawObjective =
            "broadcast=live/**,transport=srt,percentile=95,below=500ms,window=1m".parse().expect("right");
        let table =
            "broadcast = 'live/**'\ntransport = 'srt'\npercentile = 95\nbelow = '500ms'\nwindow = '1m'";
        assert_eq!(flag, toml::from_str(table).expect("right"));
        let objective = flag.resolve().expect("right");
        assert!(objective.counted.broadcasts.matches(&Path::new("live/a/b").expect("a path")));
        assert_eq!(objective.counted.transport, Some(Protocol::Srt));
        assert_eq!(objective.counted.window, Duration::from_secs(60));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in ["live", "below=1s", "broadcast=a", "broadcast=a,below=1s,x=1", "broadcast=a,below=1"] {
            let said = wrong.parse::<RawObjective>();
            assert!(said.is_err() || wrong.ends_with("below=1"), "{wrong}");
        }
        for wrong in ["below=0s", "below=1s,percentile=100", "below=1s,transport=udp", "below=1s,window=25h"]
        {
            let said: RawObjective = format!("broadcast=a,{wrong}").parse().expect("it parses");
            assert!(said.resolve().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_budget_is_used_up_by_what_is_slow() {
        let raw: RawObjective = "broadcast=**,below=500ms".parse().expect("right");
        let objective = raw.resolve().expect("right");
        let left = |frames, slow| objective.budget_left(Observed { frames, slow });
        assert!((left(0, 0) - 1.0).abs() < 1e-9);
        assert!((left(1000, 5) - 0.5).abs() < 1e-9);
        assert!((left(1000, 20) + 1.0).abs() < 1e-9);
    }
}
