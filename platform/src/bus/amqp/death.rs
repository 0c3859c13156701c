//! Why a message is dead: written when it is buried here, read from whoever gave it up.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, LongString};

use crate::bus::{Death, Sender};

/// Header with the queue that a buried message was on.
const QUEUE_HEADER: &str = "x-patchwave-queue";
/// Header with the reason, one sentence.
const REASON_HEADER: &str = "x-patchwave-reason";
/// Header with who published it, as [`Sender`] is written. The buried message itself is published by
/// the control plane, so this is believed of a message that is the control plane's, and of no other.
const SENDER_HEADER: &str = "x-patchwave-sender";
/// The broker's own header: an array of tables, the latest death first.
const BROKER_HEADER: &str = "x-death";

/// The properties of a message with the headers of its burial, published by `user`.
pub(super) fn properties(
    properties: &BasicProperties,
    user: &str,
    sender: &Sender,
    queue: &str,
    reason: &str,
) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(QUEUE_HEADER.into(), AMQPValue::LongString(LongString::from(queue)));
    headers.insert(REASON_HEADER.into(), AMQPValue::LongString(LongString::from(reason)));
    headers.insert(SENDER_HEADER.into(), AMQPValue::LongString(LongString::from(sender.to_text())));
    // Whatever it was before, a dead letter must outlive the broker.
    let mut kept = BasicProperties::default().with_headers(headers).with_delivery_mode(2);
    // The broker lets nobody publish as another, and this message is ours now.
    kept = kept.with_user_id(user.into());
    if let Some(id) = properties.message_id() {
        kept = kept.with_message_id(id.clone());
    }
    if let Some(kind) = properties.kind() {
        kept = kept.with_type(kind.clone());
    }
    if let Some(content_type) = properties.content_type() {
        kept = kept.with_content_type(content_type.clone());
    }
    if let Some(app) = properties.app_id() {
        kept = kept.with_app_id(app.clone());
    }
    if let Some(at) = properties.timestamp() {
        kept = kept.with_timestamp(*at);
    }
    kept
}

/// Why a message on the dead-letter queue is there. `publisher` is who published it to where it
/// died, which is the control plane when it was buried here.
pub(super) fn read(delivery: &Delivery, publisher: &Sender) -> Death {
    let empty = FieldTable::default();
    let headers = delivery.properties.headers().as_ref().unwrap_or(&empty);
    // Anybody can write headers; whoever is not the control plane has not buried this.
    let buried_here = *publisher == Sender::ControlPlane;
    if let Some(reason) = text(headers, REASON_HEADER).filter(|_| buried_here) {
        let sender = text(headers, SENDER_HEADER).map_or_else(Sender::nobody, |text| Sender::from_text(&text));
        return Death { queue: text(headers, QUEUE_HEADER).unwrap_or_default(), reason, sender };
    }
    let sender = publisher.clone();
    if let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get(BROKER_HEADER)
        && let Some(AMQPValue::FieldTable(latest)) = deaths.as_slice().first()
    {
        let reason = match text(latest, "reason").as_deref() {
            Some("delivery_limit") => "delivery limit reached: its readers died or gave it back too often".to_owned(),
            Some(other) => format!("given up by the broker: {other}"),
            None => "given up by the broker".to_owned(),
        };
        return Death { queue: text(latest, "queue").unwrap_or_default(), reason, sender };
    }
    let reason = format!("no queue is bound to routing key `{}`", delivery.routing_key);
    Death { queue: String::new(), reason, sender }
}

fn text(table: &FieldTable, key: &str) -> Option<String> {
    match table.inner().get(key)? {
        AMQPValue::LongString(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        AMQPValue::ShortString(value) => Some(value.to_string()),
        _ => None,
    }
}
