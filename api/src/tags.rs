//! AddTagsToResource, RemoveTagsFromResource, ListTagsForResource.

use std::collections::BTreeMap;

use patchwave_platform::store::Tx;
use patchwave_platform::store::tags::Taggable;
use patchwave_schemas::{NodeId, WindowId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::documents::bare_name;
use crate::wire::{Checks, Error, Request, required};
use crate::{Api, baselines};

/// Tags of one resource (SSM).
const TAGS_MAX: usize = 50;

/// One tag.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    resource_type: Option<String>,
    resource_id: Option<String>,
    tags: Option<Vec<Tag>>,
    tag_keys: Option<Vec<String>>,
}

/// What a request names.
enum Resource {
    Node(NodeId),
    Other(Taggable, String),
}

impl Input {
    fn resource(&self) -> Result<Resource, Error> {
        let kind = required("resourceType", self.resource_type.as_deref())?;
        let id = required("resourceId", self.resource_id.as_deref())?;
        let invalid =
            |expected: &str| Error::new("InvalidResourceId", format!("ResourceId is `{id}`; allowed is {expected}"));
        match kind {
            "ManagedInstance" => id.parse().map(Resource::Node).map_err(|_| invalid("`mi-` and 17 hex digits")),
            "MaintenanceWindow" => {
                id.parse::<WindowId>().map_err(|_| invalid("`mw-` and 17 hex digits"))?;
                Ok(Resource::Other(Taggable::MaintenanceWindow, id.to_owned()))
            }
            "PatchBaseline" => {
                let id = baselines::baseline_id("resourceId", Some(id))?;
                Ok(Resource::Other(Taggable::PatchBaseline, id.to_string()))
            }
            "Document" => Ok(Resource::Other(Taggable::Document, bare_name(id).to_owned())),
            _ => Err(Error::new(
                "InvalidResourceType",
                format!(
                    "ResourceType is `{kind}`, which Patchwave does not keep tags of; allowed are ManagedInstance, \
                     MaintenanceWindow, PatchBaseline, Document"
                ),
            )),
        }
    }
}

/// AddTagsToResource. The same key overwrites.
pub(crate) async fn add(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let resource = input.resource()?;
    let added = checked_tags(&required("tags", input.tags)?)?;
    change(api, &resource, |tags| tags.extend(added)).await
}

/// RemoveTagsFromResource. Keys that are not there are passed over.
pub(crate) async fn remove(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let resource = input.resource()?;
    let keys = required("tagKeys", input.tag_keys)?;
    change(api, &resource, |tags| tags.retain(|key, _| !keys.contains(key))).await
}

/// ListTagsForResource.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let resource = input.resource()?;
    if let Resource::Node(node) = &resource {
        api.check_nodes(request.caller(), std::slice::from_ref(node)).await?;
    }
    let tags = read(api, &resource).await?;
    let list: Vec<Tag> = tags.into_iter().map(|(key, value)| Tag { key, value }).collect();
    Ok(json!({ "TagList": list }))
}

async fn change(
    api: &Api,
    resource: &Resource,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<Value, Error> {
    let mut tx = api.store.begin().await?;
    let mut tags = hold(&mut tx, resource).await?;
    change(&mut tags);
    if tags.len() > TAGS_MAX {
        let message = format!("the resource would have {} tags; allowed are {TAGS_MAX}", tags.len());
        return Err(Error::new("TooManyTagsError", message));
    }
    match resource {
        Resource::Node(id) => {
            tx.set_node_tags(id, &tags).await?;
        }
        Resource::Other(kind, id) => tx.set_tags(*kind, id, &tags).await?,
    }
    tx.commit().await?;
    Ok(json!({}))
}

/// Reads the tags of a resource, which must exist.
async fn read(api: &Api, resource: &Resource) -> Result<BTreeMap<String, String>, Error> {
    match resource {
        Resource::Node(id) => Ok(api.store.node(id).await?.ok_or_else(|| missing(id.as_str()))?.facts.tags),
        Resource::Other(kind, id) => {
            let exists = match kind {
                Taggable::MaintenanceWindow => match id.parse() {
                    Ok(window) => api.store.window(&window).await?.is_some(),
                    Err(_) => false,
                },
                Taggable::PatchBaseline => match id.parse() {
                    Ok(baseline) => api.store.baseline(&baseline).await?.is_some(),
                    Err(_) => false,
                },
                Taggable::Document => api.store.document(id).await?.is_some(),
                Taggable::StateMachine => api.store.state_machine(id).await?.is_some(),
            };
            if exists { Ok(api.store.tags(*kind, id).await?) } else { Err(missing(id)) }
        }
    }
}

/// Reads the tags of a resource, which must exist, and holds it.
async fn hold(tx: &mut Tx, resource: &Resource) -> Result<BTreeMap<String, String>, Error> {
    match resource {
        Resource::Node(id) => tx.lock_node_tags(id).await?.ok_or_else(|| missing(id.as_str())),
        Resource::Other(kind, id) => {
            let exists = match kind {
                Taggable::MaintenanceWindow => match id.parse() {
                    Ok(window) => tx.lock_window(&window).await?.is_some(),
                    Err(_) => false,
                },
                Taggable::PatchBaseline => match id.parse() {
                    Ok(baseline) => tx.lock_baseline(&baseline).await?.is_some(),
                    Err(_) => false,
                },
                Taggable::Document => tx.lock_document(id).await?.is_some(),
                Taggable::StateMachine => tx.lock_state_machine(id).await?.is_some(),
            };
            if exists { Ok(tx.tags(*kind, id).await?) } else { Err(missing(id)) }
        }
    }
}

fn missing(id: &str) -> Error {
    Error::new("InvalidResourceId", format!("ResourceId is `{id}`, which does not exist"))
}

/// Tags as a map, once they are within SSM's limits.
pub(crate) fn checked_tags(tags: &[Tag]) -> Result<BTreeMap<String, String>, Error> {
    let mut checks = Checks::default();
    for (index, tag) in tags.iter().enumerate() {
        let field = format!("tags.{}.member", index + 1);
        if tag.key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            checks.refuse(&format!("{field}.key"), &tag.key, "Member must not begin with the reserved prefix aws:");
        }
        for (member, text) in [("key", &tag.key), ("value", &tag.value)] {
            if text.chars().any(char::is_control) {
                let shown = text.escape_default();
                checks.refuse(&format!("{field}.{member}"), shown, "Member must not contain control characters");
            }
        }
    }
    checks.finish()?;
    let map: BTreeMap<_, _> = tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
    if map.len() > TAGS_MAX {
        return Err(Error::validation(format!("Tags has {} keys; allowed are {TAGS_MAX}", map.len())));
    }
    Ok(map)
}
