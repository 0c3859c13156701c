//! GetInventorySchema: which types there are, and their attributes.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::INSTANCE_INFORMATION;
use crate::Api;
use crate::wire::{Error, Request, present};

/// SSM's types that may be put, with their attributes; all of them are texts.
const TYPES: &[(&str, &[&str])] = &[
    (
        "AWS:Application",
        &[
            "Name",
            "ApplicationType",
            "Publisher",
            "Version",
            "Release",
            "Epoch",
            "InstalledTime",
            "Architecture",
            "URL",
            "Summary",
            "PackageId",
        ],
    ),
    ("AWS:File", &["Name", "Size", "FileVersion", "InstalledDir", "ModificationTime", "LastAccessTime"]),
    (
        "AWS:InstanceDetailedInformation",
        &["CPUModel", "CPUCores", "CPUs", "CPUSpeedMHz", "CPUSockets", "CPUHyperThreadEnabled", "OSServicePack"],
    ),
    (
        INSTANCE_INFORMATION,
        &[
            "AgentType",
            "AgentVersion",
            "ComputerName",
            "InstanceId",
            "InstanceStatus",
            "IpAddress",
            "PlatformName",
            "PlatformType",
            "PlatformVersion",
            "ResourceType",
        ],
    ),
    ("AWS:Network", &["Name", "SubnetMask", "Gateway", "DHCPServer", "DNSServer", "MacAddress", "IPV4", "IPV6"]),
    (
        "AWS:Service",
        &["Name", "DisplayName", "ServiceType", "Status", "DependentServices", "ServicesDependedOn", "StartType"],
    ),
    ("AWS:WindowsUpdate", &["HotFixId", "Description", "InstalledTime", "InstalledBy"]),
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    type_name: Option<String>,
}

/// The attributes of one of SSM's types.
pub(super) fn of(name: &str) -> Option<&'static [&'static str]> {
    TYPES.iter().find(|(known, _)| *known == name).map(|(_, attributes)| *attributes)
}

/// SSM's types that may be put, for messages.
pub(super) fn names() -> String {
    let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).filter(|name| *name != INSTANCE_INFORMATION).collect();
    names.join(", ")
}

/// GetInventorySchema. What a custom type's rows have is what was put last.
pub(crate) async fn schemas(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(50..=200)?;
    let mut tx = api.store.begin().await?;
    let stored = tx.inventory_types().await?;
    drop(tx);
    let mut schemas: Vec<(String, Value)> = TYPES
        .iter()
        .map(|(name, attributes)| {
            ((*name).to_owned(), view(name, "1.0", attributes.iter().map(|name| (*name).to_owned())))
        })
        .collect();
    for (name, version, _) in stored.iter().filter(|(name, ..)| name.starts_with("Custom:")) {
        let item = api.store.some_inventory(name).await?;
        let names: BTreeSet<String> =
            item.iter().flat_map(|item| &item.content).flat_map(|row| row.keys().cloned()).collect();
        schemas.push((format!("{name} {version}"), view(name, version, names.into_iter())));
    }
    if let Some(wanted) = &input.type_name {
        // A type, or the beginning of several, such as `Custom`.
        schemas.retain(|(_, schema)| schema["TypeName"].as_str().is_some_and(|name| name.starts_with(wanted.as_str())));
        if schemas.is_empty() {
            let message = format!("TypeName is `{wanted}`, of which there is no inventory");
            return Err(Error::new("InvalidTypeNameException", message));
        }
    }
    let (schemas, next) = paging.of_list(schemas, |(key, _)| key.clone());
    let schemas: Vec<Value> = schemas.into_iter().map(|(_, schema)| schema).collect();
    Ok(present(json!({ "Schemas": schemas, "NextToken": next })))
}

fn view(name: &str, version: &str, attributes: impl Iterator<Item = String>) -> Value {
    let attributes: Vec<Value> = attributes.map(|name| json!({ "Name": name, "DataType": "string" })).collect();
    json!({ "TypeName": name, "Version": version, "Attributes": attributes })
}
