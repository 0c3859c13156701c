//! GetInventory and ListInventoryEntries.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchwave_platform::store::inventory::{Entry, InventoryItem};
use patchwave_schemas::NodeId;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{INSTANCE_INFORMATION, instance_information};
use crate::Api;
use crate::nodes::node_id;
use crate::wire::{Comparison, Error, Request, present};

/// Nodes looked at at a time.
const SCAN_ROWS: u32 = 500;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(default)]
    filters: Vec<InventoryFilter>,
    #[serde(default)]
    aggregators: Vec<Aggregator>,
    #[serde(default)]
    result_attributes: Vec<ResultAttribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InventoryFilter {
    key: String,
    values: Vec<String>,
    #[serde(rename = "Type")]
    comparison: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Aggregator {
    expression: Option<String>,
    #[serde(default)]
    aggregators: Vec<Value>,
    #[serde(default)]
    groups: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResultAttribute {
    type_name: String,
}

/// An attribute of a type, and what it is compared with.
struct Condition {
    type_name: String,
    attribute: String,
    values: Vec<String>,
    comparison: Comparison,
}

impl Condition {
    /// Whether a row of the node's items passes; for `NotEqual`, every row.
    fn passes(&self, items: &[InventoryItem]) -> bool {
        let rows = items.iter().filter(|item| item.type_name == self.type_name).flat_map(|item| &item.content);
        let mut found = rows.filter_map(|row| row.get(&self.attribute));
        match self.comparison {
            Comparison::NotEqual => found.all(|value| self.comparison.accepts(value, &self.values)),
            _ => found.any(|value| self.comparison.accepts(value, &self.values)),
        }
    }
}

/// GetInventory: nodes with their items, or with one aggregator the number of rows by value.
pub(crate) async fn get(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=50)?;
    let mut conditions = Vec::with_capacity(input.filters.len());
    for filter in input.filters {
        let (type_name, attribute) = attribute_of(&filter.key).ok_or_else(|| {
            let message = format!("filter key is `{}`; allowed is <type>.<attribute>", filter.key);
            Error::new("InvalidFilter", message)
        })?;
        let comparison = Comparison::read(filter.comparison.as_deref())?;
        conditions.push(Condition { type_name, attribute, values: filter.values, comparison });
    }
    let counted = match input.aggregators.as_slice() {
        [] => None,
        [aggregator] => Some(counted(aggregator)?),
        several => {
            let message = format!("Aggregators has {} entries; allowed is 1", several.len());
            return Err(Error::new("InvalidAggregatorException", message));
        }
    };
    let mut shown: BTreeSet<String> = input.result_attributes.into_iter().map(|one| one.type_name).collect();
    if shown.is_empty() {
        shown.insert(INSTANCE_INFORMATION.to_owned());
    }
    let mut types = shown.clone();
    types.extend(conditions.iter().map(|condition| condition.type_name.clone()));
    types.extend(counted.iter().map(|(type_name, _)| type_name.clone()));
    let types: Vec<String> = types.into_iter().collect();

    let now = Timestamp::now();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut found: Vec<(NodeId, Vec<InventoryItem>)> = Vec::new();
    let mut after = if counted.is_some() { String::new() } else { paging.after().unwrap_or_default().to_owned() };
    while counted.is_some() || found.len() <= paging.size() {
        let nodes = api.store.nodes_after(&after, SCAN_ROWS).await?;
        let Some(last) = nodes.last() else { break };
        after = last.facts.node_id.to_string();
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.facts.node_id.clone()).collect();
        let mut stored: BTreeMap<NodeId, Vec<InventoryItem>> = BTreeMap::new();
        for item in api.store.inventory_of(&ids, &types).await? {
            stored.entry(item.node_id.clone()).or_default().push(item);
        }
        for node in &nodes {
            let mut items = stored.remove(&node.facts.node_id).unwrap_or_default();
            items.push(instance_information(node, now));
            if !conditions.iter().all(|condition| condition.passes(&items)) {
                continue;
            }
            match &counted {
                None => found.push((node.facts.node_id.clone(), items)),
                Some((type_name, attribute)) => {
                    let rows = items.iter().filter(|item| item.type_name == *type_name).flat_map(|item| &item.content);
                    for value in rows.filter_map(|row| row.get(attribute)) {
                        *counts.entry(value.clone()).or_default() += 1;
                    }
                }
            }
        }
    }
    if let Some((type_name, attribute)) = counted {
        let rows: Vec<Value> = counts
            .into_iter()
            .map(|(value, count)| json!({ attribute.as_str(): value, "Count": count.to_string() }))
            .collect();
        let data = json!({ type_name.as_str(): { "TypeName": type_name, "SchemaVersion": "1.0", "Content": rows } });
        return Ok(json!({ "Entities": [{ "Data": data }] }));
    }
    found.truncate(paging.size() + 1);
    let (found, next) = paging.of_rows(found, |(node, _)| node.to_string());
    let entities: Vec<Value> = found
        .into_iter()
        .map(|(node, items)| {
            let data: Map<String, Value> = items
                .into_iter()
                .filter(|item| shown.contains(&item.type_name))
                .map(|item| (item.type_name.clone(), item_view(&item)))
                .collect();
            json!({ "Id": node, "Data": data })
        })
        .collect();
    Ok(present(json!({ "Entities": entities, "NextToken": next })))
}

/// What an aggregator counts: rows by the value of one attribute.
fn counted(aggregator: &Aggregator) -> Result<(String, String), Error> {
    if !aggregator.groups.is_empty() {
        let message = "Groups of an aggregator are given; Patchwave counts by one Expression alone";
        return Err(Error::new("InvalidInventoryGroupException", message));
    }
    if !aggregator.aggregators.is_empty() {
        let message = "Aggregators within an aggregator are given; Patchwave counts by one Expression alone";
        return Err(Error::new("InvalidAggregatorException", message));
    }
    let expression = aggregator.expression.as_deref().unwrap_or_default();
    attribute_of(expression).ok_or_else(|| {
        let message = format!("Expression is `{expression}`; allowed is <type>.<attribute>");
        Error::new("InvalidAggregatorException", message)
    })
}

/// `AWS:InstanceInformation.PlatformType`: the type's name holds no dot.
fn attribute_of(text: &str) -> Option<(String, String)> {
    let (type_name, attribute) = text.split_once('.')?;
    let is_type = type_name.starts_with("AWS:") || type_name.starts_with("Custom:");
    (is_type && !attribute.is_empty()).then(|| (type_name.to_owned(), attribute.to_owned()))
}

fn item_view(item: &InventoryItem) -> Value {
    present(json!({
        "TypeName": item.type_name,
        "SchemaVersion": item.schema_version,
        "CaptureTime": item.capture_time,
        "ContentHash": item.content_hash,
        "Content": item.content,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntriesInput {
    instance_id: String,
    type_name: String,
    #[serde(default)]
    filters: Vec<InventoryFilter>,
}

/// ListInventoryEntries: the rows of one item.
pub(crate) async fn entries(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: EntriesInput = request.read()?;
    let paging = request.paging(1..=50)?;
    let id = node_id(&input.instance_id)?;
    let node = api.store.node(&id).await?;
    let node = node.ok_or_else(|| Error::new("InvalidInstanceId", format!("instance `{id}` is not a managed node")))?;
    let item = if input.type_name == INSTANCE_INFORMATION {
        Some(instance_information(&node, Timestamp::now()))
    } else {
        api.store.inventory_of(std::slice::from_ref(&id), std::slice::from_ref(&input.type_name)).await?.pop()
    };
    let Some(item) = item else {
        // Nothing was reported of this type: an empty list, as with SSM.
        return Ok(json!({ "InstanceId": id, "TypeName": input.type_name, "Entries": [] }));
    };
    let mut rows: Vec<(String, &Entry)> = Vec::new();
    for (index, row) in item.content.iter().enumerate() {
        let mut passes = true;
        for filter in &input.filters {
            let comparison = Comparison::read(filter.comparison.as_deref())?;
            // With or without the type before it.
            let attribute = filter.key.strip_prefix(&format!("{}.", item.type_name)).unwrap_or(&filter.key);
            passes &= row.get(attribute).is_some_and(|value| comparison.accepts(value, &filter.values));
        }
        if passes {
            rows.push((format!("{index:08}"), row));
        }
    }
    let (rows, next) = paging.of_list(rows, |(key, _)| key.clone());
    let rows: Vec<&Entry> = rows.into_iter().map(|(_, row)| row).collect();
    Ok(present(json!({
        "InstanceId": id,
        "TypeName": item.type_name,
        "SchemaVersion": item.schema_version,
        "CaptureTime": item.capture_time,
        "Entries": rows,
        "NextToken": next,
    })))
}
