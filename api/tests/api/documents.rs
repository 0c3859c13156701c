//! Documents of the operator's own, from their creation to the command that runs them.

use serde_json::{Value, json};

use crate::support::{Harness, id};

fn content(line: &str) -> String {
    json!({
        "schemaVersion": "2.2",
        "description": "Greets.",
        "parameters": { "who": { "type": "String", "default": "world", "allowedPattern": "[a-z ]+" } },
        "mainSteps": [{ "action": "aws:runShellScript", "name": "greet", "inputs": { "runCommand": [line] } }],
    })
    .to_string()
}

async fn created(api: &Harness, name: &str) -> Value {
    let input = json!({ "Name": name, "Content": content("echo \"$SSM_who\""), "DocumentType": "Command",
        "VersionName": "first", "Tags": [{ "Key": "team", "Value": "web" }] });
    api.ok("CreateDocument", input).await["DocumentDescription"].clone()
}

#[tokio::test]
async fn document_is_described_read_and_listed_as_it_was_created() {
    let api = Harness::new().await;
    let description = created(&api, "greet").await;
    for (member, value) in [
        ("Name", json!("greet")),
        ("Status", json!("Active")),
        ("DocumentVersion", json!("1")),
        ("LatestVersion", json!("1")),
        ("DefaultVersion", json!("1")),
        ("HashType", json!("Sha256")),
        ("PlatformTypes", json!(["Linux", "MacOS"])),
        ("Parameters", json!([{ "Name": "who", "Type": "String", "DefaultValue": "world" }])),
        ("Tags", json!([{ "Key": "team", "Value": "web" }])),
    ] {
        assert_eq!(description[member], value, "{member}");
    }
    assert_eq!(description["Hash"].as_str().map(str::len), Some(64));
    assert_eq!(api.ok("DescribeDocument", json!({ "Name": "greet" })).await["Document"], description);
    let read = api.ok("GetDocument", json!({ "Name": "greet", "DocumentVersion": "$LATEST" })).await;
    assert_eq!(read["Content"], content("echo \"$SSM_who\""));
    assert_eq!((&read["DocumentFormat"], &read["VersionName"]), (&json!("JSON"), &json!("first")));
    let yaml = api.ok("GetDocument", json!({ "Name": "greet", "DocumentFormat": "YAML" })).await;
    assert!(id(&yaml, "Content").contains("schemaVersion: "), "{yaml}");

    for (filters, expected) in [
        (
            json!([]),
            vec!["AWS-Noop", "AWS-RunPatchBaseline", "AWS-RunPatchBaselineWithHooks", "AWS-RunShellScript", "greet"],
        ),
        (json!([{ "Key": "Owner", "Values": ["Self"] }]), vec!["greet"]),
        (
            json!([{ "Key": "Owner", "Values": ["Amazon"] }]),
            vec!["AWS-Noop", "AWS-RunPatchBaseline", "AWS-RunPatchBaselineWithHooks", "AWS-RunShellScript"],
        ),
        (json!([{ "Key": "tag:team", "Values": ["web"] }]), vec!["greet"]),
        (json!([{ "Key": "Name", "Values": ["gre", "AWS-RunS"] }]), vec!["AWS-RunShellScript", "greet"]),
    ] {
        let listed = api.ok("ListDocuments", json!({ "Filters": filters })).await;
        let names: Vec<String> =
            listed["DocumentIdentifiers"].as_array().expect("a list").iter().map(|one| id(one, "Name")).collect();
        assert_eq!(names, expected, "{filters}");
    }
    created(&api, "a-letter").await;
    for size in [1, 2, 3] {
        let pages = api.pages("ListDocuments", json!({}), size, "DocumentIdentifiers").await;
        let names: Vec<String> = pages.concat().iter().map(|one| id(one, "Name")).collect();
        assert_eq!(
            names,
            [
                "AWS-Noop",
                "AWS-RunPatchBaseline",
                "AWS-RunPatchBaselineWithHooks",
                "AWS-RunShellScript",
                "a-letter",
                "greet"
            ],
            "pages of {size}"
        );
    }
    let tags = json!({ "ResourceType": "Document", "ResourceId": "greet" });
    assert_eq!(api.ok("ListTagsForResource", tags).await["TagList"][0]["Value"], "web");
    let shared = api.ok("DescribeDocumentPermission", json!({ "Name": "greet", "PermissionType": "Share" })).await;
    assert_eq!(shared["AccountIds"], json!([]));
    let share = json!({ "Name": "greet", "PermissionType": "Share", "AccountIdsToAdd": ["111122223333"] });
    api.refused("ModifyDocumentPermission", share, "DocumentPermissionLimit").await;
}

#[tokio::test]
async fn versions_are_numbered_once_and_the_default_stays_until_it_is_moved() {
    let api = Harness::new().await;
    created(&api, "greet").await;
    let update = |line: &str, name: &str| json!({ "Name": "greet", "Content": content(line), "VersionName": name });
    let second = api.ok("UpdateDocument", update("echo 2", "second")).await["DocumentDescription"].clone();
    assert_eq!((&second["DocumentVersion"], &second["DefaultVersion"]), (&json!("2"), &json!("1")));
    api.refused("UpdateDocument", update("echo 2", "other"), "DuplicateDocumentContent").await;
    api.refused("UpdateDocument", update("echo 3", "first"), "DuplicateDocumentVersionName").await;
    let mut old = update("echo 3", "third");
    old["DocumentVersion"] = json!("1");
    let message = api.refused("UpdateDocument", old, "InvalidDocumentVersion").await;
    assert!(message.contains("$LATEST and 2"), "{message}");

    let to = |version: &str| json!({ "Name": "greet", "DocumentVersion": version });
    let moved = api.ok("UpdateDocumentDefaultVersion", to("2")).await["Description"].clone();
    assert_eq!(moved, json!({ "Name": "greet", "DefaultVersion": "2", "DefaultVersionName": "second" }));
    api.refused("UpdateDocumentDefaultVersion", to("9"), "InvalidDocumentVersion").await;

    api.refused("DeleteDocument", to("2"), "InvalidDocumentOperation").await;
    api.ok("UpdateDocument", update("echo 3", "third")).await;
    api.ok("DeleteDocument", to("3")).await;
    let described = api.ok("DescribeDocument", json!({ "Name": "greet" })).await["Document"].clone();
    assert_eq!(described["LatestVersion"], "2", "the latest that is there");
    let message = api.refused("GetDocument", to("3"), "InvalidDocumentVersion").await;
    assert!(message.contains("up to 2"), "{message}");
    let fourth = api.ok("UpdateDocument", update("echo 4", "fourth")).await;
    assert_eq!(fourth["DocumentDescription"]["DocumentVersion"], "4", "a number is never given again");
    let pages = api.pages("ListDocumentVersions", json!({ "Name": "greet" }), 2, "DocumentVersions").await;
    let numbers: Vec<String> = pages.concat().iter().map(|one| id(one, "DocumentVersion")).collect();
    assert_eq!(numbers, ["4", "2", "1"]);
    assert_eq!(pages[0][1]["IsDefaultVersion"], true);
    let named = api.ok("GetDocument", json!({ "Name": "greet", "VersionName": "second" })).await;
    assert_eq!(named["DocumentVersion"], "2");

    api.ok("DeleteDocument", json!({ "Name": "greet" })).await;
    api.refused("DescribeDocument", json!({ "Name": "greet" }), "InvalidDocument").await;
    api.refused("DeleteDocument", json!({ "Name": "greet" }), "InvalidDocument").await;
}

#[tokio::test]
async fn wrong_documents_are_refused_by_ssms_names() {
    let api = Harness::new().await;
    created(&api, "greet").await;
    let future = content("true").replace("2.2", "0.3");
    for (changes, code) in [
        (json!({ "Name": "greet" }), "DocumentAlreadyExists"),
        (json!({ "Name": "AWS-Mine" }), "ValidationException"),
        (json!({ "Name": "a b" }), "ValidationException"),
        (json!({ "Content": "{" }), "InvalidDocumentContent"),
        (json!({ "Content": "a: [", "DocumentFormat": "YAML" }), "InvalidDocumentContent"),
        (json!({ "Content": content("echo '{{ who }}'") }), "InvalidDocumentContent"),
        (json!({ "Content": future }), "InvalidDocumentSchemaVersion"),
        (json!({ "Content": "x".repeat(65_537) }), "MaxDocumentSizeExceeded"),
        (json!({ "DocumentFormat": "TEXT" }), "ValidationException"),
        (json!({ "DocumentType": "Automation" }), "ValidationException"),
        (json!({ "Requires": [{ "Name": "other" }] }), "ValidationException"),
    ] {
        let mut input = json!({ "Name": "other", "Content": content("true") });
        for (member, value) in changes.as_object().expect("an object") {
            input[member] = value.clone();
        }
        api.refused("CreateDocument", input, code).await;
    }
    let built_in = json!({ "Name": "AWS-RunShellScript", "Content": content("true") });
    api.refused("UpdateDocument", built_in, "InvalidDocumentOperation").await;
    api.refused("DeleteDocument", json!({ "Name": "AWS-RunShellScript" }), "InvalidDocumentOperation").await;
    api.refused("UpdateDocument", json!({ "Name": "nobody", "Content": content("true") }), "InvalidDocument").await;
}

#[tokio::test]
async fn own_document_is_sent_with_its_parameters_in_the_environment() {
    let api = Harness::new().await;
    let yaml = "schemaVersion: '2.2'\nparameters:\n  who: {type: String, default: world, allowedPattern: '[a-z ]+'}\n\
                mainSteps:\n- action: aws:runShellScript\n  name: greet\n  inputs:\n    timeoutSeconds: 90\n    \
                runCommand:\n    - echo \"$SSM_who\"\n";
    let input = json!({ "Name": "greet", "Content": yaml, "DocumentFormat": "YAML" });
    let hash = id(&api.ok("CreateDocument", input).await["DocumentDescription"], "Hash");
    let node = api.nodes(1..2, &[]).await.remove(0);
    let send = |changes: Value| {
        let mut input = json!({ "DocumentName": "greet", "InstanceIds": [node], "Parameters": { "who": ["you all"] } });
        for (member, value) in changes.as_object().expect("an object") {
            input[member] = value.clone();
        }
        input
    };
    let command = api.ok("SendCommand", send(json!({ "DocumentHash": hash }))).await["Command"].clone();
    assert_eq!((&command["DocumentName"], &command["DocumentVersion"]), (&json!("greet"), &json!("1")));
    let command_id = id(&command, "CommandId").parse().expect("an id");
    let payload = api.store.command_payload(command_id).await.expect("the store").expect("a command");
    let document: Value = serde_json::from_str(&payload.document).expect("a document");
    assert_eq!(document["steps"][0]["timeout_seconds"], 90);
    assert_eq!(document["steps"][0]["action"]["commands"], json!(["echo \"$SSM_who\""]));
    assert_eq!(document["steps"][0]["action"]["environment"], json!({ "SSM_who": "you all" }));

    for (changes, code) in [
        (json!({ "Parameters": { "who": ["$(reboot)"] } }), "InvalidParameters"),
        (json!({ "Parameters": { "whom": ["you"] } }), "InvalidParameters"),
        (json!({ "DocumentVersion": "2" }), "InvalidDocumentVersion"),
        (json!({ "DocumentName": "nobody" }), "InvalidDocument"),
        (json!({ "DocumentHash": "0".repeat(64), "DocumentHashType": "Sha256" }), "InvalidDocument"),
        (json!({ "DocumentHash": hash, "DocumentHashType": "Sha1" }), "ValidationException"),
    ] {
        api.refused("SendCommand", send(changes), code).await;
    }
}
