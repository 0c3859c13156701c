//! Launching: which nodes, in which order, and only once.

use std::collections::BTreeSet;

use patchwave_platform::Class;
use patchwave_platform::launch::{Launch, LaunchError, Launched, WindowLink, launch, launch_patch};
use patchwave_platform::store::Store;
use patchwave_platform::store::resource_groups::ResourceGroup;
use patchwave_schemas::command::PatchOperation;
use patchwave_schemas::event::{CommandRequested, Target};
use patchwave_schemas::patch_now::PatchRequested;
use patchwave_schemas::{CommandId, NodeId, TaskExecutionId, WindowExecutionId};

use crate::fixtures::{at, connect, hello, invocation, node, shell_request};
use crate::launch_baselines::scan;
use crate::place::Place;

contract! {
    targets_are_resolved_by_id_tag_group_and_patch_group,
    sets_of_targets_are_united_without_repetition,
    named_nodes_must_exist_and_be_named_once,
    requests_out_of_range_are_refused_and_leave_nothing,
    launching_again_changes_nothing,
    a_launch_without_nodes_is_stored_all_the_same,
    the_order_is_stable_for_a_command_and_differs_between_commands,
    ten_thousand_nodes_are_launched_together,
    concurrent_launches_of_one_command_store_it_once,
    patch_now_limits_go_by_the_number_of_nodes,
}

pub(crate) fn target(key: &str, values: &[&str]) -> Target {
    Target { key: key.to_owned(), values: values.iter().map(|value| (*value).to_owned()).collect() }
}

fn to_targets(targets: Vec<Target>) -> CommandRequested {
    CommandRequested { targets, ..shell_request() }
}

pub(crate) fn to_nodes(numbers: &[usize]) -> CommandRequested {
    CommandRequested {
        instance_ids: numbers.iter().map(|number| node(*number).to_string()).collect(),
        ..shell_request()
    }
}

pub(crate) async fn try_launch(store: &Store, one: Launch) -> Result<Launched, LaunchError> {
    let mut tx = store.begin().await?;
    let launched = launch(&mut tx, one, at(0)).await?;
    tx.commit().await?;
    Ok(launched)
}

pub(crate) async fn launch_as(store: &Store, cause: &str, request: CommandRequested) -> Result<Launched, LaunchError> {
    try_launch(store, Launch { command_id: CommandId::derived(cause), request, window: None }).await
}

/// The nodes of a launched command, by id.
async fn reached(store: &Store, cause: &str) -> Vec<NodeId> {
    let all = store.invocations_of(CommandId::derived(cause), "", 20_000).await.unwrap();
    all.into_iter().map(|one| one.node_id).collect()
}

/// Nodes in the order in which they are released.
pub(crate) async fn release_order(store: &Store, cause: &str) -> Vec<NodeId> {
    let mut tx = store.begin().await.unwrap();
    let (all, _) = tx.release_pending(CommandId::derived(cause), 0, u32::MAX, at(0), at(1)).await.unwrap();
    all.into_iter().map(|one| one.node_id).collect()
}

async fn targets_are_resolved_by_id_tag_group_and_patch_group(place: Place) {
    let store = place.open().await;
    let hellos = [
        hello(0, "a", &[("Env", "prod"), ("Role", "web"), ("PatchGroup", "linux")]),
        hello(1, "a", &[("Env", "prod"), ("Role", "db's \"main\"")]),
        hello(2, "a", &[("Env", "test"), ("Role", "web"), ("Patch Group", "linux")]),
        hello(3, "a", &[]),
    ];
    connect(&store, &hellos, at(0)).await;
    let group = ResourceGroup {
        name: "prod web".to_owned(),
        description: String::new(),
        query: r#"{"TagFilters":[{"Key":"Env","Values":["prod"]},{"Key":"Role","Values":["web","db's \"main\""]}]}"#
            .to_owned(),
        created_at: at(0),
    };
    let mut tx = store.begin().await.unwrap();
    tx.add_resource_group(&group).await.unwrap();
    tx.commit().await.unwrap();

    let id = node(3).to_string();
    let cases: [(&str, Vec<Target>, &[usize]); 9] = [
        ("tag", vec![target("tag:Env", &["prod"])], &[0, 1]),
        ("values", vec![target("tag:Env", &["prod", "test"])], &[0, 1, 2]),
        ("keys", vec![target("tag:Env", &["prod"]), target("tag:Role", &["web"])], &[0]),
        ("odd value", vec![target("tag:Role", &["db's \"main\""])], &[1]),
        ("tag-key", vec![target("tag-key", &["Env", "Role"])], &[0, 1, 2]),
        ("group", vec![target("resource-groups:Name", &["prod web"])], &[0, 1]),
        ("no group", vec![target("resource-groups:Name", &["prod"])], &[]),
        ("patch group", vec![target("tag:PatchGroup", &["linux"])], &[0, 2]),
        ("id", vec![target("InstanceIds", &[&id])], &[3]),
    ];
    for (cause, targets, expected) in cases {
        let launched = launch_as(&store, cause, to_targets(targets)).await.unwrap();
        assert_eq!(
            reached(&store, cause).await,
            expected.iter().map(|number| node(*number)).collect::<Vec<_>>(),
            "{cause}"
        );
        assert_eq!(launched.rollout.targets as usize, expected.len(), "{cause}");
    }
    launch_as(&store, "ids", to_nodes(&[3, 0])).await.unwrap();
    assert_eq!(reached(&store, "ids").await, [node(0), node(3)]);
}

async fn sets_of_targets_are_united_without_repetition(place: Place) {
    let store = place.open().await;
    connect(
        &store,
        &[hello(0, "a", &[("A", "1"), ("B", "1")]), hello(1, "a", &[("A", "1")]), hello(2, "a", &[("B", "1")])],
        at(0),
    )
    .await;
    let link = WindowLink {
        window_execution_id: WindowExecutionId::derived("w"),
        task_execution_id: TaskExecutionId::derived("t"),
        target_sets: vec![vec![target("tag:A", &["1"])], vec![target("tag:B", &["1"])]],
        start_before: Some(at(50)),
    };
    let command_id = CommandId::derived("sets");
    let launched =
        try_launch(&store, Launch { command_id, request: shell_request(), window: Some(link) }).await.unwrap();
    assert_eq!(launched.rollout.targets, 3);
    assert_eq!(reached(&store, "sets").await, [node(0), node(1), node(2)]);
    let stored = store.command(command_id).await.unwrap().unwrap();
    assert_eq!(stored.window_execution_id, Some(WindowExecutionId::derived("w")));
    assert_eq!(stored.task_execution_id, Some(TaskExecutionId::derived("t")));
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.lock_rollouts(&[command_id]).await.unwrap()[0].plan.start_before, Some(at(50)));
}

async fn named_nodes_must_exist_and_be_named_once(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(0, "a", &[]), hello(1, "a", &[])], at(0)).await;
    let unknown = launch_as(&store, "a", to_nodes(&[0, 7])).await.unwrap_err();
    assert!(matches!(&unknown, LaunchError::UnknownNode { node: id } if *id == node(7).to_string()), "{unknown:?}");
    let malformed = CommandRequested { instance_ids: vec!["i-1'; --".to_owned()], ..shell_request() };
    let malformed = launch_as(&store, "a", malformed).await.unwrap_err();
    assert!(matches!(&malformed, LaunchError::UnknownNode { node } if node == "i-1'; --"), "{malformed:?}");
    let twice = launch_as(&store, "a", to_nodes(&[1, 0, 1])).await.unwrap_err();
    assert!(matches!(&twice, LaunchError::DuplicateNode { node: id } if *id == node(1).to_string()), "{twice:?}");
    for error in [unknown, malformed, twice] {
        assert_eq!(error.class(), Class::Rejected);
    }
    assert_eq!(store.commands(None, 10).await.unwrap(), []);
}

async fn requests_out_of_range_are_refused_and_leave_nothing(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(0, "a", &[])], at(0)).await;
    let good = to_nodes(&[0]);
    let many: Vec<_> = (0..51).collect();
    let cases = [
        ("InstanceIds", shell_request()),
        ("InstanceIds", CommandRequested { targets: vec![target("tag-key", &["a"])], ..good.clone() }),
        ("InstanceIds", to_nodes(&many)),
        ("TimeoutSeconds", CommandRequested { timeout_seconds: Some(29), ..good.clone() }),
        ("TimeoutSeconds", CommandRequested { timeout_seconds: Some(2_592_001), ..good.clone() }),
        ("Comment", CommandRequested { comment: Some("é".repeat(101)), ..good.clone() }),
        ("MaxConcurrency", CommandRequested { max_concurrency: Some("0".to_owned()), ..good.clone() }),
        ("MaxErrors", CommandRequested { max_errors: Some("101%".to_owned()), ..good.clone() }),
        ("no-such-document", CommandRequested { document_name: "no-such-document".to_owned(), ..good.clone() }),
    ];
    for (field, request) in cases {
        let error = launch_as(&store, "refused", request).await.unwrap_err();
        assert!(error.to_string().contains(field), "{field}: {error}");
        assert_eq!(error.class(), Class::Rejected);
    }
    assert_eq!(store.commands(None, 10).await.unwrap(), []);
    assert_eq!(store.figures(at(0)).await.unwrap().outbox_messages, 0);
    let good = CommandRequested { timeout_seconds: Some(30), comment: Some("é".repeat(100)), ..good };
    launch_as(&store, "taken", good).await.unwrap();
}

async fn launching_again_changes_nothing(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(0, "a", &[])], at(0)).await;
    let first = launch_as(&store, "a", to_nodes(&[0])).await.unwrap();
    assert!(!first.repeated);
    assert_eq!(first.messages.len(), 1);
    connect(&store, &[hello(1, "a", &[])], at(0)).await;
    let again = launch_as(&store, "a", to_nodes(&[0, 1])).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.messages, []);
    assert_eq!(reached(&store, "a").await, [node(0)]);
    assert_eq!(store.figures(at(0)).await.unwrap().outbox_messages, 1);
    let stored = store.command(CommandId::derived("a")).await.unwrap().unwrap();
    assert_eq!((stored.request, stored.rollout), (to_nodes(&[0]), first.rollout));
}

async fn a_launch_without_nodes_is_stored_all_the_same(place: Place) {
    let store = place.open().await;
    let launched = launch_as(&store, "a", to_targets(vec![target("tag:None", &["x"])])).await.unwrap();
    assert_eq!((launched.rollout.targets, launched.messages.len()), (0, 1));
    assert!(store.command(CommandId::derived("a")).await.unwrap().is_some());
    assert_eq!(reached(&store, "a").await, []);
}

async fn the_order_is_stable_for_a_command_and_differs_between_commands(place: Place) {
    let store = place.open().await;
    let hellos: Vec<_> = (0..30).map(|number| hello(number, "a", &[("Env", "prod")])).collect();
    connect(&store, &hellos, at(0)).await;
    let all = || to_targets(vec![target("tag:Env", &["prod"])]);
    // The same command resolved twice, from nodes in another order the second time.
    let mut tx = store.begin().await.unwrap();
    let command_id = CommandId::derived("a");
    launch(&mut tx, Launch { command_id, request: all(), window: None }, at(0)).await.unwrap();
    let (first, _) = tx.release_pending(command_id, 0, 100, at(0), at(1)).await.unwrap();
    drop(tx);
    connect(&store, &hellos[..10], at(1)).await;
    launch_as(&store, "a", all()).await.unwrap();
    launch_as(&store, "b", all()).await.unwrap();
    let (a, b) = (release_order(&store, "a").await, release_order(&store, "b").await);
    assert_eq!(first.into_iter().map(|one| one.node_id).collect::<Vec<_>>(), a);
    assert_ne!(a, b);
    assert_eq!(a.into_iter().collect::<BTreeSet<_>>(), b.into_iter().collect());
}

async fn ten_thousand_nodes_are_launched_together(place: Place) {
    const NODES: usize = 10_000;
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    let hellos: Vec<_> = (0..NODES).map(|number| hello(number, "a", &[("Env", "prod")])).collect();
    connect(&store, &hellos, at(0)).await;
    let request =
        CommandRequested { instance_ids: Vec::new(), targets: vec![target("tag-key", &["Env"])], ..scan(&[]) };
    let launched = launch_as(&store, "a", request).await.unwrap();
    assert_eq!(launched.rollout.targets as usize, NODES);
    let order = release_order(&store, "a").await;
    assert_eq!(order.len(), NODES);
    assert_eq!(order.into_iter().collect::<BTreeSet<_>>().len(), NODES);
    let one = invocation(&store, CommandId::derived("a"), NODES - 1).await;
    assert_eq!(one.attempts, 0, "the release above was not committed");
}

async fn concurrent_launches_of_one_command_store_it_once(place: Place) {
    let stores = [place.open().await, place.open().await];
    let hellos: Vec<_> = (0..600).map(|number| hello(number, "a", &[("Env", "prod")])).collect();
    connect(&stores[0], &hellos, at(0)).await;
    let launchers: Vec<_> = (0..4_usize)
        .map(|number| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move {
                let launched = launch_as(&store, "a", to_targets(vec![target("tag:Env", &["prod"])])).await.unwrap();
                launched.repeated
            })
        })
        .collect();
    let mut first = 0;
    for launcher in launchers {
        first += usize::from(!launcher.await.unwrap());
    }
    assert_eq!(first, 1);
    assert_eq!(reached(&stores[0], "a").await.len(), 600);
    assert_eq!(stores[0].figures(at(0)).await.unwrap().outbox_messages, 1);
}

async fn patch_now_limits_go_by_the_number_of_nodes(place: Place) {
    let store = place.open().await;
    let hellos: Vec<_> = (0..30).map(|number| hello(number, "a", &[("Env", "prod")])).collect();
    connect(&store, &hellos, at(0)).await;
    let all = PatchRequested { operation: PatchOperation::Install, all_nodes: true, ..PatchRequested::default() };
    let one = PatchRequested { all_nodes: false, instance_ids: vec![node(3).to_string()], ..all.clone() };
    let scan = PatchRequested { operation: PatchOperation::Scan, ..all.clone() };
    let cases = [("all", all, 30, 1, 5, "5%"), ("one", one, 1, 1, 1, "1"), ("scan", scan, 30, 1_000, 1_000, "1000")];
    for (cause, asked, targets, concurrency, errors, text) in cases {
        let id = CommandId::derived(cause);
        for repeated in [false, true] {
            let mut tx = store.begin().await.unwrap();
            let launched = launch_patch(&mut tx, id, &asked, None, at(0)).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(launched.repeated, repeated);
        }
        let stored = store.command(id).await.unwrap().unwrap();
        let rollout = &stored.rollout;
        let found = (rollout.targets, rollout.concurrency, rollout.errors_allowed);
        assert_eq!(found, (targets, concurrency, errors), "{cause}");
        assert_eq!(stored.request.max_concurrency.as_deref(), Some(text), "{cause}");
    }
}
