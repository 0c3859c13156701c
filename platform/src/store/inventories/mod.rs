//! What scans saw, so that nodes can be judged again without asking them.
//!
//! Entries are stored once for all nodes, a whole inventory once for all nodes of one image, see
//! the migration. What no node has any more is kept for a week, and then removed by
//! [`Store::forget_inventories`].

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use patchwave_engine::baseline::{Entry, PackError, unpack};
use patchwave_schemas::NodeId;
use patchwave_schemas::report::NodeScanned;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tracing::warn;

use super::{Column, Error, Store, Tx, get, millis, sql, to_json};

mod entry_list;
mod fleet;

pub use fleet::StoredFleet;

/// How old `used_at` must be to be written again.
const USED_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// How long something is kept that no node has.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Entries that are looked up in one statement: some megabytes of text.
const LINES_TOGETHER: usize = 10_000;
/// Entries of one node at most: several times what the largest system has.
const ENTRIES_MAX: usize = 50_000;
/// Rows of a table that are forgotten by one call at most.
const FORGOTTEN_MAX: usize = 10_000;

/// An inventory that was unpacked and not stored yet.
struct Fresh {
    hash: String,
    profile: String,
    lines: Vec<String>,
}

/// Why an inventory of a report is passed over.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error("an inventory has {0} entries; allowed are {ENTRIES_MAX}")]
    TooMany(usize),
    #[error("an entry of an inventory cannot be read")]
    Entry(#[from] serde_json::Error),
}

impl Tx {
    /// Stores the inventories that reports carry. Of several of one node the newest counts; one that
    /// cannot be read is passed over, the report it came with is as good without.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_inventories(&mut self, reports: &[NodeScanned], now: Timestamp) -> Result<(), Error> {
        let mut newest: BTreeMap<&NodeId, (&NodeScanned, String)> = BTreeMap::new();
        for report in reports {
            let Some(packed) = &report.inventory else { continue };
            match newest.get(&report.node_id) {
                Some((kept, _)) if kept.finished_at > report.finished_at => {}
                _ => _ = newest.insert(&report.node_id, (report, hash(packed))),
            }
        }
        if newest.is_empty() {
            return Ok(());
        }
        let hashes: BTreeMap<&str, &NodeScanned> =
            newest.values().map(|(report, hash)| (hash.as_str(), *report)).collect();
        let known = self.use_inventories(&hashes.keys().copied().collect::<Vec<_>>(), now).await?;
        let mut unusable: Vec<String> = Vec::new();
        let mut fresh: Vec<Fresh> = Vec::new();
        let mut lines = 0;
        for (hash, report) in hashes.into_iter().filter(|(hash, _)| !known.contains_key(*hash)) {
            match unpacked(hash, report.inventory.as_deref().unwrap_or_default()) {
                Ok(one) => {
                    lines += one.lines.len();
                    fresh.push(one);
                }
                Err(error) => {
                    warn!(node.id = %report.node_id, %error, "an inventory is passed over");
                    unusable.push(hash.to_owned());
                }
            }
            // All at once would take a gigabyte for a batch of large systems.
            if lines >= LINES_TOGETHER {
                self.add_inventories(&std::mem::take(&mut fresh), now, &mut unusable).await?;
                lines = 0;
            }
        }
        self.add_inventories(&fresh, now, &mut unusable).await?;
        let rows: Vec<Value> = newest
            .into_values()
            .filter(|(_, hash)| !unusable.contains(hash))
            .map(|(report, hash)| {
                json!({ "node_id": report.node_id, "inventory_hash": hash, "scanned_at": millis(report.finished_at) })
            })
            .collect();
        let columns = [("node_id", Column::Text), ("inventory_hash", Column::Text), ("scanned_at", Column::Int)];
        let source = self.dialect().rows("r", 1, &columns);
        sqlx::query(sql(format!(
            "INSERT INTO node_inventories (node_id, inventory_hash, scanned_at)
             SELECT node_id, inventory_hash, scanned_at FROM {source} WHERE true ORDER BY node_id
             ON CONFLICT (node_id) DO UPDATE SET inventory_hash = excluded.inventory_hash,
                 scanned_at = excluded.scanned_at
             WHERE excluded.scanned_at >= node_inventories.scanned_at"
        )))
        .bind(to_json(&rows))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store inventories of nodes"))
    }

    /// Says which of these are stored, and that they are still used.
    async fn use_inventories(&mut self, hashes: &[&str], now: Timestamp) -> Result<HashMap<String, i64>, Error> {
        self.used("inventories", "inventory_hash", "used_at", hashes, now).await
    }

    /// Stores inventories that are not there yet.
    async fn add_inventories(
        &mut self,
        fresh: &[Fresh],
        now: Timestamp,
        unusable: &mut Vec<String>,
    ) -> Result<(), Error> {
        if fresh.is_empty() {
            return Ok(());
        }
        let mut lines: BTreeMap<String, &str> = BTreeMap::new();
        let mut hashed: Vec<Vec<String>> = Vec::with_capacity(fresh.len());
        for one in fresh {
            let hashes: Vec<String> = one.lines.iter().map(|line| hash(line)).collect();
            lines.extend(hashes.iter().cloned().zip(one.lines.iter().map(String::as_str)));
            hashed.push(hashes);
        }
        let wanted: Vec<&str> = lines.keys().map(String::as_str).collect();
        let mut ids = self.used("inventory_entries", "content_hash", "entry_id", &wanted, now).await?;
        let missing: Vec<Value> = lines
            .iter()
            .filter(|(hash, _)| !ids.contains_key(*hash))
            // What could not be judged again is not kept.
            .filter(|(_, line)| Entry::from_line(line).is_ok())
            .map(|(hash, line)| json!({ "content_hash": hash, "content": line }))
            .collect();
        if !missing.is_empty() {
            // Ids are counted: one at a time. Nothing of this table is held yet.
            if let Some(lock) = self.dialect().table_lock("inventory_entries") {
                let doing = Error::doing("lock the entries of inventories");
                sqlx::query(sql(lock)).execute(self.connection()).await.map_err(doing)?;
            }
            let source = self.dialect().rows("r", 1, &[("content_hash", Column::Text), ("content", Column::Text)]);
            sqlx::query(sql(format!(
                "INSERT INTO inventory_entries (entry_id, content_hash, content, used_at)
                 SELECT (SELECT COALESCE(MAX(entry_id), 0) FROM inventory_entries)
                        + ROW_NUMBER() OVER (ORDER BY content_hash), content_hash, content, $2
                 FROM {source} WHERE true
                 ON CONFLICT (content_hash) DO NOTHING"
            )))
            .bind(to_json(&missing))
            .bind(millis(now))
            .execute(self.connection())
            .await
            .map_err(Error::doing("store entries of inventories"))?;
            let added: Vec<&str> = missing.iter().filter_map(|row| row["content_hash"].as_str()).collect();
            ids.extend(self.used("inventory_entries", "content_hash", "entry_id", &added, now).await?);
        }
        let mut rows = Vec::with_capacity(fresh.len());
        for (one, hashes) in fresh.iter().zip(hashed) {
            let mut entries: Vec<i64> = hashes.iter().filter_map(|hash| ids.get(hash).copied()).collect();
            if entries.len() < hashes.len() {
                warn!("an inventory with entries that cannot be read is passed over");
                unusable.push(one.hash.clone());
                continue;
            }
            entries.sort_unstable();
            rows.push(json!({
                "inventory_hash": one.hash, "profile": one.profile, "entries": entry_list::encode(&entries),
            }));
        }
        let columns = [("inventory_hash", Column::Text), ("profile", Column::Text), ("entries", Column::Text)];
        let source = self.dialect().rows("r", 1, &columns);
        sqlx::query(sql(format!(
            "INSERT INTO inventories (inventory_hash, profile, entries, used_at)
             SELECT inventory_hash, profile, entries, $2 FROM {source} WHERE true ORDER BY inventory_hash
             ON CONFLICT (inventory_hash) DO NOTHING"
        )))
        .bind(to_json(&rows))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store inventories"))
    }

    /// The numbers in `wanted` of the rows with one of these hashes, which are thereby in use.
    async fn used(
        &mut self,
        table: &'static str,
        key: &'static str,
        wanted: &'static str,
        hashes: &[&str],
        now: Timestamp,
    ) -> Result<HashMap<String, i64>, Error> {
        let rows: Vec<Value> = hashes.iter().map(|hash| json!({ "hash": hash })).collect();
        let rows = to_json(&rows);
        let source = self.dialect().rows("r", 1, &[("hash", Column::Text)]);
        let found = sqlx::query(sql(format!(
            "SELECT {key} AS hash, {wanted} AS wanted, used_at FROM {table}
             WHERE {key} IN (SELECT hash FROM {source})"
        )))
        .bind(&rows)
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("look inventories up"))?;
        let stale = millis(now) - i64::try_from(USED_EVERY.as_millis()).unwrap_or(i64::MAX);
        let mut numbers = HashMap::with_capacity(found.len());
        let mut is_stale = false;
        for row in &found {
            is_stale |= get::<i64>(row, "used_at")? < stale;
            numbers.insert(get(row, "hash")?, get(row, "wanted")?);
        }
        if is_stale {
            sqlx::query(sql(format!(
                "UPDATE {table} SET used_at = $2 WHERE {key} IN (SELECT hash FROM {source}) AND used_at < $3"
            )))
            .bind(&rows)
            .bind(millis(now))
            .bind(stale)
            .execute(self.connection())
            .await
            .map_err(Error::doing("note which inventories are used"))?;
        }
        Ok(numbers)
    }
}

impl Store {
    /// Removes inventories that no node has, and entries of none, a week after they were last
    /// stored, some thousands in one call. Returns how many entries went. Harmless to repeat, and beside reports that bring what
    /// is about to go: those say so first, or store it again.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn forget_inventories(&self, now: Timestamp) -> Result<u64, Error> {
        let before = millis(now) - i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
        let mut tx = self.begin().await?;
        for text in [
            "DELETE FROM node_inventories WHERE node_id IN (SELECT node_id FROM node_inventories
             WHERE scanned_at < $1 AND node_id NOT IN (SELECT node_id FROM nodes) LIMIT $2)",
            "DELETE FROM inventories WHERE used_at < $1 AND inventory_hash IN
             (SELECT inventory_hash FROM inventories WHERE used_at < $1
              AND inventory_hash NOT IN (SELECT inventory_hash FROM node_inventories) LIMIT $2)",
        ] {
            let limit = i64::try_from(FORGOTTEN_MAX).unwrap_or(i64::MAX);
            let forgotten = sqlx::query(text).bind(before).bind(limit).execute(tx.connection()).await;
            forgotten.map_err(Error::doing("forget inventories"))?;
        }
        tx.commit().await?;
        let candidates = sqlx::query("SELECT entry_id FROM inventory_entries WHERE used_at < $1")
            .bind(before)
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read entries of inventories"))?;
        if candidates.is_empty() {
            return Ok(0);
        }
        let used = self.entries_in_use().await?;
        let mut rows = Vec::new();
        for row in &candidates {
            let id: i64 = get(row, "entry_id")?;
            if !used.contains(&id) && rows.len() < FORGOTTEN_MAX {
                rows.push(json!({ "entry_id": id }));
            }
        }
        let mut tx = self.begin().await?;
        let source = tx.dialect().rows("r", 1, &[("entry_id", Column::Int)]);
        let done = sqlx::query(sql(format!(
            "DELETE FROM inventory_entries WHERE entry_id IN (SELECT entry_id FROM {source}) AND used_at < $2"
        )))
        .bind(to_json(&rows))
        .bind(before)
        .execute(tx.connection())
        .await
        .map_err(Error::doing("forget entries of inventories"))?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}

fn hash(text: &str) -> String {
    BASE64_STANDARD_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

fn unpacked(hash: &str, packed: &str) -> Result<Fresh, Unusable> {
    let unpacked = unpack(packed)?;
    if unpacked.lines.len() > ENTRIES_MAX {
        return Err(Unusable::TooMany(unpacked.lines.len()));
    }
    Ok(Fresh { hash: hash.to_owned(), profile: serde_json::to_string(&unpacked.node)?, lines: unpacked.lines })
}
