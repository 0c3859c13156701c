//! A scan: what is installed, what is available, and what the baseline says about it.

use std::collections::HashSet;
use std::fs;

use jiff::Timestamp;
use patchwave_engine::baseline::{AvailableVersion, InstalledPackage, Inventory, judge};
use patchwave_engine::versions::deb;
use patchwave_schemas::baseline::BaselineSnapshot;

use super::super::{FirstSeen, PackageError, ScanResult, os_release};
use super::root::AptRoot;
use super::{dpkg, lists, pins};

/// Scans. Blocks; see [`super::super::PackageManager::scan`].
pub(super) fn scan(root: &AptRoot, baseline: &BaselineSnapshot, now: Timestamp) -> Result<ScanResult, PackageError> {
    let node = os_release(root.directory())?.profile();
    let mut installed = dpkg::installed(root)?;
    let available = available(root, &installed, now)?;
    let reboot = Reboot::read(root);
    for package in &mut installed {
        package.pending_reboot = reboot.packages.contains(&package.name);
    }
    let evaluation = judge(baseline, &node, &installed, &available, now);
    let patches = evaluation.decisions.iter().map(|decision| decision.to_record()).collect();
    let inventory = Some(Inventory::of_packages(node, installed, available));
    Ok(ScanResult { evaluation, patches, reboot_required: reboot.required, inventory })
}

/// Every version apt might choose for what is installed, with the instant its delays count from.
fn available(
    root: &AptRoot,
    installed: &[InstalledPackage],
    now: Timestamp,
) -> Result<Vec<AvailableVersion>, PackageError> {
    let offers = lists::offers(root, installed)?;
    let preferences = pins::Preferences::read(root)?;
    let upgradable = installed.iter().filter(|package| {
        offers.get(&package.name).is_some_and(|offers| {
            offers.iter().any(|o| pins::fits(o, package) && deb::compare(&o.version, &package.version).is_gt())
        })
    });
    let policies = pins::Policies::ask(root, &preferences, upgradable)?;

    let mut first_seen = FirstSeen::load(root.state_dir());
    let mut available = Vec::new();
    for package in installed {
        let Some(offers) = offers.get(&package.name) else { continue };
        for offer in policies.eligible(package, offers) {
            let released =
                first_seen.released(&package.name, &package.architecture, &offer.version, offer.listed_at, now);
            available.push(AvailableVersion {
                name: package.name.clone(),
                // The package's own: where the same name is installed for two architectures, one
                // version may be eligible for one of them only.
                architecture: package.architecture.clone(),
                version: offer.version.clone(),
                section: offer.section.clone(),
                priority: offer.priority.clone(),
                origins: offer.origins.clone(),
                released_at: offer.listed_at.map(|_| released),
                first_seen: Some(released),
                ..AvailableVersion::default()
            });
        }
    }
    // Without its notes a scan is still right; delays only last longer.
    if let Err(error) = first_seen.save(root.state_dir()) {
        tracing::warn!(%error, path = %root.state_dir().display(), "first-seen notes could not be kept");
    }
    Ok(available)
}

/// What the system says about reboots. The files are made by packages' own scripts
/// (update-notifier, kernels, libc) and vanish when the system starts.
struct Reboot {
    required: bool,
    packages: HashSet<String>,
}

impl Reboot {
    fn read(root: &AptRoot) -> Self {
        // `/var/run` is a link to `/run` wherever systemd is; a scratch root may have either.
        let directory = ["run", "var/run"].map(|directory| root.path(directory));
        let required = directory.iter().any(|directory| directory.join("reboot-required").exists());
        let packages = directory
            .iter()
            .filter_map(|directory| fs::read_to_string(directory.join("reboot-required.pkgs")).ok())
            .flat_map(|text| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>())
            .collect();
        Self { required, packages }
    }
}
