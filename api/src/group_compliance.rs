//! How nodes stand by patch group, now and in the hours before. What counts as what is
//! `engine::group_compliance`.

use jiff::Timestamp;
use patchwave_engine::group_compliance::GroupCompliance;
use patchwave_platform::store::group_compliance::{HistoryFilter, Recorded};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch, instant, instant_key, present};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    patch_group: Option<String>,
    since: Option<Value>,
    until: Option<Value>,
}

/// ListGroupCompliance: how the nodes of each patch group stand now, of those that the caller may see.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let caller = request.caller();
    let stale_after = api.store.stale_after().await?;
    let is_meant = |tags: &_| caller.policy.as_ref().is_none_or(|policy| policy.allows(tags));
    let mut groups = api.store.group_compliance(Timestamp::now(), stale_after, is_meant).await?;
    if let Some(name) = &input.patch_group {
        groups.retain(|group, _| group == name);
    }
    let groups: Vec<Value> = groups.iter().map(|(name, counts)| view(name, counts)).collect();
    Ok(json!({ "StaleAfterHours": stale_after.as_hours(), "PatchGroups": groups }))
}

/// ListComplianceHistory: how the nodes of patch groups stood, by hour.
pub(crate) async fn history(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=100)?;
    let filter = HistoryFilter {
        patch_group: input.patch_group,
        since: input.since.map(|at| instant("since", &at)).transpose()?,
        until: input.until.map(|at| instant("until", &at)).transpose()?,
    };
    let found = api.store.compliance_history(&filter, paging.after_instant()?, paging.rows()).await?;
    let (found, next) = paging.of_rows(found, |one: &Recorded| instant_key(one.recorded_at, &one.patch_group));
    let list: Vec<Value> = found
        .iter()
        .map(|one| {
            let mut view = view(&one.patch_group, &one.counts);
            view["RecordedAt"] = epoch(one.recorded_at);
            view
        })
        .collect();
    Ok(present(json!({ "ComplianceHistory": list, "NextToken": next })))
}

fn view(patch_group: &str, counts: &GroupCompliance) -> Value {
    let mut view = json!(counts);
    view["PatchGroup"] = json!(patch_group);
    if let Some(at) = counts.oldest_report {
        view["OldestReport"] = epoch(at);
    }
    view
}
