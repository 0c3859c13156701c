//! AWS-RunPatchBaselineWithHooks: patching with the operator's own documents around it.
//!
//! Rules only: how the steps are put together, and which of them run given what the earlier ones
//! found. The agent asks [`Course::skips`] before each step and tells [`Course`] what became of it.
//!
//! SSM's course: scan; the hook before; install without a restart; the hook after; restart if need
//! be; the hook at the end, whatever happened before it.

use patchwave_schemas::command::{Action, HookPhase, PatchOperation, RebootOption, RenderedDocument, Step};

use super::builtin::{PATCH_TIMEOUT_SECONDS, Values};
use super::{DocumentError, NOOP, Parameters, RUN_PATCH_BASELINE_WITH_HOOKS, find};

/// The hooks: the parameter that names each one's document, and when it runs.
pub const HOOKS: [(&str, HookPhase); 3] = [
    ("PreInstallHookDocName", HookPhase::PreInstall),
    ("PostInstallHookDocName", HookPhase::PostInstall),
    ("OnExitHookDocName", HookPhase::OnExit),
];

/// The documents that the parameters name as hooks, in the order of [`HOOKS`].
///
/// # Errors
/// [`DocumentError`] when the parameters are not as the document declares them.
pub fn hook_documents(parameters: &Parameters) -> Result<[String; 3], DocumentError> {
    let document =
        find(RUN_PATCH_BASELINE_WITH_HOOKS).ok_or_else(|| DocumentError::Unknown { name: NOOP.to_owned() })?;
    let values = Values::check(document, parameters)?;
    Ok(HOOKS.map(|(parameter, _)| values.one(parameter).to_owned()))
}

/// Puts the document together. `hooks` are those of [`hook_documents`], filled in.
///
/// # Errors
/// [`DocumentError`] when the parameters are not as the document declares them, or when a hook
/// patches itself: it would do so inside of a patching.
pub fn render_with_hooks(
    parameters: &Parameters,
    hooks: [RenderedDocument; 3],
) -> Result<RenderedDocument, DocumentError> {
    let document =
        find(RUN_PATCH_BASELINE_WITH_HOOKS).ok_or_else(|| DocumentError::Unknown { name: NOOP.to_owned() })?;
    let values = Values::check(document, parameters)?;
    for ((parameter, _), hook) in HOOKS.iter().zip(&hooks) {
        if super::needs_baseline(hook) {
            return Err(DocumentError::Parameter {
                document: document.name.to_owned(),
                parameter: (*parameter).to_owned(),
                problem: format!("`{}` patches; allowed are documents that do not", hook.name),
            });
        }
    }
    let operation = values.operation();
    let patch = |name: &str, phase, operation, reboot_option| Step {
        name: name.to_owned(),
        timeout_seconds: PATCH_TIMEOUT_SECONDS,
        action: Action::PatchBaseline {
            operation,
            reboot_option,
            // SSM's document with hooks takes neither.
            install_override_list: None,
            baseline_override: None,
        },
        phase: Some(phase),
    };
    let [before, after, exit] = hooks;
    let mut steps = vec![patch("PatchScan", HookPhase::Scan, PatchOperation::Scan, RebootOption::NoReboot)];
    if operation == PatchOperation::Install {
        let install = PatchOperation::Install;
        steps.extend(hook_steps("PreInstall", HookPhase::PreInstall, before));
        steps.push(patch("PatchInstall", HookPhase::Install, install, RebootOption::NoReboot));
        steps.extend(hook_steps("PostInstall", HookPhase::PostInstall, after));
        if values.reboot_option() == RebootOption::RebootIfNeeded {
            steps.push(patch("PatchReboot", HookPhase::Reboot, install, RebootOption::RebootIfNeeded));
        }
        steps.extend(hook_steps("OnExit", HookPhase::OnExit, exit));
    }
    Ok(RenderedDocument { name: document.name.to_owned(), version: document.version.to_owned(), steps })
}

/// The steps of a hook, under names of their own.
fn hook_steps(prefix: &str, phase: HookPhase, hook: RenderedDocument) -> impl Iterator<Item = Step> {
    hook.steps.into_iter().map(move |step| Step { name: format!("{prefix}-{}", step.name), phase: Some(phase), ..step })
}

/// What the steps so far have found and done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Course {
    /// Approved patches that the last scan found missing and that may be installed.
    pub missing: usize,
    /// Something installed waits for a restart.
    pub pending_reboot: bool,
    /// An installation was tried.
    pub installed: bool,
    /// Some step did not succeed.
    pub failed: bool,
}

impl Course {
    /// Why a step of this phase does not run, if it does not. `may_reboot` says whether the document
    /// has a step that restarts the node.
    ///
    /// Skipped steps count as successful, as in SSM; the hook at the end always runs.
    #[must_use]
    pub fn skips(&self, phase: HookPhase, may_reboot: bool) -> Option<&'static str> {
        let nothing_to_do = self.missing == 0 && !self.installed && !(self.pending_reboot && may_reboot);
        match phase {
            HookPhase::Scan | HookPhase::OnExit => None,
            _ if self.failed => Some("an earlier step failed"),
            HookPhase::PreInstall | HookPhase::Install | HookPhase::PostInstall if nothing_to_do => {
                Some("nothing is missing and no restart is due")
            }
            HookPhase::PreInstall | HookPhase::Install | HookPhase::PostInstall => None,
            HookPhase::Reboot if self.installed || self.pending_reboot => None,
            HookPhase::Reboot => Some("nothing was installed and no restart is due"),
        }
    }
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::command::HookPhase as Phase;

    use super::super::{RUN_SHELL_SCRIPT, may_reboot, render};
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect()
    }

    fn script(line: &str) -> RenderedDocument {
        render(RUN_SHELL_SCRIPT, None, &parameters(&[("commands", line)])).expect("valid")
    }

    fn noop() -> RenderedDocument {
        render(NOOP, None, &Parameters::new()).expect("valid")
    }

    fn names(document: &RenderedDocument) -> Vec<&str> {
        document.steps.iter().map(|step| step.name.as_str()).collect()
    }

    #[test]
    fn installation_has_ssms_order_and_hooks_keep_their_own_steps() {
        let given = parameters(&[("Operation", "Install")]);
        let document = render_with_hooks(&given, [script("a"), script("b"), script("c")]).expect("valid");
        assert_eq!(
            names(&document),
            [
                "PatchScan",
                "PreInstall-runShellScript",
                "PatchInstall",
                "PostInstall-runShellScript",
                "PatchReboot",
                "OnExit-runShellScript",
            ]
        );
        // It is the step for restarting that restarts, and no other.
        let options: Vec<_> = document
            .steps
            .iter()
            .filter_map(|step| match step.action {
                Action::PatchBaseline { reboot_option, .. } => Some(reboot_option),
                Action::RunShellScript { .. } => None,
            })
            .collect();
        assert_eq!(options, [RebootOption::NoReboot, RebootOption::NoReboot, RebootOption::RebootIfNeeded]);
    }

    #[test]
    fn without_restarts_there_is_no_step_for_them_and_without_hooks_none_for_those() {
        let given = parameters(&[("Operation", "Install"), ("RebootOption", "NoReboot")]);
        let document = render_with_hooks(&given, [noop(), noop(), noop()]).expect("valid");
        assert_eq!(names(&document), ["PatchScan", "PatchInstall"]);
        assert!(!may_reboot(&document));
    }

    #[test]
    fn scan_is_all_that_a_scan_does() {
        let document =
            render_with_hooks(&parameters(&[("Operation", "Scan")]), [script("a"), script("b"), script("c")]);
        assert_eq!(names(&document.expect("valid")), ["PatchScan"]);
    }

    #[test]
    fn hook_that_patches_is_refused() {
        let patching = render(super::super::RUN_PATCH_BASELINE, None, &parameters(&[("Operation", "Scan")]));
        let error =
            render_with_hooks(&parameters(&[("Operation", "Install")]), [noop(), patching.expect("valid"), noop()])
                .expect_err("refused")
                .to_string();
        assert!(error.contains("PostInstallHookDocName") && error.contains("AWS-RunPatchBaseline"), "{error}");
    }

    #[test]
    fn hooks_are_named_by_their_parameters_and_nothing_by_default() {
        let given = parameters(&[("Operation", "Install"), ("PreInstallHookDocName", "Drain")]);
        assert_eq!(hook_documents(&given).expect("valid"), ["Drain", NOOP, NOOP].map(str::to_owned));
    }

    #[test]
    fn course_follows_ssms_decisions() {
        let found = Course { missing: 3, ..Course::default() };
        let nothing = Course::default();
        let pending = Course { pending_reboot: true, ..nothing };
        let installed = Course { installed: true, ..nothing };
        let failed = Course { failed: true, ..found };
        // Course, whether restarts are allowed, and the phases that run.
        for (course, may_reboot, runs) in [
            (found, true, &[Phase::Scan, Phase::PreInstall, Phase::Install, Phase::PostInstall, Phase::OnExit][..]),
            (nothing, true, &[Phase::Scan, Phase::OnExit]),
            (pending, false, &[Phase::Scan, Phase::Reboot, Phase::OnExit]),
            (
                pending,
                true,
                &[Phase::Scan, Phase::PreInstall, Phase::Install, Phase::PostInstall, Phase::Reboot, Phase::OnExit],
            ),
            (
                installed,
                true,
                &[Phase::Scan, Phase::PreInstall, Phase::Install, Phase::PostInstall, Phase::Reboot, Phase::OnExit],
            ),
            (failed, true, &[Phase::Scan, Phase::OnExit]),
        ] {
            let all =
                [Phase::Scan, Phase::PreInstall, Phase::Install, Phase::PostInstall, Phase::Reboot, Phase::OnExit];
            let seen: Vec<_> = all.into_iter().filter(|phase| course.skips(*phase, may_reboot).is_none()).collect();
            assert_eq!(seen, runs, "{course:?} {may_reboot}");
        }
    }
}
