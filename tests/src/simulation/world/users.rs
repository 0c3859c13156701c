//! Users and other systems: windows, commands, cancellations.

use anyhow::Context as _;
use jiff::SignedDuration;
use patchwave_engine::rollout::waves::Stage;
use patchwave_platform::calendars::FORMAT;
use patchwave_platform::launch::{Launch, launch};
use patchwave_platform::store::documents::{Document, DocumentVersion};
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::store::windows::{
    CalendarPolicy, CutoffBehavior, RunCommandParameters, Window, WindowTarget, WindowTask,
};
use patchwave_schemas::event::{
    ApprovalSignal, ApprovalSignalled, CancelCause, CommandRequested, ErrorMode, RolloutCancelRequested, Target, Timer,
    WindowCancelRequested, WindowStartRequested,
};
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::waves::{GatePlan, RolloutPlan, WavePlan};
use patchwave_schemas::{CommandId, WindowId, WindowTargetId, WindowTaskId};
use rand::RngExt as _;

use super::World;

/// Half hours that a calendar speaks of: more than a simulation lasts, and few enough for a document.
const CALENDAR_EVENTS: usize = 500;

impl World {
    pub(super) async fn create_window(&mut self) -> anyhow::Result<()> {
        let window_id = WindowId::from_bits(self.rng.random());
        let duration = self.rng.random_range(1..=3);
        // By the window and not by the dice: what else a seed does stays as it is.
        let dice = derived_uuid("calendar:", window_id.as_str()).as_u128();
        let calendar = if dice & 1 == 0 { Some(self.create_calendar(&window_id, dice).await?) } else { None };
        let calendar_policy = if dice & 2 == 0 { CalendarPolicy::Skip } else { CalendarPolicy::Delay };
        let window = Window {
            window_id: window_id.clone(),
            name: "simulated".to_owned(),
            description: None,
            schedule: "rate(30 minutes)".to_owned(),
            schedule_timezone: None,
            schedule_offset: None,
            start_date: None,
            end_date: None,
            duration,
            cutoff: self.rng.random_range(0..duration),
            allow_unassociated_targets: true,
            calendar_names: calendar.into_iter().collect(),
            calendar_policy,
            enabled: true,
            schedule_base: self.now,
            created_date: self.now,
            modified_date: self.now,
            next_execution_at: None,
        };
        let target = WindowTarget {
            window_target_id: WindowTargetId::from_uuid(self.uuid()),
            window_id: window_id.clone(),
            resource_type: "INSTANCE".to_owned(),
            targets: vec![Target { key: "tag:Patch Group".to_owned(), values: vec!["canary".to_owned()] }],
            owner_information: None,
            name: None,
            description: None,
        };
        let mut tx = self.context.store.begin().await?;
        tx.put_window(&window).await?;
        tx.put_window_target(&target, self.now).await?;
        for _ in 0..self.rng.random_range(0..=3) {
            let by_target = self.rng.random_bool(0.5);
            let targets = if by_target {
                Target { key: "WindowTargetIds".to_owned(), values: vec![target.window_target_id.to_string()] }
            } else {
                Target { key: "tag:Patch Group".to_owned(), values: vec!["production".to_owned()] }
            };
            let cutoff_behavior =
                if self.rng.random_bool(0.5) { CutoffBehavior::CancelTask } else { CutoffBehavior::ContinueTask };
            let request = self.request();
            let task = WindowTask {
                window_task_id: WindowTaskId::from_uuid(self.uuid()),
                window_id: window_id.clone(),
                task_type: "RUN_COMMAND".to_owned(),
                task_arn: request.document_name.clone(),
                targets: vec![targets],
                priority: self.rng.random_range(0..3),
                max_concurrency: request.max_concurrency.clone(),
                max_errors: request.max_errors.clone(),
                error_mode: request.error_mode,
                cutoff_behavior,
                run_command: RunCommandParameters {
                    parameters: request.parameters,
                    timeout_seconds: request.timeout_seconds,
                    ..RunCommandParameters::default()
                },
                step_functions: None,
                lambda: None,
                rollout_plan: None,
                service_role_arn: None,
                name: None,
                description: None,
            };
            tx.put_window_task(&task, self.now).await?;
        }
        tx.commit().await?;
        self.windows.push(window_id.clone());
        self.set_enabled(&window_id, true).await
    }

    /// A calendar that is closed for ten minutes of every half hour, at times of its own.
    async fn create_calendar(&self, window_id: &WindowId, dice: u128) -> anyhow::Result<String> {
        let mut from = self.now + SignedDuration::from_mins(((dice >> 2) % 30) as i64);
        let mut content = "BEGIN:VCALENDAR\nX-CALENDAR-TYPE:DEFAULT_OPEN\n".to_owned();
        for _ in 0..CALENDAR_EVENTS {
            let start = from.strftime("%Y%m%dT%H%M%SZ");
            content.push_str(&format!("BEGIN:VEVENT\nDTSTART:{start}\nDURATION:PT10M\nEND:VEVENT\n"));
            from += SignedDuration::from_mins(30);
        }
        content.push_str("END:VCALENDAR\n");
        let name = format!("freeze-{window_id}");
        let mut tx = self.context.store.begin().await?;
        let (format, created_at) = (FORMAT.to_owned(), self.now);
        tx.add_document(&Document {
            name: name.clone(),
            display_name: None,
            target_type: None,
            default_version: 1,
            last_version: 1,
            latest_version: 1,
            created_at,
        })
        .await?;
        tx.add_document_version(&DocumentVersion {
            name: name.clone(),
            version: 1,
            version_name: None,
            format,
            content,
            definition: serde_json::Value::Null,
            content_hash: String::new(),
            created_at,
        })
        .await?;
        tx.commit().await?;
        Ok(name)
    }

    pub(super) async fn set_enabled(&mut self, id: &WindowId, enabled: bool) -> anyhow::Result<()> {
        let mut tx = self.context.store.begin().await?;
        let mut window = tx.lock_window(id).await?.context("the window exists")?;
        window.enabled = enabled;
        let timer = Timer::Window { window_id: id.clone() };
        window.next_execution_at = if enabled { window.schedule()?.next_after(self.now) } else { None };
        match window.next_execution_at {
            Some(at) => tx.set_timer(&timer, at).await?,
            None => tx.clear_timer(&timer).await?,
        }
        tx.put_window(&window).await?;
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn edit_window(&mut self) -> anyhow::Result<()> {
        let id = self.windows[self.rng.random_range(0..self.windows.len())].clone();
        let enabled = self.rng.random_bool(0.7);
        self.say(|| format!("window {id} enabled: {enabled}"));
        self.set_enabled(&id, enabled).await
    }

    pub(super) fn request(&mut self) -> CommandRequested {
        let percent = self.rng.random_bool(0.3);
        let waves = self.rng.random_bool(0.5);
        let (slots, errors) = if self.temper.tight { (3, 2) } else { (5, 4) };
        CommandRequested {
            document_name: "AWS-RunShellScript".to_owned(),
            document_version: None,
            instance_ids: Vec::new(),
            targets: vec![Target {
                key: "tag:Patch Group".to_owned(),
                values: vec!["canary".to_owned(), "production".to_owned()],
            }],
            parameters: [
                ("commands".to_owned(), vec!["true".to_owned()]),
                ("executionTimeout".to_owned(), vec![self.rng.random_range(5..120).to_string()]),
            ]
            .into(),
            max_concurrency: Some(if percent { "30%".to_owned() } else { self.rng.random_range(1..slots).to_string() }),
            max_errors: Some(self.rng.random_range(0..errors).to_string()),
            error_mode: if self.rng.random_bool(if self.temper.tight { 0.8 } else { 0.5 }) {
                ErrorMode::Strict
            } else {
                ErrorMode::Ssm
            },
            timeout_seconds: Some(self.rng.random_range(30..300)),
            comment: None,
            notification_config: None,
            rollout_plan: None,
            waves: waves.then(|| self.waves()),
        }
    }

    /// Two or three waves with bake times and gates, by size or by patch group.
    fn waves(&mut self) -> RolloutPlan {
        let by_tag = self.rng.random_bool(0.3);
        let mut waves = Vec::new();
        for number in 0..self.rng.random_range(1..=2) {
            let gate = self.rng.random_bool(0.7).then(|| GatePlan {
                min_success_percent: self.rng.random_bool(0.3).then_some(50),
                max_failed: self.rng.random_bool(0.3).then_some(1),
                approval_within_seconds: self.rng.random_bool(0.5).then(|| self.rng.random_range(60..300)),
            });
            waves.push(WavePlan {
                size: (!by_tag).then(|| if number == 0 { "1".to_owned() } else { "40%".to_owned() }),
                tag_values: if by_tag { vec![["canary", "production"][number].to_owned()] } else { Vec::new() },
                bake_seconds: if self.rng.random_bool(0.5) { self.rng.random_range(0..200) } else { 0 },
                gate,
                ..WavePlan::default()
            });
        }
        waves.push(WavePlan::default());
        RolloutPlan { tag_key: by_tag.then(|| "Patch Group".to_owned()), waves }
    }

    /// Somebody answers a rollout that waits, or is about to.
    pub(super) async fn answer(&mut self) -> anyhow::Result<()> {
        let commands = self.context.store.commands(None, 50).await?;
        let waiting: Vec<_> = commands
            .into_iter()
            .filter(|command| {
                let stage = command.waves.as_ref().map(|waves| &waves.stage);
                command.finished_at.is_none()
                    && matches!(stage, Some(Stage::Baking { .. } | Stage::AwaitingApproval { .. }))
            })
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let command_id = waiting[self.rng.random_range(0..waiting.len())].command_id;
        let approves = self.rng.random_bool(0.8);
        let signal = if approves { ApprovalSignal::Approve } else { ApprovalSignal::Reject };
        if approves {
            self.invariants.approved.insert(command_id);
        }
        let id = self.uuid();
        self.say(|| format!("{signal:?} {command_id}"));
        let data = ApprovalSignalled { execution_id: command_id.to_string(), signal, comment: None };
        self.publish(&OutboxMessage::event(id, "/user", self.now, data));
        Ok(())
    }

    pub(super) async fn request_command(&mut self) -> anyhow::Result<()> {
        let request = self.request();
        let id = self.uuid();
        self.say(|| format!("command {id} is requested"));
        if self.rng.random_bool(0.5) {
            // Another system publishes an event, perhaps twice.
            let message = OutboxMessage::event(id, "/elsewhere", self.now, request);
            for _ in 0..self.rng.random_range(1..=2) {
                self.publish(&message);
            }
            return Ok(());
        }
        let command_id = CommandId::from_uuid(id);
        let mut tx = self.context.store.begin().await?;
        let launched = launch(&mut tx, Launch { command_id, request, window: None }, self.now).await?;
        if self.temper.restarts > 0 {
            // As an installation would be, which has hours to end: too many steps for a seed.
            for mut locked in tx.lock_rollouts(&[command_id]).await? {
                locked.plan.may_reboot = true;
                tx.save_rollout(&locked, self.now).await?;
            }
        }
        tx.commit().await?;
        if self.rng.random_bool(0.9) {
            self.flush(launched.messages).await?;
        }
        Ok(())
    }

    pub(super) fn request_window(&mut self) -> anyhow::Result<()> {
        let window_id = self.windows[self.rng.random_range(0..self.windows.len())].clone();
        self.say(|| format!("window {window_id} is requested"));
        let id = self.uuid();
        self.publish(&OutboxMessage::event(
            id,
            "/elsewhere",
            self.now,
            WindowStartRequested { window_id, reason: None },
        ));
        Ok(())
    }

    pub(super) async fn cancel(&mut self) -> anyhow::Result<()> {
        let commands = self.context.store.commands(None, 50).await?;
        if commands.is_empty() {
            return Ok(());
        }
        let command = &commands[self.rng.random_range(0..commands.len())];
        let id = self.uuid();
        let message = match command.window_execution_id.filter(|_| self.rng.random_bool(0.5)) {
            Some(execution_id) => OutboxMessage::event(id, "/user", self.now, WindowCancelRequested { execution_id }),
            None => {
                let node_ids = if self.rng.random_bool(0.5) {
                    vec![self.nodes[self.rng.random_range(0..self.nodes.len())].facts.node_id.clone()]
                } else {
                    Vec::new()
                };
                let request = RolloutCancelRequested {
                    command_id: command.command_id,
                    node_ids,
                    cause: CancelCause::Requested,
                    reason: String::new(),
                };
                OutboxMessage::event(id, "/user", self.now, request)
            }
        };
        self.say(|| format!("cancels {}", command.command_id));
        self.publish(&message);
        Ok(())
    }
}
