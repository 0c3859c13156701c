//! Killing and restarting things in the middle of rollouts, with real programs and servers.
//!
//! Each test lets a rollout get under way, breaks something, and then checks: every target is in
//! one terminal state, the counters agree, nothing ran twice on a node, no limit was exceeded,
//! nothing ended in the dead letters, and the next rollout works.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod duplicates;
mod fleet;
mod kills;
mod restarts;
