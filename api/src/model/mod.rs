//! What a request may hold, as data: which operations SSM has, and the members, types, lengths,
//! ranges, patterns and words of those that are served here.
//!
//! `ssm-2014-11-06.json` and `states-2016-11-23.json` in `api/model` are derived from botocore's service
//! models, `patchwave.json` beside them is written by hand: our own operations, and what we add to SSM's. Every request is checked
//! against them before its handler runs, so handlers check only what no list of constraints can say:
//! one member beside another, or beside the store.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::wire::Error;

mod check;
mod instead;
mod redact;
mod shape;
#[cfg(test)]
mod tests;

pub(crate) use redact::{may_hold_secrets, redacted};
use shape::{Operation, Overlay, Shape, Source};

const SSM: &str = include_str!("../../model/ssm-2014-11-06.json");
const STATES: &str = include_str!("../../model/states-2016-11-23.json");
const PATCHWAVE: &str = include_str!("../../model/patchwave.json");

/// Operations and shapes by name.
pub(crate) struct Model {
    /// SSM's operations; `None` for those that are not served.
    ssm: BTreeMap<String, Option<Operation>>,
    /// Step Functions', likewise.
    states: BTreeMap<String, Option<Operation>>,
    /// Our own.
    patchwave: BTreeMap<String, Operation>,
    shapes: BTreeMap<String, Shape>,
}

impl Model {
    /// The model of this program; read at its first use.
    pub(crate) fn get() -> &'static Self {
        static MODEL: OnceLock<Model> = OnceLock::new();
        MODEL.get_or_init(|| {
            let source: Source = serde_json::from_str(SSM).expect("the derived model is in its own format");
            let states: Source = serde_json::from_str(STATES).expect("the derived model is in its own format");
            let overlay: Overlay = serde_json::from_str(PATCHWAVE).expect("the overlay is in the model's format");
            overlay.onto(source, states)
        })
    }

    /// The shape of an operation's request; `None` for an operation that is not served.
    fn input(&self, service: &str, operation: &str) -> Option<&str> {
        let found = match service {
            "AmazonSSM" => self.ssm.get(operation)?.as_ref()?,
            "AWSStepFunctions" => self.states.get(operation)?.as_ref()?,
            _ => self.patchwave.get(operation)?,
        };
        Some(&found.input)
    }

    fn shape(&self, name: &str) -> &Shape {
        self.shapes.get(name).unwrap_or_else(|| unreachable!("a test looks every name up; `{name}` is one of them"))
    }
}

/// Checks the members of a request. An operation that is not served passes: it is refused by name.
///
/// # Errors
/// `SerializationException` for the first member of another type; else `ValidationException` with
/// every broken constraint.
pub(crate) fn check(service: &str, operation: &str, members: &Map<String, Value>) -> Result<(), Error> {
    let model = Model::get();
    match model.input(service, operation) {
        Some(input) => check::request(model, input, members),
        None => Ok(()),
    }
}

/// The refusal of an operation that is not served: tells apart what AWS has from what nobody has.
pub(crate) fn not_served(service: &str, operation: &str) -> Error {
    let (known, whose) = match service {
        "AWSStepFunctions" => (&Model::get().states, "Step Functions"),
        _ => (&Model::get().ssm, "SSM"),
    };
    let message = if known.contains_key(operation) {
        let instead = instead::of(operation);
        let space = if instead.is_empty() { "" } else { "; " };
        format!("operation `{operation}` is one of {whose}'s that Patchwave does not implement{space}{instead}")
            .replace("Functions's", "Functions'")
    } else {
        format!("operation `{operation}` is not implemented, and {whose} has no such operation")
    };
    Error::new("UnknownOperationException", message)
}
