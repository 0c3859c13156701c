//! Applying a firing's step to the store: tasks become commands, cutoffs become cancellations.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::calendar::Gate as Calendars;
use patchwave_engine::limits::{DEFAULT_CONCURRENCY, DEFAULT_ERRORS, Limit};
use patchwave_engine::rollout::plan::PLAN_TAG;
use patchwave_engine::rollout::{Phase, Status};
use patchwave_engine::window_execution::{Effect, Ending, Event, Gate, Phase as Stage};
use patchwave_platform::calendars;
use patchwave_platform::fan_outs::{NewFanOut, Template, fan_out_id, start_fan_out};
use patchwave_platform::launch::{Launch, LaunchError, WindowLink, launch, nodes_of};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Tx;
use patchwave_platform::store::executions::{Execution, TaskExecution};
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::store::tags::Taggable;
use patchwave_platform::store::windows::{
    CalendarPolicy, CutoffBehavior, LambdaParameters, StepFunctionsParameters, WindowTask,
};
use patchwave_platform::workflows::{Happening, tell};
use patchwave_schemas::CommandId;
use patchwave_schemas::event::{CancelCause, CommandRequested, RolloutCancelRequested, Target, Timer};
use patchwave_schemas::ids::derived_uuid;

use crate::audit::{self, Actor};
use crate::effects::Effects;
use crate::workflows::fan_out::CUTOFF;
use crate::{HandlerError, news};

/// The task type of functions.
const LAMBDA: &str = "LAMBDA";
/// The task type of state machines.
const STEP_FUNCTIONS: &str = "STEP_FUNCTIONS";

/// Whether a task makes calls, and not a command.
fn is_fan_out(task: &WindowTask) -> bool {
    [LAMBDA, STEP_FUNCTIONS].contains(&task.task_type.as_str())
}

/// Applies an event and all that follows from it, and stores the firing. The caller holds its row.
pub(super) async fn advance(
    tx: &mut Tx,
    master_key: &MasterKey,
    execution: &mut Execution,
    tasks: &mut [TaskExecution],
    event: Event,
    now: Timestamp,
) -> Result<Effects, HandlerError> {
    let before = execution.status.clone();
    let window = &execution.snapshot.window;
    let (gate, closed, open_at) = match calendars::judge(tx, &window.calendar_names, now).await? {
        Calendars::Open => (Gate::Open, String::new(), None),
        Calendars::Closed { reason, until } => match window.calendar_policy {
            CalendarPolicy::Skip => (Gate::GiveUp, reason, until),
            CalendarPolicy::Delay => (Gate::Wait, reason, until),
        },
    };
    let (waited, began) = (execution.state.waits, execution.state.phase != Stage::Planned);
    let mut given_up = false;
    let mut note = "";
    let mut outbox = Vec::new();
    // Bounded: a task that cannot start ends at once, and each task ends once.
    let mut events = VecDeque::from([event]);
    while let Some(event) = events.pop_front() {
        let (next, effects) = execution
            .state
            .step(event, gate)
            .map_err(|error| HandlerError::Contradiction(format!("{}: {error}", execution.window_execution_id)))?;
        execution.state = next;
        for effect in effects {
            match effect {
                Effect::StartTask(index) => {
                    match start_task(tx, master_key, execution, &mut tasks[index], now).await? {
                        Ok(messages) => outbox.extend(messages),
                        Err(ending) => events.push_back(Event::TaskEnded { task: index, ending }),
                    }
                }
                Effect::StopTask(index) => outbox.extend(stop_task(tx, &tasks[index], now).await?),
                Effect::TaskSkipped { task, ending, details } => {
                    end_task(tx, &mut tasks[task], ending, details, now).await?;
                }
                Effect::TaskGivenUp(index) => {
                    given_up = true;
                    end_task(tx, &mut tasks[index], Ending::Cancelled, &closed, now).await?;
                }
                Effect::Wait => {
                    let look_at = open_at.unwrap_or(now + LOOK_AT_CALENDARS_AFTER).min(now + LOOK_AT_CALENDARS_AFTER);
                    let execution_id = execution.window_execution_id;
                    tx.set_timer(&Timer::WindowCalendar { execution_id }, look_at).await?;
                    if execution.status_details != closed {
                        execution.status_details.clone_from(&closed);
                        outbox.push(news::execution_changed(execution, "HELD_BACK", now));
                    }
                }
                // Told once; the end is looked at again and again.
                Effect::Overrun if now < execution.end_at + OVERRUN_TOLD_WITHIN => {
                    outbox.push(news::execution_changed(execution, "RUNNING_PAST_END", now));
                }
                Effect::Overrun => {}
                Effect::Finished { ending, details } => {
                    // That it started late is said as long as there is nothing worse to say.
                    if !began && ending == Ending::TimedOut {
                        note = "MISSED";
                        execution.status_details = shortened(&format!("missed: {}", execution.status_details));
                    } else if given_up && ending == Ending::Cancelled {
                        execution.status_details = shortened(&closed);
                    } else if !details.is_empty() {
                        execution.status_details = details.to_owned();
                    }
                    execution.ended_at = Some(now);
                    let execution_id = execution.window_execution_id;
                    tx.clear_timer(&Timer::WindowCutoff { execution_id }).await?;
                    tx.clear_timer(&Timer::WindowEnd { execution_id }).await?;
                    tx.clear_timer(&Timer::WindowCalendar { execution_id }).await?;
                }
            }
        }
    }
    if !execution.state.waits {
        let execution_id = execution.window_execution_id;
        tx.clear_timer(&Timer::WindowCalendar { execution_id }).await?;
        if waited && execution.ended_at.is_none() {
            let minutes = now.duration_since(execution.scheduled_at).as_mins();
            execution.status_details =
                format!("held back by a change calendar until {minutes} min after its start; its cutoff and end stand");
        }
    }
    execution.status = execution.state.status().to_owned();
    tx.save_execution(execution).await?;
    if execution.status != before {
        outbox.push(news::execution_changed(execution, note, now));
    }
    tx.enqueue(&outbox, now).await?;
    Ok(Effects { outbox, ..Effects::default() })
}

/// Takes note of every task whose command has ended: of the one that an event speaks of, and of any
/// whose event was lost. The caller holds the firing's row.
pub(super) async fn take_ends(
    tx: &mut Tx,
    master_key: &MasterKey,
    execution: &mut Execution,
    tasks: &mut [TaskExecution],
    now: Timestamp,
) -> Result<Effects, HandlerError> {
    let mut effects = Effects::default();
    for index in 0..tasks.len() {
        if tasks[index].ended_at.is_some() || tasks[index].started_at.is_none() {
            continue;
        }
        let phase = match tasks[index].command_id {
            Some(command) => tx.rollout_phase(command).await?,
            None => tx.fan_out_phase(tasks[index].task_execution_id).await?,
        };
        let Some(Phase::Finished(status)) = phase else { continue };
        let ending = Ending::from(status);
        end_task(tx, &mut tasks[index], ending, &task_details(status), now).await?;
        let event = Event::TaskEnded { task: index, ending };
        effects.merge(advance(tx, master_key, execution, tasks, event, now).await?);
    }
    Ok(effects)
}

/// What a task calls for each of its targets.
fn template_of(task: &WindowTask) -> Template {
    let called = task.task_arn.clone();
    if task.task_type == LAMBDA {
        let LambdaParameters { payload, client_context, qualifier } = task.lambda.clone().unwrap_or_default();
        return Template::Function { function: called, qualifier, client_context, payload };
    }
    let StepFunctionsParameters { input, name } = task.step_functions.clone().unwrap_or_default();
    Template::StateMachine { state_machine: called, input, name }
}

/// Starts a task that makes one call for each target, or one in all. `Err` says how a task ends that
/// cannot start.
async fn start_fan_out_task(
    tx: &mut Tx,
    execution: &Execution,
    task: &mut TaskExecution,
    now: Timestamp,
) -> Result<Result<Vec<OutboxMessage>, Ending>, HandlerError> {
    let definition = &task.task;
    let sets = target_sets(execution, definition);
    let limits = (
        definition.max_concurrency.as_deref().map(Limit::concurrency).transpose(),
        definition.max_errors.as_deref().map(Limit::errors).transpose(),
    );
    let targets = if definition.targets.is_empty() {
        Ok(None)
    } else {
        let salt = CommandId::derived(&task.task_execution_id.to_string());
        nodes_of(tx, &sets, salt, now).await.map(|nodes| Some(nodes.iter().map(ToString::to_string).collect()))
    };
    let refused = match (targets, limits) {
        (Ok(targets), (Ok(concurrency), Ok(errors))) => {
            let registered = definition.targets.iter().find(|target| target.key == "WindowTargetIds");
            let names = [
                ("WINDOW_ID", execution.window_id.to_string()),
                ("WINDOW_TASK_ID", definition.window_task_id.to_string()),
                ("WINDOW_TARGET_ID", registered.and_then(|target| target.values.first()).cloned().unwrap_or_default()),
                ("WINDOW_EXECUTION_ID", execution.window_execution_id.to_string()),
                ("TASK_EXECUTION_ID", task.task_execution_id.to_string()),
                ("TARGET_TYPE", "INSTANCE".to_owned()),
            ];
            let new = NewFanOut {
                window_execution_id: execution.window_execution_id,
                task_execution_id: task.task_execution_id,
                targets,
                template: template_of(definition),
                names: names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                concurrency: concurrency.unwrap_or(DEFAULT_CONCURRENCY),
                errors: errors.unwrap_or(DEFAULT_ERRORS),
                error_mode: definition.error_mode,
            };
            let message = start_fan_out(tx, new, now).await?;
            task.status = "IN_PROGRESS".to_owned();
            task.started_at = Some(now);
            tx.put_task_execution(task).await?;
            return Ok(Ok(message.into_iter().collect()));
        }
        (Err(LaunchError::Store(error)), _) => return Err(error.into()),
        (Err(refused), _) => refused.to_string(),
        (_, (Err(refused), _) | (_, Err(refused))) => refused.to_string(),
    };
    task.started_at = Some(now);
    end_task(tx, task, Ending::Failed, &refused, now).await?;
    Ok(Err(Ending::Failed))
}

/// Launches a task's command. `Err` says how a task ends that cannot start.
async fn start_task(
    tx: &mut Tx,
    master_key: &MasterKey,
    execution: &Execution,
    task: &mut TaskExecution,
    now: Timestamp,
) -> Result<Result<Vec<OutboxMessage>, Ending>, HandlerError> {
    if is_fan_out(&task.task) {
        return start_fan_out_task(tx, execution, task, now).await;
    }
    let command_id = CommandId::derived(&task.task_execution_id.to_string());
    let link = WindowLink {
        window_execution_id: execution.window_execution_id,
        task_execution_id: task.task_execution_id,
        target_sets: target_sets(execution, &task.task),
        start_before: (task.task.cutoff_behavior == CutoffBehavior::CancelTask).then_some(execution.cutoff_at),
    };
    let mut request = request_of(&task.task);
    if request.rollout_plan.is_none() {
        // Clients of AWS cannot name a plan in a task, but can tag its window.
        request.rollout_plan =
            tx.tags(Taggable::MaintenanceWindow, execution.window_id.as_str()).await?.remove(PLAN_TAG);
    }
    match launch(tx, Launch { command_id, request: request.clone(), window: Some(link) }, now).await {
        Ok(launched) => {
            if !launched.repeated {
                let actor = Actor::Window(execution.window_id.as_str());
                let what = (command_id, &request);
                audit::launched(tx, master_key, &actor, what, launched.rollout.targets, now).await?;
            }
            task.status = "IN_PROGRESS".to_owned();
            task.command_id = Some(command_id);
            task.started_at = Some(now);
            tx.put_task_execution(task).await?;
            Ok(Ok(launched.messages))
        }
        Err(LaunchError::Store(error)) => Err(HandlerError::Store(error)),
        // The document or targets are wrong: this task fails, the others go on.
        Err(refused) => {
            task.started_at = Some(now);
            end_task(tx, task, Ending::Failed, &refused.to_string(), now).await?;
            Ok(Err(Ending::Failed))
        }
    }
}

async fn end_task(
    tx: &mut Tx,
    task: &mut TaskExecution,
    ending: Ending,
    details: &str,
    now: Timestamp,
) -> Result<(), HandlerError> {
    task.status = ending.status().to_owned();
    task.status_details = shortened(details);
    task.ended_at = Some(now);
    tx.put_task_execution(task).await?;
    Ok(())
}

/// Time after which a firing that waits for its change calendars looks at them again, if they do not
/// say that they open sooner: somebody may change them.
const LOOK_AT_CALENDARS_AFTER: SignedDuration = SignedDuration::from_mins(5);

fn shortened(details: &str) -> String {
    details.chars().take(STATUS_DETAILS_CHARS_MAX).collect()
}

/// How late the end of a window may be noticed and still be told of. Shorter than the time between
/// two looks.
const OVERRUN_TOLD_WITHIN: SignedDuration = SignedDuration::from_secs(59);
/// Characters of a `StatusDetails` (SSM).
const STATUS_DETAILS_CHARS_MAX: usize = 250;

/// The cutoff came: the dispatcher stops the task's rollout, or its fan-out starts nothing more.
async fn stop_task(tx: &mut Tx, task: &TaskExecution, now: Timestamp) -> Result<Option<OutboxMessage>, HandlerError> {
    let reason = "the window's cutoff has come".to_owned();
    let Some(command_id) = task.command_id else {
        if !is_fan_out(&task.task) {
            return Ok(None);
        }
        let stop = Happening::Stop { how: CUTOFF.to_owned(), cause: reason };
        return Ok(Some(tell(tx, fan_out_id(task.task_execution_id), "cutoff", &stop, now).await?));
    };
    let id = derived_uuid("cutoff of command:", &command_id.to_string());
    let request = RolloutCancelRequested { command_id, node_ids: Vec::new(), cause: CancelCause::Cutoff, reason };
    Ok(Some(OutboxMessage::event(id, "/patchwave/resolver", now, request)))
}

/// What a task's `StatusDetails` says about how its rollout ended.
fn task_details(status: Status) -> String {
    match status {
        Status::Success => String::new(),
        Status::NoTargets => "NoInvocations".to_owned(),
        other => other.details().to_owned(),
    }
}

/// The nodes of a task: the union of the window targets it names, or nodes by id.
fn target_sets(execution: &Execution, task: &WindowTask) -> Vec<Vec<Target>> {
    let mut sets = Vec::new();
    for target in &task.targets {
        if target.key == "WindowTargetIds" {
            let named = |id: &str| target.values.iter().any(|value| value == id);
            let registered = execution.snapshot.targets.iter();
            sets.extend(
                registered
                    .filter(|known| named(&known.window_target_id.to_string()))
                    .map(|known| known.targets.clone()),
            );
        } else {
            sets.push(vec![target.clone()]);
        }
    }
    sets
}

fn request_of(task: &WindowTask) -> CommandRequested {
    let run = &task.run_command;
    CommandRequested {
        document_name: task.task_arn.clone(),
        document_version: run.document_version.clone(),
        instance_ids: Vec::new(),
        targets: task.targets.clone(),
        parameters: run.parameters.clone(),
        max_concurrency: task.max_concurrency.clone(),
        max_errors: task.max_errors.clone(),
        error_mode: task.error_mode,
        timeout_seconds: run.timeout_seconds,
        comment: run.comment.clone(),
        notification_config: run.notification_config.clone(),
        rollout_plan: task.rollout_plan.clone(),
        waves: None,
    }
}
