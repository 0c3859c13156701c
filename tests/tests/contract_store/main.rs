//! What the store promises, asked of SQLite in a file and of PostgreSQL by the same functions.
//!
//! A case gets an empty database of its own. New promises are added here, for both databases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

/// Makes `sqlite::name` and `postgres::name` of each case.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::place::Place::sqlite()).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::place::Place::postgres()).await;
            })+
        }
    };
}

mod access;
mod cut_offs;
mod cves;
mod documents;
mod errors;
mod executions;
mod fixtures;
mod group_compliance;
mod identities;
mod inventories;
mod inventory;
mod invocations;
mod launch_baselines;
mod launches;
mod letters;
mod logins;
mod node_records;
mod nodes;
mod outbox;
mod place;
mod reboot_limit;
mod recompute;
mod releases;
mod timers;
mod transactions;
mod waves;
mod windows;
mod workflows;
