//! The notifier: what was raised is stored, then published to whoever listens.

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_platform::bus::Delivery;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_platform::store::notifications::Notification;
use patchwave_schemas::CloudEvent;
use patchwave_schemas::envelope::DecodeError;
use patchwave_schemas::notification::NotificationRaised;
use patchwave_schemas::topology::WorkQueue;

use crate::HandlerError;
use crate::effects::Effects;
use crate::runtime::{Applied, Handler};

/// Stores and publishes notifications.
pub struct Notifier;

#[async_trait]
impl Handler for Notifier {
    type Input = CloudEvent<NotificationRaised>;

    const QUEUE: WorkQueue = WorkQueue::Notifier;

    fn decode(delivery: &Delivery) -> Result<Self::Input, DecodeError> {
        CloudEvent::from_bytes(&delivery.body)
    }

    async fn apply(
        store: &Store,
        _: &MasterKey,
        batch: &[Self::Input],
        _now: Timestamp,
    ) -> Result<Applied, HandlerError> {
        let news: Vec<_> =
            batch.iter().map(|event| Notification::new(event.id, event.time, event.data.clone())).collect();
        let mut tx = store.begin().await?;
        tx.add_notifications(&news).await?;
        tx.commit().await?;
        // A repeated delivery publishes again under the same MessageId, as SNS may.
        Ok(Effects { news, ..Effects::default() }.into())
    }
}
