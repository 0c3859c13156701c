//! What change calendars do to the firings of a window.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_platform::calendars::FORMAT;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::documents::{Document, DocumentVersion};
use patchwave_platform::store::executions::{Execution, TaskExecution};
use patchwave_platform::store::windows::{CalendarPolicy, CutoffBehavior, RunCommandParameters, Window, WindowTask};
use patchwave_platform::store::{Durability, Store};
use patchwave_schemas::event::{ErrorMode, RolloutFinished, Timer, WindowCancelRequested, WindowStarted};
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::{CloudEvent, WindowId, WindowTaskId};
use patchwave_workers::resolver::{Input, Resolver};
use patchwave_workers::runtime::Handler;

/// 2026-12-24T12:00Z and minutes after it.
fn at(minutes: i64) -> Timestamp {
    "2026-12-24T12:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
}

struct Site {
    store: Store,
    master_key: MasterKey,
    window_id: WindowId,
    _directory: tempfile::TempDir,
}

impl Site {
    /// A window of three hours, the last of which starts nothing, with two priorities and a calendar.
    async fn new(policy: CalendarPolicy) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("patchwave.db").display());
        let store = Store::open_with(&url, Durability::None).await.unwrap();
        let window_id = WindowId::from_bits(1);
        let window = Window {
            window_id: window_id.clone(),
            name: "nightly".to_owned(),
            description: None,
            schedule: "rate(1 day)".to_owned(),
            schedule_timezone: None,
            schedule_offset: None,
            start_date: None,
            end_date: None,
            duration: 3,
            cutoff: 1,
            allow_unassociated_targets: true,
            calendar_names: vec!["freeze".to_owned()],
            calendar_policy: policy,
            enabled: true,
            schedule_base: at(0),
            created_date: at(0),
            modified_date: at(0),
            next_execution_at: None,
        };
        let mut tx = store.begin().await.unwrap();
        tx.put_window(&window).await.unwrap();
        for priority in 0..2 {
            let task = WindowTask {
                window_task_id: WindowTaskId::derived(&priority.to_string()),
                window_id: window_id.clone(),
                task_type: "RUN_COMMAND".to_owned(),
                task_arn: "AWS-RunShellScript".to_owned(),
                targets: Vec::new(),
                priority,
                max_concurrency: None,
                max_errors: None,
                error_mode: ErrorMode::Ssm,
                cutoff_behavior: CutoffBehavior::default(),
                run_command: RunCommandParameters {
                    parameters: BTreeMap::from([("commands".to_owned(), vec!["true".to_owned()])]),
                    ..RunCommandParameters::default()
                },
                step_functions: None,
                lambda: None,
                rollout_plan: None,
                service_role_arn: None,
                name: None,
                description: None,
            };
            tx.put_window_task(&task, at(0)).await.unwrap();
        }
        tx.commit().await.unwrap();
        Self { store, master_key: MasterKey::ephemeral().unwrap(), window_id, _directory: directory }
    }

    /// Makes the calendar, with a freeze from one minute to another; or one that cannot be read.
    async fn calendar(self, freeze: Option<(i64, i64)>) -> Self {
        let time = |minutes: i64| at(minutes).strftime("%Y%m%dT%H%M%SZ").to_string();
        let event = freeze.map(|(from, to)| {
            format!("BEGIN:VEVENT\nDTSTART:{}\nDTEND:{}\nEND:VEVENT\nEND:VCALENDAR", time(from), time(to))
        });
        let content = format!("BEGIN:VCALENDAR\nX-CALENDAR-TYPE:DEFAULT_OPEN\n{}", event.unwrap_or_default());
        let mut tx = self.store.begin().await.unwrap();
        tx.delete_document("freeze").await.unwrap();
        tx.add_document(&Document {
            name: "freeze".to_owned(),
            display_name: None,
            target_type: None,
            default_version: 1,
            last_version: 1,
            latest_version: 1,
            created_at: at(0),
        })
        .await
        .unwrap();
        tx.add_document_version(&DocumentVersion {
            name: "freeze".to_owned(),
            version: 1,
            version_name: None,
            format: FORMAT.to_owned(),
            content,
            definition: serde_json::json!({}),
            content_hash: String::new(),
            created_at: at(0),
        })
        .await
        .unwrap();
        tx.commit().await.unwrap();
        self
    }

    async fn apply(&self, input: Input, minutes: i64) -> Vec<String> {
        let applied = Resolver::apply(&self.store, &self.master_key, &[input], at(minutes)).await.unwrap();
        assert!(applied.refused.is_empty(), "{:?}", applied.refused);
        let raised = applied.effects.outbox.iter().filter(|message| message.body.contains("notification.raised"));
        let note = |body: &str| {
            let event: serde_json::Value = serde_json::from_str(body).unwrap();
            let message = &event["data"]["message"];
            let text = message.as_str().map_or_else(|| message.clone(), |text| serde_json::from_str(text).unwrap());
            format!("{} {}", text["status"].as_str().unwrap(), text["note"].as_str().unwrap())
        };
        raised
            .filter(|message| message.body.contains("window-execution-id"))
            .map(|message| note(&message.body))
            .collect()
    }

    async fn fire(&self, minutes: i64) -> Vec<String> {
        let window_id = self.window_id.clone();
        self.apply(Input::WindowStarted(WindowStarted { window_id, scheduled_at: at(0) }), minutes).await
    }

    async fn execution(&self) -> Execution {
        let mut executions = self.store.executions(&self.window_id, None, 10).await.unwrap();
        assert_eq!(executions.len(), 1);
        executions.remove(0)
    }

    async fn said(&self) -> (String, String) {
        let execution = self.execution().await;
        (execution.status, execution.status_details)
    }

    /// The tasks, by priority.
    async fn by_priority(&self) -> Vec<TaskExecution> {
        let mut tasks = self.store.tasks_of(self.execution().await.window_execution_id).await.unwrap();
        tasks.sort_by_key(|task| task.task.priority);
        tasks
    }

    async fn tasks(&self) -> Vec<(String, String)> {
        self.by_priority().await.into_iter().map(|task| (task.status, task.status_details)).collect()
    }

    /// When the calendars are looked at next.
    async fn looks_at(&self) -> Option<Timestamp> {
        let timer = Timer::WindowCalendar { execution_id: self.execution().await.window_execution_id };
        let mut tx = self.store.begin().await.unwrap();
        let due = tx.claim_timers(at(100_000), 100).await.unwrap();
        due.into_iter().find(|(one, _)| *one == timer).map(|(_, due_at)| due_at)
    }

    /// The command of the first priority ends: it has no nodes.
    async fn first_task_ends(&self, minutes: i64) -> Vec<String> {
        let execution = self.execution().await;
        let tasks = self.by_priority().await;
        let command_id = tasks[0].command_id.unwrap();
        let mut tx = self.store.begin().await.unwrap();
        let mut locked = tx.lock_rollouts(&[command_id]).await.unwrap().remove(0);
        let (rollout, _) = locked.plan.rollout.step(&patchwave_engine::rollout::Event::Start).unwrap();
        locked.plan.rollout = rollout;
        tx.save_rollout(&locked, at(minutes)).await.unwrap();
        tx.commit().await.unwrap();
        let finished = RolloutFinished {
            command_id,
            task_execution_id: Some(tasks[0].task_execution_id),
            window_execution_id: Some(execution.window_execution_id),
        };
        self.apply(Input::RolloutFinished(finished), minutes).await
    }
}

fn both(status: &str, details: &str) -> (String, String) {
    (status.to_owned(), details.to_owned())
}

const UNTIL_13: &str = "Change calendar freeze is CLOSED until 2026-12-24T13:00:00Z";

#[tokio::test]
async fn an_open_calendar_lets_a_window_start() {
    let site = Site::new(CalendarPolicy::Skip).await.calendar(Some((30, 60))).await;
    site.fire(0).await;
    assert_eq!(site.said().await.0, "IN_PROGRESS");
}

#[tokio::test]
async fn a_closed_calendar_cancels_a_firing_that_does_not_wait_and_says_until_when() {
    let site = Site::new(CalendarPolicy::Skip).await.calendar(Some((-60, 60))).await;
    assert_eq!(site.fire(0).await, ["CANCELLED CALENDAR_CLOSED"]);
    assert_eq!(site.said().await, both("CANCELLED", UNTIL_13));
    assert!(site.execution().await.ended_at.is_some());
    assert_eq!(site.tasks().await, []);
    // The same firing, delivered again when it has opened, does not run after all.
    assert!(site.fire(90).await.is_empty());
    assert_eq!(site.said().await, both("CANCELLED", UNTIL_13));
}

#[tokio::test]
async fn a_firing_that_waits_starts_when_the_calendar_opens() {
    let site = Site::new(CalendarPolicy::Delay).await.calendar(Some((-60, 60))).await;
    assert_eq!(site.fire(0).await, ["PENDING HELD_BACK"]);
    assert_eq!(site.said().await, both("PENDING", UNTIL_13));
    // Somebody may change the calendar: it is looked at again before it says that it opens.
    assert_eq!(site.looks_at().await, Some(at(5)));
    let id = site.execution().await.window_execution_id;
    assert!(site.apply(Input::Calendar(id), 57).await.is_empty(), "told once");
    assert_eq!(site.looks_at().await, Some(at(60)));
    assert_eq!(site.apply(Input::Calendar(id), 60).await, ["IN_PROGRESS "]);
    let details = "held back by a change calendar until 60 min after its start; its cutoff and end stand";
    assert_eq!(site.said().await, both("IN_PROGRESS", details));
    assert_eq!(site.looks_at().await, None);
    assert_eq!(site.tasks().await[0].0, "IN_PROGRESS");
}

#[tokio::test]
async fn a_firing_whose_calendar_stays_closed_until_its_cutoff_is_missed() {
    let site = Site::new(CalendarPolicy::Delay).await.calendar(Some((-60, 600))).await;
    site.fire(0).await;
    let id = site.execution().await.window_execution_id;
    assert_eq!(site.apply(Input::Cutoff(id), 120).await, ["TIMED_OUT MISSED"]);
    let details = "missed: Change calendar freeze is CLOSED until 2026-12-24T22:00:00Z";
    assert_eq!(site.said().await, both("TIMED_OUT", details));
    assert_eq!(site.looks_at().await, None);
    assert!(site.tasks().await.iter().all(|task| *task == both("TIMED_OUT", "cutoff reached")));
}

#[tokio::test]
async fn a_calendar_that_is_gone_or_cannot_be_read_counts_as_closed() {
    let site = Site::new(CalendarPolicy::Skip).await;
    site.fire(0).await;
    assert_eq!(site.said().await, both("CANCELLED", "Change calendar freeze does not exist; counts as CLOSED"));
    let site = Site::new(CalendarPolicy::Skip).await.calendar(None).await;
    site.fire(0).await;
    let (status, details) = site.said().await;
    assert!(status == "CANCELLED" && details.contains("cannot be read (line"), "{details}");
    // One that waits is let go once the calendar is back.
    let site = Site::new(CalendarPolicy::Delay).await;
    site.fire(0).await;
    assert_eq!(site.looks_at().await, Some(at(5)));
    let site = site.calendar(Some((300, 360))).await;
    let id = site.execution().await.window_execution_id;
    site.apply(Input::Calendar(id), 5).await;
    assert_eq!(site.said().await.0, "IN_PROGRESS");
}

#[tokio::test]
async fn a_later_priority_does_not_start_while_the_calendar_is_closed() {
    let site = Site::new(CalendarPolicy::Skip).await.calendar(Some((10, 60))).await;
    site.fire(0).await;
    assert_eq!(site.first_task_ends(20).await, ["CANCELLED "]);
    assert_eq!(site.said().await, both("CANCELLED", UNTIL_13));
    assert_eq!(site.tasks().await[1], both("CANCELLED", UNTIL_13));

    let site = Site::new(CalendarPolicy::Delay).await.calendar(Some((10, 60))).await;
    site.fire(0).await;
    assert_eq!(site.first_task_ends(20).await, ["IN_PROGRESS HELD_BACK"]);
    assert_eq!(site.said().await, both("IN_PROGRESS", UNTIL_13));
    let id = site.execution().await.window_execution_id;
    site.apply(Input::Calendar(id), 60).await;
    assert_eq!(site.tasks().await[1].0, "IN_PROGRESS");
}

#[tokio::test]
async fn a_firing_that_waits_can_be_cancelled_and_no_other_starts_beside_it() {
    let site = Site::new(CalendarPolicy::Delay).await.calendar(Some((-60, 60))).await;
    site.fire(0).await;
    let mut tx = site.store.begin().await.unwrap();
    assert!(tx.has_open_execution(&site.window_id).await.unwrap());
    drop(tx);
    let execution_id = site.execution().await.window_execution_id;
    let id = derived_uuid("test:", "cancel");
    let asked = CloudEvent::new(id, "/user", at(1), WindowCancelRequested { execution_id });
    assert_eq!(site.apply(Input::WindowCancelRequested(asked), 1).await, ["CANCELLED "]);
    assert_eq!(site.looks_at().await, None);
}
