//! What is scarce, and must not be one peer's: connections, bytes of requests that are under way.
//!
//! Of one process. Who holds something is told apart by a name, of which there are no more than
//! there are units.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A number of units, of which one name may hold a part.
#[derive(Debug)]
pub(crate) struct Shares {
    total: usize,
    each: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_name: HashMap<String, usize>,
}

/// Units that somebody holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    name: String,
    units: usize,
}

impl Shares {
    /// `total` units, of which one name may hold `each`.
    pub(crate) fn new(total: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { total, each, held: Mutex::default() })
    }

    /// A share of nothing yet.
    pub(crate) fn open(self: &Arc<Self>, name: &str) -> Share {
        Share { shares: Arc::clone(self), name: name.to_owned(), units: 0 }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes so many units more. `false` when they are not there, or not for this name; then nothing
    /// has changed.
    #[must_use]
    pub(crate) fn grow(&mut self, units: usize) -> bool {
        let mut held = self.shares.held();
        let own = held.by_name.get(&self.name).copied().unwrap_or_default();
        if held.total + units > self.shares.total || own + units > self.shares.each {
            return false;
        }
        if units > 0 {
            held.total += units;
            held.by_name.insert(self.name.clone(), own + units);
            self.units += units;
        }
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.units == 0 {
            return;
        }
        let mut held = self.shares.held();
        held.total -= self.units;
        if let Some(own) = held.by_name.get_mut(&self.name) {
            *own -= self.units;
            if *own == 0 {
                held.by_name.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_it_all_and_what_is_dropped_is_free_again() {
        let shares = Shares::new(10, 4);
        let (mut one, mut same, mut other) = (shares.open("a"), shares.open("a"), shares.open("b"));
        assert!(one.grow(3) && same.grow(1) && !same.grow(1), "two of one name are one");
        assert!(other.grow(4) && !other.grow(1));
        let mut third = shares.open("c");
        assert!(third.grow(2) && !third.grow(1), "there are ten");
        drop(one);
        assert!(third.grow(2) && same.grow(1));
        drop((same, other, third));
        let held = shares.held();
        assert_eq!((held.total, held.by_name.len()), (0, 0));
    }
}
