//! Times as people read them, and as they write them on the command line.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Reads an instant from an argument: RFC 3339 with an offset, or a date (midnight UTC).
///
/// # Errors
/// What is allowed, for clap to print beside the argument's name.
pub fn parse_instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    // A date alone; `Date` would also accept a date and time without an offset and drop the time.
    if text.len() == 10
        && let Ok(date) = text.parse::<Date>()
        && let Ok(midnight) = date.to_zoned(TimeZone::UTC)
    {
        return Ok(midnight.timestamp());
    }
    Err("expected an instant such as `2026-07-04T02:00:00Z` or `2026-07-04T02:00+02:00`, or a date".to_owned())
}

/// An instant in one of the API's two shapes: epoch seconds as a number, or an ISO 8601 string.
#[must_use]
pub fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => {
            let milliseconds = number.as_f64()? * 1_000.0;
            // Far beyond what a timestamp holds, the cast saturates and the range check refuses.
            #[expect(clippy::cast_possible_truncation, reason = "saturates; out of range is refused below")]
            Timestamp::from_millisecond(milliseconds.round() as i64).ok()
        }
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// `2026-11-23 10:29:51Z`.
#[must_use]
pub fn absolute(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `3 min ago`, `in 2 h`: one unit, rounded down.
#[must_use]
pub fn relative(instant: Timestamp, now: Timestamp) -> String {
    let distance = instant.duration_since(now);
    let seconds = distance.as_secs().unsigned_abs();
    let text = match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    if distance > SignedDuration::ZERO { format!("in {text}") } else { format!("{text} ago") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instants_are_read_in_every_documented_spelling() {
        for (text, expected) in [
            ("2026-01-01T00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2021-01-01T00:00:00-08:00", "2021-01-01T08:00:00Z"),
            ("2026-01-01", "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(parse_instant(text).map(|t| t.to_string()).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "tomorrow", "2026-02-30", "2026-01-01T00:00"] {
            assert!(parse_instant(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_shapes_of_the_api_are_instants() {
        assert_eq!(instant(&json!(1_549_998_326.764)).map(|t| t.as_millisecond()), Some(1_549_998_326_764));
        assert_eq!(instant(&json!("2020-02-19T16:00Z")).map(absolute).as_deref(), Some("2020-02-19 16:00:00Z"));
        assert_eq!(instant(&json!(true)), None);
        assert_eq!(instant(&json!(1e300)), None);
    }

    #[test]
    fn relative_times_use_one_unit() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().expect("timestamp");
        for (instant, expected) in [
            ("2026-01-10T00:00:00Z", "0 s ago"),
            ("2026-01-09T23:57:01Z", "2 min ago"),
            ("2026-01-10T02:00:00Z", "in 2 h"),
            ("2026-01-01T00:00:00Z", "9 days ago"),
        ] {
            assert_eq!(relative(instant.parse().expect("timestamp"), now), expected);
        }
    }
}
