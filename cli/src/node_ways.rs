//! How nodes reach this process: through the gateway, and by way of the broker, which asks here who
//! they are.

use std::sync::Arc;

use anyhow::Context as _;
use patchwave_api::broker_auth::{self, BrokerAuth};
use patchwave_api::gateway::{Gateway, STREAMS_MAX};
use patchwave_api::{ServeError, Serving};
use patchwave_platform::proofs::Identities;
use reqwest::Url;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::roles::Platform;

/// A gateway on the platform's bus.
#[must_use]
pub(crate) fn gateway(platform: &Platform) -> Gateway {
    Gateway::new(Arc::clone(&platform.bus), Arc::new(platform.store.clone()), STREAMS_MAX)
}

/// Where the broker asks, listened to before anything else is done.
pub(crate) struct Questions {
    listener: TcpListener,
    serving: Serving,
    vhost: String,
    secret: String,
}

/// Listens for the broker's questions, if the configuration says where.
///
/// # Errors
/// When the secret cannot be read or the address not be listened to.
pub(crate) async fn questions(config: &Config, serving: &Serving) -> anyhow::Result<Option<Questions>> {
    let Some(settings) = &config.broker_auth else { return Ok(None) };
    let path = &settings.secret_file;
    let secret = std::fs::read_to_string(path)
        .with_context(|| format!("could not read the broker's secret in {}", path.display()))?;
    let serving = Serving { tls: serving.tls.clone(), insecurely: serving.insecurely, ..Serving::default() };
    let listener = patchwave_api::bind(settings.listen, &serving).await?;
    Ok(Some(Questions { listener, serving, vhost: vhost(config.bus.as_str()), secret: secret.trim().to_owned() }))
}

impl Questions {
    /// Answers until `stop`.
    ///
    /// # Errors
    /// When the secret is none, or the listener breaks.
    pub(crate) async fn answer(self, platform: &Platform, stop: CancellationToken) -> anyhow::Result<()> {
        let identities: Arc<dyn Identities> = Arc::new(platform.store.clone());
        let auth = BrokerAuth::new(identities, self.vhost, &self.secret)?;
        let served: Result<(), ServeError> =
            patchwave_api::serve_routes(self.listener, broker_auth::router(auth), self.serving, stop).await;
        served.context("the broker's questions cannot be answered any more")
    }
}

/// The virtual host that a bus's URL names; RabbitMQ's default one is `/`.
fn vhost(bus: &str) -> String {
    let path = Url::parse(bus).map(|url| url.path().to_owned()).unwrap_or_default();
    let name = path.strip_prefix('/').unwrap_or_default();
    if name.is_empty() { "/".to_owned() } else { decoded(name) }
}

/// A path's segment without its percent signs. What is not UTF-8 then is no virtual host.
fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| byte == b'%') {
            Some(value) => {
                bytes.push(value);
                rest = &tail[2..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_host_is_the_url_s() {
        for (url, expected) in [
            ("amqp://u:p@host:5672/%2f", "/"),
            ("amqp://u:p@host:5672/%2F", "/"),
            ("amqp://u:p@host", "/"),
            ("amqp://u:p@host/", "/"),
            ("amqps://u:p@host/patch-wave?heartbeat=10", "patch-wave"),
            ("amqp://u:p@host/a%20b%", "a b%"),
            ("embedded", "/"),
        ] {
            assert_eq!(vhost(url), expected, "{url}");
        }
    }
}
