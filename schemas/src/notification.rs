//! News for subscribers: what the notifier publishes to topics.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::envelope::Message;

/// The topic that every change of a window execution, task or command is published to.
pub const DEFAULT_TOPIC: &str = "patchwave";

/// A state change that somebody wants to hear of. From whichever worker stored the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotificationRaised {
    /// Topic name, without prefix.
    pub topic: String,
    /// The envelope's `Subject`.
    pub subject: String,
    /// The payload: SSM's notification document for the kind of change.
    pub message: serde_json::Value,
}

impl Message for NotificationRaised {
    const TYPE: &'static str = "patchwave.notification.raised.v1";
}

/// SNS's envelope, as subscribers receive it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SnsEnvelope {
    /// Always `Notification`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The same for every repetition of one notification.
    pub message_id: Uuid,
    /// `arn:aws:sns:local:000000000000:<topic>`.
    pub topic_arn: String,
    /// For people.
    pub subject: String,
    /// The payload as JSON text, as SNS carries it.
    pub message: String,
    /// When the change was stored.
    pub timestamp: Timestamp,
}
