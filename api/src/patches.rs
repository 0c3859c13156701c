//! Patches that the control plane knows of, and what a baseline makes of them.
//!
//! They come from what nodes' scans and installations reported; there is no vendor's catalogue
//! behind it. `ReleaseDate` is when the first report came that speaks of the patch.

use std::collections::{BTreeMap, BTreeSet};

use patchwave_engine::baseline::{Family, Listed, Names, NodeProfile, glob_matches, listed, product};
use patchwave_platform::store::baselines::os_name;
use patchwave_platform::store::known_patches::{KnownPatch, PatchFilter, PatchProperty};
use patchwave_schemas::baseline::BaselineRules;
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
/// Titles or rows read at a time while looking for patches that pass.
const SCAN_ROWS: u32 = 500;
/// Reads for one page at most.
const SCANS_MAX: usize = 20;
/// In a token: behind every operating system of the title.
const BEHIND_ALL: &str = "~";

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
    let (filter, is_whole) = narrowed(&input.filters);
    // One title more: the first may have been shown.
    let limit = if is_whole { paging.rows() + 1 } else { SCAN_ROWS };
    let (mut title, mut os) = match paging.after().and_then(|after| after.rsplit_once('\n')) {
        Some((title, os)) => (title.to_owned(), os.to_owned()),
        None => (String::new(), String::new()),
    };
    let mut found: Vec<(String, KnownPatch)> = Vec::new();
    let mut is_last = false;
    for _ in 0..SCANS_MAX {
        let known = api.store.known_patches_from(&filter, &title, limit).await?;
        let mut titles = 0;
        for of_title in known.chunk_by(|one, other| one.title == other.title) {
            titles += 1;
            for (name, patch) in by_system(of_title) {
                let was_shown = patch.title == title && name <= os;
                if !was_shown && input.filters.iter().all(|filter| passes(&patch, filter)) {
                    found.push((format!("{}\n{name}", patch.title), patch));
                }
            }
        }
        is_last = titles < limit;
        if found.len() > paging.size() || is_last {
            break;
        }
        if let Some(last) = known.last() {
            (title, os) = (last.title.clone(), BEHIND_ALL.to_owned());
        }
    }
    // Few may pass: then a page is short or empty, and the next goes on from here.
    let rest = (!is_last && found.len() <= paging.size()).then(|| paging.token(&format!("{title}\n{os}")));
    found.truncate(paging.size() + 1);
    let (patches, next) = paging.of_rows(found, |(key, _)| key.clone());
    let patches: Vec<Value> = patches.iter().map(|(_, patch)| view(patch)).collect();
    Ok(present(json!({ "Patches": patches, "NextToken": next.or(rest) })))
}

/// What of the filters the database can see to, and whether that is all of them.
fn narrowed(filters: &[Filter]) -> (PatchFilter, bool) {
    let mut narrowed = PatchFilter::default();
    let mut is_whole = true;
    for filter in filters {
        let place = match filter.key.as_str() {
            "CLASSIFICATION" => &mut narrowed.classifications,
            "OPERATING_SYSTEM" => &mut narrowed.operating_systems,
            "PATCH_ID" => &mut narrowed.kb_ids,
            "SEVERITY" => &mut narrowed.severities,
            _ => {
                is_whole = false;
                continue;
            }
        };
        // The same once more: both must pass.
        is_whole &= place.is_none();
        place.get_or_insert_with(|| filter.values.clone());
    }
    (narrowed, is_whole)
}

/// The patch of a title for each operating system: several baselines may have judged it. It was
/// first seen when the first of them did.
fn by_system(of_title: &[KnownPatch]) -> BTreeMap<String, KnownPatch> {
    let mut patches: BTreeMap<String, KnownPatch> = BTreeMap::new();
    for patch in of_title {
        let known = patches.entry(os_name(patch.operating_system)).or_insert_with(|| patch.clone());
        let first_seen_at = known.first_seen_at.min(patch.first_seen_at);
        *known = KnownPatch { first_seen_at, ..patch.clone() };
    }
    patches
}

/// DescribeEffectivePatchesForPatchBaseline: what the baseline made of the patches of its nodes,
/// when they last reported.
pub(crate) async fn effective(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=100)?;
    let id = baseline_id("baselineId", input.baseline_id.as_deref())?;
    let baseline = api.store.baseline(&id).await?.ok_or_else(|| missing(&id))?;
    let mut after = paging.after().unwrap_or_default().to_owned();
    let mut found: Vec<(KnownPatch, &str)> = Vec::new();
    let mut is_last = false;
    for _ in 0..SCANS_MAX {
        let known = api.store.known_patches_of(&id, &after, SCAN_ROWS).await?;
        is_last = known.len() < SCAN_ROWS as usize;
        if let Some(last) = known.last() {
            after.clone_from(&last.title);
        }
        found.extend(known.into_iter().filter_map(|patch| {
            let status = deployment(&baseline.rules, &patch)?;
            Some((patch, status))
        }));
        if found.len() > paging.size() || is_last {
            break;
        }
    }
    let rest = (!is_last && found.len() <= paging.size()).then(|| paging.token(&after));
    found.truncate(paging.size() + 1);
    let (patches, next) = paging.of_rows(found, |(patch, _)| patch.title.clone());
    let patches: Vec<Value> = patches
        .iter()
        .map(|(patch, deployment)| {
            let status = json!({ "DeploymentStatus": deployment, "ComplianceLevel": patch.compliance_level });
            json!({ "Patch": view(patch), "PatchStatus": status })
        })
        .collect();
    Ok(present(json!({ "EffectivePatches": patches, "NextToken": next.or(rest) })))
}

/// What the baseline says of a patch; `None` when it does not speak of it. The lists may have
/// changed since the report: they are what a next scan goes by.
fn deployment(rules: &BaselineRules, patch: &KnownPatch) -> Option<&'static str> {
    let (name, arch) = name_and_arch(patch);
    let family = Family::of(rules.operating_system);
    // What scans report of patches by rpm has an advisory wherever it has a classification.
    let is_security =
        if family == Family::Apt { patch.classification == "Security" } else { !patch.classification.is_empty() };
    let names = Names { family, name, architecture: arch, version: version(patch), ids: Vec::new() };
    match listed(rules, &names, is_security) {
        Some(Listed::Rejected(_)) => Some("EXPLICIT_REJECTED"),
        Some(Listed::Approved(_)) => Some("EXPLICIT_APPROVED"),
        Some(Listed::NotSecurity(_)) | None => {
            ["APPROVED", "EXPLICIT_REJECTED", "PENDING_APPROVAL"].into_iter().find(|known| *known == patch.deployment)
        }
    }
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
            "CLASSIFICATION" => values.extend(api.store.patch_properties(os, PatchProperty::Classification).await?),
            "SEVERITY" | "PRIORITY" => values.extend(api.store.patch_properties(os, PatchProperty::Severity).await?),
            other => {
                return Err(Error::validation(format!(
                    "Property is `{other}`, which scans do not report; allowed are PRODUCT, CLASSIFICATION, SEVERITY, \
                     PRIORITY"
                )));
            }
        }
    }
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
