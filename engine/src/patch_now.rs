//! Patch Now: from "patch these nodes" to the command that does it, with SSM's rate control.
//!
//! Pure. Says which document runs with which parameters, and how many nodes may be at work and
//! fail, by the size of the fleet; resolving targets and storing the command is the platform's.

use patchwave_schemas::command::{PatchOperation, RebootOption};
use patchwave_schemas::event::{CommandRequested, Target};
use patchwave_schemas::patch_now::PatchRequested;

use crate::documents::{self, Parameters};
use crate::limits::Limit;

/// The value of a target `InstanceIds` that stands for every node, as SSM's Patch now writes it.
pub const EVERY_NODE: &str = "*";

/// How many nodes may be at work and how many may fail, when the caller does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `MaxConcurrency`.
    pub concurrency: Limit,
    /// `MaxErrors`.
    pub errors: Limit,
    /// For people: by which rule.
    pub why: &'static str,
}

/// SSM's rate control of Patch now: Scan is 1000/1000, Install goes by the number of nodes.
#[must_use]
pub const fn limits(operation: PatchOperation, nodes: u32) -> Limits {
    let (concurrency, errors, why) = match (operation, nodes) {
        (PatchOperation::Scan, _) => (Limit::Count(1_000), 1_000, "a scan changes nothing"),
        (PatchOperation::Install, 0..=24) => (Limit::Count(1), 1, "an installation on fewer than 25 nodes"),
        (PatchOperation::Install, 25..=100) => (Limit::Percent(5), 5, "an installation on 25 to 100 nodes"),
        (PatchOperation::Install, 101..=1_000) => (Limit::Percent(8), 10, "an installation on 101 to 1000 nodes"),
        (PatchOperation::Install, _) => (Limit::Percent(10), 10, "an installation on more than 1000 nodes"),
    };
    Limits { concurrency, errors: Limit::Count(errors), why }
}

/// A request that cannot be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is `{value}`; allowed is {allowed}")]
pub struct PatchNowError {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What would have been accepted.
    pub allowed: &'static str,
}

/// The command that patches: without limits where the caller gave none, as these go by the number
/// of nodes that the targets turn out to be.
///
/// # Errors
/// [`PatchNowError`] for targets that say both all and some nodes, and for hooks that cannot run.
pub fn command(asked: &PatchRequested) -> Result<CommandRequested, PatchNowError> {
    let (document, mut parameters) = document(asked)?;
    let operation = match asked.operation {
        PatchOperation::Scan => "Scan",
        PatchOperation::Install => "Install",
    };
    parameters.insert("Operation".to_owned(), vec![operation.to_owned()]);
    if let Some(option) = asked.reboot_option {
        let text = match option {
            RebootOption::RebootIfNeeded => "RebootIfNeeded",
            RebootOption::NoReboot => "NoReboot",
        };
        parameters.insert("RebootOption".to_owned(), vec![text.to_owned()]);
    }
    let targets = match (asked.all_nodes, asked.targets.is_empty() && asked.instance_ids.is_empty()) {
        (true, true) => vec![Target { key: "InstanceIds".to_owned(), values: vec![EVERY_NODE.to_owned()] }],
        (true, false) => {
            let allowed = "AllNodes alone, or Targets or InstanceIds without it";
            return Err(PatchNowError { field: "AllNodes", value: "true".to_owned(), allowed });
        }
        (false, _) => asked.targets.clone(),
    };
    Ok(CommandRequested {
        document_name: document.to_owned(),
        document_version: None,
        instance_ids: asked.instance_ids.clone(),
        targets,
        parameters,
        max_concurrency: asked.max_concurrency.clone(),
        max_errors: asked.max_errors.clone(),
        error_mode: asked.error_mode,
        timeout_seconds: asked.timeout_seconds,
        comment: asked.comment.clone(),
        notification_config: asked.notification_config.clone(),
        rollout_plan: asked.rollout_plan.clone(),
        waves: asked.waves.clone(),
    })
}

/// Which document runs, with the hooks among its parameters.
fn document(asked: &PatchRequested) -> Result<(&'static str, Parameters), PatchNowError> {
    let hooks: Parameters = [
        ("PreInstallHookDocName", &asked.pre_install_hook_doc_name),
        ("PostInstallHookDocName", &asked.post_install_hook_doc_name),
        ("OnExitHookDocName", &asked.on_exit_hook_doc_name),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), vec![value.clone()?])))
    .collect();
    let Some(first) = hooks.values().next().and_then(|values| values.first()) else {
        return Ok((documents::RUN_PATCH_BASELINE, hooks));
    };
    if asked.operation == PatchOperation::Scan {
        let allowed = "none with Operation Scan: hooks surround an installation";
        return Err(PatchNowError { field: "hook document", value: first.clone(), allowed });
    }
    Ok((documents::RUN_PATCH_BASELINE_WITH_HOOKS, hooks))
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::event::ErrorMode;

    use super::*;

    fn asked(operation: PatchOperation) -> PatchRequested {
        PatchRequested { operation, all_nodes: true, ..PatchRequested::default() }
    }

    #[test]
    fn limits_are_ssms_by_operation_and_fleet_size() {
        use PatchOperation::{Install, Scan};
        for (operation, nodes, concurrency, errors) in [
            (Scan, 1, "1000", "1000"),
            (Scan, 50_000, "1000", "1000"),
            (Install, 0, "1", "1"),
            (Install, 24, "1", "1"),
            (Install, 25, "5%", "5"),
            (Install, 100, "5%", "5"),
            (Install, 101, "8%", "10"),
            (Install, 1_000, "8%", "10"),
            (Install, 1_001, "10%", "10"),
            (Install, 100_000, "10%", "10"),
        ] {
            let found = limits(operation, nodes);
            let text = (found.concurrency.to_string(), found.errors.to_string());
            assert_eq!(text, (concurrency.to_owned(), errors.to_owned()), "{operation:?} on {nodes}");
        }
    }

    #[test]
    fn all_nodes_become_ssms_target_and_parameters_the_documents() {
        let request = PatchRequested {
            reboot_option: Some(RebootOption::NoReboot),
            error_mode: ErrorMode::Strict,
            max_errors: Some("3".to_owned()),
            ..asked(PatchOperation::Install)
        };
        let command = command(&request).expect("a valid request");
        assert_eq!(command.document_name, documents::RUN_PATCH_BASELINE);
        assert_eq!(command.targets, [Target { key: "InstanceIds".to_owned(), values: vec!["*".to_owned()] }]);
        assert_eq!(command.parameters["Operation"], ["Install"]);
        assert_eq!(command.parameters["RebootOption"], ["NoReboot"]);
        assert_eq!((command.max_concurrency, command.max_errors.as_deref()), (None, Some("3")));
        assert_eq!(command.error_mode, ErrorMode::Strict);
    }

    #[test]
    fn all_nodes_beside_some_are_refused() {
        let request = PatchRequested { instance_ids: vec!["mi-1".to_owned()], ..asked(PatchOperation::Scan) };
        assert_eq!(command(&request).expect_err("both").field, "AllNodes");
    }

    #[test]
    fn hooks_go_to_the_document_that_runs_them() {
        let hook = Some("before-patching".to_owned());
        let request = PatchRequested { pre_install_hook_doc_name: hook.clone(), ..asked(PatchOperation::Install) };
        let command = command(&request).expect("a valid request");
        assert_eq!(command.document_name, documents::RUN_PATCH_BASELINE_WITH_HOOKS);
        assert_eq!(command.parameters["PreInstallHookDocName"], ["before-patching"]);
        let document = documents::find(&command.document_name).expect("built in");
        for name in command.parameters.keys() {
            assert!(document.parameters.iter().any(|known| known.name == name), "{name} is none of its parameters");
        }
        let scan = PatchRequested { on_exit_hook_doc_name: hook, ..asked(PatchOperation::Scan) };
        assert!(super::command(&scan).is_err(), "a scan has no hooks");
    }
}
