//! The agent's end of the link: connecting, greeting, publishing, losing it and starting over.

use std::future::pending;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use patchwave_schemas::NodeId;
use tokio::time::Instant;

use super::Change;
use super::driver::{Driver, chain};
use crate::report::Report;
use crate::transport::{Attached, Connection, Incoming, Ticket, TransportError};

/// Messages handled in one round.
const BATCH_MAX: usize = 512;

/// Reports published in one call.
const PUBLISH_MAX: usize = 1_024;

/// Publishing calls whose confirms are awaited at the same time.
const PUBLISHING_MAX: usize = 4;

/// What an attempt to connect brings: the connection, and the nodes by index.
pub(super) type Connected = Result<(Connection, Vec<(usize, Attached)>), TransportError>;
type Published = (Vec<Report>, Result<(), TransportError>);

/// A living connection.
pub(super) struct Up {
    pub(super) connection: Connection,
    pub(super) since: Instant,
    pub(super) publishing: FuturesUnordered<BoxFuture<'static, Published>>,
    pub(super) outbox: Vec<Report>,
    /// Of messages that are journaled and not yet acknowledged.
    pub(super) tickets: Vec<Ticket>,
}

impl Driver {
    pub(super) fn connect(&mut self) {
        let transport = Arc::clone(&self.transport);
        let wait = self.backoff.next();
        let nodes: Vec<(usize, NodeId)> = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.online)
            .map(|(index, slot)| (index, slot.facts.node_id.clone()))
            .collect();
        self.connecting = Some(Box::pin(async move {
            tokio::time::sleep(wait).await;
            let connection = transport.connect().await?;
            let (indices, ids): (Vec<usize>, Vec<NodeId>) = nodes.into_iter().unzip();
            let attached = connection.link.attach(&ids).await?;
            Ok((connection, indices.into_iter().zip(attached).collect()))
        }));
    }

    pub(super) fn connected(&mut self, connected: Connected) {
        self.connecting = None;
        match connected {
            Ok((connection, attached)) => {
                tracing::info!(nodes = attached.len(), "connected");
                self.up = Some(Up {
                    connection,
                    since: Instant::now(),
                    publishing: FuturesUnordered::new(),
                    outbox: Vec::new(),
                    tickets: Vec::new(),
                });
                for (index, attached) in attached {
                    self.greet(index, attached);
                }
                // The set of nodes may have changed while the connection was being made.
                for index in 0..self.slots.len() {
                    if self.slots[index].online != self.slots[index].attached.is_some() {
                        let change = Change::Online(self.slots[index].facts.node_id.clone(), self.slots[index].online);
                        let _ = self.change_self.send(change);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "could not connect; trying again");
                self.connect();
            }
        }
    }

    /// Says hello for a node, and what it has had to say since.
    pub(super) fn greet(&mut self, index: usize, attached: Attached) {
        let slot = &mut self.slots[index];
        let Some(up) = &mut self.up else { return };
        up.outbox.push(Report::connected(
            &slot.facts,
            &slot.introduction,
            &attached.address,
            &attached.session,
            Timestamp::now(),
        ));
        up.outbox.extend(slot.core.unconfirmed());
        slot.attached = Some(attached);
    }

    pub(super) fn lost(&mut self, why: &str) {
        let Some(up) = self.up.take() else { return };
        tracing::warn!(reason = why, "disconnected; connecting again");
        // Reports that were not confirmed are in the journals and come again with the greeting.
        self.slots.iter_mut().for_each(|slot| slot.attached = None);
        self.backoff.ended(up.since.elapsed());
        self.connect();
    }

    pub(super) fn say(&mut self, index: usize, report: Report) {
        // Without a connection it waits in the journal, or is of no interest later.
        if let (Some(up), Some(_)) = (&mut self.up, &self.slots[index].attached) {
            up.outbox.push(report);
        }
    }

    pub(super) fn publish(&mut self) {
        let Some(up) = &mut self.up else { return };
        while !up.outbox.is_empty() && up.publishing.len() < PUBLISHING_MAX {
            let rest = if up.outbox.len() > PUBLISH_MAX { up.outbox.split_off(PUBLISH_MAX) } else { Vec::new() };
            let reports = std::mem::replace(&mut up.outbox, rest);
            let link = Arc::clone(&up.connection.link);
            up.publishing.push(Box::pin(async move {
                let published = link.report(&reports).await;
                (reports, published)
            }));
        }
    }

    pub(super) async fn published(&mut self, reports: Vec<Report>, published: Result<(), TransportError>) {
        if let Err(error) = published {
            self.lost(&chain(&error));
            return;
        }
        let now = Timestamp::now();
        for report in reports {
            let Some(command) = report.settles else { continue };
            let Some(slot) = self.by_id.get(&report.node_id).map(|index| &mut self.slots[*index]) else { continue };
            if let Err(error) = slot.core.confirmed(command, now) {
                tracing::warn!(error = chain(&error), "could not note a confirmation; the report will be sent again");
            }
        }
        self.acknowledge().await;
    }

    /// Acknowledges what is journaled.
    ///
    /// A busy agent does so with each round of confirms and not with each message: a
    /// multiple-acknowledge costs the broker as much as a single one. Little waits for it: a node's
    /// own queue hands out a few messages in advance, and only those behind them come with the
    /// confirms.
    pub(super) async fn acknowledge(&mut self) {
        let Some(up) = &mut self.up else { return };
        let tickets = std::mem::take(&mut up.tickets);
        if !tickets.is_empty()
            && let Err(error) = up.connection.link.acknowledge(tickets).await
        {
            self.lost(&chain(&error));
        }
    }

    pub(super) async fn change(&mut self, change: Change) {
        let Change::Online(node, online) = change;
        let Some(index) = self.by_id.get(&node).copied() else { return };
        self.slots[index].online = online;
        let Some(up) = &self.up else { return };
        let link = Arc::clone(&up.connection.link);
        let changed = match (online, self.slots[index].attached.is_some()) {
            (true, false) => match link.attach(&[node]).await {
                Ok(attached) => {
                    attached.into_iter().for_each(|attached| self.greet(index, attached));
                    Ok(())
                }
                Err(error) => Err(error),
            },
            (false, true) => {
                self.slots[index].attached = None;
                link.detach(&[node]).await
            }
            _ => Ok(()),
        };
        if let Err(error) = changed {
            self.lost(&chain(&error));
        }
    }
}

/// What a connection brings.
pub(super) enum LinkNews {
    /// So many messages; none when it has ended.
    Received(usize),
    Lost,
    Published(Vec<Report>, Result<(), TransportError>),
}

/// Waits for news of the connection; for ever when there is none. Dropping the future loses nothing.
pub(super) async fn link_news(up: Option<&mut Up>, taking: bool, batch: &mut Vec<Incoming>) -> LinkNews {
    let Some(Up { connection, publishing, .. }) = up else { return pending().await };
    // With that many confirms outstanding the broker is behind: more work would only pile up.
    let taking = taking && publishing.len() < PUBLISHING_MAX;
    tokio::select! {
        () = connection.lost.cancelled() => LinkNews::Lost,
        count = connection.incoming.recv_many(batch, BATCH_MAX), if taking => LinkNews::Received(count),
        Some((reports, published)) = publishing.next() => LinkNews::Published(reports, published),
    }
}
