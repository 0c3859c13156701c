//! A journal that lives as long as its last handle: for simulated nodes and tests.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Entry, Journal, JournalError};

/// Entries of one run, after which a rewrite is worth it: thousands of these journals share one
/// process, and a rewrite drops a whole command and its report.
const ENTRIES_OF_A_RUN: usize = 3;

/// A journal in memory. Clones share the record, so that a test can "restart" a node on it.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    // A mutex only because a journal may move between threads; it is never held across anything.
    entries: Arc<Mutex<Vec<Entry>>>,
    /// Entries that the last rewrite left.
    left: usize,
}

impl MemoryJournal {
    /// A journal that already holds `entries`, as a crash might have left them.
    #[must_use]
    pub fn with_entries(entries: Vec<Entry>) -> Self {
        Self { entries: Arc::new(Mutex::new(entries)), left: 0 }
    }

    /// What is recorded now.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        self.lock().extend_from_slice(entries);
        Ok(())
    }

    fn replay(&mut self) -> Result<Vec<Entry>, JournalError> {
        Ok(self.entries())
    }

    fn is_bloated(&self) -> bool {
        self.lock().len() > self.left + ENTRIES_OF_A_RUN
    }

    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let mut record = self.lock();
        record.clear();
        record.extend_from_slice(entries);
        record.shrink_to_fit();
        drop(record);
        self.left = entries.len();
        Ok(())
    }
}
