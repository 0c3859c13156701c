//! Which of the available versions apt would choose: archive priorities and pins.
//!
//! No version newer than apt's own candidate is ever offered, so an installation does nothing
//! that an administrator's preferences forbid. Where preferences or a default release may touch a
//! package, apt itself is asked (`apt-cache policy`); elsewhere the archives' own priorities decide.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Cursor};

use patchwave_engine::baseline::{InstalledPackage, glob_matches};
use patchwave_engine::versions::deb;

use super::super::PackageError;
use super::deb822::{Line, for_each_line};
use super::lists::Offer;
use super::release::PRIORITY_ORDINARY;
use super::root::AptRoot;
use super::sources::directory;

/// apt's priority of a version that only dpkg knows.
const PRIORITY_INSTALLED: i32 = 100;
/// Packages asked for in one call: well below any limit on arguments.
const ASK_MAX: usize = 500;

/// Which packages the administrator's preferences may touch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Preferences {
    everything: bool,
    patterns: Vec<String>,
}

impl Preferences {
    /// Reads `etc/apt/preferences`, `preferences.d`, and whether a default release is set.
    pub(super) fn read(root: &AptRoot) -> Result<Self, PackageError> {
        let mut preferences = Self::default();
        let mut files = vec![root.path("etc/apt/preferences")];
        files.extend(directory(root.path("etc/apt/preferences.d"))?);
        for path in files {
            let read = |source| PackageError::Read { path: path.clone(), source };
            match fs::read(&path) {
                Ok(bytes) => preferences.add(&bytes).map_err(read)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(read(error)),
            }
        }
        let mut files = vec![root.path("etc/apt/apt.conf")];
        files.extend(directory(root.path("etc/apt/apt.conf.d"))?);
        for path in files {
            let text = fs::read(&path).unwrap_or_default();
            preferences.everything |= sets_default_release(&String::from_utf8_lossy(&text));
        }
        Ok(preferences)
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        for_each_line(Cursor::new(bytes), |line| {
            let Line::Field(b"Package", value) = line else { return };
            for pattern in String::from_utf8_lossy(value).split_whitespace() {
                // Regular expressions and source packages: let apt say what they match.
                if pattern.starts_with('/') || pattern.starts_with("src:") || pattern == "*" {
                    self.everything = true;
                }
                let name = pattern.split(':').next().unwrap_or(pattern);
                self.patterns.push(name.to_owned());
            }
        })
    }

    fn touch(&self, name: &str) -> bool {
        self.everything || self.patterns.iter().any(|pattern| glob_matches(pattern, name))
    }
}

fn sets_default_release(text: &str) -> bool {
    text.lines()
        .filter(|line| !line.trim_start().starts_with(['#', '/']))
        .any(|line| line.to_ascii_lowercase().contains("default-release"))
}

/// apt's word on the packages that preferences may touch, by `name:arch`.
#[derive(Debug, Default)]
pub(super) struct Policies(HashMap<String, Policy>);

/// What `apt-cache policy` says about one package.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Policy {
    candidate: String,
    priorities: HashMap<String, i32>,
}

impl Policies {
    /// Asks apt about those of `upgradable` that preferences may touch; asks nothing when none is.
    pub(super) fn ask<'a>(
        root: &AptRoot,
        preferences: &Preferences,
        upgradable: impl Iterator<Item = &'a InstalledPackage>,
    ) -> Result<Self, PackageError> {
        let touched: Vec<&InstalledPackage> = upgradable.filter(|package| preferences.touch(&package.name)).collect();
        let mut policies = Self::default();
        for some in touched.chunks(ASK_MAX) {
            let names: Vec<String> = some.iter().map(|package| spelled(package)).collect();
            let mut command = root.command("apt-cache")?;
            command.arg("policy").args(&names);
            let program = "apt-cache policy".to_owned();
            let output = command.output().map_err(|source| PackageError::Run { program: program.clone(), source })?;
            if !output.status.success() {
                let message = super::apt_get::last_complaint(&String::from_utf8_lossy(&output.stderr));
                return Err(PackageError::Failed { program, status: output.status.to_string(), message });
            }
            let mut answers = parse(&String::from_utf8_lossy(&output.stdout));
            for package in some {
                // apt leaves out the architecture where it is the machine's own.
                let answer = answers.remove(&spelled(package)).or_else(|| answers.remove(&package.name));
                policies.0.insert(spelled(package), answer.unwrap_or_default());
            }
        }
        Ok(policies)
    }

    /// Of the offers for a package those that may be chosen. The installed version is always
    /// among them when an archive has it: it is how that version is recognised.
    pub(super) fn eligible<'a>(&self, package: &InstalledPackage, offers: &'a [Offer]) -> Vec<&'a Offer> {
        let fitting: Vec<&Offer> = offers.iter().filter(|offer| fits(offer, package)).collect();
        let policy = self.0.get(&spelled(package));
        let pin = |offer: &Offer| match policy {
            Some(policy) => policy.priorities.get(&offer.version).copied().unwrap_or(-1),
            None => offer.pin,
        };
        let current = |offer: &&&Offer| deb::compare(&offer.version, &package.version).is_eq();
        let newer = |offer: &&&Offer| deb::compare(&offer.version, &package.version).is_gt();
        // The installed version competes with the priority of the best archive that has it.
        let of_current = fitting.iter().filter(current).map(|o| pin(o)).max().unwrap_or(0).max(PRIORITY_INSTALLED);
        let best = fitting
            .iter()
            .filter(newer)
            .filter(|offer| pin(offer) > 0)
            .max_by(|a, b| pin(a).cmp(&pin(b)).then_with(|| deb::compare(&a.version, &b.version)));
        let candidate: Option<(&str, i32)> = match policy {
            Some(policy) => {
                let priority = policy.priorities.get(&policy.candidate).copied().unwrap_or(0);
                Some((policy.candidate.as_str(), priority))
                    .filter(|(version, _)| deb::compare(version, &package.version).is_gt())
            }
            None => {
                best.map(|offer| (offer.version.as_str(), pin(offer))).filter(|(_, priority)| *priority >= of_current)
            }
        };
        fitting
            .into_iter()
            .filter(|offer| {
                current(&offer)
                    || newer(&offer)
                        && candidate.is_some_and(|(version, priority)| {
                            deb::compare(&offer.version, version).is_le()
                                && pin(offer) >= priority.min(PRIORITY_ORDINARY)
                        })
            })
            .collect()
    }
}

/// Whether an offer is for this package's architecture; packages may move to and from `all`.
pub(super) fn fits(offer: &Offer, package: &InstalledPackage) -> bool {
    offer.architecture == package.architecture || offer.architecture == "all" || package.architecture == "all"
}

fn spelled(package: &InstalledPackage) -> String {
    // `name:all` means the machine's own architecture, which is what a bare name means too.
    if package.architecture == "all" {
        package.name.clone()
    } else {
        format!("{}:{}", package.name, package.architecture)
    }
}

fn parse(output: &str) -> HashMap<String, Policy> {
    let mut policies: HashMap<String, Policy> = HashMap::new();
    let mut name = String::new();
    for line in output.lines() {
        if !line.starts_with(' ') {
            name = line.trim_end_matches(':').to_owned();
            policies.entry(name.clone()).or_default();
            continue;
        }
        let Some(policy) = policies.get_mut(&name) else { continue };
        if let Some(candidate) = line.strip_prefix("  Candidate: ") {
            policy.candidate = candidate.trim().to_owned();
        } else if let Some(version) = line.strip_prefix(" *** ").or_else(|| line.strip_prefix("     ")) {
            // Deeper lines are the archives of a version.
            let mut words = version.split_whitespace();
            if !version.starts_with(' ')
                && let (Some(version), Some(Ok(priority))) = (words.next(), words.next().map(str::parse))
            {
                policy.priorities.insert(version.to_owned(), priority);
            }
        }
    }
    policies
}

#[cfg(test)]
mod tests {
    use patchwave_engine::baseline::InstalledPackage;

    use super::{Offer, Policies, Policy, Preferences, parse, sets_default_release};

    const RECORDED: &str = include_str!("../../../tests/data/debian-12.apt-cache-policy.stdout");

    fn package(version: &str) -> InstalledPackage {
        InstalledPackage {
            name: "a".into(),
            version: version.into(),
            architecture: "amd64".into(),
            ..InstalledPackage::default()
        }
    }

    fn offer(version: &str, pin: i32) -> Offer {
        Offer {
            architecture: "amd64".into(),
            version: version.into(),
            section: String::new(),
            priority: String::new(),
            origins: Vec::new(),
            pin,
            listed_at: None,
        }
    }

    fn eligible(policies: &Policies, installed: &str, offers: &[(&str, i32)]) -> Vec<String> {
        let offers: Vec<Offer> = offers.iter().map(|(version, pin)| offer(version, *pin)).collect();
        policies.eligible(&package(installed), &offers).into_iter().map(|o| o.version.clone()).collect()
    }

    #[test]
    fn archives_priorities_decide_without_pins() {
        let none = Policies::default();
        for (installed, offers, expected) in [
            ("1", &[("2", 500), ("3", 500)][..], &["2", "3"][..]),
            // Backports are not upgraded to while an ordinary archive has the package …
            ("1", &[("1", 500), ("2", 100)], &["1"]),
            ("1", &[("2", 500), ("3", 100)], &["2"]),
            // … but are followed once installed from.
            ("2~bpo", &[("3~bpo", 100)], &["3~bpo"]),
            // Experimental never.
            ("1", &[("2", 1)], &[]),
            ("1", &[("2", 500), ("3", 1)], &["2"]),
        ] {
            assert_eq!(eligible(&none, installed, offers), expected, "{installed} {offers:?}");
        }
    }

    #[test]
    fn apts_own_candidate_is_the_limit_where_it_was_asked() {
        let policy = |candidate: &str, priorities: &[(&str, i32)]| {
            let priorities = priorities.iter().map(|(v, p)| ((*v).to_owned(), *p)).collect();
            Policies([("a:amd64".to_owned(), Policy { candidate: candidate.into(), priorities })].into())
        };
        let offers = &[("2", 500), ("3", 500)];
        // Held at 2 by a pin of 1001.
        assert_eq!(eligible(&policy("2", &[("1", 100), ("2", 1001), ("3", 500)]), "1", offers), ["2"]);
        // Pinned to what is installed.
        assert!(eligible(&policy("1", &[("1", 1001), ("2", 500), ("3", 500)]), "1", offers).is_empty());
        // A default release raises one archive and leaves security below it choosable.
        assert_eq!(eligible(&policy("3", &[("1", 100), ("2", 500), ("3", 990)]), "1", offers), ["2", "3"]);
        // Forbidden by a negative pin.
        assert_eq!(eligible(&policy("3", &[("2", -10), ("3", 500)]), "1", offers), ["3"]);
        // apt does not know the package: nothing.
        assert!(eligible(&Policies([("a:amd64".to_owned(), Policy::default())].into()), "1", offers).is_empty());
    }

    #[test]
    fn recorded_policy_is_understood() {
        let policies = parse(RECORDED);
        assert_eq!(policies["nodejs"].candidate, "20.20.2-1nodesource1+repack1");
        assert_eq!(policies["nodejs"].priorities["18.20.4+dfsg-1~deb12u3"], 500);
        assert_eq!(policies["nodejs"].priorities["20.20.2-1nodesource1+repack1"], 100);
        assert_eq!(policies["bash"].candidate, "5.2.15-2+b13");
        assert_eq!(policies["bash"].priorities.len(), 2);
    }

    #[test]
    fn preferences_name_what_they_touch() {
        let read = |text: &str| {
            let mut preferences = Preferences::default();
            preferences.add(text.as_bytes()).unwrap();
            preferences
        };
        let some = read("Package: nodejs lib*:amd64\nPin: origin deb.nodesource.com\nPin-Priority: 600\n");
        assert!(some.touch("nodejs") && some.touch("libc6") && !some.touch("bash"));
        for all in ["Package: *\n", "Package: /^ba/\n", "Package: src:bash\n"] {
            assert!(read(all).touch("bash"), "{all}");
        }
    }

    #[test]
    fn default_release_is_noticed_outside_comments() {
        assert!(sets_default_release("APT::Default-Release \"stable\";"));
        assert!(sets_default_release("APT {\n  default-release \"stable\";\n};"));
        assert!(!sets_default_release("// APT::Default-Release \"stable\";\n# Default-Release"));
    }
}
