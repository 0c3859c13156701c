//! The workers: everything that happens because a message arrived.
//!
//! Stateless: any number may run. A handler loads state, asks `engine` for the next one, stores it
//! with what is to be said about it, and only then says it. The rules themselves are not here.
//!
//! - [`runtime`]: consuming a queue in batches; retries, poison, graceful stop.
//! - [`effects`]: what follows a committed transaction, and carrying it out.
//! - [`letters`]: what nodes are told, as signed messages.
//! - [`advance`]: applying one engine step of a rollout to the store.
//! - `audit`: what is recorded of what workers do.
//! - [`news`]: the wording of notifications.
//! - one module for each queue, with one file for each message.

pub mod advance;
mod audit;
pub mod caller;
pub mod collector;
pub mod dead;
pub mod dispatcher;
pub mod effects;
pub mod inventory;
pub mod letters;
pub mod news;
pub mod notifier;
pub mod resolver;
pub mod runtime;
mod waves;
pub mod workflows;

use std::sync::Arc;

use patchwave_platform::bus::Bus;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::signing::Signer;
use patchwave_platform::store::Store;
use patchwave_platform::topics::Topics;

pub use runtime::run;

/// What every worker needs.
#[derive(Clone)]
pub struct Context {
    /// The truth.
    pub store: Store,
    /// Work in, commands and events out.
    pub bus: Arc<dyn Bus>,
    /// Live news out.
    pub topics: Arc<dyn Topics>,
    /// Signs what is recorded, and opens the secrets that the store holds.
    pub master_key: Arc<MasterKey>,
    /// Signs what nodes are told. None only where nobody verifies: in benchmarks that measure what
    /// signing costs.
    pub signer: Option<Arc<Signer>>,
    /// Makes the calls that this process claims. None where nothing claims any.
    pub calls: Option<caller::Calls>,
}

/// Why a handler could not apply a batch. Nothing of the batch was stored.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The store is away, or refused.
    #[error(transparent)]
    Store(#[from] patchwave_platform::store::Error),
    /// The stored counters and the stored invocations contradict each other, or a message
    /// contradicts both.
    #[error("{0}")]
    Contradiction(String),
}

impl HandlerError {
    /// What the runtime can do about it.
    #[must_use]
    pub fn class(&self) -> patchwave_platform::Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Contradiction(_) => patchwave_platform::Class::Rejected,
        }
    }
}
