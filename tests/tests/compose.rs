//! What `docker-compose.yml` and `deploy/` promise, checked without a container engine.
//!
//! Nobody can start the containers here, so each promise that can be read from the file is a test:
//! what is published, who may write where, where passwords come from, in which order things start.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use patchwave_platform::secrets::MasterKey;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn compose() -> Value {
    let text = fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

fn services(compose: &Value) -> BTreeMap<&str, &Value> {
    compose["services"].as_object().unwrap().iter().map(|(name, service)| (name.as_str(), service)).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether the service runs the image that is built here.
fn is_ours(service: &Value) -> bool {
    service["image"] == "patchwave:local"
}

/// `(source, target, mode)` of each volume of a service.
fn volumes(service: &Value) -> Vec<(&str, &str, &str)> {
    let parts = |volume| {
        let mut parts = str::split(volume, ':');
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or("rw"))
    };
    strings(&service["volumes"]).into_iter().map(parts).collect()
}

#[test]
fn the_system_has_the_services_that_the_readme_names() {
    let compose = compose();
    let services = services(&compose);
    for name in ["rabbitmq", "redis", "postgres", "scheduler", "worker", "api"] {
        assert!(services.contains_key(name), "{name} is missing");
    }
    assert_eq!(services["worker"]["deploy"]["replicas"], 2);
    let image = services["rabbitmq"]["image"].as_str().unwrap();
    assert!(image.starts_with("rabbitmq:4") && image.contains("management"), "{image}");
    let groups: BTreeSet<&str> = services
        .values()
        .map(|service| strings(&service["command"]))
        .filter(|command| command.first() == Some(&"patchwave-agent") && command.contains(&"--simulate"))
        .map(|command| command[command.iter().position(|word| *word == "--patch-groups").unwrap() + 1])
        .collect();
    assert_eq!(groups, BTreeSet::from(["canary", "production", "staging"]));
}

#[test]
fn ports_are_published_on_loopback_only_and_only_the_api_s() {
    let compose = compose();
    for (name, service) in services(&compose) {
        assert!(service["network_mode"] != "host", "{name} is on the host's network");
        for port in strings(&service["ports"]) {
            let (address, _) = port.split_once(':').unwrap();
            let is_loopback = address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            assert!(is_loopback, "{name} publishes {port}; write 127.0.0.1: before it");
            assert_eq!(name, "api", "only the API is published");
        }
        assert_eq!(strings(&service["ports"]).len(), service["ports"].as_array().map_or(0, Vec::len), "{name}");
    }
}

#[test]
fn agents_share_a_network_with_the_broker_alone() {
    let compose = compose();
    let services = services(&compose);
    let on_nodes: BTreeSet<&str> = services
        .iter()
        .filter(|(_, service)| strings(&service["networks"]).contains(&"nodes"))
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(on_nodes, BTreeSet::from(["agents-canary", "agents-production", "agents-staging", "rabbitmq"]));
    for (name, service) in &services {
        if name.starts_with("agents-") {
            assert_eq!(strings(&service["networks"]), ["nodes"], "{name}");
        }
    }
    for network in ["internal", "nodes"] {
        assert_eq!(compose["networks"][network]["internal"], true, "{network} has a way out");
    }
}

#[test]
fn every_service_has_a_health_check_or_says_why_not() {
    let compose = compose();
    for (name, service) in services(&compose) {
        let checked = !service["healthcheck"]["test"].is_null();
        let reason = service["x-no-healthcheck"].as_str().unwrap_or_default();
        assert!(checked != (reason.len() > 20), "{name}: a health check, or x-no-healthcheck with the reason");
    }
}

#[test]
fn containers_are_read_only_without_root_and_without_capabilities() {
    let compose = compose();
    for (name, service) in services(&compose) {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(strings(&service["cap_drop"]), ["ALL"], "{name}");
        assert!(service["cap_add"].is_null() && service["privileged"].is_null(), "{name}");
        assert!(strings(&service["security_opt"]).contains(&"no-new-privileges:true"), "{name}");
        let user = service["user"].as_str().unwrap_or_else(|| panic!("{name} runs as whoever the image says"));
        assert!(!user.starts_with("root") && user != "0" && !user.starts_with("0:"), "{name} runs as {user}");
        assert!(!service["tmpfs"].is_null(), "{name} has no /tmp to write to");
    }
}

#[test]
fn every_service_waits_for_services_that_can_fulfil_the_condition() {
    let compose = compose();
    let services = services(&compose);
    for (name, service) in &services {
        let Some(dependencies) = service["depends_on"].as_object() else { continue };
        for (other, how) in dependencies {
            let awaited = services.get(other.as_str()).unwrap_or_else(|| panic!("{name} waits for {other}"));
            match how["condition"].as_str().unwrap() {
                "service_healthy" => assert!(!awaited["healthcheck"]["test"].is_null(), "{other} is never healthy"),
                "service_completed_successfully" => assert_eq!(awaited["restart"], "no", "{other} never ends"),
                condition => panic!("{name} waits for {other} with `{condition}`, which says nothing"),
            }
        }
    }
    for name in ["scheduler", "worker", "api"] {
        for other in ["rabbitmq", "redis", "postgres"] {
            let condition = &services[name]["depends_on"][other]["condition"];
            assert_eq!(condition, "service_healthy", "{name} must wait for {other}");
        }
    }
    for name in ["rabbitmq", "redis", "postgres"] {
        assert_eq!(services[name]["depends_on"]["secrets"]["condition"], "service_completed_successfully", "{name}");
    }
}

#[test]
fn volumes_are_declared_and_files_of_the_repository_exist() {
    let compose = compose();
    let declared: BTreeSet<&str> = compose["volumes"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut used = BTreeSet::new();
    for (name, service) in services(&compose) {
        for (source, target, mode) in volumes(service) {
            if let Some(path) = source.strip_prefix("./") {
                assert!(root().join(path).is_file(), "{name} mounts {source}, which does not exist");
                assert_eq!(mode, "ro", "{name} may write to {source}");
            } else {
                assert!(declared.contains(source), "{name} mounts volume {source}, which is not declared");
                used.insert(source);
            }
            assert!(target.starts_with('/'), "{name}: {target}");
        }
    }
    assert_eq!(declared, used, "left: declared volumes, right: used ones");
    for network in services(&compose).values().flat_map(|service| strings(&service["networks"])) {
        assert!(compose["networks"].get(network).is_some(), "network {network} is not declared");
    }
}

#[test]
fn secrets_are_mounted_read_only_and_by_their_reader_alone() {
    let compose = compose();
    let readers = BTreeMap::from([
        ("secrets-broker", vec!["rabbitmq"]),
        ("secrets-database", vec!["postgres"]),
        ("secrets-topics", vec!["redis"]),
        ("secrets-server", vec!["api", "scheduler", "worker"]),
        ("secrets-agent", vec!["agents-canary", "agents-production", "agents-staging"]),
    ]);
    for (volume, expected) in readers {
        let mut found = Vec::new();
        for (name, service) in services(&compose) {
            for (source, _, mode) in volumes(service) {
                if source == volume && name != "secrets" {
                    assert_eq!(mode, "ro", "{name} may write to {volume}");
                    found.push(name);
                }
            }
        }
        assert_eq!(found, expected, "readers of {volume}");
    }
}

#[test]
fn no_password_stands_in_any_file() {
    let mut files = vec![root().join("docker-compose.yml")];
    gather(&root().join("deploy"), &mut files);
    assert!(files.len() > 8, "only {} files were found", files.len());
    for file in files {
        for (number, line) in (1..).zip(fs::read_to_string(&file).unwrap().lines()) {
            let place = format!("{}:{number}: {line}", file.display());
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            // `scheme://user:password@`, where the password is not put in from elsewhere.
            if let Some((_, rest)) = line.split_once("://")
                && let Some((credentials, _)) = rest.split_once('@')
                && let Some((_, password)) = credentials.split_once(':')
            {
                assert!(password.starts_with(['%', '$']), "{place}");
            }
            let Some((name, value)) = line.split_once([':', '=']) else { continue };
            let name = name.trim_start_matches("- ").to_ascii_lowercase();
            let is_file = name.ends_with("_file");
            let names_one =
                ["password", "passwd", "default_pass", "secret", "token"].iter().any(|word| name.ends_with(word));
            let is_drawn = value.contains("$(");
            assert!(is_file || !names_one || is_drawn, "{place}");
        }
    }
}

#[test]
fn drawn_passwords_differ_and_are_drawn_once() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = |directory: &Path| {
        for reader in ["broker", "database", "topics", "server", "agent"] {
            fs::create_dir_all(directory.join(reader)).unwrap();
        }
        let script = root().join("deploy/image/make-secrets.sh");
        let status = Command::new("sh").arg(script).arg(directory).status().unwrap();
        assert!(status.success(), "{status}");
        [
            "server/bus",
            "server/bus-management",
            "server/store",
            "server/topics",
            "agent/bus",
            "database/admin",
            "broker/definitions.json",
            "server/master.key",
        ]
        .map(|file| fs::read_to_string(directory.join(file)).unwrap())
    };
    let drawn = run(first.path());
    assert_eq!(drawn, run(first.path()), "a second start must not draw others");
    for (here, there) in drawn.iter().zip(run(second.path())) {
        assert_ne!(*here, there, "two installations have the same");
    }
    assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len(), "each has its own");
    MasterKey::load(&first.path().join("server/master.key")).unwrap();

    let definitions: Value = serde_json::from_str(&drawn[6]).unwrap();
    let users: Vec<&str> =
        definitions["users"].as_array().unwrap().iter().filter_map(|user| user["name"].as_str()).collect();
    assert_eq!(users, ["patchwave", "disconnector", "simulator"], "and no guest, and no node");
    assert_eq!(definitions["users"][0]["tags"], serde_json::json!(["monitoring"]));
    assert_eq!(definitions["users"][1]["tags"], serde_json::json!(["administrator"]));
    assert_eq!(definitions["users"][2]["tags"], serde_json::json!([]));
    for user in definitions["users"].as_array().unwrap() {
        // Base64 of 4 bytes of salt and 32 of the digest.
        assert_eq!(user["password_hash"].as_str().unwrap().len(), 48);
    }
}

#[test]
fn the_broker_asks_the_api_about_nodes_with_the_secret_that_was_drawn() {
    let drawn = tempfile::tempdir().unwrap();
    for reader in ["broker", "database", "topics", "server", "agent"] {
        fs::create_dir_all(drawn.path().join(reader)).unwrap();
    }
    let script = root().join("deploy/image/make-secrets.sh");
    assert!(Command::new("sh").arg(script).arg(drawn.path()).status().unwrap().success());
    let secret = fs::read_to_string(drawn.path().join("server/broker-auth")).unwrap();
    assert!(secret.len() >= patchwave_api::broker_auth::SECRET_CHARS_MIN);
    let paths = fs::read_to_string(drawn.path().join("broker/nodes.conf")).unwrap();
    for what in ["user", "vhost", "resource", "topic"] {
        let line = paths.lines().find(|line| line.starts_with(&format!("auth_http.{what}_path "))).unwrap();
        assert!(line.ends_with(&format!("= http://api:8082/broker-auth/{secret}/{what}")), "{line}");
    }

    let compose = compose();
    let api = &compose["services"]["api"];
    assert_eq!(api["environment"]["PATCHWAVE_BROKER_AUTH_LISTEN"], "0.0.0.0:8082");
    assert_eq!(api["environment"]["PATCHWAVE_BROKER_AUTH_SECRET_FILE"], "/run/secrets/patchwave/broker-auth");
    let broker = &compose["services"]["rabbitmq"];
    assert_eq!(broker["environment"]["RABBITMQ_CONFIG_FILES"], "/run/secrets/patchwave/*.conf");
    assert!(volumes(broker).iter().any(|(_, target, _)| *target == "/etc/rabbitmq/enabled_plugins"));
    let plugins = fs::read_to_string(root().join("deploy/rabbitmq/enabled_plugins")).unwrap();
    for plugin in ["rabbitmq_auth_backend_http", "rabbitmq_auth_backend_cache", "rabbitmq_management"] {
        assert!(plugins.contains(plugin), "{plugin}");
    }
    // Logins are never kept: a deregistered node stays out.
    let settings = fs::read_to_string(root().join("deploy/rabbitmq/rabbitmq.conf")).unwrap();
    for line in ["auth_backends.1 = internal", "auth_backends.2.authn = http", "auth_backends.2.authz = cache"] {
        assert!(settings.lines().any(|one| one == line), "{line}");
    }
    for (name, service) in services(&compose) {
        if ["api", "scheduler", "worker"].contains(&name) {
            assert_eq!(service["environment"]["PATCHWAVE_TRUSTED_BUS_USERS"], "simulator", "{name}");
            let management = "/run/secrets/patchwave/bus-management";
            assert_eq!(service["environment"]["PATCHWAVE_BUS_MANAGEMENT_FILE"], management, "{name}");
        }
    }
}

#[test]
fn entry_takes_settings_from_files_and_refuses_one_that_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bus");
    fs::write(&file, "amqp://u:p@broker/%2f").unwrap();
    let entry = |file: &Path| {
        Command::new("sh")
            .arg(root().join("deploy/image/entry.sh"))
            .args(["sh", "-c", "printf %s \"$PATCHWAVE_BUS/${PATCHWAVE_BUS_FILE:-gone}\""])
            .env("PATCHWAVE_BUS_FILE", file)
            .output()
            .unwrap()
    };
    assert_eq!(String::from_utf8_lossy(&entry(&file).stdout), "amqp://u:p@broker/%2f/gone");
    let missing = entry(&directory.path().join("other"));
    assert_eq!(missing.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("PATCHWAVE_BUS_FILE"));
}

#[test]
fn image_runs_as_an_ordinary_user_and_has_what_the_services_call() {
    let dockerfile = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let user = dockerfile.lines().rev().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert_eq!(user, "10001:10001");
    assert!(dockerfile.matches("\nFROM ").count() == 2, "one stage builds, another runs");
    let compose = compose();
    for (name, service) in services(&compose) {
        if !is_ours(service) {
            continue;
        }
        assert_eq!(service["user"], user, "{name}");
        let mut programs = vec![strings(&service["command"])[0]];
        programs.extend(strings(&service["healthcheck"]["test"]).get(1));
        for program in programs {
            let base = program.rsplit('/').next().unwrap();
            assert!(dockerfile.contains(base), "{name} calls {program}, which is not in the image");
        }
    }
}

#[test]
fn commands_use_options_that_the_programs_have() {
    let compose = compose();
    let mut seen = 0;
    let services = services(&compose);
    let commands = services.iter().flat_map(|(name, service)| {
        let check = strings(&service["healthcheck"]["test"]).into_iter().skip(1).collect();
        [(*name, strings(&service["command"])), (*name, check)]
    });
    for (name, command) in commands {
        let Some((program, arguments)) = command.split_first().filter(|(program, _)| program.starts_with("patchwave"))
        else {
            continue;
        };
        seen += 1;
        let subcommand = arguments.first().filter(|word| !word.starts_with('-'));
        let mut help = Command::new(built(program));
        let output = help.args(subcommand).arg("--help").output().unwrap();
        assert!(output.status.success(), "{name}: {program} has no {subcommand:?}");
        let help = String::from_utf8(output.stdout).unwrap();
        for option in arguments.iter().filter(|word| word.starts_with("--")) {
            let known = help.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|word| word == *option);
            assert!(known, "{name}: {program} has no option {option}");
        }
    }
    assert!(seen >= 9, "only {seen} commands were found");
}

#[test]
fn units_start_programs_with_options_that_they_have() {
    for unit in ["patchwave.service", "patchwave-agent.service"] {
        let text = fs::read_to_string(root().join("deploy/systemd").join(unit)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let program = words[0].rsplit('/').next().unwrap();
        let subcommand = words.get(1).filter(|word| !word.starts_with('-'));
        let output = Command::new(built(program)).args(subcommand).arg("--help").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        for word in words.iter().filter(|word| word.starts_with("--")) {
            let option = word.split('=').next().unwrap();
            assert!(help.contains(option), "{unit}: {program} has no option {option}");
        }
    }
}

/// A program of this repository, built if nothing has built it yet.
fn built(program: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join(program);
    if !path.is_file() {
        let status =
            Command::new(env!("CARGO")).args(["build", "--quiet", "--bin", program, "--package", program]).status();
        assert!(status.unwrap().success(), "could not build {program}");
    }
    path
}

fn gather(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { gather(&path, found) } else { found.push(path) }
    }
}
