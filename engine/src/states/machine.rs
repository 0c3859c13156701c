//! What a definition is once it was read and checked as a whole.
//!
//! What was accepted here can be run: whatever a definition can get wrong without its input is found
//! before the first execution.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use super::DEFINITION_BYTES_MAX;
use super::choice::Rule;
use super::data::Template;
use super::read::Reader;
use super::resource::Resource;
use super::retry::{Catcher, Retrier};
use crate::json_path;

/// Seconds of a Wait, a timeout or a heartbeat at most (Step Functions: a little more than three years).
pub(super) const SECONDS_MAX: u64 = 99_999_999;

/// One thing that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind: `INVALID_JSON_DESCRIPTION`, `SCHEMA_VALIDATION_FAILED` or `MISSING_TRANSITION_TARGET`.
    pub code: &'static str,
    /// JSON pointer, for instance `/States/Check/Choices/0/Next`.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "line {}, column {}: {path}: {}", self.line, self.column, self.problem)
    }
}

/// A state machine that can be run.
#[derive(Debug, Clone)]
pub struct Machine {
    /// For people.
    pub comment: Option<String>,
    /// Seconds that an execution may take.
    pub timeout_seconds: Option<u64>,
    pub(super) flow: Flow,
}

/// States that lead to each other: those of the machine, of a branch or of an iteration.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) start_at: String,
    pub(super) states: BTreeMap<String, State>,
}

/// One state.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) kind: Kind,
    /// Where it leads; the end where absent.
    pub(super) next: Option<String>,
    /// `InputPath`; `None` is `null`: an empty object.
    pub(super) input_path: Option<String>,
    pub(super) parameters: Option<Template>,
    pub(super) result_selector: Option<Template>,
    pub(super) result_path: ResultPath,
    /// `OutputPath`, as `input_path`.
    pub(super) output_path: Option<String>,
    pub(super) assign: Option<Template>,
    pub(super) retry: Vec<Retrier>,
    pub(super) catch: Vec<Catcher>,
}

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResultPath {
    /// `null`: it is dropped.
    Discard,
    /// A place in the raw input; all of it for `$`.
    At(String, Vec<json_path::Part>),
}

/// A number, or where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Count {
    Fixed(u64),
    Path(String),
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Pass { result: Option<Value> },
    Task { resource: Resource, timeout: Option<Count>, heartbeat: Option<Count> },
    Choice { rules: Vec<Choice>, default: Option<String> },
    Wait(Until),
    Succeed,
    Fail { error: Word, cause: Word },
    Parallel { branches: Vec<Flow> },
    Map { items_path: Option<String>, selector: Option<Template>, concurrency: Option<Count>, flow: Box<Flow> },
}

/// One of a Choice state's ways.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) rule: Rule,
    pub(super) next: String,
    pub(super) assign: Option<Template>,
}

/// What a Wait state waits for.
#[derive(Debug, Clone)]
pub(super) enum Until {
    Seconds(Count),
    Instant(Timestamp),
    InstantPath(String),
}

/// A text, or where it stands.
#[derive(Debug, Clone)]
pub(super) enum Word {
    Absent,
    Fixed(String),
    Path(String),
}

impl Machine {
    /// Reads a definition.
    ///
    /// # Errors
    /// Its faults, in the order of the text; never empty.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let fault = |problem: String, line, column| {
            vec![Fault { code: "INVALID_JSON_DESCRIPTION", path: String::new(), line, column, problem }]
        };
        if text.len() > DEFINITION_BYTES_MAX {
            let problem = format!("the definition has {} bytes; allowed are up to {DEFINITION_BYTES_MAX}", text.len());
            return Err(fault(problem, 1, 1));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| fault(format!("it is not JSON: {error}"), error.line(), error.column()))?;
        let mut reader = Reader { text, faults: Vec::new() };
        let machine = reader.machine(&value);
        let mut faults = reader.faults;
        match machine {
            Some(machine) if faults.is_empty() => Ok(machine),
            _ => {
                faults.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
                Err(faults)
            }
        }
    }

    /// The states at the end of a way through branches; the machine's own for an empty one.
    pub(super) fn flow(&self, way: &[(String, usize)]) -> Option<&Flow> {
        way.iter().try_fold(&self.flow, |flow, (name, branch)| match &flow.states.get(name)?.kind {
            Kind::Parallel { branches } => branches.get(*branch),
            Kind::Map { flow, .. } => Some(flow.as_ref()),
            _ => None,
        })
    }
}

/// A name as part of a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
