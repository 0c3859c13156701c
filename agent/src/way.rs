//! Which way the agent takes to the control plane: what its options say, else what the server said
//! when the node registered.

use std::path::Path;
use std::sync::Arc;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use patchwave_agent::credentials::Credentials;
use patchwave_agent::transport::amqp::{AmqpTransport, without_password};
use patchwave_agent::transport::gateway::GatewayTransport;
use patchwave_agent::transport::{Proofs, Transport, TransportError};
use patchwave_schemas::registration::NodeTransport;

use crate::options::Options;

/// The transport. `name` is shown by the broker's tools.
///
/// # Errors
/// When a URL or a file cannot be used, and when nothing says where to go.
pub(crate) fn transport(
    options: &Options,
    credentials: Option<Credentials>,
    name: String,
) -> anyhow::Result<Arc<dyn Transport>> {
    let Some(credentials) = credentials.map(Arc::new) else {
        let Some(bus) = &options.bus else {
            bail!(
                "this node is not registered: run `patchwave-agent register`, or give --bus with a user of the broker"
            );
        };
        let transport = AmqpTransport::new(bus, name, options.shared_queue)?;
        return Ok(trusting(transport, options.ca_cert.as_deref())?);
    };
    let ca_cert = options.ca_cert.clone().or_else(|| credentials.ca_cert.clone());
    let own = Arc::clone(&credentials);
    // Of one node: an agent that is registered is no simulation.
    let proofs: Proofs = Arc::new(move |_| own.proof(Timestamp::now()));
    // Who owns the node may send its proofs in clear; who it registered with may not make it.
    let (url, is_own_choice) = match (&options.bus, &options.server, &credentials.transport) {
        (Some(bus), _, _) => (bus, true),
        (None, None, NodeTransport::Amqp { url }) => (url, false),
        (None, server, _) => {
            let server = server.as_ref().unwrap_or(&credentials.server);
            return Ok(Arc::new(GatewayTransport::new(server, ca_cert.as_deref(), proofs)?));
        }
    };
    let mut transport = AmqpTransport::new(url, name, options.shared_queue)?;
    if !url.contains('@') {
        if !transport.is_private() {
            let shown = without_password(url);
            ensure!(
                is_own_choice,
                "the server named {shown} as the way to the broker, and without TLS anybody on that way could be this \
                 node for some minutes: let it name amqps://, or take that way all the same with --bus {shown}"
            );
            tracing::warn!(
                bus = shown,
                "the node logs in without TLS: anybody on the way could be it for some minutes"
            );
        }
        transport = transport.logging_in(credentials.node_id.clone(), proofs);
    }
    Ok(trusting(transport, ca_cert.as_deref())?)
}

fn trusting(transport: AmqpTransport, ca_cert: Option<&Path>) -> Result<Arc<dyn Transport>, TransportError> {
    Ok(Arc::new(match ca_cert {
        Some(path) => transport.trusting(path)?,
        None => transport,
    }))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use patchwave_agent::credentials::NodeKey;
    use patchwave_schemas::NodeId;

    use super::*;

    fn way(registered: &str, options: &[&str]) -> Result<(), String> {
        let credentials = Credentials {
            node_id: NodeId::from_bits(1),
            key: NodeKey::generate().expect("randomness"),
            fingerprint: "v1:0".to_owned(),
            server: "https://patchwave.example".to_owned(),
            ca_cert: None,
            transport: NodeTransport::Amqp { url: registered.to_owned() },
            verification_keys: Vec::new(),
        };
        let line = ["patchwave-agent"].iter().chain(options);
        let options = Options::try_parse_from(line).expect("options");
        transport(&options, Some(credentials), "test".to_owned()).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn proofs_leave_without_tls_only_where_the_nodes_owner_says_so() {
        let clear = "amqp://broker.internal:5672/%2f";
        let error = way(clear, &[]).expect_err("the server's word does not do");
        assert!(error.contains("without TLS") && error.contains(&format!("--bus {clear}")), "{error}");
        for (registered, options) in [
            (clear, &["--bus", clear][..]),
            (clear, &["--bus", "amqps://broker.internal/%2f"]),
            (clear, &["--server", "https://patchwave.example"]),
            ("amqps://broker.internal/%2f", &[]),
            ("amqp://127.0.0.1:5672/%2f", &[]),
            ("amqp://localhost/%2f", &[]),
        ] {
            assert_eq!(way(registered, options), Ok(()), "{registered} {options:?}");
        }
    }
}
