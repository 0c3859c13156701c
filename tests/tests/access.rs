//! Who may call, as an operator meets it: the first start, access keys, the audit log, a lost key.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use patchwave_tests::fleet::{Program, binary, eventually};
use patchwave_tests::servers::{free_port, temp_dir};
use serde_json::Value;

/// Runs `patchwave` as a user who has nothing but these variables.
fn run(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary("patchwave").unwrap());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATCHWAVE_") || name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", directory.join("none")).envs(variables.iter().copied());
    command.args(arguments).current_dir(directory).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_start_makes_a_key_and_everything_else_follows_from_it() {
    let directory = temp_dir("access").unwrap();
    let port = free_port().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let endpoint = format!("http://{listen}");
    let here = directory.path();
    let data = here.join("data").display().to_string();
    let server = ["up", "--listen", &listen, "--data-dir", &data];
    let mut up = Program::start("patchwave", server, here, "up").unwrap();
    let ready = || run(here, &["health", "--endpoint", &endpoint], &[]).status.success().then_some(());
    eventually("the API is ready", async || ready()).await;

    // Printed once, and left for this user with the data.
    let log = up.log();
    let printed = log.lines().find_map(|line| line.trim().strip_prefix("PATCHWAVE_ACCESS_KEY_ID=")).unwrap().to_owned();
    let file = here.join("data/credentials");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&file).unwrap().contains(&printed));
    let local = [("PATCHWAVE_DATA_DIR", data.as_str()), ("PATCHWAVE_ENDPOINT", endpoint.as_str())];
    let ok = |arguments: &[&str]| -> String {
        let output = run(here, arguments, &local);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    ok(&["node", "list"]);
    let stranger = run(here, &["node", "list", "--endpoint", &endpoint], &[]);
    assert!(text(&stranger).contains("MissingAuthenticationTokenException"), "{}", text(&stranger));

    // A viewer reads and changes nothing; disabled it does not even read.
    let made: Value =
        serde_json::from_str(&ok(&["access-key", "create", "--role", "viewer", "--output", "json"])).unwrap();
    let id = made["AccessKeyId"].as_str().unwrap();
    let viewer = [
        ("PATCHWAVE_ENDPOINT", endpoint.as_str()),
        ("PATCHWAVE_ACCESS_KEY_ID", id),
        ("PATCHWAVE_SECRET_ACCESS_KEY", made["SecretAccessKey"].as_str().unwrap()),
    ];
    assert!(run(here, &["window", "list"], &viewer).status.success());
    let create = ["window", "create", "w", "--schedule", "rate(1 day)", "--duration", "2", "--cutoff", "1"];
    let refused = run(here, &create, &viewer);
    assert!(text(&refused).contains("it needs the role operator"), "{}", text(&refused));
    ok(&["access-key", "disable", id]);
    assert!(!run(here, &["window", "list"], &viewer).status.success());

    // What was done is in the log, which is whole, and whose end can be noted.
    let listed = ok(&["audit", "list", "--action", "CreateAccessKey"]);
    assert!(listed.contains(id) && listed.contains("succeeded"), "{listed}");
    let verified = ok(&["audit", "verify"]);
    let head = verified.trim().rsplit(' ').next().unwrap();
    ok(&["audit", "verify", "--expect", head]);
    let (seq, mac) = head.split_once(':').unwrap();
    let other = format!("{seq}:{}", mac.chars().rev().collect::<String>());
    let foreign = run(here, &["audit", "verify", "--expect", &other], &local);
    assert_eq!(foreign.status.code(), Some(1), "{}", text(&foreign));

    // Every key lost: with the server's settings another can be made; it is recorded as well.
    up.stop().unwrap();
    std::fs::remove_file(&file).unwrap();
    let offline = ["access-key", "create", "--offline", "--role", "admin", "--data-dir", &data, "--output", "json"];
    let output = run(here, &offline, &[]);
    assert!(output.status.success(), "{}", text(&output));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    up.restart().unwrap();
    eventually("the API is ready again", async || ready()).await;
    let admin = [
        ("PATCHWAVE_ENDPOINT", endpoint.as_str()),
        ("PATCHWAVE_ACCESS_KEY_ID", made["AccessKeyId"].as_str().unwrap()),
        ("PATCHWAVE_SECRET_ACCESS_KEY", made["SecretAccessKey"].as_str().unwrap()),
    ];
    let verified = run(here, &["audit", "verify", "--expect", head], &admin);
    assert!(verified.status.success(), "{}", text(&verified));
    let listed = run(here, &["audit", "list"], &admin);
    assert!(text(&listed).contains("--offline"), "{}", text(&listed));

    // Another master key opens nothing, and is refused at the start.
    up.stop().unwrap();
    std::fs::remove_file(here.join("data/master.key")).unwrap();
    let output = run(here, &server, &[]);
    assert!(!output.status.success() && text(&output).contains("master key"), "{}", text(&output));
    assert!(!here.join("data/master.key").exists(), "a new key would open nothing");
}
