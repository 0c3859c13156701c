//! Executions of automations and state machines.
//!
//! The row of a workflow is the lock for everything that happens to it: frames, steps, history and
//! inbox change only while it is held. What happens elsewhere (a call ends, somebody signals) is put
//! into the inbox, which takes no lock, and applied by whoever holds the row next.

use jiff::Timestamp;
use patchwave_schemas::WorkflowId;
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, get, instant, millis, optional_instant, parsed, sql};

mod frames;
mod history;
mod inbox;
mod steps;

pub use frames::StoredFrame;
pub use history::StoredEvent;
pub use inbox::{Letter, hint};
pub use steps::StoredStep;

/// Which engine an execution belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A runbook of SSM Automation.
    Automation,
    /// A machine of the Amazon States Language.
    StateMachine,
    /// A window's task that makes one call for each target.
    FanOut,
}

impl Kind {
    /// As it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automation => "automation",
            Self::StateMachine => "state-machine",
            Self::FanOut => "fan-out",
        }
    }

    fn of(text: &str) -> Option<Self> {
        [Self::Automation, Self::StateMachine, Self::FanOut].into_iter().find(|kind| kind.name() == text)
    }
}

/// One execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workflow {
    /// Its id, derived from what names it.
    pub workflow_id: WorkflowId,
    /// Which engine.
    pub kind: Kind,
    /// The state machine or document.
    pub definition_name: String,
    /// The document's version or the machine's revision.
    pub definition_version: String,
    /// The text it began with.
    pub definition_id: String,
    /// Name of the execution; unique for a state machine.
    pub name: String,
    /// In the words of its API.
    pub status: String,
    /// JSON text.
    pub input: String,
    /// JSON text, once it succeeded.
    pub output: Option<String>,
    /// Why it failed, as a name.
    pub error: Option<String>,
    /// And for people.
    pub cause: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The engine's state as JSON; empty for a state machine, which has frames.
    pub state: String,
    /// Events in its history.
    pub history_events: i64,
    /// The call that it answers when it ends.
    pub parent_token: Option<String>,
    /// What else was asked for, as JSON.
    pub record: String,
}

const COLUMNS: &str = "workflow_id, kind, definition_name, definition_version, definition_id, name, status, input, \
     output, error, cause, started_at, ended_at, state, history_events, parent_token, record";

fn workflow_of(row: &AnyRow) -> Result<Workflow, Error> {
    let kind: String = get(row, "kind")?;
    let unknown = || std::io::Error::other(format!("`{kind}` is no kind of workflow"));
    Ok(Workflow {
        workflow_id: parsed(row, "workflow_id")?,
        kind: Kind::of(&kind).ok_or_else(unknown).map_err(Error::corrupt("workflows.kind"))?,
        definition_name: get(row, "definition_name")?,
        definition_version: get(row, "definition_version")?,
        definition_id: get(row, "definition_id")?,
        name: get(row, "name")?,
        status: get(row, "status")?,
        input: get(row, "input")?,
        output: get(row, "output")?,
        error: get(row, "error")?,
        cause: get(row, "cause")?,
        started_at: instant(get(row, "started_at")?),
        ended_at: optional_instant(row, "ended_at")?,
        state: get(row, "state")?,
        history_events: get(row, "history_events")?,
        parent_token: get(row, "parent_token")?,
        record: get(row, "record")?,
    })
}

/// Which executions a list is of.
#[derive(Debug, Clone, Default)]
pub struct WorkflowQuery<'a> {
    /// Of this definition alone.
    pub definition_name: Option<&'a str>,
    /// In this status alone.
    pub status: Option<&'a str>,
    /// After this one, newest first: its start in milliseconds, and its id.
    pub after: Option<(i64, &'a str)>,
    /// At most so many.
    pub limit: u32,
}

impl Tx {
    /// Stores an execution and the text it is of; `false` when there is one of this id, which stays.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_workflow(&mut self, one: &Workflow, definition: &str) -> Result<bool, Error> {
        self.keep_definition(&one.definition_id, definition).await?;
        sqlx::query(
            "INSERT INTO workflows (workflow_id, kind, definition_name, definition_version, definition_id, name,
                 status, input, output, error, cause, started_at, ended_at, state, history_events, parent_token, record)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             ON CONFLICT (workflow_id) DO NOTHING",
        )
        .bind(one.workflow_id.to_string())
        .bind(one.kind.name())
        .bind(&one.definition_name)
        .bind(&one.definition_version)
        .bind(&one.definition_id)
        .bind(&one.name)
        .bind(&one.status)
        .bind(&one.input)
        .bind(one.output.as_deref())
        .bind(one.error.as_deref())
        .bind(one.cause.as_deref())
        .bind(millis(one.started_at))
        .bind(one.ended_at.map(millis))
        .bind(&one.state)
        .bind(one.history_events)
        .bind(one.parent_token.as_deref())
        .bind(&one.record)
        .execute(self.connection())
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(Error::doing("store a workflow"))
    }

    /// Keeps the text of a definition under its hash.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn keep_definition(&mut self, definition_id: &str, content: &str) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO workflow_definitions (definition_id, content) VALUES ($1, $2)
             ON CONFLICT (definition_id) DO NOTHING",
        )
        .bind(definition_id)
        .bind(content)
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("keep a definition"))
    }

    /// Reads an execution, locking it until the transaction ends.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_workflow(&mut self, id: WorkflowId) -> Result<Option<Workflow>, Error> {
        let text = format!("SELECT {COLUMNS} FROM workflows WHERE workflow_id = $1{}", self.dialect().for_update());
        let row = sqlx::query(sql(text))
            .bind(id.to_string())
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("lock a workflow"))?;
        row.as_ref().map(workflow_of).transpose()
    }

    /// Stores what may change of an execution. The caller holds its row.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn save_workflow(&mut self, one: &Workflow) -> Result<(), Error> {
        sqlx::query(
            "UPDATE workflows SET status = $2, output = $3, error = $4, cause = $5, ended_at = $6, state = $7,
                 history_events = $8, record = $9 WHERE workflow_id = $1",
        )
        .bind(one.workflow_id.to_string())
        .bind(&one.status)
        .bind(one.output.as_deref())
        .bind(one.error.as_deref())
        .bind(one.cause.as_deref())
        .bind(one.ended_at.map(millis))
        .bind(&one.state)
        .bind(one.history_events)
        .bind(&one.record)
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("save a workflow"))
    }

    /// The text of a definition.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn workflow_definition(&mut self, definition_id: &str) -> Result<Option<String>, Error> {
        sqlx::query("SELECT content FROM workflow_definitions WHERE definition_id = $1")
            .bind(definition_id)
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a definition"))?
            .map(|row| get(&row, "content"))
            .transpose()
    }
}

impl Store {
    /// Reads an execution.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn workflow(&self, id: WorkflowId) -> Result<Option<Workflow>, Error> {
        let row = sqlx::query(sql(format!("SELECT {COLUMNS} FROM workflows WHERE workflow_id = $1")))
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a workflow"))?;
        row.as_ref().map(workflow_of).transpose()
    }

    /// The text of a definition.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn workflow_definition(&self, definition_id: &str) -> Result<Option<String>, Error> {
        sqlx::query("SELECT content FROM workflow_definitions WHERE definition_id = $1")
            .bind(definition_id)
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a definition"))?
            .map(|row| get(&row, "content"))
            .transpose()
    }

    /// Lists executions of one kind, newest first.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn workflows(&self, kind: Kind, query: &WorkflowQuery<'_>) -> Result<Vec<Workflow>, Error> {
        let (at, id) = query.after.unwrap_or((i64::MAX, ""));
        sqlx::query(sql(format!(
            "SELECT {COLUMNS} FROM workflows
             WHERE kind = $1 AND ($2 = '' OR definition_name = $2) AND ($3 = '' OR status = $3)
               AND (started_at < $4 OR (started_at = $4 AND workflow_id < $5))
             ORDER BY started_at DESC, workflow_id DESC LIMIT $6"
        )))
        .bind(kind.name())
        .bind(query.definition_name.unwrap_or_default())
        .bind(query.status.unwrap_or_default())
        .bind(at)
        .bind(id)
        .bind(i64::from(query.limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("list workflows"))?
        .iter()
        .map(workflow_of)
        .collect()
    }
}
