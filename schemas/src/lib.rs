//! Every message Patchwave puts on a wire, and every id in them.
//!
//! The types here are the contract between programs: they serialise to CloudEvents 1.0
//! (structured JSON), the JSON Schemas and the AsyncAPI document beside this crate are generated
//! from them, and recorded examples of every version must keep decoding.
//!
//! Rules live in `engine`, storage in `platform`: nothing here decides anything or does I/O.

pub mod asyncapi;
pub mod baseline;
pub mod batch;
pub mod catalogue;
pub mod command;
pub mod envelope;
pub mod event;
pub mod generated;
pub mod ids;
pub mod node;
pub mod notification;
pub mod patch_now;
pub mod proof;
pub mod registration;
pub mod report;
pub mod signing;
pub mod topology;
pub mod waves;

pub use envelope::{CloudEvent, Message};
pub use ids::{
    BaselineId, CommandId, IdError, NodeId, TaskExecutionId, WindowExecutionId, WindowId, WindowTargetId, WindowTaskId,
    WorkflowId,
};
