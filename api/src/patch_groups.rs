//! Patch groups: which baseline is for which group, and how a group's nodes stand.

use jiff::Timestamp;
use patchwave_engine::compliance::PatchCounts;
use patchwave_platform::store::baselines::{PatchGroupMapping, os_name};
use patchwave_schemas::node::OperatingSystem;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Api;
use crate::baselines::{baseline_id, identity, missing};
use crate::wire::{Error, Filter, Request, check_filters, present, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    baseline_id: Option<String>,
    patch_group: Option<String>,
    operating_system: Option<OperatingSystem>,
    #[serde(default)]
    filters: Vec<Filter>,
}

impl Input {
    fn patch_group(&self) -> Result<&str, Error> {
        required("patchGroup", self.patch_group.as_deref())
    }
}

/// RegisterPatchBaselineForPatchGroup.
pub(crate) async fn register(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let id = baseline_id("baselineId", input.baseline_id.as_deref())?;
    let patch_group = input.patch_group()?.to_owned();
    let mut tx = api.store.begin().await?;
    let baseline = tx.lock_baseline(&id).await?.ok_or_else(|| missing(&id))?;
    let operating_system = baseline.rules.operating_system;
    let mapping = PatchGroupMapping { patch_group, operating_system, baseline_id: id };
    let registered = tx.register_patch_group(&mapping, Timestamp::now()).await?;
    if registered != mapping.baseline_id {
        return Err(Error::new(
            "AlreadyExistsException",
            format!(
                "Patch Group {} already has a baseline registered for OperatingSystem {}: {registered}. \
                 Deregister it first",
                mapping.patch_group,
                os_name(operating_system)
            ),
        ));
    }
    tx.commit().await?;
    Ok(json!({ "BaselineId": mapping.baseline_id, "PatchGroup": mapping.patch_group }))
}

/// DeregisterPatchBaselineForPatchGroup. What is not registered is left so.
pub(crate) async fn deregister(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let id = baseline_id("baselineId", input.baseline_id.as_deref())?;
    let patch_group = input.patch_group()?;
    let mut tx = api.store.begin().await?;
    tx.deregister_patch_group(patch_group, &id, Timestamp::now()).await?;
    tx.commit().await?;
    Ok(json!({ "BaselineId": id, "PatchGroup": patch_group }))
}

/// GetPatchBaselineForPatchGroup: the baseline that its nodes are judged by, the default if none
/// is registered.
pub(crate) async fn baseline(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let patch_group = input.patch_group()?;
    let os = input.operating_system.unwrap_or(OperatingSystem::Windows);
    let baseline = api
        .store
        .baseline_for(patch_group, os)
        .await?
        .ok_or_else(|| Error::does_not_exist(format_args!("default patch baseline of {}", os_name(os))))?;
    Ok(json!({ "BaselineId": baseline.baseline_id, "PatchGroup": patch_group, "OperatingSystem": os }))
}

/// DescribePatchGroups.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=100)?;
    check_filters(&input.filters, &["NAME_PREFIX", "OPERATING_SYSTEM"])?;
    let defaults = api.store.default_baselines().await?;
    let mut mappings = api.store.patch_groups().await?;
    mappings.retain(|mapping| input.filters.iter().all(|filter| passes(mapping, filter)));
    let key = |mapping: &PatchGroupMapping| format!("{}\n{}", mapping.patch_group, os_name(mapping.operating_system));
    let (mappings, next) = paging.of_list(mappings, key);
    let mut described = Vec::with_capacity(mappings.len());
    for mapping in mappings {
        let is_default = defaults.iter().any(|(_, id)| *id == mapping.baseline_id);
        let baseline = api.store.baseline(&mapping.baseline_id).await?;
        let identity = baseline.map(|baseline| identity(&baseline, is_default));
        described.push(present(json!({ "PatchGroup": mapping.patch_group, "BaselineIdentity": identity })));
    }
    Ok(present(json!({ "Mappings": described, "NextToken": next })))
}

/// DescribePatchGroupState: how many nodes of a group have at least one patch in each state.
pub(crate) async fn state(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let states = api.store.patch_states_of_group(input.patch_group()?).await?;
    let mut counters = Map::new();
    counters.insert("Instances".to_owned(), json!(states.len()));
    let count = |member: fn(&PatchCounts) -> u32| states.iter().filter(|state| member(&state.counts) > 0).count();
    for (name, nodes) in [
        ("InstancesWithInstalledPatches", count(|counts| counts.installed_count)),
        ("InstancesWithInstalledOtherPatches", count(|counts| counts.installed_other_count)),
        ("InstancesWithInstalledPendingRebootPatches", count(|counts| counts.installed_pending_reboot_count)),
        ("InstancesWithInstalledRejectedPatches", count(|counts| counts.installed_rejected_count)),
        ("InstancesWithMissingPatches", count(|counts| counts.missing_count)),
        ("InstancesWithFailedPatches", count(|counts| counts.failed_count)),
        ("InstancesWithNotApplicablePatches", count(|counts| counts.not_applicable_count)),
        ("InstancesWithUnreportedNotApplicablePatches", 0),
        ("InstancesWithCriticalNonCompliantPatches", count(|counts| counts.critical_non_compliant_count)),
        ("InstancesWithSecurityNonCompliantPatches", count(|counts| counts.security_non_compliant_count)),
        ("InstancesWithOtherNonCompliantPatches", count(|counts| counts.other_non_compliant_count)),
        ("InstancesWithAvailableSecurityUpdates", count(|counts| counts.available_security_update_count)),
    ] {
        counters.insert(name.to_owned(), json!(nodes));
    }
    Ok(Value::Object(counters))
}

fn passes(mapping: &PatchGroupMapping, filter: &Filter) -> bool {
    match filter.key.as_str() {
        "NAME_PREFIX" => filter.values.iter().any(|prefix| mapping.patch_group.starts_with(prefix.as_str())),
        _ => filter.accepts(&os_name(mapping.operating_system)),
    }
}
