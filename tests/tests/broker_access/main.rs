//! What a node can and cannot do on a real RabbitMQ that asks the control plane about it.
//!
//! The broker's configuration is the deployed one. Whatever is refused here is tried as somebody
//! would who holds a node's key and any AMQP client.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cut_off;
mod logins;
mod permissions;
mod queues;
mod world;
