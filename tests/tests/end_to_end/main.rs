//! The main job with real programs: servers, agents, RabbitMQ, PostgreSQL, Redis, HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker_logins;
mod embedded;
mod first_contact;
mod gateway;
mod hostile_broker;
mod in_process;
mod offline;
mod rebound;
mod registered;
mod rollouts;
mod this_machine;
mod waves;
mod whole_life;
mod window;
