//! Targets registered with a maintenance window.

use jiff::Timestamp;
use patchwave_engine::targets::TargetSpec;
use patchwave_platform::store::windows::WindowTarget;
use patchwave_schemas::event::Target;
use patchwave_schemas::{WindowId, WindowTargetId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wire::{Error, Filter, Request, check_filters, id, present, required};
use crate::{Api, windows};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    window_id: Option<String>,
    window_target_id: Option<String>,
    resource_type: Option<String>,
    targets: Option<Vec<Target>>,
    owner_information: Option<String>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    safe: bool,
    #[serde(default)]
    filters: Vec<Filter>,
}

impl Input {
    fn window_id(&self) -> Result<WindowId, Error> {
        id("windowId", self.window_id.as_deref())
    }

    fn window_target_id(&self) -> Result<WindowTargetId, Error> {
        id("windowTargetId", self.window_target_id.as_deref())
    }
}

/// RegisterTargetWithMaintenanceWindow.
pub(crate) async fn register(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let now = Timestamp::now();
    let target = WindowTarget {
        window_target_id: WindowTargetId::random(),
        window_id: input.window_id()?,
        resource_type: required("resourceType", input.resource_type)?,
        targets: required("targets", input.targets)?,
        owner_information: input.owner_information,
        name: input.name,
        description: input.description,
    };
    check(&target)?;
    let response = json!({ "WindowTargetId": target.window_target_id });
    let mut tx = api.store.begin().await?;
    if let Some(earlier) = request.repeated(&mut tx, &response, now).await? {
        return Ok(earlier);
    }
    tx.lock_window(&target.window_id).await?.ok_or_else(|| windows::missing(&target.window_id))?;
    tx.put_window_target(&target, now).await?;
    tx.commit().await?;
    Ok(response)
}

/// UpdateMaintenanceWindowTarget.
pub(crate) async fn update(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let (window_id, target_id) = (input.window_id()?, input.window_target_id()?);
    let mut tx = api.store.begin().await?;
    tx.lock_window(&window_id).await?.ok_or_else(|| windows::missing(&window_id))?;
    let (targets, _) = tx.window_registrations(&window_id).await?;
    let mut target = targets
        .into_iter()
        .find(|target| target.window_target_id == target_id)
        .ok_or_else(|| missing(target_id, &window_id))?;
    if input.replace {
        target.targets = required("targets", input.targets)?;
        target.owner_information = input.owner_information;
        target.name = input.name;
        target.description = input.description;
    } else {
        target.targets = input.targets.unwrap_or(target.targets);
        target.owner_information = input.owner_information.or(target.owner_information);
        target.name = input.name.or(target.name);
        target.description = input.description.or(target.description);
    }
    check(&target)?;
    tx.put_window_target(&target, Timestamp::now()).await?;
    tx.commit().await?;
    let mut view = view(&target);
    view["ResourceType"] = Value::Null;
    Ok(present(view))
}

/// DeregisterTargetFromMaintenanceWindow.
pub(crate) async fn deregister(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let (window_id, target_id) = (input.window_id()?, input.window_target_id()?);
    let mut tx = api.store.begin().await?;
    tx.lock_window(&window_id).await?.ok_or_else(|| windows::missing(&window_id))?;
    let (targets, tasks) = tx.window_registrations(&window_id).await?;
    if !targets.iter().any(|target| target.window_target_id == target_id) {
        return Err(missing(target_id, &window_id));
    }
    if input.safe {
        let names_it = |target: &Target| {
            target.key == "WindowTargetIds" && target.values.iter().any(|value| *value == target_id.to_string())
        };
        if let Some(task) = tasks.iter().find(|task| task.targets.iter().any(names_it)) {
            let message = format!("window target {target_id} is used by task {}", task.window_task_id);
            return Err(Error::new("TargetInUseException", message));
        }
    }
    tx.delete_window_target(target_id).await?;
    tx.commit().await?;
    Ok(json!({ "WindowId": window_id, "WindowTargetId": target_id }))
}

/// DescribeMaintenanceWindowTargets.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let window_id = input.window_id()?;
    let paging = request.paging(10..=100)?;
    check_filters(&input.filters, &["Type", "WindowTargetId", "OwnerInformation"])?;
    windows::existing(api, &window_id).await?;
    let mut targets = api.store.window_targets(Some(&window_id)).await?;
    targets.retain(|target| input.filters.iter().all(|filter| passes(target, filter)));
    let (targets, next) = paging.of_list(targets, |target| target.window_target_id.to_string());
    let targets: Vec<Value> = targets.iter().map(|target| present(view(target))).collect();
    Ok(present(json!({ "Targets": targets, "NextToken": next })))
}

fn passes(target: &WindowTarget, filter: &Filter) -> bool {
    match filter.key.as_str() {
        "Type" => filter.accepts(&target.resource_type),
        "WindowTargetId" => filter.accepts(&target.window_target_id.to_string()),
        _ => target.owner_information.as_ref().is_some_and(|owner| filter.accepts(owner)),
    }
}

fn check(target: &WindowTarget) -> Result<(), Error> {
    let spec = TargetSpec::parse(&target.targets).map_err(|error| Error::validation(error.to_string()))?;
    let names_group = spec.group_names().next().is_some();
    if names_group != (target.resource_type == "RESOURCE_GROUP") {
        return Err(Error::validation(format!(
            "ResourceType is `{}`; allowed is RESOURCE_GROUP with a `resource-groups:Name` target, \
             INSTANCE with any other",
            target.resource_type
        )));
    }
    Ok(())
}

fn missing(target_id: WindowTargetId, window_id: &WindowId) -> Error {
    Error::does_not_exist(format_args!("target {target_id} of maintenance window {window_id}"))
}

fn view(target: &WindowTarget) -> Value {
    json!({
        "WindowId": target.window_id,
        "WindowTargetId": target.window_target_id,
        "ResourceType": target.resource_type,
        "Targets": target.targets,
        "OwnerInformation": target.owner_information,
        "Name": target.name,
        "Description": target.description,
    })
}
