//! Rollout plans: how rollouts are cut into waves, by name. Our own; clients of AWS use one by
//! tagging a window or a document with its name.

use jiff::Timestamp;
use patchwave_engine::rollout::plan;
use patchwave_platform::store;
use patchwave_platform::store::rollout_plans::NamedPlan;
use patchwave_schemas::waves::RolloutPlan;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch, present, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    name: Option<String>,
    description: Option<String>,
    plan: Option<RolloutPlan>,
}

/// CreateRolloutPlan.
pub(crate) async fn create(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let plan = required("plan", input.plan)?;
    plan::check(&plan).map_err(|error| Error::validation(format!("Plan.{error}")))?;
    let name = required("name", input.name)?;
    let description = input.description.unwrap_or_default();
    let named = NamedPlan { name, description, plan, created_at: Timestamp::now() };
    let mut tx = api.store.begin().await?;
    match tx.add_rollout_plan(&named).await {
        Ok(()) => tx.commit().await?,
        Err(error @ store::Error::Conflict { .. }) => {
            return Err(Error::new("AlreadyExistsException", error.to_string()));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(view(&named))
}

/// DeleteRolloutPlan. Commands that are under way keep what it said; what names it later is refused.
pub(crate) async fn delete(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = required("name", input.name)?;
    let mut tx = api.store.begin().await?;
    if !tx.delete_rollout_plan(&name).await? {
        return Err(Error::does_not_exist(format_args!("rollout plan {name}")));
    }
    tx.commit().await?;
    Ok(json!({ "Name": name }))
}

/// ListRolloutPlans.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let paging = request.paging(1..=50)?;
    let (plans, next) = paging.of_list(api.store.rollout_plans().await?, |one| one.name.clone());
    let plans: Vec<Value> = plans.iter().map(view).collect();
    Ok(present(json!({ "RolloutPlans": plans, "NextToken": next })))
}

fn view(named: &NamedPlan) -> Value {
    json!({
        "Name": named.name,
        "Description": named.description,
        "Plan": named.plan,
        "CreatedDate": epoch(named.created_at),
    })
}
