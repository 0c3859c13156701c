//! Inventory: what agents say of themselves, and what other programs put.

use serde_json::{Value, json};

use crate::support::{Harness, id};

fn rack(node: &str, row: &str, hash: &str) -> Value {
    json!({ "InstanceId": node, "Items": [{ "TypeName": "Custom:Rack", "SchemaVersion": "1.0",
        "CaptureTime": "2026-04-07T14:29:00Z", "ContentHash": hash,
        "Content": [{ "Row": row, "Unit": "7" }, { "Row": row, "Unit": "12" }] }] })
}

fn entities(answer: &Value) -> Vec<String> {
    answer["Entities"].as_array().expect("a list").iter().map(|one| id(one, "Id")).collect()
}

#[tokio::test]
async fn nodes_are_found_by_what_was_put_and_by_what_agents_say() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..5, &[]).await;
    for (node, row) in [(&nodes[0], "a"), (&nodes[1], "b"), (&nodes[2], "b")] {
        api.ok("PutInventory", rack(node, row, "h1")).await;
    }
    let all = api.ok("GetInventory", json!({})).await;
    assert_eq!(entities(&all), nodes);
    let own = &all["Entities"][0]["Data"]["AWS:InstanceInformation"]["Content"][0];
    assert_eq!((&own["PlatformType"], &own["InstanceStatus"]), (&json!("Linux"), &json!("Active")));

    let filter = |key: &str, kind: &str, value: &str| json!([{ "Key": key, "Values": [value], "Type": kind }]);
    for (filters, expected) in [
        (filter("Custom:Rack.Row", "Equal", "b"), &nodes[1..3]),
        (filter("Custom:Rack.Row", "NotEqual", "b"), &[nodes[0].clone(), nodes[3].clone()][..]),
        (filter("Custom:Rack.Row", "Exists", "any"), &nodes[..3]),
        (filter("Custom:Rack.Unit", "GreaterThan", "12"), &[]),
        (filter("AWS:InstanceInformation.ComputerName", "BeginWith", "host-4"), &nodes[3..]),
    ] {
        let input = json!({ "Filters": filters, "ResultAttributes": [{ "TypeName": "Custom:Rack" }] });
        let found = api.ok("GetInventory", input).await;
        assert_eq!(entities(&found), expected, "{filters}");
    }
    let pages = api.pages("GetInventory", json!({}), 3, "Entities").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);

    let count = json!({ "Aggregators": [{ "Expression": "Custom:Rack.Row" }] });
    let counted = api.ok("GetInventory", count).await["Entities"][0]["Data"]["Custom:Rack"]["Content"].clone();
    assert_eq!(counted, json!([{ "Row": "a", "Count": "2" }, { "Row": "b", "Count": "4" }]));
    let nested =
        json!({ "Aggregators": [{ "Expression": "Custom:Rack.Row", "Aggregators": [{ "Expression": "x" }] }] });
    api.refused("GetInventory", nested, "InvalidAggregatorException").await;
    api.refused("GetInventory", json!({ "Filters": filter("Row", "Equal", "b") }), "InvalidFilter").await;

    let entries = json!({ "InstanceId": nodes[0], "TypeName": "Custom:Rack",
        "Filters": [{ "Key": "Unit", "Values": ["12"] }] });
    let entries = api.ok("ListInventoryEntries", entries).await;
    assert_eq!(entries["Entries"], json!([{ "Row": "a", "Unit": "12" }]));
    assert_eq!(entries["CaptureTime"], "2026-04-07T14:29:00Z");
    let none = json!({ "InstanceId": nodes[3], "TypeName": "Custom:Rack" });
    assert_eq!(api.ok("ListInventoryEntries", none).await["Entries"], json!([]));

    let schemas = api.ok("GetInventorySchema", json!({ "TypeName": "Custom" })).await["Schemas"].clone();
    assert_eq!(schemas[0]["Attributes"][1], json!({ "Name": "Unit", "DataType": "string" }));
}

#[tokio::test]
async fn content_is_sent_again_only_when_its_hash_is_another() {
    let api = Harness::new().await;
    let node = api.nodes(1..2, &[]).await.remove(0);
    let without_content = |hash: &str| {
        let mut input = rack(&node, "a", hash);
        input["Items"][0]["Content"] = Value::Null;
        input["Items"][0]["CaptureTime"] = json!("2026-04-08T00:00:00Z");
        input
    };
    api.refused("PutInventory", without_content("h1"), "ItemContentMismatchException").await;
    api.ok("PutInventory", rack(&node, "a", "h1")).await;
    api.ok("PutInventory", without_content("h1")).await;
    api.refused("PutInventory", without_content("h2"), "ItemContentMismatchException").await;
    let entries = api.ok("ListInventoryEntries", json!({ "InstanceId": node, "TypeName": "Custom:Rack" })).await;
    assert_eq!(entries["CaptureTime"], "2026-04-08T00:00:00Z");
    assert_eq!(entries["Entries"].as_array().map(Vec::len), Some(2));

    for (type_name, code) in
        [("AWS:InstanceInformation", "InvalidTypeNameException"), ("AWS:Nothing", "InvalidTypeNameException")]
    {
        let mut input = rack(&node, "a", "h");
        input["Items"][0]["TypeName"] = json!(type_name);
        api.refused("PutInventory", input, code).await;
    }
    let unknown = rack("mi-0000000000000ffff", "a", "h");
    api.refused("PutInventory", unknown, "InvalidInstanceId").await;
    let mut nineteen_more = rack(&node, "a", "h");
    for number in 0..20 {
        nineteen_more["Items"][0]["TypeName"] = json!(format!("Custom:T{number}"));
        if number < 19 {
            api.ok("PutInventory", nineteen_more.clone()).await;
        }
    }
    api.refused("PutInventory", nineteen_more, "CustomSchemaCountLimitExceededException").await;

    let dry = json!({ "TypeName": "Custom:Rack", "DryRun": true });
    assert_eq!(api.ok("DeleteInventory", dry).await["DeletionSummary"]["RemainingCount"], 1);
    let mut gone = json!({ "TypeName": "Custom:Rack", "ClientToken": "0e0f6c8e-5e0c-4d4e-9d0c-3f6f0f7a1b2c" });
    let deleted = api.ok("DeleteInventory", gone.clone()).await;
    assert_eq!(deleted["DeletionSummary"]["RemainingCount"], 0);
    assert_eq!(api.ok("DeleteInventory", gone.clone()).await, deleted, "a request that is repeated");
    gone["ClientToken"] = Value::Null;
    api.refused("DeleteInventory", gone, "InvalidTypeNameException").await;
}

#[tokio::test]
async fn settings_have_the_one_value_that_holds_here() {
    let api = Harness::new().await;
    let setting = "/ssm/managed-instance/activation-tier";
    let arn = format!("arn:aws:ssm:eu-central-1:111122223333:servicesetting{setting}");
    let shown = api.ok("GetServiceSetting", json!({ "SettingId": setting })).await["ServiceSetting"]["ARN"].clone();
    assert_eq!(shown, json!(format!("arn:aws:ssm:local:{}:servicesetting{setting}", crate::support::ACCOUNT)));
    for id in [setting, &arn] {
        let read = api.ok("GetServiceSetting", json!({ "SettingId": id })).await["ServiceSetting"].clone();
        assert_eq!((&read["SettingId"], &read["SettingValue"]), (&json!(setting), &json!("advanced")));
    }
    api.ok("UpdateServiceSetting", json!({ "SettingId": setting, "SettingValue": "advanced" })).await;
    let other = json!({ "SettingId": setting, "SettingValue": "standard" });
    let message = api.refused("UpdateServiceSetting", other, "ValidationException").await;
    assert!(message.contains("no tiers"), "{message}");
    api.ok("ResetServiceSetting", json!({ "SettingId": setting })).await;
    api.refused("GetServiceSetting", json!({ "SettingId": "/ssm/nothing" }), "ServiceSettingNotFound").await;
}
