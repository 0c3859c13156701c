//! The main job with real programs: servers, agents, RabbitMQ, PostgreSQL, Redis, HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod embedded;
mod first_contact;
mod hostile_broker;
mod in_process;
mod offline;
mod rollouts;
mod this_machine;
mod window;
