//! What a Task asks of the world: the resources that are known, and the calls they become.

use serde_json::{Map, Value, json};

use super::data::failure;
use crate::calls::{Call, Failure, FunctionCall, HttpCall, InvocationType, ScriptCall, ScriptRuntime};

/// How a Task waits for what it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Until it was taken on; for a function, until it answered.
    Response,
    /// Until it has ended.
    Sync,
    /// Until somebody sends the task's token back.
    Token,
}

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Service {
    /// A function by its ARN or name: the input is its payload, the output its answer.
    Function(String),
    /// Lambda's Invoke.
    Invoke,
    /// Another execution of a state machine.
    StateMachine,
    /// A command, as SSM's SendCommand.
    Command,
    /// An automation, as SSM's StartAutomationExecution.
    Automation,
    /// An operation of our API.
    Api(String),
    /// An HTTP endpoint.
    Http,
    /// A script in a process of its own.
    Script,
    /// Nobody: whoever polls the activity, or has the token, answers.
    Activity,
}

/// A Task's `Resource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    text: String,
    service: Service,
    pattern: Pattern,
}

const ALLOWED: &str = "arn:aws:lambda:…:function:<name>, arn:aws:states:::lambda:invoke, \
    arn:aws:states:::states:startExecution, arn:aws:states:::http:invoke, arn:aws:states:::aws-sdk:ssm:<operation>, \
    arn:aws:states:…:activity:<name>, patchwave:function:<name>, patchwave:command, patchwave:automation, \
    patchwave:state-machine, patchwave:script and patchwave:token, with .sync or .waitForTaskToken where that means something";

impl Resource {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (bare, pattern) = if let Some(bare) = text.strip_suffix(".waitForTaskToken") {
            (bare, Pattern::Token)
        } else if let Some(bare) = text.strip_suffix(".sync:2").or_else(|| text.strip_suffix(".sync")) {
            (bare, Pattern::Sync)
        } else {
            (text, Pattern::Response)
        };
        let unknown = || format!("`{text}` is not allowed; allowed are {ALLOWED}");
        let service = if let Some(rest) = bare.strip_prefix("arn:aws:lambda:") {
            let (_, name) = rest.split_once(":function:").ok_or_else(unknown)?;
            Service::Function(name.to_owned())
        } else if let Some(name) = bare.strip_prefix("patchwave:function:") {
            Service::Function(name.to_owned())
        } else if let Some(rest) = bare.strip_prefix("arn:aws:states:::") {
            match rest {
                "lambda:invoke" => Service::Invoke,
                "states:startExecution" | "aws-sdk:sfn:startExecution" => Service::StateMachine,
                "http:invoke" => Service::Http,
                "aws-sdk:ssm:sendCommand" => Service::Command,
                "aws-sdk:ssm:startAutomationExecution" => Service::Automation,
                other => {
                    let operation = other.strip_prefix("aws-sdk:ssm:").ok_or_else(unknown)?;
                    let mut characters = operation.chars();
                    let first = characters.next().filter(char::is_ascii_lowercase).ok_or_else(unknown)?;
                    Service::Api(format!("{}{}", first.to_ascii_uppercase(), characters.as_str()))
                }
            }
        } else if bare.starts_with("arn:aws:states:") && bare.contains(":activity:") {
            Service::Activity
        } else {
            match bare {
                "patchwave:command" => Service::Command,
                "patchwave:automation" => Service::Automation,
                "patchwave:state-machine" => Service::StateMachine,
                "patchwave:script" => Service::Script,
                "patchwave:token" => Service::Activity,
                _ => return Err(unknown()),
            }
        };
        let fits = match pattern {
            Pattern::Response => true,
            Pattern::Sync => matches!(service, Service::StateMachine | Service::Command | Service::Automation),
            Pattern::Token => !matches!(service, Service::Function(_) | Service::Http | Service::Script),
        };
        if !fits {
            return Err(format!("`{text}` waits in a way that this resource has not; allowed are {ALLOWED}"));
        }
        Ok(Self { text: text.to_owned(), service, pattern })
    }

    /// Type and name, as a history shows them.
    pub(super) fn shown(&self) -> (&'static str, String) {
        let suffix = match self.pattern {
            Pattern::Response => "",
            Pattern::Sync => ".sync",
            Pattern::Token => ".waitForTaskToken",
        };
        match &self.service {
            Service::Function(_) => ("lambda", self.text.clone()),
            Service::Invoke => ("lambda", format!("invoke{suffix}")),
            Service::StateMachine => ("states", format!("startExecution{suffix}")),
            Service::Command => ("aws-sdk:ssm", format!("sendCommand{suffix}")),
            Service::Automation => ("aws-sdk:ssm", format!("startAutomationExecution{suffix}")),
            Service::Api(operation) => ("aws-sdk:ssm", format!("{operation}{suffix}")),
            Service::Http => ("http", "invoke".to_owned()),
            Service::Script => ("patchwave", "script".to_owned()),
            Service::Activity => ("activity", self.text.clone()),
        }
    }

    /// Whether somebody else than the called one ends the task.
    pub(super) fn waits_for_token(&self) -> bool {
        self.pattern == Pattern::Token || self.service == Service::Activity
    }

    /// The call that a Task with these arguments makes.
    ///
    /// # Errors
    /// `States.Runtime` for arguments that are none.
    pub(super) fn call(&self, arguments: Value) -> Result<Call, Failure> {
        let wait = self.pattern == Pattern::Sync;
        let arguments_of = |value: Value| match value {
            Value::Object(members) => Ok(members),
            other => Err(runtime(format!("the arguments of {} are an object, and not `{}`", self.text, short(&other)))),
        };
        Ok(match &self.service {
            Service::Function(name) => Call::Function(FunctionCall {
                function: name.clone(),
                qualifier: None,
                payload: arguments,
                client_context: None,
                invocation_type: InvocationType::RequestResponse,
            }),
            Service::Invoke => Call::Function(invoke(arguments_of(arguments)?)?),
            Service::StateMachine => {
                let mut members = arguments_of(arguments)?;
                let machine = text(&mut members, &["StateMachineArn", "stateMachineArn", "StateMachine"])
                    .ok_or_else(|| runtime("`StateMachineArn` is missing"))?;
                let name = text(&mut members, &["Name", "name"]);
                let input = members.remove("Input").or_else(|| members.remove("input")).unwrap_or_else(|| json!({}));
                Call::StateMachine { state_machine: machine, name, input, wait }
            }
            Service::Command => {
                let request = serde_json::from_value(Value::Object(arguments_of(arguments)?))
                    .map_err(|error| runtime(format!("the arguments are not SendCommand's: {error}")))?;
                Call::Command { request: Box::new(request), wait }
            }
            Service::Automation => Call::Automation { request: Value::Object(arguments_of(arguments)?), wait },
            Service::Api(operation) => {
                Call::Api { operation: operation.clone(), input: Value::Object(arguments_of(arguments)?) }
            }
            Service::Http => Call::Http(http(arguments_of(arguments)?)?),
            Service::Script => Call::Script(script(arguments_of(arguments)?)?),
            Service::Activity => Call::Token,
        })
    }

    /// What a call's answer is to the machine.
    pub(super) fn output(&self, answer: Value) -> Value {
        match self.service {
            // Lambda's Invoke has its answer within a description of the call.
            Service::Invoke if self.pattern != Pattern::Token => {
                json!({ "ExecutedVersion": "$LATEST", "Payload": answer, "StatusCode": 200 })
            }
            _ => answer,
        }
    }
}

fn runtime(cause: impl Into<String>) -> Failure {
    failure("States.Runtime", cause)
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

fn text(members: &mut Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match members.remove(*name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    })
}

fn invoke(mut members: Map<String, Value>) -> Result<FunctionCall, Failure> {
    let function = text(&mut members, &["FunctionName"]).ok_or_else(|| runtime("`FunctionName` is missing"))?;
    let invocation_type = match text(&mut members, &["InvocationType"]).as_deref() {
        None | Some("RequestResponse") => InvocationType::RequestResponse,
        Some("Event") => InvocationType::Event,
        Some("DryRun") => InvocationType::DryRun,
        Some(other) => {
            let allowed = "RequestResponse, Event and DryRun";
            return Err(runtime(format!("InvocationType is `{other}`; allowed are {allowed}")));
        }
    };
    // An ARN names the function behind its last words.
    let name = function.split_once(":function:").map_or(function.as_str(), |(_, name)| name);
    Ok(FunctionCall {
        function: name.to_owned(),
        qualifier: text(&mut members, &["Qualifier"]),
        client_context: text(&mut members, &["ClientContext"]),
        payload: members.remove("Payload").unwrap_or_else(|| json!({})),
        invocation_type,
    })
}

fn http(mut members: Map<String, Value>) -> Result<HttpCall, Failure> {
    let texts = |value: Option<Value>| -> Vec<(String, Vec<String>)> {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let Some(Value::Object(members)) = value else { return Vec::new() };
        members
            .into_iter()
            .map(|(name, value)| match &value {
                Value::Array(items) => (name, items.iter().map(plain).collect()),
                one => (name, vec![plain(one)]),
            })
            .collect()
    };
    Ok(HttpCall {
        url: text(&mut members, &["ApiEndpoint"]).ok_or_else(|| runtime("`ApiEndpoint` is missing"))?,
        method: text(&mut members, &["Method"]).ok_or_else(|| runtime("`Method` is missing"))?,
        headers: texts(members.remove("Headers")).into_iter().map(|(name, values)| (name, values.join(","))).collect(),
        query: texts(members.remove("QueryParameters")).into_iter().collect(),
        body: members.remove("RequestBody"),
    })
}

fn script(mut members: Map<String, Value>) -> Result<ScriptCall, Failure> {
    let runtime_name = text(&mut members, &["Runtime"]).unwrap_or_default();
    let runtime_found = match runtime_name.as_str() {
        name if name.starts_with("python3") => ScriptRuntime::Python,
        "shell" => ScriptRuntime::Shell,
        name if name.starts_with("PowerShell") => ScriptRuntime::PowerShell,
        other => return Err(runtime(format!("Runtime is `{other}`; allowed are python3, shell and PowerShell"))),
    };
    Ok(ScriptCall {
        runtime: runtime_found,
        script: text(&mut members, &["Script"]).ok_or_else(|| runtime("`Script` is missing"))?,
        handler: text(&mut members, &["Handler"]),
        payload: members.remove("Payload").unwrap_or_else(|| json!({})),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_becomes_its_call() {
        for (resource, arguments, expected) in [
            ("arn:aws:lambda:eu-west-1:1:function:f:3", json!([1]), "function"),
            ("patchwave:function:f", json!({}), "function"),
            ("arn:aws:states:::lambda:invoke", json!({ "FunctionName": "f", "Payload": { "a": 1 } }), "function"),
            ("arn:aws:states:::lambda:invoke.waitForTaskToken", json!({ "FunctionName": "f" }), "function"),
            ("arn:aws:states:::states:startExecution.sync:2", json!({ "StateMachineArn": "m" }), "stateMachine"),
            ("patchwave:command.sync", json!({ "DocumentName": "AWS-Noop", "InstanceIds": ["mi-0"] }), "command"),
            ("arn:aws:states:::aws-sdk:ssm:sendCommand", json!({ "DocumentName": "d" }), "command"),
            ("patchwave:automation.sync", json!({ "DocumentName": "d" }), "automation"),
            ("arn:aws:states:::aws-sdk:ssm:describeInstanceInformation", json!({}), "api"),
            ("arn:aws:states:::http:invoke", json!({ "ApiEndpoint": "https://a", "Method": "GET" }), "http"),
            ("patchwave:script", json!({ "Runtime": "shell", "Script": "true" }), "script"),
            ("arn:aws:states:eu-west-1:1:activity:a", json!({}), "token"),
        ] {
            let call = Resource::parse(resource).expect(resource).call(arguments).expect(resource);
            let written = serde_json::to_value(&call).expect("serialises");
            assert_eq!(written["type"], expected, "{resource}");
        }
    }

    #[test]
    fn an_api_operation_has_its_own_name() {
        let call = Resource::parse("arn:aws:states:::aws-sdk:ssm:describeInstanceInformation").expect("known");
        let Call::Api { operation, .. } = call.call(json!({})).expect("a call") else { panic!("another call") };
        assert_eq!(operation, "DescribeInstanceInformation");
    }

    #[test]
    fn unknown_resources_and_ways_of_waiting_are_refused_with_what_is_allowed() {
        for resource in [
            "arn:aws:states:::dynamodb:getItem",
            "arn:aws:states:::http:invoke.sync",
            "patchwave:function:f.waitForTaskToken",
            "arn:aws:lambda:eu-west-1:1:f",
            "",
        ] {
            let problem = Resource::parse(resource).expect_err(resource);
            assert!(problem.contains("patchwave:command"), "{problem}");
        }
    }

    #[test]
    fn arguments_that_are_none_fail_at_run_time_and_name_what_is_missing() {
        for (resource, arguments, part) in [
            ("arn:aws:states:::lambda:invoke", json!({}), "FunctionName"),
            ("arn:aws:states:::lambda:invoke", json!([]), "an object"),
            ("patchwave:command", json!({ "InstanceIds": 1 }), "SendCommand"),
            ("arn:aws:states:::http:invoke", json!({ "Method": "GET" }), "ApiEndpoint"),
            ("patchwave:script", json!({ "Runtime": "cobol", "Script": "" }), "python3"),
        ] {
            let failed = Resource::parse(resource).expect(resource).call(arguments).expect_err(resource);
            assert_eq!(failed.error, "States.Runtime");
            assert!(failed.cause.contains(part), "{}", failed.cause);
        }
    }
}
