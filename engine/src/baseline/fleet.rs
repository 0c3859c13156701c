//! A whole fleet at once, from what is stored of it: what a changed baseline would change, and what
//! a baseline says of each node now.
//!
//! The parts of an inventory have no say in each other ([`Entry`]), and most nodes share most of
//! theirs. So each distinct part is read and judged once for each kind of node that has it, on every
//! core; a node is then a sum over a table. The answers are those of [`Entry::evaluate`], and so of
//! `evaluate`: nothing is judged in another way here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_schemas::baseline::{BaselineRules, ComplianceLevel, PatchRecord, PatchState};

use super::decision::{Decision, Evaluation};
use super::inventory::Entry;
use super::package::NodeProfile;
use crate::compliance::{PatchCounts, summarise};

/// Inventories of many nodes, with what they share held once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// The kinds of nodes: a few, as systems have versions.
    pub profiles: Vec<NodeProfile>,
    /// Lines of entries, see [`Entry::to_line`].
    pub lines: Vec<String>,
    /// The nodes.
    pub nodes: Vec<FleetNode>,
}

/// One node of a [`Fleet`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetNode {
    /// Which of the profiles.
    pub profile: u32,
    /// Which of the lines, each at most once.
    pub entries: Vec<u32>,
}

/// What other rules would change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many patches are in each state on all nodes together: by the rules before, and after.
    pub counts: (FleetCounts, FleetCounts),
    /// Patches that would stand differently, those on most nodes first.
    pub patches: Vec<PatchChange>,
    /// Where each node would stand, in the order of the fleet's nodes.
    pub nodes: Vec<NodeChange>,
}

/// Sums over a fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FleetCounts {
    /// Nodes with nothing in a non-compliant state.
    pub compliant_nodes: u64,
    /// Patches by state, as in [`PatchCounts`].
    pub patches: [u64; 8],
}

impl FleetCounts {
    /// Patches in one state.
    #[must_use]
    pub const fn of(&self, state: PatchState) -> u64 {
        self.patches[state as usize]
    }

    fn add(&mut self, counts: &PatchCounts, nodes: u64) {
        for (state, count) in [
            (PatchState::Installed, counts.installed_count),
            (PatchState::InstalledOther, counts.installed_other_count),
            (PatchState::InstalledPendingReboot, counts.installed_pending_reboot_count),
            (PatchState::InstalledRejected, counts.installed_rejected_count),
            (PatchState::Missing, counts.missing_count),
            (PatchState::NotApplicable, counts.not_applicable_count),
            (PatchState::Failed, counts.failed_count),
            (PatchState::AvailableSecurityUpdate, counts.available_security_update_count),
        ] {
            self.patches[state as usize] += u64::from(count) * nodes;
        }
    }
}

/// One patch that would stand differently, in the same way on all these nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchChange {
    /// SSM's `KBId`.
    pub kb_id: String,
    /// Where it stands, and why.
    pub before: Standing,
    /// Where it would stand, and why.
    pub after: Standing,
    /// On how many nodes.
    pub nodes: u64,
}

/// Where a patch stands by some rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standing {
    /// Absent when it is needed and not approved, which has no state but on Windows.
    pub state: Option<PatchState>,
    /// For people: which version is meant.
    pub title: String,
    /// SSM's CLASSIFICATION, empty for what the rules do not speak of.
    pub classification: String,
    /// How much it matters.
    pub compliance_level: ComplianceLevel,
    /// Why, in one sentence.
    pub reason: String,
}

impl Standing {
    fn of(decision: &Decision) -> Self {
        Self {
            state: Some(decision.state),
            title: decision.title.clone(),
            classification: decision.classification.clone(),
            compliance_level: decision.compliance_level,
            reason: decision.reason.clone(),
        }
    }

    /// Whether a difference is more than other words for it.
    fn differs(&self, other: &Self) -> bool {
        (self.state, &self.title, self.compliance_level) != (other.state, &other.title, other.compliance_level)
    }
}

/// Where each patch of an entry stands by two evaluations of it, in pairs with its id.
fn pairs(before: &Evaluation, after: &Evaluation) -> Vec<(String, Standing, Standing)> {
    let aside = |evaluation: &Evaluation, id: &str| {
        let reason = evaluation.left_out.iter().find(|one| one.name == id).map(|one| one.reason.clone());
        Standing { reason: reason.unwrap_or_default(), ..Standing::default() }
    };
    let mut rest: Vec<&Decision> = after.decisions.iter().collect();
    let mut pairs = Vec::new();
    for old in &before.decisions {
        let id = old.kb_id();
        // Several versions of one package may be installed: the first belongs to the first.
        let found = rest.iter().position(|new| new.name == old.name && new.architecture == old.architecture);
        let new = found.map_or_else(|| aside(after, &id), |at| Standing::of(rest.remove(at)));
        pairs.push((id, Standing::of(old), new));
    }
    pairs.extend(rest.into_iter().map(|new| (new.kb_id(), aside(before, &new.kb_id()), Standing::of(new))));
    pairs
}

/// How one node would stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeChange {
    /// Patches in a non-compliant state by the rules before.
    pub non_compliant_before: u32,
    /// … and after.
    pub non_compliant_after: u32,
    /// Patches that would stand differently.
    pub changed: u32,
}

/// What one entry amounts to on one kind of node.
#[derive(Default)]
struct Difference {
    before: PatchCounts,
    after: PatchCounts,
    changes: Vec<(String, Standing, Standing)>,
}

impl Fleet {
    /// Judges the fleet by `before` and by `after`, on at most `threads` threads.
    ///
    /// # Errors
    /// A line that is none of [`Entry::to_line`].
    pub fn compare(
        &self,
        before: &BaselineRules,
        after: &BaselineRules,
        now: Timestamp,
        threads: usize,
    ) -> Result<Comparison, serde_json::Error> {
        let table = self.judged(threads, |entry, profile| {
            let (old, new) = (entry.evaluate(before, profile, now), entry.evaluate(after, profile, now));
            let count = |evaluation: &Evaluation| {
                let records: Vec<PatchRecord> = evaluation.decisions.iter().map(Decision::to_record).collect();
                let mut counts = summarise(&records);
                counts.not_applicable_count += evaluation.not_applicable_count;
                counts
            };
            let mut changes = pairs(&old, &new);
            changes.retain(|(_, old, new)| old.differs(new));
            Difference { before: count(&old), after: count(&new), changes }
        })?;
        let mut comparison = Comparison { nodes: table.per_node(self, threads), ..Comparison::default() };
        let mut changes: BTreeMap<&(String, Standing, Standing), u64> = BTreeMap::new();
        for (nodes, difference) in table.used() {
            comparison.counts.0.add(&difference.before, nodes);
            comparison.counts.1.add(&difference.after, nodes);
            for change in &difference.changes {
                *changes.entry(change).or_default() += nodes;
            }
        }
        for node in &comparison.nodes {
            comparison.counts.0.compliant_nodes += u64::from(node.non_compliant_before == 0);
            comparison.counts.1.compliant_nodes += u64::from(node.non_compliant_after == 0);
        }
        let patches = changes.into_iter().map(|((kb_id, before, after), nodes)| PatchChange {
            kb_id: kb_id.clone(),
            before: before.clone(),
            after: after.clone(),
            nodes,
        });
        comparison.patches = patches.collect();
        // Within a number they stay in order of their ids.
        comparison.patches.sort_by_key(|change| std::cmp::Reverse(change.nodes));
        Ok(comparison)
    }

    /// What a baseline says of each node, in their order.
    ///
    /// # Errors
    /// A line that is none of [`Entry::to_line`].
    pub fn evaluate(
        &self,
        rules: &BaselineRules,
        now: Timestamp,
        threads: usize,
    ) -> Result<Vec<Evaluation>, serde_json::Error> {
        let table = self.judged(threads, |entry, profile| entry.evaluate(rules, profile, now))?;
        let of_node = |node: &FleetNode| {
            let mut whole = Evaluation::default();
            for part in node.entries.iter().filter_map(|entry| table.get(node.profile, *entry)) {
                whole.decisions.extend(part.decisions.iter().cloned());
                whole.left_out.extend(part.left_out.iter().cloned());
                whole.not_applicable_count = whole.not_applicable_count.saturating_add(part.not_applicable_count);
            }
            whole
        };
        Ok(self.nodes.iter().map(of_node).collect())
    }

    /// Judges each line once for each profile of the nodes that have it.
    fn judged<T: Default + Send>(
        &self,
        threads: usize,
        judge: impl Fn(&Entry, &NodeProfile) -> T + Sync,
    ) -> Result<Table<T>, serde_json::Error> {
        let lines = self.lines.len();
        let mut uses = vec![0_u32; lines * self.profiles.len()];
        for node in self.nodes.iter().filter(|node| (node.profile as usize) < self.profiles.len()) {
            let of_profile = &mut uses[node.profile as usize * lines..][..lines];
            for entry in &node.entries {
                if let Some(uses) = of_profile.get_mut(*entry as usize) {
                    *uses += 1;
                }
            }
        }
        let share = lines.div_ceil(threads.max(1)).max(1);
        let (uses_of, judge) = (&uses, &judge);
        let judged: Result<Vec<Vec<(usize, T)>>, serde_json::Error> = std::thread::scope(|scope| {
            let workers: Vec<_> = self
                .lines
                .chunks(share)
                .enumerate()
                .map(|(chunk, of_chunk)| {
                    scope.spawn(move || {
                        let mut found = Vec::new();
                        for (index, line) in (chunk * share..).zip(of_chunk) {
                            let slots = (0..self.profiles.len()).map(|profile| profile * lines + index);
                            let mut slots = slots.filter(|slot| uses_of[*slot] > 0).peekable();
                            if slots.peek().is_none() {
                                continue;
                            }
                            let entry = Entry::from_line(line)?;
                            found.extend(slots.map(|slot| (slot, judge(&entry, &self.profiles[slot / lines]))));
                        }
                        Ok(found)
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut results: Vec<Option<Box<T>>> = Vec::new();
        results.resize_with(uses.len(), || None);
        for (slot, result) in judged?.into_iter().flatten() {
            results[slot] = Some(Box::new(result));
        }
        Ok(Table { lines, uses, results })
    }
}

/// A result for each line and profile that some node has together.
struct Table<T> {
    lines: usize,
    uses: Vec<u32>,
    results: Vec<Option<Box<T>>>,
}

impl<T> Table<T> {
    fn get(&self, profile: u32, entry: u32) -> Option<&T> {
        if entry as usize >= self.lines {
            return None;
        }
        self.results.get(profile as usize * self.lines + entry as usize)?.as_deref()
    }

    /// Each result with the number of nodes that have it.
    fn used(&self) -> impl Iterator<Item = (u64, &T)> {
        let results = self.uses.iter().zip(&self.results);
        results.filter_map(|(uses, result)| Some((u64::from(*uses), result.as_deref()?)))
    }
}

impl Table<Difference> {
    /// Sums of each node, in their order.
    fn per_node(&self, fleet: &Fleet, threads: usize) -> Vec<NodeChange> {
        // A node has a thousand entries, and there are thousands of nodes: what is added up lies
        // close together.
        let of_result = |result: &Option<Box<Difference>>| {
            result.as_deref().map_or(NodeChange::default(), |difference| NodeChange {
                non_compliant_before: non_compliant(&difference.before),
                non_compliant_after: non_compliant(&difference.after),
                changed: u32::try_from(difference.changes.len()).unwrap_or(u32::MAX),
            })
        };
        let short: Vec<NodeChange> = self.results.iter().map(of_result).collect();
        let sum = |node: &FleetNode| {
            let first = (node.profile as usize).saturating_mul(self.lines);
            let of_profile = short.get(first..first.saturating_add(self.lines)).unwrap_or_default();
            let mut sum = NodeChange::default();
            for part in node.entries.iter().filter_map(|entry| of_profile.get(*entry as usize)) {
                sum.non_compliant_before += part.non_compliant_before;
                sum.non_compliant_after += part.non_compliant_after;
                sum.changed += part.changed;
            }
            sum
        };
        let share = fleet.nodes.len().div_ceil(threads.max(1)).max(1);
        let sum = &sum;
        std::thread::scope(|scope| {
            let workers: Vec<_> = fleet
                .nodes
                .chunks(share)
                .map(|nodes| scope.spawn(move || nodes.iter().map(sum).collect::<Vec<_>>()))
                .collect();
            let joined = workers.into_iter().map(|worker| worker.join());
            joined.flat_map(|sums| sums.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }
}

const fn non_compliant(counts: &PatchCounts) -> u32 {
    counts.missing_count + counts.failed_count + counts.installed_rejected_count + counts.installed_pending_reboot_count
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
