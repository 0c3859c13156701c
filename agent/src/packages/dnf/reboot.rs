//! Whether the system must be restarted for what was installed.

use std::process::Command;

use jiff::Timestamp;
use patchwave_engine::baseline::InstalledPackage;

use super::root::DnfRoot;

/// What takes effect at the next start only: the lists of dnf-utils and yum-utils, and the packages
/// that kernels are cut into.
const NEEDS_REBOOT: [&str; 20] = [
    "dbus",
    "dbus-broker",
    "dbus-daemon",
    "glibc",
    "gnutls",
    "kernel",
    "kernel-64k",
    "kernel-core",
    "kernel-modules-core",
    "kernel-rt",
    "kernel-rt-core",
    "kernel-uek",
    "kernel-uek-core",
    "kernel6.12",
    "linux-firmware",
    "microcode_ctl",
    "openssl-libs",
    "systemd",
    "systemd-udev",
    "udev",
];

/// Exit status of `needs-restarting -r` when a restart is needed.
const NEEDED: i32 = 1;

/// Flags what was installed after the start and needs another; returns whether the system needs one.
///
/// `needs-restarting -r` is asked on the running system, where it is there and anything is newer than
/// the start: it knows the administrator's own list. Without it the known names decide.
pub(super) fn flag(root: &DnfRoot, installed: &mut [InstalledPackage], started: Option<Timestamp>) -> bool {
    let Some(started) = started else { return false };
    let newer = |package: &InstalledPackage| package.installed_at.is_some_and(|at| at > started);
    for package in installed.iter_mut() {
        package.pending_reboot = newer(package) && NEEDS_REBOOT.contains(&package.name.as_str());
    }
    let known = installed.iter().any(|package| package.pending_reboot);
    known || (root.is_this_system() && installed.iter().any(newer) && needs_restarting())
}

fn needs_restarting() -> bool {
    let status = Command::new("needs-restarting")
        .arg("-r")
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()
        .map(|output| (output.status.code(), output.stdout));
    // Status 1 alone may be a failure; it needs the word too.
    status
        .is_ok_and(|(code, said)| code == Some(NEEDED) && String::from_utf8_lossy(&said).contains("Reboot is required"))
}

/// When the running kernel was started.
pub(super) fn started() -> Option<Timestamp> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    parse(&text)
}

fn parse(stat: &str) -> Option<Timestamp> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(seconds.trim().parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use patchwave_engine::baseline::InstalledPackage;

    use super::{flag, parse};
    use crate::packages::dnf::DnfRoot;

    #[test]
    fn only_what_is_newer_than_the_start_and_takes_effect_with_it_asks_for_a_restart() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let package = |name: &str, second| InstalledPackage {
            name: name.into(),
            installed_at: Some(at(second)),
            ..InstalledPackage::default()
        };
        let root = DnfRoot::new("/nowhere", "/nowhere/state");
        let flagged = |packages: &mut [InstalledPackage], started| {
            let needed = flag(&root, packages, started);
            (needed, packages.iter().map(|p| p.pending_reboot).collect::<Vec<_>>())
        };
        let packages = &mut [package("kernel-core", 200), package("bash", 200), package("glibc", 50)];
        assert_eq!(flagged(packages, Some(at(100))), (true, vec![true, false, false]));
        assert_eq!(flagged(packages, Some(at(300))), (false, vec![false, false, false]));
        assert_eq!(flagged(packages, None), (false, vec![false, false, false]));
    }

    #[test]
    fn start_is_read_from_the_kernel() {
        assert_eq!(parse("cpu 1 2\nbtime 1700000000\nprocesses 3\n").map(|t| t.as_second()), Some(1_700_000_000));
        assert_eq!(parse("cpu 1 2\n"), None);
    }
}
