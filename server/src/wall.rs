//! Wall-clock time as the API and the ledger write it.

use std::time::{SystemTime, UNIX_EPOCH};

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// `at` in UTC to the millisecond (RFC 3339).
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let millis = at.replace_millisecond(at.millisecond()).unwrap_or(at);
    millis.format(&Rfc3339).unwrap_or_default()
}

/// Milliseconds since the Unix epoch; 0 before it.
pub(crate) fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// Reads `2026-01-31T12:00:00Z` or `2026-01-31`, which is the beginning of that day in UTC.
pub(crate) fn parse(text: &str) -> Result<SystemTime, String> {
    let day = || Date::parse(text, format_description!("[year]-[month]-[day]"));
    OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| day().map(|day| day.midnight().assume_utc()))
        .map(SystemTime::from)
        .map_err(|_| format!("{text:?} is not a time such as 2026-01-31 or 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn written_in_utc_to_the_millisecond() {
        let at = |nanos| rfc3339(UNIX_EPOCH + Duration::from_nanos(nanos));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(1_500_999_999), "1970-01-01T00:00:01.5Z");
    }

    #[test]
    fn read_as_a_moment_or_a_day() {
        let millis_of = |text| parse(text).map(millis);
        assert_eq!(millis_of("1970-01-02"), Ok(86_400_000));
        assert_eq!(millis_of("1970-01-01T01:00:00.5+01:00"), Ok(500));
        for wrong in ["", "yesterday", "2026-13-01", "2026-01-01 12:00"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
