//! Nodes: what they take, do and say, and what befalls them.

use patchwave_platform::bus::{Outgoing, Route};
use rand::RngExt as _;

use super::World;
use crate::simulation::network::Inbox;

impl World {
    pub(super) fn connect(&mut self, index: usize) {
        let before = self.nodes[index].address.clone();
        let address = self.nodes[index].connect(self.now);
        self.say(|| format!("node {index} connects as {address}"));
        let mut inbox = Inbox::default();
        let mut wires = self.network.wires();
        if let Some(old) = before {
            match self.rng.random_range(0..3) {
                // Half open: its queue stays for a while, and nobody reads it.
                0 => {}
                1 => drop(wires.nodes.remove(&old)),
                // What had arrived was read before the connection broke.
                _ => inbox.messages = wires.nodes.remove(&old).unwrap_or_default().messages,
            }
        }
        wires.nodes.insert(address, inbox);
    }

    pub(super) fn some_node(&mut self) -> anyhow::Result<()> {
        let index = self.rng.random_range(0..self.nodes.len());
        self.node(index).map(|_| ())
    }

    pub(super) fn all_nodes(&mut self) -> anyhow::Result<bool> {
        let mut acted = false;
        for index in 0..self.nodes.len() {
            acted |= self.node(index)?;
        }
        Ok(acted)
    }

    /// Lets a node take one message, go on with its work and send what it has to say.
    pub(super) fn node(&mut self, index: usize) -> anyhow::Result<bool> {
        let now = self.now;
        let address = self.nodes[index].address.clone();
        let mut wires = self.network.wires();
        let (message, gone) = match address.as_ref().and_then(|address| wires.nodes.get_mut(address)) {
            Some(inbox) => (inbox.messages.pop_front(), inbox.gone),
            None => (None, true),
        };
        drop(wires);
        let mut acted = message.is_some();
        let node = &mut self.nodes[index];
        if let Some(body) = message {
            node.receive(&body, now, &mut self.rng, &mut self.deeds)?;
        }
        let working = node.working.is_some();
        node.work(now, &mut self.rng, &mut self.deeds)?;
        acted |= working != node.working.is_some();
        if node.working.is_some() && self.rng.random_bool(0.2) {
            node.progress(now);
        }
        if gone {
            // Its next report would tell it that the connection is lost.
            if let Some(address) = address.filter(|_| !acted) {
                node.disconnect();
                self.network.wires().nodes.remove(&address);
                acted = true;
            }
        } else if !node.is_silent(now) {
            let reports = std::mem::take(&mut node.outgoing);
            acted |= !reports.is_empty();
            for report in reports {
                let outgoing = Outgoing {
                    route: Route::Report { key: report.routing_key().to_owned() },
                    message_id: report.id,
                    message_type: report.message_type.to_owned(),
                    body: report.body.clone(),
                };
                self.network.wires().put(&outgoing);
                // The confirmation may be lost: it is then sent again after the next connect.
                if !self.network.wires().faulty || self.rng.random_bool(0.9) {
                    self.nodes[index].confirmed(&report, now)?;
                }
            }
        }
        Ok(acted)
    }

    pub(super) fn node_trouble(&mut self) -> anyhow::Result<()> {
        let index = self.rng.random_range(0..self.nodes.len());
        let node = &mut self.nodes[index];
        let gone = match self.rng.random_range(0..3) {
            0 => node.disconnect(),
            1 => {
                self.summary.crashes += 1;
                node.crash(self.now, &mut self.rng, &mut self.deeds)?
            }
            // The control plane remembers two addresses of a node: it is not led astray by two hellos
            // in the wrong order, and would be by three.
            _ if self.network.wires().hellos_of(&node.facts.node_id) > 1 => None,
            // From nothing, or while the control plane still believes in the old connection.
            _ => {
                self.connect(index);
                None
            }
        };
        if let Some(address) = gone {
            self.say(|| format!("node {index} is gone from {address}"));
            self.network.wires().nodes.remove(&address);
        }
        Ok(())
    }
}
