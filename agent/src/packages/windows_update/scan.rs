//! A scan: what the Windows Update Agent finds, and what the baseline says about it.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use patchwave_engine::baseline::{Inventory, Patch, PatchStatus, glob_matches, judge_patches};
use patchwave_schemas::baseline::{BaselineSnapshot, PatchState};

use super::super::{PackageError, ScanResult};
use super::answer::{Found, Update, parse};
use super::category;
use super::root::WindowsRoot;

/// A scan, with what an installation needs to know besides.
pub(super) struct Scanned {
    pub(super) result: ScanResult,
    /// Ids of the needed updates by the patch that reports know them as: one KB may be several.
    pub(super) update_ids: BTreeMap<String, Vec<String>>,
}

/// Scans. Blocks, for minutes where the update server is slow; see
/// [`super::super::PackageManager::scan`].
pub(super) fn scan(root: &WindowsRoot, baseline: &BaselineSnapshot, now: Timestamp) -> Result<Scanned, PackageError> {
    let found: Found = parse("Search", &root.ask("Search")?)?;
    let node = category::os_release(&found.system.caption).profile();
    let installed_at: HashMap<&str, Timestamp> = found
        .history
        .iter()
        .rev()
        .filter(|event| event.operation == 1 && matches!(event.result_code, 2 | 3))
        .filter_map(|event| Some((event.update_id.as_str(), event.date?)))
        .collect();
    let superseded: HashSet<&str> =
        found.updates.iter().flat_map(|update| update.superseded_update_ids.iter().map(String::as_str)).collect();

    let mut held = BTreeMap::new();
    let mut update_ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut patches: BTreeMap<String, Patch> = BTreeMap::new();
    for update in &found.updates {
        let is_superseded = superseded.contains(update.update_id.as_str());
        let mut patch = patch(update, is_superseded, installed_at.get(update.update_id.as_str()).copied());
        if patch.status == PatchStatus::Needed {
            if let Some(why) = held_because(baseline, update, &patch) {
                held.insert(patch.id.clone(), why);
                patch.held = true;
            } else {
                update_ids.entry(patch.id.clone()).or_default().push(update.update_id.clone());
            }
        }
        match patches.get_mut(&patch.id) {
            // One KB for several products: what is needed stands for what is there.
            Some(known) if rank(known) >= rank(&patch) => known.aliases.extend(patch.aliases),
            Some(known) => {
                patch.aliases.append(&mut known.aliases);
                *known = patch;
            }
            None => {
                patches.insert(patch.id.clone(), patch);
            }
        }
    }

    let patches: Vec<Patch> = patches.into_values().collect();
    let mut evaluation = judge_patches(baseline, &node, &patches, now);
    for decision in &mut evaluation.decisions {
        if let Some(why) = held.get(&decision.name)
            && decision.held
            && decision.state == PatchState::Missing
        {
            decision.reason = decision.reason.replacen("held back by the administrator", why, 1);
        }
    }
    let records = evaluation.decisions.iter().map(|decision| decision.to_record()).collect();
    let reboot_required = found.reboot_required || patches.iter().any(|patch| patch.pending_reboot);
    let inventory = Some(Inventory::of_patches(node, patches));
    let result = ScanResult { evaluation, patches: records, reboot_required, inventory };
    Ok(Scanned { result, update_ids })
}

/// Of two updates under one KB the one that can be installed comes first.
fn rank(patch: &Patch) -> (bool, bool, bool) {
    let needed = patch.status == PatchStatus::Needed;
    (needed && !patch.held, needed, patch.status == PatchStatus::Installed)
}

fn patch(update: &Update, is_superseded: bool, installed_at: Option<Timestamp>) -> Patch {
    let kb = |id: &String| if id.to_ascii_uppercase().starts_with("KB") { id.clone() } else { format!("KB{id}") };
    let kbs: Vec<String> = update.kb_article_ids.iter().map(kb).collect();
    // The agent lists what waits for a restart as needed as well as installed.
    let is_there = update.is_installed || update.reboot_required;
    Patch {
        id: kbs.first().unwrap_or(&update.update_id).clone(),
        title: update.title.clone(),
        status: match (is_there, is_superseded) {
            (true, _) => PatchStatus::Installed,
            (false, true) => PatchStatus::NotApplicable,
            (false, false) => PatchStatus::Needed,
        },
        classification: category::classification(update),
        severity: update
            .msrc_severity
            .clone()
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "Unspecified".to_owned()),
        products: category::products(update),
        product_family: category::product_family(update),
        is_application: category::is_application(update),
        cve_ids: update.cve_ids.clone(),
        aliases: kbs
            .into_iter()
            .skip(1)
            .chain([update.update_id.clone()])
            .chain(update.security_bulletin_ids.clone())
            .collect(),
        released_at: update.last_deployment_change_time,
        installed_at: installed_at.filter(|_| is_there),
        pending_reboot: update.reboot_required,
        ..Patch::default()
    }
}

/// Why a needed update is not to be installed, if there is a reason.
fn held_because(baseline: &BaselineSnapshot, update: &Update, patch: &Patch) -> Option<&'static str> {
    let agreed = || {
        let names = || std::iter::once(&patch.id).chain(&patch.aliases);
        let listed = baseline.install_override.iter().map(|entry| &entry.id);
        let mut entries = baseline.rules.approved_patches.iter().chain(listed);
        entries.any(|entry| names().any(|name| glob_matches(entry, name)))
    };
    if update.is_hidden {
        Some("hidden by the administrator")
    } else if update.can_request_user_input {
        Some("it asks questions, so that it cannot be installed unattended")
    } else if !update.eula_accepted && !agreed() {
        Some("its licence terms are not accepted, and it waits for ApprovedPatches to name it")
    } else {
        None
    }
}
