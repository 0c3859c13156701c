//! The store: the truth. SQLite in one file, or PostgreSQL for many machines.
//!
//! One SQL text serves both (`$1` parameters, TEXT, BIGINT); where they differ, [`Dialect`] has the
//! fragment. Every change happens in a [`Tx`]; reads outside of one go through [`Store::reader`].
//! Nothing here decides: the rules are `engine`'s, and what to do next is the handlers' business.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor, Row};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Class;

mod dialect;
mod node_tags;
mod window_schedule;

pub mod access_keys;
pub mod activations;
pub mod audit;
pub mod baseline_states;
pub mod baselines;
pub mod calls;
pub mod client_tokens;
pub mod commands;
pub mod compliance;
pub mod cut_offs;
pub mod cves;
pub mod dead_letters;
pub mod documents;
pub mod executions;
pub mod functions;
pub mod group_compliance;
pub mod identities;
pub mod inventories;
pub mod inventory;
pub mod invocations;
pub mod known_patches;
pub mod nodes;
pub mod notifications;
pub mod outbox;
pub mod patch_groups;
pub mod patch_states;
pub mod reads;
pub mod reboot_slots;
pub mod refused_reports;
pub mod resource_groups;
pub mod rollout_plans;
pub mod service_settings;
pub mod signing_keys;
pub mod state_machines;
pub mod tags;
pub mod timers;
pub mod windows;
pub mod workflows;

pub use dialect::{Column, Dialect};

/// Connections to PostgreSQL of one process. Handlers batch, so a few suffice; every further one
/// only waits for the same rows.
const POSTGRES_CONNECTIONS: u32 = 12;
/// What every session on PostgreSQL begins with. A batch looks its rows up by key; at the default
/// cost of 4, which is that of spinning disks, the planner reads all of `invocations` for each
/// batch instead (seen in its plans at 10,000 rows, with fresh statistics). Whoever set another cost
/// keeps it.
const POSTGRES_SESSION: &str = "SELECT set_config('random_page_cost', '1.1', false)
     WHERE current_setting('random_page_cost') = '4'";
/// Every invocation is changed twice soon after it was added, and grows by its report. With that
/// much room on its page every new version stays there and no index is touched; at 50 only six in
/// ten do, on full pages one in ten (measured). Whoever set a storage parameter of this table
/// keeps what was set, and sets this one too.
const POSTGRES_STORAGE: &str = "DO $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('patchwave storage'));
    IF (SELECT reloptions IS NULL FROM pg_class WHERE oid = 'invocations'::regclass) THEN
        ALTER TABLE invocations SET (fillfactor = 15);
    END IF;
END $$";
/// Connections to the SQLite file: one writes, the others read.
const SQLITE_CONNECTIONS: u32 = 4;
/// Longest wait for a connection before the operation counts as failed (and is retried).
const ACQUIRE_WITHIN: Duration = Duration::from_secs(10);

/// How careful SQLite is with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A committed transaction survives a power cut (WAL, `synchronous=FULL`).
    Full,
    /// Nothing is flushed: for simulations, whose store is thrown away.
    None,
}

/// A handle on the store; clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    dialect: Dialect,
    /// SQLite has one writer: waiting here costs nothing, waiting in SQLite polls.
    writer: Arc<Mutex<()>>,
}

/// A transaction. Dropped without [`Tx::commit`] it leaves no trace.
#[derive(Debug)]
pub struct Tx {
    inner: sqlx::Transaction<'static, Any>,
    dialect: Dialect,
    _writer: Option<OwnedMutexGuard<()>>,
}

impl Store {
    /// Opens `sqlite://path` or `postgres://…` and brings its tables up to date.
    ///
    /// Several processes may do so at once: PostgreSQL takes an advisory lock, SQLite its file's.
    ///
    /// # Errors
    /// [`Error::Url`] for another scheme, [`Error::Database`] when it cannot be reached or migrated.
    pub async fn open(url: &str) -> Result<Self, Error> {
        Self::open_with(url, Durability::Full).await
    }

    /// Like [`Store::open`], choosing how careful SQLite is.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(url: &str, durability: Durability) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of_url(url)?;
        let mut options = AnyPoolOptions::new().acquire_timeout(ACQUIRE_WITHIN);
        let address = match dialect {
            Dialect::Postgres => {
                options = options.max_connections(POSTGRES_CONNECTIONS).after_connect(|connection, _| {
                    Box::pin(async move { connection.execute(POSTGRES_SESSION).await.map(|_| ()) })
                });
                url.to_owned()
            }
            Dialect::Sqlite => {
                // A file does not hang up, and asking costs a trip to SQLite's thread each time.
                options = options.max_connections(SQLITE_CONNECTIONS).test_before_acquire(false);
                // A commit that fails because the disk is full has been rolled back by SQLite itself,
                // which the driver does not notice: it would refuse every transaction on that
                // connection from then on.
                options = options.before_acquire(|connection, _| {
                    Box::pin(async move { Ok(!sqlx::Connection::is_in_transaction(connection)) })
                });
                options = options.after_connect(move |connection, _| {
                    Box::pin(async move {
                        let pragmas = match durability {
                            Durability::Full => {
                                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=10000"
                            }
                            Durability::None => {
                                "PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA busy_timeout=10000"
                            }
                        };
                        connection.execute(pragmas).await.map(|_| ())
                    })
                });
                if url.contains('?') { url.to_owned() } else { format!("{url}?mode=rwc") }
            }
        };
        let pool = options.connect(&address).await.map_err(Error::doing("open the store"))?;
        migrate(&pool, dialect).await?;
        Ok(Self { pool, dialect, writer: Arc::new(Mutex::new(())) })
    }

    /// Which database is behind it.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Begins a transaction that may write.
    ///
    /// On SQLite writers wait for each other here; do not begin a second one while holding a first.
    ///
    /// # Errors
    /// [`Error::Database`] when no connection is to be had.
    pub async fn begin(&self) -> Result<Tx, Error> {
        let attempted = "begin a transaction";
        match self.dialect {
            Dialect::Postgres => {
                let inner = self.pool.begin().await.map_err(Error::doing(attempted))?;
                Ok(Tx { inner, dialect: self.dialect, _writer: None })
            }
            Dialect::Sqlite => {
                let guard = Arc::clone(&self.writer).lock_owned().await;
                let inner = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(Error::doing(attempted))?;
                Ok(Tx { inner, dialect: self.dialect, _writer: Some(guard) })
            }
        }
    }

    /// The connections for reads that need no transaction.
    #[must_use]
    pub fn reader(&self) -> &AnyPool {
        &self.pool
    }

    /// Asks the database for a sign of life, for `/readyz`.
    ///
    /// # Errors
    /// [`Error::Database`] when it gives none.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(|_| ()).map_err(Error::doing("reach the store"))
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

async fn migrate(pool: &AnyPool, dialect: Dialect) -> Result<(), Error> {
    let migrator = sqlx::migrate!("./migrations");
    let failed = |source| Error::Migrate { source: Box::new(source) };
    match dialect {
        Dialect::Postgres => {
            migrator.run(pool).await.map_err(failed)?;
            pool.execute(POSTGRES_STORAGE).await.map_err(Error::doing("set the storage of invocations"))?;
            pool.execute(node_tags::POSTGRES).await.map(|_| ()).map_err(Error::doing("keep tags of nodes as rows"))
        }
        // sqlx locks nothing on SQLite: two processes that open a new file would both migrate it.
        Dialect::Sqlite => {
            let doing = "lock the store to migrate it";
            let mut locked = pool.begin_with("BEGIN IMMEDIATE").await.map_err(Error::doing(doing))?;
            // `run` on a borrowed connection makes a future that cannot be spawned.
            migrator.run_direct(None, &mut *locked, false).await.map_err(failed)?;
            locked.execute(node_tags::SQLITE).await.map_err(Error::doing("keep tags of nodes as rows"))?;
            locked.commit().await.map_err(Error::doing("commit a migration"))
        }
    }
}

impl Tx {
    /// Makes the changes permanent.
    ///
    /// # Errors
    /// [`Error::Database`]; it is then unknown whether they are, and the caller repeats its work,
    /// which must therefore be harmless to repeat.
    pub async fn commit(self) -> Result<(), Error> {
        self.inner.commit().await.map_err(Error::doing("commit"))
    }

    /// Which database is behind it.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The connection that statements run on.
    pub fn connection(&mut self) -> &mut sqlx::AnyConnection {
        &mut self.inner
    }
}

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL names no store this program knows.
    #[error("store `{url}`: expected `sqlite://path` or `postgres://user:password@host:port/database`")]
    Url {
        /// The URL without its password.
        url: String,
    },
    /// The tables could not be brought up to date.
    #[error("could not migrate the store")]
    Migrate {
        /// The driver's reason.
        #[source]
        source: Box<sqlx::migrate::MigrateError>,
    },
    /// The database is away, or refused a statement.
    #[error("could not {attempted}")]
    Database {
        /// What was attempted.
        attempted: &'static str,
        /// The driver's reason.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value is not what this program wrote.
    #[error("stored {what} cannot be read")]
    Corrupt {
        /// Table and column.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stored secret cannot be opened, or a new one not be sealed.
    #[error("could not use a sealed secret")]
    Secret {
        /// Why.
        #[from]
        source: crate::secrets::SecretError,
    },
    /// Another row stands in the way.
    #[error("{what} already exists")]
    Conflict {
        /// What.
        what: String,
    },
}

impl Error {
    /// For `map_err`: says what was attempted.
    pub(crate) fn doing(attempted: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { attempted, source }
    }

    /// For `map_err`: says which stored value is unreadable.
    pub(crate) fn corrupt<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Corrupt { what, source: Box::new(source) }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Secret { source } => source.class(),
            Self::Url { .. } | Self::Corrupt { .. } | Self::Conflict { .. } => Class::Rejected,
            Self::Migrate { source } => match source.as_ref() {
                sqlx::migrate::MigrateError::Execute(source) => class_of(source, Class::Fatal),
                _ => Class::Fatal,
            },
            Self::Database { source, .. } => class_of(source, Class::Rejected),
        }
    }
}

/// What a failure of the driver means: `refused` when the database refuses the statement itself,
/// which it would do again; everything else may pass.
fn class_of(source: &sqlx::Error, refused: Class) -> Class {
    match source {
        // SQLSTATE: data exceptions, broken constraints, wrong statements. A database that is
        // read-only, out of space, shutting down or breaking a deadlock has other classes.
        // SQLite (low byte of the extended code): ERROR, TOOBIG, CONSTRAINT, MISMATCH, MISUSE, RANGE.
        sqlx::Error::Database(database) => match database.code() {
            Some(code) if code.len() == 5 => match &code[..2] {
                "0A" | "21" | "22" | "23" | "42" => refused,
                _ => Class::Transient,
            },
            Some(code) => match code.parse::<u32>().map(|code| code & 0xff) {
                Ok(1 | 18 | 19 | 20 | 21 | 25) => refused,
                _ => Class::Transient,
            },
            None => refused,
        },
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::Configuration(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_) => refused,
        _ => Class::Transient,
    }
}

/// A statement made of fixed fragments. Values are always bound, never part of the text.
pub(crate) fn sql(text: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(text)
}

/// An instant as the store keeps it.
#[must_use]
pub fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// An instant as the store kept it.
#[must_use]
pub fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A value as JSON text.
///
/// # Panics
/// Never for this workspace's types: none has a map with non-string keys or a failing `Serialize`.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("stored types always serialise")
}

/// A value from stored JSON text.
///
/// # Errors
/// [`Error::Corrupt`] naming `what`.
pub fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(Error::corrupt(what))
}

/// Reads a column.
///
/// # Errors
/// [`Error::Database`] when it is absent or of another type.
pub(crate) fn get<'r, T>(row: &'r AnyRow, column: &'static str) -> Result<T, Error>
where
    T: sqlx::Decode<'r, Any> + sqlx::Type<Any>,
{
    row.try_get(column).map_err(Error::doing("read a row"))
}

/// Reads a column that holds text with a strict form, such as an id.
pub(crate) fn parsed<T>(row: &AnyRow, column: &'static str) -> Result<T, Error>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    get::<String>(row, column)?.parse().map_err(Error::corrupt(column))
}

/// Reads a nullable instant.
pub(crate) fn optional_instant(row: &AnyRow, column: &'static str) -> Result<Option<Timestamp>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(instant))
}
