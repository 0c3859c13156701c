//! Steps of an automation's execution, as people are shown them. Nothing is decided by them.

use patchwave_schemas::WorkflowId;
use sqlx::any::AnyRow;

use super::super::{Error, Store, Tx, get};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredStep {
    /// SSM's `StepExecutionId`.
    pub step_id: String,
    /// Its place in time.
    pub ordinal: i64,
    /// SSM's `StepStatus`.
    pub status: String,
    /// JSON of the whole record.
    pub record: String,
}

fn step_of(row: &AnyRow) -> Result<StoredStep, Error> {
    Ok(StoredStep {
        step_id: get(row, "step_id")?,
        ordinal: get(row, "ordinal")?,
        status: get(row, "status")?,
        record: get(row, "record")?,
    })
}

impl Tx {
    /// Stores a step, new or changed. The caller holds the execution's row.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_workflow_step(&mut self, id: WorkflowId, step: &StoredStep) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO workflow_steps (workflow_id, step_id, ordinal, status, record) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (workflow_id, step_id) DO UPDATE SET status = excluded.status, record = excluded.record",
        )
        .bind(id.to_string())
        .bind(&step.step_id)
        .bind(step.ordinal)
        .bind(&step.status)
        .bind(&step.record)
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a step"))
    }
}

impl Store {
    /// The steps of an execution after one of them, in their order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn workflow_steps(&self, id: WorkflowId, after: i64, limit: u32) -> Result<Vec<StoredStep>, Error> {
        sqlx::query(
            "SELECT step_id, ordinal, status, record FROM workflow_steps WHERE workflow_id = $1 AND ordinal > $2
             ORDER BY ordinal LIMIT $3",
        )
        .bind(id.to_string())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read steps"))?
        .iter()
        .map(step_of)
        .collect()
    }
}
