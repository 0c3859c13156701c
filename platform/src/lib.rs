//! Ports and adapters: everything that knows a driver.
//!
//! A port is a trait with a contract suite in `tests/`; each has an embedded adapter, which needs
//! no other program, and one for many machines. Rules live in `engine`; programs live above.

pub mod artifacts;
pub mod audit;
pub mod bus;
pub mod calendars;
pub mod cut_off;
pub mod fan_outs;
pub mod functions;
pub mod launch;
pub mod operations;
pub mod outbox;
pub mod proofs;
pub mod recompute;
pub mod registration;
pub mod secrets;
pub mod signing;
pub mod store;
pub mod telemetry;
pub mod topics;
pub mod workflows;

/// What a caller can do about an error: the one question every error here answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again later.
    Transient,
    /// Never works with this input.
    Rejected,
    /// Stop: this program cannot go on.
    Fatal,
}
