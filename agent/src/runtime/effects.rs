//! From messages and news to effects, and from effects to work.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use patchwave_schemas::NodeId;
use serde::Deserialize;

use super::driver::{Driver, JOURNAL_RETRY, chain};
use super::pace;
use super::work::{self, News};
use crate::execute::{Control, run_document_now};
use crate::journal::JournalError;
use crate::node::Effect;
use crate::transport::Incoming;

/// Messages that may wait for their acknowledgement while reports are being confirmed. Less than a
/// shared queue hands out in advance, or taking would stall until the confirms are in.
const TICKETS_MAX: usize = 512;

impl Driver {
    pub(super) async fn take(&mut self, batch: &mut Vec<Incoming>) {
        let now = Timestamp::now();
        let mut tickets = Vec::with_capacity(batch.len());
        let mut failure = None;
        for message in batch.drain(..) {
            let node_id = message.node_id.or_else(|| addressee(&message.body));
            let Some(index) = node_id.and_then(|id| self.by_id.get(&id).copied()) else {
                tracing::warn!("dropped a message for a node that is not of this process");
                tickets.push(message.ticket);
                continue;
            };
            // A simulated node that went offline on a shared queue hears nothing.
            if self.slots[index].attached.is_none() {
                tickets.push(message.ticket);
                continue;
            }
            match self.slots[index].core.handle(&message.body, now) {
                Ok(effects) => {
                    tickets.push(message.ticket);
                    self.carry_out(index, effects);
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(up) = &mut self.up {
            up.tickets.extend(tickets);
            if up.publishing.is_empty() || up.tickets.len() >= TICKETS_MAX {
                self.acknowledge().await;
            }
        }
        if let Some(error) = failure {
            // Without a journal nothing may run. Away from the bus the commands wait in the store.
            tracing::error!(error = chain(&error), "could not journal a command");
            self.lost("the journal cannot be written");
        }
    }

    /// Carries out effects, and those that follow from work that is done at once.
    pub(super) fn carry_out(&mut self, index: usize, effects: Vec<Effect>) {
        let mut effects: VecDeque<Effect> = effects.into();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Report(report) => self.say(index, report),
                Effect::AskForKeys => self.options.ask_for_keys.notify_one(),
                Effect::WakeAt(at) => self.wakes.push(Reverse((at, index))),
                Effect::Kill(_) => {
                    if let Some(control) = &self.slots[index].control {
                        control.cancel.cancel();
                    }
                }
                Effect::Reboot(command) => {
                    let reboot = self.options.reboot_command.clone();
                    let node = &self.slots[index].facts.node_id;
                    let wait = pace::reboot_wait(node, command, self.options.reboot_jitter);
                    if !wait.is_zero() {
                        tracing::info!(node.id = %node, command.id = %command, seconds = wait.as_secs(), "the restart waits");
                    }
                    self.reboots.spawn(work::reboot(index, command, (wait, reboot), self.tell.clone()));
                }
                Effect::Start(job) => {
                    let slot = &mut self.slots[index];
                    if slot.runner.is_instant() {
                        let execution = run_document_now(&*slot.runner, &job);
                        let ended = slot.core.finished(execution, Timestamp::now());
                        effects.extend(self.or_again(index, ended));
                    } else {
                        let control = Control::default();
                        slot.control = Some(control.clone());
                        let runner = Arc::clone(&slot.runner);
                        self.jobs.spawn(work::execute(index, runner, job, control, self.tell.clone()));
                    }
                }
            }
        }
    }

    pub(super) fn told(&mut self, index: usize, news: News) {
        let now = Timestamp::now();
        let core = &mut self.slots[index].core;
        let outcome = match news {
            News::Progress(progress) => {
                if let Some(report) = core.progressed(progress, now) {
                    self.say(index, report);
                }
                return;
            }
            News::Ended(execution) => {
                let again = News::Ended(execution.clone());
                core.finished(execution, now).map_err(|error| (error, again))
            }
            News::RebootFailed(command, why) => {
                core.reboot_failed(command, &why, now).map_err(|error| (error, News::RebootFailed(command, why)))
            }
        };
        match outcome {
            Ok(effects) => self.carry_out(index, effects),
            Err((error, again)) => {
                tracing::error!(error = chain(&error), "could not journal the end of a command; trying again");
                let news = self.tell.clone();
                self.reboots.spawn(async move {
                    tokio::time::sleep(JOURNAL_RETRY).await;
                    let _ = news.send((index, again));
                });
            }
        }
    }

    fn or_again(&self, index: usize, effects: Result<Vec<Effect>, JournalError>) -> Vec<Effect> {
        effects.unwrap_or_else(|error| {
            tracing::error!(node.id = %self.slots[index].facts.node_id, error = chain(&error), "could not journal");
            vec![]
        })
    }
}

/// The node a message on a shared address is for.
fn addressee(body: &[u8]) -> Option<NodeId> {
    #[derive(Deserialize)]
    struct Event {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        node_id: NodeId,
    }
    serde_json::from_slice::<Event>(body).ok().map(|event| event.data.node_id)
}
