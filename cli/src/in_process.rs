//! Agents inside this process: the glue between the embedded bus and the agents' transport.

use std::sync::Arc;

use async_trait::async_trait;
use patchwave_agent::report::Report;
use patchwave_agent::transport::memory::InProcessBus;
use patchwave_platform::bus::embedded::EmbeddedBus;
use patchwave_platform::bus::{Bus as _, Outgoing, Route};
use tokio::sync::mpsc;

/// Commands that may wait for one address in this process.
const INBOX: usize = 64;

/// The embedded bus as agents see it.
pub struct EmbeddedLink(pub Arc<EmbeddedBus>);

#[async_trait]
impl InProcessBus for EmbeddedLink {
    fn listen(&self, address: &str) -> mpsc::Receiver<Vec<u8>> {
        let mut inbox = self.0.listen(address);
        let (sender, receiver) = mpsc::channel(INBOX);
        tokio::spawn(async move {
            loop {
                let body = tokio::select! {
                    // The agent is gone: dropping the inbox takes the address off the bus.
                    () = sender.closed() => return,
                    body = inbox.recv() => body,
                };
                let Some(body) = body else { return };
                if sender.send(body).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }

    async fn report(&self, reports: &[Report]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let messages: Vec<_> = reports
            .iter()
            .map(|report| Outgoing {
                route: Route::Report { key: report.routing_key().to_owned() },
                message_id: report.id,
                message_type: report.message_type.to_owned(),
                body: report.body.clone(),
            })
            .collect();
        self.0.publish(&messages).await?;
        Ok(())
    }
}
