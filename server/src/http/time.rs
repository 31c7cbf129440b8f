//! Wall-clock time as the API writes it.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `at` in UTC to the millisecond (RFC 3339).
pub(super) fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let millis = at.replace_millisecond(at.millisecond()).unwrap_or(at);
    millis.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn written_in_utc_to_the_millisecond() {
        let at = |nanos| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(1_500_999_999), "1970-01-01T00:00:01.5Z");
    }
}
