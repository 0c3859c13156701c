//! The life of a node's id with the agent's own program: registered, refused on a machine that has
//! changed, and bound to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use patchwave_agent::credentials::Credentials;
use patchwave_tests::fleet::{Agents, Role, System, Urls, binary};
use serde_json::{Value, json};

use crate::registered::run_on;

const TAG: &str = "Kind=rebound";

/// A machine with a system that can be told apart from others.
struct Machine {
    root: PathBuf,
    state: PathBuf,
}

impl Machine {
    fn new(directory: &Path) -> Self {
        let machine = Self { root: directory.join("root"), state: directory.join("moved") };
        fs::create_dir_all(machine.root.join("etc")).unwrap();
        fs::write(machine.root.join("etc/os-release"), "ID=debian\nNAME=Debian\nVERSION_ID=12\n").unwrap();
        machine.has_id("before");
        machine
    }

    fn has_id(&self, id: &str) {
        fs::write(self.root.join("etc/machine-id"), id).unwrap();
    }

    fn register(&self, server: &str, activation: &Value, more: &[&str]) -> Output {
        let mut command = Command::new(binary("patchwave-agent").unwrap());
        command.args(["register", "--server", server, "--root"]).arg(&self.root).arg("--state-dir").arg(&self.state);
        command.args(["--activation-id", activation["ActivationId"].as_str().unwrap()]);
        command.args(["--activation-code", activation["ActivationCode"].as_str().unwrap()]);
        command.args(more).output().unwrap()
    }
}

#[track_caller]
fn node_of(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
fn assert_refused(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(words), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_keeps_its_id_on_a_machine_that_has_changed_by_another_activation() {
    let system = System::start(Urls::embedded(), &[Role::Up]).await.unwrap();
    let server = system.api().endpoint().to_owned();
    let tags = json!([{ "Key": "Kind", "Value": "rebound" }]);
    let activate = async || {
        let input = json!({ "IamRole": "role", "RegistrationLimit": 2, "Tags": tags });
        system.api().ok("CreateActivation", input).await
    };
    let (first, second) = (activate().await, activate().await);
    let machine = Machine::new(system.directory());
    assert_refused(&machine.register(&server, &first, &["--rebind"]), "no credentials of a node");
    let id = node_of(&machine.register(&server, &first, &[]));
    let key = || Credentials::load(&machine.state).unwrap().unwrap().key.public_key();
    let before = key();

    machine.has_id("after");
    let root = machine.root.display().to_string();
    let copied = Command::new(binary("patchwave-agent").unwrap())
        .args(["--root", &root, "--state-dir"])
        .arg(&machine.state)
        .output()
        .unwrap();
    assert_refused(&copied, "this is not the machine that registered");
    assert_refused(&machine.register(&server, &second, &[]), "is registered as");
    assert_refused(&machine.register(&server, &first, &["--rebind"]), "another activation");
    assert_eq!(key(), before, "what was refused has changed nothing");
    assert_eq!(node_of(&machine.register(&server, &second, &["--rebind"])), id);
    assert_ne!(key(), before);

    let mut agent = Agents::registered(&system, "moved", &["--root", &root]).unwrap();
    assert_eq!(system.online(1, TAG).await, [id.as_str()]);
    let node = id.parse().unwrap();
    assert_eq!(run_on(&system, &node).await.trim(), "done");
    assert!(agent.program().is_running());

    let input = json!({ "Action": "RebindManagedInstance" });
    let entries = system.api().list("Patchwave.ListAuditEntries", input, "AuditEntries").await;
    // The refusal is recorded, too.
    let entries: Vec<_> = entries.iter().filter(|entry| entry["Outcome"] == "succeeded").collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["Subject"], json!(id));
    assert_eq!(entries[0]["Actor"], json!(format!("activation {}", second["ActivationId"].as_str().unwrap())));
}
