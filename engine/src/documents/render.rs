//! Fills the parameters of a document of the operator's own into its steps.

use std::collections::BTreeMap;

use patchwave_schemas::command::{Action, RenderedDocument, Step};

use super::content::{Definition, Line};
use super::parameters::{ParameterDefinition, ParameterType};
use super::references::{Piece, only_reference, pieces};
use super::{DOCUMENT_BYTES_MAX, DocumentError, Parameters, SCRIPT_TIMEOUT_SECONDS, bytes_of, timeout_of};

/// What stands before a parameter's name in the environment of a script (SSM's, for parameters
/// with `interpolationType` `ENV_VAR`; here for all of them).
pub const ENVIRONMENT_PREFIX: &str = "SSM_";

/// Fills in the parameters of a document. `content_bytes` is how long it is as written.
///
/// Values reach scripts as environment variables: a text as it is, a StringList as a JSON list.
///
/// # Errors
/// [`DocumentError`] naming the document, parameter, value and what is allowed.
pub fn render_own(
    definition: &Definition,
    name: &str,
    version: &str,
    content_bytes: usize,
    given: &Parameters,
) -> Result<RenderedDocument, DocumentError> {
    let values = check(definition, name, given)?;
    let bytes = content_bytes + bytes_of(given);
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { document: name.to_owned(), bytes });
    }
    let environment: BTreeMap<String, String> = definition
        .parameters
        .iter()
        .filter_map(|parameter| {
            let values = values.get(parameter.name.as_str())?;
            Some((format!("{ENVIRONMENT_PREFIX}{}", parameter.name), as_text(parameter, values)))
        })
        .collect();
    let filled = |text: &str| -> String {
        let value = |name| {
            let parameter = definition.parameter(name);
            parameter.map(|parameter| as_text(parameter, values.get(name).map_or(&[], |values| values)))
        };
        pieces(text)
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Reference(name) => value(name).unwrap_or_default(),
            })
            .collect()
    };
    let mut steps = Vec::with_capacity(definition.steps.len());
    for step in &definition.steps {
        let commands = step
            .lines
            .iter()
            .flat_map(|line| match line {
                Line::Text(text) => vec![text.clone()],
                Line::Parameter(name) => values.get(name.as_str()).map(|values| values.to_vec()).unwrap_or_default(),
            })
            .collect();
        let timeout = step.timeout.as_deref().map(&filled).filter(|text| !text.is_empty());
        let timeout_seconds = match timeout {
            None => SCRIPT_TIMEOUT_SECONDS,
            Some(text) => timeout_of(&text).ok_or_else(|| DocumentError::Parameter {
                document: name.to_owned(),
                parameter: step.timeout.as_deref().and_then(only_reference).unwrap_or_default().to_owned(),
                problem: format!("`{text}` is not allowed as a timeout; allowed are 5 to 172800 seconds"),
            })?,
        };
        let working_directory = step.working_directory.as_deref().map(&filled).filter(|path| !path.is_empty());
        let action = Action::RunShellScript { commands, working_directory, environment: environment.clone() };
        steps.push(Step { name: step.name.clone(), timeout_seconds, action, phase: None });
    }
    Ok(RenderedDocument { name: name.to_owned(), version: version.to_owned(), steps })
}

/// The values of all parameters, defaults included, once each is within what its definition says.
fn check<'a>(
    definition: &'a Definition,
    name: &str,
    given: &'a Parameters,
) -> Result<BTreeMap<&'a str, &'a [String]>, DocumentError> {
    let refuse = |parameter: &str, problem: String| DocumentError::Parameter {
        document: name.to_owned(),
        parameter: parameter.to_owned(),
        problem,
    };
    let mut values = BTreeMap::new();
    for parameter in &definition.parameters {
        match (given.get(&parameter.name), &parameter.default) {
            (Some(given), _) => {
                parameter.check(given).map_err(|problem| refuse(&parameter.name, problem))?;
                values.insert(parameter.name.as_str(), given.as_slice());
            }
            (None, Some(default)) => {
                values.insert(parameter.name.as_str(), default.as_slice());
            }
            (None, None) => return Err(refuse(&parameter.name, "it is mandatory and was not given".to_owned())),
        }
    }
    match given.keys().find(|key| definition.parameter(key).is_none()) {
        Some(unknown) => {
            let known: Vec<_> = definition.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            Err(refuse(unknown, format!("no such parameter; allowed are [{}]", known.join(", "))))
        }
        None => Ok(values),
    }
}

/// A value as one text.
fn as_text(parameter: &ParameterDefinition, values: &[String]) -> String {
    if parameter.kind == ParameterType::StringList {
        return serde_json::to_string(values).unwrap_or_default();
    }
    values.first().cloned().unwrap_or_default()
}
