//! What users already have drives the API: boto3 and the AWS CLI, through a whole patch programme.
//!
//! The scenarios are Python, in `tests/clients`; here is what they run against: the embedded default,
//! and the roles as processes on RabbitMQ, PostgreSQL and Redis, with the same fleet each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use patchwave_tests::fleet::{Agents, Role, System, Urls};
use tokio::process::Command;

/// Variable with the interpreter that has `boto3` and `awscli`.
const PYTHON: &str = "PATCHWAVE_TEST_PYTHON";
/// Simulated nodes: more than one page of the lists that have the largest smallest pages.
const NODES: usize = 24;
/// Their patch groups, with weights.
const GROUPS: &str = "canary=1,production=2";
/// How long all scenarios together may take on two busy cores.
const PATIENCE: Duration = Duration::from_secs(420);
/// Fewer scenarios than this were not all of them.
const SCENARIOS_MIN: usize = 50;

/// Runs every scenario against `system`, without those of some files, and shows what they say.
///
/// # Panics
/// When one fails, when too few ran, or when they do not end in time.
async fn run(system: &System, without: &[&str]) {
    let python = std::env::var(PYTHON)
        .unwrap_or_else(|_| panic!("{PYTHON} is not set: run the tests through `make test`, which provides Python"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/run.py");
    let mut command = Command::new(python);
    let nodes = NODES.to_string();
    command.arg(script).args(["--endpoint", system.api().endpoint(), "--nodes", &nodes]);
    command.args(without.iter().flat_map(|file| ["--without", file]));
    // Nothing of the machine's own configuration may have a say, and nothing is left in the sources.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"AWS_")) {
        command.env_remove(name);
    }
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        command.env(name, system.directory().join("none"));
    }
    command
        .envs(system.api().variables("AWS"))
        .env("AWS_DEFAULT_REGION", "local")
        .envs([("PYTHONDONTWRITEBYTECODE", "1"), ("AWS_EC2_METADATA_DISABLED", "true"), ("NO_PROXY", "127.0.0.1")])
        .current_dir(system.directory())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("the scenarios have not ended within {} s", PATIENCE.as_secs()));
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let passed = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed >= SCENARIOS_MIN, "only {passed} scenarios ran:\n{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_and_the_aws_cli_drive_a_patch_programme_on_the_embedded_default() {
    let count = NODES.to_string();
    let nodes = ["--simulate", &count, "--simulate-patch-groups", GROUPS];
    // Scripts run on this machine in earnest; nothing here installs anything on it.
    let options = [nodes.as_slice(), &["--local-node=install", "--local-node-tag", "Kind=real"]].concat();
    let system = System::start_with(Urls::embedded(), &[Role::Up], &options).await.unwrap();
    run(&system, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_and_the_aws_cli_drive_a_patch_programme_on_rabbitmq_postgresql_and_redis() {
    let roles = [Role::Scheduler, Role::Worker, Role::Worker, Role::Api];
    let system = System::start(Urls::shared("clients").unwrap(), &roles).await.unwrap();
    let _fleet = Agents::simulate(&system, NODES, &["--patch-groups", GROUPS]).unwrap();
    let _real = Agents::real(&system, &format!("mi-{:0>17}", "c"), &["--tag", "Kind=real"]).unwrap();
    // A thousand requests that are refused before anything is asked of a server.
    run(&system, &["constraints"]).await;
}
