//! Which way the agent takes to the control plane: what its options say, else what the server said
//! when the node registered.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use jiff::Timestamp;
use patchwave_agent::credentials::Credentials;
use patchwave_agent::transport::amqp::AmqpTransport;
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
    let url = match (&options.bus, &options.server, &credentials.transport) {
        (Some(bus), _, _) => bus,
        (None, None, NodeTransport::Amqp { url }) => url,
        (None, server, _) => {
            let server = server.as_ref().unwrap_or(&credentials.server);
            return Ok(Arc::new(GatewayTransport::new(server, ca_cert.as_deref(), proofs)?));
        }
    };
    let mut transport = AmqpTransport::new(url, name, options.shared_queue)?;
    if !url.contains('@') {
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
