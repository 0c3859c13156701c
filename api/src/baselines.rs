//! Patch baselines, and which is the default of an operating system.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_engine::baseline::validate;
use patchwave_platform::store::baselines::{Baseline, first_version, os_name};
use patchwave_platform::store::tags::Taggable;
use patchwave_schemas::BaselineId;
use patchwave_schemas::baseline::{
    AvailableSecurityUpdatesCompliance, BaselineRules, ComplianceLevel, PatchFilterGroup, PatchRuleGroup, PatchSource,
    RejectedPatchesAction,
};
use patchwave_schemas::node::OperatingSystem;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::tags::{Tag, checked_tags};
use crate::wire::{Error, Filter, Request, check_filters, epoch, present, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    baseline_id: Option<String>,
    operating_system: Option<OperatingSystem>,
    name: Option<String>,
    global_filters: Option<PatchFilterGroup>,
    approval_rules: Option<PatchRuleGroup>,
    approved_patches: Option<Vec<String>>,
    approved_patches_compliance_level: Option<ComplianceLevel>,
    approved_patches_enable_non_security: Option<bool>,
    rejected_patches: Option<Vec<String>>,
    rejected_patches_action: Option<RejectedPatchesAction>,
    description: Option<String>,
    sources: Option<Vec<PatchSource>>,
    available_security_updates_compliance_status: Option<AvailableSecurityUpdatesCompliance>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    filters: Vec<Filter>,
}

/// An empty baseline of one operating system.
fn no_rules(operating_system: OperatingSystem) -> BaselineRules {
    BaselineRules {
        operating_system,
        global_filters: PatchFilterGroup::default(),
        approval_rules: PatchRuleGroup::default(),
        approved_patches: Vec::new(),
        approved_patches_compliance_level: ComplianceLevel::default(),
        approved_patches_enable_non_security: false,
        rejected_patches: Vec::new(),
        rejected_patches_action: RejectedPatchesAction::default(),
        available_security_updates_compliance_status: AvailableSecurityUpdatesCompliance::default(),
    }
}

/// Puts what was given in place of what `old` says; lists are replaced as a whole.
fn patched(old: BaselineRules, input: &mut Input) -> BaselineRules {
    BaselineRules {
        operating_system: old.operating_system,
        global_filters: input.global_filters.take().unwrap_or(old.global_filters),
        approval_rules: input.approval_rules.take().unwrap_or(old.approval_rules),
        approved_patches: input.approved_patches.take().unwrap_or(old.approved_patches),
        approved_patches_compliance_level: input
            .approved_patches_compliance_level
            .unwrap_or(old.approved_patches_compliance_level),
        approved_patches_enable_non_security: input
            .approved_patches_enable_non_security
            .unwrap_or(old.approved_patches_enable_non_security),
        rejected_patches: input.rejected_patches.take().unwrap_or(old.rejected_patches),
        rejected_patches_action: input.rejected_patches_action.unwrap_or(old.rejected_patches_action),
        available_security_updates_compliance_status: input
            .available_security_updates_compliance_status
            .unwrap_or(old.available_security_updates_compliance_status),
    }
}

/// CreatePatchBaseline.
pub(crate) async fn create(api: &Api, request: &Request) -> Result<Value, Error> {
    let mut input: Input = request.read()?;
    let now = Timestamp::now();
    let operating_system = input.operating_system.unwrap_or(OperatingSystem::Windows);
    let rules = patched(no_rules(operating_system), &mut input);
    let tags = checked_tags(&input.tags)?;
    let baseline = Baseline {
        baseline_id: BaselineId::random(),
        baseline_version: first_version(),
        name: required("name", input.name)?,
        description: input.description,
        rules,
        sources: input.sources.unwrap_or_default(),
        predefined: false,
        created_date: now,
        modified_date: now,
    };
    check(&baseline)?;
    let response = json!({ "BaselineId": baseline.baseline_id });
    let mut tx = api.store.begin().await?;
    if let Some(earlier) = request.repeated(&mut tx, &response, now).await? {
        return Ok(earlier);
    }
    tx.put_baseline(&baseline).await?;
    tx.set_tags(Taggable::PatchBaseline, baseline.baseline_id.as_str(), &tags).await?;
    tx.commit().await?;
    Ok(response)
}

/// GetPatchBaseline.
pub(crate) async fn get(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let id = baseline_id("baselineId", input.baseline_id.as_deref())?;
    let mut tx = api.store.begin().await?;
    let baseline = tx.baseline(&id).await?.ok_or_else(|| missing(&id))?;
    let groups = tx.patch_groups_of(&id).await?;
    let mut view = view(&baseline);
    view["PatchGroups"] = json!(groups);
    Ok(present(view))
}

/// UpdatePatchBaseline: a patch, or with `Replace` a put.
pub(crate) async fn update(api: &Api, request: &Request) -> Result<Value, Error> {
    let mut input: Input = request.read()?;
    let id = baseline_id("baselineId", input.baseline_id.as_deref())?;
    let mut tx = api.store.begin().await?;
    let mut baseline = tx.lock_baseline(&id).await?.ok_or_else(|| missing(&id))?;
    refuse_predefined(&baseline, "changed")?;
    baseline.modified_date = Timestamp::now();
    let before = baseline.rules.clone();
    if input.replace {
        baseline.rules = patched(no_rules(baseline.rules.operating_system), &mut input);
        baseline.name = required("name", input.name)?;
        baseline.description = input.description;
        baseline.sources = input.sources.unwrap_or_default();
    } else {
        baseline.rules = patched(baseline.rules, &mut input);
        baseline.name = input.name.unwrap_or(baseline.name);
        baseline.description = input.description.or(baseline.description);
        baseline.sources = input.sources.unwrap_or(baseline.sources);
    }
    check(&baseline)?;
    // What else there is to change says nothing about where a node stands.
    if baseline.rules != before {
        baseline.baseline_version = baseline.baseline_version.saturating_add(1);
        tx.recheck_nodes_of(&id, baseline.modified_date).await?;
    }
    tx.put_baseline(&baseline).await?;
    tx.commit().await?;
    Ok(present(view(&baseline)))
}

/// The baseline that a request names, and its rules as an update by the rest of it would leave them.
pub(crate) async fn changed(api: &Api, request: &Request) -> Result<(Baseline, BaselineRules), Error> {
    let mut input: Input = request.read()?;
    let id = baseline_id("baselineId", input.baseline_id.as_deref())?;
    let baseline = api.store.baseline(&id).await?.ok_or_else(|| missing(&id))?;
    let old = baseline.rules.clone();
    let old = if input.replace { no_rules(old.operating_system) } else { old };
    let rules = patched(old, &mut input);
    validate(&rules).map_err(|error| Error::validation(error.to_string()))?;
    Ok((baseline, rules))
}

/// DeletePatchBaseline.
pub(crate) async fn delete(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let id = baseline_id("baselineId", input.baseline_id.as_deref())?;
    let response = json!({ "BaselineId": id });
    let mut tx = api.store.begin().await?;
    // An unknown id is no error (SSM).
    let Some(baseline) = tx.lock_baseline(&id).await? else { return Ok(response) };
    refuse_predefined(&baseline, "deleted")?;
    let in_use = |why: String| Error::new("ResourceInUseException", format!("patch baseline {id} {why}"));
    if let Some(group) = tx.patch_groups_of(&id).await?.first() {
        return Err(in_use(format!("is registered for patch group `{group}`; deregister it first")));
    }
    if tx.is_default_baseline(&id).await? {
        let os = os_name(baseline.rules.operating_system);
        return Err(in_use(format!("is the default of {os}; register another default first")));
    }
    tx.delete_baseline(&id).await?;
    tx.set_tags(Taggable::PatchBaseline, id.as_str(), &BTreeMap::new()).await?;
    tx.commit().await?;
    Ok(response)
}

/// DescribePatchBaselines.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=100)?;
    check_filters(&input.filters, &["NAME_PREFIX", "OWNER", "OPERATING_SYSTEM"])?;
    let defaults = api.store.default_baselines().await?;
    let mut baselines = api.store.baselines().await?;
    baselines.retain(|baseline| input.filters.iter().all(|filter| passes(baseline, filter)));
    let (baselines, next) = paging.of_list(baselines, |baseline| baseline.baseline_id.to_string());
    let identities: Vec<Value> = baselines
        .iter()
        .map(|baseline| identity(baseline, defaults.iter().any(|(_, id)| *id == baseline.baseline_id)))
        .collect();
    Ok(present(json!({ "BaselineIdentities": identities, "NextToken": next })))
}

/// RegisterDefaultPatchBaseline.
pub(crate) async fn register_default(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let id = baseline_id("baselineId", input.baseline_id.as_deref())?;
    let mut tx = api.store.begin().await?;
    let baseline = tx.lock_baseline(&id).await?.ok_or_else(|| missing(&id))?;
    tx.set_default_baseline(baseline.rules.operating_system, &id, Timestamp::now()).await?;
    tx.commit().await?;
    Ok(json!({ "BaselineId": id }))
}

/// GetDefaultPatchBaseline.
pub(crate) async fn get_default(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let os = input.operating_system.unwrap_or(OperatingSystem::Windows);
    let defaults = api.store.default_baselines().await?;
    let (_, id) = defaults
        .into_iter()
        .find(|(of, _)| *of == os)
        .ok_or_else(|| Error::does_not_exist(format_args!("default patch baseline of {}", os_name(os))))?;
    Ok(json!({ "BaselineId": id, "OperatingSystem": os }))
}

/// The baseline id of a request: bare, or at the end of an ARN.
pub(crate) fn baseline_id(field: &str, value: Option<&str>) -> Result<BaselineId, Error> {
    let text = required(field, value)?;
    let id = if text.starts_with("arn:") { text.rsplit('/').next().unwrap_or_default() } else { text };
    id.parse().map_err(|_| {
        let message = format!("{field} is `{text}`; allowed is `pb-` and 17 hex digits, or an ARN that ends in it");
        Error::new("InvalidResourceId", message)
    })
}

/// What is said of a baseline that is not there.
pub(crate) fn missing(id: &BaselineId) -> Error {
    Error::does_not_exist(format_args!("patch baseline {id}"))
}

/// SSM's `PatchBaselineIdentity`.
pub(crate) fn identity(baseline: &Baseline, is_default: bool) -> Value {
    present(json!({
        "BaselineId": baseline.baseline_id,
        "BaselineName": baseline.name,
        "OperatingSystem": baseline.rules.operating_system,
        "BaselineDescription": baseline.description,
        "DefaultBaseline": is_default,
    }))
}

fn passes(baseline: &Baseline, filter: &Filter) -> bool {
    match filter.key.as_str() {
        "NAME_PREFIX" => filter.values.iter().any(|prefix| baseline.name.starts_with(prefix.as_str())),
        "OWNER" => filter.accepts(if baseline.predefined { "AWS" } else { "Self" }),
        _ => filter.accepts(&os_name(baseline.rules.operating_system)),
    }
}

fn check(baseline: &Baseline) -> Result<(), Error> {
    validate(&baseline.rules).map_err(|error| Error::validation(error.to_string()))
}

fn refuse_predefined(baseline: &Baseline, what: &str) -> Result<(), Error> {
    if baseline.predefined {
        let id = &baseline.baseline_id;
        return Err(Error::validation(format!("patch baseline {id} is predefined and cannot be {what}")));
    }
    Ok(())
}

fn view(baseline: &Baseline) -> Value {
    let mut view = json!(baseline.rules);
    for (member, value) in [
        ("BaselineId", json!(baseline.baseline_id)),
        ("BaselineVersion", json!(baseline.baseline_version)),
        ("Name", json!(baseline.name)),
        ("Description", json!(baseline.description)),
        ("Sources", json!(baseline.sources)),
        ("CreatedDate", epoch(baseline.created_date)),
        ("ModifiedDate", epoch(baseline.modified_date)),
    ] {
        view[member] = value;
    }
    // Of Windows alone, and there said even where it is the default (SSM).
    if baseline.rules.operating_system == OperatingSystem::Windows {
        view["AvailableSecurityUpdatesComplianceStatus"] =
            json!(baseline.rules.available_security_updates_compliance_status);
    }
    view
}
