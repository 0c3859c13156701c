//! The inventories of the nodes that one baseline is for, read for judging them all at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::TryStreamExt as _;
use patchwave_engine::baseline::{Fleet, FleetNode, NodeProfile};
use patchwave_engine::targets::patch_group;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::{BaselineId, NodeId};
use serde_json::json;

use super::super::baselines::os_name;
use super::super::{Column, Error, Store, from_json, get, parsed, sql, to_json};
use super::entry_list;

/// What is stored of the nodes of one baseline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredFleet {
    /// Nodes with an inventory: as many, and in the same order, as in `fleet`.
    pub nodes: Vec<NodeId>,
    /// Their patch groups, empty for none.
    pub groups: Vec<String>,
    /// The inventories.
    pub fleet: Fleet,
    /// Nodes of the baseline that no inventory is known of.
    pub unknown: Vec<NodeId>,
}

impl Store {
    /// Reads the managed nodes that are judged by a baseline: those of its operating system whose
    /// patch group has it, or has none while it is the default. With `only`, those of them alone.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn fleet_of(
        &self,
        baseline: &BaselineId,
        os: OperatingSystem,
        only: Option<&[NodeId]>,
    ) -> Result<StoredFleet, Error> {
        let is_default = self.default_baselines().await?.iter().any(|(of, id)| *of == os && id == baseline);
        let groups = self.patch_groups().await?;
        let by_group: HashMap<String, BaselineId> = groups
            .into_iter()
            .filter(|mapping| mapping.operating_system == os)
            .map(|mapping| (mapping.patch_group, mapping.baseline_id))
            .collect();
        let mut stored = StoredFleet::default();
        let mut hashes: Vec<String> = Vec::new();
        let limit = only.map_or(String::new(), |_| {
            let source = self.dialect().rows("r", 2, &[("node_id", Column::Text)]);
            format!(" AND n.node_id IN (SELECT node_id FROM {source})")
        });
        let text = sql(format!(
            "SELECT n.node_id, n.tags, i.inventory_hash FROM nodes n
             LEFT JOIN node_inventories i ON i.node_id = n.node_id
             WHERE n.operating_system = $1{limit} ORDER BY n.node_id"
        ));
        let mut query = sqlx::query(text).bind(os_name(os));
        if let Some(only) = only {
            query = query.bind(to_json(&only.iter().map(|id| json!({ "node_id": id })).collect::<Vec<_>>()));
        }
        let rows = query.fetch_all(self.reader()).await.map_err(Error::doing("read the nodes of a baseline"))?;
        for row in &rows {
            let tags: BTreeMap<String, String> = from_json("nodes.tags", &get::<String>(row, "tags")?)?;
            let group = patch_group(&tags).unwrap_or_default();
            if by_group.get(group).map_or(!is_default, |id| id != baseline) {
                continue;
            }
            let node_id: NodeId = parsed(row, "node_id")?;
            match get::<Option<String>>(row, "inventory_hash")? {
                Some(hash) => {
                    stored.nodes.push(node_id);
                    stored.groups.push(group.to_owned());
                    hashes.push(hash);
                }
                None => stored.unknown.push(node_id),
            }
        }
        self.read_inventories(&hashes, &mut stored.fleet).await?;
        Ok(stored)
    }

    /// Reads what is stored of some nodes, by id, whatever judges them.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn inventories_of(&self, nodes: &[NodeId]) -> Result<StoredFleet, Error> {
        let wanted: Vec<_> = nodes.iter().map(|id| json!({ "node_id": id })).collect();
        let source = self.dialect().rows("r", 1, &[("node_id", Column::Text)]);
        let text = format!(
            "SELECT node_id, inventory_hash FROM node_inventories
             WHERE node_id IN (SELECT node_id FROM {source}) ORDER BY node_id"
        );
        let rows = sqlx::query(sql(text))
            .bind(to_json(&wanted))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read inventories of nodes"))?;
        let mut stored = StoredFleet::default();
        let mut hashes = Vec::with_capacity(rows.len());
        for row in &rows {
            stored.nodes.push(parsed(row, "node_id")?);
            stored.groups.push(String::new());
            hashes.push(get(row, "inventory_hash")?);
        }
        self.read_inventories(&hashes, &mut stored.fleet).await?;
        Ok(stored)
    }

    /// Adds a node for each hash, in that order, and everything they have.
    async fn read_inventories(&self, hashes: &[String], fleet: &mut Fleet) -> Result<(), Error> {
        let distinct: HashSet<&String> = hashes.iter().collect();
        let wanted: Vec<_> = distinct.iter().map(|hash| json!({ "hash": hash })).collect();
        let source = self.dialect().rows("r", 1, &[("hash", Column::Text)]);
        let text = format!(
            "SELECT inventory_hash, profile, entries FROM inventories
             WHERE inventory_hash IN (SELECT hash FROM {source})"
        );
        let mut profiles: HashMap<String, u32> = HashMap::new();
        let mut numbers = Numbers::default();
        let mut inventories: HashMap<String, FleetNode> = HashMap::with_capacity(distinct.len());
        let wanted = to_json(&wanted);
        let doing = || Error::doing("read inventories");
        let mut rows = sqlx::query(sql(text)).bind(&wanted).fetch(self.reader());
        while let Some(row) = rows.try_next().await.map_err(doing())? {
            let profile: String = get(&row, "profile")?;
            let profile = match profiles.get(&profile) {
                Some(number) => *number,
                None => {
                    let number = next(fleet.profiles.len());
                    fleet.profiles.push(from_json::<NodeProfile>("inventories.profile", &profile)?);
                    profiles.insert(profile, number);
                    number
                }
            };
            let entries: String = get(&row, "entries")?;
            let ids = entry_list::decode(&entries).map_err(Error::corrupt("inventories.entries"))?;
            let entries = ids.into_iter().map(|id| numbers.of(id)).collect();
            inventories.insert(get(&row, "inventory_hash")?, FleetNode { profile, entries });
        }
        drop(rows);
        // A node whose inventory is not there has none of the entries: that is worth an error.
        let nodes: Option<Vec<_>> = hashes.iter().map(|hash| inventories.get(hash).cloned()).collect();
        fleet.nodes = nodes.ok_or_else(|| Error::corrupt("node_inventories.inventory_hash")(Missing))?;

        fleet.lines = vec![String::new(); numbers.count];
        let wanted: Vec<i64> = numbers.ids();
        let source = self.dialect().rows("r", 1, &[("entry_id", Column::Int)]);
        let wanted: Vec<_> = wanted.iter().map(|id| json!({ "entry_id": id })).collect();
        let text = format!(
            "SELECT entry_id, content FROM inventory_entries WHERE entry_id IN (SELECT entry_id FROM {source})"
        );
        let wanted = to_json(&wanted);
        let mut rows = sqlx::query(sql(text)).bind(&wanted).fetch(self.reader());
        let mut found = 0;
        while let Some(row) = rows.try_next().await.map_err(doing())? {
            let number = numbers.of(get(&row, "entry_id")?);
            fleet.lines[number as usize] = get(&row, "content")?;
            found += 1;
        }
        if found == fleet.lines.len() { Ok(()) } else { Err(Error::corrupt("inventories.entries")(Missing)) }
    }

    /// The entries that some inventory has.
    pub(super) async fn entries_in_use(&self) -> Result<HashSet<i64>, Error> {
        let mut rows = sqlx::query("SELECT entries FROM inventories").fetch(self.reader());
        let mut used = HashSet::new();
        while let Some(row) = rows.try_next().await.map_err(Error::doing("read inventories"))? {
            let entries: String = get(&row, "entries")?;
            used.extend(entry_list::decode(&entries).map_err(Error::corrupt("inventories.entries"))?);
        }
        Ok(used)
    }
}

/// What is spoken of is not stored.
#[derive(Debug, thiserror::Error)]
#[error("something that it names is not stored")]
struct Missing;

/// Ids that are met, numbered from 0. Those of one node ascend, so they are looked up by page.
#[derive(Default)]
struct Numbers {
    pages: HashMap<i64, Box<[u32; PAGE]>>,
    count: usize,
}

/// Ids of a page; a power of two.
const PAGE: usize = 4_096;
/// No number was given yet.
const NONE: u32 = u32::MAX;

impl Numbers {
    fn of(&mut self, id: i64) -> u32 {
        let page = self.pages.entry(id.div_euclid(PAGE as i64)).or_insert_with(|| Box::new([NONE; PAGE]));
        let slot = &mut page[usize::try_from(id.rem_euclid(PAGE as i64)).unwrap_or_default()];
        if *slot == NONE {
            *slot = next(self.count);
            self.count += 1;
        }
        *slot
    }

    fn ids(&self) -> Vec<i64> {
        let mut ids = Vec::with_capacity(self.count);
        for (page, slots) in &self.pages {
            let of_page = (page * PAGE as i64..).zip(slots.iter());
            ids.extend(of_page.filter(|(_, slot)| **slot != NONE).map(|(id, _)| id));
        }
        ids
    }
}

/// The number after so many.
fn next(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(NONE - 1)
}
