//! `NextExecutionTime` and `ExecutionTime` as text, in SSM's shape.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Writes `instant` as SSM does: `2020-02-19T16:00Z` for windows in UTC,
/// `2020-07-26T00:00+10:00` for others.
///
/// Seconds appear only if they are not zero, milliseconds likewise (`2020-02-19T09:10:15.099Z`);
/// what is finer is cut off. A zone other than UTC keeps its offset even when that is `+00:00`.
#[must_use]
pub fn format_execution_time(instant: Timestamp, zone: &TimeZone) -> String {
    let is_utc = *zone == TimeZone::UTC
        || matches!(
            zone.iana_name(),
            Some("UTC" | "Etc/UTC" | "Etc/UCT" | "UCT" | "Etc/Zulu" | "Zulu" | "Etc/Universal" | "Universal")
        );
    let local = instant.to_zoned(zone.clone());
    let seconds = match (local.second(), local.millisecond()) {
        (0, 0) => "",
        (_, 0) => ":%S",
        _ => ":%S.%3f",
    };
    let offset = if is_utc { "Z" } else { "%:z" };
    local.strftime(&format!("%Y-%m-%dT%H:%M{seconds}{offset}")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::civil::time_zone;

    #[test]
    fn shape_is_that_of_ssm() {
        for (instant, zone, expected) in [
            ("2020-02-19T16:00:00Z", "UTC", "2020-02-19T16:00Z"),
            ("2020-02-19T16:00:00Z", "Etc/UTC", "2020-02-19T16:00Z"),
            ("2020-07-25T14:00:00Z", "Australia/Sydney", "2020-07-26T00:00+10:00"),
            ("2020-01-01T12:00:00Z", "Europe/London", "2020-01-01T12:00+00:00"),
            ("2020-01-01T12:00:00Z", "America/New_York", "2020-01-01T07:00-05:00"),
            ("2018-12-31T15:03:15Z", "UTC", "2018-12-31T15:03:15Z"),
            ("2020-02-19T09:10:15.099Z", "UTC", "2020-02-19T09:10:15.099Z"),
            ("2020-02-19T09:10:00.5Z", "Asia/Kolkata", "2020-02-19T14:40:00.500+05:30"),
        ] {
            let instant = instant.parse().expect("timestamp");
            assert_eq!(format_execution_time(instant, &time_zone(zone).expect("zone")), expected);
        }
    }
}
