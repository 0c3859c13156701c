//! What every bus promises, asked of each adapter: in memory, embedded in a file, and RabbitMQ.
//!
//! A case gets a fresh, empty bus. New promises of the port are added here, for all adapters.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

/// Runs every case on every adapter, each with a limit that only a hang reaches.
macro_rules! contract {
    ($($case:ident,)*) => {
        contract!(@adapter memory, $($case,)*);
        contract!(@adapter file, $($case,)*);
        contract!(@adapter rabbitmq, $($case,)*);
    };
    (@adapter $adapter:ident, $($case:ident,)*) => {
        mod $adapter {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let work = async { super::$case(crate::backend::Backend::$adapter().await).await };
                    tokio::time::timeout(crate::LIMIT, Box::pin(work)).await.expect("hangs");
                }
            )*
        }
    };
}

/// Longer than any case takes.
const LIMIT: Duration = Duration::from_secs(60);

mod backend;
mod burial;
mod delivery;
mod file_reopened;
mod fixtures;
mod hosting;
mod rabbitmq_restarted;
mod routing;
