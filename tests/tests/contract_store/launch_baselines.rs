//! Launching: which baseline each node gets, and what its snapshot is called.

use std::collections::{BTreeMap, BTreeSet};

use patchwave_engine::documents::{RUN_PATCH_BASELINE, RUN_PATCH_BASELINE_WITH_HOOKS};
use patchwave_platform::launch::{Launch, WindowLink};
use patchwave_platform::store::Store;
use patchwave_platform::store::baselines::PatchGroupMapping;
use patchwave_platform::store::documents::DocumentVersion;
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::command::RenderedDocument;
use patchwave_schemas::event::CommandRequested;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::{CommandId, TaskExecutionId, WindowExecutionId};

use crate::documents::document;
use crate::fixtures::{at, connect, hello, node};
use crate::inventory::baseline;
use crate::launches::{launch_as, target, to_nodes, try_launch};
use crate::place::Place;

contract! {
    each_group_and_system_gets_its_own_baseline_or_the_default,
    a_shell_script_needs_no_baseline,
    snapshots_are_named_by_parameter_window_or_command,
    hooks_are_filled_in_when_the_command_is_made,
}

pub(crate) fn scan(numbers: &[usize]) -> CommandRequested {
    CommandRequested {
        document_name: RUN_PATCH_BASELINE.to_owned(),
        parameters: BTreeMap::from([("Operation".to_owned(), vec!["Scan".to_owned()])]),
        ..to_nodes(numbers)
    }
}

async fn snapshots(store: &Store, command: CommandId) -> BTreeMap<String, BaselineSnapshot> {
    let payload = store.command_payload(command).await.unwrap().expect("the command is stored");
    payload.baselines.into_iter().map(|(key, text)| (key, serde_json::from_str(&text).unwrap())).collect()
}

async fn each_group_and_system_gets_its_own_baseline_or_the_default(place: Place) {
    let store = place.open().await;
    let mut hellos = [
        hello(0, "a", &[("PatchGroup", "web")]),
        hello(1, "a", &[("PatchGroup", "web")]),
        hello(2, "a", &[("Patch Group", "db")]),
        hello(3, "a", &[]),
        hello(4, "a", &[("PatchGroup", "web")]),
        hello(5, "a", &[]),
    ];
    hellos[4].facts.operating_system = OperatingSystem::Ubuntu;
    hellos[5].facts.operating_system = OperatingSystem::Macos;
    connect(&store, &hellos, at(0)).await;
    let (own, default, other) = (baseline(1, "own"), baseline(2, "default"), baseline(3, "ubuntu"));
    let mut tx = store.begin().await.unwrap();
    for one in [&own, &default, &other] {
        tx.put_baseline(one).await.unwrap();
    }
    tx.set_default_baseline(OperatingSystem::Debian, &default.baseline_id, at(0)).await.unwrap();
    tx.set_default_baseline(OperatingSystem::Ubuntu, &other.baseline_id, at(0)).await.unwrap();
    let mapping = PatchGroupMapping {
        patch_group: "web".to_owned(),
        operating_system: OperatingSystem::Debian,
        baseline_id: own.baseline_id.clone(),
    };
    tx.register_patch_group(&mapping, at(0)).await.unwrap();
    tx.commit().await.unwrap();

    launch_as(&store, "scan", scan(&[0, 1, 2, 3, 4, 5])).await.unwrap();
    let command = CommandId::derived("scan");
    let frozen = snapshots(&store, command).await;
    let mut tx = store.begin().await.unwrap();
    let (released, _) = tx.release_pending(command, 0, 10, at(0), at(1)).await.unwrap();
    let used: BTreeMap<_, _> = released
        .into_iter()
        .map(|one| {
            let snapshot = one.baseline_key.map(|key| &frozen[&key]);
            (one.node_id, snapshot.map(|snapshot| (snapshot.name.as_str(), snapshot.patch_group.as_str())))
        })
        .collect();
    let expected = [
        Some(("own", "web")),
        Some(("own", "web")),
        Some(("default", "db")),
        Some(("default", "")),
        Some(("ubuntu", "web")),
        None,
    ];
    assert_eq!(used, expected.into_iter().enumerate().map(|(number, one)| (node(number), one)).collect());
    assert_eq!(frozen.len(), 4);
}

async fn a_shell_script_needs_no_baseline(place: Place) {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    connect(&store, &[hello(0, "a", &[])], at(0)).await;
    launch_as(&store, "a", to_nodes(&[0])).await.unwrap();
    let payload = store.command_payload(CommandId::derived("a")).await.unwrap().unwrap();
    assert!(payload.baselines.is_empty());
    assert!(payload.document.contains("runShellScript"));
    assert_eq!(store.command_payload(CommandId::derived("b")).await.unwrap(), None);
}

async fn snapshots_are_named_by_parameter_window_or_command(place: Place) {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    connect(&store, &[hello(0, "a", &[])], at(0)).await;
    let execution = WindowExecutionId::derived("w");
    let link = || WindowLink {
        window_execution_id: execution,
        task_execution_id: TaskExecutionId::derived("t"),
        target_sets: vec![vec![target("InstanceIds", &[node(0).as_str()])]],
        start_before: None,
    };
    let given = |id: &str| {
        let mut request = scan(&[0]);
        request.parameters.insert("SnapshotId".to_owned(), vec![id.to_owned()]);
        request
    };
    let cases = [
        ("plain", scan(&[0]), None, CommandId::derived("plain").to_string()),
        ("empty", given(""), None, CommandId::derived("empty").to_string()),
        ("given", given("mine"), None, "mine".to_owned()),
        ("window", scan(&[]), Some(link()), execution.to_string()),
        ("both", given("mine"), Some(link()), "mine".to_owned()),
    ];
    for (cause, request, window, expected) in cases {
        let command_id = CommandId::derived(cause);
        try_launch(&store, Launch { command_id, request, window }).await.unwrap();
        let ids: BTreeSet<_> =
            snapshots(&store, command_id).await.into_values().map(|snapshot| snapshot.snapshot_id).collect();
        assert_eq!(ids, BTreeSet::from([expected]), "{cause}");
    }
}

async fn hooks_are_filled_in_when_the_command_is_made(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(0, "a", &[])], at(0)).await;
    let mut tx = store.begin().await.unwrap();
    let default = baseline(2, "default");
    tx.put_baseline(&default).await.unwrap();
    tx.set_default_baseline(OperatingSystem::Debian, &default.baseline_id, at(0)).await.unwrap();
    tx.add_document(&document("Drain")).await.unwrap();
    let content = serde_json::json!({
        "schemaVersion": "2.2",
        "mainSteps": [
            { "action": "aws:runShellScript", "name": "drain", "inputs": { "runCommand": ["drain-me"] } },
        ],
    });
    let drain =
        DocumentVersion { content: content.to_string(), definition: content, ..crate::documents::version("Drain", 1) };
    tx.add_document_version(&drain).await.unwrap();
    tx.commit().await.unwrap();
    let with = |hook: &str| CommandRequested {
        document_name: RUN_PATCH_BASELINE_WITH_HOOKS.to_owned(),
        parameters: BTreeMap::from([
            ("Operation".to_owned(), vec!["Install".to_owned()]),
            ("PreInstallHookDocName".to_owned(), vec![hook.to_owned()]),
        ]),
        ..to_nodes(&[0])
    };

    launch_as(&store, "hooked", with("Drain")).await.unwrap();
    let payload = store.command_payload(CommandId::derived("hooked")).await.unwrap().expect("the command is stored");
    let rendered: RenderedDocument = serde_json::from_str(&payload.document).unwrap();
    let names: Vec<_> = rendered.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["PatchScan", "PreInstall-drain", "PatchInstall", "PatchReboot"]);
    assert_eq!(payload.baselines.len(), 1);

    for unfit in ["Nowhere", RUN_PATCH_BASELINE_WITH_HOOKS, RUN_PATCH_BASELINE] {
        let error = launch_as(&store, unfit, with(unfit)).await.unwrap_err().to_string();
        assert!(error.contains("PreInstallHookDocName") && error.contains(unfit), "{error}");
    }
}
