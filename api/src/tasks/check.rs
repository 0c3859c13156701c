//! What a task must be before it is stored: by itself, and beside its window.

use patchwave_engine::limits::Limit;
use patchwave_platform::store::windows::{Window, WindowTarget, WindowTask};
use patchwave_schemas::NodeId;

use super::{LAMBDA, RUN_COMMAND, STEP_FUNCTIONS};
use crate::wire::Error;

/// Ids that the targets of one task may name (observed with SSM).
const TARGET_IDS_MAX: usize = 10;

/// What can be said of a task by itself.
pub(super) fn alone(task: &WindowTask) -> Result<(), Error> {
    if ![RUN_COMMAND, LAMBDA, STEP_FUNCTIONS].contains(&task.task_type.as_str()) {
        return Err(Error::validation(format!(
            "TaskType is `{}`, which Patchwave does not carry out yet; allowed are {RUN_COMMAND}, {LAMBDA} and {STEP_FUNCTIONS}",
            task.task_type
        )));
    }
    if let Some(text) = &task.max_concurrency {
        Limit::concurrency(text).map_err(|error| Error::validation(error.to_string()))?;
    }
    if let Some(text) = &task.max_errors {
        Limit::errors(text).map_err(|error| Error::validation(error.to_string()))?;
    }
    let ids: usize = task.targets.iter().map(|target| target.values.len()).sum();
    let least = usize::from(task.task_type == RUN_COMMAND);
    if !(least..=TARGET_IDS_MAX).contains(&ids) {
        return Err(Error::validation(format!(
            "Targets names {ids} ids; allowed are 1 to 10. The maximum number of window targets is 10"
        )));
    }
    match task.targets.iter().find(|target| !["WindowTargetIds", "InstanceIds"].contains(&target.key.as_str())) {
        Some(target) => Err(Error::validation(format!(
            "Targets has the key `{}`; allowed are WindowTargetIds and InstanceIds",
            target.key
        ))),
        None => Ok(()),
    }
}

/// What can be said of a task beside its window.
pub(super) fn beside_window(task: &WindowTask, window: &Window, registered: &[WindowTarget]) -> Result<(), Error> {
    for target in &task.targets {
        if target.key == "InstanceIds" {
            if !window.allow_unassociated_targets {
                return Err(Error::validation(format!(
                    "Targets has the key `InstanceIds`; allowed is WindowTargetIds, because \
                     AllowUnassociatedTargets of maintenance window {} is false",
                    window.window_id
                )));
            }
            for value in &target.values {
                value.parse::<NodeId>().map_err(|error| Error::validation(error.to_string()))?;
            }
            continue;
        }
        let is_registered =
            |value: &String| registered.iter().any(|target| target.window_target_id.to_string() == *value);
        if let Some(value) = target.values.iter().find(|value| !is_registered(value)) {
            return Err(Error::does_not_exist(format_args!(
                "target {value} of maintenance window {}",
                window.window_id
            )));
        }
    }
    Ok(())
}
