//! The register of operations: which there are, and the file of each.
//!
//! What a request must look like is not said here: `model` has checked it before a handler runs.

use patchwave_engine::access::Class;
use serde_json::Value;

use crate::wire::{Error, Request};
use crate::{
    Api, access_keys, activations, approvals, audit_log, baseline_preview, baselines, calendars, commands, compliance,
    compliance_report, cves, dead_letters, documents, executions, explain, functions, group_compliance, inventory,
    invocations, model, node_properties, nodes, notifications, patch_groups, patch_now, patch_states, patches,
    resource_groups, rollout_plans, settings, signing_keys, start, state_executions, state_machines, tags, targets,
    task_tokens, tasks, windows, without_effect,
};

/// Makes, for each service, the list of its operations and the function that picks the handler.
///
/// A line is `"Name": Class => handler`. The class says who may call it, see
/// [`patchwave_engine::access::Class`]: `Read` for what speaks of no node, `FleetRead` for what
/// names nodes, or shows what they reported or what happened on them, `Change`, `AdminRead` and `Admin`. `NodeRead` and
/// `NodeChange` are for handlers that look at the caller's policy themselves (see `policy`); when
/// in doubt it is one of the others, which are refused to keys with a policy.
macro_rules! register {
    ($($service:ident { $($name:literal: $class:ident => $handler:path,)* })*) => {
        /// Every operation, as `X-Amz-Target` has it.
        #[cfg(test)]
        pub(crate) const REGISTER: &[(&str, &[&str])] = &[$((stringify!($service), &[$($name),*])),*];

        /// What each operation does, as far as the right to call it goes.
        const CLASSES: &[(&str, &[(&str, Class)])] =
            &[$((stringify!($service), &[$(($name, Class::$class)),*])),*];

        $(async fn $service(api: &Api, request: &Request) -> Result<Value, Error> {
            match request.operation() {
                $($name => $handler(api, request).await,)*
                other => Err(model::not_served(request.service(), other)),
            }
        })*
    };
}

/// What the operation of a request does, as far as the right to call it goes.
///
/// # Errors
/// `UnknownOperationException`.
pub(crate) fn class(request: &Request) -> Result<Class, Error> {
    let service = match request.service() {
        "AmazonSSM" => "ssm",
        "AWSStepFunctions" => "states",
        "Patchwave" => "patchwave",
        other => {
            return Err(Error::new(
                "UnknownOperationException",
                format!(
                    "service `{other}` in X-Amz-Target is unknown; allowed are AmazonSSM, AWSStepFunctions and Patchwave"
                ),
            ));
        }
    };
    let known = CLASSES.iter().filter(|(one, _)| *one == service).flat_map(|(_, operations)| *operations);
    let found = known.into_iter().find(|(name, _)| *name == request.operation()).map(|(_, class)| *class);
    found.ok_or_else(|| model::not_served(request.service(), request.operation()))
}

/// Answers a request by its operation.
pub(crate) async fn dispatch(api: &Api, request: &Request) -> Result<Value, Error> {
    match request.service() {
        "AmazonSSM" => {
            without_effect::refuse(request)?;
            ssm(api, request).await
        }
        "AWSStepFunctions" => states(api, request).await,
        _ => patchwave(api, request).await,
    }
}

register! {
    // SSM's operations.
    ssm {
        "CreateMaintenanceWindow": Change => windows::create::handle,
        "GetMaintenanceWindow": Read => windows::get::handle,
        "UpdateMaintenanceWindow": Change => windows::update::handle,
        "DeleteMaintenanceWindow": Change => windows::delete::handle,
        "DescribeMaintenanceWindows": Read => windows::describe::handle,
        "DescribeMaintenanceWindowSchedule": NodeRead => windows::schedule::handle,
        "DescribeMaintenanceWindowsForTarget": NodeRead => windows::for_target::handle,

        "RegisterTargetWithMaintenanceWindow": Change => targets::register,
        "UpdateMaintenanceWindowTarget": Change => targets::update,
        "DeregisterTargetFromMaintenanceWindow": Change => targets::deregister,
        "DescribeMaintenanceWindowTargets": FleetRead => targets::describe,

        "RegisterTaskWithMaintenanceWindow": Change => tasks::register,
        "GetMaintenanceWindowTask": FleetRead => tasks::get,
        "UpdateMaintenanceWindowTask": Change => tasks::update,
        "DeregisterTaskFromMaintenanceWindow": Change => tasks::deregister,
        "DescribeMaintenanceWindowTasks": FleetRead => tasks::describe,

        "DescribeMaintenanceWindowExecutions": FleetRead => executions::describe,
        "GetMaintenanceWindowExecution": FleetRead => executions::get,
        "DescribeMaintenanceWindowExecutionTasks": FleetRead => executions::describe_tasks,
        "GetMaintenanceWindowExecutionTask": FleetRead => executions::get_task,
        "DescribeMaintenanceWindowExecutionTaskInvocations": FleetRead => executions::describe_invocations,
        "GetMaintenanceWindowExecutionTaskInvocation": FleetRead => executions::get_invocation,
        "CancelMaintenanceWindowExecution": Change => executions::cancel,

        "CreatePatchBaseline": Change => baselines::create,
        "GetPatchBaseline": Read => baselines::get,
        "UpdatePatchBaseline": Change => baselines::update,
        "DeletePatchBaseline": Change => baselines::delete,
        "DescribePatchBaselines": Read => baselines::describe,
        "RegisterDefaultPatchBaseline": Change => baselines::register_default,
        "GetDefaultPatchBaseline": Read => baselines::get_default,

        "RegisterPatchBaselineForPatchGroup": Change => patch_groups::register,
        "DeregisterPatchBaselineForPatchGroup": Change => patch_groups::deregister,
        "GetPatchBaselineForPatchGroup": Read => patch_groups::baseline,
        "DescribePatchGroups": Read => patch_groups::describe,
        "DescribePatchGroupState": FleetRead => patch_groups::state,

        "DescribeInstancePatchStates": NodeRead => patch_states::of_nodes,
        "DescribeInstancePatchStatesForPatchGroup": NodeRead => patch_states::of_group,
        "DescribeInstancePatches": NodeRead => patch_states::patches,
        "DescribeInstanceInformation": NodeRead => nodes::describe,
        "DescribeInstanceProperties": NodeRead => node_properties::describe,

        "CreateActivation": Admin => activations::create,
        "DescribeActivations": AdminRead => activations::describe,
        "DeleteActivation": Admin => activations::delete,
        "DeregisterManagedInstance": Admin => activations::deregister_node,
        "UpdateManagedInstanceRole": Admin => activations::update_role,

        "SendCommand": NodeChange => commands::send,
        "CancelCommand": NodeChange => commands::cancel,
        "ListCommands": FleetRead => commands::list,
        "ListCommandInvocations": NodeRead => invocations::list,
        "GetCommandInvocation": NodeRead => invocations::get,

        "CreateDocument": Change => documents::create,
        "UpdateDocument": Change => documents::update,
        "UpdateDocumentDefaultVersion": Change => documents::set_default,
        "DescribeDocument": Read => documents::describe,
        "GetDocument": Read => documents::get,
        "ListDocuments": Read => documents::list,
        "ListDocumentVersions": Read => documents::list_versions,
        "DeleteDocument": Change => documents::delete,
        "GetCalendarState": Read => calendars::state,
        "DescribeDocumentPermission": Read => documents::describe_permission,
        "ModifyDocumentPermission": Change => documents::modify_permission,

        "DescribeAvailablePatches": FleetRead => patches::available,
        "DescribeEffectivePatchesForPatchBaseline": FleetRead => patches::effective,
        "DescribePatchProperties": FleetRead => patches::properties,

        "PutInventory": Change => inventory::put,
        "GetInventory": FleetRead => inventory::get,
        "ListInventoryEntries": FleetRead => inventory::entries,
        "GetInventorySchema": FleetRead => inventory::schemas,
        "DeleteInventory": Change => inventory::delete,

        "PutComplianceItems": Change => compliance::put,
        "ListComplianceItems": FleetRead => compliance::list_items,
        "ListComplianceSummaries": FleetRead => compliance::list_types,
        "ListResourceComplianceSummaries": FleetRead => compliance::list_resources,

        "GetServiceSetting": Read => settings::get,
        "UpdateServiceSetting": Admin => settings::update,
        "ResetServiceSetting": Admin => settings::reset,

        "AddTagsToResource": Change => tags::add,
        "RemoveTagsFromResource": Change => tags::remove,
        "ListTagsForResource": NodeRead => tags::list,
    }

    // Step Functions'.
    states {
        "CreateStateMachine": Change => state_machines::create,
        "UpdateStateMachine": Change => state_machines::update,
        "DeleteStateMachine": Change => state_machines::delete,
        "DescribeStateMachine": Read => state_machines::describe,
        "DescribeStateMachineForExecution": FleetRead => state_machines::describe_for_execution,
        "ListStateMachines": Read => state_machines::list,
        "ValidateStateMachineDefinition": Read => state_machines::validate,

        "StartExecution": Change => state_executions::start,
        "StopExecution": Change => state_executions::stop,
        "DescribeExecution": FleetRead => state_executions::describe,
        "ListExecutions": FleetRead => state_executions::list,
        "GetExecutionHistory": FleetRead => state_executions::history,

        "SendTaskSuccess": Change => task_tokens::success,
        "SendTaskFailure": Change => task_tokens::failure,
        "SendTaskHeartbeat": Change => task_tokens::heartbeat,
    }

    // Our own.
    patchwave {
        "StartMaintenanceWindow": Change => start::handle,
        "PatchNow": NodeChange => patch_now::handle,
        "GetRollout": FleetRead => commands::rollout,
        "ExplainPatch": NodeRead => explain::handle,
        "ListGroupCompliance": NodeRead => group_compliance::list,
        "GetComplianceReport": FleetRead => compliance_report::get,
        "ExportComplianceReport": Change => compliance_report::export,
        "ListComplianceHistory": FleetRead => group_compliance::history,
        "ListCveNodes": FleetRead => cves::nodes,
        "ListNodeCves": FleetRead => cves::of_node,

        "PutFunction": Admin => functions::put,
        "DeleteFunction": Admin => functions::delete,
        "ListFunctions": Read => functions::list,

        "SignalApproval": Change => approvals::signal,
        "CreateRolloutPlan": Change => rollout_plans::create,
        "DeleteRolloutPlan": Change => rollout_plans::delete,
        "ListRolloutPlans": Read => rollout_plans::list,

        "ListSigningKeys": AdminRead => signing_keys::list,
        "RotateSigningKey": Admin => signing_keys::rotate,
        "RetireSigningKey": Admin => signing_keys::retire,

        "CreateResourceGroup": Change => resource_groups::create,
        "DeleteResourceGroup": Change => resource_groups::delete,
        "ListResourceGroups": Read => resource_groups::list,

        "ListNotifications": FleetRead => notifications::list,
        "ListDeadLetters": FleetRead => dead_letters::list,
        "GetDeadLetter": FleetRead => dead_letters::get,
        "ReplayDeadLetter": Change => dead_letters::replay,
        "DropDeadLetter": Change => dead_letters::drop_letter,

        "CreateAccessKey": Admin => access_keys::create,
        "ListAccessKeys": AdminRead => access_keys::list,
        "UpdateAccessKey": Admin => access_keys::update,
        "DeleteAccessKey": Admin => access_keys::delete,

        "PreviewPatchBaseline": FleetRead => baseline_preview::preview,

        "ListAuditEntries": AdminRead => audit_log::list,
        "VerifyAudit": AdminRead => audit_log::verify,
    }
}
