//! Forgetting what is over, so that the journal does not grow for ever.

use std::sync::Arc;

use jiff::Timestamp;
use patchwave_schemas::CommandId;

use super::{NodeCore, Record};
use crate::journal::{Entry, JournalError};
use crate::run::Run;

impl NodeCore {
    pub(super) fn compact(&mut self, now: Timestamp) -> Result<(), JournalError> {
        self.runs.retain(|_, record| record.run != Run::Confirmed || record.forget_after >= now);
        let entries: Vec<Entry> =
            self.runs.iter().flat_map(|(command, record)| self.essence(*command, record, now)).collect();
        self.journal.rewrite(&entries)
    }

    /// The fewest entries that replay to the record.
    fn essence(&self, command: CommandId, record: &Record, now: Timestamp) -> Vec<Entry> {
        let key = self.key(command);
        if record.run == Run::Confirmed {
            return vec![Entry::Settled { key, forget_after: record.forget_after }];
        }
        if let Some(finished) = &record.finished {
            return vec![Entry::Finished(Arc::clone(finished))];
        }
        let Some(invocation) = &record.invocation else { return Vec::new() };
        let mut entries = vec![Entry::Received { invocation: Arc::clone(invocation), at: now }];
        let at = record.started_at.unwrap_or(now);
        match record.run {
            Run::Started { attempts } => {
                entries.extend((0..attempts).map(|_| Entry::Started { key: key.clone(), at }));
            }
            Run::Cancelling => {
                entries.push(Entry::Started { key: key.clone(), at });
                entries.push(Entry::Cancelling { key, at: now });
            }
            Run::Rebooting { attempts } => {
                entries.extend((0..attempts).map(|_| Entry::Started { key: key.clone(), at }));
                entries.push(Entry::Rebooting { key, point: record.point.clone().unwrap_or_default(), at: now });
            }
            Run::Unknown | Run::Waiting(_) | Run::Finished | Run::Confirmed => {}
        }
        entries
    }
}
