//! The documents that come with the program. They have SSM's names and parameters.

use std::collections::BTreeMap;

use patchwave_schemas::command::{Action, PatchOperation, RebootOption, RenderedDocument, Step};

use super::{DOCUMENT_BYTES_MAX, DocumentError, Parameters, SCRIPT_TIMEOUT_SECONDS, bytes_of, timeout_of};

/// The patching document.
pub const RUN_PATCH_BASELINE: &str = "AWS-RunPatchBaseline";
/// The shell document.
pub const RUN_SHELL_SCRIPT: &str = "AWS-RunShellScript";
/// The patching document with documents of the operator's own around it.
pub const RUN_PATCH_BASELINE_WITH_HOOKS: &str = "AWS-RunPatchBaselineWithHooks";
/// The document that does nothing: the hook of whoever has none.
pub const NOOP: &str = "AWS-Noop";

/// Bytes of the URL of an override (SSM's value).
const URL_BYTES_MAX: usize = 256;
/// Seconds a patching step may take (SSM's value).
pub(super) const PATCH_TIMEOUT_SECONDS: u32 = 7_200;

/// A parameter of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name; case matters.
    pub name: &'static str,
    /// `String` or `StringList`.
    pub kind: &'static str,
    /// For people.
    pub description: &'static str,
    /// The value when it is not given; `None` makes it mandatory.
    pub default: Option<&'static str>,
    /// The only values allowed; empty when any is.
    pub allowed: &'static [&'static str],
}

/// A built-in document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document {
    /// Its name.
    pub name: &'static str,
    /// Its only version.
    pub version: &'static str,
    /// For people.
    pub description: &'static str,
    /// SSM's `PlatformTypes`.
    pub platform_types: &'static [&'static str],
    /// Its parameters.
    pub parameters: &'static [Parameter],
    /// Its steps, in their order.
    pub steps: &'static [StepTemplate],
}

/// What a document does, before its parameters are filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTemplate {
    /// Its name, by which results are reported.
    pub name: &'static str,
    /// SSM's plugin, or ours where the agent itself does the work.
    pub action: &'static str,
    /// What the plugin is given; `{{ name }}` stands for the parameter's value.
    pub inputs: &'static [(&'static str, &'static str)],
}

const OPERATION: Parameter = Parameter {
    name: "Operation",
    kind: "String",
    description: "Scan reports; Install installs what is approved and missing, then reports.",
    default: None,
    allowed: &["Scan", "Install"],
};
const REBOOT_OPTION: Parameter = Parameter {
    name: "RebootOption",
    kind: "String",
    description: "Whether a node may reboot when what was installed needs it.",
    default: Some("RebootIfNeeded"),
    allowed: &["RebootIfNeeded", "NoReboot"],
};
const SNAPSHOT_ID: Parameter = Parameter {
    name: "SnapshotId",
    kind: "String",
    description: "Names the frozen baseline; derived from the window execution or command when empty.",
    default: Some(""),
    allowed: &[],
};
const INSTALL_OVERRIDE_LIST: Parameter = Parameter {
    name: "InstallOverrideList",
    kind: "String",
    description: "An https URL of a list of patches to install in place of what the baseline approves; scans ignore it.",
    default: Some(""),
    allowed: &[],
};
const BASELINE_OVERRIDE: Parameter = Parameter {
    name: "BaselineOverride",
    kind: "String",
    description: "An https URL of baselines, one for each operating system, in place of the node's; not reported.",
    default: Some(""),
    allowed: &[],
};

/// A parameter that names the document of a hook.
const fn hook(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind: "String", description, default: Some(NOOP), allowed: &[] }
}

/// Seconds a patching step may take, as documents write it.
const PATCH_TIMEOUT: (&str, &str) = ("timeoutSeconds", "7200");

/// A step that runs the document of a hook.
const fn hook_step(name: &'static str, inputs: &'static [(&'static str, &'static str)]) -> StepTemplate {
    StepTemplate { name, action: "aws:runDocument", inputs }
}

/// The step that patches, as part of a document with hooks.
const fn patch_step(name: &'static str, inputs: &'static [(&'static str, &'static str)]) -> StepTemplate {
    StepTemplate { name, action: "patchwave:patchBaseline", inputs }
}

/// Every built-in document, by name.
pub const DOCUMENTS: [Document; 4] = [
    Document {
        name: NOOP,
        version: "1",
        description: "Does nothing.",
        platform_types: &["Linux", "Windows", "MacOS"],
        parameters: &[],
        steps: &[],
    },
    Document {
        name: RUN_PATCH_BASELINE,
        version: "1",
        description: "Scans for or installs patches by the baseline of the node's patch group.",
        platform_types: &["Linux", "Windows", "MacOS"],
        parameters: &[OPERATION, REBOOT_OPTION, SNAPSHOT_ID, INSTALL_OVERRIDE_LIST, BASELINE_OVERRIDE],
        steps: &[StepTemplate {
            name: "PatchNode",
            action: "patchwave:patchBaseline",
            inputs: &[
                ("operation", "{{ Operation }}"),
                ("rebootOption", "{{ RebootOption }}"),
                ("snapshotId", "{{ SnapshotId }}"),
                ("installOverrideList", "{{ InstallOverrideList }}"),
                ("baselineOverride", "{{ BaselineOverride }}"),
                ("timeoutSeconds", "7200"),
            ],
        }],
    },
    Document {
        name: RUN_PATCH_BASELINE_WITH_HOOKS,
        version: "1",
        description: "Scans for or installs patches, with documents of your own before, after and at the end.",
        platform_types: &["Linux", "Windows", "MacOS"],
        parameters: &[
            OPERATION,
            REBOOT_OPTION,
            SNAPSHOT_ID,
            hook("PreInstallHookDocName", "Runs before anything is installed, when something is to be."),
            hook("PostInstallHookDocName", "Runs after the installation and before any restart."),
            hook("OnExitHookDocName", "Runs at the end of an installation, whatever happened before."),
        ],
        steps: &[
            patch_step("PatchScan", &[("operation", "Scan"), ("snapshotId", "{{ SnapshotId }}"), PATCH_TIMEOUT]),
            hook_step(
                "PreInstall",
                &[("documentType", "SSMDocument"), ("documentPath", "{{ PreInstallHookDocName }}")],
            ),
            patch_step(
                "PatchInstall",
                &[("operation", "{{ Operation }}"), ("rebootOption", "NoReboot"), PATCH_TIMEOUT],
            ),
            hook_step(
                "PostInstall",
                &[("documentType", "SSMDocument"), ("documentPath", "{{ PostInstallHookDocName }}")],
            ),
            patch_step(
                "PatchReboot",
                &[("operation", "{{ Operation }}"), ("rebootOption", "{{ RebootOption }}"), PATCH_TIMEOUT],
            ),
            hook_step("OnExit", &[("documentType", "SSMDocument"), ("documentPath", "{{ OnExitHookDocName }}")]),
        ],
    },
    Document {
        name: RUN_SHELL_SCRIPT,
        version: "1",
        description: "Runs a shell script.",
        platform_types: &["Linux", "MacOS"],
        parameters: &[
            Parameter {
                name: "commands",
                kind: "StringList",
                description: "The lines of the script.",
                default: None,
                allowed: &[],
            },
            Parameter {
                name: "workingDirectory",
                kind: "String",
                description: "Where it runs.",
                default: Some(""),
                allowed: &[],
            },
            Parameter {
                name: "executionTimeout",
                kind: "String",
                description: "Seconds it may take, 5 to 172800.",
                default: Some("3600"),
                allowed: &[],
            },
        ],
        steps: &[StepTemplate {
            name: "runShellScript",
            action: "aws:runShellScript",
            inputs: &[
                ("runCommand", "{{ commands }}"),
                ("workingDirectory", "{{ workingDirectory }}"),
                ("timeoutSeconds", "{{ executionTimeout }}"),
            ],
        }],
    },
];

/// Finds a built-in document.
#[must_use]
pub fn find(name: &str) -> Option<&'static Document> {
    DOCUMENTS.iter().find(|document| document.name == name)
}

/// Fills in the parameters of a built-in document.
///
/// # Errors
/// [`DocumentError`] naming the document, parameter, value and what is allowed.
pub fn render(name: &str, version: Option<&str>, parameters: &Parameters) -> Result<RenderedDocument, DocumentError> {
    let document = find(name).ok_or_else(|| DocumentError::Unknown { name: name.to_owned() })?;
    match version {
        None | Some("$DEFAULT" | "$LATEST" | "1") => {}
        Some(version) => {
            return Err(DocumentError::UnknownVersion {
                name: name.to_owned(),
                version: version.to_owned(),
                known: document.version.to_owned(),
            });
        }
    }
    let values = Values::check(document, parameters)?;
    let bytes = bytes_of(parameters);
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { document: document.name.to_owned(), bytes });
    }
    let step = match document.name {
        NOOP => None,
        RUN_PATCH_BASELINE_WITH_HOOKS => {
            let noop = || RenderedDocument { name: NOOP.to_owned(), version: "1".to_owned(), steps: Vec::new() };
            let named = super::hook_documents(parameters)?;
            if let Some(name) = named.into_iter().find(|name| name != NOOP) {
                // Whoever has the documents at hand fills them in with `render_with_hooks`.
                return Err(DocumentError::Unknown { name });
            }
            return super::render_with_hooks(parameters, [noop(), noop(), noop()]);
        }
        RUN_PATCH_BASELINE => Some(Step {
            name: "PatchNode".to_owned(),
            timeout_seconds: PATCH_TIMEOUT_SECONDS,
            action: values.patch_action()?,
            phase: None,
        }),
        _ => Some(Step {
            name: "runShellScript".to_owned(),
            timeout_seconds: values.timeout("executionTimeout")?,
            action: Action::RunShellScript {
                commands: values.list("commands"),
                working_directory: Some(values.one("workingDirectory").to_owned()).filter(|path| !path.is_empty()),
                environment: BTreeMap::new(),
            },
            phase: None,
        }),
    };
    let steps = step.into_iter().collect();
    Ok(RenderedDocument { name: document.name.to_owned(), version: document.version.to_owned(), steps })
}

/// Parameters that were checked against their document.
pub(super) struct Values<'a> {
    document: &'static Document,
    given: &'a Parameters,
}

impl<'a> Values<'a> {
    pub(super) fn check(document: &'static Document, given: &'a Parameters) -> Result<Self, DocumentError> {
        let refuse = |parameter: &str, problem: String| {
            Err(DocumentError::Parameter {
                document: document.name.to_owned(),
                parameter: parameter.to_owned(),
                problem,
            })
        };
        for (name, values) in given {
            let Some(known) = document.parameters.iter().find(|parameter| parameter.name == name) else {
                let names: Vec<_> = document.parameters.iter().map(|parameter| parameter.name).collect();
                return refuse(name, format!("no such parameter; allowed are {}", names.join(", ")));
            };
            if known.kind == "String" && values.len() != 1 {
                return refuse(name, format!("{} values were given; exactly 1 is allowed", values.len()));
            }
            if values.is_empty() {
                return refuse(name, "no value was given; at least 1 is needed".to_owned());
            }
            if let Some(value) =
                values.iter().find(|value| !known.allowed.is_empty() && !known.allowed.contains(&value.as_str()))
            {
                return refuse(name, format!("`{value}` is not allowed; allowed are {}", known.allowed.join(", ")));
            }
        }
        match document.parameters.iter().find(|known| known.default.is_none() && !given.contains_key(known.name)) {
            Some(missing) => refuse(missing.name, "it is mandatory and was not given".to_owned()),
            None => Ok(Self { document, given }),
        }
    }

    pub(super) fn operation(&self) -> PatchOperation {
        match self.one("Operation") {
            "Install" => PatchOperation::Install,
            _ => PatchOperation::Scan,
        }
    }

    pub(super) fn reboot_option(&self) -> RebootOption {
        match self.one("RebootOption") {
            "NoReboot" => RebootOption::NoReboot,
            _ => RebootOption::RebootIfNeeded,
        }
    }

    /// What AWS-RunPatchBaseline does. An override replaces the baseline or what is installed by it,
    /// never both (SSM).
    fn patch_action(&self) -> Result<Action, DocumentError> {
        let (list, baseline) = (self.url(INSTALL_OVERRIDE_LIST.name)?, self.url(BASELINE_OVERRIDE.name)?);
        if list.is_some() && baseline.is_some() {
            let problem = format!("it was given together with {}; allowed is one of them", INSTALL_OVERRIDE_LIST.name);
            return Err(self.refuse(BASELINE_OVERRIDE.name, problem));
        }
        Ok(Action::PatchBaseline {
            operation: self.operation(),
            reboot_option: self.reboot_option(),
            install_override_list: list,
            baseline_override: baseline,
        })
    }

    /// An address that nodes fetch something from, if one is given. What stands behind its `?` may be
    /// a secret, so that a refusal does not repeat it.
    fn url(&self, name: &str) -> Result<Option<String>, DocumentError> {
        let url = self.one(name);
        if url.is_empty() {
            return Ok(None);
        }
        let shown = url.split(['?', '#']).next().unwrap_or_default();
        let host = shown.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let problem = if url.len() > URL_BYTES_MAX {
            format!("it has {} bytes; at most {URL_BYTES_MAX} are allowed", url.len())
        } else if host.contains('@') {
            "it holds a user or password; allowed are https URLs without".to_owned()
        } else if host.is_empty() || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            format!("`{shown}` is not allowed; allowed are https URLs, such as https://host/file")
        } else {
            return Ok(Some(url.to_owned()));
        };
        Err(self.refuse(name, problem))
    }

    fn refuse(&self, parameter: &str, problem: String) -> DocumentError {
        DocumentError::Parameter { document: self.document.name.to_owned(), parameter: parameter.to_owned(), problem }
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.given.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn one(&self, name: &str) -> &str {
        let default =
            || self.document.parameters.iter().find(|known| known.name == name).and_then(|known| known.default);
        self.given.get(name).and_then(|values| values.first()).map(String::as_str).or_else(default).unwrap_or_default()
    }

    fn timeout(&self, name: &str) -> Result<u32, DocumentError> {
        let text = self.one(name);
        let text = if text.is_empty() { return Ok(SCRIPT_TIMEOUT_SECONDS) } else { text };
        timeout_of(text).ok_or_else(|| DocumentError::Parameter {
            document: self.document.name.to_owned(),
            parameter: name.to_owned(),
            problem: format!("`{text}` is not allowed; allowed are 5 to 172800 seconds"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{execution_seconds, needs_baseline};
    use super::*;

    fn parameters(pairs: &[(&str, &[&str])]) -> Parameters {
        pairs
            .iter()
            .map(|(key, values)| ((*key).to_owned(), values.iter().map(|v| (*v).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn patch_baseline_takes_its_operation_and_defaults_its_reboot_option() {
        let rendered = render(RUN_PATCH_BASELINE, None, &parameters(&[("Operation", &["Install"])])).expect("valid");
        assert!(needs_baseline(&rendered));
        assert_eq!(execution_seconds(&rendered), PATCH_TIMEOUT_SECONDS);
        assert_eq!(
            rendered.steps[0].action,
            Action::PatchBaseline {
                operation: PatchOperation::Install,
                reboot_option: RebootOption::RebootIfNeeded,
                install_override_list: None,
                baseline_override: None,
            }
        );
    }

    #[test]
    fn override_is_an_https_url_and_there_is_one_at_most() {
        let render = |name, given: &[(&str, &[&str])]| {
            let mut all = vec![("Operation", &["Install"][..])];
            all.extend(given);
            render(name, None, &parameters(&all)).map_err(|error| error.to_string())
        };
        let url = "https://host/list.yaml?X-Signature=secret";
        let action =
            render(RUN_PATCH_BASELINE, &[("InstallOverrideList", &[url])]).expect("valid").steps[0].action.clone();
        assert!(matches!(action, Action::PatchBaseline { install_override_list: Some(list), .. } if list == url));
        let long = format!("https://host/{}", "x".repeat(256));
        for (given, problem) in [
            (
                &[("InstallOverrideList", &["s3://bucket/key"][..])][..],
                "`s3://bucket/key` is not allowed; allowed are https",
            ),
            (&[("BaselineOverride", &["http://host/x?secret"])], "`http://host/x` is not allowed; allowed are https"),
            (&[("BaselineOverride", &["https:///x"])], "`https:///x` is not allowed"),
            (&[("BaselineOverride", &["https://host/a b"])], "is not allowed"),
            (&[("BaselineOverride", &["https://user:secret@host/x"])], "it holds a user or password"),
            (&[("BaselineOverride", &[long.as_str()])], "it has 269 bytes; at most 256 are allowed"),
            (&[("BaselineOverride", &[url]), ("InstallOverrideList", &[url])], "together with InstallOverrideList"),
        ] {
            let error = render(RUN_PATCH_BASELINE, given).expect_err("refused");
            assert!(error.contains(problem) && error.contains(given[0].0) && !error.contains("secret"), "{error}");
        }
        for name in ["InstallOverrideList", "BaselineOverride"] {
            let error = render(RUN_PATCH_BASELINE_WITH_HOOKS, &[(name, &[url])]).expect_err("SSM takes neither there");
            assert!(error.contains("no such parameter"), "{error}");
        }
    }

    #[test]
    fn steps_are_given_every_parameter_and_the_timeout_that_holds() {
        for document in &DOCUMENTS {
            let given =
                |value: String| document.steps.iter().flat_map(|step| step.inputs).any(|(_, input)| *input == value);
            for parameter in document.parameters {
                assert!(given(format!("{{{{ {} }}}}", parameter.name)), "{} of {}", parameter.name, document.name);
            }
        }
        let timeout = find(RUN_PATCH_BASELINE).expect("built in").steps[0].inputs.last();
        assert_eq!(timeout, Some(&("timeoutSeconds", PATCH_TIMEOUT_SECONDS.to_string().as_str())));
    }

    #[test]
    fn a_script_keeps_its_lines_and_its_timeout() {
        let given = parameters(&[("commands", &["echo {{ x }}", "exit 3"]), ("executionTimeout", &["60"])]);
        let rendered = render(RUN_SHELL_SCRIPT, Some("$LATEST"), &given).expect("valid");
        assert_eq!(rendered.steps[0].timeout_seconds, 60);
        assert!(matches!(&rendered.steps[0].action,
            Action::RunShellScript { commands, .. } if commands == &["echo {{ x }}", "exit 3"]));
    }

    #[test]
    fn wrong_parameters_are_refused_with_name_value_and_what_is_allowed() {
        for (name, given, needles) in [
            ("AWS-Nothing", parameters(&[]), &["AWS-Nothing", "does not exist"][..]),
            (RUN_PATCH_BASELINE, parameters(&[]), &["Operation", "mandatory"]),
            (RUN_PATCH_BASELINE, parameters(&[("Operation", &["scan"])]), &["`scan`", "Scan, Install"]),
            (RUN_PATCH_BASELINE, parameters(&[("Operation", &["Scan", "Scan"])]), &["2 values"]),
            (
                RUN_PATCH_BASELINE,
                parameters(&[("Operation", &["Scan"]), ("operation", &["x"])]),
                &["`operation`", "no such"],
            ),
            (RUN_SHELL_SCRIPT, parameters(&[("commands", &[])]), &["commands", "at least 1"]),
            (
                RUN_SHELL_SCRIPT,
                parameters(&[("commands", &["x"]), ("executionTimeout", &["4"])]),
                &["`4`", "5 to 172800"],
            ),
        ] {
            let message = render(name, None, &given).expect_err("invalid").to_string();
            for needle in needles {
                assert!(message.contains(needle), "{message} lacks {needle}");
            }
        }
        let huge = "x".repeat(DOCUMENT_BYTES_MAX);
        assert!(matches!(
            render(RUN_SHELL_SCRIPT, None, &parameters(&[("commands", &[&huge])])),
            Err(DocumentError::TooLarge { .. })
        ));
        assert!(render(RUN_SHELL_SCRIPT, Some("2"), &parameters(&[("commands", &["x"])])).is_err());
    }
}
