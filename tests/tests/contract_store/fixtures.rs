//! Values that several cases need, and shorthands for whole transactions.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::documents::{self, RUN_SHELL_SCRIPT};
use patchwave_engine::invocation::State;
use patchwave_engine::limits::Limit;
use patchwave_engine::rollout::Rollout;
use patchwave_platform::store::Store;
use patchwave_platform::store::commands::{NewCommand, Plan};
use patchwave_platform::store::invocations::{Change, Invocation, NewInvocation};
use patchwave_schemas::event::{CommandRequested, ErrorMode};
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::report::NodeConnected;
use patchwave_schemas::{CommandId, NodeId};

/// An instant so many seconds after an arbitrary one.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

pub(crate) fn node(number: usize) -> NodeId {
    NodeId::from_bits(number as u128)
}

pub(crate) fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn facts(number: usize, pairs: &[(&str, &str)]) -> NodeFacts {
    NodeFacts {
        node_id: node(number),
        computer_name: format!("host-{number}"),
        operating_system: OperatingSystem::Debian,
        platform_name: "Debian GNU/Linux".to_owned(),
        platform_version: "12".to_owned(),
        agent_version: "0.1.0".to_owned(),
        ip_address: Some("192.0.2.1".to_owned()),
        simulated: true,
        tags: tags(pairs),
    }
}

/// The address that [`hello`] gives to a node's session.
pub(crate) fn address(number: usize, session: &str) -> String {
    patchwave_schemas::topology::node_queue(&node(number), session)
}

pub(crate) fn hello(number: usize, session: &str, pairs: &[(&str, &str)]) -> NodeConnected {
    NodeConnected {
        facts: facts(number, pairs),
        address: address(number, session),
        session: session.to_owned(),
        fingerprint: None,
        policy: None,
    }
}

pub(crate) async fn connect(store: &Store, hellos: &[NodeConnected], now: Timestamp) {
    let mut tx = store.begin().await.unwrap();
    tx.nodes_connected(hellos, now).await.unwrap();
    tx.commit().await.unwrap();
}

pub(crate) fn shell_request() -> CommandRequested {
    CommandRequested {
        document_name: RUN_SHELL_SCRIPT.to_owned(),
        document_version: None,
        instance_ids: Vec::new(),
        targets: Vec::new(),
        parameters: BTreeMap::from([("commands".to_owned(), vec!["true".to_owned()])]),
        max_concurrency: None,
        max_errors: None,
        error_mode: ErrorMode::Ssm,
        timeout_seconds: None,
        comment: None,
        notification_config: None,
        rollout_plan: None,
        waves: None,
    }
}

pub(crate) fn new_command(command_id: CommandId, targets: u32, requested_at: Timestamp) -> NewCommand {
    let request = shell_request();
    let document = documents::render(&request.document_name, None, &request.parameters).unwrap();
    let plan = Plan {
        rollout: Rollout::plan(targets, Limit::Count(50), Limit::Count(0), ErrorMode::Ssm),
        cursor: 0,
        waves: None,
        may_reboot: false,
        delivery_seconds: 3_600,
        execution_seconds: documents::execution_seconds(&document),
        start_before: None,
        notify: None,
        window_execution_id: None,
        task_execution_id: None,
    };
    NewCommand { command_id, request, requested_at, document, plan }
}

/// Stores a command with pending invocations on nodes 0 to `targets`, released in that order.
pub(crate) async fn add_command(store: &Store, cause: &str, targets: usize) -> CommandId {
    let id = CommandId::derived(cause);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.add_command(&new_command(id, u32::try_from(targets).unwrap(), at(0))).await.unwrap());
    let new: Vec<_> = (0_i64..)
        .zip(0..targets)
        .map(|(ordinal, number)| NewInvocation { node_id: node(number), ordinal, baseline_key: None })
        .collect();
    tx.add_invocations(id, &new).await.unwrap();
    tx.commit().await.unwrap();
    id
}

pub(crate) fn change(command_id: CommandId, number: usize, state: State) -> Change {
    Change { command_id, node_id: node(number), state, report: None, late: false }
}

pub(crate) async fn apply(store: &Store, changes: &[Change], now: Timestamp) {
    let mut tx = store.begin().await.unwrap();
    tx.change_invocations(changes, now).await.unwrap();
    tx.commit().await.unwrap();
}

/// Releases the first `count` invocations of a command at `at(0)`, with `at(3600)` as deadline.
pub(crate) async fn release(store: &Store, command: CommandId, count: u32) {
    let mut tx = store.begin().await.unwrap();
    let (released, _) = tx.release_pending(command, 0, count, at(0), at(3_600)).await.unwrap();
    assert_eq!(released.len(), count as usize);
    tx.commit().await.unwrap();
}

pub(crate) async fn invocation(store: &Store, command: CommandId, number: usize) -> Invocation {
    store.invocation(command, &node(number)).await.unwrap().expect("the invocation is stored")
}

pub(crate) async fn states(store: &Store, command: CommandId) -> Vec<State> {
    store.invocations_of(command, "", 10_000).await.unwrap().into_iter().map(|one| one.state).collect()
}
