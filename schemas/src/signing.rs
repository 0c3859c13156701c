//! How messages to nodes are signed: which bytes, in which attributes.
//!
//! A signed message is an ordinary CloudEvent with extension attributes: `keyid` names the control
//! plane's key; `signature` is Ed25519 (RFC 8032) in base64 over the root of a tree of messages that
//! were signed together, see [`crate::batch`]; `signaturepath` leads there from this one, in base64,
//! and is absent on a message that was signed alone. A leaf is the type and the exact bytes of
//! `data`. Bytes and not values: nothing has to be written in one canonical form, and what
//! is verified is what is read. `data` names the node, the invocation and the time span, so all
//! three are signed. The envelope's `id`, `time` and `source` are not: nothing is decided by them.
//!
//! Only the text is made here; whoever signs or verifies brings the cryptography.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::envelope::{DecodeError, SPEC_VERSION};

/// What every signed text begins with: a signature made for another purpose fits no message.
const PREFIX: &[u8] = b"patchwave-message-v1\n";

/// The text that stands for a message of this type with these bytes as `data`.
#[must_use]
pub fn signed_text(message_type: &str, data: &[u8]) -> Vec<u8> {
    // A type holds no line's end, so that the two cannot be shifted into each other.
    [PREFIX, message_type.as_bytes(), b"\n", data].concat()
}

/// The text by which one signing key vouches for its successor.
#[must_use]
pub fn endorsed_text(key_id: &str, public_key: &str) -> Vec<u8> {
    format!("patchwave-endorsement-v1\n{key_id}\n{public_key}").into_bytes()
}

/// A message to a node as far as its signature goes; borrows the bytes that it was read from.
#[derive(Debug, Deserialize)]
pub struct SignedMessage<'a> {
    /// See [`crate::CloudEvent::specversion`].
    specversion: &'a str,
    /// See [`crate::CloudEvent::event_type`].
    #[serde(rename = "type")]
    pub message_type: &'a str,
    /// The key that signed; absent on an unsigned message.
    #[serde(default)]
    pub keyid: Option<&'a str>,
    /// The signature, in base64; absent on an unsigned message.
    #[serde(default)]
    pub signature: Option<&'a str>,
    /// The way to the signed root, in base64; absent on a message that was signed alone.
    #[serde(default)]
    pub signaturepath: Option<&'a str>,
    /// The payload's bytes.
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<'a> SignedMessage<'a> {
    /// Reads a message body.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not a CloudEvent 1.0, or says a name twice: two readers might
    /// then read two different messages.
    pub fn from_bytes(body: &'a [u8]) -> Result<Self, DecodeError> {
        let message: Self = serde_json::from_slice(body)
            .map_err(|source| DecodeError::malformed::<SignedHead>("CloudEvents 1.0", body, source))?;
        if message.specversion != SPEC_VERSION {
            return Err(DecodeError::SpecVersion { found: message.specversion.to_owned() });
        }
        Ok(message)
    }

    /// The text of its leaf.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        signed_text(self.message_type, self.data.get().as_bytes())
    }
}

/// The owned shape of [`SignedMessage`], which tells where a malformed body goes wrong.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only its reading matters")]
struct SignedHead {
    specversion: String,
    #[serde(rename = "type")]
    message_type: String,
    keyid: Option<String>,
    signature: Option<String>,
    signaturepath: Option<String>,
}

/// The public half of a key that signs messages to nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerificationKey {
    /// Its name, as in `keyid`.
    pub key_id: String,
    /// 32 bytes of an Ed25519 public key, in base64.
    pub public_key: String,
    /// The key that vouches for this one; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsed_by: Option<String>,
    /// That key's signature of [`endorsed_text`], in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement: Option<String>,
    /// Whether messages may be signed by it. A retired key is listed for the sake of those that it
    /// vouches for.
    pub valid: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(data: &str) -> String {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"x\",\"source\":\"/s\",\"type\":\"t.v1\",\"keyid\":\"k\",\
             \"signature\":\"c2ln\",\"time\":\"now\",\"data\":{data}}}"
        )
    }

    #[test]
    fn the_bytes_of_the_payload_are_signed_as_they_are() {
        for data in ["{}", "{ \"a\" : 1 }", "{\"a\":1.0}", "{\"b\":\"\\u0041\"}"] {
            let body = body(data);
            let message = SignedMessage::from_bytes(body.as_bytes()).expect("a message");
            assert_eq!(message.text(), signed_text("t.v1", data.as_bytes()));
            assert_eq!((message.keyid, message.signature), (Some("k"), Some("c2ln")));
        }
    }

    #[test]
    fn two_payloads_in_one_message_are_refused() {
        let body = body("{}").replacen("\"data\":{}", "\"data\":{\"a\":1},\"data\":{\"a\":2}", 1);
        assert!(SignedMessage::from_bytes(body.as_bytes()).is_err());
    }

    #[test]
    fn an_unsigned_message_is_told_from_a_malformed_one() {
        let body = "{\"specversion\":\"1.0\",\"type\":\"t.v1\",\"data\":{}}";
        assert_eq!(SignedMessage::from_bytes(body.as_bytes()).expect("a message").signature, None);
        for bad in ["", "{}", "[1]", "{\"specversion\":\"0.3\",\"type\":\"t\",\"data\":{}}"] {
            assert!(SignedMessage::from_bytes(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_signature_of_one_type_fits_no_other() {
        assert_ne!(signed_text("a.v1", b"{}"), signed_text("b.v1", b"{}"));
        assert_ne!(signed_text("k", b"p"), endorsed_text("k", "p"));
    }
}
