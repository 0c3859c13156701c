//! Every message of ours delivered twice.

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use patchwave_schemas::topology::{EVENTS_EXCHANGE, REPORTS_EXCHANGE};
use patchwave_tests::fleet::{Events, Urls, cloud_event, eventually};
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::fleet::{Fleet, Ran};

/// Marks a message that is the second one of its kind.
const AGAIN: &str = "x-again";

/// Publishes everything that passes through the exchanges a second time, until dropped.
struct Echo {
    _events: Events,
    task: JoinHandle<()>,
}

impl Echo {
    async fn start(url: &str) -> Self {
        let events = Events::connect(url).await.unwrap();
        let channel = events.connection().create_channel().await.unwrap();
        let queue = "tests.echo";
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), exclusive, FieldTable::default()).await.unwrap();
        for exchange in [EVENTS_EXCHANGE, REPORTS_EXCHANGE] {
            let options = QueueBindOptions::default();
            channel
                .queue_bind(queue.into(), exchange.into(), "#".into(), options, FieldTable::default())
                .await
                .unwrap();
        }
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let mut deliveries =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap();
        let task = tokio::spawn(async move {
            while let Some(Ok(delivery)) = deliveries.next().await {
                let mut headers = delivery.properties.headers().clone().unwrap_or_default();
                if headers.inner().contains_key(AGAIN) {
                    continue;
                }
                headers.insert(AGAIN.into(), AMQPValue::Boolean(true));
                let properties = delivery.properties.clone().with_headers(headers);
                let (exchange, key) = (delivery.exchange.clone(), delivery.routing_key.clone());
                let options = BasicPublishOptions::default();
                let published = channel.basic_publish(exchange, key, options, &delivery.data, properties).await;
                if published.is_err() {
                    return;
                }
            }
        });
        Self { _events: events, task }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_of_everything_change_nothing() {
    let mut fleet = Fleet::start(Urls::shared("chaos-twice").unwrap()).await;
    let url = fleet.system.urls().bus.clone();
    let echo = Echo::start(&url).await;
    let other_system = Events::connect(&url).await.unwrap();

    let id = Uuid::new_v4();
    let event = cloud_event(id, "patchwave.command.requested.v1", &fleet.request());
    for _ in 0..2 {
        other_system.publish("command.requested", &event).await.unwrap();
    }
    let command = id.to_string();
    eventually("the command is known", async || {
        let input = json!({ "CommandId": command });
        fleet.api().call("Patchwave.GetRollout", &input).await.ok()
    })
    .await;
    fleet.check(&command, Ran::Once).await;
    let commands = fleet.api().list("ListCommands", json!({}), "Commands").await;
    assert_eq!(commands.len(), 2, "the requested one and the one that the check sent: {commands:?}");
    assert!(!echo.task.is_finished(), "the echo was at work to the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_of_a_windows_events_start_it_once() {
    let fleet = Fleet::start(Urls::shared("chaos-window-twice").unwrap()).await;
    let _echo = Echo::start(&fleet.system.urls().bus).await;
    let api = fleet.api();
    let window = json!({ "Name": "twice", "Schedule": "rate(7 days)", "Duration": 2, "Cutoff": 1,
        "AllowUnassociatedTargets": true });
    let window = api.id("CreateMaintenanceWindow", window, "WindowId").await;
    let target = json!({ "WindowId": window, "ResourceType": "INSTANCE",
        "Targets": [{ "Key": "tag:Fleet", "Values": ["chaos"] }] });
    let target = api.id("RegisterTargetWithMaintenanceWindow", target, "WindowTargetId").await;
    for priority in [1, 2] {
        let task = json!({
            "WindowId": window, "TaskArn": "AWS-RunShellScript", "TaskType": "RUN_COMMAND", "Priority": priority,
            "Targets": [{ "Key": "WindowTargetIds", "Values": [target] }], "MaxConcurrency": "100", "MaxErrors": "0",
            "TaskInvocationParameters": { "RunCommand": { "Parameters": fleet.script() } },
        });
        api.ok("RegisterTaskWithMaintenanceWindow", task).await;
    }
    let execution =
        api.id("Patchwave.StartMaintenanceWindow", json!({ "WindowId": window }), "WindowExecutionId").await;
    eventually("the window has ended", async || {
        let input = json!({ "WindowExecutionId": execution });
        let one = api.call("GetMaintenanceWindowExecution", &input).await.ok()?;
        (one["Status"] == "SUCCESS").then_some(())
    })
    .await;
    let executions = json!({ "WindowId": window });
    let executions = api.list("DescribeMaintenanceWindowExecutions", executions, "WindowExecutions").await;
    assert_eq!(executions.len(), 1, "{executions:?}");
    let commands = api.list("ListCommands", json!({}), "Commands").await;
    assert_eq!(commands.len(), 2, "one for each task: {commands:?}");
    for command in commands {
        fleet.finish(command["CommandId"].as_str().unwrap(), Ran::Once).await;
    }
}
