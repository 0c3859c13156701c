//! What an execution asks of the world and then waits for: a function, a command, another
//! execution, an endpoint, a script, or one of our own operations.
//!
//! Automations and state machines differ in how they say it and are carried out alike, so both
//! engines speak in these values. A call is stored before it is made, under a token that the
//! execution derives, and making it again under the same token has no second effect wherever the
//! other side can recognise it (commands and executions of our own always do).

use std::collections::BTreeMap;

use patchwave_schemas::event::CommandRequested;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing to be done by somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Call {
    /// A registered function, as Lambda's Invoke.
    Function(FunctionCall),
    /// A command on nodes; ends when the command does, or when it was taken on if `wait` is false.
    Command {
        /// SSM's SendCommand.
        request: Box<CommandRequested>,
        /// Whether to wait for its end.
        wait: bool,
    },
    /// An automation.
    Automation {
        /// SSM's StartAutomationExecution, in its wire form.
        request: Value,
        /// Whether to wait for its end.
        wait: bool,
    },
    /// An execution of a state machine.
    StateMachine {
        /// Its name or ARN.
        state_machine: String,
        /// Name of the execution; made up where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Its input.
        input: Value,
        /// Whether to wait for its end.
        wait: bool,
    },
    /// An HTTP endpoint.
    Http(HttpCall),
    /// A script, in a process of its own.
    Script(ScriptCall),
    /// An operation of our own API.
    Api {
        /// Its name, for instance `DescribeInstanceInformation`.
        operation: String,
        /// Its input, in the wire form.
        input: Value,
    },
    /// Nobody is called: whoever was given the token answers.
    Token,
}

/// Lambda's Invoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Name or ARN of the function.
    pub function: String,
    /// Version or alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
    /// What it is given.
    pub payload: Value,
    /// Base64 of a JSON object, at most 8,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_context: Option<String>,
    /// Whether its answer is waited for.
    #[serde(default)]
    pub invocation_type: InvocationType,
}

/// Lambda's `InvocationType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InvocationType {
    /// The answer is waited for.
    #[default]
    RequestResponse,
    /// Handed over, and that is all.
    Event,
    /// Checked, and not run.
    DryRun,
}

/// A request over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCall {
    /// `GET`, `POST`, `PUT`, `DELETE`, `PATCH`, `HEAD` or `OPTIONS`.
    pub method: String,
    /// `https` anywhere, `http` on loopback.
    pub url: String,
    /// Headers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Query parameters by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Vec<String>>,
    /// Its body; sent as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// A script and what it is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptCall {
    /// What runs it.
    pub runtime: ScriptRuntime,
    /// Its text.
    pub script: String,
    /// The function in it that is called, for languages that have some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// What it is given: a JSON object.
    pub payload: Value,
}

/// What runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScriptRuntime {
    /// Python 3: `handler(events, context)`, whose answer is the output.
    Python,
    /// `sh`: the payload on stdin and in `PATCHWAVE_PAYLOAD`; the last line of stdout that is JSON is the output.
    Shell,
    /// PowerShell, as `sh`.
    PowerShell,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CallOutcome {
    /// With this answer.
    Succeeded(Value),
    /// With an error.
    Failed(Failure),
}

/// An error as Step Functions names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its name, for instance `States.Timeout`.
    pub error: String,
    /// For people.
    pub cause: String,
}
