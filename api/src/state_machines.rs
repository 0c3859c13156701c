//! State machines, in Step Functions' own protocol: what they are, and whether a definition is one.

use jiff::Timestamp;
use patchwave_engine::states::{Fault, Machine};
use patchwave_platform::secrets::hex;
use patchwave_platform::store::state_machines::StateMachine;
use patchwave_platform::store::tags::Taggable;
use patchwave_platform::workflows::{execution_id, execution_of_arn, is_name, state_machine_arn, state_machine_name};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch, present, required};

/// Faults of a definition that an error repeats.
const FAULTS_TOLD: usize = 10;
/// The role that is shown where none was given; nothing acts under it.
const NO_ROLE: &str = "arn:aws:iam::000000000000:role/patchwave";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    state_machine_arn: Option<String>,
    execution_arn: Option<String>,
    name: Option<String>,
    definition: Option<String>,
    role_arn: Option<String>,
    r#type: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    max_results: Option<usize>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: String,
}

impl Input {
    fn machine(&self) -> Result<&str, Error> {
        let arn = self.state_machine_arn.as_deref();
        arn.map(state_machine_name).ok_or_else(|| Error::validation("stateMachineArn is missing"))
    }
}

/// The refusal of a machine that is not there, by Step Functions' name.
pub(crate) fn missing(name: &str) -> Error {
    Error::new("StateMachineDoesNotExist", format!("State Machine Does Not Exist: '{name}'"))
}

/// Reads a definition.
///
/// # Errors
/// `InvalidDefinition` with its faults, each with path, line and column.
async fn parsed(definition: &str) -> Result<(), Error> {
    let faults = faults_of(definition).await;
    if faults.is_empty() {
        return Ok(());
    }
    let told: Vec<_> = faults.iter().take(FAULTS_TOLD).map(ToString::to_string).collect();
    let more = faults.len().saturating_sub(FAULTS_TOLD);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    Err(Error::new("InvalidDefinition", format!("Invalid State Machine Definition: '{}'{more}", told.join("; "))))
}

/// Patterns and paths are compiled, so it is done beside the loop.
async fn faults_of(definition: &str) -> Vec<Fault> {
    let text = definition.to_owned();
    let checked = tokio::task::spawn_blocking(move || Machine::parse(&text).err().unwrap_or_default());
    checked.await.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()))
}

/// The SHA-256 of a text, by which definitions are kept.
pub(crate) fn definition_id(text: &str) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref())
}

/// CreateStateMachine. The same name with the same definition is the same machine.
pub(crate) async fn create(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = required("name", input.name)?;
    let definition = required("definition", input.definition)?;
    if !is_name(&name) {
        let problem = "allowed are 1 to 80 characters without blanks, brackets, wildcards and special ones";
        return Err(Error::new("InvalidName", format!("Invalid Name: '{name}'; {problem}")));
    }
    parsed(&definition).await?;
    let now = Timestamp::now();
    let machine = StateMachine {
        definition_id: definition_id(&definition),
        revision: 1,
        machine_type: input.r#type.unwrap_or_else(|| "STANDARD".to_owned()),
        role_arn: input.role_arn.unwrap_or_else(|| NO_ROLE.to_owned()),
        created_at: now,
        updated_at: now,
        name,
    };
    let mut tx = api.store.begin().await?;
    let arn = state_machine_arn(api.account_id(), &machine.name);
    if !tx.add_state_machine(&machine, &definition).await? {
        let known = tx.lock_state_machine(&machine.name).await?.ok_or_else(|| missing(&machine.name))?;
        if known.definition_id != machine.definition_id || known.machine_type != machine.machine_type {
            let message = format!("State Machine Already Exists: '{arn}', with another definition or type");
            return Err(Error::new("StateMachineAlreadyExists", message));
        }
        return Ok(json!({ "stateMachineArn": arn, "creationDate": epoch(known.created_at) }));
    }
    let tags = input.tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
    tx.set_tags(Taggable::StateMachine, &machine.name, &tags).await?;
    tx.commit().await?;
    Ok(json!({ "stateMachineArn": arn, "creationDate": epoch(now) }))
}

/// UpdateStateMachine. Executions that run go on with what they began with.
pub(crate) async fn update(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = input.machine()?.to_owned();
    if input.definition.is_none() && input.role_arn.is_none() {
        return Err(Error::new("MissingRequiredParameter", "Either the definition or the role must be specified"));
    }
    if let Some(definition) = &input.definition {
        parsed(definition).await?;
    }
    let now = Timestamp::now();
    let mut tx = api.store.begin().await?;
    let mut machine = tx.lock_state_machine(&name).await?.ok_or_else(|| missing(&name))?;
    let definition = match input.definition {
        Some(definition) => definition,
        None => tx.workflow_definition(&machine.definition_id).await?.ok_or_else(|| missing(&name))?,
    };
    machine.definition_id = definition_id(&definition);
    machine.role_arn = input.role_arn.unwrap_or(machine.role_arn);
    machine.revision += 1;
    machine.updated_at = now;
    tx.save_state_machine(&machine, &definition).await?;
    tx.commit().await?;
    Ok(json!({ "updateDate": epoch(now), "revisionId": machine.revision.to_string() }))
}

/// DeleteStateMachine. One that is not there is deleted already (Step Functions). Executions go on.
pub(crate) async fn delete(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = input.machine()?;
    let mut tx = api.store.begin().await?;
    tx.delete_state_machine(name).await?;
    tx.commit().await?;
    Ok(json!({}))
}

/// DescribeStateMachine.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = input.machine()?;
    let machine = api.store.state_machine(name).await?.ok_or_else(|| missing(name))?;
    let definition = api.store.workflow_definition(&machine.definition_id).await?;
    let mut view = summary(api, &machine);
    view["definition"] = json!(definition);
    view["roleArn"] = json!(machine.role_arn);
    view["status"] = json!("ACTIVE");
    view["revisionId"] = json!(machine.revision.to_string());
    Ok(view)
}

/// DescribeStateMachineForExecution: the definition that an execution began with.
pub(crate) async fn describe_for_execution(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let arn = required("executionArn", input.execution_arn)?;
    let absent = || Error::new("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"));
    let (machine, name) = execution_of_arn(&arn).ok_or_else(absent)?;
    let execution = api.store.workflow(execution_id(machine, name)).await?.ok_or_else(absent)?;
    let definition = api.store.workflow_definition(&execution.definition_id).await?;
    Ok(json!({
        "stateMachineArn": state_machine_arn(api.account_id(), machine),
        "name": machine,
        "definition": definition,
        "roleArn": NO_ROLE,
        "updateDate": epoch(execution.started_at),
        "revisionId": execution.definition_version,
    }))
}

/// ListStateMachines.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.states_paging(input.max_results)?;
    let (machines, next) = paging.of_list(api.store.state_machines().await?, |one| one.name.clone());
    let machines: Vec<Value> = machines.iter().map(|one| summary(api, one)).collect();
    Ok(present(json!({ "stateMachines": machines, "nextToken": next })))
}

/// ValidateStateMachineDefinition.
pub(crate) async fn validate(_: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let faults = faults_of(&required("definition", input.definition)?).await;
    let diagnostics: Vec<Value> = faults
        .iter()
        .map(|fault| {
            json!({
                "severity": "ERROR",
                "code": fault.code,
                "message": fault.to_string(),
                "location": fault.path,
            })
        })
        .collect();
    let result = if diagnostics.is_empty() { "OK" } else { "FAIL" };
    Ok(json!({ "result": result, "diagnostics": diagnostics, "truncated": false }))
}

fn summary(api: &Api, machine: &StateMachine) -> Value {
    json!({
        "stateMachineArn": state_machine_arn(api.account_id(), &machine.name),
        "name": machine.name,
        "type": machine.machine_type,
        "creationDate": epoch(machine.created_at),
    })
}
