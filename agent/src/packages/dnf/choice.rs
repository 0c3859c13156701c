//! Which of the offered versions dnf would choose from: priorities, version locks, excludes, modules.
//!
//! Priorities and locks are simple rules. What excludes and modules come to is dnf's own word, which
//! is asked for only about names that one of them may touch.

use std::collections::{HashMap, HashSet};

use patchwave_engine::baseline::{InstalledPackage, glob_matches};
use patchwave_engine::versions::rpm;

use super::super::PackageError;
use super::super::rpm::installed::evr;
use super::super::rpm::primary::Offer;
use super::config::Config;
use super::output;
use super::root::{DnfRoot, Tool};

/// Names asked about at a time, so that the command line stays within every system's limit.
const ASK_MAX: usize = 1_000;

/// The tool's word: which versions it sees, by name, architecture and version; and which names it was
/// asked about.
#[derive(Debug, Default)]
pub(super) struct Visible {
    asked: HashSet<String>,
    seen: HashSet<(String, String, String)>,
}

impl Visible {
    /// Asks about those of `upgradable` that excludes or modules may touch; asks nothing when none is.
    ///
    /// # Errors
    /// [`PackageError::Run`] and [`PackageError::Failed`].
    pub(super) fn ask<'a>(
        root: &DnfRoot,
        config: &Config,
        modular: &HashSet<String>,
        upgradable: impl Iterator<Item = (&'a InstalledPackage, &'a [Offer])>,
    ) -> Result<Self, PackageError> {
        let touched = |(package, offers): &(&InstalledPackage, &[Offer])| {
            config.includes
                || modular.contains(&package.name)
                || offers.iter().any(|offer| excluded(config, &package.name, offer).is_some())
        };
        let mut names: Vec<&str> = upgradable.filter(touched).map(|(package, _)| package.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let mut visible = Self::default();
        // yum 3 has no modules and no such command: there the excludes' own patterns decide.
        if root.tool() == Tool::Yum {
            return Ok(visible);
        }
        for some in names.chunks(ASK_MAX) {
            let mut command = root.command()?;
            command
                .args(["-C", "-q", "repoquery", "--available"])
                .args(["--queryformat", "%{name}\t%{epoch}\t%{version}\t%{release}\t%{arch}"])
                .args(some);
            let program = "dnf repoquery".to_owned();
            let output = command.output().map_err(|source| PackageError::Run { program: program.clone(), source })?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            if !output.status.success() {
                let message = output::complaint("", &text(&output.stderr));
                return Err(PackageError::Failed { program, status: output.status.to_string(), message });
            }
            visible.seen.extend(text(&output.stdout).lines().filter_map(seen));
            visible.asked.extend(some.iter().map(|name| (*name).to_owned()));
        }
        Ok(visible)
    }

    fn hides(&self, name: &str, offer: &Offer) -> bool {
        let key = (name.to_owned(), offer.architecture.clone(), offer.version.clone());
        self.asked.contains(name) && !self.seen.contains(&key)
    }
}

fn seen(line: &str) -> Option<(String, String, String)> {
    let mut fields = line.split('\t');
    let (name, epoch, version, release) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some((name.to_owned(), fields.next()?.to_owned(), evr(epoch, version, release)))
}

/// The versions that may be chosen for a package.
#[derive(Debug, Default)]
pub(super) struct Choice<'a> {
    /// The installed version, where some repository has it, and newer ones.
    pub(super) offers: Vec<&'a Offer>,
    /// The administrator keeps every newer version from the package: those are among `offers`, to be
    /// reported and not installed.
    pub(super) held: bool,
}

/// Chooses. `best_priority` is the lowest number among the repositories that have the name.
pub(super) fn choose<'a>(
    config: &Config,
    visible: &Visible,
    package: &InstalledPackage,
    offers: &'a [Offer],
    best_priority: i64,
) -> Choice<'a> {
    let mut choice = Choice::default();
    let mut kept_back: Vec<&Offer> = Vec::new();
    for offer in offers.iter().filter(|offer| fits(offer, package)) {
        let order = rpm::compare_evr(&offer.version, &package.version);
        if order.is_eq() {
            // Not a choice, but how an installed version is recognised.
            choice.offers.push(offer);
        } else if order.is_gt() && config.repositories[offer.repository].priority == best_priority {
            let left_out = excluded(config, &package.name, offer).is_some();
            let hidden = match visible.asked.contains(&package.name) {
                true => visible.hides(&package.name, offer),
                false => left_out,
            };
            if locked_out(&config.locks, &package.name, offer) || (hidden && (left_out || config.includes)) {
                kept_back.push(offer);
            } else if !hidden {
                choice.offers.push(offer);
            }
        }
    }
    let newer = |offer: &&&Offer| rpm::compare_evr(&offer.version, &package.version).is_gt();
    choice.held = !kept_back.is_empty() && !choice.offers.iter().any(|offer| newer(&offer));
    if choice.held {
        choice.offers.extend(kept_back);
    }
    // One version from two repositories is one version, from the one that dnf would take.
    let weight = |offer: &Offer| (config.repositories[offer.repository].cost, offer.repository);
    let mut best: HashMap<&str, &Offer> = HashMap::new();
    for &offer in &choice.offers {
        let known = best.entry(&offer.version).or_insert(offer);
        if weight(offer) < weight(known) {
            *known = offer;
        }
    }
    choice.offers = best.into_values().collect();
    choice.offers.sort_by(|a, b| rpm::compare_evr(&a.version, &b.version));
    choice
}

/// Whether an offer is for this package's architecture; packages may move to and from `noarch`.
pub(super) fn fits(offer: &Offer, package: &InstalledPackage) -> bool {
    offer.architecture == package.architecture || offer.architecture == "noarch" || package.architecture == "noarch"
}

/// The pattern of the administrator that leaves a version out.
fn excluded<'c>(config: &'c Config, name: &str, offer: &Offer) -> Option<&'c str> {
    let written = renderings(name, offer);
    let patterns = config.excludes.iter().map(String::as_str);
    patterns.into_iter().find(|pattern| written.iter().any(|text| glob_matches(pattern, text)))
}

/// Whether the version lock keeps a version out: its name is locked and no lock has this version, or
/// a line with `!` has it.
fn locked_out(locks: &[String], name: &str, offer: &Offer) -> bool {
    let written = renderings(name, offer);
    let matches = |pattern: &str| written.iter().any(|text| glob_matches(pattern, text));
    let (forbidden, allowed): (Vec<&str>, Vec<&str>) =
        locks.iter().map(String::as_str).partition(|line| line.starts_with('!'));
    if forbidden.iter().any(|line| matches(line[1..].trim())) {
        return true;
    }
    let of_name: Vec<&str> = allowed.into_iter().filter(|line| speaks_of(line, name)).collect();
    !of_name.is_empty() && !of_name.iter().any(|line| matches(line))
}

/// Whether a lock, `name-[epoch:]version-release.arch` or shorter, is about a name.
fn speaks_of(lock: &str, name: &str) -> bool {
    let is_version = |text: &str| text.starts_with(|c: char| c.is_ascii_digit() || c == '*');
    let without_release = lock.rsplit_once('-');
    let without_version = without_release.and_then(|(rest, _)| rest.rsplit_once('-'));
    let whole = without_version.is_some_and(|(stem, version)| is_version(version) && glob_matches(stem, name));
    let short = without_release.is_some_and(|(stem, version)| is_version(version) && glob_matches(stem, name));
    let bare = lock.rsplit_once('.').map_or(lock, |(stem, _)| stem);
    whole || short || glob_matches(lock, name) || glob_matches(bare, name)
}

/// The ways in which dnf lets people write a version, with the epoch spelled out and without.
fn renderings(name: &str, offer: &Offer) -> Vec<String> {
    let arch = &offer.architecture;
    let (epoch, rest) = offer.version.split_once(':').unwrap_or(("0", &offer.version));
    let version = rest.rsplit_once('-').map_or(rest, |(version, _)| version);
    vec![
        name.to_owned(),
        format!("{name}.{arch}"),
        format!("{name}-{version}"),
        format!("{name}-{rest}"),
        format!("{name}-{rest}.{arch}"),
        format!("{name}-{epoch}:{version}"),
        format!("{name}-{epoch}:{rest}"),
        format!("{name}-{epoch}:{rest}.{arch}"),
        format!("{epoch}:{name}-{rest}.{arch}"),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use patchwave_engine::baseline::InstalledPackage;

    use super::{Choice, Visible, choose, locked_out};
    use crate::packages::dnf::config::{Config, Repository};
    use crate::packages::rpm::primary::Offer;

    fn offer(version: &str, repository: usize) -> Offer {
        Offer { architecture: "x86_64".into(), version: version.into(), built_at: None, repository }
    }

    fn config() -> Config {
        let repository = |id: &str, priority| Repository {
            id: id.into(),
            priority,
            cost: 1000,
            expires: Some(Duration::ZERO),
            optional: false,
        };
        Config {
            repositories: vec![repository("base", 99), repository("extra", 99), repository("first", 10)],
            excludes: Vec::new(),
            includes: false,
            locks: Vec::new(),
            cache: PathBuf::new(),
        }
    }

    fn versions(choice: &Choice<'_>) -> Vec<(String, usize)> {
        choice.offers.iter().map(|offer| (offer.version.clone(), offer.repository)).collect()
    }

    fn chosen(config: &Config, offers: &[(&str, usize)]) -> (Vec<(String, usize)>, bool) {
        let package = InstalledPackage {
            name: "a".into(),
            version: "1-1".into(),
            architecture: "x86_64".into(),
            ..Default::default()
        };
        let offers: Vec<Offer> = offers.iter().map(|(version, repository)| offer(version, *repository)).collect();
        let best = offers.iter().map(|o| config.repositories[o.repository].priority).min().unwrap_or(99);
        let choice = choose(config, &Visible::default(), &package, &offers, best);
        (versions(&choice), choice.held)
    }

    #[test]
    fn repositories_of_the_best_priority_alone_offer_newer_versions() {
        let all = [("1-1", 0), ("2-1", 0), ("2-1", 1), ("3-1", 1)];
        assert_eq!(chosen(&config(), &all), (vec![("1-1".into(), 0), ("2-1".into(), 0), ("3-1".into(), 1)], false));
        assert_eq!(chosen(&config(), &[("3-1", 0), ("2-1", 2)]), (vec![("2-1".into(), 2)], false));
        assert_eq!(chosen(&config(), &[("0-1", 0)]), (vec![], false));
    }

    #[test]
    fn what_the_administrator_leaves_out_is_held_only_when_nothing_else_is_newer() {
        let mut one = config();
        one.excludes = vec!["a-3*".into()];
        assert_eq!(chosen(&one, &[("2-1", 0), ("3-1", 0)]), (vec![("2-1".into(), 0)], false));
        assert_eq!(chosen(&one, &[("3-1", 0)]), (vec![("3-1".into(), 0)], true));
        one.excludes = vec!["b*".into()];
        assert_eq!(chosen(&one, &[("3-1", 0)]), (vec![("3-1".into(), 0)], false));
    }

    #[test]
    fn version_lock_keeps_out_what_no_lock_of_the_name_allows() {
        let out = |locks: &[&str], version: &str| {
            let locks: Vec<String> = locks.iter().map(|lock| (*lock).to_owned()).collect();
            locked_out(&locks, "a", &offer(version, 0))
        };
        assert!(out(&["a-0:1-1.*"], "2-1"));
        assert!(!out(&["a-0:1-1.*", "a-0:2-*"], "2-1"));
        assert!(!out(&["b-0:1-1.*"], "2-1"));
        assert!(!out(&["a-extra-0:1-1.*"], "2-1"));
        assert!(!out(&["a"], "2-1"), "any version is allowed by the name alone");
        assert!(out(&["!a-0:2-1.*"], "2-1"));
        assert!(!out(&["!a-0:2-1.*"], "3-1"));
        assert!(out(&["a-1:1-1.*"], "2:1-1"));
    }
}
