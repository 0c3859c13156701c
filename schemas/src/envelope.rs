//! The envelope of every message: CloudEvents 1.0 in structured JSON mode.
//!
//! `type` names the message and its version, `id` is what duplicates are recognised by, and the
//! W3C trace context rides along as the standard extension attributes.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::NodeId;

/// Content type of a message body.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The CloudEvents version written and accepted.
pub const SPEC_VERSION: &str = "1.0";

/// A message: the payload of a [`CloudEvent`] with a fixed `type`.
pub trait Message: Serialize + DeserializeOwned + JsonSchema {
    /// `patchwave.<entity>.<past participle or imperative>.v<n>`.
    const TYPE: &'static str;
}

/// A CloudEvents 1.0 event. Unknown extension attributes are ignored when reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CloudEvent<T> {
    /// Always `1.0`.
    pub specversion: String,
    /// Unique with `source`; what a repeated delivery is recognised by.
    pub id: Uuid,
    /// Who made the event, for instance `/patchwave/scheduler` or `/node/mi-…`.
    pub source: String,
    /// Name and version of the payload.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What the event is about: a window, command or node id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the event happened, UTC.
    pub time: Timestamp,
    /// Always `application/json` where present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// W3C trace context of the operation that made the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// W3C trace state, passed on unread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// The control plane's key that signed the payload; on messages to nodes, see [`crate::signing`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
    /// That key's signature of this message, or of the batch that it belongs to, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The hashes that lead from the type and the payload to what is signed, in base64; absent on a
    /// message that was signed alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signaturepath: Option<String>,
    /// The payload.
    pub data: T,
}

/// The `source` of what a node reports.
#[must_use]
pub fn node_source(node: &NodeId) -> String {
    format!("/node/{node}")
}

impl<T: Message> CloudEvent<T> {
    /// Wraps `data` as an event that happened at `time`.
    pub fn new(id: Uuid, source: impl Into<String>, time: Timestamp, data: T) -> Self {
        Self {
            specversion: SPEC_VERSION.to_owned(),
            id,
            source: source.into(),
            event_type: T::TYPE.to_owned(),
            subject: None,
            time,
            datacontenttype: None,
            traceparent: None,
            tracestate: None,
            keyid: None,
            signature: None,
            signaturepath: None,
            data,
        }
    }

    /// Names what the event is about.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Checks that a report about `node` comes from that node.
    ///
    /// # Errors
    /// [`DecodeError::OtherSpeaker`].
    pub fn spoken_by(&self, node: &NodeId) -> Result<(), DecodeError> {
        if self.source == node_source(node) {
            Ok(())
        } else {
            Err(DecodeError::OtherSpeaker { speaker: self.source.clone(), node: node.to_string() })
        }
    }

    /// The event as the bytes of a message body.
    ///
    /// # Panics
    /// Never for the types of this crate: none has a map with non-string keys or a failing
    /// `Serialize`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("message types always serialise")
    }

    /// Reads an event of exactly this type.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is not JSON, not a CloudEvent, or of another type or version.
    pub fn from_bytes(body: &[u8]) -> Result<Self, DecodeError> {
        let event: Self =
            serde_json::from_slice(body).map_err(|source| DecodeError::malformed::<Self>(T::TYPE, body, source))?;
        if event.specversion != SPEC_VERSION {
            return Err(DecodeError::SpecVersion { found: event.specversion });
        }
        if event.event_type != T::TYPE {
            return Err(DecodeError::OtherType { expected: T::TYPE, found: event.event_type });
        }
        Ok(event)
    }
}

/// The part of an event that says what it is, read before its payload is.
#[derive(Debug, Clone, Deserialize)]
pub struct Head {
    /// See [`CloudEvent::specversion`].
    pub specversion: String,
    /// See [`CloudEvent::id`].
    pub id: Uuid,
    /// See [`CloudEvent::event_type`].
    #[serde(rename = "type")]
    pub event_type: String,
    /// See [`CloudEvent::source`].
    pub source: String,
}

impl Head {
    /// Reads only the head of a message body.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is not a CloudEvent 1.0.
    pub fn from_bytes(body: &[u8]) -> Result<Self, DecodeError> {
        let head: Self = serde_json::from_slice(body)
            .map_err(|source| DecodeError::malformed::<Self>("CloudEvents 1.0", body, source))?;
        if head.specversion != SPEC_VERSION {
            return Err(DecodeError::SpecVersion { found: head.specversion });
        }
        Ok(head)
    }
}

/// Why a message body could not be read. Such a message goes to the dead letters alone.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or JSON that lacks or misshapes a field.
    #[error("body is not a valid {expected} message at `{field}`")]
    Malformed {
        /// The type that was expected.
        expected: &'static str,
        /// Path of the field that is wrong or lacks one; `.` for the whole body.
        field: String,
        /// Position and reason.
        #[source]
        source: serde_json::Error,
    },
    /// A CloudEvents version other than 1.0.
    #[error("specversion is `{found}`; only `1.0` is read")]
    SpecVersion {
        /// What the message says.
        found: String,
    },
    /// A well-formed event of another type.
    #[error("type is `{found}`; expected `{expected}`")]
    OtherType {
        /// The type that was expected.
        expected: &'static str,
        /// What the message says.
        found: String,
    },
    /// A report about one node from another source.
    #[error("source is `{speaker}`; a report about `{node}` must come from `/node/{node}`")]
    OtherSpeaker {
        /// The message's source.
        speaker: String,
        /// The node it speaks of.
        node: String,
    },
    /// A value that its type allows and its meaning does not.
    #[error("{problem}")]
    Value {
        /// The field, the value and what is allowed.
        problem: String,
    },
    /// A type that nobody here handles.
    #[error("no handler for messages of type `{found}` on this queue")]
    UnknownType {
        /// What the message says.
        found: String,
    },
}

impl DecodeError {
    /// Reads the body once more to find where it is wrong: only what is wrong pays for that.
    pub(crate) fn malformed<T: DeserializeOwned>(
        expected: &'static str,
        body: &[u8],
        source: serde_json::Error,
    ) -> Self {
        let deserializer = &mut serde_json::Deserializer::from_slice(body);
        let found = serde_path_to_error::deserialize::<_, T>(deserializer);
        let field = found.err().map_or_else(|| ".".to_owned(), |error| error.path().to_string());
        Self::Malformed { expected, field, source }
    }
}
