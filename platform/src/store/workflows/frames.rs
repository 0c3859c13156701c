//! Frames of a state machine's execution. What one holds is its engine's business.

use patchwave_schemas::WorkflowId;
use sqlx::any::AnyRow;

use super::super::{Column, Error, Tx, get, sql, to_json};

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoredFrame {
    /// Unique in its execution.
    pub frame_id: String,
    /// The frame that waits for it; empty for the first.
    pub parent_id: String,
    /// Its place among its parent's.
    pub ordinal: i64,
    /// Whether it has ended: 0 or 1.
    pub ended: i64,
    /// JSON of the engine's frame.
    pub frame: String,
    /// JSON of what it came to.
    pub output: Option<String>,
}

const COLUMNS: &[(&str, Column)] = &[
    ("frame_id", Column::Text),
    ("parent_id", Column::Text),
    ("ordinal", Column::Int),
    ("ended", Column::Int),
    ("frame", Column::Text),
    ("output", Column::Text),
];

fn frame_of(row: &AnyRow) -> Result<StoredFrame, Error> {
    Ok(StoredFrame {
        frame_id: get(row, "frame_id")?,
        parent_id: get(row, "parent_id")?,
        ordinal: get(row, "ordinal")?,
        ended: get(row, "ended")?,
        frame: get(row, "frame")?,
        output: get(row, "output")?,
    })
}

impl Tx {
    /// Reads one frame. The caller holds the execution's row.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn workflow_frame(&mut self, id: WorkflowId, frame_id: &str) -> Result<Option<StoredFrame>, Error> {
        let row = sqlx::query(
            "SELECT frame_id, parent_id, ordinal, ended, frame, output FROM workflow_frames
             WHERE workflow_id = $1 AND frame_id = $2",
        )
        .bind(id.to_string())
        .bind(frame_id)
        .fetch_optional(self.connection())
        .await
        .map_err(Error::doing("read a frame"))?;
        row.as_ref().map(frame_of).transpose()
    }

    /// The frames that have not ended, with all that stands in one of them.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open_workflow_frames(&mut self, id: WorkflowId, limit: u32) -> Result<Vec<StoredFrame>, Error> {
        sqlx::query(
            "SELECT frame_id, parent_id, ordinal, ended, frame, output FROM workflow_frames
             WHERE workflow_id = $1 AND ended = 0 ORDER BY frame_id LIMIT $2",
        )
        .bind(id.to_string())
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read the frames that are open"))?
        .iter()
        .map(frame_of)
        .collect()
    }

    /// Stores frames, new or changed. The caller holds the execution's row.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_workflow_frames(&mut self, id: WorkflowId, frames: &[StoredFrame]) -> Result<(), Error> {
        if frames.is_empty() {
            return Ok(());
        }
        let source = self.dialect().rows("r", 2, COLUMNS);
        sqlx::query(sql(format!(
            "INSERT INTO workflow_frames (workflow_id, frame_id, parent_id, ordinal, ended, frame, output)
             SELECT $1, r.frame_id, r.parent_id, r.ordinal, r.ended, r.frame, r.output FROM {source} WHERE true
             ON CONFLICT (workflow_id, frame_id) DO UPDATE
             SET ended = excluded.ended, frame = excluded.frame, output = excluded.output"
        )))
        .bind(id.to_string())
        .bind(to_json(frames))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store frames"))
    }

    /// What the children of a frame came to whose ids begin with `prefix`, in their order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn workflow_outputs(
        &mut self,
        id: WorkflowId,
        parent_id: &str,
        prefix: &str,
    ) -> Result<Vec<(i64, String)>, Error> {
        sqlx::query(
            "SELECT ordinal, output FROM workflow_frames
             WHERE workflow_id = $1 AND parent_id = $2 AND output IS NOT NULL AND substr(frame_id, 1, length($3)) = $3
             ORDER BY ordinal",
        )
        .bind(id.to_string())
        .bind(parent_id)
        .bind(prefix)
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read the outputs of frames"))?
        .iter()
        .map(|row| Ok((get(row, "ordinal")?, get(row, "output")?)))
        .collect()
    }

    /// Forgets the frames below one whose ids begin with `prefix`: its outcome is in its parent now.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget_workflow_frames(&mut self, id: WorkflowId, prefix: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM workflow_frames WHERE workflow_id = $1 AND substr(frame_id, 1, length($2)) = $2")
            .bind(id.to_string())
            .bind(prefix)
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("forget frames"))
    }
}
