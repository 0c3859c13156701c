//! A scan: what is installed, what is available, and what the baseline says about it.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use patchwave_engine::baseline::{AvailableVersion, InstalledPackage, Inventory, judge};
use patchwave_engine::versions::rpm;
use patchwave_schemas::baseline::BaselineSnapshot;

use super::super::rpm::installed;
use super::super::rpm::modules;
use super::super::rpm::open::open;
use super::super::rpm::primary::{self, Offer, Wanted};
use super::super::rpm::updateinfo::Notices;
use super::super::{FirstSeen, PackageError, ScanResult, os_release};
use super::cache::{self, Cached};
use super::choice::{self, Visible};
use super::config::Config;
use super::root::DnfRoot;
use super::{listing, reboot};

/// Scans. Blocks; see [`super::super::PackageManager::scan`].
pub(super) fn scan(root: &DnfRoot, baseline: &BaselineSnapshot, now: Timestamp) -> Result<ScanResult, PackageError> {
    let node = os_release(root.directory())?.profile();
    let root = &root.by_baseline(baseline, &node)?;
    let mut installed = installed::installed(root.rpm())?;
    let available = available(root, &mut installed, now)?;
    let reboot_required = reboot::flag(root, &mut installed, reboot::started());
    let evaluation = judge(baseline, &node, &installed, &available, now);
    let patches = evaluation.decisions.iter().map(|decision| decision.to_record()).collect();
    let inventory = Some(Inventory::of_packages(node, installed, available));
    Ok(ScanResult { evaluation, patches, reboot_required, inventory })
}

/// Every version dnf might choose for what is installed; flags what the administrator holds.
fn available(
    root: &DnfRoot,
    installed: &mut [InstalledPackage],
    now: Timestamp,
) -> Result<Vec<AvailableVersion>, PackageError> {
    let mut config = Config::read(root)?;
    let cached = cache::current(root, &config)?;
    config.repositories = cached.iter().map(|cached| cached.repository.clone()).collect();
    let offered = Offered::read(root, &cached, installed)?;
    let upgradable = installed.iter().filter_map(|package| {
        let offers = offered.offers.get(&package.name)?.as_slice();
        let newer = |o: &Offer| choice::fits(o, package) && rpm::compare_evr(&o.version, &package.version).is_gt();
        offers.iter().any(newer).then_some((package, offers))
    });
    let visible = Visible::ask(root, &config, &offered.modular, upgradable)?;

    let mut first_seen = FirstSeen::load(root.state_dir());
    let mut available: Vec<AvailableVersion> = Vec::new();
    let mut done: HashSet<(String, String)> = HashSet::new();
    for package in installed {
        let (Some(offers), Some(best)) = (offered.offers.get(&package.name), offered.priorities.get(&package.name))
        else {
            continue;
        };
        let choice = choice::choose(&config, &visible, package, offers, *best);
        package.held = choice.held;
        // Of several kernels the newest comes first, and what is offered for it is for all.
        let is_first = done.insert((package.name.clone(), package.architecture.clone()));
        let is_new = |offer: &&&Offer| is_first || offer.version == package.version;
        for offer in choice.offers.iter().filter(is_new) {
            available.push(version(package, offer, &offered, &config, &mut first_seen, now));
        }
    }
    // Without its notes a scan is still right; delays only last longer.
    if let Err(error) = first_seen.save(root.state_dir()) {
        tracing::warn!(%error, path = %root.state_dir().display(), "first-seen notes could not be kept");
    }
    Ok(available)
}

/// An offer as the evaluation takes it.
fn version(
    package: &InstalledPackage,
    offer: &Offer,
    offered: &Offered,
    config: &Config,
    first_seen: &mut FirstSeen,
    now: Timestamp,
) -> AvailableVersion {
    let advisories = offered.notices.of(&package.name, &offer.architecture, &offer.version);
    // SSM: the later of the notice and the build; of several notices any suffices.
    let noticed = advisories.iter().filter_map(|advisory| advisory.released_at).min();
    let released_at = noticed.max(offer.built_at);
    let mut undated = || first_seen.released(&package.name, &package.architecture, &offer.version, None, now);
    AvailableVersion {
        name: package.name.clone(),
        // The package's own: it may have moved to or from `noarch`.
        architecture: package.architecture.clone(),
        version: offer.version.clone(),
        advisories,
        built_at: offer.built_at,
        repository: config.repositories[offer.repository].id.clone(),
        released_at,
        first_seen: if released_at.is_none() { Some(undated()) } else { None },
        ..AvailableVersion::default()
    }
}

/// What the enabled repositories say about installed names.
#[derive(Debug, Default)]
struct Offered {
    /// By name; none below the oldest installed version.
    offers: HashMap<String, Vec<Offer>>,
    /// By name the lowest priority number among the repositories that have it in any version.
    priorities: HashMap<String, i64>,
    /// Names that some module has.
    modular: HashSet<String>,
    notices: Notices,
}

impl Offered {
    fn read(root: &DnfRoot, cached: &[Cached], installed: &[InstalledPackage]) -> Result<Self, PackageError> {
        let wanted = Wanted::new(installed);
        let mut all = Self::default();
        for (place, Cached { repository, metadata }) in cached.iter().enumerate() {
            if let Some(path) = &metadata.primary {
                let failed = |source| PackageError::Read { path: path.clone(), source };
                primary::read(open(path).map_err(failed)?, &wanted, place, |name, offer| {
                    all.add(&wanted, repository.priority, name, offer);
                })
                .map_err(failed)?;
            }
            let Self { modular, notices, .. } = &mut all;
            if let Some(path) = &metadata.updateinfo {
                let failed = |source| PackageError::Read { path: path.clone(), source };
                notices.read(open(path).map_err(failed)?, &wanted).map_err(failed)?;
            }
            if let Some(path) = &metadata.modules {
                let failed = |source| PackageError::Read { path: path.clone(), source };
                modules::read(open(path).map_err(failed)?, &wanted, modular).map_err(failed)?;
            }
        }
        if cached.iter().any(|cached| cached.metadata.primary.is_none()) {
            listing::read(root, cached, |name, offer| {
                let Cached { repository, metadata } = &cached[offer.repository];
                if metadata.primary.is_none() {
                    all.add(&wanted, repository.priority, name, offer);
                }
            })?;
        }
        Ok(all)
    }

    /// Keeps an offer of an installed name unless it is older than everything installed.
    fn add(&mut self, wanted: &Wanted<'_>, priority: i64, name: &str, offer: Offer) {
        let Some(oldest) = wanted.oldest(name.as_bytes()) else { return };
        let best = self.priorities.entry(name.to_owned()).or_insert(priority);
        *best = (*best).min(priority);
        if rpm::compare_evr(&offer.version, oldest).is_ge() {
            self.offers.entry(name.to_owned()).or_default().push(offer);
        }
    }
}
