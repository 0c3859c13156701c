//! Rollout plans: what a plan may say, and which wave a node is in.
//!
//! By hash a node is in the same wave of every rollout with the same sizes: whoever is a canary
//! stays one, whatever command comes.

use std::collections::BTreeMap;

use patchwave_schemas::NodeId;
use patchwave_schemas::waves::{RolloutPlan, WavePlan};

use super::waves::Wave;
use crate::limits::Limit;
use crate::targets::stable_order;

/// The tag of a window or a document that names the rollout plan of what runs for it.
pub const PLAN_TAG: &str = "patchwave:rollout-plan";
/// Waves of a plan at most.
pub const WAVES_MAX: usize = 20;
/// Seconds of a bake time at most: a week.
const BAKE_SECONDS_MAX: u32 = 604_800;
/// Characters of a wave's name at most.
const NAME_CHARS_MAX: usize = 64;
/// What the order of nodes is salted with: not the command, so that it is always the same.
const SALT: &str = "waves";

/// A plan that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is `{value}`; allowed is {allowed}")]
pub struct PlanError {
    /// The member, with the number of its wave.
    pub field: String,
    /// Its value.
    pub value: String,
    /// What would have been accepted.
    pub allowed: &'static str,
}

fn refuse<T>(field: String, value: impl ToString, allowed: &'static str) -> Result<T, PlanError> {
    Err(PlanError { field, value: value.to_string(), allowed })
}

/// Checks a plan.
///
/// # Errors
/// [`PlanError`] naming the member, its value and what is allowed.
pub fn check(plan: &RolloutPlan) -> Result<(), PlanError> {
    if !(1..=WAVES_MAX).contains(&plan.waves.len()) {
        return refuse("Waves".to_owned(), format!("{} waves", plan.waves.len()), "1 to 20 waves");
    }
    if plan.tag_key.as_ref().is_some_and(|key| key.is_empty() || key.chars().count() > 128) {
        return refuse("TagKey".to_owned(), plan.tag_key.clone().unwrap_or_default(), "1 to 128 characters");
    }
    let mut values = BTreeMap::new();
    for (index, wave) in plan.waves.iter().enumerate() {
        let field = |name: &str| format!("Waves[{index}].{name}");
        let last = index + 1 == plan.waves.len();
        check_members(plan, wave, last, &field)?;
        for value in &wave.tag_values {
            if let Some(first) = values.insert(value, index) {
                let value = format!("{value}` and `{first}");
                return refuse(field("TagValues"), value, "a value that no other wave has");
            }
        }
    }
    Ok(())
}

fn check_members(
    plan: &RolloutPlan,
    wave: &WavePlan,
    last: bool,
    field: &dyn Fn(&str) -> String,
) -> Result<(), PlanError> {
    let size = wave.size.clone().unwrap_or_default();
    match (&plan.tag_key, &wave.size) {
        (Some(_), Some(_)) => return refuse(field("Size"), size, "none: with TagKey a wave has TagValues"),
        (Some(_), None) if wave.tag_values.is_empty() && !last => {
            return refuse(field("TagValues"), "", "at least one value; only the last wave takes the rest");
        }
        (None, _) if !wave.tag_values.is_empty() => {
            return refuse(field("TagValues"), wave.tag_values.join(", "), "none without TagKey");
        }
        (None, Some(_)) if last => return refuse(field("Size"), size, "none: the last wave takes the rest"),
        (None, None) if !last => return refuse(field("Size"), size, "a count from 1, or 1% to 100%"),
        (None, Some(size)) if Limit::concurrency(size).is_err() => {
            return refuse(field("Size"), size, "a count from 1, or 1% to 100%");
        }
        _ => {}
    }
    if wave.name.as_ref().is_some_and(|name| name.is_empty() || name.chars().count() > NAME_CHARS_MAX) {
        return refuse(field("Name"), wave.name.clone().unwrap_or_default(), "1 to 64 characters");
    }
    if wave.bake_seconds > BAKE_SECONDS_MAX {
        return refuse(field("BakeSeconds"), wave.bake_seconds, "0 to 604800 seconds");
    }
    if last && (wave.gate.is_some() || wave.bake_seconds > 0) {
        return refuse(field("Gate or BakeSeconds"), "given", "neither for the last wave: nothing follows it");
    }
    let Some(gate) = wave.gate else { return Ok(()) };
    if let Some(percent) = gate.min_success_percent.filter(|percent| *percent > 100) {
        return refuse(field("Gate.MinSuccessPercent"), percent, "0 to 100");
    }
    match gate.approval_within_seconds {
        Some(seconds) if !(60..=2_592_000).contains(&seconds) => {
            refuse(field("Gate.ApprovalWithinSeconds"), seconds, "60 to 2592000 seconds")
        }
        _ => Ok(()),
    }
}

/// The index of each node's wave. The plan has been checked.
#[must_use]
pub fn assign(plan: &RolloutPlan, nodes: &[(&NodeId, &BTreeMap<String, String>)]) -> Vec<usize> {
    let last = plan.waves.len().saturating_sub(1);
    if let Some(key) = &plan.tag_key {
        let wave_of = |tags: &BTreeMap<String, String>| {
            let value = tags.get(key)?;
            plan.waves.iter().position(|wave| wave.tag_values.contains(value))
        };
        return nodes.iter().map(|(_, tags)| wave_of(tags).unwrap_or(last)).collect();
    }
    let total = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    let size_of = |wave: &WavePlan| match wave.size.as_deref().map(Limit::concurrency) {
        Some(Ok(size)) => size.concurrency_of(total) as usize,
        _ => usize::MAX,
    };
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_cached_key(|index| (stable_order(nodes[*index].0, SALT), nodes[*index].0.clone()));
    let mut assigned = vec![last; nodes.len()];
    let mut rest = order.into_iter();
    for (number, wave) in plan.waves.iter().enumerate().take(last) {
        for index in rest.by_ref().take(size_of(wave)) {
            assigned[index] = number;
        }
    }
    assigned
}

/// The waves of a plan with their numbers of nodes, for [`super::waves::Waves::plan`].
pub fn waves<'a>(plan: &'a RolloutPlan, assigned: &'a [usize]) -> impl Iterator<Item = Wave> + 'a {
    plan.waves.iter().enumerate().map(|(index, wave)| {
        let gate = wave.gate.unwrap_or_default();
        let targets = assigned.iter().filter(|of| **of == index).count();
        Wave {
            name: wave.name.clone().unwrap_or_else(|| format!("wave {}", index + 1)),
            targets: u32::try_from(targets).unwrap_or(u32::MAX),
            held: 0,
            bake_seconds: wave.bake_seconds,
            min_success_percent: gate.min_success_percent,
            max_failed: gate.max_failed,
            approval_within_seconds: gate.approval_within_seconds,
        }
    })
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::waves::GatePlan;

    use super::*;

    fn sized(sizes: &[&str]) -> RolloutPlan {
        let mut waves: Vec<_> =
            sizes.iter().map(|size| WavePlan { size: Some((*size).to_owned()), ..WavePlan::default() }).collect();
        waves.push(WavePlan::default());
        RolloutPlan { tag_key: None, waves }
    }

    fn tagged(values: &[&[&str]]) -> RolloutPlan {
        let texts = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let waves = values.iter().map(|values| WavePlan { tag_values: texts(values), ..WavePlan::default() }).collect();
        RolloutPlan { tag_key: Some("Ring".to_owned()), waves }
    }

    fn counts(plan: &RolloutPlan, nodes: &[(NodeId, BTreeMap<String, String>)]) -> Vec<u32> {
        let keys: Vec<_> = nodes.iter().map(|(id, tags)| (id, tags)).collect();
        waves(plan, &assign(plan, &keys)).map(|wave| wave.targets).collect()
    }

    fn fleet(count: u128) -> Vec<(NodeId, BTreeMap<String, String>)> {
        (0..count).map(|number| (NodeId::from_bits(number), BTreeMap::new())).collect()
    }

    #[test]
    fn sizes_are_counts_or_shares_of_all_nodes_and_the_last_wave_takes_the_rest() {
        for (sizes, nodes, expected) in [
            (&["5", "10%"][..], 100, &[5, 10, 85][..]),
            (&["5", "10%"], 7, &[5, 1, 1]),
            (&["5", "10%"], 3, &[3, 0, 0]),
            (&["100%"], 4, &[4, 0]),
            (&["1"], 0, &[0, 0]),
        ] {
            assert_eq!(counts(&sized(sizes), &fleet(nodes)), expected, "{sizes:?} of {nodes}");
        }
    }

    #[test]
    fn a_node_stays_in_its_wave_whatever_the_order_it_is_found_in() {
        let plan = sized(&["10", "30"]);
        let nodes = fleet(100);
        let keys: Vec<_> = nodes.iter().map(|(id, tags)| (id, tags)).collect();
        let reversed: Vec<_> = keys.iter().rev().copied().collect();
        let mut again = assign(&plan, &reversed);
        again.reverse();
        assert_eq!(assign(&plan, &keys), again);
    }

    #[test]
    fn tag_values_choose_the_wave_and_whoever_has_none_is_last() {
        let plan = tagged(&[&["canary"], &["early", "second"], &["broad"]]);
        let rings = ["broad", "canary", "second", "early", "unheard of", ""];
        let nodes: Vec<_> = (0..)
            .zip(rings)
            .map(|(number, ring)| {
                let tags = (!ring.is_empty()).then(|| ("Ring".to_owned(), ring.to_owned()));
                (NodeId::from_bits(number), tags.into_iter().collect())
            })
            .collect();
        let keys: Vec<_> = nodes.iter().map(|(id, tags): &(_, _)| (id, tags)).collect();
        assert_eq!(assign(&plan, &keys), [2, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn plans_that_are_not_allowed_are_refused_with_member_and_value() {
        check(&sized(&["1", "50%"])).expect("allowed");
        check(&tagged(&[&["canary"], &[]])).expect("the last wave may be the rest");
        let gate = |gate| {
            let mut plan = sized(&["1"]);
            plan.waves[0].gate = Some(gate);
            plan
        };
        let mut long = sized(&["1"]);
        long.waves[0].bake_seconds = 604_801;
        let mut gated_last = sized(&["1"]);
        gated_last.waves[1].gate = Some(GatePlan::default());
        let mut both = tagged(&[&["canary"], &["rest"]]);
        both.waves[0].size = Some("1".to_owned());
        let mut without_key = tagged(&[&["canary"], &[]]);
        without_key.tag_key = None;
        for (plan, field) in [
            (RolloutPlan::default(), "Waves"),
            (sized(&["1"; 20]), "Waves"),
            (sized(&["0"]), "Waves[0].Size"),
            (sized(&["101%"]), "Waves[0].Size"),
            (both, "Waves[0].Size"),
            (tagged(&[&[], &["rest"]]), "Waves[0].TagValues"),
            (tagged(&[&["a"], &["a"]]), "Waves[1].TagValues"),
            (without_key, "Waves[0].TagValues"),
            (long, "Waves[0].BakeSeconds"),
            (gated_last, "Waves[1].Gate or BakeSeconds"),
            (
                gate(GatePlan { min_success_percent: Some(101), ..GatePlan::default() }),
                "Waves[0].Gate.MinSuccessPercent",
            ),
            (
                gate(GatePlan { approval_within_seconds: Some(59), ..GatePlan::default() }),
                "Waves[0].Gate.ApprovalWithinSeconds",
            ),
        ] {
            assert_eq!(check(&plan).expect_err(field).field, field, "{plan:?}");
        }
    }
}
