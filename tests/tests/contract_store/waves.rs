//! Rollout plans, and the waves of what is launched by them.

use std::collections::BTreeSet;

use patchwave_platform::Class;
use patchwave_platform::store::rollout_plans::NamedPlan;
use patchwave_platform::store::tags::Taggable;
use patchwave_platform::store::{Error, Store};
use patchwave_schemas::CommandId;
use patchwave_schemas::event::CommandRequested;
use patchwave_schemas::waves::{GatePlan, RolloutPlan, WavePlan};

use crate::fixtures::{add_command, at, connect, hello, node, shell_request};
use crate::launches::{launch_as, release_order, target};
use crate::place::Place;

contract! {
    plans_are_created_once_listed_and_deleted,
    a_launch_in_waves_holds_the_later_ones_back,
    waves_by_tag_are_released_in_the_order_of_the_plan,
    a_plan_is_found_by_name_and_by_the_documents_tag,
    pending_invocations_are_told_with_their_positions,
}

fn plan() -> RolloutPlan {
    let gate = GatePlan { min_success_percent: Some(90), ..GatePlan::default() };
    let first = WavePlan { size: Some("2".to_owned()), bake_seconds: 60, gate: Some(gate), ..WavePlan::default() };
    let second = WavePlan { size: Some("30%".to_owned()), ..WavePlan::default() };
    RolloutPlan { tag_key: None, waves: vec![first, second, WavePlan::default()] }
}

async fn store_plan(store: &Store, name: &str, plan: RolloutPlan) {
    let named = NamedPlan { name: name.to_owned(), description: "for \"tests\"".to_owned(), plan, created_at: at(0) };
    let mut tx = store.begin().await.unwrap();
    tx.add_rollout_plan(&named).await.unwrap();
    tx.commit().await.unwrap();
}

async fn fleet(store: &Store, rings: &[&str]) {
    let hellos: Vec<_> =
        rings.iter().enumerate().map(|(number, ring)| hello(number, "a", &[("Env", "x"), ("Ring", ring)])).collect();
    connect(store, &hellos, at(0)).await;
}

fn to_all() -> CommandRequested {
    CommandRequested { targets: vec![target("tag:Env", &["x"])], ..shell_request() }
}

async fn plans_are_created_once_listed_and_deleted(place: Place) {
    let store = place.open().await;
    store_plan(&store, "b", plan()).await;
    store_plan(&store, "a", RolloutPlan { tag_key: Some("Ring".to_owned()), ..plan() }).await;
    let all = store.rollout_plans().await.unwrap();
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((&all[1].plan, all[1].description.as_str()), (&plan(), "for \"tests\""));
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(tx.add_rollout_plan(&all[0]).await, Err(Error::Conflict { .. })));
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.rollout_plan("b").await.unwrap(), Some(plan()));
    assert!(tx.delete_rollout_plan("b").await.unwrap());
    assert!(!tx.delete_rollout_plan("b").await.unwrap());
    assert_eq!(tx.rollout_plan("b").await.unwrap(), None);
    tx.commit().await.unwrap();
}

async fn a_launch_in_waves_holds_the_later_ones_back(place: Place) {
    let store = place.open().await;
    fleet(&store, &["x"; 10]).await;
    let request = CommandRequested { waves: Some(plan()), ..to_all() };
    let launched = launch_as(&store, "a", request.clone()).await.unwrap();
    assert_eq!((launched.rollout.pending, launched.rollout.held, launched.rollout.targets), (2, 8, 10));
    let stored = store.command(CommandId::derived("a")).await.unwrap().unwrap();
    let waves = stored.waves.unwrap();
    assert_eq!(waves.waves.iter().map(|wave| wave.targets).collect::<Vec<_>>(), [2, 3, 5]);
    assert_eq!((waves.waves[0].bake_seconds, waves.waves[0].min_success_percent), (60, Some(90)));
    // The canaries of one rollout are those of the next.
    launch_as(&store, "b", request).await.unwrap();
    let canaries = async |cause| release_order(&store, cause).await.into_iter().take(2).collect::<BTreeSet<_>>();
    assert_eq!(canaries("a").await, canaries("b").await);
    // One wave is no cut.
    let whole = RolloutPlan { tag_key: None, waves: vec![WavePlan::default()] };
    launch_as(&store, "c", CommandRequested { waves: Some(whole), ..to_all() }).await.unwrap();
    let stored = store.command(CommandId::derived("c")).await.unwrap().unwrap();
    assert_eq!((stored.waves, stored.rollout.held), (None, 0));
}

async fn waves_by_tag_are_released_in_the_order_of_the_plan(place: Place) {
    let store = place.open().await;
    fleet(&store, &["broad", "canary", "early", "?", "canary"]).await;
    let wave = |value: &str| WavePlan { tag_values: vec![value.to_owned()], ..WavePlan::default() };
    let waves = vec![wave("canary"), wave("early"), wave("broad")];
    let waves = Some(RolloutPlan { tag_key: Some("Ring".to_owned()), waves });
    launch_as(&store, "a", CommandRequested { waves, ..to_all() }).await.unwrap();
    let order = release_order(&store, "a").await;
    let sorted = |range: std::ops::Range<usize>| order[range].iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(0..2), BTreeSet::from([node(1), node(4)]));
    assert_eq!(sorted(2..3), BTreeSet::from([node(2)]));
    assert_eq!(sorted(3..5), BTreeSet::from([node(0), node(3)]));
}

async fn a_plan_is_found_by_name_and_by_the_documents_tag(place: Place) {
    let store = place.open().await;
    fleet(&store, &["x"; 4]).await;
    store_plan(&store, "careful", plan()).await;
    let named = CommandRequested { rollout_plan: Some("careful".to_owned()), ..to_all() };
    assert_eq!(launch_as(&store, "named", named.clone()).await.unwrap().rollout.held, 2);
    for (wrong, says) in [
        (CommandRequested { rollout_plan: Some("unheard of".to_owned()), ..to_all() }, "unheard of"),
        (CommandRequested { waves: Some(plan()), ..named }, "not both"),
        (CommandRequested { waves: Some(RolloutPlan::default()), ..to_all() }, "0 waves"),
    ] {
        let error = launch_as(&store, "wrong", wrong).await.unwrap_err();
        assert!(error.class() == Class::Rejected && error.to_string().contains(says), "{error}");
    }
    let tags = [("patchwave:rollout-plan".to_owned(), "careful".to_owned())].into();
    let mut tx = store.begin().await.unwrap();
    tx.set_tags(Taggable::Document, &to_all().document_name, &tags).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(launch_as(&store, "tagged", to_all()).await.unwrap().rollout.held, 2);
}

async fn pending_invocations_are_told_with_their_positions(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 4).await;
    let mut tx = store.begin().await.unwrap();
    tx.release_pending(command, 0, 2, at(0), at(60)).await.unwrap();
    let asked = [node(0), node(2), node(3), node(9)];
    let found = tx.pending_ordinals(command, &asked).await.unwrap();
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([(node(2), 2), (node(3), 3)]));
    assert!(tx.pending_ordinals(command, &[]).await.unwrap().is_empty());
}
