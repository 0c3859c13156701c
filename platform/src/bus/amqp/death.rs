//! Why a message is dead: written when it is buried here, read from whoever gave it up.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, LongString};

use crate::bus::Death;

/// Header with the queue that a buried message was on.
const QUEUE_HEADER: &str = "x-patchwave-queue";
/// Header with the reason, one sentence.
const REASON_HEADER: &str = "x-patchwave-reason";
/// The broker's own header: an array of tables, the latest death first.
const BROKER_HEADER: &str = "x-death";

/// The properties of a message with the two headers of its burial.
pub(super) fn properties(properties: &BasicProperties, queue: &str, reason: &str) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(QUEUE_HEADER.into(), AMQPValue::LongString(LongString::from(queue)));
    headers.insert(REASON_HEADER.into(), AMQPValue::LongString(LongString::from(reason)));
    // Whatever it was before, a dead letter must outlive the broker.
    let mut kept = BasicProperties::default().with_headers(headers).with_delivery_mode(2);
    // All but the user: the broker lets nobody publish as another, and this message is ours now.
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

/// Why a message on the dead-letter queue is there.
pub(super) fn read(delivery: &Delivery) -> Death {
    let empty = FieldTable::default();
    let headers = delivery.properties.headers().as_ref().unwrap_or(&empty);
    if let Some(reason) = text(headers, REASON_HEADER) {
        return Death { queue: text(headers, QUEUE_HEADER).unwrap_or_default(), reason };
    }
    if let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get(BROKER_HEADER)
        && let Some(AMQPValue::FieldTable(latest)) = deaths.as_slice().first()
    {
        let reason = match text(latest, "reason").as_deref() {
            Some("delivery_limit") => "delivery limit reached: its readers died or gave it back too often".to_owned(),
            Some(other) => format!("given up by the broker: {other}"),
            None => "given up by the broker".to_owned(),
        };
        return Death { queue: text(latest, "queue").unwrap_or_default(), reason };
    }
    Death { queue: String::new(), reason: format!("no queue is bound to routing key `{}`", delivery.routing_key) }
}

fn text(table: &FieldTable, key: &str) -> Option<String> {
    match table.inner().get(key)? {
        AMQPValue::LongString(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        AMQPValue::ShortString(value) => Some(value.to_string()),
        _ => None,
    }
}
