//! What a baseline says about one version or patch by itself, whatever is installed.

use jiff::Timestamp;
use patchwave_schemas::baseline::{BaselineRules, ComplianceLevel};

use super::approval::{self, Timing};
use super::filters::{Product, first_refusal};
use super::lists::{Listed, listed};
use super::package::NodeProfile;
use super::subject::{Subject, View};

/// What the baseline says.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    Rejected {
        pattern: String,
    },
    Approved {
        level: ComplianceLevel,
        why: String,
        /// Index of the [view](Subject::views) that a rule approved; the first for a list's approval.
        view: usize,
    },
    Waits {
        until: Timestamp,
        rule: usize,
    },
    NotSelected {
        why: String,
    },
}

/// A baseline on a node at an instant.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) rules: &'a BaselineRules,
    pub(super) now: Timestamp,
    node: &'a NodeProfile,
    product: Product,
}

impl<'a> Judge<'a> {
    pub(super) fn new(rules: &'a BaselineRules, node: &'a NodeProfile, now: Timestamp) -> Self {
        Self { rules, now, node, product: Product::of(node) }
    }

    /// Judges one subject. `views` are its own.
    pub(super) fn judge(&self, subject: Subject<'_>, views: &[View<'_>]) -> Verdict {
        let rules = self.rules;
        if rules.operating_system != self.node.operating_system {
            let why = format!(
                "the baseline is for {:?}, the node runs {:?}",
                rules.operating_system, self.node.operating_system
            );
            return Verdict::NotSelected { why };
        }
        let is_security = views.iter().any(|view| view.is_security);
        let by_list = if rules.approved_patches.is_empty() && rules.rejected_patches.is_empty() {
            None
        } else {
            listed(rules, &subject.names(), is_security)
        };
        if let Some(Listed::Rejected(pattern)) = by_list {
            return Verdict::Rejected { pattern: pattern.to_owned() };
        }
        let by_rule = self.by_rules(subject, views);
        match by_list {
            Some(Listed::Approved(pattern)) => {
                let (level, view) = match by_rule {
                    // Lower is more severe.
                    Verdict::Approved { level, view, .. } => (level.min(rules.approved_patches_compliance_level), view),
                    _ => (rules.approved_patches_compliance_level, 0),
                };
                Verdict::Approved { level, why: format!("approved by pattern `{pattern}`"), view }
            }
            Some(Listed::NotSecurity(pattern)) if matches!(by_rule, Verdict::NotSelected { .. }) => {
                Verdict::NotSelected {
                    why: format!("pattern `{pattern}` approves security updates only and this is not one"),
                }
            }
            _ => by_rule,
        }
    }

    /// The best that any rule says of any view.
    fn by_rules(&self, subject: Subject<'_>, views: &[View<'_>]) -> Verdict {
        let rules = &self.rules.approval_rules.patch_rules;
        let mut verdict: Option<Verdict> = None;
        for (index, view) in views.iter().enumerate() {
            let this = match first_refusal(&self.rules.global_filters, &self.product, view) {
                Some(refusal) => Verdict::NotSelected { why: format!("left out by global filter: {refusal}") },
                None => (1..).zip(rules).map(|(number, rule)| self.by_rule(number, rule, subject, index, view)).fold(
                    Verdict::NotSelected {
                        why: if rules.is_empty() { "the baseline has no rule" } else { NO_RULE }.to_owned(),
                    },
                    prefer,
                ),
            };
            verdict = Some(match verdict {
                Some(verdict) => prefer(verdict, this),
                None => this,
            });
        }
        verdict.unwrap_or_else(|| Verdict::NotSelected { why: NO_RULE.to_owned() })
    }

    fn by_rule(
        &self,
        number: usize,
        rule: &patchwave_schemas::baseline::PatchRule,
        subject: Subject<'_>,
        index: usize,
        view: &View<'_>,
    ) -> Verdict {
        let group = &rule.patch_filter_group;
        // SSM: a rule that does not name a patch set is about the operating system.
        let speaks_of_sets = || group.patch_filters.iter().any(|filter| filter.key == "PATCH_SET");
        if view.is_application && !speaks_of_sets() {
            return Verdict::NotSelected { why: format!("{NO_RULE}: PATCH_SET is APPLICATION, not OS") };
        }
        if let Some(refusal) = first_refusal(group, &self.product, view) {
            return Verdict::NotSelected { why: format!("{NO_RULE}: {refusal}") };
        }
        if !rule.enable_non_security && !view.is_security {
            let what = subject.family().not_security();
            return Verdict::NotSelected { why: format!("{what}, as rule {number} asks") };
        }
        match approval::judge(rule, view.released.map(|(at, _)| at), self.now) {
            Timing::Approved(why) => Verdict::Approved {
                level: rule.compliance_level,
                why: format!("approved by rule {number}: {why}"),
                view: index,
            },
            Timing::WaitsUntil(until) => Verdict::Waits { until, rule: number },
            Timing::Never(why) => Verdict::NotSelected { why: format!("not approved by rule {number}: {why}") },
        }
    }
}

/// How a reason begins that says least.
const NO_RULE: &str = "matches no rule";

/// Of two verdicts by different rules the better one; of two approvals the more severe level.
fn prefer(a: Verdict, b: Verdict) -> Verdict {
    use Verdict::{Approved, NotSelected, Waits};
    match (&a, &b) {
        (Approved { level, .. }, Approved { level: other, .. }) => {
            if other < level {
                b
            } else {
                a
            }
        }
        (Approved { .. }, _) => a,
        (_, Approved { .. }) => b,
        (Waits { until, .. }, Waits { until: other, .. }) => {
            if other < until {
                b
            } else {
                a
            }
        }
        (Waits { .. }, _) => a,
        (_, Waits { .. }) => b,
        // The first rule that comes near says most: one that failed on its filters says least.
        (_, NotSelected { why }) if why.starts_with(NO_RULE) => {
            let bare = matches!(&a, NotSelected { why } if why == NO_RULE);
            if bare { b } else { a }
        }
        (_, _) => b,
    }
}

impl Verdict {
    pub(super) const fn is_approved(&self) -> bool {
        matches!(self, Self::Approved { .. })
    }

    /// When it may become an approval by itself.
    pub(super) const fn waits_until(&self) -> Option<Timestamp> {
        match self {
            Self::Waits { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// The verdict as the end of a sentence.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Rejected { pattern } => format!("rejected by pattern `{pattern}`"),
            Self::Approved { why, .. } | Self::NotSelected { why } => why.clone(),
            Self::Waits { until, rule } => format!("waits until {} by rule {rule}", approval::minute(*until)),
        }
    }
}
