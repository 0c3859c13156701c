//! What an error says about trying again.

use patchwave_platform::Class;
use patchwave_platform::store::invocations::NewInvocation;
use patchwave_platform::store::resource_groups::ResourceGroup;
use patchwave_platform::store::{Error, Store};
use patchwave_schemas::BaselineId;
use patchwave_schemas::WindowId;
use patchwave_schemas::event::Timer;

use crate::fixtures::{add_command, at, connect, hello, invocation, node};
use crate::place::Place;

contract! {
    a_row_that_is_there_already_is_not_worth_a_retry,
    corrupt_values_are_named_by_table_and_column,
    nul_in_text_is_kept_or_refused_for_good,
    an_error_in_a_transaction_does_not_harm_the_next,
}

async fn a_row_that_is_there_already_is_not_worth_a_retry(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 1).await;
    let mut tx = store.begin().await.unwrap();
    let again = [NewInvocation { node_id: node(0), ordinal: 0, baseline_key: None }];
    let error = tx.add_invocations(command, &again).await.unwrap_err();
    assert!(matches!(error, Error::Database { attempted: "store invocations", .. }), "{error:?}");
    assert_eq!(error.class(), Class::Rejected);
    drop(tx);

    let group = ResourceGroup {
        name: "web".to_owned(),
        description: String::new(),
        query: r#"{"TagFilters":[{"Key":"Role"}]}"#.to_owned(),
        created_at: at(0),
    };
    let mut tx = store.begin().await.unwrap();
    tx.add_resource_group(&group).await.unwrap();
    let error = tx.add_resource_group(&group).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.class()), ("resource group `web` already exists", Class::Rejected));
}

/// Puts a value where this program would not have.
async fn corrupt(store: &Store, statement: &'static str) {
    let done = sqlx::query(statement).execute(store.reader()).await.unwrap();
    assert_eq!(done.rows_affected(), 1, "{statement}");
}

fn assert_corrupt<T: std::fmt::Debug>(result: Result<T, Error>, column: &str) {
    let error = result.unwrap_err();
    assert!(matches!(&error, Error::Corrupt { what, .. } if *what == column), "{column}: {error:?}");
    assert_eq!(error.class(), Class::Rejected);
    assert!(error.to_string().contains(column), "{error}");
}

async fn corrupt_values_are_named_by_table_and_column(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(0, "a", &[])], at(0)).await;
    let command = add_command(&store, "a", 1).await;
    let window_id = WindowId::from_bits(1);
    let timer = Timer::RolloutCheck { command_id: command };
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.set_timer(&timer, at(0)).await.unwrap();
    tx.put_window(&crate::windows::window(&window_id, "w")).await.unwrap();
    tx.put_window_task(&crate::windows::task(&window_id, "t"), at(0)).await.unwrap();
    tx.commit().await.unwrap();

    corrupt(&store, "UPDATE invocations SET report = '{'").await;
    assert_corrupt(store.invocation(command, &node(0)).await, "invocations.report");
    corrupt(&store, "UPDATE invocations SET report = NULL, state = 'lost'").await;
    assert_corrupt(store.invocation(command, &node(0)).await, "invocations.state");
    corrupt(&store, "UPDATE commands SET rollout = '[]'").await;
    assert_corrupt(store.command(command).await, "commands.rollout");
    assert_corrupt(store.begin().await.unwrap().lock_rollouts(&[command]).await, "commands.rollout");
    corrupt(&store, "UPDATE timers SET timer = ''").await;
    assert_corrupt(store.begin().await.unwrap().claim_timers(at(0), 1).await, "timers.timer");
    corrupt(&store, "UPDATE windows SET definition = 'null'").await;
    assert_corrupt(store.window(&window_id).await, "windows.definition");
    corrupt(&store, "UPDATE window_tasks SET definition = '{}'").await;
    assert_corrupt(store.window_tasks(&window_id).await, "window_tasks.definition");
    assert_corrupt(store.begin().await.unwrap().window_registrations(&window_id).await, "window_tasks.definition");
    corrupt(&store, "UPDATE nodes SET tags = '{\"a\":1}'").await;
    assert_corrupt(store.node(&node(0)).await, "nodes.tags");
    assert_corrupt(store.begin().await.unwrap().candidates(None).await, "nodes.tags");
    corrupt(&store, "UPDATE nodes SET tags = '{}', operating_system = 'DOS'").await;
    assert_corrupt(store.node(&node(0)).await, "nodes.operating_system");
    let baseline = store.baselines().await.unwrap().remove(0).baseline_id;
    let text = "UPDATE patch_baselines SET definition = '\"' WHERE baseline_id = $1";
    sqlx::query(text).bind(baseline.as_str()).execute(store.reader()).await.unwrap();
    assert_corrupt(store.baseline(&baseline).await, "patch_baselines.definition");
    assert!(store.baseline(&BaselineId::from_bits(1)).await.unwrap().is_none());
}

/// PostgreSQL has no NUL in text; SQLite keeps it. Neither may hang a worker on it.
async fn nul_in_text_is_kept_or_refused_for_good(place: Place) {
    let store = place.open().await;
    let mut hello = hello(1, "a", &[]);
    hello.facts.computer_name = "nul \0 inside".to_owned();
    let mut tx = store.begin().await.unwrap();
    if let Err(error) = tx.nodes_connected(&[hello], at(0)).await {
        assert_eq!(error.class(), Class::Rejected, "{error:?}");
    }
    drop(tx);
    store.ping().await.unwrap();
}

async fn an_error_in_a_transaction_does_not_harm_the_next(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 1).await;
    let again = [NewInvocation { node_id: node(0), ordinal: 0, baseline_key: None }];
    // More often than there are connections.
    for _ in 0..15 {
        let mut tx = store.begin().await.unwrap();
        tx.add_invocations(command, &again).await.unwrap_err();
    }
    assert_eq!(invocation(&store, command, 0).await.attempts, 0);
    connect(&store, &[hello(1, "a", &[])], at(0)).await;
}

#[tokio::test]
async fn a_url_of_no_known_database_is_refused_without_its_password() {
    let error = Store::open("mysql://user:secret@host/patchwave").await.unwrap_err();
    assert!(matches!(error, Error::Url { .. }));
    assert_eq!(error.class(), Class::Rejected);
    assert!(!error.to_string().contains("secret"), "{error}");
}

/// Ends every other connection to the database of the store, as a failover does.
async fn terminate_connections(store: &Store, url: &str) {
    use sqlx::Connection;
    let mut operator = sqlx::PgConnection::connect(url).await.unwrap();
    let ended = sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_all(&mut operator)
    .await
    .unwrap();
    assert!(!ended.is_empty());
    assert_eq!(store.dialect(), patchwave_platform::store::Dialect::Postgres);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_connection_is_worth_a_retry_which_succeeds() {
    let place = Place::postgres();
    let store = place.open().await;
    connect(&store, &[hello(1, "a", &[])], at(0)).await;

    // In the middle of a transaction: at the next statement, and at the commit.
    let mut tx = store.begin().await.unwrap();
    tx.nodes_alive(&[node(1)], at(1)).await.unwrap();
    terminate_connections(&store, place.url()).await;
    let error = tx.nodes_alive(&[node(1)], at(2)).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error:?}");
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    tx.nodes_alive(&[node(1)], at(3)).await.unwrap();
    terminate_connections(&store, place.url()).await;
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error:?}");

    assert_eq!(store.node(&node(1)).await.unwrap().unwrap().last_contact_at, at(0));
    // Idle connections that died are not handed out.
    terminate_connections(&store, place.url()).await;
    connect(&store, &[hello(1, "b", &[])], at(9)).await;
    assert_eq!(store.node(&node(1)).await.unwrap().unwrap().last_contact_at, at(9));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_worth_a_retry() {
    // A port that was free a moment ago: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://nobody@127.0.0.1:{port}/nothing");
    let opened = tokio::time::timeout(std::time::Duration::from_secs(60), Store::open(&url));
    let error = opened.await.expect("opening gives up").unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error:?}");
}
