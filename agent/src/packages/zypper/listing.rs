//! `zypper --xmlout list-patches --all`: every patch of every enabled repository.

use std::collections::BTreeMap;
use std::io::BufRead;

use jiff::Timestamp;

use super::xml::{Element, Item, read};

/// Where zypper says that a patch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// `not-needed`: none of its packages is installed.
    NotNeeded,
    /// `applied`.
    Applied,
    /// `needed`, or `optional`, which is the same for a patch of a kind that zypper does not install
    /// by itself. Whether it is wanted, the baseline says.
    Needed,
    /// `retracted` by the vendor.
    Retracted,
    /// `unwanted`: locked by the administrator.
    Locked,
}

/// One patch as zypper lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    /// Its number; a corrected patch keeps its name and gets a higher one.
    pub(super) edition: String,
    pub(super) status: Status,
    /// As the vendor spells it: `security`, `recommended`, …
    pub(super) category: String,
    /// As the vendor spells it: `important`, …; `unspecified` where it is not said.
    pub(super) severity: String,
    /// It mends the package manager itself.
    pub(super) package_manager: bool,
    /// It takes effect at the next start.
    pub(super) restart: bool,
    /// It wants a restart, shows a message or asks for a licence.
    pub(super) interactive: bool,
    /// It comes with a licence to agree to.
    pub(super) licence: bool,
    pub(super) summary: String,
    pub(super) issued_at: Option<Timestamp>,
    /// Since when the status is what it is: when the last of its packages was installed.
    pub(super) since: Option<Timestamp>,
    pub(super) cve_ids: Vec<String>,
    pub(super) bugzilla_ids: Vec<String>,
}

/// What zypper said.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// One for each name, by name.
    pub(super) patches: BTreeMap<String, Listed>,
    /// What it complained about: repositories that it skipped.
    pub(super) complaints: Vec<String>,
    /// The list was there and had an end.
    pub(super) complete: bool,
}

/// Reads a listing.
pub(super) fn parse(source: impl BufRead) -> Listing {
    let mut listing = Listing::default();
    let mut patch: Option<Listed> = None;
    let whole = read(source, |item| match item {
        Item::Start(element) if element.name == "update" && element.attribute("kind") == "patch" => {
            patch = begun(&element);
        }
        Item::End(element, text) => match (element.name.as_str(), &mut patch) {
            ("update", _) => {
                if let Some(patch) = patch.take() {
                    listing.add(patch);
                }
            }
            ("update-list", _) => listing.complete = true,
            ("message", _) if matches!(element.attribute("type"), "error" | "warning") => {
                listing.complaints.push(text.trim().to_owned());
            }
            (_, Some(patch)) => said(patch, &element, &text),
            _ => {}
        },
        Item::Start(_) => {}
    });
    if let Err(error) = whole
        && !listing.complete
    {
        listing.complaints.push(format!("zypper's output ended early: {error}"));
    }
    listing
}

impl Listing {
    /// Of several editions of a patch the newest stands for it: it is the one that zypper installs.
    fn add(&mut self, patch: Listed) {
        match self.patches.get_mut(&patch.name) {
            Some(known) if rank(&patch) <= rank(known) => {}
            Some(known) => *known = patch,
            None => {
                self.patches.insert(patch.name.clone(), patch);
            }
        }
    }
}

fn rank(patch: &Listed) -> (Vec<u64>, Status) {
    (patch.edition.split(|c: char| !c.is_ascii_digit()).flat_map(str::parse).collect(), patch.status)
}

fn begun(element: &Element) -> Option<Listed> {
    let is = |key| element.attribute(key) == "true";
    let status = match element.attribute("status") {
        "needed" | "optional" => Status::Needed,
        "applied" => Status::Applied,
        "retracted" => Status::Retracted,
        "unwanted" => Status::Locked,
        // `undetermined` too: zypper knows of no package that it would change.
        _ => Status::NotNeeded,
    };
    let name = element.attribute("name");
    // zypper takes a hyphen for an option and a character like these for a capability.
    let usable =
        !name.is_empty() && !name.starts_with('-') && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    usable.then(|| Listed {
        name: name.to_owned(),
        edition: element.attribute("edition").to_owned(),
        status,
        category: element.attribute("category").to_owned(),
        severity: element.attribute("severity").to_owned(),
        package_manager: is("pkgmanager"),
        restart: is("restart"),
        interactive: is("interactive"),
        licence: false,
        summary: String::new(),
        issued_at: None,
        since: None,
        cve_ids: Vec::new(),
        bugzilla_ids: Vec::new(),
    })
}

/// What an element within a patch adds to it.
fn said(patch: &mut Listed, element: &Element, text: &str) {
    match element.name.as_str() {
        "summary" => text.trim().clone_into(&mut patch.summary),
        "license" => patch.licence = !text.trim().is_empty(),
        "issue-date" => patch.issued_at = instant(element),
        "status-since" => patch.since = instant(element),
        "issue" => {
            let id = element.attribute("id").to_owned();
            match element.attribute("type") {
                "cve" => patch.cve_ids.push(id),
                "bugzilla" => patch.bugzilla_ids.push(id),
                _ => {}
            }
        }
        _ => {}
    }
}

fn instant(element: &Element) -> Option<Timestamp> {
    let seconds = element.attribute("time_t").parse().ok().filter(|seconds| *seconds > 0)?;
    Timestamp::from_second(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::{Status, parse};

    const RECORDED: &str = include_str!("../../../tests/data/debian-12-zypper-1.14.42.list-patches-all.stdout");
    const EXPECTED: &str = include_str!("../../../tests/data/debian-12-zypper-1.14.42.list-patches-all.expected");

    #[test]
    fn recorded_listing_is_understood() {
        let listing = parse(RECORDED.as_bytes());
        assert!(listing.complete);
        let seen: Vec<String> = listing
            .patches
            .values()
            .map(|p| {
                let flags = [(p.package_manager, "stack"), (p.restart, "restart"), (p.interactive, "interactive")];
                let flags: Vec<&str> = flags.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
                let issues = [p.cve_ids.join(","), p.bugzilla_ids.join(",")].join("/");
                let issued = p.issued_at.map(|at| at.to_string()).unwrap_or_default();
                let (name, edition, status) = (&p.name, &p.edition, p.status);
                format!(
                    "{name} {edition} {status:?} {}/{} {issued} {issues} {}",
                    p.category,
                    p.severity,
                    flags.join("+")
                )
            })
            .map(|line| line.trim_end().to_owned())
            .collect();
        assert_eq!(seen, EXPECTED.lines().collect::<Vec<_>>());
    }

    #[test]
    fn newest_edition_stands_for_a_patch_and_a_needed_one_before_one_that_is_not() {
        let patch = |edition: &str, status: &str| {
            format!("<update kind='patch' name='p' edition='{edition}' status='{status}'/>")
        };
        for (patches, expected) in [
            (patch("9", "needed") + &patch("10", "applied"), ("10", Status::Applied)),
            (patch("10", "applied") + &patch("9", "needed"), ("10", Status::Applied)),
            (patch("1", "not-needed") + &patch("1", "needed"), ("1", Status::Needed)),
            (patch("1", "unwanted"), ("1", Status::Locked)),
            (patch("1", "retracted"), ("1", Status::Retracted)),
            (patch("1", "undetermined"), ("1", Status::NotNeeded)),
        ] {
            let listing = parse(format!("<update-list>{patches}</update-list>").as_bytes());
            let seen = &listing.patches["p"];
            assert_eq!((seen.edition.as_str(), seen.status), expected, "{patches}");
        }
    }

    #[test]
    fn name_that_zypper_would_take_for_something_else_is_left_out() {
        let listing = parse(
            "<update-list><update kind='patch' name='--force'/><update kind='patch' name='a b'/>\
             <update kind='package' name='c'/></update-list>"
                .as_bytes(),
        );
        assert!(listing.complete && listing.patches.is_empty());
    }

    #[test]
    fn output_that_ends_early_is_not_complete_and_says_so() {
        let listing = parse("<stream><message type='warning'> Skipping </message><update-list><upd".as_bytes());
        assert!(!listing.complete);
        assert_eq!(listing.complaints[0], "Skipping");
        assert!(listing.complaints[1].starts_with("zypper's output ended early"), "{:?}", listing.complaints);
    }
}
