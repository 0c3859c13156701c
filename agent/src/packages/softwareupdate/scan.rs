//! A scan: what is offered, what is there, and what the baseline says about both.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use patchwave_engine::baseline::{Inventory, Patch, PatchStatus, judge_patches};
use patchwave_schemas::baseline::BaselineSnapshot;

use super::super::{FirstSeen, PackageError, ScanResult, os_release};
use super::kind::classification;
use super::root::MacRoot;
use super::{history, list, pending};

/// Scans. Blocks, for a minute where Apple's servers are slow; see
/// [`super::super::PackageManager::scan`].
pub(super) fn scan(root: &MacRoot, baseline: &BaselineSnapshot, now: Timestamp) -> Result<ScanResult, PackageError> {
    let node = os_release(root.directory())?.profile();
    let offered = list::parse(&root.ask(&["--list"])?);
    let history = history::parse(&root.ask(&["--history", "--all"])?, &TimeZone::system());
    let pending = pending::since_boot(root);
    let mut first_seen = FirstSeen::load(root.state_dir());

    let mut patches: Vec<Patch> = offered
        .iter()
        .map(|offer| {
            let installed_at = pending.get(&offer.label).copied();
            let title = if offer.title.is_empty() { &offer.label } else { &offer.title };
            Patch {
                id: offer.label.clone(),
                title: title.clone(),
                version: offer.version.clone(),
                status: if installed_at.is_some() { PatchStatus::Installed } else { PatchStatus::Needed },
                classification: classification(title, &offer.version, offer.recommended, &node.version).to_owned(),
                first_seen: Some(first_seen.released(&offer.label, "", &offer.version, None, now)),
                installed_at,
                pending_reboot: installed_at.is_some(),
                ..Patch::default()
            }
        })
        .collect();
    // What is there is no offer any more, unless it waits for a restart.
    let installed = history.iter().filter(|installed| {
        !offered.iter().any(|offer| offer.title == installed.name && offer.version == installed.version)
    });
    patches.extend(installed.map(|installed| Patch {
        id: installed.id(),
        title: installed.name.clone(),
        version: installed.version.clone(),
        status: PatchStatus::Installed,
        // It runs, so it is none of another macOS.
        classification: classification(&installed.name, "", true, "").to_owned(),
        installed_at: installed.at,
        ..Patch::default()
    }));
    // Without its notes a scan is still right; delays only last longer.
    if let Err(error) = first_seen.save(root.state_dir()) {
        tracing::warn!(%error, path = %root.state_dir().display(), "first-seen notes could not be kept");
    }

    let evaluation = judge_patches(baseline, &node, &patches, now);
    let records = evaluation.decisions.iter().map(|decision| decision.to_record()).collect();
    let reboot_required = patches.iter().any(|patch| patch.pending_reboot);
    let inventory = Some(Inventory::of_patches(node, patches));
    Ok(ScanResult { evaluation, patches: records, reboot_required, inventory })
}
