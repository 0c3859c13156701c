//! The lists of approved and rejected patches: what they say of one version, before any rule does.

use patchwave_schemas::baseline::BaselineRules;

use super::patterns::{Names, find};

/// What the lists of a baseline say of a version, with the entry that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed<'a> {
    /// Rejected, whatever else approves it.
    Rejected(&'a str),
    /// Approved, whatever the rules say.
    Approved(&'a str),
    /// On the list of approved patches, which is for security updates alone, and this is none.
    NotSecurity(&'a str),
}

/// Looks a version or a patch up in the lists; `None` when neither speaks of it.
///
/// Both lists take every way of writing it, ids of advisories and CVEs included; SSM takes those on
/// the approved list only.
#[must_use]
pub fn listed<'a>(rules: &'a BaselineRules, names: &Names<'_>, is_security: bool) -> Option<Listed<'a>> {
    if let Some(pattern) = find(&rules.rejected_patches, names) {
        return Some(Listed::Rejected(pattern));
    }
    let pattern = find(&rules.approved_patches, names)?;
    let counts = is_security || rules.approved_patches_enable_non_security;
    Some(if counts { Listed::Approved(pattern) } else { Listed::NotSecurity(pattern) })
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::baseline::BaselineRules;
    use patchwave_schemas::node::OperatingSystem;

    use super::{Listed, listed};
    use crate::baseline::{Family, Names, predefined};

    fn rules(approved: &[&str], rejected: &[&str], non_security: bool) -> BaselineRules {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        BaselineRules {
            approved_patches: texts(approved),
            rejected_patches: texts(rejected),
            approved_patches_enable_non_security: non_security,
            ..predefined(OperatingSystem::Debian).1
        }
    }

    #[test]
    fn rejection_wins_and_approval_asks_for_security_unless_told_otherwise() {
        let (name, architecture, version) = ("bash", "amd64", "5.2");
        let bash = Names { family: Family::Apt, name, architecture, version, ids: Vec::new() };
        for (approved, rejected, non_security, is_security, expected) in [
            (&["bash=5.*"][..], &[][..], false, true, Some(Listed::Approved("bash=5.*"))),
            (&["bash=5.*"], &[], false, false, Some(Listed::NotSecurity("bash=5.*"))),
            (&["bash=5.*"], &[], true, false, Some(Listed::Approved("bash=5.*"))),
            (&["bash"], &["bash:amd64"], true, true, Some(Listed::Rejected("bash:amd64"))),
            (&["zsh"], &["bash:arm64"], true, true, None),
        ] {
            let rules = rules(approved, rejected, non_security);
            assert_eq!(listed(&rules, &bash, is_security), expected, "{approved:?} {rejected:?}");
        }
    }
}
