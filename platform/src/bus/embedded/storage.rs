//! What makes the embedded bus durable: one table, one writer, one transaction for all changes that
//! wait at the same time.
//!
//! The table lives in the store's file but is nobody else's business. Changes become visible in
//! memory only after their commit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use patchwave_schemas::topology::WorkQueue;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::queues::{Entry, Queues};
use crate::bus::{Death, Sender};

/// How long to wait for the store's connections to the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Rows of one INSERT; 5 values each, and SQLite takes 32,766 in one statement.
const ROWS_PER_INSERT: usize = 500;
/// Changes that share a transaction at most.
const CHANGES_PER_COMMIT: usize = 256;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS bus_messages (
    id           INTEGER PRIMARY KEY,
    queue        TEXT NOT NULL,
    body         BLOB NOT NULL,
    death_queue  TEXT,
    death_reason TEXT
)";

/// A change to queues, applied to the table first and to memory after.
pub(super) enum Change {
    /// New messages, in order.
    Publish(Vec<(WorkQueue, Entry)>),
    /// Settled messages of one queue.
    Settle {
        /// The queue they were read from.
        queue: WorkQueue,
        /// To be forgotten.
        forget: Vec<Entry>,
        /// To go to the dead letters, with their death.
        bury: Vec<(Entry, String)>,
    },
}

impl Change {
    /// What the change does to the queues once it is stored.
    pub(super) fn apply(self, queues: &Queues) {
        match self {
            Self::Publish(entries) => {
                for (queue, entry) in entries {
                    queues.push(queue, [entry]);
                }
            }
            Self::Settle { queue, forget: _, bury } => {
                queues.push(WorkQueue::Dead, bury.into_iter().map(|(entry, reason)| entry.dead(queue, reason)));
            }
        }
    }

    /// What it does when it could not be stored: settled messages come again.
    fn undo(self, queues: &Queues) {
        if let Self::Settle { queue, forget, bury } = self {
            queues.put_back(queue, forget.into_iter().chain(bury.into_iter().map(|(entry, _)| entry)));
        }
    }
}

/// A change and who waits for it.
type Job = (Change, oneshot::Sender<Result<(), Arc<sqlx::Error>>>);

/// Hands changes to the writer.
pub(super) struct Storage {
    jobs: mpsc::UnboundedSender<Job>,
    pool: SqlitePool,
}

impl Storage {
    /// Opens the table, fills the queues from it and starts the writer. Also tells the first free
    /// id.
    pub(super) async fn open(path: &Path, queues: &Arc<Queues>) -> Result<(Self, i64), sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A confirmed message survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        // A commit that fails because the disk is full has been rolled back by SQLite itself, which the
        // driver does not notice: it would refuse every transaction on that connection from then on.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .before_acquire(|connection, _| {
                Box::pin(async move { Ok(!sqlx::Connection::is_in_transaction(connection)) })
            })
            .connect_with(options)
            .await?;
        sqlx::raw_sql(TABLE).execute(&pool).await?;
        let next_id = load(&pool, queues).await?;
        let (jobs, waiting) = mpsc::unbounded_channel();
        tokio::spawn(write_all(pool.clone(), waiting, Arc::clone(queues)));
        Ok((Self { jobs, pool }, next_id))
    }

    /// Stores a change and applies it. Dropping the future does not stop it.
    pub(super) async fn commit(&self, change: Change) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (answer, done) = oneshot::channel();
        self.jobs.send((change, answer)).map_err(|_| "the writer has stopped")?;
        done.await.map_err(|_| "the writer has stopped")??;
        Ok(())
    }

    /// Stores a change with nobody waiting. If it cannot be stored, its messages come again.
    pub(super) fn commit_later(&self, change: Change) {
        let (answer, _nobody) = oneshot::channel();
        // A writer that has stopped has left everything in the table.
        let _ = self.jobs.send((change, answer));
    }

    /// Waits for the writer's last transaction and closes the file.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

async fn load(pool: &SqlitePool, queues: &Queues) -> Result<i64, sqlx::Error> {
    let rows = sqlx::query("SELECT id, queue, body, death_queue, death_reason FROM bus_messages ORDER BY id")
        .fetch_all(pool)
        .await?;
    let mut next_id = 1;
    for row in rows {
        let id: i64 = row.try_get("id")?;
        let name: String = row.try_get("queue")?;
        next_id = id + 1;
        let Some(queue) = WorkQueue::ALL.into_iter().find(|queue| queue.name() == name) else {
            tracing::warn!(queue = name, id, "a stored message is for a queue this version does not know; kept");
            continue;
        };
        let reason: Option<String> = row.try_get("death_reason")?;
        let death_queue: Option<String> = row.try_get("death_queue")?;
        let death =
            reason.map(|reason| Death { queue: death_queue.unwrap_or_default(), reason, sender: Sender::ControlPlane });
        let entry = Entry { id, body: row.try_get("body")?, death, deliveries: 0, redelivered: true };
        queues.push(queue, [entry]);
    }
    Ok(next_id)
}

/// Stores changes until nobody is left to send any.
async fn write_all(pool: SqlitePool, mut waiting: mpsc::UnboundedReceiver<Job>, queues: Arc<Queues>) {
    let mut jobs = Vec::new();
    while waiting.recv_many(&mut jobs, CHANGES_PER_COMMIT).await > 0 {
        let result = store(&pool, &jobs).await.map_err(Arc::new);
        for (change, answer) in jobs.drain(..) {
            if result.is_ok() {
                change.apply(&queues);
            } else {
                change.undo(&queues);
            }
            // Nobody waits any more: the change holds all the same.
            let _ = answer.send(result.clone());
        }
    }
}

/// One transaction for all.
async fn store(pool: &SqlitePool, jobs: &[Job]) -> Result<(), sqlx::Error> {
    let mut inserts = Vec::new();
    let mut deletes = Vec::new();
    let mut burials = Vec::new();
    for (change, _) in jobs {
        match change {
            Change::Publish(entries) => inserts.extend(entries),
            Change::Settle { queue, forget, bury } => {
                deletes.extend(forget.iter().map(|entry| entry.id));
                burials.extend(bury.iter().map(|(entry, reason)| (queue, entry.id, reason)));
            }
        }
    }
    // IMMEDIATE: a transaction that starts reading and wants to write later is refused, not queued.
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for rows in inserts.chunks(ROWS_PER_INSERT) {
        let mut insert =
            QueryBuilder::<Sqlite>::new("INSERT INTO bus_messages (id, queue, body, death_queue, death_reason) ");
        insert.push_values(rows, |mut row, (queue, entry)| {
            let death = entry.death.as_ref();
            row.push_bind(entry.id)
                .push_bind(queue.name())
                .push_bind(entry.body.as_slice())
                .push_bind(death.map(|death| death.queue.as_str()))
                .push_bind(death.map(|death| death.reason.as_str()));
        });
        insert.build().execute(&mut *transaction).await?;
    }
    if !deletes.is_empty() {
        let ids = serde_json::to_string(&deletes).map_err(|error| sqlx::Error::Encode(error.into()))?;
        sqlx::query("DELETE FROM bus_messages WHERE id IN (SELECT value FROM json_each(?))")
            .bind(ids)
            .execute(&mut *transaction)
            .await?;
    }
    for (queue, id, reason) in burials {
        sqlx::query("UPDATE bus_messages SET queue = ?, death_queue = ?, death_reason = ? WHERE id = ?")
            .bind(WorkQueue::Dead.name())
            .bind(queue.name())
            .bind(reason)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}
