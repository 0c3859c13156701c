//! The packages of a simulated node: a small catalogue, and which of them are up to date.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::baseline::{AvailableVersion, InstalledPackage, Inventory, NodeProfile, Origin, judge};
use patchwave_schemas::baseline::{BaselineSnapshot, PatchState};

use super::SimulatedSystem;
use crate::packages::{InstallProgress, InstallResult, ScanResult};

/// Share of the packages that are up to date on a node from the start.
pub(super) const UP_TO_DATE_SHARE: f64 = 0.4;

/// A package every simulated node has, in an old version or the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CataloguePackage {
    /// Its name.
    pub name: &'static str,
    /// Archive section.
    pub section: &'static str,
    /// Debian priority.
    pub priority: &'static str,
    /// The version that nodes start with.
    pub old: &'static str,
    /// The version that patches it.
    pub new: &'static str,
    /// Whether the new version is a security update.
    pub security: bool,
    /// Days since the release of the new version.
    pub released_days_ago: i64,
}

const fn package(
    name: &'static str,
    section: &'static str,
    priority: &'static str,
    versions: (&'static str, &'static str),
    security: bool,
    released_days_ago: i64,
) -> CataloguePackage {
    let (old, new) = versions;
    CataloguePackage { name, section, priority, old, new, security, released_days_ago }
}

/// Every package of a simulated node. Releases lie on both sides of usual approval delays.
pub const CATALOGUE: [CataloguePackage; 12] = [
    package("openssl", "utils", "optional", ("3.0.13-1", "3.0.15-1"), true, 3),
    package("libssl3", "libs", "optional", ("3.0.13-1", "3.0.15-1"), true, 3),
    package("curl", "web", "optional", ("7.88.1-10", "7.88.1-12"), true, 10),
    package("openssh-server", "net", "optional", ("1:9.2p1-2", "1:9.2p1-3"), true, 20),
    package("sudo", "admin", "optional", ("1.9.13p3-1", "1.9.13p3-2"), true, 1),
    package("libc6", "libs", "required", ("2.36-9", "2.36-10"), true, 30),
    package("bash", "shells", "required", ("5.2.15-2", "5.2.15-3"), false, 40),
    package("tzdata", "localization", "required", ("2024a-0", "2024b-0"), false, 9),
    package("systemd", "admin", "important", ("252.22-1", "252.30-1"), false, 15),
    package("nginx", "httpd", "optional", ("1.22.1-9", "1.22.1-10"), true, 5),
    package("vim", "editors", "optional", ("2:9.0.1378-2", "2:9.0.1378-4"), false, 60),
    package("linux-image", "kernel", "optional", ("6.1.90-1", "6.1.112-1"), true, 12),
];

/// What is on one node.
pub(super) struct Packages {
    profile: NodeProfile,
    released_before: Timestamp,
    /// One bit for each package of the catalogue: set when it is up to date.
    up_to_date: AtomicU32,
}

impl Packages {
    pub(super) fn new(
        system: &SimulatedSystem,
        released_before: Timestamp,
        is_up_to_date: impl Fn(&str) -> bool,
    ) -> Self {
        let bits = CATALOGUE.iter().enumerate().filter(|(_, package)| is_up_to_date(package.name));
        let profile = NodeProfile {
            operating_system: system.operating_system,
            version: system.version.clone(),
            codename: system.codename.clone(),
        };
        let up_to_date = AtomicU32::new(bits.fold(0, |bits, (index, _)| bits | 1 << index));
        Self { profile, released_before, up_to_date }
    }

    pub(super) fn scan(&self, baseline: &BaselineSnapshot, now: Timestamp) -> ScanResult {
        let bits = self.up_to_date.load(Ordering::Relaxed);
        let installed: Vec<InstalledPackage> =
            CATALOGUE.iter().enumerate().map(|(index, package)| installed(package, bits & 1 << index != 0)).collect();
        let origin = |security| {
            let suffix = if security { "-security" } else { "" };
            Arc::new(Origin {
                archive: format!("{}{suffix}", self.profile.codename),
                codename: self.profile.codename.clone(),
                origin: "Simulated".to_owned(),
                component: "main".to_owned(),
                trusted: true,
                ..Origin::default()
            })
        };
        let (plain, security) = (origin(false), origin(true));
        let available: Vec<AvailableVersion> = CATALOGUE
            .iter()
            .map(|package| AvailableVersion {
                name: package.name.to_owned(),
                architecture: ARCHITECTURE.to_owned(),
                version: package.new.to_owned(),
                section: package.section.to_owned(),
                priority: package.priority.to_owned(),
                origins: vec![Arc::clone(if package.security { &security } else { &plain })],
                released_at: self.released_before.checked_sub(days(package.released_days_ago)).ok(),
                ..AvailableVersion::default()
            })
            .collect();
        let evaluation = judge(baseline, &self.profile, &installed, &available, now);
        let patches = evaluation.decisions.iter().map(patchwave_engine::baseline::Decision::to_record).collect();
        // A simulated node restarts in no time, so nothing is ever left pending.
        let inventory = Some(Inventory::of_packages(self.profile.clone(), installed, available));
        ScanResult { evaluation, patches, reboot_required: false, inventory }
    }

    /// Installs what is approved, except for what `fails`.
    pub(super) fn install(
        &self,
        baseline: &BaselineSnapshot,
        now: Timestamp,
        fails: impl Fn(&str) -> bool,
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> InstallResult {
        let before = self.scan(baseline, now);
        let wanted: Vec<&str> = before
            .evaluation
            .decisions
            .iter()
            .filter(|decision| decision.to_install().is_some())
            .map(|decision| decision.name.as_str())
            .collect();
        let mut failed = Vec::new();
        for (done, name) in wanted.iter().copied().enumerate() {
            progress(InstallProgress::Installing { done, total: wanted.len() });
            let index = CATALOGUE.iter().position(|package| package.name == name);
            if fails(name) {
                failed.push(format!("{name}.{ARCHITECTURE}"));
            } else if let Some(index) = index {
                self.up_to_date.fetch_or(1 << index, Ordering::Relaxed);
            }
        }
        let mut scan = self.scan(baseline, now);
        for patch in scan.patches.iter_mut().filter(|patch| failed.contains(&patch.kb_id)) {
            patch.state = PatchState::Failed;
            "simulated: the installation failed".clone_into(&mut patch.reason);
        }
        InstallResult {
            scan,
            attempted: wanted.iter().map(|name| format!("{name}.{ARCHITECTURE}")).collect(),
            stdout: format!("simulated: {} packages installed\n", wanted.len() - failed.len()),
            stderr: failed.iter().map(|id| format!("simulated: {id} could not be installed\n")).collect(),
        }
    }
}

const ARCHITECTURE: &str = "amd64";

fn installed(package: &CataloguePackage, up_to_date: bool) -> InstalledPackage {
    InstalledPackage {
        name: package.name.to_owned(),
        architecture: ARCHITECTURE.to_owned(),
        version: if up_to_date { package.new } else { package.old }.to_owned(),
        section: package.section.to_owned(),
        priority: package.priority.to_owned(),
        ..InstalledPackage::default()
    }
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}
