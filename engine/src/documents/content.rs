//! Documents of the operator's own: SSM's Command documents of schema 2.2, with the steps that
//! agents carry out. Everything that could not be carried out as written is refused here, with its
//! place, rather than on a node at night.

use serde_json::{Map, Value};

use super::parameters::{ParameterDefinition, ParameterType};
use super::references::{Piece, only_reference, pieces};
use super::timeout_of;

/// Steps of a document at most; SSM bounds only its bytes.
const STEPS_MAX: usize = 100;
/// Parameters of a document at most (SSM).
const PARAMETERS_MAX: usize = 200;

/// What is wrong with a document's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ContentError {
    /// Where, for instance `mainSteps[0].inputs.runCommand[2]`.
    pub path: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
    /// Whether it is the schema version that is not known.
    pub is_schema_version: bool,
}

/// A document that can be run.
#[derive(Debug, Clone)]
pub struct Definition {
    /// For people.
    pub description: Option<String>,
    /// Its parameters, by name.
    pub parameters: Vec<ParameterDefinition>,
    /// Its steps, in order; at least one.
    pub steps: Vec<ScriptStep>,
}

/// A step of the kind `aws:runShellScript`.
#[derive(Debug, Clone)]
pub struct ScriptStep {
    /// Unique in the document.
    pub name: String,
    /// Lines of the script. One that is a reference and nothing else stands for the lines that the
    /// parameter holds.
    pub(super) lines: Vec<Line>,
    /// Seconds, or a reference to a parameter.
    pub(super) timeout: Option<String>,
    /// Where it runs; may hold references.
    pub(super) working_directory: Option<String>,
}

/// A line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// As written; it holds no reference.
    Text(String),
    /// The lines that this parameter of type StringList holds: it *is* the script.
    Parameter(String),
}

impl Definition {
    /// Reads the content of a Command document. Compiling its patterns may take a second or two.
    ///
    /// # Errors
    /// [`ContentError`] with the first fault's place.
    pub fn parse(content: &Value) -> Result<Self, ContentError> {
        Self::read(content, true)
    }

    /// Reads a content that [`Definition::parse`] accepted before: its patterns are compiled when
    /// values are checked against them, and not for looking at it.
    ///
    /// # Errors
    /// As [`Definition::parse`], if it was not accepted.
    pub fn stored(content: &Value) -> Result<Self, ContentError> {
        Self::read(content, false)
    }

    fn read(content: &Value, new: bool) -> Result<Self, ContentError> {
        let root = Reader::new("", content);
        root.only_members(&["schemaVersion", "description", "parameters", "mainSteps"])?;
        let version = root.required("schemaVersion")?;
        if version.text()? != "2.2" {
            let problem = format!("`{}` is not allowed; allowed is 2.2, of Command documents", version.text()?);
            return Err(ContentError { is_schema_version: true, ..version.fault(problem) });
        }
        let description = root.optional_text("description")?.map(str::to_owned);
        let mut parameters = Vec::new();
        if let Some(given) = root.member("parameters") {
            let members = given.members()?;
            if members.len() > PARAMETERS_MAX {
                let problem = format!("{} parameters; allowed are up to {PARAMETERS_MAX}", members.len());
                return Err(given.fault(problem));
            }
            let patterns = members.iter().filter(|(_, one)| one.member("allowedPattern").is_some()).count();
            for (name, parameter) in members {
                parameters.push(ParameterDefinition::read(name, &parameter, patterns, new)?);
            }
        }
        let main_steps = root.required("mainSteps")?;
        let readers = main_steps.items()?;
        if readers.is_empty() || readers.len() > STEPS_MAX {
            return Err(main_steps.fault(format!("{} steps; allowed are 1 to {STEPS_MAX}", readers.len())));
        }
        let mut steps: Vec<ScriptStep> = Vec::with_capacity(readers.len());
        for reader in &readers {
            let step = ScriptStep::read(reader, &parameters)?;
            if steps.iter().any(|earlier| earlier.name == step.name) {
                return Err(reader.required("name")?.fault(format!("`{}` names an earlier step too", step.name)));
            }
            steps.push(step);
        }
        Ok(Self { description, parameters, steps })
    }

    /// Where its steps run: SSM's `PlatformTypes`.
    #[must_use]
    pub const fn platform_types() -> &'static [&'static str] {
        &["Linux", "MacOS"]
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&ParameterDefinition> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

impl ScriptStep {
    fn read(reader: &Reader<'_>, parameters: &[ParameterDefinition]) -> Result<Self, ContentError> {
        reader.only_members(&["action", "name", "precondition", "inputs", "description"])?;
        let action = reader.required("action")?;
        if action.text()? != "aws:runShellScript" {
            return Err(action.fault(format!(
                "`{}` is not carried out by Patchwave; allowed is aws:runShellScript",
                action.text()?
            )));
        }
        let name = reader.required("name")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !(1..=128).contains(&name.text()?.len()) || !name.text()?.chars().all(fits) {
            let problem = "is not allowed; allowed are 1 to 128 letters, digits, `_` and `-`";
            return Err(name.fault(format!("`{}` {problem}", name.text()?)));
        }
        if let Some(precondition) = reader.member("precondition") {
            check_precondition(&precondition)?;
        }
        let inputs = reader.required("inputs")?;
        inputs.only_members(&["runCommand", "timeoutSeconds", "workingDirectory"])?;
        let timeout = match inputs.member("timeoutSeconds") {
            None => None,
            Some(timeout) => Some(read_timeout(&timeout, parameters)?),
        };
        let working_directory = match inputs.member("workingDirectory") {
            None => None,
            Some(directory) => {
                for piece in pieces(directory.text()?) {
                    if let Piece::Reference(name) = piece {
                        declared(name, parameters, &directory)?;
                    }
                }
                Some(directory.text()?.to_owned())
            }
        };
        let lines = read_lines(&inputs.required("runCommand")?, parameters)?;
        Ok(Self { name: name.text()?.to_owned(), lines, timeout, working_directory })
    }
}

/// The lines of a script: a list, or one reference to a list.
fn read_lines(reader: &Reader<'_>, parameters: &[ParameterDefinition]) -> Result<Vec<Line>, ContentError> {
    if let Value::String(text) = reader.value() {
        return match only_reference(text) {
            Some(name) => Ok(vec![script_parameter(name, parameters, reader)?]),
            None => Err(reader.fault("allowed is a list of lines, or one reference to a StringList".to_owned())),
        };
    }
    let items = reader.items()?;
    if items.is_empty() {
        return Err(reader.fault("it is empty; at least one line is needed".to_owned()));
    }
    items.iter().map(|item| read_line(item, parameters)).collect()
}

fn read_line(reader: &Reader<'_>, parameters: &[ParameterDefinition]) -> Result<Line, ContentError> {
    let text = reader.text()?;
    if let Some(name) = only_reference(text)
        && parameters.iter().any(|known| known.name == name && known.kind == ParameterType::StringList)
    {
        return script_parameter(name, parameters, reader);
    }
    for piece in pieces(text) {
        // What is no parameter's name is the script's own business: templates have such braces too.
        if let Piece::Reference(name) = piece {
            if name.starts_with("ssm:") || name.starts_with("ssm-secure:") {
                return Err(no_parameter_store(name, reader));
            }
            if parameters.iter().any(|known| known.name == name) {
                return Err(reader.fault(format!(
                    "`{{{{ {name} }}}}` is not filled in, because a value could become part of the script; write \
                     \"$SSM_{name}\", quoted, which holds the value when the script runs"
                )));
            }
        }
    }
    Ok(Line::Text(text.to_owned()))
}

fn script_parameter(name: &str, parameters: &[ParameterDefinition], reader: &Reader<'_>) -> Result<Line, ContentError> {
    let parameter = declared(name, parameters, reader)?;
    if parameter.kind != ParameterType::StringList {
        let kind = parameter.kind.name();
        return Err(reader.fault(format!("parameter `{name}` is a {kind}; allowed as a script is a StringList")));
    }
    Ok(Line::Parameter(name.to_owned()))
}

fn declared<'a>(
    name: &str,
    parameters: &'a [ParameterDefinition],
    reader: &Reader<'_>,
) -> Result<&'a ParameterDefinition, ContentError> {
    if name.contains(':') {
        return Err(no_parameter_store(name, reader));
    }
    parameters.iter().find(|parameter| parameter.name == name).ok_or_else(|| {
        let known: Vec<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        reader.fault(format!("`{{{{ {name} }}}}` names no parameter of the document; there are [{}]", known.join(", ")))
    })
}

fn no_parameter_store(name: &str, reader: &Reader<'_>) -> ContentError {
    reader.fault(format!("`{{{{ {name} }}}}` names another source; there is no parameter store here"))
}

fn read_timeout(reader: &Reader<'_>, parameters: &[ParameterDefinition]) -> Result<String, ContentError> {
    let text = match reader.value() {
        Value::Number(number) => number.to_string(),
        _ => reader.text()?.to_owned(),
    };
    match only_reference(&text) {
        Some(name) => declared(name, parameters, reader).map(|_| text.clone()),
        None if timeout_of(&text).is_some() => Ok(text),
        None => Err(reader.fault(format!(
            "`{text}` is not allowed; allowed are 5 to 172800 seconds, or one reference to a parameter"
        ))),
    }
}

/// Scripts run on Linux and macOS, of which agents serve Linux; so that is all a step can ask for.
fn check_precondition(reader: &Reader<'_>) -> Result<(), ContentError> {
    reader.only_members(&["StringEquals"])?;
    let operands = reader.required("StringEquals")?;
    let texts = operands.items()?.iter().map(|item| item.text().map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
    let is_linux = match texts.as_slice() {
        [one, other] => [(one, other), (other, one)]
            .iter()
            .any(|(key, value)| *key == "platformType" && value.eq_ignore_ascii_case("Linux")),
        _ => false,
    };
    if is_linux {
        return Ok(());
    }
    Err(operands.fault(format!("[{}] is not allowed; allowed is [platformType, Linux]", texts.join(", "))))
}

/// A value of the content, and where it is.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Reader<'a> {
    fn new(path: impl Into<String>, value: &'a Value) -> Self {
        Self { path: path.into(), value }
    }

    pub(super) fn fault(&self, problem: String) -> ContentError {
        let path = if self.path.is_empty() { "content".to_owned() } else { self.path.clone() };
        ContentError { path, problem, is_schema_version: false }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn text(&self) -> Result<&'a str, ContentError> {
        self.value.as_str().ok_or_else(|| self.fault("allowed is a text".to_owned()))
    }

    fn object(&self) -> Result<&'a Map<String, Value>, ContentError> {
        self.value.as_object().ok_or_else(|| self.fault("allowed is an object".to_owned()))
    }

    fn below(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A member, unless it is absent or `null`.
    pub(super) fn member(&self, name: &str) -> Option<Self> {
        self.value.get(name).filter(|value| !value.is_null()).map(|value| Self::new(self.below(name), value))
    }

    pub(super) fn required(&self, name: &str) -> Result<Self, ContentError> {
        self.object()?;
        self.member(name).ok_or_else(|| Self::new(self.below(name), self.value).fault("it is missing".to_owned()))
    }

    fn members(&self) -> Result<Vec<(&'a str, Self)>, ContentError> {
        let object = self.object()?;
        Ok(object.iter().map(|(name, value)| (name.as_str(), Self::new(self.below(name), value))).collect())
    }

    pub(super) fn items(&self) -> Result<Vec<Self>, ContentError> {
        let items = self.value.as_array().ok_or_else(|| self.fault("allowed is a list".to_owned()))?;
        Ok(items.iter().enumerate().map(|(index, value)| Self::new(format!("{}[{index}]", self.path), value)).collect())
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'a str>, ContentError> {
        self.member(name).map(|member| member.text()).transpose()
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, ContentError> {
        let Some(member) = self.member(name) else { return Ok(None) };
        let count = member.value.as_u64().and_then(|count| usize::try_from(count).ok());
        count.map(Some).ok_or_else(|| member.fault("allowed is a whole number from 0".to_owned()))
    }

    /// Refuses members that nothing would be done with.
    pub(super) fn only_members(&self, known: &[&str]) -> Result<(), ContentError> {
        match self.object()?.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Self::new(self.below(name), self.value)
                .fault(format!("it has no meaning here; allowed are {}", known.join(", ")))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
