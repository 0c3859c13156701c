//! What tasks are answered with in a local run, by the names of their states.

use std::collections::BTreeMap;

use patchwave_engine::calls::{CallOutcome, Failure};
use serde::Deserialize;
use serde_json::Value;

/// Answers by state.
#[derive(Debug, Default)]
pub(super) struct Mocks(BTreeMap<String, Vec<Answer>>);

/// What one try comes to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
enum Answer {
    Return(Value),
    Throw(Thrown),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Thrown {
    error: String,
    #[serde(default)]
    cause: String,
}

impl Mocks {
    /// Reads a file of answers.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let answers: BTreeMap<String, Vec<Answer>> = serde_json::from_str(text).map_err(|error| {
            format!(
                "{error}; expected {{\"State\": [{{\"Return\": …}}, {{\"Throw\": {{\"Error\": …, \"Cause\": …}}}}]}}"
            )
        })?;
        match answers.iter().find(|(_, list)| list.is_empty()) {
            Some((state, _)) => Err(format!("state `{state}` has no answers; at least one is needed")),
            None => Ok(Self(answers)),
        }
    }

    /// The answer to the `calls`-th call of a state, from 0; the last one stands for all that follow.
    pub(super) fn answer(&self, state: &str, calls: usize) -> Option<CallOutcome> {
        let list = self.0.get(state)?;
        Some(match list.get(calls).or(list.last())? {
            Answer::Return(value) => CallOutcome::Succeeded(value.clone()),
            Answer::Throw(Thrown { error, cause }) => {
                CallOutcome::Failed(Failure { error: error.clone(), cause: cause.clone() })
            }
        })
    }
}
