//! What nodes are told, as messages: the command's payload, read once, and the signatures.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use patchwave_platform::bus::{Outgoing, Route};
use patchwave_platform::signing::{Signature, SigningKey};
use patchwave_platform::store::commands::CommandPayload;
use patchwave_platform::store::{Store, to_json};
use patchwave_schemas::command::{CancelInvocation, RunInvocation};
use patchwave_schemas::envelope::SPEC_VERSION;
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::{CommandId, Message, NodeId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::HandlerError;
use crate::effects::{NodeDelivery, Order};

/// Commands whose payload is kept at hand.
const PAYLOADS_MAX: usize = 64;

/// [`RunInvocation`] with the parts that many nodes share already in JSON. What is signed is this
/// text, so it is written once.
#[derive(Serialize)]
struct RunWire<'a> {
    command_id: CommandId,
    node_id: &'a NodeId,
    not_before: Timestamp,
    not_after: Timestamp,
    document: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct EventWire<'a> {
    specversion: &'static str,
    id: uuid::Uuid,
    source: &'static str,
    #[serde(rename = "type")]
    event_type: &'static str,
    time: Timestamp,
    /// [`RELEASE_ATTRIBUTE`](patchwave_schemas::command::RELEASE_ATTRIBUTE).
    #[serde(skip_serializing_if = "Option::is_none")]
    releaseattempt: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signaturepath: Option<String>,
    data: &'a RawValue,
}

/// What commands carry, read once for each command and worker.
#[derive(Default)]
pub struct Payloads {
    known: HashMap<CommandId, Arc<Payload>>,
}

struct Payload {
    document: Box<RawValue>,
    baselines: HashMap<String, Box<RawValue>>,
}

impl Payloads {
    /// Turns deliveries into messages.
    ///
    /// # Errors
    /// [`HandlerError`] when a command's payload cannot be read.
    pub async fn messages(
        &mut self,
        store: &Store,
        key: Option<&SigningKey>,
        deliveries: &[NodeDelivery],
        now: Timestamp,
    ) -> Result<Vec<Outgoing>, HandlerError> {
        let mut letters = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let payload = self.payload(store, delivery.command_id).await?;
            letters.push(Letter::new(delivery, &payload));
        }
        let signatures = match key {
            Some(key) => {
                let texts: Vec<_> = letters.iter().map(|one| (one.message_type, one.data.as_bytes())).collect();
                key.sign(&texts).into_iter().map(|signature| Some((key.key_id(), signature))).collect()
            }
            None => vec![None; letters.len()],
        };
        let messages = letters.into_iter().zip(deliveries).zip(signatures);
        Ok(messages.map(|((letter, delivery), signature)| letter.outgoing(delivery, signature, now)).collect())
    }

    async fn payload(&mut self, store: &Store, command: CommandId) -> Result<Arc<Payload>, HandlerError> {
        if let Some(known) = self.known.get(&command) {
            return Ok(Arc::clone(known));
        }
        let unreadable = |what| HandlerError::Contradiction(format!("the {what} of command {command} is not JSON"));
        let CommandPayload { document, baselines } = store
            .command_payload(command)
            .await?
            .ok_or_else(|| HandlerError::Contradiction(format!("command {command} is not stored")))?;
        let payload = Arc::new(Payload {
            document: RawValue::from_string(document).map_err(|_| unreadable("document"))?,
            baselines: baselines
                .into_iter()
                .map(|(key, text)| Ok((key, RawValue::from_string(text).map_err(|_| unreadable("baseline"))?)))
                .collect::<Result<_, HandlerError>>()?,
        });
        if self.known.len() >= PAYLOADS_MAX {
            self.known.clear();
        }
        self.known.insert(command, Arc::clone(&payload));
        Ok(payload)
    }
}

/// What a node is told, before it is signed.
struct Letter {
    message_type: &'static str,
    /// The same for every delivery of one invocation.
    id: uuid::Uuid,
    /// The payload in JSON.
    data: String,
}

impl Letter {
    fn new(delivery: &NodeDelivery, payload: &Payload) -> Self {
        let (command, node) = (delivery.command_id, &delivery.node_id);
        let id = |what: &str| derived_uuid(what, &format!("{command}/{node}"));
        match &delivery.order {
            Order::Run { baseline_key, not_before, not_after } => {
                let data = to_json(&RunWire {
                    command_id: command,
                    node_id: node,
                    not_before: *not_before,
                    not_after: *not_after,
                    document: &payload.document,
                    baseline: baseline_key.as_ref().and_then(|key| payload.baselines.get(key)).map(|raw| &**raw),
                });
                Self { message_type: RunInvocation::TYPE, id: id("run invocation:"), data }
            }
            Order::Cancel => {
                let data = to_json(&CancelInvocation { command_id: command, node_id: node.clone() });
                Self { message_type: CancelInvocation::TYPE, id: id("cancel invocation:"), data }
            }
        }
    }

    fn outgoing(self, delivery: &NodeDelivery, signature: Option<(&str, Signature)>, now: Timestamp) -> Outgoing {
        let data = RawValue::from_string(self.data).expect("just written as JSON");
        let (keyid, signature) = signature.unzip();
        let (signature, signaturepath) = signature.map(|one| (one.signature, one.path)).unzip();
        let event = EventWire {
            specversion: SPEC_VERSION,
            id: self.id,
            source: "/patchwave/dispatcher",
            event_type: self.message_type,
            time: now,
            releaseattempt: delivery.frees_slot.then_some(delivery.attempt),
            keyid,
            signature,
            signaturepath: signaturepath.flatten(),
            data: &data,
        };
        Outgoing {
            route: Route::Node { address: delivery.address.clone() },
            message_id: self.id,
            message_type: self.message_type.to_owned(),
            body: to_json(&event).into_bytes(),
        }
    }
}
