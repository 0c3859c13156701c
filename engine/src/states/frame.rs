//! Frames, what happens to them, and what follows.

use jiff::Timestamp;
use patchwave_schemas::ids::derived_uuid;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::calls::{Call, CallOutcome, Failure};

/// Id of the frame that is the execution itself.
pub const ROOT: &str = "r";

/// One line of control in an execution. Small: what its children hold is theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Unique in the execution; that of a child begins with [`child_prefix`] of its parent's.
    pub id: String,
    /// The frame that waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The visit of its parent's in which it was made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parent_visit: u64,
    /// Its place among its parent's: the branch's or the item's number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub index: u64,
    /// The way to its states: names of Parallel and Map states, and the branch of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) way: Vec<(String, usize)>,
    /// The state it is in; empty before the first.
    pub state: String,
    /// States entered so far. With `attempt` it says which of several events is meant.
    pub visit: u64,
    /// Tries of this state so far, from 1 while it is tried.
    pub attempt: u32,
    /// Retries by each entry of the state's `Retry`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) retries: Vec<u32>,
    /// What it is doing.
    pub phase: Phase,
    /// The raw input of the state it is in.
    pub(super) input: Value,
    /// The variables it sees; those of the frames around it as they were when it began, since they
    /// wait for it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(super) variables: Map<String, Value>,
    /// The number and value of the item it is for, within a Map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<(u64, Value)>,
    /// When it entered the state.
    pub(super) entered_at: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a frame is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "camelCase")]
pub enum Phase {
    /// Nothing yet.
    New,
    /// Going on as soon as it is continued: it has run through many states in one step.
    Passing,
    /// In a Wait state, until then.
    Waiting {
        /// The instant.
        until: Timestamp,
    },
    /// Between two tries of a state, until then.
    Pausing {
        /// The instant.
        until: Timestamp,
    },
    /// Waiting for a call.
    Calling {
        /// Seconds between two signs of life of whoever answers.
        heartbeat_seconds: Option<u64>,
    },
    /// Waiting for branches or iterations.
    Children(Children),
    /// Waiting for what its children came to.
    Collecting,
    /// Over.
    Ended,
}

/// How many branches or iterations are where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Children {
    /// All.
    pub total: u64,
    /// Begun so far; the next one's number.
    pub begun: u64,
    /// The numbers of those that run: an end that is told twice is recognised by them.
    pub running: Vec<u64>,
    /// Running at a time.
    pub at_once: u64,
}

/// What happens to a frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// It begins.
    Start,
    /// An instant has come that it waits for.
    Due {
        /// The visit that waits.
        visit: u64,
        /// And the try.
        attempt: u32,
    },
    /// Its call has ended.
    CallEnded {
        /// The visit that called.
        visit: u64,
        /// And the try.
        attempt: u32,
        /// How.
        outcome: CallOutcome,
    },
    /// Whoever answers its call is still at it.
    Heartbeat {
        /// The visit that called.
        visit: u64,
        /// And the try.
        attempt: u32,
    },
    /// Its call, or the sign of life of whoever answers it, did not come in time.
    TimedOut {
        /// The visit that called.
        visit: u64,
        /// And the try.
        attempt: u32,
        /// Whether it is the sign of life that is missing.
        heartbeat: bool,
    },
    /// A branch or an iteration has ended.
    ChildEnded {
        /// The visit that it belongs to.
        visit: u64,
        /// Its number.
        index: u64,
        /// Why it failed, if it did.
        failure: Option<Failure>,
    },
    /// What its children came to, in their order.
    Collected {
        /// The visit that asked.
        visit: u64,
        /// Their outputs.
        outputs: Vec<Value>,
    },
}

/// What follows from a step. Carried out after the frame is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Make a call. Its token is [`Context::token`]'s.
    Call {
        /// Names the call.
        visit: u64,
        /// Likewise.
        attempt: u32,
        /// What is asked.
        call: Call,
        /// Whether its answer does not end the task: whoever has the token does.
        by_token: bool,
        /// When it is given up.
        timeout_at: Option<Timestamp>,
        /// When a sign of life is due.
        heartbeat_at: Option<Timestamp>,
    },
    /// A sign of life came; the next one is due then.
    HeartbeatBy {
        /// The call's visit.
        visit: u64,
        /// And try.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// A call is wanted no more.
    Cancel {
        /// The call's visit.
        visit: u64,
        /// And try.
        attempt: u32,
    },
    /// Send [`Event::Due`] then.
    WakeAt {
        /// For the event.
        visit: u64,
        /// Likewise.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// Store these frames and start each.
    Spawn(Vec<Frame>),
    /// End the children of this visit, whatever they are doing, and forget them.
    StopChildren {
        /// The visit.
        visit: u64,
    },
    /// Send [`Event::Collected`].
    Collect {
        /// For the event.
        visit: u64,
    },
    /// Forget the children of this visit: what they came to was collected.
    Forget {
        /// The visit.
        visit: u64,
    },
    /// Add to the history: an event in the shape of GetExecutionHistory.
    History(Value),
    /// The frame is over; send [`Event::ChildEnded`] to its parent, or end the execution.
    Ended(Result<Value, Failure>),
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The frame as it is now.
    pub frame: Frame,
    /// What follows, in this order.
    pub effects: Vec<Effect>,
}

/// What a step may know besides frame and event.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The instant.
    pub now: Timestamp,
    /// The execution's id or ARN, for `$$.Execution.Id`.
    pub execution_id: &'a str,
    /// Its name.
    pub execution_name: &'a str,
    /// When it began.
    pub started_at: Timestamp,
    /// What it was given.
    pub input: &'a Value,
    /// The role it was given; recorded only.
    pub role_arn: &'a str,
    /// The state machine's id or ARN.
    pub state_machine_id: &'a str,
    /// Its name.
    pub state_machine_name: &'a str,
}

impl Context<'_> {
    /// The token of a frame's call: the same in every replay, and another for each try.
    #[must_use]
    pub fn token(&self, frame_id: &str, visit: u64, attempt: u32) -> String {
        derived_uuid("task token:", &format!("{}/{frame_id}/{visit}/{attempt}", self.execution_id)).to_string()
    }

    /// A number that follows from where in the execution it is drawn.
    pub(super) fn seed(&self, frame: &Frame) -> u64 {
        let cause = format!("{}/{}/{}/{}", self.execution_id, frame.id, frame.visit, frame.attempt);
        derived_uuid("draw:", &cause).as_u64_pair().0
    }

    /// The context object of a frame.
    pub(super) fn object(&self, frame: &Frame) -> Value {
        let mut object = json!({
            "Execution": {
                "Id": self.execution_id,
                "Input": self.input,
                "Name": self.execution_name,
                "RoleArn": self.role_arn,
                "StartTime": self.started_at,
                "RedriveCount": 0,
            },
            "State": {
                "EnteredTime": frame.entered_at,
                "Name": frame.state,
                "RetryCount": frame.attempt.saturating_sub(1),
            },
            "StateMachine": { "Id": self.state_machine_id, "Name": self.state_machine_name },
            "Task": { "Token": self.token(&frame.id, frame.visit, frame.attempt) },
        });
        if let Some((index, value)) = &frame.item {
            object["Map"] = json!({ "Item": { "Index": index, "Value": value } });
        }
        object
    }
}

/// The frame of an execution that is to begin.
#[must_use]
pub fn root(input: Value, now: Timestamp) -> Frame {
    Frame {
        id: ROOT.to_owned(),
        parent: None,
        parent_visit: 0,
        index: 0,
        way: Vec::new(),
        state: String::new(),
        visit: 0,
        attempt: 0,
        retries: Vec::new(),
        phase: Phase::New,
        input,
        variables: Map::new(),
        item: None,
        entered_at: now,
    }
}

/// What the ids of a frame's children of one visit begin with, and those of their children.
#[must_use]
pub fn child_prefix(frame_id: &str, visit: u64) -> String {
    format!("{frame_id}/{visit}.")
}

impl Frame {
    /// A child of this visit.
    pub(super) fn child(&self, index: u64, branch: usize, input: Value, item: Option<Value>) -> Self {
        let mut way = self.way.clone();
        way.push((self.state.clone(), branch));
        Self {
            id: format!("{}{index}", child_prefix(&self.id, self.visit)),
            parent: Some(self.id.clone()),
            parent_visit: self.visit,
            index,
            way,
            state: String::new(),
            visit: 0,
            attempt: 0,
            retries: Vec::new(),
            phase: Phase::New,
            input,
            variables: self.variables.clone(),
            item: item.map(|value| (index, value)).or_else(|| self.item.clone()),
            entered_at: self.entered_at,
        }
    }

    /// The event that tells its parent of its end.
    #[must_use]
    pub fn child_ended(&self, failure: Option<Failure>) -> Event {
        Event::ChildEnded { visit: self.parent_visit, index: self.index, failure }
    }
}
