//! The register of operations: which there are, and the file of each.
//!
//! What a request must look like is not said here: `model` has checked it before a handler runs.

use serde_json::Value;

use crate::wire::{Error, Request};
use crate::{
    Api, baselines, commands, dead_letters, documents, executions, invocations, model, nodes, notifications,
    patch_groups, patch_states, resource_groups, start, tags, targets, tasks, windows,
};

/// Makes, for each service, the list of its operations and the function that picks the handler.
macro_rules! register {
    ($($service:ident { $($name:literal => $handler:path,)* })*) => {
        /// Every operation, as `X-Amz-Target` has it.
        #[cfg(test)]
        pub(crate) const REGISTER: &[(&str, &[&str])] = &[$((stringify!($service), &[$($name),*])),*];

        $(async fn $service(api: &Api, request: &Request) -> Result<Value, Error> {
            match request.operation() {
                $($name => $handler(api, request).await,)*
                other => Err(model::not_served(other)),
            }
        })*
    };
}

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

register! {
    // SSM's operations.
    ssm {
        "CreateMaintenanceWindow" => windows::create::handle,
        "GetMaintenanceWindow" => windows::get::handle,
        "UpdateMaintenanceWindow" => windows::update::handle,
        "DeleteMaintenanceWindow" => windows::delete::handle,
        "DescribeMaintenanceWindows" => windows::describe::handle,
        "DescribeMaintenanceWindowSchedule" => windows::schedule::handle,
        "DescribeMaintenanceWindowsForTarget" => windows::for_target::handle,

        "RegisterTargetWithMaintenanceWindow" => targets::register,
        "UpdateMaintenanceWindowTarget" => targets::update,
        "DeregisterTargetFromMaintenanceWindow" => targets::deregister,
        "DescribeMaintenanceWindowTargets" => targets::describe,

        "RegisterTaskWithMaintenanceWindow" => tasks::register,
        "GetMaintenanceWindowTask" => tasks::get,
        "UpdateMaintenanceWindowTask" => tasks::update,
        "DeregisterTaskFromMaintenanceWindow" => tasks::deregister,
        "DescribeMaintenanceWindowTasks" => tasks::describe,

        "DescribeMaintenanceWindowExecutions" => executions::describe,
        "GetMaintenanceWindowExecution" => executions::get,
        "DescribeMaintenanceWindowExecutionTasks" => executions::describe_tasks,
        "GetMaintenanceWindowExecutionTask" => executions::get_task,
        "DescribeMaintenanceWindowExecutionTaskInvocations" => executions::describe_invocations,
        "GetMaintenanceWindowExecutionTaskInvocation" => executions::get_invocation,
        "CancelMaintenanceWindowExecution" => executions::cancel,

        "CreatePatchBaseline" => baselines::create,
        "GetPatchBaseline" => baselines::get,
        "UpdatePatchBaseline" => baselines::update,
        "DeletePatchBaseline" => baselines::delete,
        "DescribePatchBaselines" => baselines::describe,
        "RegisterDefaultPatchBaseline" => baselines::register_default,
        "GetDefaultPatchBaseline" => baselines::get_default,

        "RegisterPatchBaselineForPatchGroup" => patch_groups::register,
        "DeregisterPatchBaselineForPatchGroup" => patch_groups::deregister,
        "GetPatchBaselineForPatchGroup" => patch_groups::baseline,
        "DescribePatchGroups" => patch_groups::describe,
        "DescribePatchGroupState" => patch_groups::state,

        "DescribeInstancePatchStates" => patch_states::of_nodes,
        "DescribeInstancePatchStatesForPatchGroup" => patch_states::of_group,
        "DescribeInstancePatches" => patch_states::patches,
        "DescribeInstanceInformation" => nodes::describe,

        "SendCommand" => commands::send,
        "CancelCommand" => commands::cancel,
        "ListCommands" => commands::list,
        "ListCommandInvocations" => invocations::list,
        "GetCommandInvocation" => invocations::get,

        "ListDocuments" => documents::list,
        "DescribeDocument" => documents::describe,
        "GetDocument" => documents::get,

        "AddTagsToResource" => tags::add,
        "RemoveTagsFromResource" => tags::remove,
        "ListTagsForResource" => tags::list,
    }

    // Our own.
    patchwave {
        "StartMaintenanceWindow" => start::handle,
        "GetRollout" => commands::rollout,

        "CreateResourceGroup" => resource_groups::create,
        "DeleteResourceGroup" => resource_groups::delete,
        "ListResourceGroups" => resource_groups::list,

        "ListNotifications" => notifications::list,
        "ListDeadLetters" => dead_letters::list,
        "GetDeadLetter" => dead_letters::get,
        "ReplayDeadLetter" => dead_letters::replay,
        "DropDeadLetter" => dead_letters::drop_letter,
    }
}
