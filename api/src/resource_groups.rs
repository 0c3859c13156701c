//! Resource groups: stored tag queries that targets may name. AWS has them in a service of their
//! own; here they are three operations.

use jiff::Timestamp;
use patchwave_engine::targets::ResourceGroup as Query;
use patchwave_platform::store;
use patchwave_platform::store::resource_groups::ResourceGroup;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch, present, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    name: Option<String>,
    description: Option<String>,
    /// AWS's form, `{"Type": "TAG_FILTERS_1_0", "Query": "<JSON>"}`.
    resource_query: Option<ResourceQuery>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResourceQuery {
    query: Option<String>,
}

/// CreateResourceGroup.
pub(crate) async fn create(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = required("name", input.name)?;
    let query = required("resourceQuery", input.resource_query)?;
    let query = required("resourceQuery.query", query.query)?;
    Query::parse(&query).map_err(|error| Error::validation(error.to_string()))?;
    let description = input.description.unwrap_or_default();
    let group = ResourceGroup { name, description, query, created_at: Timestamp::now() };
    let mut tx = api.store.begin().await?;
    match tx.add_resource_group(&group).await {
        Ok(()) => tx.commit().await?,
        Err(error @ store::Error::Conflict { .. }) => {
            return Err(Error::new("AlreadyExistsException", error.to_string()));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(view(&group))
}

/// DeleteResourceGroup. Targets that name it match nothing from then on.
pub(crate) async fn delete(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = required("name", input.name)?;
    let mut tx = api.store.begin().await?;
    if !tx.delete_resource_group(&name).await? {
        return Err(Error::does_not_exist(format_args!("resource group {name}")));
    }
    tx.commit().await?;
    Ok(json!({ "Name": name }))
}

/// ListResourceGroups.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let paging = request.paging(1..=50)?;
    let (groups, next) = paging.of_list(api.store.resource_groups().await?, |group| group.name.clone());
    let groups: Vec<Value> = groups.iter().map(view).collect();
    Ok(present(json!({ "ResourceGroups": groups, "NextToken": next })))
}

fn view(group: &ResourceGroup) -> Value {
    json!({
        "Name": group.name,
        "Description": group.description,
        "ResourceQuery": { "Type": "TAG_FILTERS_1_0", "Query": group.query },
        "CreatedDate": epoch(group.created_at),
    })
}
