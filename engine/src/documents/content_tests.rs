//! What documents may say, and what becomes of their parameters.

use patchwave_schemas::command::Action;
use serde_json::{Value, json};

use super::super::{DOCUMENT_BYTES_MAX, Parameters, render_own};
use super::Definition;

fn document() -> Value {
    json!({
        "schemaVersion": "2.2",
        "description": "Restarts a service.",
        "parameters": {
            "service": { "type": "String", "allowedPattern": "[a-z][a-z0-9@.-]*", "maxChars": 20 },
            "hosts": { "type": "StringList", "default": ["a", "b"], "minItems": 1, "maxItems": 3 },
            "tries": { "type": "Integer", "default": 3 },
            "mode": { "type": "String", "default": "soft", "allowedValues": ["soft", "hard"],
                "interpolationType": "ENV_VAR" },
            "directory": { "type": "String", "default": "" },
            "timeout": { "type": "String", "default": "60" },
            "script": { "type": "StringList", "default": ["true"] },
        },
        "mainSteps": [
            { "action": "aws:runShellScript", "name": "restart",
              "precondition": { "StringEquals": ["platformType", "Linux"] },
              "inputs": { "runCommand": ["set -e", "systemctl restart \"$SSM_service\""],
                  "timeoutSeconds": "{{ timeout }}", "workingDirectory": "/srv/{{directory}}" } },
            { "action": "aws:runShellScript", "name": "after", "inputs": { "runCommand": "{{ script }}" } },
        ],
    })
}

fn given(pairs: &[(&str, &[&str])]) -> Parameters {
    pairs.iter().map(|(key, values)| ((*key).to_owned(), values.iter().map(|v| (*v).to_owned()).collect())).collect()
}

#[test]
fn parameters_reach_scripts_as_environment_variables_and_never_as_text() {
    let definition = Definition::parse(&document()).expect("a valid document");
    let hostile = "$(reboot); `id` 'x' \"y\"\n&&";
    let parameters =
        given(&[("service", &["nginx"]), ("directory", &[hostile]), ("script", &["echo one", "echo two"])]);
    let rendered = render_own(&definition, "restart", "4", 500, &parameters).expect("valid parameters");
    assert_eq!((rendered.name.as_str(), rendered.version.as_str(), rendered.steps.len()), ("restart", "4", 2));
    let Action::RunShellScript { commands, working_directory, environment } = &rendered.steps[0].action else {
        panic!("a script");
    };
    assert_eq!(commands, &["set -e", "systemctl restart \"$SSM_service\""]);
    assert_eq!(working_directory.as_deref(), Some(format!("/srv/{hostile}").as_str()));
    assert_eq!(rendered.steps[0].timeout_seconds, 60);
    assert_eq!(environment["SSM_service"], "nginx");
    assert_eq!(environment["SSM_directory"], hostile);
    assert_eq!(environment["SSM_hosts"], r#"["a","b"]"#);
    assert_eq!(environment["SSM_tries"], "3");
    let Action::RunShellScript { commands, .. } = &rendered.steps[1].action else { panic!("a script") };
    assert_eq!(commands, &["echo one", "echo two"]);
    assert_eq!(rendered.steps[1].timeout_seconds, 3600);
}

#[test]
fn wrong_parameters_are_refused_with_name_value_and_what_is_allowed() {
    let definition = Definition::parse(&document()).expect("a valid document");
    let long = "x".repeat(21);
    for (parameters, needles) in [
        (given(&[]), &["`service`", "mandatory"][..]),
        (given(&[("service", &["nginx; reboot"])]), &["`service`", "nginx; reboot", "[a-z][a-z0-9@.-]*"]),
        (given(&[("service", &[&long])]), &["`service`", "21 characters", "at most 20"]),
        (given(&[("service", &["a", "b"])]), &["`service`", "exactly 1"]),
        (given(&[("service", &["a"]), ("hosts", &[])]), &["`hosts`", "at least 1"]),
        (given(&[("service", &["a"]), ("hosts", &["a", "b", "c", "d"])]), &["`hosts`", "at most 3"]),
        (given(&[("service", &["a"]), ("tries", &["many"])]), &["`tries`", "whole number"]),
        (given(&[("service", &["a"]), ("mode", &["rude"])]), &["`mode`", "soft, hard"]),
        (given(&[("service", &["a"]), ("timeout", &["4"])]), &["`timeout`", "5 to 172800"]),
        (given(&[("service", &["a"]), ("Service", &["b"])]), &["`Service`", "no such parameter"]),
    ] {
        let message = render_own(&definition, "restart", "1", 0, &parameters).expect_err("invalid").to_string();
        for needle in needles {
            assert!(message.contains(needle), "{message} lacks {needle}");
        }
    }
    let huge = given(&[("service", &["a"]), ("script", &[&"x".repeat(DOCUMENT_BYTES_MAX)])]);
    let message = render_own(&definition, "restart", "1", 100, &huge).expect_err("too large").to_string();
    assert!(message.contains("65536"), "{message}");
}

#[test]
fn what_could_not_be_carried_out_is_refused_with_its_place() {
    for (pointer, value, needles) in [
        ("/schemaVersion", json!("0.3"), &["schemaVersion", "`0.3`", "2.2"][..]),
        ("/schemaVersion", json!(2.2), &["schemaVersion", "text"]),
        ("/mainSteps", json!([]), &["mainSteps", "1 to 100"]),
        ("/mainSteps/0/action", json!("aws:runPowerShellScript"), &["mainSteps[0].action", "aws:runShellScript"]),
        ("/mainSteps/1/name", json!("restart"), &["mainSteps[1].name", "earlier step"]),
        ("/mainSteps/0/name", json!("a b"), &["mainSteps[0].name", "`a b`"]),
        ("/mainSteps/0/inputs", json!({}), &["mainSteps[0].inputs.runCommand", "missing"]),
        ("/mainSteps/0/inputs/runCommand", json!([]), &["mainSteps[0].inputs.runCommand", "at least one"]),
        (
            "/mainSteps/0/inputs/runCommand/1",
            json!("systemctl restart '{{ service }}'"),
            &["mainSteps[0].inputs.runCommand[1]", "\"$SSM_service\""],
        ),
        ("/mainSteps/0/inputs/runCommand/0", json!("{{ service }}"), &["runCommand[0]", "\"$SSM_service\""]),
        ("/mainSteps/0/inputs/runCommand/0", json!("echo {{ssm:secret}}"), &["runCommand[0]", "parameter store"]),
        ("/mainSteps/1/inputs/runCommand", json!("{{ service }}"), &["mainSteps[1].inputs.runCommand", "StringList"]),
        ("/mainSteps/1/inputs/runCommand", json!("{{ nobody }}"), &["names no parameter", "service"]),
        ("/mainSteps/0/inputs/timeoutSeconds", json!(4), &["timeoutSeconds", "`4`", "5 to 172800"]),
        ("/mainSteps/0/inputs/onFailure", json!("exit"), &["mainSteps[0].inputs.onFailure", "no meaning"]),
        ("/mainSteps/0/precondition/StringEquals/1", json!("Windows"), &["StringEquals", "[platformType, Linux]"]),
        ("/parameters/mode/default", json!("rude"), &["parameters.mode.default", "soft, hard"]),
        ("/parameters/mode/type", json!("Text"), &["parameters.mode.type", "StringList"]),
        ("/parameters/service/allowedPattern", json!("(?=x)"), &["allowedPattern", "(?=x)"]),
        ("/parameters/mode/interpolationType", json!("NONE"), &["interpolationType", "ENV_VAR"]),
        ("/parameters/a-b", json!({ "type": "String" }), &["parameters.a-b", "letters, digits"]),
        ("/files", json!({}), &["files", "no meaning"]),
    ] {
        let mut content = document();
        let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
        match content.pointer_mut(parent).expect("a parent") {
            Value::Array(items) => items[member.parse::<usize>().expect("an index")] = value,
            parent => parent[member] = value,
        }
        let message = Definition::parse(&content).expect_err(pointer).to_string();
        for needle in needles {
            assert!(message.contains(needle), "{message} lacks {needle}");
        }
    }
    assert!(Definition::parse(&json!("text")).is_err());
}

#[test]
fn braces_that_name_no_parameter_are_the_scripts_own() {
    let mut content = document();
    content["mainSteps"][0]["inputs"]["runCommand"] = json!(["docker inspect -f '{{ .Name }}' x", "echo {{ .Id }}"]);
    Definition::parse(&content).expect("a template of another program");
}

#[test]
fn patterns_have_room_together_and_are_compiled_when_they_are_asked() {
    let with = |count: usize, pattern: &str| {
        let parameters: serde_json::Map<String, Value> = (0..count)
            .map(|number| (format!("p{number}"), json!({ "type": "String", "allowedPattern": pattern })))
            .collect();
        let mut content = document();
        content["parameters"] = Value::Object(parameters);
        content["mainSteps"] = json!([{ "action": "aws:runShellScript", "name": "say",
            "inputs": { "runCommand": ["true"] } }]);
        content
    };
    for (count, pattern) in [(200, "[a-z0-9-]{1,63}"), (1, r"\w{25}")] {
        Definition::parse(&with(count, pattern)).unwrap_or_else(|error| panic!("{count} of {pattern}: {error}"));
    }
    for (count, pattern, needle) in [(201, "a", "200"), (1_200, r"\w{30}", "200"), (200, r"\w{30}", "size limit")] {
        let error = Definition::parse(&with(count, pattern)).expect_err(needle).to_string();
        assert!(error.contains(needle), "{count} of {pattern}: {error}");
    }
    // Nothing is compiled to show a document; a value that is given finds what the pattern is.
    let stored = Definition::stored(&with(200, r"(\w{99}){99}")).expect("believed");
    assert_eq!(stored.parameters.len(), 200);
    assert!(stored.parameters[0].check(&["a".to_owned()]).expect_err("too large").contains("size limit"));
    let stored = Definition::stored(&document()).expect("a valid document");
    let service = stored.parameter("service").expect("there");
    assert!(service.check(&["nginx".to_owned()]).is_ok() && service.check(&["NGINX".to_owned()]).is_err());
}
