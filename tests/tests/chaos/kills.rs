//! `kill -9` of our own programs.

use patchwave_tests::fleet::{Role, Urls};

use crate::fleet::{Fleet, Ran};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_lose_nothing() {
    let mut fleet = Fleet::start(Urls::shared("chaos-worker").unwrap()).await;
    let command = fleet.under_way().await;
    for worker in fleet.system.programs(Role::Worker) {
        worker.kill().unwrap();
    }
    fleet.still_runs(&command).await;
    for worker in fleet.system.programs(Role::Worker) {
        worker.restart().unwrap();
    }
    fleet.check(&command, Ran::Once).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_worker_is_replaced_by_the_other() {
    let mut fleet = Fleet::start(Urls::shared("chaos-one-worker").unwrap()).await;
    let command = fleet.under_way().await;
    fleet.system.programs(Role::Worker).next().unwrap().kill().unwrap();
    fleet.still_runs(&command).await;
    fleet.finish(&command, Ran::Once).await;
    fleet.system.programs(Role::Worker).next().unwrap().restart().unwrap();
    fleet.check(&command, Ran::Once).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_scheduler_loses_nothing() {
    let mut fleet = Fleet::start(Urls::shared("chaos-scheduler").unwrap()).await;
    let command = fleet.under_way().await;
    fleet.system.programs(Role::Scheduler).next().unwrap().restart().unwrap();
    fleet.still_runs(&command).await;
    fleet.check(&command, Ran::Once).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_agents_run_nothing_twice() {
    let mut fleet = Fleet::start(Urls::shared("chaos-agent").unwrap()).await;
    let command = fleet.under_way().await;
    for agent in fleet.real.iter_mut().chain([&mut fleet.simulated]) {
        agent.program().restart().unwrap();
    }
    fleet.still_runs(&command).await;
    fleet.check(&command, Ran::AtMostOnce).await;
}
