//! Nodes: who is where, whoever said so last.

use jiff::Timestamp;
use patchwave_engine::invocation::{Ending, State};
use patchwave_platform::Class;
use patchwave_platform::store::reads::nodes::NodeFilter;
use patchwave_platform::store::{Dialect, Store};
use patchwave_schemas::NodeId;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::{NodeConnected, NodeDisconnected};

use crate::fixtures::{add_command, address, apply, at, change, connect, facts, hello, node, tags};
use crate::place::Place;

contract! {
    nodes_are_narrowed_by_what_the_database_can_tell,
    nodes_are_found_by_the_tags_that_they_have_now,
    tags_of_nodes_from_before_are_found,
    the_first_hello_brings_the_tags_and_later_ones_keep_the_stored_ones,
    an_upsert_replaces_tags_but_not_the_address,
    the_latest_session_of_a_batch_wins,
    a_node_is_away_only_from_the_address_that_was_tried,
    a_session_that_ended_at_a_gateway_takes_its_address_along,
    signs_of_life_are_recorded_for_known_nodes,
    a_removed_node_is_gone,
    facts_come_back_as_they_were_said,
    node_lists_are_paged_by_id,
    concurrent_batches_of_the_same_nodes_all_arrive,
    a_late_hello_of_an_older_connection_costs_one_command_that_comes_back,
    every_hello_of_a_node_in_one_batch_is_kept,
    transactions_that_change_the_same_nodes_never_deadlock,
    nodes_without_a_slot_are_paged_by_id,
}

async fn stored(store: &Store, number: usize) -> patchwave_platform::store::nodes::Node {
    store.node(&node(number)).await.unwrap().expect("the node is stored")
}

async fn the_first_hello_brings_the_tags_and_later_ones_keep_the_stored_ones(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(1, "a", &[("Env", "test")])], at(1)).await;
    assert_eq!(stored(&store, 1).await.facts.tags, tags(&[("Env", "test")]));

    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.lock_node_tags(&node(1)).await.unwrap(), Some(tags(&[("Env", "test")])));
    assert!(tx.set_node_tags(&node(1), &tags(&[("Env", "prod")])).await.unwrap());
    assert_eq!(tx.lock_node_tags(&node(2)).await.unwrap(), None);
    assert!(!tx.set_node_tags(&node(2), &tags(&[])).await.unwrap());
    tx.commit().await.unwrap();

    let mut again = hello(1, "b", &[("Env", "test"), ("More", "x")]);
    again.facts.computer_name = "renamed".to_owned();
    connect(&store, &[again], at(2)).await;
    let known = stored(&store, 1).await;
    assert_eq!(known.facts.tags, tags(&[("Env", "prod")]));
    assert_eq!(known.facts.computer_name, "renamed");
    assert_eq!(known.address, Some(address(1, "b")));
    assert_eq!((known.registered_at, known.last_contact_at), (at(1), at(2)));
}

async fn an_upsert_replaces_tags_but_not_the_address(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(1, "a", &[("Env", "test")])], at(1)).await;
    let mut tx = store.begin().await.unwrap();
    tx.put_node(&facts(1, &[("Role", "db")]), at(2)).await.unwrap();
    tx.put_node(&facts(2, &[("Role", "web")]), at(2)).await.unwrap();
    tx.commit().await.unwrap();
    let known = stored(&store, 1).await;
    assert_eq!(known.facts.tags, tags(&[("Role", "db")]));
    assert_eq!(known.address, Some(address(1, "a")));
    assert_eq!(stored(&store, 2).await.address, None);
}

async fn the_latest_session_of_a_batch_wins(place: Place) {
    let store = place.open().await;
    let batch = [hello(1, "a", &[]), hello(2, "x", &[]), hello(1, "c", &[]), hello(1, "b", &[])];
    connect(&store, &batch, at(1)).await;
    assert_eq!(stored(&store, 1).await.address, Some(address(1, "b")));
    assert_eq!(stored(&store, 2).await.address, Some(address(2, "x")));
    connect(&store, &[hello(1, "a", &[])], at(2)).await;
    assert_eq!(stored(&store, 1).await.address, Some(address(1, "a")));
}

async fn a_node_is_away_only_from_the_address_that_was_tried(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(1, "new", &[]), hello(2, "same", &[])], at(1)).await;
    let mut tx = store.begin().await.unwrap();
    tx.nodes_away(&[]).await.unwrap();
    let tried = [(1, "old"), (2, "same"), (3, "unknown")];
    tx.nodes_away(&tried.map(|(number, session)| (node(number), address(number, session)))).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stored(&store, 1).await.address, Some(address(1, "new")));
    assert_eq!(stored(&store, 2).await.address, None);
    assert_eq!(store.node(&node(3)).await.unwrap(), None);
}

async fn a_session_that_ended_at_a_gateway_takes_its_address_along(place: Place) {
    const GATEWAY: &str = "patchwave.host.1";
    let store = place.open().await;
    // What a session from now on begins with, and one that nobody can have yet.
    let session = |millis: i64, rest: &str| format!("{:012x}7{rest:0>19}", at(1).as_millisecond() + millis);
    let through = |number: usize, session: &str| NodeConnected {
        address: GATEWAY.to_owned(),
        session: session.to_owned(),
        ..hello(number, "", &[])
    };
    let ended = |number: usize, address: &str, session: &str| NodeDisconnected {
        node_id: node(number),
        address: address.to_owned(),
        session: session.to_owned(),
        returned: Vec::new(),
    };
    connect(&store, &[hello(1, "before", &[])], at(0)).await;
    let hellos = [(1, 0, "a"), (2, 0, "b"), (3, 5, "a"), (4, 0, "a"), (5, 3_600_000, "a")];
    let hellos = hellos.map(|(number, millis, rest)| through(number, &session(millis, rest)));
    connect(&store, &hellos, at(1)).await;
    connect(&store, &[through(6, "zzz")], at(1)).await;

    let mut tx = store.begin().await.unwrap();
    tx.nodes_disconnected(&[], at(2)).await.unwrap();
    let news = [
        ended(1, GATEWAY, &session(0, "a")),
        ended(2, GATEWAY, &session(0, "c")),
        ended(3, GATEWAY, &session(4, "f")),
        ended(4, "patchwave.host.2", &session(0, "a")),
        ended(5, GATEWAY, &session(0, "a")),
        ended(6, GATEWAY, &session(0, "a")),
        ended(7, GATEWAY, &session(0, "a")),
    ];
    tx.nodes_disconnected(&news, at(2)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stored(&store, 1).await.address, Some(address(1, "before")), "what it had before is tried");
    assert_eq!(stored(&store, 2).await.address, None, "a later session has ended, so this one has too");
    assert_eq!(stored(&store, 3).await.address.as_deref(), Some(GATEWAY), "it has come back since");
    assert_eq!(stored(&store, 4).await.address.as_deref(), Some(GATEWAY), "it is at another gateway");
    assert_eq!(stored(&store, 5).await.address, None, "a session from the future is none");
    assert_eq!(stored(&store, 6).await.address, None, "nor is one of another form");
}

async fn signs_of_life_are_recorded_for_known_nodes(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(1, "a", &[]), hello(2, "a", &[])], at(1)).await;
    let mut tx = store.begin().await.unwrap();
    tx.nodes_alive(&[], at(5)).await.unwrap();
    tx.nodes_alive(&[node(1), node(1), node(3)], at(5)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stored(&store, 1).await.last_contact_at, at(5));
    assert_eq!(stored(&store, 2).await.last_contact_at, at(1));
    assert_eq!(store.node(&node(3)).await.unwrap(), None);
}

async fn a_removed_node_is_gone(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(1, "a", &[])], at(1)).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.remove_node(&node(1)).await.unwrap());
    assert!(!tx.remove_node(&node(1)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.node(&node(1)).await.unwrap(), None);
}

async fn facts_come_back_as_they_were_said(place: Place) {
    let store = place.open().await;
    let mut hello = hello(1, "a", &[("Quote's \"key\"", "žluť 🐎 \\ %_"), ("empty", "")]);
    hello.facts.computer_name = "12".to_owned();
    hello.facts.operating_system = OperatingSystem::AmazonLinux2;
    hello.facts.platform_version = "007".to_owned();
    hello.facts.ip_address = None;
    hello.facts.simulated = false;
    connect(&store, &[hello.clone()], at(1)).await;
    assert_eq!(stored(&store, 1).await.facts, hello.facts);
    assert_eq!(store.nodes().await.unwrap().len(), 1);
    let mut tx = store.begin().await.unwrap();
    let candidates = tx.candidates(None).await.unwrap();
    assert_eq!(candidates.len(), 1);
    assert_eq!(candidates[0].tags, hello.facts.tags);
    assert_eq!(candidates[0].operating_system, OperatingSystem::AmazonLinux2);
    assert_eq!(tx.candidates(Some(&[node(2)])).await.unwrap(), []);
    assert_eq!(tx.candidates(Some(&[])).await.unwrap(), []);
}

async fn node_lists_are_paged_by_id(place: Place) {
    let store = place.open().await;
    let hellos: Vec<_> = (0..5).map(|number| hello(number, "a", &[])).collect();
    connect(&store, &hellos, at(1)).await;
    let ids = |nodes: Vec<patchwave_platform::store::nodes::Node>| -> Vec<NodeId> {
        nodes.into_iter().map(|node| node.facts.node_id).collect()
    };
    assert_eq!(ids(store.nodes_after("", 2).await.unwrap()), [node(0), node(1)]);
    assert_eq!(ids(store.nodes_after(node(1).as_str(), 10).await.unwrap()), [node(2), node(3), node(4)]);
    assert_eq!(ids(store.nodes_named(&[node(3), node(9), node(1)]).await.unwrap()), [node(1), node(3)]);
    assert_eq!(ids(store.nodes_named(&[]).await.unwrap()), [] as [NodeId; 0]);
}

/// Repeats a batch as a handler does, but only if the store says that this is of use.
async fn connect_with_patience(store: &Store, hellos: &[NodeConnected], away: &[(NodeId, String)], now: Timestamp) {
    for _ in 0..50 {
        let attempt = async {
            let mut tx = store.begin().await?;
            tx.nodes_connected(hellos, now).await?;
            let alive: Vec<_> = hellos.iter().map(|hello| hello.facts.node_id.clone()).collect();
            tx.nodes_alive(&alive, now).await?;
            tx.nodes_away(away).await?;
            tx.commit().await
        };
        match attempt.await {
            Ok(()) => return,
            Err(error) => assert_eq!(error.class(), Class::Transient, "{error:?}"),
        }
    }
    panic!("a batch was never taken");
}

async fn concurrent_batches_of_the_same_nodes_all_arrive(place: Place) {
    const NODES: usize = 200;
    let stores = [place.open().await, place.open().await];
    let writers: Vec<_> = (0..6_usize)
        .map(|writer| {
            let store = stores[writer % 2].clone();
            tokio::spawn(async move {
                let session = format!("w{writer}");
                let mut batch: Vec<_> = (0..NODES).map(|number| hello(number, &session, &[])).collect();
                batch.rotate_left(writer * 31);
                if writer % 2 == 1 {
                    batch.reverse();
                }
                let away: Vec<_> = (0..NODES).rev().map(|number| (node(number), "nowhere".to_owned())).collect();
                for round in 0..5 {
                    connect_with_patience(&store, &batch, &away, at(round)).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let nodes = stores[0].nodes().await.unwrap();
    assert_eq!(nodes.len(), NODES);
    assert!(nodes.iter().all(|node| node.address.is_some() && node.last_contact_at == at(4)));
}

async fn away(store: &Store, number: usize, session: &str) {
    let mut tx = store.begin().await.unwrap();
    tx.nodes_away(&[(node(number), address(number, session))]).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_late_hello_of_an_older_connection_costs_one_command_that_comes_back(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(1, "new", &[])], at(1)).await;
    // Handed out again after the dispatcher died that held it; and once more.
    connect(&store, &[hello(1, "old", &[])], at(2)).await;
    connect(&store, &[hello(1, "old", &[])], at(3)).await;
    away(&store, 1, "old").await;
    assert_eq!(stored(&store, 1).await.address, Some(address(1, "new")));
    away(&store, 1, "new").await;
    assert_eq!(stored(&store, 1).await.address, None);
    // What was found to be nobody's is not tried again.
    connect(&store, &[hello(1, "newest", &[])], at(4)).await;
    away(&store, 1, "newest").await;
    assert_eq!(stored(&store, 1).await.address, None);
    // In whatever order they come: each that may be alive is tried, the latest first, as far as
    // they are kept.
    for session in ["c", "a", "b", "a"] {
        connect(&store, &[hello(1, session, &[])], at(5)).await;
    }
    for session in ["a", "b", "c"] {
        assert_eq!(stored(&store, 1).await.address, Some(address(1, session)));
        away(&store, 1, session).await;
    }
    assert_eq!(stored(&store, 1).await.address, None);
    for number in 0..50 {
        connect(&store, &[hello(1, &format!("{number:032}"), &[])], at(6)).await;
    }
    let mut tried = 0;
    while let Some(address) = stored(&store, 1).await.address {
        assert_eq!(address, self::address(1, &format!("{:032}", 49 - tried)));
        let mut tx = store.begin().await.unwrap();
        tx.nodes_away(&[(node(1), address)]).await.unwrap();
        tx.commit().await.unwrap();
        tried += 1;
    }
    assert_eq!(tried, 6);
}

async fn every_hello_of_a_node_in_one_batch_is_kept(place: Place) {
    let store = place.open().await;
    // Newest first, as a repaired delivery brings them.
    connect(&store, &[hello(1, "new", &[]), hello(2, "only", &[]), hello(1, "old", &[])], at(1)).await;
    away(&store, 1, "old").await;
    assert_eq!(stored(&store, 1).await.address, Some(address(1, "new")));
    assert_eq!(stored(&store, 2).await.address, Some(address(2, "only")));
}

async fn transactions_that_change_the_same_nodes_never_deadlock(place: Place) {
    const NODES: usize = 300;
    let store = place.open().await;
    connect(&store, &(0..NODES).map(|number| hello(number, "a", &[])).collect::<Vec<_>>(), at(0)).await;
    let writers: Vec<_> = (0..6_usize)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut numbers: Vec<_> = (0..NODES).collect();
                if writer % 2 == 1 {
                    numbers.reverse();
                }
                let ids: Vec<_> = numbers.iter().map(|number| node(*number)).collect();
                let places: Vec<_> = numbers.iter().map(|number| (node(*number), address(*number, "a"))).collect();
                let hellos: Vec<_> = numbers.iter().map(|number| hello(*number, "a", &[])).collect();
                for round in 1..=10 {
                    let mut tx = store.begin().await.unwrap();
                    match writer / 2 {
                        0 => tx.nodes_alive(&ids, at(round)).await.unwrap(),
                        1 => tx.nodes_away(&places).await.unwrap(),
                        _ => tx.nodes_connected(&hellos, at(round)).await.unwrap(),
                    }
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.nodes().await.unwrap().len(), NODES);
}

async fn nodes_without_a_slot_are_paged_by_id(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 6).await;
    add_command(&store, "b", 9).await;
    let ended = State::Ended(Ending::Success);
    let states = [(0, State::Released), (1, State::Waiting), (2, ended), (3, State::Ready), (4, State::Running)];
    apply(&store, &states.map(|(number, state)| change(command, number, state)), at(1)).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.nodes_without_slot(command, None, 2).await.unwrap(), [node(1), node(3)]);
    assert_eq!(tx.nodes_without_slot(command, Some(&node(3)), 2).await.unwrap(), [node(5)]);
}

async fn nodes_are_narrowed_by_what_the_database_can_tell(place: Place) {
    let store = place.open().await;
    let odd = ("a\"b%_", "it's \\ 🐎");
    let hellos = [hello(1, "s", &[odd]), hello(2, "s", &[("Stage", "prod")]), hello(3, "s", &[("Stage", "test")])];
    connect(&store, &hellos[..2], at(100)).await;
    connect(&store, &hellos[2..], at(50)).await;
    let tag = |key: &str, values: &[&str]| NodeFilter {
        tags: vec![(key.to_owned(), values.iter().map(|value| (*value).to_owned()).collect())],
        ..NodeFilter::default()
    };
    let texts = |values: &[&str]| Some(values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
    for (filter, expected) in [
        (NodeFilter::default(), &[1, 2, 3][..]),
        (tag(odd.0, &[odd.1]), &[1]),
        (tag("Stage", &[]), &[2, 3]),
        (tag("Stage", &["test", "prod"]), &[2, 3]),
        (tag("Stage", &["tes"]), &[]),
        (NodeFilter { online: Some((at(60), true)), ..NodeFilter::default() }, &[1, 2]),
        (NodeFilter { online: Some((at(60), false)), ..NodeFilter::default() }, &[3]),
        (NodeFilter { ids: Some(vec![node(3), node(9)]), ..NodeFilter::default() }, &[3]),
        (NodeFilter { operating_systems: texts(&["DEBIAN", "SUSE"]), ..NodeFilter::default() }, &[1, 2, 3]),
        (NodeFilter { operating_systems: texts(&[]), ..NodeFilter::default() }, &[]),
        (NodeFilter { agent_versions: texts(&["none"]), ..NodeFilter::default() }, &[]),
        (NodeFilter { activation_ids: texts(&["none"]), ..NodeFilter::default() }, &[]),
    ] {
        let found = store.nodes_matching(&filter, "", 10).await.unwrap();
        let expected: Vec<_> = expected.iter().map(|number| node(*number)).collect();
        assert_eq!(found.iter().map(|one| one.facts.node_id.clone()).collect::<Vec<_>>(), expected, "{filter:?}");
    }
    let after = store.nodes_matching(&NodeFilter::default(), node(1).as_str(), 1).await.unwrap();
    assert_eq!(after[0].facts.node_id, node(2));
}

async fn tagged(store: &Store, pairs: &[(&str, &[&str])], after: usize, limit: u32) -> Vec<NodeId> {
    let tags = pairs.iter().map(|(key, values)| ((*key).to_owned(), values.iter().map(|v| (*v).to_owned()).collect()));
    let filter = NodeFilter { tags: tags.collect(), ..NodeFilter::default() };
    let found = store.nodes_matching(&filter, node(after).as_str(), limit).await.unwrap();
    found.into_iter().map(|one| one.facts.node_id).collect()
}

async fn nodes_are_found_by_the_tags_that_they_have_now(place: Place) {
    let store = place.open().await;
    let stages = ["test", "prod"];
    let hellos: Vec<_> =
        (1..7).map(|number| hello(number, "s", &[("Stage", stages[number % 2]), ("nul\0", "\0"), ("x", "")])).collect();
    connect(&store, &hellos, at(1)).await;
    // A later hello changes no tag.
    connect(&store, &[hello(1, "t", &[("Stage", "other")])], at(2)).await;
    assert_eq!(tagged(&store, &[("Stage", &["prod"])], 0, 9).await, [node(1), node(3), node(5)]);
    assert_eq!(tagged(&store, &[("Stage", &["prod", "test", "prod"])], 1, 3).await, [node(2), node(3), node(4)]);
    let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["test"]).collect();
    assert_eq!(tagged(&store, &[("Stage", &many)], 2, 9).await, [node(4), node(6)]);
    assert_eq!(tagged(&store, &[("nul\0", &["\0"]), ("x", &[]), ("Stage", &["test"])], 2, 1).await, [node(4)]);
    assert_eq!(tagged(&store, &[("x", &[]), ("Stage", &["other"])], 0, 9).await, []);

    let mut tx = store.begin().await.unwrap();
    assert!(tx.set_node_tags(&node(1), &tags(&[("Stage", "test")])).await.unwrap());
    tx.put_node(&facts(3, &[]), at(3)).await.unwrap();
    tx.put_node(&facts(9, &[("Stage", "prod")]), at(3)).await.unwrap();
    assert!(tx.remove_node(&node(5)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(tagged(&store, &[("Stage", &["prod"])], 0, 9).await, [node(9)]);
    assert_eq!(tagged(&store, &[("Stage", &["test"])], 0, 2).await, [node(1), node(2)]);
    assert_eq!(tagged(&store, &[("x", &[])], 0, 9).await, [node(2), node(4), node(6)]);
    let named = NodeFilter {
        ids: Some(vec![node(1), node(9)]),
        tags: vec![("Stage".to_owned(), vec!["test".to_owned()])],
        ..NodeFilter::default()
    };
    assert_eq!(store.nodes_matching(&named, "", 9).await.unwrap().len(), 1);
}

/// As if the nodes had been stored by a program that knew of no rows.
async fn tags_of_nodes_from_before_are_found(place: Place) {
    let store = place.open().await;
    let remove: &'static [&'static str] = match store.dialect() {
        Dialect::Sqlite => {
            &["DROP TRIGGER node_tags_added", "DROP TRIGGER node_tags_changed", "DROP TRIGGER node_tags_removed"]
        }
        Dialect::Postgres => &["DROP TRIGGER node_tags_kept ON nodes"],
    };
    for &text in remove {
        sqlx::query(text).execute(store.reader()).await.unwrap();
    }
    connect(&store, &[hello(1, "s", &[("Stage", "prod")]), hello(2, "s", &[])], at(1)).await;
    assert_eq!(tagged(&store, &[("Stage", &["prod"])], 0, 9).await, []);
    let store = place.open().await;
    assert_eq!(tagged(&store, &[("Stage", &["prod"])], 0, 9).await, [node(1)]);
    connect(&store, &[hello(3, "s", &[("Stage", "prod")])], at(1)).await;
    assert_eq!(tagged(&store, &[("Stage", &["prod"])], 0, 9).await, [node(1), node(3)]);
}
