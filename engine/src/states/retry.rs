//! Retry and Catch: which errors they are for, and when to try again.

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::data::Template;
use super::machine::{ResultPath, escaped};
use crate::calls::Failure;
use crate::json_path;

/// Seconds before the first retry where nothing is said (Step Functions).
const INTERVAL_SECONDS: u64 = 1;
/// Retries where nothing is said (Step Functions).
const MAX_ATTEMPTS: u64 = 3;
/// Retries that may be asked for, and seconds between them (Step Functions).
const ATTEMPTS_MAX: u64 = 99_999_999;
const DELAY_SECONDS_MAX: u64 = 31_622_400;
/// What an error does to nobody: these end an execution whatever catches them all.
const UNCATCHABLE: &[&str] = &["States.Runtime", "States.DataLimitExceeded"];

/// One entry of `Retry`.
#[derive(Debug, Clone)]
pub(super) struct Retrier {
    errors: Vec<String>,
    interval_seconds: u64,
    pub(super) max_attempts: u64,
    backoff_rate: f64,
    max_delay_seconds: Option<u64>,
    full_jitter: bool,
}

/// One entry of `Catch`.
#[derive(Debug, Clone)]
pub(super) struct Catcher {
    errors: Vec<String>,
    pub(super) next: String,
    pub(super) result_path: ResultPath,
    pub(super) assign: Option<Template>,
}

type Problem = (String, String);

fn at(name: &str, problem: impl Into<String>) -> Problem {
    (format!("/{}", escaped(name)), problem.into())
}

fn errors(members: &Map<String, Value>, is_last: bool) -> Result<Vec<String>, Problem> {
    let allowed = "allowed is a list of at least one error's name";
    let items = members.get("ErrorEquals").and_then(Value::as_array).filter(|items| !items.is_empty());
    let items = items.ok_or_else(|| at("ErrorEquals", allowed))?;
    let names: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
    let names = names.ok_or_else(|| at("ErrorEquals", allowed))?;
    if names.iter().any(|name| name == "States.ALL") && (names.len() > 1 || !is_last) {
        return Err(at("ErrorEquals", "`States.ALL` stands alone, in the last entry"));
    }
    Ok(names)
}

fn only(members: &Map<String, Value>, allowed: &[&str]) -> Result<(), Problem> {
    match members.keys().find(|name| !allowed.contains(&name.as_str())) {
        Some(name) => {
            Err(at(name, format!("field `{name}` is not supported here; allowed are {}", allowed.join(", "))))
        }
        None => Ok(()),
    }
}

fn number(
    members: &Map<String, Value>,
    name: &str,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, Problem> {
    let Some(value) = members.get(name) else { return Ok(None) };
    match value.as_u64().filter(|number| allowed.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(at(
            name,
            format!(
                "`{value}` is not allowed; allowed are whole numbers from {} to {}",
                allowed.start(),
                allowed.end()
            ),
        )),
    }
}

fn matches(errors: &[String], failure: &Failure) -> bool {
    errors.iter().any(|name| match name.as_str() {
        "States.ALL" => !UNCATCHABLE.contains(&failure.error.as_str()),
        "States.TaskFailed" => {
            failure.error == "States.TaskFailed"
                || !failure.error.starts_with("States.") && !UNCATCHABLE.contains(&failure.error.as_str())
        }
        // A heartbeat that stays away is a timeout too.
        "States.Timeout" => matches!(failure.error.as_str(), "States.Timeout" | "States.HeartbeatTimeout"),
        name => name == failure.error,
    })
}

impl Retrier {
    pub(super) fn parse(members: &Map<String, Value>, is_last: bool) -> Result<Self, Problem> {
        const ALLOWED: &[&str] = &[
            "Comment",
            "ErrorEquals",
            "IntervalSeconds",
            "MaxAttempts",
            "BackoffRate",
            "MaxDelaySeconds",
            "JitterStrategy",
        ];
        only(members, ALLOWED)?;
        let backoff_rate = match members.get("BackoffRate") {
            None => 2.0,
            Some(value) => value
                .as_f64()
                .filter(|rate| (1.0..=1_000.0).contains(rate))
                .ok_or_else(|| at("BackoffRate", format!("`{value}` is not allowed; allowed is 1.0 to 1000.0")))?,
        };
        let full_jitter = match members.get("JitterStrategy").map(Value::as_str) {
            None | Some(Some("NONE")) => false,
            Some(Some("FULL")) => true,
            Some(_) => return Err(at("JitterStrategy", "allowed are FULL and NONE")),
        };
        Ok(Self {
            errors: errors(members, is_last)?,
            interval_seconds: number(members, "IntervalSeconds", 1..=ATTEMPTS_MAX)?.unwrap_or(INTERVAL_SECONDS),
            max_attempts: number(members, "MaxAttempts", 0..=ATTEMPTS_MAX)?.unwrap_or(MAX_ATTEMPTS),
            backoff_rate,
            max_delay_seconds: number(members, "MaxDelaySeconds", 1..=DELAY_SECONDS_MAX - 1)?,
            full_jitter,
        })
    }

    pub(super) fn is_for(&self, failure: &Failure) -> bool {
        matches(&self.errors, failure)
    }

    /// How long to wait before the retry after `earlier` of them. `chance` is within 0 and 1.
    pub(super) fn delay(&self, earlier: u32, chance: f64) -> SignedDuration {
        let limit = self.max_delay_seconds.unwrap_or(DELAY_SECONDS_MAX);
        #[expect(clippy::cast_precision_loss, reason = "seconds are few")]
        let (first, limit) = (self.interval_seconds as f64, limit as f64);
        let exponent = i32::try_from(earlier).unwrap_or(i32::MAX);
        let seconds = (first * self.backoff_rate.powi(exponent)).min(limit);
        let seconds = if self.full_jitter { seconds * chance.clamp(0.0, 1.0) } else { seconds };
        SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::ZERO)
    }
}

impl Catcher {
    pub(super) fn parse(members: &Map<String, Value>, is_last: bool) -> Result<Self, Problem> {
        only(members, &["Comment", "ErrorEquals", "Next", "ResultPath", "Assign"])?;
        let next = members.get("Next").and_then(Value::as_str);
        let next = next.ok_or_else(|| at("Next", "the name of a state is needed"))?.to_owned();
        let result_path = match members.get("ResultPath") {
            Some(Value::Null) => ResultPath::Discard,
            None => ResultPath::At("$".to_owned(), Vec::new()),
            Some(value) => {
                let text = value.as_str().unwrap_or_default();
                let parts = json_path::definite(text).ok_or_else(|| {
                    at(
                        "ResultPath",
                        format!("`{text}` is not allowed; allowed is a path of names and indexes, or null"),
                    )
                })?;
                ResultPath::At(text.to_owned(), parts)
            }
        };
        let assign = match members.get("Assign") {
            None => None,
            Some(value) => {
                Some(Template::parse(value).map_err(|(below, problem)| (format!("/Assign{below}"), problem))?)
            }
        };
        Ok(Self { errors: errors(members, is_last)?, next, result_path, assign })
    }

    pub(super) fn is_for(&self, failure: &Failure) -> bool {
        matches(&self.errors, failure)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn retrier(value: &Value) -> Retrier {
        Retrier::parse(value.as_object().expect("an object"), true).expect("a retrier")
    }

    fn failure(error: &str) -> Failure {
        Failure { error: error.to_owned(), cause: String::new() }
    }

    #[test]
    fn delays_grow_by_the_rate_up_to_the_longest_and_jitter_shortens_them() {
        let plain =
            retrier(&json!({ "ErrorEquals": ["E"], "IntervalSeconds": 3, "BackoffRate": 2, "MaxDelaySeconds": 10 }));
        let seconds: Vec<_> = (0..4).map(|earlier| plain.delay(earlier, 0.5).as_secs()).collect();
        assert_eq!(seconds, [3, 6, 10, 10]);
        let jitter = retrier(&json!({ "ErrorEquals": ["E"], "IntervalSeconds": 4, "JitterStrategy": "FULL" }));
        assert_eq!(jitter.delay(1, 0.5).as_secs(), 4);
        assert_eq!(jitter.delay(1, 0.0), SignedDuration::ZERO);
        // Bounded, however often it was tried.
        assert!(retrier(&json!({ "ErrorEquals": ["E"] })).delay(u32::MAX, 1.0).as_secs() <= 31_622_400);
    }

    #[test]
    fn errors_are_matched_by_name_and_by_the_reserved_ones() {
        for (listed, error, expected) in [
            ("States.ALL", "Anything", true),
            ("States.ALL", "States.Runtime", false),
            ("States.ALL", "States.DataLimitExceeded", false),
            ("States.DataLimitExceeded", "States.DataLimitExceeded", true),
            ("States.TaskFailed", "MyError", true),
            ("States.TaskFailed", "States.TaskFailed", true),
            ("States.TaskFailed", "States.Timeout", false),
            ("States.Timeout", "States.HeartbeatTimeout", true),
            ("States.HeartbeatTimeout", "States.Timeout", false),
            ("MyError", "MyErro", false),
        ] {
            let one = retrier(&json!({ "ErrorEquals": [listed] }));
            assert_eq!(one.is_for(&failure(error)), expected, "{listed} {error}");
        }
    }

    #[test]
    fn all_errors_stand_alone_and_last() {
        let all = json!({ "ErrorEquals": ["States.ALL"] });
        assert!(Retrier::parse(all.as_object().expect("an object"), false).is_err());
        let mixed = json!({ "ErrorEquals": ["States.ALL", "E"] });
        assert!(Retrier::parse(mixed.as_object().expect("an object"), true).is_err());
    }
}
