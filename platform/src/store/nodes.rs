//! Managed nodes: what they are, and where their commands go while they are connected.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::node::{NodeFacts, NodePolicy, OperatingSystem};
use patchwave_schemas::report::{NodeConnected, NodeDisconnected};
use patchwave_schemas::topology::HOST_QUEUE_PREFIX;
use patchwave_schemas::{CommandId, NodeId};
use serde::Serialize;
use sqlx::any::AnyRow;

use super::{Column, Dialect, Error, Store, Tx, from_json, get, instant, millis, parsed, sql, to_json};

/// A managed node as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it said about itself; the tags are the control plane's.
    pub facts: NodeFacts,
    /// The queue its commands go to; `None` when it is known to be away.
    pub address: Option<String>,
    /// What it takes at all, by its own policy; `None` when that is everything.
    pub policy: Option<NodePolicy>,
    /// When it was first seen.
    pub registered_at: Timestamp,
    /// When it was last heard of.
    pub last_contact_at: Timestamp,
}

/// What the resolver needs of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node_id: NodeId,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its operating system.
    pub operating_system: OperatingSystem,
    /// Whether it can be reached, as far as is known.
    pub is_connected: bool,
    /// When it was last heard of.
    pub last_contact_at: Timestamp,
}

/// Characters of a node's former addresses that are kept: about five. What is cut off is not used.
const FORMER_CHARS_MAX: u32 = 400;

/// How far the clock of a gateway may be ahead of that of a worker.
const SESSIONS_AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// The columns that [`node_of`] reads.
pub(crate) const NODE_COLUMNS: &str = "node_id, computer_name, operating_system, platform_name, platform_version, \
     agent_version, ip_address, simulated, tags, address, policy, registered_at, last_contact_at";

/// A node from a row with [`NODE_COLUMNS`].
pub(crate) fn node_of(row: &AnyRow) -> Result<Node, Error> {
    Ok(Node {
        facts: NodeFacts {
            node_id: parsed(row, "node_id")?,
            computer_name: get(row, "computer_name")?,
            operating_system: operating_system_of(row)?,
            platform_name: get(row, "platform_name")?,
            platform_version: get(row, "platform_version")?,
            agent_version: get(row, "agent_version")?,
            ip_address: get(row, "ip_address")?,
            simulated: get::<i64>(row, "simulated")? != 0,
            tags: from_json("nodes.tags", &get::<String>(row, "tags")?)?,
        },
        address: get(row, "address")?,
        policy: get::<Option<String>>(row, "policy")?.map(|text| from_json("nodes.policy", &text)).transpose()?,
        registered_at: instant(get(row, "registered_at")?),
        last_contact_at: instant(get(row, "last_contact_at")?),
    })
}

fn operating_system_of(row: &AnyRow) -> Result<OperatingSystem, Error> {
    from_json("nodes.operating_system", &format!("\"{}\"", get::<String>(row, "operating_system")?))
}

#[derive(Serialize)]
struct FactsRow<'a> {
    node_id: &'a NodeId,
    computer_name: Cow<'a, str>,
    operating_system: OperatingSystem,
    platform_name: Cow<'a, str>,
    platform_version: Cow<'a, str>,
    agent_version: Cow<'a, str>,
    ip_address: Option<Cow<'a, str>>,
    simulated: u8,
    tags: String,
    address: Option<Cow<'a, str>>,
    session: Option<Cow<'a, str>>,
    policy: Option<String>,
}

/// PostgreSQL's text holds no NUL, and one node's odd name must not fail the others of its batch.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

impl<'a> FactsRow<'a> {
    fn new(facts: &'a NodeFacts, hello: Option<&'a NodeConnected>) -> Self {
        Self {
            node_id: &facts.node_id,
            computer_name: storable(&facts.computer_name),
            operating_system: facts.operating_system,
            platform_name: storable(&facts.platform_name),
            platform_version: storable(&facts.platform_version),
            agent_version: storable(&facts.agent_version),
            ip_address: facts.ip_address.as_deref().map(storable),
            simulated: u8::from(facts.simulated),
            tags: to_json(&facts.tags),
            address: hello.map(|hello| storable(&hello.address)),
            session: hello.map(|hello| storable(&hello.session)),
            policy: hello.and_then(|hello| hello.policy.as_ref()).map(|policy| storable(&to_json(policy)).into_owned()),
        }
    }
}

const FACTS: [(&str, Column); 12] = [
    ("node_id", Column::Text),
    ("computer_name", Column::Text),
    ("operating_system", Column::Text),
    ("platform_name", Column::Text),
    ("platform_version", Column::Text),
    ("agent_version", Column::Text),
    ("ip_address", Column::Text),
    ("simulated", Column::Int),
    ("tags", Column::Text),
    ("address", Column::Text),
    ("session", Column::Text),
    ("policy", Column::Text),
];

#[derive(Serialize)]
struct AwayRow<'a> {
    node_id: &'a NodeId,
    address: &'a str,
    session: &'a str,
}

impl Tx {
    /// Locks the rows of these nodes, in the one order in which every transaction takes several of
    /// them: by id. Whoever is to change nodes by more than one statement locks them all first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn lock_nodes<'a>(&mut self, nodes: impl Iterator<Item = &'a NodeId>) -> Result<(), Error> {
        let lock = self.dialect().for_update();
        if lock.is_empty() {
            return Ok(());
        }
        let source = self.dialect().rows("r", 1, &[("node_id", Column::Text)]);
        sqlx::query(sql(format!(
            "SELECT node_id FROM nodes WHERE node_id IN (SELECT r.node_id FROM {source}) ORDER BY node_id{lock}"
        )))
        .bind(ids(nodes))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("lock nodes"))
    }

    /// Records nodes that connected. A node seen first is added with its own tags; afterwards the
    /// stored tags stay. Former addresses are kept: see [`Tx::nodes_away`].
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn nodes_connected(&mut self, hellos: &[NodeConnected], now: Timestamp) -> Result<(), Error> {
        let link = format!(
            "former_addresses = CASE
                 WHEN nodes.address IS NULL OR nodes.address = excluded.address
                     OR nodes.address LIKE '{HOST_QUEUE_PREFIX}%' THEN nodes.former_addresses
                 ELSE substr(nodes.address || ' ' || replace(nodes.former_addresses, excluded.address || ' ', ''),
                             1, {FORMER_CHARS_MAX})
             END,
             address = excluded.address, session = excluded.session, policy = excluded.policy, "
        );
        // A host's queue is not kept: it takes commands for nodes that have left it, too.
        // In rounds, as two rows of one node in one statement are an error; and all of them, as the
        // last one in a batch need not be the latest.
        let mut rest: Vec<_> = hellos.iter().collect();
        while !rest.is_empty() {
            let mut seen = HashSet::new();
            let (round, later): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|hello| seen.insert(&hello.facts.node_id));
            let rows: Vec<_> = round.into_iter().map(|hello| FactsRow::new(&hello.facts, Some(hello))).collect();
            self.put_facts(&rows, "", &link, now).await?;
            rest = later;
        }
        Ok(())
    }

    /// Adds a node, or replaces its facts and its tags.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_node(&mut self, facts: &NodeFacts, now: Timestamp) -> Result<(), Error> {
        self.put_facts(&[FactsRow::new(facts, None)], "tags = excluded.tags, ", "", now).await
    }

    async fn put_facts(&mut self, rows: &[FactsRow<'_>], tags: &str, link: &str, now: Timestamp) -> Result<(), Error> {
        let source = self.dialect().rows("r", 1, &FACTS);
        let names = FACTS.map(|(name, _)| name);
        let text = format!(
            "INSERT INTO nodes ({columns}, registered_at, last_contact_at)
             SELECT {values}, $2, $2 FROM {source} WHERE true ORDER BY r.node_id
             ON CONFLICT (node_id) DO UPDATE SET {tags}{link}
                 computer_name = excluded.computer_name, operating_system = excluded.operating_system,
                 platform_name = excluded.platform_name, platform_version = excluded.platform_version,
                 agent_version = excluded.agent_version, ip_address = excluded.ip_address,
                 simulated = excluded.simulated, last_contact_at = excluded.last_contact_at",
            columns = names.join(", "),
            values = names.map(|name| format!("r.{name}")).join(", "),
        );
        sqlx::query(sql(text))
            .bind(to_json(rows))
            .bind(millis(now))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("store nodes"))
    }

    /// Takes a node out of management, with what is known of its state. What was done on it stays:
    /// its invocations.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn remove_node(&mut self, node: &NodeId) -> Result<bool, Error> {
        let mut removed = false;
        // The node first: whoever changes the others of a node holds it.
        for table in ["nodes", "patch_states", "inventory_items", "compliance_reports"] {
            let done = sqlx::query(sql(format!("DELETE FROM {table} WHERE node_id = $1")))
                .bind(node.as_str())
                .execute(self.connection())
                .await
                .map_err(Error::doing("remove a node"))?;
            removed |= table == "nodes" && done.rows_affected() > 0;
        }
        Ok(removed)
    }

    /// Records signs of life.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn nodes_alive(&mut self, nodes: &[NodeId], now: Timestamp) -> Result<(), Error> {
        if nodes.is_empty() {
            return Ok(());
        }
        self.lock_nodes(nodes.iter()).await?;
        let source = self.dialect().rows("r", 1, &[("node_id", Column::Text)]);
        sqlx::query(sql(format!(
            "UPDATE nodes SET last_contact_at = $2 WHERE node_id IN (SELECT r.node_id FROM {source})"
        )))
        .bind(ids(nodes.iter()))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("record signs of life"))
    }

    /// Forgets the addresses that the bus found nobody at; the nodes' former ones are tried next.
    /// An address that changed meanwhile stays.
    ///
    /// Hellos keep no order, and the clocks of nodes need not either. A hello that was handed out
    /// again after a process died may thus speak of an older connection than the stored one; the
    /// bus knows which of them is alive, and tells by what it returns.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn nodes_away(&mut self, found: &[(NodeId, String)]) -> Result<(), Error> {
        let rows: Vec<_> =
            found.iter().map(|(node, address)| AwayRow { node_id: node, address, session: "" }).collect();
        self.forget_addresses(&rows, "").await
    }

    /// The same for nodes whose sessions at a gateway have ended: those of its address up to the
    /// one that is named. A node that has come back to the gateway since keeps its address.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn nodes_disconnected(&mut self, ended: &[NodeDisconnected], now: Timestamp) -> Result<(), Error> {
        // A session that claims to be from the future would never end. Sessions are UUIDv7, which
        // begin with their milliseconds.
        let future = format!("{:012x}", millis(now + SESSIONS_AHEAD));
        let rows: Vec<_> = ended
            .iter()
            .map(|one| AwayRow { node_id: &one.node_id, address: &one.address, session: &one.session })
            .collect();
        self.forget_addresses(&rows, &format!("AND (nodes.session <= r.session OR nodes.session > '{future}')")).await
    }

    async fn forget_addresses(&mut self, rows: &[AwayRow<'_>], only: &str) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        self.lock_nodes(rows.iter().map(|row| row.node_id)).await?;
        let columns = [("node_id", Column::Text), ("address", Column::Text), ("session", Column::Text)];
        let source = self.dialect().rows("r", 1, &columns);
        let space = match self.dialect() {
            Dialect::Sqlite => "instr(former_addresses, ' ')",
            Dialect::Postgres => "strpos(former_addresses, ' ')",
        };
        sqlx::query(sql(format!(
            "UPDATE nodes SET session = NULL,
                 address = CASE WHEN {space} > 0 THEN substr(former_addresses, 1, {space} - 1) END,
                 former_addresses = substr(former_addresses, {space} + 1)
             FROM {source}
             WHERE nodes.node_id = r.node_id AND nodes.address = r.address {only}"
        )))
        .bind(to_json(rows))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("record nodes as away"))
    }

    /// The nodes of a command's invocations that are pending, waiting or ready, by id, behind
    /// `after`. The caller holds the rollout's row.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn nodes_without_slot(
        &mut self,
        command: CommandId,
        after: Option<&NodeId>,
        limit: usize,
    ) -> Result<Vec<NodeId>, Error> {
        sqlx::query(sql(format!(
            "SELECT node_id FROM invocations
             WHERE command_id = $1 AND node_id > $2 AND state IN ('pending', 'waiting', 'ready')
             ORDER BY node_id LIMIT {limit}"
        )))
        .bind(command.to_string())
        .bind(after.map_or("", NodeId::as_str))
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read unreleased invocations"))?
        .iter()
        .map(|row| parsed(row, "node_id"))
        .collect()
    }

    /// Reads the nodes a command may be for: those named, or all.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn candidates(&mut self, named: Option<&[NodeId]>) -> Result<Vec<Candidate>, Error> {
        let columns = "SELECT nodes.node_id, nodes.tags, nodes.operating_system, nodes.last_contact_at,
             CASE WHEN nodes.address IS NULL THEN 0 ELSE 1 END AS is_connected FROM nodes";
        let rows = match named {
            None => sqlx::query(sql(columns.to_owned())).fetch_all(self.connection()).await,
            Some(named) => {
                let source = self.dialect().rows("r", 1, &[("node_id", Column::Text)]);
                let text = format!("{columns} JOIN {source} ON r.node_id = nodes.node_id");
                sqlx::query(sql(text)).bind(ids(named.iter())).fetch_all(self.connection()).await
            }
        }
        .map_err(Error::doing("read nodes"))?;
        rows.iter()
            .map(|row| {
                Ok(Candidate {
                    node_id: parsed(row, "node_id")?,
                    tags: from_json("nodes.tags", &get::<String>(row, "tags")?)?,
                    operating_system: operating_system_of(row)?,
                    is_connected: get::<i64>(row, "is_connected")? != 0,
                    last_contact_at: instant(get(row, "last_contact_at")?),
                })
            })
            .collect()
    }
}

impl Store {
    /// Reads one node.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn node(&self, node: &NodeId) -> Result<Option<Node>, Error> {
        sqlx::query(sql(format!("SELECT {NODE_COLUMNS} FROM nodes WHERE node_id = $1")))
            .bind(node.as_str())
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a node"))?
            .map(|row| node_of(&row))
            .transpose()
    }

    /// Reads every node, by id.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        sqlx::query(sql(format!("SELECT {NODE_COLUMNS} FROM nodes ORDER BY node_id")))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read nodes"))?
            .iter()
            .map(node_of)
            .collect()
    }
}

/// Node ids as a batch parameter with one column, `node_id`.
fn ids<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> String {
    to_json(&nodes.map(|node| serde_json::json!({ "node_id": node })).collect::<Vec<_>>())
}
