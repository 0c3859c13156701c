//! Reading a definition: every field of every state, and the fault of each that is wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::choice::Rule;
use super::data::{self, Template};
use super::machine::{Choice, Count, Fault, Flow, Kind, Machine, ResultPath, SECONDS_MAX, State, Until, Word, escaped};
use super::place::place;
use super::resource::Resource;
use super::retry::{Catcher, Retrier};
use super::{NESTING_MAX, intrinsics};
use crate::json_path;

/// Faults that are looked for at most.
const FAULTS_MAX: usize = 100;
/// Characters of a state's name (Step Functions).
const NAME_CHARS_MAX: usize = 80;

/// What every state may have.
const COMMON: &[&str] = &["Type", "Comment", "QueryLanguage"];
const FLOWING: &[&str] = &["Next", "End", "Assign", "InputPath", "OutputPath"];
const WORKING: &[&str] = &["Parameters", "ResultSelector", "ResultPath", "Retry", "Catch"];

pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, path: &str, problem: impl Into<String>) {
        self.coded("SCHEMA_VALIDATION_FAILED", path, problem);
    }

    fn coded(&mut self, code: &'static str, path: &str, problem: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            let (line, column) = place(self.text, path);
            self.faults.push(Fault { code, path: path.to_owned(), line, column, problem: problem.into() });
        }
    }

    pub(super) fn machine(&mut self, value: &Value) -> Option<Machine> {
        let object = self.object("", value)?;
        self.only("", object, &["Comment", "StartAt", "States", "TimeoutSeconds", "Version", "QueryLanguage"]);
        self.query_language("", object);
        if let Some(version) = object.get("Version").filter(|version| *version != "1.0") {
            self.fault("/Version", format!("`{version}` is not allowed; allowed is \"1.0\""));
        }
        let timeout_seconds = self.seconds("", object, "TimeoutSeconds", 1);
        let flow = self.flow("", object, &mut BTreeSet::new(), 0)?;
        Some(Machine { comment: self.text_of("", object, "Comment"), timeout_seconds, flow })
    }

    /// JSONata has no evaluator here; see docs/state-machines.md.
    fn query_language(&mut self, path: &str, object: &Map<String, Value>) {
        match object.get("QueryLanguage").map(Value::as_str) {
            None | Some(Some("JSONPath")) => {}
            Some(Some("JSONata")) => self.fault(
                &format!("{path}/QueryLanguage"),
                "JSONata is not carried out here; allowed is JSONPath, with its intrinsic functions",
            ),
            Some(_) => self.fault(&format!("{path}/QueryLanguage"), "allowed is JSONPath"),
        }
    }

    fn flow(
        &mut self,
        path: &str,
        object: &Map<String, Value>,
        names: &mut BTreeSet<String>,
        depth: usize,
    ) -> Option<Flow> {
        if depth > NESTING_MAX {
            self.fault(path, format!("states within states are allowed {NESTING_MAX} deep"));
            return None;
        }
        let start_at = self.required_text(path, object, "StartAt");
        let states_path = format!("{path}/States");
        let Some(value) = object.get("States") else {
            self.fault(path, "`States` is missing");
            return None;
        };
        let members = self.object(&states_path, value)?;
        if members.is_empty() {
            self.fault(&states_path, "it is empty; at least one state is needed");
        }
        let mut states = BTreeMap::new();
        for (name, value) in members {
            let here = format!("{states_path}/{}", escaped(name));
            if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
                self.fault(&here, format!("names of states have 1 to {NAME_CHARS_MAX} characters"));
            }
            if !names.insert(name.clone()) {
                self.fault(&here, format!("`{name}` names another state of this machine too"));
            }
            if let Some(state) = self.state(&here, value, names, depth) {
                states.insert(name.clone(), state);
            }
        }
        let start_at = start_at?;
        if !members.contains_key(&start_at) {
            self.missing_target(&format!("{path}/StartAt"), &start_at, members);
        }
        self.transitions(&states_path, members, &start_at);
        Some(Flow { start_at, states })
    }

    /// Every transition names a state of the same flow, every state is reached, and some state ends it.
    fn transitions(&mut self, path: &str, members: &Map<String, Value>, start_at: &str) {
        let mut ends = false;
        let mut reached = BTreeSet::from([start_at.to_owned()]);
        for (name, state) in members {
            let here = format!("{path}/{}", escaped(name));
            ends |= matches!(state["Type"].as_str(), Some("Succeed" | "Fail")) || state["End"] == true;
            let mut targets = vec![("Next".to_owned(), &state["Next"]), ("Default".to_owned(), &state["Default"])];
            for list in ["Choices", "Catch"] {
                let items = state[list].as_array().into_iter().flatten().enumerate();
                targets.extend(items.map(|(index, item)| (format!("{list}/{index}/Next"), &item["Next"])));
            }
            for (member, target) in targets {
                let Some(target) = target.as_str() else { continue };
                reached.insert(target.to_owned());
                if !members.contains_key(target) {
                    self.missing_target(&format!("{here}/{member}"), target, members);
                }
            }
        }
        if !ends && !members.is_empty() {
            self.fault(path, "no state ends it; at least one needs `End: true`, or the type Succeed or Fail");
        }
        for name in members.keys().filter(|name| !reached.contains(*name)) {
            let here = format!("{path}/{}", escaped(name));
            self.coded("MISSING_TRANSITION_TARGET", &here, format!("no transition leads to state `{name}`"));
        }
    }

    fn missing_target(&mut self, path: &str, target: &str, members: &Map<String, Value>) {
        let known: Vec<_> = members.keys().take(10).map(String::as_str).collect();
        let problem = format!("`{target}` names no state here; there are {}", known.join(", "));
        self.coded("MISSING_TRANSITION_TARGET", path, problem);
    }

    fn state(&mut self, path: &str, value: &Value, names: &mut BTreeSet<String>, depth: usize) -> Option<State> {
        let object = self.object(path, value)?;
        let kind_name = self.required_text(path, object, "Type")?;
        self.query_language(path, object);
        let (own, flows, works): (&[&str], bool, bool) = match kind_name.as_str() {
            "Pass" => (&["Result", "Parameters", "ResultPath"], true, false),
            "Task" => (
                &[
                    "Resource",
                    "TimeoutSeconds",
                    "TimeoutSecondsPath",
                    "HeartbeatSeconds",
                    "HeartbeatSecondsPath",
                    "Credentials",
                ],
                true,
                true,
            ),
            "Choice" => (&["Choices", "Default", "Assign", "InputPath", "OutputPath"], false, false),
            "Wait" => (&["Seconds", "SecondsPath", "Timestamp", "TimestampPath"], true, false),
            "Succeed" => (&["InputPath", "OutputPath"], false, false),
            "Fail" => (&["Error", "ErrorPath", "Cause", "CausePath"], false, false),
            "Parallel" => (&["Branches"], true, true),
            "Map" => (
                &["ItemProcessor", "Iterator", "ItemsPath", "ItemSelector", "MaxConcurrency", "MaxConcurrencyPath"],
                true,
                true,
            ),
            other => {
                let allowed = "Pass, Task, Choice, Wait, Succeed, Fail, Parallel and Map";
                self.fault(&format!("{path}/Type"), format!("`{other}` is not allowed; allowed are {allowed}"));
                return None;
            }
        };
        let parts = [COMMON, own, if flows { FLOWING } else { &[] }, if works { WORKING } else { &[] }];
        self.only(path, object, &parts.concat());
        let next = if flows { self.next(path, object) } else { None };
        let kind = match kind_name.as_str() {
            "Pass" => Kind::Pass { result: object.get("Result").cloned() },
            "Task" => self.task(path, object)?,
            "Choice" => self.choice(path, object)?,
            "Wait" => Kind::Wait(self.wait(path, object)?),
            "Succeed" => Kind::Succeed,
            "Fail" => Kind::Fail { error: self.word(path, object, "Error"), cause: self.word(path, object, "Cause") },
            "Parallel" => self.parallel(path, object, names, depth)?,
            _ => self.map(path, object, names, depth)?,
        };
        Some(State {
            kind,
            next,
            input_path: self.io_path(path, object, "InputPath"),
            parameters: self.template(path, object, "Parameters"),
            result_selector: self.template(path, object, "ResultSelector"),
            result_path: self.result_path(path, object),
            output_path: self.io_path(path, object, "OutputPath"),
            assign: self.assign(path, object),
            retry: self.retry(path, object),
            catch: self.catch(path, object),
        })
    }

    fn next(&mut self, path: &str, object: &Map<String, Value>) -> Option<String> {
        match (object.get("Next"), object.get("End")) {
            (Some(Value::String(next)), None | Some(Value::Bool(false))) => Some(next.clone()),
            (None, Some(Value::Bool(true))) => None,
            (None, None) => {
                self.fault(path, "`Next` or `End: true` is missing");
                None
            }
            (Some(_), Some(Value::Bool(true))) => {
                self.fault(path, "it has `Next` and `End`; allowed is one of them");
                None
            }
            _ => {
                self.fault(path, "`Next` is the name of a state, `End` is true or false");
                None
            }
        }
    }

    fn task(&mut self, path: &str, object: &Map<String, Value>) -> Option<Kind> {
        let resource = self.required_text(path, object, "Resource")?;
        let resource = match Resource::parse(&resource) {
            Ok(resource) => resource,
            Err(problem) => {
                self.fault(&format!("{path}/Resource"), problem);
                return None;
            }
        };
        if object.contains_key("Credentials") {
            self.fault(&format!("{path}/Credentials"), "there are no roles to be taken on here");
        }
        let timeout = self.count(path, object, "TimeoutSeconds", 1);
        let heartbeat = self.count(path, object, "HeartbeatSeconds", 1);
        if let (Some(Count::Fixed(heartbeat)), Some(Count::Fixed(timeout))) = (&heartbeat, &timeout)
            && heartbeat >= timeout
        {
            let problem = format!("`{heartbeat}` is not less than TimeoutSeconds, {timeout}");
            self.fault(&format!("{path}/HeartbeatSeconds"), problem);
        }
        Some(Kind::Task { resource, timeout, heartbeat })
    }

    fn choice(&mut self, path: &str, object: &Map<String, Value>) -> Option<Kind> {
        let here = format!("{path}/Choices");
        let items = match object.get("Choices") {
            Some(Value::Array(items)) if !items.is_empty() => items,
            _ => {
                self.fault(&here, "a list of at least one rule is needed");
                return None;
            }
        };
        let mut rules = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let here = format!("{here}/{index}");
            let Some(members) = self.object(&here, item) else { continue };
            let Some(next) = self.required_text(&here, members, "Next") else { continue };
            let assign = self.assign(&here, members);
            match Rule::parse(item, true) {
                Ok(rule) => rules.push(Choice { rule, next, assign }),
                Err((below, problem)) => self.fault(&format!("{here}{below}"), problem),
            }
        }
        Some(Kind::Choice { rules, default: self.text_of(path, object, "Default") })
    }

    fn wait(&mut self, path: &str, object: &Map<String, Value>) -> Option<Until> {
        let given: Vec<_> = ["Seconds", "SecondsPath", "Timestamp", "TimestampPath"]
            .into_iter()
            .filter(|name| object.contains_key(*name))
            .collect();
        let [name] = given[..] else {
            self.fault(path, "one of `Seconds`, `SecondsPath`, `Timestamp` and `TimestampPath` is needed");
            return None;
        };
        let here = format!("{path}/{name}");
        match name {
            "Seconds" | "SecondsPath" => self.count(path, object, "Seconds", 0).map(Until::Seconds),
            "Timestamp" => match object[name].as_str().map(str::parse) {
                Some(Ok(at)) => Some(Until::Instant(at)),
                _ => {
                    self.fault(&here, "allowed is an instant such as 2026-03-14T01:59:00Z");
                    None
                }
            },
            _ => self.path(path, object, name).map(Until::InstantPath),
        }
    }

    fn parallel(
        &mut self,
        path: &str,
        object: &Map<String, Value>,
        names: &mut BTreeSet<String>,
        depth: usize,
    ) -> Option<Kind> {
        let here = format!("{path}/Branches");
        let items = match object.get("Branches") {
            Some(Value::Array(items)) if !items.is_empty() => items,
            _ => {
                self.fault(&here, "a list of at least one branch is needed");
                return None;
            }
        };
        let mut branches = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let here = format!("{here}/{index}");
            let Some(members) = self.object(&here, item) else { continue };
            self.only(&here, members, &["Comment", "StartAt", "States", "QueryLanguage"]);
            self.query_language(&here, members);
            branches.extend(self.flow(&here, members, names, depth + 1));
        }
        Some(Kind::Parallel { branches })
    }

    fn map(
        &mut self,
        path: &str,
        object: &Map<String, Value>,
        names: &mut BTreeSet<String>,
        depth: usize,
    ) -> Option<Kind> {
        let name = match (object.contains_key("ItemProcessor"), object.contains_key("Iterator")) {
            (true, false) => "ItemProcessor",
            (false, true) => "Iterator",
            _ => {
                self.fault(path, "`ItemProcessor`, or the older `Iterator`, is needed");
                return None;
            }
        };
        let here = format!("{path}/{name}");
        let members = self.object(&here, &object[name])?;
        self.only(&here, members, &["Comment", "StartAt", "States", "QueryLanguage", "ProcessorConfig"]);
        self.query_language(&here, members);
        if let Some(mode) = members.get("ProcessorConfig").and_then(|config| config.get("Mode"))
            && mode != "INLINE"
        {
            self.fault(
                &format!("{here}/ProcessorConfig/Mode"),
                format!("{mode} is not carried out here; allowed is \"INLINE\""),
            );
        }
        let flow = Box::new(self.flow(&here, members, names, depth + 1)?);
        Some(Kind::Map {
            items_path: self.path(path, object, "ItemsPath"),
            selector: self.template(path, object, "ItemSelector"),
            concurrency: self.count(path, object, "MaxConcurrency", 0),
            flow,
        })
    }

    fn retry(&mut self, path: &str, object: &Map<String, Value>) -> Vec<Retrier> {
        self.handlers(path, object, "Retry", Retrier::parse)
    }

    fn catch(&mut self, path: &str, object: &Map<String, Value>) -> Vec<Catcher> {
        self.handlers(path, object, "Catch", Catcher::parse)
    }

    fn handlers<T>(
        &mut self,
        path: &str,
        object: &Map<String, Value>,
        name: &str,
        read: impl Fn(&Map<String, Value>, bool) -> Result<T, (String, String)>,
    ) -> Vec<T> {
        let here = format!("{path}/{name}");
        let items = match object.get(name) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.fault(&here, "allowed is a list");
                return Vec::new();
            }
        };
        let mut handlers = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let here = format!("{here}/{index}");
            let Some(members) = self.object(&here, item) else { continue };
            match read(members, index + 1 == items.len()) {
                Ok(one) => handlers.push(one),
                Err((below, problem)) => self.fault(&format!("{here}{below}"), problem),
            }
        }
        handlers
    }

    fn result_path(&mut self, path: &str, object: &Map<String, Value>) -> ResultPath {
        let text = match object.get("ResultPath") {
            Some(Value::Null) => return ResultPath::Discard,
            None => "$",
            Some(Value::String(text)) => text,
            Some(_) => "",
        };
        match json_path::definite(text) {
            Some(parts) => ResultPath::At(text.to_owned(), parts),
            None => {
                let problem = format!("`{text}` is not allowed; allowed is a path of names and indexes, or null");
                self.fault(&format!("{path}/ResultPath"), problem);
                ResultPath::Discard
            }
        }
    }

    /// `InputPath` or `OutputPath`: `$` where absent, `None` for null.
    fn io_path(&mut self, path: &str, object: &Map<String, Value>, name: &str) -> Option<String> {
        match object.get(name) {
            None => Some("$".to_owned()),
            Some(Value::Null) => None,
            Some(_) => Some(self.path(path, object, name).unwrap_or_default()),
        }
    }

    fn path(&mut self, path: &str, object: &Map<String, Value>, name: &str) -> Option<String> {
        let value = object.get(name)?;
        let problem = match value.as_str() {
            Some(text) => match data::check_path(text) {
                Ok(()) => return Some(text.to_owned()),
                Err(problem) => problem,
            },
            None => "allowed is a JSONPath".to_owned(),
        };
        self.fault(&format!("{path}/{name}"), problem);
        None
    }

    fn template(&mut self, path: &str, object: &Map<String, Value>, name: &str) -> Option<Template> {
        let value = object.get(name)?;
        match Template::parse(value) {
            Ok(template) => Some(template),
            Err((below, problem)) => {
                self.fault(&format!("{path}/{name}{below}"), problem);
                None
            }
        }
    }

    fn assign(&mut self, path: &str, object: &Map<String, Value>) -> Option<Template> {
        let members = object.get("Assign")?.as_object();
        let here = format!("{path}/Assign");
        let Some(members) = members else {
            self.fault(&here, "allowed is an object from names of variables to their values");
            return None;
        };
        for name in members.keys() {
            let bare = name.strip_suffix(".$").unwrap_or(name);
            if !data::is_variable(bare) {
                let problem = "names of variables have up to 80 letters, digits and `_`, and do not begin with a digit";
                self.fault(&format!("{here}/{}", escaped(name)), problem);
            }
        }
        self.template(path, object, "Assign")
    }

    /// `X` as a number, or `XPath` as where it stands.
    fn count(&mut self, path: &str, object: &Map<String, Value>, name: &str, least: u64) -> Option<Count> {
        let by_path = format!("{name}Path");
        match (object.contains_key(name), object.contains_key(&by_path)) {
            (true, true) => {
                self.fault(path, format!("it has `{name}` and `{by_path}`; allowed is one of them"));
                None
            }
            (true, false) => self.seconds(path, object, name, least).map(Count::Fixed),
            (false, true) => self.path(path, object, &by_path).map(Count::Path),
            (false, false) => None,
        }
    }

    fn seconds(&mut self, path: &str, object: &Map<String, Value>, name: &str, least: u64) -> Option<u64> {
        let value = object.get(name)?;
        let found = value.as_u64().filter(|seconds| (least..=SECONDS_MAX).contains(seconds));
        if found.is_none() {
            let problem = format!("`{value}` is not allowed; allowed are whole numbers from {least} to {SECONDS_MAX}");
            self.fault(&format!("{path}/{name}"), problem);
        }
        found
    }

    fn word(&mut self, path: &str, object: &Map<String, Value>, name: &str) -> Word {
        let by_path = format!("{name}Path");
        if let Some(value) = object.get(&by_path) {
            let problem = match value.as_str() {
                Some(text) if text.starts_with("States.") => intrinsics::check(text).err(),
                Some(text) => data::check_path(text).err(),
                None => Some("allowed is a JSONPath or an intrinsic function".to_owned()),
            };
            if let Some(problem) = problem {
                self.fault(&format!("{path}/{by_path}"), problem);
            }
            return Word::Path(value.as_str().unwrap_or_default().to_owned());
        }
        self.text_of(path, object, name).map_or(Word::Absent, Word::Fixed)
    }

    fn required_text(&mut self, path: &str, object: &Map<String, Value>, name: &str) -> Option<String> {
        if !object.contains_key(name) {
            self.fault(path, format!("`{name}` is missing"));
        }
        self.text_of(path, object, name)
    }

    fn text_of(&mut self, path: &str, object: &Map<String, Value>, name: &str) -> Option<String> {
        match object.get(name)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.fault(&format!("{path}/{name}"), "allowed is a text");
                None
            }
        }
    }

    fn object<'v>(&mut self, path: &str, value: &'v Value) -> Option<&'v Map<String, Value>> {
        if value.as_object().is_none() {
            self.fault(path, "allowed is an object");
        }
        value.as_object()
    }

    fn only(&mut self, path: &str, object: &Map<String, Value>, allowed: &[&str]) {
        for name in object.keys().filter(|name| !allowed.contains(&name.as_str())) {
            let problem = format!("field `{name}` is not supported here; allowed are {}", allowed.join(", "));
            self.fault(&format!("{path}/{}", escaped(name)), problem);
        }
    }
}
