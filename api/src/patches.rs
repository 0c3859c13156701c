//! Patches that the control plane knows of, and what a baseline makes of them.
//!
//! They come from what nodes' scans and installations reported; there is no vendor's catalogue
//! behind it. `ReleaseDate` is when a report first spoke of the patch.

use std::collections::{BTreeMap, BTreeSet};

use patchwave_engine::baseline::{NodeProfile, glob_matches, product};
use patchwave_platform::store::baselines::os_name;
use patchwave_platform::store::known_patches::KnownPatch;
use patchwave_schemas::node::OperatingSystem;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::baselines::{baseline_id, missing};
use crate::wire::{Error, Filter, Request, epoch, present};

/// What patches can be found by. `OPERATING_SYSTEM` is ours; a scan's report does not say which
/// product a patch is of.
const KEYS: [&str; 8] =
    ["ARCH", "CLASSIFICATION", "NAME", "OPERATING_SYSTEM", "PATCH_ID", "PATCH_SET", "SEVERITY", "VERSION"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    baseline_id: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    operating_system: Option<OperatingSystem>,
    property: Option<String>,
    patch_set: Option<String>,
}

/// DescribeAvailablePatches.
pub(crate) async fn available(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=100)?;
    if let Some(filter) = input.filters.iter().find(|filter| !KEYS.contains(&filter.key.as_str())) {
        let message =
            format!("filter key is `{}`, which scans do not report; allowed are {}", filter.key, KEYS.join(", "));
        return Err(Error::validation(message));
    }
    // Several baselines may have judged one patch.
    let known: BTreeMap<String, KnownPatch> = api
        .store
        .known_patches(None)
        .await?
        .into_iter()
        .filter(|patch| input.filters.iter().all(|filter| passes(patch, filter)))
        .map(|patch| (format!("{}\n{}", patch.title, os_name(patch.operating_system)), patch))
        .collect();
    let (patches, next) = paging.of_list(known.into_iter().collect(), |(key, _)| key.clone());
    let patches: Vec<Value> = patches.iter().map(|(_, patch)| view(patch)).collect();
    Ok(present(json!({ "Patches": patches, "NextToken": next })))
}

/// DescribeEffectivePatchesForPatchBaseline: what the baseline made of the patches of its nodes,
/// when they last reported.
pub(crate) async fn effective(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=100)?;
    let id = baseline_id("baselineId", input.baseline_id.as_deref())?;
    let baseline = api.store.baseline(&id).await?.ok_or_else(|| missing(&id))?;
    let mut known = api.store.known_patches(Some(&id)).await?;
    known.retain(|patch| !patch.deployment.is_empty());
    let (patches, next) = paging.of_list(known, |patch| patch.title.clone());
    let patches: Vec<Value> = patches
        .iter()
        .map(|patch| {
            let (name, _) = name_and_arch(patch);
            let named = |list: &[String]| list.iter().any(|pattern| glob_matches(pattern, name));
            // The lists may have changed since; they are what a next scan goes by.
            let deployment = if named(&baseline.rules.rejected_patches) {
                "EXPLICIT_REJECTED"
            } else if named(&baseline.rules.approved_patches) {
                "EXPLICIT_APPROVED"
            } else {
                &patch.deployment
            };
            let status = json!({ "DeploymentStatus": deployment, "ComplianceLevel": patch.compliance_level });
            json!({ "Patch": view(patch), "PatchStatus": status })
        })
        .collect();
    Ok(present(json!({ "EffectivePatches": patches, "NextToken": next })))
}

/// DescribePatchProperties: the values that are known of nodes and their patches.
pub(crate) async fn properties(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=50)?;
    let os = input.operating_system.ok_or_else(|| Error::validation("OperatingSystem is missing"))?;
    let property = input.property.unwrap_or_default();
    let mut values: BTreeSet<String> = BTreeSet::new();
    if input.patch_set.as_deref() != Some("APPLICATION") {
        match property.as_str() {
            "PRODUCT" => {
                for version in api.store.platform_versions(os).await? {
                    let profile = NodeProfile { operating_system: os, version, codename: String::new() };
                    values.extend(product(&profile));
                }
            }
            "CLASSIFICATION" | "SEVERITY" | "PRIORITY" => {
                for patch in api.store.known_patches(None).await? {
                    if patch.operating_system == os {
                        values.insert(if property == "CLASSIFICATION" { patch.classification } else { patch.severity });
                    }
                }
            }
            other => {
                return Err(Error::validation(format!(
                    "Property is `{other}`, which scans do not report; allowed are PRODUCT, CLASSIFICATION, SEVERITY, \
                     PRIORITY"
                )));
            }
        }
    }
    values.remove("");
    let (values, next) = paging.of_list(values.into_iter().collect(), String::clone);
    let properties: Vec<Value> = values.into_iter().map(|value| json!({ "Name": value })).collect();
    Ok(present(json!({ "Properties": properties, "NextToken": next })))
}

fn passes(patch: &KnownPatch, filter: &Filter) -> bool {
    let (name, arch) = name_and_arch(patch);
    match filter.key.as_str() {
        "ARCH" => filter.accepts(arch),
        "CLASSIFICATION" => filter.accepts(&patch.classification),
        "NAME" => filter.values.iter().any(|pattern| glob_matches(pattern, name)),
        "OPERATING_SYSTEM" => filter.accepts(&os_name(patch.operating_system)),
        "PATCH_ID" => filter.accepts(&patch.kb_id),
        // Applications are Microsoft's.
        "PATCH_SET" => filter.accepts("OS"),
        "SEVERITY" => filter.accepts(&patch.severity),
        _ => filter.accepts(version(patch)),
    }
}

/// `name.arch` taken apart; the name may hold dots.
fn name_and_arch(patch: &KnownPatch) -> (&str, &str) {
    patch.kb_id.rsplit_once('.').unwrap_or((&patch.kb_id, ""))
}

fn version(patch: &KnownPatch) -> &str {
    patch.title.strip_prefix(patch.kb_id.as_str()).map_or("", |rest| rest.trim_start_matches(':'))
}

/// SSM's `Patch`.
fn view(patch: &KnownPatch) -> Value {
    let (name, arch) = name_and_arch(patch);
    let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    present(json!({
        "Id": patch.kb_id,
        "Title": patch.title,
        "Name": name,
        "Arch": known(arch),
        "Version": known(version(patch)),
        "Classification": known(&patch.classification),
        "Severity": known(&patch.severity),
        "ReleaseDate": epoch(patch.first_seen_at),
        "OperatingSystem": patch.operating_system,
    }))
}
