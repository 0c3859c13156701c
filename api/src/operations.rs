//! The register of operations: which there are, and the file of each.

use serde_json::Value;

use crate::wire::{Error, Request};
use crate::{
    Api, baselines, commands, dead_letters, documents, executions, invocations, nodes, notifications, patch_groups,
    patch_states, resource_groups, start, tags, targets, tasks, windows,
};

/// Answers a request by its operation.
pub(crate) async fn dispatch(api: &Api, request: Request) -> Result<Value, Error> {
    match request.service() {
        "AmazonSSM" => ssm(api, &request).await,
        "Patchwave" => patchwave(api, &request).await,
        other => Err(Error::new(
            "UnknownOperationException",
            format!("service `{other}` in X-Amz-Target is unknown; allowed are AmazonSSM and Patchwave"),
        )),
    }
}

/// SSM's operations.
async fn ssm(api: &Api, request: &Request) -> Result<Value, Error> {
    match request.operation() {
        "CreateMaintenanceWindow" => windows::create::handle(api, request).await,
        "GetMaintenanceWindow" => windows::get::handle(api, request).await,
        "UpdateMaintenanceWindow" => windows::update::handle(api, request).await,
        "DeleteMaintenanceWindow" => windows::delete::handle(api, request).await,
        "DescribeMaintenanceWindows" => windows::describe::handle(api, request).await,
        "DescribeMaintenanceWindowSchedule" => windows::schedule::handle(api, request).await,
        "DescribeMaintenanceWindowsForTarget" => windows::for_target::handle(api, request).await,

        "RegisterTargetWithMaintenanceWindow" => targets::register(api, request).await,
        "UpdateMaintenanceWindowTarget" => targets::update(api, request).await,
        "DeregisterTargetFromMaintenanceWindow" => targets::deregister(api, request).await,
        "DescribeMaintenanceWindowTargets" => targets::describe(api, request).await,

        "RegisterTaskWithMaintenanceWindow" => tasks::register(api, request).await,
        "GetMaintenanceWindowTask" => tasks::get(api, request).await,
        "UpdateMaintenanceWindowTask" => tasks::update(api, request).await,
        "DeregisterTaskFromMaintenanceWindow" => tasks::deregister(api, request).await,
        "DescribeMaintenanceWindowTasks" => tasks::describe(api, request).await,

        "DescribeMaintenanceWindowExecutions" => executions::describe(api, request).await,
        "GetMaintenanceWindowExecution" => executions::get(api, request).await,
        "DescribeMaintenanceWindowExecutionTasks" => executions::describe_tasks(api, request).await,
        "GetMaintenanceWindowExecutionTask" => executions::get_task(api, request).await,
        "DescribeMaintenanceWindowExecutionTaskInvocations" => executions::describe_invocations(api, request).await,
        "GetMaintenanceWindowExecutionTaskInvocation" => executions::get_invocation(api, request).await,
        "CancelMaintenanceWindowExecution" => executions::cancel(api, request).await,

        "CreatePatchBaseline" => baselines::create(api, request).await,
        "GetPatchBaseline" => baselines::get(api, request).await,
        "UpdatePatchBaseline" => baselines::update(api, request).await,
        "DeletePatchBaseline" => baselines::delete(api, request).await,
        "DescribePatchBaselines" => baselines::describe(api, request).await,
        "RegisterDefaultPatchBaseline" => baselines::register_default(api, request).await,
        "GetDefaultPatchBaseline" => baselines::get_default(api, request).await,

        "RegisterPatchBaselineForPatchGroup" => patch_groups::register(api, request).await,
        "DeregisterPatchBaselineForPatchGroup" => patch_groups::deregister(api, request).await,
        "GetPatchBaselineForPatchGroup" => patch_groups::baseline(api, request).await,
        "DescribePatchGroups" => patch_groups::describe(api, request).await,
        "DescribePatchGroupState" => patch_groups::state(api, request).await,

        "DescribeInstancePatchStates" => patch_states::of_nodes(api, request).await,
        "DescribeInstancePatchStatesForPatchGroup" => patch_states::of_group(api, request).await,
        "DescribeInstancePatches" => patch_states::patches(api, request).await,
        "DescribeInstanceInformation" => nodes::describe(api, request).await,

        "SendCommand" => commands::send(api, request).await,
        "CancelCommand" => commands::cancel(api, request).await,
        "ListCommands" => commands::list(api, request).await,
        "ListCommandInvocations" => invocations::list(api, request).await,
        "GetCommandInvocation" => invocations::get(api, request).await,

        "ListDocuments" => documents::list(request),
        "DescribeDocument" => documents::describe(request),
        "GetDocument" => documents::get(request),

        "AddTagsToResource" => tags::add(api, request).await,
        "RemoveTagsFromResource" => tags::remove(api, request).await,
        "ListTagsForResource" => tags::list(api, request).await,

        other => Err(unknown(other)),
    }
}

/// Our own operations.
async fn patchwave(api: &Api, request: &Request) -> Result<Value, Error> {
    match request.operation() {
        "StartMaintenanceWindow" => start::handle(api, request).await,
        "GetRollout" => commands::rollout(api, request).await,

        "CreateResourceGroup" => resource_groups::create(api, request).await,
        "DeleteResourceGroup" => resource_groups::delete(api, request).await,
        "ListResourceGroups" => resource_groups::list(api, request).await,

        "ListNotifications" => notifications::list(api, request).await,
        "ListDeadLetters" => dead_letters::list(api, request).await,
        "GetDeadLetter" => dead_letters::get(api, request).await,
        "ReplayDeadLetter" => dead_letters::replay(api, request).await,
        "DropDeadLetter" => dead_letters::drop_letter(api, request).await,

        other => Err(unknown(other)),
    }
}

fn unknown(operation: &str) -> Error {
    Error::new("UnknownOperationException", format!("operation `{operation}` is not implemented"))
}
