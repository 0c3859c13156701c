//! `updateinfo.xml`: the vendor's notices.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use patchwave_engine::baseline::Advisory;
use patchwave_engine::versions::rpm;

use super::elements::{Step, for_each, walk};
use super::installed::evr;
use super::primary::Wanted;

/// The notices that name a version of an installed package, at least as new as what is installed.
#[derive(Debug, Default)]
pub(in crate::packages) struct Notices {
    by_name: HashMap<String, Vec<(Package, Arc<Advisory>)>>,
}

/// A version that a notice names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Package {
    architecture: String,
    version: String,
}

impl Notices {
    /// Adds those of one repository.
    ///
    /// # Errors
    /// As of `input`.
    pub(in crate::packages) fn read(&mut self, input: impl BufRead, wanted: &Wanted<'_>) -> io::Result<()> {
        for_each(input, "update", |element| {
            let notice = Notice::parse(element, wanted);
            if notice.packages.is_empty() {
                return;
            }
            let advisory = Arc::new(notice.advisory);
            for (name, package) in notice.packages {
                let known = self.by_name.entry(name).or_default();
                // Two repositories of one vendor may carry the same notice.
                if !known.iter().any(|(other, by)| *other == package && by.id == advisory.id) {
                    known.push((package, Arc::clone(&advisory)));
                }
            }
        })
    }

    /// Those that name exactly this version.
    pub(in crate::packages) fn of(&self, name: &str, architecture: &str, version: &str) -> Vec<Arc<Advisory>> {
        let known = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let same = |package: &Package| {
            package.architecture == architecture && rpm::compare_evr(&package.version, version).is_eq()
        };
        known.iter().filter(|(package, _)| same(package)).map(|(_, advisory)| Arc::clone(advisory)).collect()
    }
}

#[derive(Default)]
struct Notice {
    advisory: Advisory,
    packages: Vec<(String, Package)>,
}

impl Notice {
    fn parse(element: &[u8], wanted: &Wanted<'_>) -> Self {
        let mut notice = Self::default();
        let (mut issued, mut updated) = (String::new(), String::new());
        walk(element, |step| {
            let advisory = &mut notice.advisory;
            match step {
                Step::Open("update", a) => advisory.classification = title_case(&a.get("type")),
                Step::Text("id", text) if advisory.id.is_empty() => advisory.id = text,
                Step::Text("severity", text) if advisory.severity.is_empty() => advisory.severity = title_case(&text),
                Step::Open("issued", a) => issued = a.get("date"),
                Step::Open("updated", a) => updated = a.get("date"),
                Step::Text("issued", text) if issued.is_empty() => issued = text,
                Step::Text("updated", text) if updated.is_empty() => updated = text,
                Step::Open("reference", a) => match a.get("type").to_ascii_lowercase().as_str() {
                    "cve" => push_new(&mut advisory.cve_ids, id_or_end(&a.get("id"), &a.get("href"))),
                    "bugzilla" => push_new(&mut advisory.bugzilla_ids, id_or_end(&a.get("id"), &a.get("href"))),
                    _ => {}
                },
                Step::Open("package", a) => {
                    let (name, version) = (a.get("name"), evr(&a.get("epoch"), &a.get("version"), &a.get("release")));
                    let is_wanted =
                        wanted.oldest(name.as_bytes()).is_some_and(|oldest| rpm::compare_evr(&version, oldest).is_ge());
                    if is_wanted {
                        notice.packages.push((name, Package { architecture: a.get("arch"), version }));
                    }
                }
                _ => {}
            }
        });
        notice.advisory.released_at = instant(&updated).or_else(|| instant(&issued));
        notice
    }
}

fn push_new(list: &mut Vec<String>, id: String) {
    if !id.is_empty() && !list.contains(&id) {
        list.push(id);
    }
}

/// A reference's id, else the last part of its address: some notices leave the id out.
fn id_or_end(id: &str, href: &str) -> String {
    if id.is_empty() { href.rsplit(['/', '=']).next().unwrap_or_default().to_owned() } else { id.to_owned() }
}

/// SSM's spelling of what vendors write `security`, `IMPORTANT` or `Moderate`.
fn title_case(text: &str) -> String {
    let lower = text.trim().to_ascii_lowercase();
    let mut characters = lower.chars();
    characters.next().map(|first| first.to_ascii_uppercase().to_string() + characters.as_str()).unwrap_or_default()
}

/// A notice's date: `2024-01-15`, with a time to the minute or second, as UTC whether or not it says
/// so; an RFC 3339 instant; or seconds since 1970.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant);
    }
    if text.len() > 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Timestamp::from_second(text.parse().ok()?).ok();
    }
    let text = text.trim_end_matches("UTC").trim_end_matches("GMT").trim().replacen(' ', "T", 1);
    let civil: DateTime = match text.parse::<DateTime>() {
        Ok(civil) => civil,
        Err(_) => text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight()),
    };
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use patchwave_engine::baseline::{Advisory, InstalledPackage};

    use super::super::primary::Wanted;
    use super::{Notices, instant};

    fn advisory(file: &str, name: &str, architecture: &str, version: &str) -> Advisory {
        let installed = [InstalledPackage { name: name.into(), version: "0-0".into(), ..Default::default() }];
        let mut notices = Notices::default();
        notices.read(file.as_bytes(), &Wanted::new(&installed)).unwrap();
        let found = notices.of(name, architecture, version);
        assert_eq!(found.len(), 1, "{name} {version}: {found:?}");
        (*found[0]).clone()
    }

    #[test]
    fn red_hats_notice_is_understood() {
        let found = advisory(
            include_str!("../../../tests/data/rocky-9.updateinfo.xml"),
            "openssl-libs",
            "x86_64",
            "1:3.0.7-25.el9_3",
        );
        assert_eq!(
            found,
            Advisory {
                id: "RLSA-2024:0310".into(),
                classification: "Security".into(),
                severity: "Low".into(),
                cve_ids: vec!["CVE-2023-5363".into()],
                bugzilla_ids: vec!["2243839".into()],
                released_at: Some("2024-02-07T14:01:15Z".parse().unwrap()),
            }
        );
    }

    #[test]
    fn amazons_notice_is_understood() {
        let found = advisory(
            include_str!("../../../tests/data/amazon-2023.updateinfo.xml"),
            "curl",
            "x86_64",
            "8.5.0-1.amzn2023.0.1",
        );
        assert_eq!(
            (found.id.as_str(), found.classification.as_str(), found.severity.as_str()),
            ("ALAS2023-2024-500", "Security", "Medium")
        );
        assert_eq!(found.cve_ids, ["CVE-2023-46218", "CVE-2023-46219"]);
        assert_eq!(found.released_at, Some("2024-02-01T18:20:00Z".parse().unwrap()));
    }

    #[test]
    fn oracles_notices_are_understood() {
        let file = include_str!("../../../tests/data/oracle-8.updateinfo.xml");
        let security = advisory(file, "kernel-uek", "x86_64", "5.15.0-202.135.2.el8uek");
        assert_eq!(
            (security.id.as_str(), security.classification.as_str(), security.severity.as_str()),
            ("ELSA-2024-12094", "Security", "Important")
        );
        assert_eq!(security.cve_ids, ["CVE-2023-46838"]);
        assert_eq!(security.released_at, Some("2024-01-29T00:00:00Z".parse().unwrap()));
        let bugfix = advisory(file, "tuned", "noarch", "2.21.0-1.0.1.el8_9");
        assert_eq!(
            (bugfix.id.as_str(), bugfix.classification.as_str(), bugfix.severity.as_str()),
            ("ELBA-2024-0258", "Bugfix", "")
        );
    }

    #[test]
    fn dates_are_read_as_utc_in_every_form_that_vendors_use() {
        for (text, expected) in [
            ("2024-01-15", Some("2024-01-15T00:00:00Z")),
            ("2024-01-15 10:20:30", Some("2024-01-15T10:20:30Z")),
            ("2024-01-15 10:20", Some("2024-01-15T10:20:00Z")),
            ("2024-01-15 10:20:30 UTC", Some("2024-01-15T10:20:30Z")),
            ("2024-01-15T10:20:30+02:00", Some("2024-01-15T08:20:30Z")),
            ("1705314030", Some("2024-01-15T10:20:30Z")),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(instant(text), expected.map(|e| e.parse().unwrap()), "{text}");
        }
    }
}
