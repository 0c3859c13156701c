//! One test for each kind of constraint, and that the model is whole.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::shape::Kind;
use super::{Model, check, not_served};
use crate::operations::REGISTER;

/// What is said of a request; empty when it passes.
fn told(operation: &str, members: Value) -> String {
    let (service, operation) = operation.split_once('.').unwrap_or(("AmazonSSM", operation));
    let Value::Object(members) = members else { panic!("{members} is no object") };
    check(service, operation, &members)
        .err()
        .map_or_else(String::new, |error| format!("{}: {}", error.code(), error.message()))
}

fn one(constraint: &str) -> String {
    format!("ValidationException: 1 validation error detected: {constraint}")
}

#[test]
fn absent_and_null_members_are_told_when_they_must_be_there() {
    let expected = one("Value null at 'windowId' failed to satisfy constraint: Member must not be null");
    assert_eq!(told("GetMaintenanceWindow", json!({})), expected);
    assert_eq!(told("GetMaintenanceWindow", json!({ "WindowId": null })), expected);
    assert_eq!(told("ListCommands", json!({ "CommandId": null, "Filters": null })), "");
    let nested = json!({ "Filters": [{ "Key": "PingStatus" }] });
    let expected = one("Value null at 'filters.1.member.values' failed to satisfy constraint: Member must not be null");
    assert_eq!(told("DescribeInstanceInformation", nested), expected);
}

#[test]
fn lengths_ranges_patterns_and_words_are_told_all_at_once() {
    let message = told(
        "CreateMaintenanceWindow",
        json!({ "Name": "a b", "Schedule": "", "Duration": 25, "Cutoff": -1, "AllowUnassociatedTargets": true,
            "ScheduleOffset": 7, "ClientToken": "x".repeat(65) }),
    );
    assert_eq!(
        message,
        format!(
            "ValidationException: 6 validation errors detected: \
             Value 'a b' at 'name' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: ^[a-zA-Z0-9_\\-.]{{3,128}}$; \
             Value '' at 'schedule' failed to satisfy constraint: \
             Member must have length greater than or equal to 1; \
             Value '7' at 'scheduleOffset' failed to satisfy constraint: \
             Member must have value less than or equal to 6; \
             Value '25' at 'duration' failed to satisfy constraint: Member must have value less than or equal to 24; \
             Value '-1' at 'cutoff' failed to satisfy constraint: \
             Member must have value greater than or equal to 0; \
             Value '{}' at 'clientToken' failed to satisfy constraint: \
             Member must have length less than or equal to 64",
            "x".repeat(65)
        )
    );
    let message = told("GetDefaultPatchBaseline", json!({ "OperatingSystem": "BEOS" }));
    assert!(message.starts_with(&one("Value 'BEOS' at 'operatingSystem'")), "{message}");
    assert!(message.contains("Member must satisfy enum value set: [WINDOWS, AMAZON_LINUX, "), "{message}");
}

#[test]
fn a_request_full_of_faults_is_refused_in_few_words() {
    let empty = vec![json!({}); 300_000];
    let many = told("DescribeInstanceInformation", json!({ "Filters": empty }));
    assert!(many.starts_with("ValidationException: 20 validation errors detected: "), "{}", many.len());
    assert!(many.ends_with("what follows was not looked at") && many.len() < 10_000, "{}", many.len());
    // The fault of a list that is too long is its length, whatever is in it.
    let targets = told("SendCommand", json!({ "DocumentName": "own", "Targets": empty }));
    let longest = "Member must have length less than or equal to 5";
    assert!(targets.starts_with("ValidationException: 1 validation error") && targets.ends_with(longest), "{targets}");
    let key = json!({ "DocumentName": "own", "Parameters": { "k".repeat(1 << 20): [null] } });
    assert!(told("SendCommand", key).len() < 2_000);
}

#[test]
fn lists_and_maps_are_told_of_their_size_and_their_entries() {
    let many: Vec<String> = (0..51).map(|number| format!("mi-{number:017}")).collect();
    let message = told("DescribeInstancePatchStates", json!({ "InstanceIds": many }));
    assert!(
        message.contains(
            "at 'instanceIds' failed to satisfy constraint: Member must have length less than or equal to 50"
        )
    );
    assert_eq!(
        told("DescribeInstancePatchStates", json!({ "InstanceIds": ["mi-1", "i-12345678"] })),
        one("Value '[mi-1, i-12345678]' at 'instanceIds' failed to satisfy constraint: Member must satisfy \
             constraint: [Member must satisfy regular expression pattern: (^i-(\\w{8}|\\w{17})$)|(^mi-\\w{17}$)]")
    );
    let tags = json!({ "ResourceType": "MaintenanceWindow", "ResourceId": "mw-00000000000000001",
        "Tags": [{ "Key": "a", "Value": "b" }, { "Key": "", "Value": "c" }] });
    let message = told("AddTagsToResource", tags);
    assert!(message.contains("Value '' at 'tags.2.member.key' failed"), "{message}");
    let null = json!({ "InstanceIds": ["mi-00000000000000001", null] });
    let expected = one("Value null at 'instanceIds.2.member' failed to satisfy constraint: Member must not be null");
    assert_eq!(told("DescribeInstancePatchStates", null), expected);
}

#[test]
fn values_of_another_type_cannot_be_read() {
    for (members, expected) in [
        (json!({ "WindowId": 7 }), "member 'windowId' is a number; allowed is a string"),
        (json!({ "WindowId": {} }), "member 'windowId' is an object; allowed is a string"),
        (json!({ "WindowId": "x", "MaxResults": "10" }), "member 'maxResults' is a string; allowed is an integer"),
        (
            json!({ "WindowId": "x", "MaxResults": 1.5 }),
            "member 'maxResults' is a number with a fraction; allowed is an integer",
        ),
        (json!({ "WindowId": "x", "Filters": {} }), "member 'filters' is an object; allowed is a list"),
        (
            json!({ "WindowId": "x", "Filters": [{ "Key": "Type", "Values": [true] }] }),
            "member 'filters.1.member.values.1.member' is a boolean; allowed is a string",
        ),
    ] {
        let expected = format!("SerializationException: {expected}");
        assert_eq!(told("DescribeMaintenanceWindowTargets", members), expected);
    }
    let parameters = json!({ "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": "true" } });
    let expected = "SerializationException: member 'parameters.commands' is a string; allowed is a list";
    assert_eq!(told("SendCommand", parameters), expected);
}

#[test]
fn secrets_are_not_repeated() {
    let input = json!({ "Name": "base", "Sources": [{ "Name": "mirror", "Products": ["*"],
        "Configuration": "password".repeat(200) }], "Description": "" });
    let message = told("CreatePatchBaseline", input);
    assert!(message.contains("Value at 'sources.1.member.configuration' failed"), "{message}");
    assert!(message.contains("2 validation errors") && !message.contains("password"), "{message}");
}

#[test]
fn what_is_repeated_is_bounded_and_has_no_line_breaks() {
    let message = told("GetMaintenanceWindow", json!({ "WindowId": format!("a\nb{}", "y".repeat(5000)) }));
    assert!(message.contains("'a\\nby") && message.contains('…') && message.len() < 1500, "{message}");
}

#[test]
fn unknown_members_pass_and_members_of_our_own_are_checked() {
    let input = json!({ "DocumentName": "AWS-RunShellScript", "Unknown": { "a": 1 } });
    assert_eq!(told("SendCommand", input), "");
    let message = told("SendCommand", json!({ "DocumentName": "AWS-RunShellScript", "ErrorMode": "lax" }));
    assert!(
        message.ends_with(
            "at 'errorMode' failed to satisfy constraint: Member must satisfy enum value set: [ssm, strict]"
        )
    );
    let message = told("Patchwave.GetRollout", json!({ "CommandId": "x" }));
    assert!(message.contains("'commandId'"), "{message}");
}

#[test]
fn every_operation_of_the_register_has_a_shape() {
    let model = Model::get();
    for (service, operations) in REGISTER {
        let service = match *service {
            "ssm" => "AmazonSSM",
            "states" => "AWSStepFunctions",
            _ => "Patchwave",
        };
        for operation in *operations {
            assert!(
                model.input(service, operation).is_some(),
                "{service}.{operation} has no shape: run scripts/derive-model.py for one of SSM's, \
                 write it into api/model/patchwave.json for one of our own"
            );
        }
    }
    let registered: usize = REGISTER.iter().map(|(_, operations)| operations.len()).sum();
    let derived = model.ssm.values().chain(model.states.values());
    let described = derived.filter(|one| one.is_some()).count() + model.patchwave.len();
    assert_eq!(described, registered, "the model has operations that the register has not");
}

#[test]
fn every_name_in_the_model_is_found_and_every_pattern_compiles() {
    let model = Model::get();
    let mut used: Vec<&str> = model
        .ssm
        .values()
        .chain(model.states.values())
        .flatten()
        .chain(model.patchwave.values())
        .map(|one| &*one.input)
        .collect();
    for shape in model.shapes.values() {
        match &shape.kind {
            Kind::Members(members) => used.extend(members.0.iter().map(|member| &*member.shape)),
            Kind::List(item) => used.push(item),
            Kind::Map(key, value) => used.extend([&**key, value]),
            Kind::Type(_) => {}
        }
        if let Some(pattern) = &shape.pattern {
            // Compiles it.
            pattern.matches("");
        }
    }
    for name in &used {
        assert!(model.shapes.contains_key(*name), "shape `{name}` is missing");
    }
    for name in model.shapes.keys() {
        assert!(used.contains(&&**name), "shape `{name}` is used by nothing");
    }
}

#[test]
fn patterns_mean_what_they_mean_to_ssm() {
    for (shape, value, fits) in [
        // Whole values, `\w` without Unicode, and a Unicode class.
        ("InstanceId", "mi-0123456789abcdef0", true),
        ("InstanceId", "xmi-0123456789abcdef0", false),
        ("InstanceId", "mi-0123456789abcdéf0", false),
        ("PatchGroup", "Straße 7 @home", true),
        ("PatchGroup", "a\tb", false),
        // A look-ahead in the original: not blank.
        ("AlarmName", "  \t ", false),
        ("AlarmName", " a ", true),
        ("AlarmName", "", false),
    ] {
        let pattern = Model::get().shape(shape).pattern.as_ref().expect("a pattern");
        assert_eq!(pattern.matches(value), fits, "{shape} {value:?}");
    }
}

#[test]
fn refusals_tell_what_ssm_has_from_what_nobody_has() {
    let message = not_served("AmazonSSM", "CreateAssociation").message().to_owned();
    assert!(
        message.contains("`CreateAssociation` is one of SSM's") && message.contains("maintenance window"),
        "{message}"
    );
    assert!(not_served("AmazonSSM", "StartAutomationExecution").message().contains("SendCommand"));
    assert!(not_served("AmazonSSM", "Fly").message().contains("SSM has no such operation"));
}

/// The file is what botocore says, and the script still derives it.
#[test]
fn the_model_agrees_with_botocore() {
    let python = std::env::var("PATCHWAVE_TEST_PYTHON")
        .expect("PATCHWAVE_TEST_PYTHON is not set: run the tests through `make test`, which provides Python and boto3");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let checked = Command::new(python)
        .arg(root.join("scripts/derive-model.py"))
        .arg("--check")
        .output()
        .expect("an interpreter that starts");
    let (out, err) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success() && out.contains("checked "), "{out}{err}");
}

/// The document has every operation: as served where it is, by name where it is not.
#[test]
fn the_document_says_of_every_operation_whether_it_is_served() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let document = std::fs::read_to_string(root.join("docs/ssm-compatibility.md")).expect("the document");
    let (served, others) = document.split_once("## Not served").expect("two lists");
    for (name, operation) in &Model::get().ssm {
        let row = served.lines().any(|line| line.starts_with(&format!("| {name} | ")));
        assert_eq!(row, operation.is_some(), "{name} in the table of what is served");
        let named = others.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == name);
        assert!(named || operation.is_some(), "{name} is not served, and not in the table of what is not");
    }
}
