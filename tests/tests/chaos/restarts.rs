//! Restarts of the broker and of the database, which our programs must outlive.

use std::time::{Duration, Instant};

use patchwave_tests::fleet::{Role, Rollout, Urls};
use patchwave_tests::servers::{Postgres, Rabbit, shared};
use serde_json::json;

use crate::fleet::{Fleet, Ran};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_rabbitmq_needs_no_restart_of_ours() {
    let mut rabbit = Rabbit::start().unwrap();
    let urls = Urls { bus: rabbit.url(), ..Urls::shared("chaos-rabbit").unwrap() };
    let mut fleet = Fleet::start(urls).await;
    let command = fleet.under_way().await;
    rabbit.kill().unwrap();
    fleet.still_runs(&command).await;
    // Without a broker commands are accepted all the same, and carried out when it is back.
    let meanwhile = Rollout::send(fleet.api(), fleet.request()).await.command_id().to_owned();
    rabbit.restart().unwrap();
    fleet.finish(&meanwhile, Ran::Once).await;
    fleet.check(&command, Ran::Once).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_postgresql_needs_no_restart_of_ours() {
    let mut postgres = Postgres::start().unwrap();
    let store = Some(postgres.create_database("chaos").unwrap());
    let servers = shared().unwrap();
    let urls = Urls { bus: servers.vhost("chaos-postgres").unwrap(), store, topics: servers.redis_url().to_owned() };
    let mut fleet = Fleet::start(urls).await;
    let command = fleet.under_way().await;
    fleet.still_runs(&command).await;
    postgres.kill().unwrap();
    // Without its database the API says so, and soon.
    let asked = Instant::now();
    let refused = fleet.api().call("ListCommands", &json!({})).await.unwrap_err().to_string();
    assert!(refused.contains("was answered 5"), "{refused}");
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(20), "after {took:?}: {refused}");
    postgres.restart().unwrap();
    fleet.check(&command, Ran::Once).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_of_everything_loses_nothing() {
    let mut rabbit = Rabbit::start().unwrap();
    let mut postgres = Postgres::start().unwrap();
    let store = Some(postgres.create_database("chaos").unwrap());
    let urls = Urls { bus: rabbit.url(), store, topics: shared().unwrap().redis_url().to_owned() };
    let mut fleet = Fleet::start(urls).await;
    let command = fleet.under_way().await;
    fleet.still_runs(&command).await;

    let roles = [Role::Api, Role::Scheduler, Role::Worker];
    for role in roles {
        fleet.system.programs(role).for_each(|program| program.kill().unwrap());
    }
    rabbit.kill().unwrap();
    postgres.kill().unwrap();
    for agent in fleet.real.iter_mut().chain([&mut fleet.simulated]) {
        agent.program().kill().unwrap();
    }

    // Ours come up first and wait for what they stand on.
    for role in roles {
        fleet.system.programs(role).for_each(|program| program.restart().unwrap());
    }
    for agent in fleet.real.iter_mut().chain([&mut fleet.simulated]) {
        agent.program().restart().unwrap();
    }
    postgres.restart().unwrap();
    rabbit.restart().unwrap();
    fleet.check(&command, Ran::AtMostOnce).await;
}
