//! `patchwave up` with nothing else: no broker, no database server, no Redis.

use jiff::{Timestamp, ToSpan as _};
use patchwave_tests::fleet::{Role, System, Urls, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_default_fires_its_windows_and_keeps_them_over_a_kill_and_a_stop() {
    let mut system = System::start(Urls::embedded(), &[Role::Up]).await.unwrap();
    let api = system.api().clone();
    let ready = async || eventually("the API is ready", async || api.is_ready().await.then_some(())).await;
    let mut windows = Vec::new();
    for number in 0..3_usize {
        let at = (Timestamp::now() + 3.seconds()).strftime("at(%Y-%m-%dT%H:%M:%S)").to_string();
        let input = json!({ "Name": format!("window-{number}"), "Schedule": at, "Duration": 2, "Cutoff": 1,
            "AllowUnassociatedTargets": true });
        windows.push(api.id("CreateMaintenanceWindow", input, "WindowId").await);
        let program = system.programs(Role::Up).next().unwrap();
        match number {
            0 => program.kill().unwrap(),
            1 => {
                let ended = program.stop().unwrap().unwrap();
                assert!(ended.success(), "SIGTERM is no failure: {ended}\n{}", program.log_tail());
            }
            _ => {}
        }
        program_again(&mut system, number < 2);
        ready().await;
        for window in &windows {
            eventually("the window has fired", async || {
                let input = json!({ "WindowId": window });
                let list = api.all("DescribeMaintenanceWindowExecutions", input, "WindowExecutions").await.ok()?;
                assert!(list.len() < 2, "{list:?}");
                // It has no targets: there is nothing to do, and that is done.
                (list.first()?["Status"] == "SUCCESS").then_some(())
            })
            .await;
        }
    }
    // An event carries the news to whoever stores it.
    eventually("each of them was told of", async || {
        let news = api.all("Patchwave.ListNotifications", json!({}), "Notifications").await.ok()?;
        (news.len() >= 3).then_some(())
    })
    .await;
}

fn program_again(system: &mut System, stopped: bool) {
    if stopped {
        system.programs(Role::Up).next().unwrap().restart().unwrap();
    }
}
