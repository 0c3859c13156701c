//! A scan: what zypper says about every patch, and what the baseline says about that.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::process::Stdio;

use jiff::Timestamp;
use patchwave_engine::baseline::{Inventory, Patch, PatchStatus, glob_matches, judge_patches};
use patchwave_schemas::baseline::{BaselineRules, BaselineSnapshot, PatchState};

use super::super::{FirstSeen, PackageError, ScanResult, os_release};
use super::contents::{self, Contents};
use super::exit::{Meaning, meaning};
use super::listing::{self, Listed, Listing, Status};
use super::locks;
use super::root::ZypperRoot;

/// A scan, with what an installation needs to know besides.
pub(super) struct Scanned {
    pub(super) result: ScanResult,
    pub(super) listing: Listing,
}

/// Scans. Blocks; see [`super::super::PackageManager::scan`].
pub(super) fn scan(root: &ZypperRoot, baseline: &BaselineSnapshot, now: Timestamp) -> Result<Scanned, PackageError> {
    let node = os_release(root.directory())?.profile();
    let rules = &baseline.rules;
    let listing = list(root)?;
    for complaint in &listing.complaints {
        tracing::warn!(complaint, "zypper could not look everywhere");
    }
    let locks = locks::locked_packages(root);
    let contents = contents_as_needed(root, rules, &listing, &locks)?;
    let boot = last_boot(root);
    let mut first_seen = FirstSeen::load(root.state_dir());
    let mut held = BTreeMap::new();
    let patches: Vec<Patch> = listing
        .patches
        .values()
        .map(|listed| {
            let packages = contents.get(&listed.name).map_or(&[][..], Vec::as_slice);
            if let Some(why) = held_because(rules, listed, &locks, packages) {
                held.insert(listed.name.as_str(), why);
            }
            let seen =
                listed.issued_at.is_none().then(|| first_seen.released(&listed.name, "", &listed.edition, None, now));
            Patch { held: held.contains_key(listed.name.as_str()), first_seen: seen, ..patch(listed, packages, boot) }
        })
        .collect();
    // Without its notes a scan is still right; delays only last longer.
    if let Err(error) = first_seen.save(root.state_dir()) {
        tracing::warn!(%error, path = %root.state_dir().display(), "first-seen notes could not be kept");
    }

    let mut evaluation = judge_patches(baseline, &node, &patches, now);
    for decision in &mut evaluation.decisions {
        if let Some(why) = held.get(decision.name.as_str())
            && decision.state == PatchState::Missing
        {
            decision.reason = decision.reason.replacen("held back by the administrator", why, 1);
        }
    }
    let records = evaluation.decisions.iter().map(|decision| decision.to_record()).collect();
    let reboot_required = patches.iter().any(|patch| patch.pending_reboot) || reboot_flag(root);
    let inventory = Some(Inventory::of_patches(node, patches));
    Ok(Scanned { result: ScanResult { evaluation, patches: records, reboot_required, inventory }, listing })
}

/// Asks zypper for all patches. Its output may be tens of megabytes, of which little is kept.
pub(super) fn list(root: &ZypperRoot) -> Result<Listing, PackageError> {
    let program = || "zypper list-patches".to_owned();
    let failed = |source| PackageError::Run { program: program(), source };
    let mut command = root.looking(&["--xmlout", "list-patches", "--all"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(failed)?;
    let listing = child.stdout.take().map(|output| listing::parse(BufReader::new(output))).unwrap_or_default();
    let status = child.wait().map_err(failed)?;
    // 106: some repository had to be left out; what the others say is still true.
    let done = matches!(meaning(status.code()), Meaning::Done | Meaning::ReposSkipped);
    if done && listing.complete {
        return Ok(listing);
    }
    let message = listing.complaints.into_iter().next().unwrap_or_else(|| "no message".to_owned());
    Err(PackageError::Failed { program: program(), status: status.to_string(), message })
}

/// The packages of the patches that are needed or applied, where a lock or a list may name one.
fn contents_as_needed(
    root: &ZypperRoot,
    rules: &BaselineRules,
    listing: &Listing,
    locks: &[String],
) -> Result<Contents, PackageError> {
    let is_patch = |entry: &String| listing.patches.keys().any(|name| glob_matches(entry, name));
    let lists_name_packages =
        rules.approved_patches.iter().chain(&rules.rejected_patches).any(|entry| !is_patch(entry));
    let wanted = |patch: &&Listed| match patch.status {
        Status::Needed => lists_name_packages || !locks.is_empty(),
        Status::Applied => lists_name_packages,
        Status::NotNeeded | Status::Retracted | Status::Locked => false,
    };
    let names: Vec<&str> = listing.patches.values().filter(wanted).map(|patch| patch.name.as_str()).collect();
    contents::ask(root, &names)
}

/// Why a patch is not to be installed although it is needed, if there is a reason.
fn held_because(rules: &BaselineRules, listed: &Listed, locks: &[String], packages: &[String]) -> Option<String> {
    match listed.status {
        Status::Locked => Some("locked by the administrator".to_owned()),
        Status::Retracted => Some("retracted by the vendor".to_owned()),
        Status::Needed => {
            if let Some(lock) = locks::lock_on(locks, packages) {
                return Some(format!("package lock `{lock}` of the administrator forbids it"));
            }
            let asks = listed.licence || (listed.interactive && !listed.restart);
            (asks && !is_agreed(rules, &listed.name)).then(|| {
                "it shows a message or asks for a licence, and waits for ApprovedPatches to name it".to_owned()
            })
        }
        Status::Applied | Status::NotNeeded => None,
    }
}

/// Whether the baseline approves this very patch by name.
pub(super) fn is_agreed(rules: &BaselineRules, name: &str) -> bool {
    rules.approved_patches.iter().any(|entry| glob_matches(entry, name))
}

fn patch(listed: &Listed, packages: &[String], boot: Option<Timestamp>) -> Patch {
    let applied = listed.status == Status::Applied;
    let since_boot = boot.zip(listed.since).is_some_and(|(boot, since)| since > boot);
    Patch {
        id: listed.name.clone(),
        title: listed.summary.clone(),
        status: match listed.status {
            Status::Needed | Status::Locked => PatchStatus::Needed,
            Status::Applied => PatchStatus::Installed,
            // zypper does not say of a retracted patch whether it would apply, and never installs it.
            Status::NotNeeded | Status::Retracted => PatchStatus::NotApplicable,
        },
        classification: capitalised(&listed.category),
        severity: capitalised(&listed.severity),
        cve_ids: listed.cve_ids.clone(),
        bugzilla_ids: listed.bugzilla_ids.clone(),
        aliases: packages.to_vec(),
        released_at: listed.issued_at,
        installed_at: listed.since.filter(|_| applied),
        pending_reboot: applied && listed.restart && since_boot,
        ..Patch::default()
    }
}

/// SSM's spelling of SUSE's categories and severities: `Security`, `Yast`, `Important`, …
fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + &chars.as_str().to_ascii_lowercase())
        .unwrap_or_default()
}

/// When the system under the root was started; nothing where it is not running.
fn last_boot(root: &ZypperRoot) -> Option<Timestamp> {
    let text = fs::read_to_string(root.path("proc/stat")).ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Timestamp::from_second(seconds).ok()
}

/// libzypp's own note that a core library or service was changed, which `zypper needs-rebooting`
/// tells of; it vanishes when the system starts.
fn reboot_flag(root: &ZypperRoot) -> bool {
    ["run/reboot-needed", "var/run/reboot-needed"].iter().any(|path| root.path(path).exists())
}
