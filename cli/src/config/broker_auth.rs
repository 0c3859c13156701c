//! Where RabbitMQ asks about nodes: an address and the file with its secret, or neither.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::fault::Fault;
use super::layers::Effective;
use super::setting::Setting;

/// How the broker asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAuthSettings {
    /// Where. Other machines reach it only with a certificate, or where plain HTTP was asked for in
    /// so many words: that is checked when it is listened to.
    pub listen: SocketAddr,
    /// The file with the secret in the path that it asks at.
    pub secret_file: PathBuf,
}

pub(super) fn check(effective: &Effective) -> Result<Option<BrokerAuthSettings>, Fault> {
    let (listen, file) = (effective.value(Setting::BrokerAuthListen), effective.value(Setting::BrokerAuthSecretFile));
    match (listen, file) {
        ("", "") => Ok(None),
        ("", _) => Err(effective.fault(Setting::BrokerAuthListen, "the broker has a secret and nobody to ask")),
        (_, "") => Err(effective.fault(Setting::BrokerAuthSecretFile, "whoever is to ask needs a secret")),
        (listen, file) => Ok(Some(BrokerAuthSettings {
            listen: listen
                .parse()
                .map_err(|_| effective.fault(Setting::BrokerAuthListen, "not an IP address and port"))?,
            secret_file: PathBuf::from(file),
        })),
    }
}
