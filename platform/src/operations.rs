//! Who makes calls: a port, because operations of our own are served above this crate and functions,
//! endpoints and scripts are reached from it.

use std::time::Duration;

use async_trait::async_trait;
use patchwave_engine::calls::CallOutcome;

use crate::store::calls::StoredCall;

/// Makes calls of some kinds.
#[async_trait]
pub trait CallMaker: Send + Sync {
    /// Makes a call within `time`; `None` when it is of a kind for somebody else.
    ///
    /// Whatever goes wrong is an outcome. The call's token is passed on wherever the other side can
    /// recognise by it that a call is made again.
    async fn make(&self, call: &StoredCall, time: Duration) -> Option<CallOutcome>;
}
