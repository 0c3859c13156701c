//! From a request to a stored command: which nodes, which baseline, which limits.
//!
//! The one way into a rollout, for SendCommand, Patch Now, `command.requested` and a window's tasks.
//! It stores; it releases nothing: the outbox message it leaves makes the dispatcher do that.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::access::NodePolicy;
use patchwave_engine::documents::{self, Definition, DocumentError, HOOKS, Parameters, RUN_PATCH_BASELINE_WITH_HOOKS};
use patchwave_engine::limits::{DEFAULT_CONCURRENCY, DEFAULT_ERRORS, Limit, LimitError};
use patchwave_engine::patch_now::{self, PatchNowError};
use patchwave_engine::rollout::Rollout;
use patchwave_engine::rollout::plan::{self, PLAN_TAG, PlanError};
use patchwave_engine::rollout::waves::Waves;
use patchwave_engine::targets::{TargetError, TargetNode, TargetSpec, patch_group, stable_order};
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::command::RenderedDocument;
use patchwave_schemas::event::{CommandRequested, RolloutStarted, Target, Timer};
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::patch_now::PatchRequested;
use patchwave_schemas::waves::RolloutPlan;
use patchwave_schemas::{CommandId, NodeId, TaskExecutionId, WindowExecutionId};

use crate::Class;
use crate::calendars;
use crate::store::baselines::Baseline;
use crate::store::commands::{NewCommand, Plan};
use crate::store::documents::VersionSelector;
use crate::store::invocations::NewInvocation;
use crate::store::nodes::Candidate;
use crate::store::outbox::OutboxMessage;
use crate::store::tags::Taggable;
use crate::store::{Error, Tx};

/// Node ids that SendCommand takes at most (SSM).
const INSTANCE_IDS_MAX: usize = 50;
/// Characters of a comment at most (SSM).
const COMMENT_CHARS_MAX: usize = 100;
/// Delivery timeout when none is given, in seconds (SSM).
const DELIVERY_SECONDS: u32 = 3_600;
/// Time between two looks at a rollout, the first one after it was stored included: also how late a
/// deadline may be noticed.
pub const CHECK_EVERY: SignedDuration = SignedDuration::from_secs(15);
/// Silence after which a node counts as lost: three heartbeats of five minutes.
pub const SILENT_FOR: SignedDuration = SignedDuration::from_mins(15);
/// Invocations above which fresh statistics pay for themselves on PostgreSQL.
const ANALYZE_FROM: usize = 500;

/// A command that is to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Its id; launching the same id twice launches once.
    pub command_id: CommandId,
    /// What is asked for.
    pub request: CommandRequested,
    /// The window task it belongs to.
    pub window: Option<WindowLink>,
}

/// The window task that a command belongs to.
#[derive(Debug, Clone)]
pub struct WindowLink {
    /// The firing.
    pub window_execution_id: WindowExecutionId,
    /// Its task.
    pub task_execution_id: TaskExecutionId,
    /// Which nodes: any of these target sets. Replaces the targets of the request.
    pub target_sets: Vec<Vec<Target>>,
    /// No invocation starts after this: the cutoff, for `CANCEL_TASK`.
    pub start_before: Option<Timestamp>,
}

/// A command that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// The request as it is stored.
    pub request: CommandRequested,
    /// Its rollout as planned.
    pub rollout: Rollout,
    /// To be flushed after the commit.
    pub messages: Vec<OutboxMessage>,
    /// Whether it had been stored before; then nothing was changed.
    pub repeated: bool,
}

/// Why a command cannot be started. SSM's error codes are told apart by variant.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The document or its parameters.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// `MaxConcurrency` or `MaxErrors`.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// `Targets` or `InstanceIds`.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A node that was named does not exist.
    #[error("InstanceIds names `{node}`, which is not a managed node")]
    UnknownNode {
        /// The node.
        node: String,
    },
    /// A node that was named twice.
    #[error("InstanceIds names `{node}` more than once")]
    DuplicateNode {
        /// The node.
        node: String,
    },
    /// A node that was named is not one of those that the caller may act on.
    #[error("InstanceIds names `{node}`, which is outside the tags that this access key is limited to")]
    OutsidePolicy {
        /// The node.
        node: String,
    },
    /// The rollout plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Another field.
    #[error("{field} is `{value}`; allowed is {allowed}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would have been accepted.
        allowed: &'static str,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

impl LaunchError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            _ => Class::Rejected,
        }
    }
}

/// Checks a request, resolves its targets and baselines and stores the command.
///
/// # Errors
/// [`LaunchError`]; the caller drops the transaction.
pub async fn launch(tx: &mut Tx, launch: Launch, now: Timestamp) -> Result<Launched, LaunchError> {
    launch_within(tx, launch, None, now).await
}

/// Starts what Patch Now asks for: as [`launch_within()`], with limits by the number of nodes where
/// the caller gave none, which are stored as if they had been asked for.
///
/// # Errors
/// As [`launch_within()`], and [`LaunchError::Field`] for a request that says all and some nodes, or
/// names hooks that cannot run.
pub async fn launch_patch(
    tx: &mut Tx,
    command_id: CommandId,
    asked: &PatchRequested,
    only: Option<&NodePolicy>,
    now: Timestamp,
) -> Result<Launched, LaunchError> {
    let request = patch_now::command(asked).map_err(|PatchNowError { field, value, allowed }| LaunchError::Field {
        field,
        value,
        allowed,
    })?;
    launch_with(tx, Launch { command_id, request, window: None }, only, Some(asked), now).await
}

/// As [`launch()`], for whoever may act on some nodes only: targets are narrowed to the nodes that the
/// policy allows at this moment, and a node that is named must be one of them.
///
/// # Errors
/// As [`launch()`], and [`LaunchError::OutsidePolicy`].
pub async fn launch_within(
    tx: &mut Tx,
    launch: Launch,
    only: Option<&NodePolicy>,
    now: Timestamp,
) -> Result<Launched, LaunchError> {
    launch_with(tx, launch, only, None, now).await
}

async fn launch_with(
    tx: &mut Tx,
    mut launch: Launch,
    only: Option<&NodePolicy>,
    patch: Option<&PatchRequested>,
    now: Timestamp,
) -> Result<Launched, LaunchError> {
    let request = &launch.request;
    let document = render(tx, request).await?;
    let concurrency = request.max_concurrency.as_deref().map(Limit::concurrency).transpose()?;
    let errors = request.max_errors.as_deref().map(Limit::errors).transpose()?;
    check_fields(request)?;

    let everybody = patch.is_some_and(|asked| asked.all_nodes);
    let nodes = match &launch.window {
        Some(link) => resolve_sets(tx, &link.target_sets).await?,
        None if everybody => tx.candidates(None).await?,
        None => resolve_request(tx, request).await?,
    };
    let nodes = match only {
        // Nobody was named who might be outside it.
        Some(policy) if everybody => nodes.into_iter().filter(|node| policy.allows(&node.tags)).collect(),
        Some(policy) => within(tx, nodes, policy, request).await?,
        None => nodes,
    };
    let mut nodes = in_stable_order(nodes, launch.command_id, now);
    let rollout_plan = rollout_plan(tx, request).await?;
    let waves = rollout_plan.and_then(|plan| cut(&mut nodes, &plan));
    let targets = u32::try_from(nodes.len()).map_err(|_| LaunchError::Field {
        field: "Targets",
        value: nodes.len().to_string(),
        allowed: "up to 4294967295 nodes",
    })?;

    let by_size = patch.map(|asked| patch_now::limits(asked.operation, targets));
    let concurrency = concurrency.or(by_size.map(|limits| limits.concurrency)).unwrap_or(DEFAULT_CONCURRENCY);
    let errors = errors.or(by_size.map(|limits| limits.errors)).unwrap_or(DEFAULT_ERRORS);
    if by_size.is_some() {
        launch.request.max_concurrency = Some(concurrency.to_string());
        launch.request.max_errors = Some(errors.to_string());
    }
    let request = &launch.request;
    let held = waves.as_ref().map_or(0, Waves::held);
    let rollout = Rollout::plan(targets, concurrency, errors, request.error_mode).holding(held);
    let stored = Plan {
        rollout,
        cursor: 0,
        waves,
        may_reboot: documents::may_reboot(&document),
        delivery_seconds: request.timeout_seconds.unwrap_or(DELIVERY_SECONDS),
        execution_seconds: documents::execution_seconds(&document),
        start_before: launch.window.as_ref().and_then(|link| link.start_before),
        notify: request.notification_config.clone(),
        window_execution_id: launch.window.as_ref().map(|link| link.window_execution_id),
        task_execution_id: launch.window.as_ref().map(|link| link.task_execution_id),
    };
    let needs_baseline = documents::needs_baseline(&document);
    let new = NewCommand {
        command_id: launch.command_id,
        request: request.clone(),
        requested_at: now,
        document,
        plan: stored,
    };
    let mut baselines = Baselines::default();
    let mut invocations = Vec::with_capacity(nodes.len());
    for (ordinal, node) in (0_i64..).zip(nodes) {
        let baseline_key = if needs_baseline { baselines.key_for(tx, &node).await? } else { None };
        invocations.push(NewInvocation { node_id: node.node_id, ordinal, baseline_key });
    }
    if !tx.add_command(&new).await? {
        return Ok(Launched { request: new.request, rollout, messages: Vec::new(), repeated: true });
    }
    let snapshots = baselines.snapshots(&snapshot_id(&new));
    tx.add_command_baselines(launch.command_id, &snapshots).await?;
    tx.add_invocations(launch.command_id, &invocations).await?;
    if invocations.len() >= ANALYZE_FROM {
        tx.analyze_invocations().await?;
    }

    // Should the event below be lost with its broker, the first check starts the rollout.
    tx.set_timer(&Timer::RolloutCheck { command_id: launch.command_id }, now + CHECK_EVERY).await?;
    let id = derived_uuid("rollout started:", &launch.command_id.to_string());
    let started =
        OutboxMessage::event(id, "/patchwave/resolver", now, RolloutStarted { command_id: launch.command_id });
    let messages = vec![started];
    tx.enqueue(&messages, now).await?;
    Ok(Launched { request: new.request, rollout, messages, repeated: false })
}

/// Finds the document, built in or the operator's own, and fills in its parameters.
async fn render(tx: &mut Tx, request: &CommandRequested) -> Result<RenderedDocument, LaunchError> {
    let (name, version) = (&request.document_name, request.document_version.as_deref());
    if name != RUN_PATCH_BASELINE_WITH_HOOKS {
        return render_one(tx, name, version, &request.parameters).await;
    }
    let names = documents::hook_documents(&request.parameters)?;
    let mut hooks = Vec::with_capacity(names.len());
    for ((parameter, _), hook) in HOOKS.iter().zip(&names) {
        // A hook has no parameters: those of the patching are not its own.
        let rendered = match hook.as_str() {
            RUN_PATCH_BASELINE_WITH_HOOKS => Err(DocumentError::Unknown { name: hook.clone() }.into()),
            hook => render_one(tx, hook, None, &Parameters::new()).await,
        };
        hooks.push(rendered.map_err(|error| match error {
            LaunchError::Document(problem) => LaunchError::Document(DocumentError::Parameter {
                document: name.clone(),
                parameter: (*parameter).to_owned(),
                problem: problem.to_string(),
            }),
            other => other,
        })?);
    }
    let hooks = hooks.try_into().unwrap_or_else(|_| unreachable!("there are as many hooks as names of them"));
    Ok(documents::render_with_hooks(&request.parameters, hooks)?)
}

async fn render_one(
    tx: &mut Tx,
    name: &str,
    version: Option<&str>,
    parameters: &Parameters,
) -> Result<RenderedDocument, LaunchError> {
    if documents::find(name).is_some() {
        return Ok(documents::render(name, version, parameters)?);
    }
    let Some(found) = tx.document_version(name, VersionSelector::of(version)).await? else {
        let Some(document) = tx.lock_document(name).await? else {
            return Err(DocumentError::Unknown { name: name.to_owned() }.into());
        };
        return Err(DocumentError::UnknownVersion {
            name: name.to_owned(),
            version: version.unwrap_or_default().to_owned(),
            known: format!("numbers up to {}", document.latest_version),
        }
        .into());
    };
    if found.format == calendars::FORMAT {
        return Err(LaunchError::Field {
            field: "DocumentName",
            value: name.to_owned(),
            allowed: "the name of a Command document, which this change calendar is not",
        });
    }
    let (name, parameters) = (name.to_owned(), parameters.clone());
    // Compiling the patterns that values are checked against may take a second.
    let rendered = tokio::task::spawn_blocking(move || {
        let definition =
            Definition::stored(&found.definition).map_err(Error::corrupt("document_versions.definition"))?;
        let number = found.version.to_string();
        Ok(documents::render_own(&definition, &name, &number, found.content.len(), &parameters)?)
    });
    rendered.await.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()))
}

fn check_fields(request: &CommandRequested) -> Result<(), LaunchError> {
    let timeout = request.timeout_seconds.unwrap_or(DELIVERY_SECONDS);
    if !(30..=2_592_000).contains(&timeout) {
        return Err(LaunchError::Field {
            field: "TimeoutSeconds",
            value: timeout.to_string(),
            allowed: "30 to 2592000 seconds",
        });
    }
    match &request.comment {
        Some(comment) if comment.chars().count() > COMMENT_CHARS_MAX => {
            Err(LaunchError::Field { field: "Comment", value: comment.clone(), allowed: "up to 100 characters" })
        }
        _ => Ok(()),
    }
}

/// The nodes that a policy allows. One that was named by its id, in `InstanceIds` or in a target, and
/// is not allowed is refused and not passed over, whatever else the targets ask of it: the number of
/// nodes that a command is for would otherwise tell its tags.
async fn within(
    tx: &mut Tx,
    mut nodes: Vec<Candidate>,
    policy: &NodePolicy,
    request: &CommandRequested,
) -> Result<Vec<Candidate>, LaunchError> {
    let mut named: Vec<NodeId> = request.instance_ids.iter().filter_map(|text| text.parse().ok()).collect();
    if !request.targets.is_empty() {
        named.extend(TargetSpec::parse(&request.targets)?.ids().cloned());
    }
    if !named.is_empty() {
        let found = tx.candidates(Some(&named)).await?;
        let allowed = |id: &NodeId| found.iter().any(|node| node.node_id == *id && policy.allows(&node.tags));
        if let Some(outside) = named.iter().find(|id| !allowed(id)) {
            return Err(LaunchError::OutsidePolicy { node: outside.to_string() });
        }
    }
    nodes.retain(|node| policy.allows(&node.tags));
    Ok(nodes)
}

/// Nodes by id must all exist, as in SSM; nodes by target are those that match.
async fn resolve_request(tx: &mut Tx, request: &CommandRequested) -> Result<Vec<Candidate>, LaunchError> {
    let count = request.instance_ids.len();
    let problem = |value: String, allowed| Err(LaunchError::Field { field: "InstanceIds", value, allowed });
    match (count, request.targets.is_empty()) {
        (0, true) => return problem(String::new(), "InstanceIds or Targets, one of which is needed"),
        (0, false) => return resolve_sets(tx, std::slice::from_ref(&request.targets)).await,
        (_, false) => return problem(format!("{count} ids"), "InstanceIds or Targets, but not both"),
        (INSTANCE_IDS_MAX.., true) if count > INSTANCE_IDS_MAX => {
            return problem(format!("{count} ids"), "up to 50 ids; use Targets for more");
        }
        _ => {}
    }
    let mut named = Vec::with_capacity(count);
    let mut seen = BTreeSet::new();
    for text in &request.instance_ids {
        let node: NodeId = text.parse().map_err(|_| LaunchError::UnknownNode { node: text.clone() })?;
        if !seen.insert(node.clone()) {
            return Err(LaunchError::DuplicateNode { node: text.clone() });
        }
        named.push(node);
    }
    let found = tx.candidates(Some(&named)).await?;
    match named.iter().find(|node| found.iter().all(|candidate| candidate.node_id != **node)) {
        Some(missing) => Err(LaunchError::UnknownNode { node: missing.to_string() }),
        None => Ok(found),
    }
}

/// Ids of the nodes that any of the sets matches, in an order that differs for each `salt`.
///
/// # Errors
/// [`LaunchError`]; the caller drops the transaction.
pub async fn nodes_of(
    tx: &mut Tx,
    sets: &[Vec<Target>],
    salt: CommandId,
    now: Timestamp,
) -> Result<Vec<NodeId>, LaunchError> {
    let nodes = resolve_sets(tx, sets).await?;
    Ok(in_stable_order(nodes, salt, now).into_iter().map(|node| node.node_id).collect())
}

/// The nodes that any of the sets matches.
async fn resolve_sets(tx: &mut Tx, sets: &[Vec<Target>]) -> Result<Vec<Candidate>, LaunchError> {
    let specs = sets.iter().map(|set| TargetSpec::parse(set)).collect::<Result<Vec<_>, _>>()?;
    let groups = tx.resource_groups().await?;
    let matches = |candidate: &Candidate| {
        let node =
            TargetNode { id: &candidate.node_id, tags: &candidate.tags, operating_system: candidate.operating_system };
        specs.iter().any(|spec| spec.matches(&node, &groups))
    };
    // Read once, whatever the number of sets: those named where every set names its nodes, or all.
    let named: Option<BTreeSet<NodeId>> =
        specs.iter().map(TargetSpec::named_nodes).try_fold(BTreeSet::new(), |mut all, named| {
            all.extend(named?.iter().cloned());
            Some(all)
        });
    let named: Option<Vec<_>> = named.map(|named| named.into_iter().collect());
    let mut candidates = tx.candidates(named.as_deref()).await?;
    candidates.retain(matches);
    Ok(candidates)
}

/// The plan that cuts a rollout into waves: given with the request, named by it, or named by a tag of
/// its document, in this order.
async fn rollout_plan(tx: &mut Tx, request: &CommandRequested) -> Result<Option<RolloutPlan>, LaunchError> {
    let name = match (&request.waves, &request.rollout_plan) {
        (Some(_), Some(name)) => {
            let allowed = "RolloutPlan or Waves, but not both";
            return Err(LaunchError::Field { field: "RolloutPlan", value: name.clone(), allowed });
        }
        (Some(given), None) => {
            plan::check(given)?;
            return Ok(Some(given.clone()));
        }
        (None, Some(name)) => name.clone(),
        (None, None) => match tx.tags(Taggable::Document, &request.document_name).await?.remove(PLAN_TAG) {
            Some(name) => name,
            None => return Ok(None),
        },
    };
    let missing = LaunchError::Field {
        field: "RolloutPlan",
        value: name.clone(),
        allowed: "the name of a rollout plan; `patchwave rollout-plan list` has them",
    };
    tx.rollout_plan(&name).await?.ok_or(missing).map(Some)
}

/// Puts the nodes of each wave together; within a wave their order stays.
fn cut(nodes: &mut Vec<Candidate>, plan: &RolloutPlan) -> Option<Waves> {
    let keys: Vec<_> = nodes.iter().map(|node| (&node.node_id, &node.tags)).collect();
    let assigned = plan::assign(plan, &keys);
    let waves = Waves::plan(plan::waves(plan, &assigned));
    let mut numbered: Vec<_> = assigned.into_iter().zip(std::mem::take(nodes)).collect();
    numbered.sort_by_key(|(wave, _)| *wave);
    nodes.extend(numbered.into_iter().map(|(_, node)| node));
    waves
}

/// A different but repeatable order for each command, so that it is not always the same nodes that
/// meet a bad patch first. Nodes that are known to be away come last: they hold nothing up.
fn in_stable_order(mut nodes: Vec<Candidate>, command: CommandId, now: Timestamp) -> Vec<Candidate> {
    let salt = command.to_string();
    let is_away = |node: &Candidate| !node.is_connected || now.duration_since(node.last_contact_at) > SILENT_FOR;
    nodes.sort_by_cached_key(|node| (is_away(node), stable_order(&node.node_id, &salt), node.node_id.clone()));
    nodes
}

/// SSM's `SnapshotId`: given, or the same for everything of one window execution.
fn snapshot_id(command: &NewCommand) -> String {
    let given = command.request.parameters.get("SnapshotId").and_then(|values| values.first());
    match (given, command.plan.window_execution_id) {
        (Some(id), _) if !id.is_empty() => id.clone(),
        (_, Some(execution)) => execution.to_string(),
        _ => command.command_id.to_string(),
    }
}

/// The baselines that a command's nodes use, each read once.
#[derive(Default)]
struct Baselines {
    by_group: HashMap<(String, OperatingSystem), Option<String>>,
    frozen: BTreeMap<String, (String, Baseline)>,
}

impl Baselines {
    async fn key_for(&mut self, tx: &mut Tx, node: &Candidate) -> Result<Option<String>, Error> {
        let group = patch_group(&node.tags).unwrap_or_default().to_owned();
        let key = (group, node.operating_system);
        if let Some(known) = self.by_group.get(&key) {
            return Ok(known.clone());
        }
        let baseline = tx.baseline_for(&key.0, key.1).await?;
        let name = baseline.map(|baseline| {
            let name = format!("{}/{}", baseline.baseline_id, key.0);
            self.frozen.insert(name.clone(), (key.0.clone(), baseline));
            name
        });
        self.by_group.insert(key, name.clone());
        Ok(name)
    }

    fn snapshots(self, snapshot_id: &str) -> Vec<(String, BaselineSnapshot)> {
        self.frozen
            .into_iter()
            .map(|(key, (patch_group, baseline))| {
                let snapshot = BaselineSnapshot {
                    snapshot_id: snapshot_id.to_owned(),
                    baseline_id: baseline.baseline_id,
                    baseline_version: baseline.baseline_version,
                    name: baseline.name,
                    patch_group,
                    rules: baseline.rules,
                    sources: baseline.sources,
                    install_override: Vec::new(),
                };
                (key, snapshot)
            })
            .collect()
    }
}
