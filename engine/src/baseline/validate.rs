//! Whether a baseline may be saved: SSM's limits and which filter keys an operating system knows.

use patchwave_schemas::baseline::{
    AvailableSecurityUpdatesCompliance, BaselineRules, PatchFilter, PatchFilterGroup, PatchRule,
};
use patchwave_schemas::node::{OperatingSystem as Os, PlatformType};

use super::approval::end_of_day;

/// Approval rules of one baseline (SSM).
const RULES_MAX: usize = 10;
/// Entries of each of the two lists (SSM).
const PATCHES_MAX: usize = 50;
/// Characters of one list entry (SSM).
const PATCH_CHARS_MAX: usize = 100;
/// Filters of one group. SSM's model says 4, its tools 10, and Windows alone has 5 keys.
const FILTERS_MAX: usize = 10;
/// Values of one filter (SSM).
const VALUES_MAX: usize = 20;
/// Characters of one filter value (SSM).
const VALUE_CHARS_MAX: usize = 64;
/// Longest approval delay, in days (SSM).
const APPROVE_AFTER_DAYS_MAX: u32 = 360;

/// What is wrong with a baseline. The first fault found, with the path of its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineError {
    /// A list has too few or too many entries, or a text too few or too many characters.
    #[error("{field} has {actual} {what}, allowed are {min} to {max}")]
    Length {
        /// Path of the field.
        field: String,
        /// Entries or characters there are.
        actual: usize,
        /// `entries` or `characters`.
        what: &'static str,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// The operating system has no such filter.
    #[error("{field} is `{value}`, allowed for {os:?} are {allowed}")]
    FilterKey {
        /// Path of the field.
        field: String,
        /// The key given.
        value: String,
        /// The baseline's operating system.
        os: Os,
        /// The keys it knows.
        allowed: String,
    },
    /// The filter has no such value.
    #[error("{field} is `{value}`, allowed are {allowed}")]
    FilterValue {
        /// Path of the field.
        field: String,
        /// The value given.
        value: String,
        /// The values the key knows.
        allowed: String,
    },
    /// A group names one key twice.
    #[error("{field} is `{value}`, which the same group has already; give one filter all the values")]
    RepeatedKey {
        /// Path of the field.
        field: String,
        /// The key.
        value: String,
    },
    /// A rule says both or neither of delay and date.
    #[error("{field} has {given} of ApproveAfterDays and ApproveUntilDate, exactly one is allowed")]
    ApprovalTime {
        /// Path of the rule.
        field: String,
        /// `both` or `none`.
        given: &'static str,
    },
    /// The delay is out of range.
    #[error("{field} is {value}, allowed are 0 to {APPROVE_AFTER_DAYS_MAX}")]
    ApproveAfterDays {
        /// Path of the field.
        field: String,
        /// The days given.
        value: u32,
    },
    /// The date is none.
    #[error("{field} is `{value}`, allowed is a date of the form YYYY-MM-DD")]
    ApproveUntilDate {
        /// Path of the field.
        field: String,
        /// The text given.
        value: String,
    },
    /// SSM knows the difference between security and other updates on Linux only.
    #[error("{field} is true, allowed for {os:?} is false")]
    NonSecurity {
        /// Path of the field.
        field: String,
        /// The baseline's operating system.
        os: Os,
    },
    /// Windows alone tells which updates are available and not approved.
    #[error("AvailableSecurityUpdatesComplianceStatus is NON_COMPLIANT, allowed for {os:?} is COMPLIANT")]
    AvailableSecurityUpdates {
        /// The baseline's operating system.
        os: Os,
    },
}

/// Checks a baseline before it is saved.
///
/// # Errors
/// The first [`BaselineError`] in the order of the fields.
pub fn validate(rules: &BaselineRules) -> Result<(), BaselineError> {
    let os = rules.operating_system;
    group("GlobalFilters", &rules.global_filters, os)?;
    let patch_rules = &rules.approval_rules.patch_rules;
    length("ApprovalRules.PatchRules", patch_rules.len(), "entries", 0, RULES_MAX)?;
    for (index, rule) in patch_rules.iter().enumerate() {
        one_rule(&format!("ApprovalRules.PatchRules[{index}]"), rule, os)?;
    }
    patches("ApprovedPatches", &rules.approved_patches)?;
    non_security("ApprovedPatchesEnableNonSecurity", rules.approved_patches_enable_non_security, os)?;
    let counts = rules.available_security_updates_compliance_status == AvailableSecurityUpdatesCompliance::NonCompliant;
    if counts && os != Os::Windows {
        return Err(BaselineError::AvailableSecurityUpdates { os });
    }
    patches("RejectedPatches", &rules.rejected_patches)
}

fn one_rule(path: &str, rule: &PatchRule, os: Os) -> Result<(), BaselineError> {
    group(&format!("{path}.PatchFilterGroup"), &rule.patch_filter_group, os)?;
    match (rule.approve_after_days, &rule.approve_until_date) {
        (Some(_), Some(_)) => return Err(BaselineError::ApprovalTime { field: path.to_owned(), given: "both" }),
        (None, None) => return Err(BaselineError::ApprovalTime { field: path.to_owned(), given: "none" }),
        (Some(value), None) if value > APPROVE_AFTER_DAYS_MAX => {
            return Err(BaselineError::ApproveAfterDays { field: format!("{path}.ApproveAfterDays"), value });
        }
        (None, Some(date)) if end_of_day(date).is_none() => {
            let (field, value) = (format!("{path}.ApproveUntilDate"), date.clone());
            return Err(BaselineError::ApproveUntilDate { field, value });
        }
        _ => {}
    }
    non_security(&format!("{path}.EnableNonSecurity"), rule.enable_non_security, os)
}

fn group(path: &str, group: &PatchFilterGroup, os: Os) -> Result<(), BaselineError> {
    let filters = &group.patch_filters;
    length(&format!("{path}.PatchFilters"), filters.len(), "entries", 0, FILTERS_MAX)?;
    for (index, filter) in filters.iter().enumerate() {
        let path = format!("{path}.PatchFilters[{index}]");
        if filters[..index].iter().any(|earlier| earlier.key == filter.key) {
            return Err(BaselineError::RepeatedKey { field: format!("{path}.Key"), value: filter.key.clone() });
        }
        one_filter(&path, filter, os)?;
    }
    Ok(())
}

fn one_filter(path: &str, filter: &PatchFilter, os: Os) -> Result<(), BaselineError> {
    let keys = filter_keys(os);
    if !keys.contains(&filter.key.as_str()) {
        let (field, value) = (format!("{path}.Key"), filter.key.clone());
        return Err(BaselineError::FilterKey { field, value, os, allowed: keys.join(", ") });
    }
    length(&format!("{path}.Values"), filter.values.len(), "entries", 1, VALUES_MAX)?;
    let known = filter_values(os, &filter.key);
    for (index, value) in filter.values.iter().enumerate() {
        let field = format!("{path}.Values[{index}]");
        length(&field, value.chars().count(), "characters", 1, VALUE_CHARS_MAX)?;
        let is_known = value == "*" || known.iter().any(|known| known.eq_ignore_ascii_case(value));
        if !known.is_empty() && !is_known {
            let allowed = format!("*, {}", known.join(", "));
            return Err(BaselineError::FilterValue { field, value: value.clone(), allowed });
        }
    }
    Ok(())
}

fn patches(path: &str, patches: &[String]) -> Result<(), BaselineError> {
    length(path, patches.len(), "entries", 0, PATCHES_MAX)?;
    patches.iter().enumerate().try_for_each(|(index, patch)| {
        length(&format!("{path}[{index}]"), patch.chars().count(), "characters", 1, PATCH_CHARS_MAX)
    })
}

fn non_security(field: &str, value: bool, os: Os) -> Result<(), BaselineError> {
    // macOS has security and other updates as well: SSM's predefined baseline makes use of it.
    if value && os.platform_type() == PlatformType::Windows {
        return Err(BaselineError::NonSecurity { field: field.to_owned(), os });
    }
    Ok(())
}

fn length(field: &str, actual: usize, what: &'static str, min: usize, max: usize) -> Result<(), BaselineError> {
    if (min..=max).contains(&actual) {
        return Ok(());
    }
    Err(BaselineError::Length { field: field.to_owned(), actual, what, min, max })
}

/// The filter keys that baselines of an operating system may use.
fn filter_keys(os: Os) -> &'static [&'static str] {
    match os {
        Os::Ubuntu | Os::Debian | Os::Raspbian => &["PRODUCT", "PRIORITY", "SECTION"],
        Os::Macos => &["PRODUCT", "CLASSIFICATION"],
        Os::Windows => &["PATCH_SET", "PRODUCT", "PRODUCT_FAMILY", "CLASSIFICATION", "MSRC_SEVERITY"],
        _ => &["PRODUCT", "CLASSIFICATION", "SEVERITY"],
    }
}

/// The values a key may have besides `*`; empty when any text will do.
fn filter_values(os: Os, key: &str) -> &'static [&'static str] {
    match (key, os) {
        ("PRIORITY", _) => &["Required", "Important", "Standard", "Optional", "Extra"],
        ("PATCH_SET", _) => &["OS", "APPLICATION"],
        ("MSRC_SEVERITY", _) => &["Critical", "Important", "Moderate", "Low", "Unspecified"],
        ("CLASSIFICATION", Os::Suse) => &["Security", "Recommended", "Optional", "Feature", "Document", "Yast"],
        ("CLASSIFICATION", Os::Windows) => &[
            "CriticalUpdates",
            "DefinitionUpdates",
            "Drivers",
            "FeaturePacks",
            "SecurityUpdates",
            "ServicePacks",
            "Tools",
            "UpdateRollups",
            "Updates",
            "Upgrades",
        ],
        ("CLASSIFICATION", Os::Macos) => &[],
        ("CLASSIFICATION", _) => &["Security", "Bugfix", "Enhancement", "Recommended", "Newpackage"],
        // Amazon says Medium where others say Moderate, and older lists of the others did too.
        ("SEVERITY", _) => &["Critical", "Important", "Moderate", "Medium", "Low", "None"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::baseline::BaselineRules;
    use serde_json::{Value, json};

    use super::validate;

    fn check(changes: &Value) -> Result<(), String> {
        let mut rules = json!({ "OperatingSystem": "DEBIAN" });
        let all = rules.as_object_mut().unwrap();
        all.extend(changes.as_object().unwrap().clone());
        let rules: BaselineRules = serde_json::from_value(rules).unwrap();
        validate(&rules).map_err(|error| error.to_string())
    }

    fn rule(changes: &Value) -> Value {
        let mut rule = json!({ "PatchFilterGroup": { "PatchFilters": [] } });
        rule.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({ "ApprovalRules": { "PatchRules": [rule] } })
    }

    fn filter(key: &str, values: &[&str]) -> Value {
        json!({ "GlobalFilters": { "PatchFilters": [{ "Key": key, "Values": values }] } })
    }

    #[test]
    fn baselines_within_the_limits_are_accepted() {
        for good in [
            json!({}),
            rule(&json!({ "ApproveAfterDays": 0 })),
            rule(&json!({ "ApproveAfterDays": 360, "EnableNonSecurity": true })),
            rule(&json!({ "ApproveUntilDate": "2028-02-29" })),
            filter("PRIORITY", &["required", "*"]),
            filter("SECTION", &["anything at all"]),
            filter("PRODUCT", &["Debian12", "Debian*"]),
            json!({ "ApprovedPatches": vec!["x"; 50], "RejectedPatches": vec!["y"; 50] }),
            json!({ "OperatingSystem": "MACOS", "ApprovedPatchesEnableNonSecurity": true }),
        ] {
            assert_eq!(check(&good), Ok(()), "{good}");
        }
    }

    #[test]
    fn faults_name_field_value_and_what_is_allowed() {
        let too_many_rules = json!({ "ApprovalRules": { "PatchRules":
            vec![json!({ "PatchFilterGroup": {}, "ApproveAfterDays": 0 }); 11] } });
        for (bad, message) in [
            (too_many_rules, "ApprovalRules.PatchRules has 11 entries, allowed are 0 to 10"),
            (
                rule(&json!({})),
                "ApprovalRules.PatchRules[0] has none of ApproveAfterDays and ApproveUntilDate, exactly one is allowed",
            ),
            (
                rule(&json!({ "ApproveAfterDays": 1, "ApproveUntilDate": "2026-01-01" })),
                "ApprovalRules.PatchRules[0] has both of ApproveAfterDays and ApproveUntilDate, exactly one is allowed",
            ),
            (
                rule(&json!({ "ApproveAfterDays": 361 })),
                "ApprovalRules.PatchRules[0].ApproveAfterDays is 361, allowed are 0 to 360",
            ),
            (
                rule(&json!({ "ApproveUntilDate": "2026-02-30" })),
                "ApprovalRules.PatchRules[0].ApproveUntilDate is `2026-02-30`, allowed is a date of the form YYYY-MM-DD",
            ),
            (
                filter("SEVERITY", &["*"]),
                "GlobalFilters.PatchFilters[0].Key is `SEVERITY`, allowed for Debian are PRODUCT, PRIORITY, SECTION",
            ),
            (
                filter("PRIORITY", &["Urgent"]),
                "GlobalFilters.PatchFilters[0].Values[0] is `Urgent`, \
                 allowed are *, Required, Important, Standard, Optional, Extra",
            ),
            (filter("SECTION", &[]), "GlobalFilters.PatchFilters[0].Values has 0 entries, allowed are 1 to 20"),
            (filter("SECTION", &[""]), "GlobalFilters.PatchFilters[0].Values[0] has 0 characters, allowed are 1 to 64"),
            (
                json!({ "GlobalFilters": { "PatchFilters": [
                    { "Key": "SECTION", "Values": ["a"] }, { "Key": "SECTION", "Values": ["b"] }] } }),
                "GlobalFilters.PatchFilters[1].Key is `SECTION`, which the same group has already; \
                 give one filter all the values",
            ),
            (json!({ "RejectedPatches": vec!["x"; 51] }), "RejectedPatches has 51 entries, allowed are 0 to 50"),
            (
                json!({ "ApprovedPatches": ["x".repeat(101)] }),
                "ApprovedPatches[0] has 101 characters, allowed are 1 to 100",
            ),
            (
                json!({ "OperatingSystem": "WINDOWS", "ApprovedPatchesEnableNonSecurity": true }),
                "ApprovedPatchesEnableNonSecurity is true, allowed for Windows is false",
            ),
            (
                json!({ "OperatingSystem": "DEBIAN", "AvailableSecurityUpdatesComplianceStatus": "NON_COMPLIANT" }),
                "AvailableSecurityUpdatesComplianceStatus is NON_COMPLIANT, allowed for Debian is COMPLIANT",
            ),
        ] {
            assert_eq!(check(&bad), Err(message.to_owned()));
        }
    }
}
