//! The transport over HTTPS, for nodes that do not reach the broker: docs/node-gateway.md.
//!
//! A node's commands come as lines of one long response; its reports are posted. A lost response is
//! a lost link, as a lost connection is with a broker: the runtime connects again, with another
//! session, and the store repeats what was open. So nothing is acknowledged to the gateway;
//! acknowledging here only makes room for more commands to be read.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use patchwave_schemas::NodeId;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::https::{beginning, client, failed};
use super::{Attached, Connection, Incoming, Link, Proofs, Ticket, Transport, TransportError};
use crate::report::Report;

/// Commands that a node may hold unacknowledged; what is behind them waits in the connection.
const HELD_MAX: usize = 16;

/// Bytes of a command at most. The largest carry a baseline's snapshot or a script of 64 KiB.
const COMMAND_BYTES_MAX: usize = 16 << 20;

/// Reports posted together, and bytes of them from which on no more are added.
const POST_REPORTS_MAX: usize = 256;
const POST_BYTES_MAX: usize = 1 << 20;

/// Bytes of a refusal that are read, and for how long: no more than the log is to show.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;
const REFUSAL_WITHIN: Duration = Duration::from_secs(5);

/// How long the answer to reports may take. The gateway waits up to half a minute for its bus.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A gateway's address, and who its nodes are.
pub struct GatewayTransport {
    server: Url,
    client: Client,
    proofs: Proofs,
}

impl GatewayTransport {
    /// A transport to the gateway at `server`, such as `https://patchwave.example:8443`, which is
    /// trusted by the system's certificates, or by those in `ca_cert` (PEM) alone if that is given.
    ///
    /// # Errors
    /// [`TransportError::Server`] if the URL is not one of HTTPS, or of HTTP on this machine;
    /// [`TransportError::Certificates`].
    pub fn new(server: &str, ca_cert: Option<&Path>, proofs: Proofs) -> Result<Self, TransportError> {
        let (server, client) = client(server, ca_cert)?;
        Ok(Self { server, client, proofs })
    }
}

#[async_trait]
impl Transport for GatewayTransport {
    async fn connect(&self) -> Result<Connection, TransportError> {
        let (sender, incoming) = mpsc::unbounded_channel();
        let lost = CancellationToken::new();
        let link = GatewayLink {
            server: self.server.clone(),
            client: self.client.clone(),
            proofs: Arc::clone(&self.proofs),
            sender,
            lost: lost.clone(),
            streams: Mutex::default(),
        };
        Ok(Connection { incoming, lost, link: Arc::new(link) })
    }
}

struct GatewayLink {
    server: Url,
    client: Client,
    proofs: Proofs,
    sender: mpsc::UnboundedSender<Incoming>,
    /// Cancelled when a stream ends, because then the link is of no use.
    lost: CancellationToken,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    by_node: HashMap<NodeId, Reading>,
    /// Names the stream that a command came on.
    last: u32,
}

struct Reading {
    channel: u32,
    stop: CancellationToken,
    /// Room for commands to be held.
    room: Arc<Semaphore>,
}

/// The first line of a stream.
#[derive(Deserialize)]
struct Greeting {
    address: String,
    session: String,
}

impl GatewayLink {
    fn url(&self, path: &str) -> Result<Url, TransportError> {
        self.server.join(path).map_err(failed("make the gateway's URL"))
    }

    fn authorization(&self, node: &NodeId) -> String {
        format!("Patchwave-Node {node}:{}", (self.proofs)(node))
    }

    async fn open(&self, node: &NodeId) -> Result<Attached, TransportError> {
        let request = self.client.get(self.url("/node/v1/commands")?).header(AUTHORIZATION, self.authorization(node));
        let answer = request.send().await.map_err(failed("reach the gateway"))?;
        let mut lines = Lines { answer: accepted("open a stream of commands", answer).await?, buffer: Vec::new() };
        let first = lines.next().await?.ok_or(TransportError::Closed)?;
        let greeting: Greeting = serde_json::from_slice(&first).map_err(failed("read the gateway's greeting"))?;

        let (stop, room) = (CancellationToken::new(), Arc::new(Semaphore::new(HELD_MAX)));
        let channel = {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            streams.last = streams.last.wrapping_add(1);
            let reading = Reading { channel: streams.last, stop: stop.clone(), room: Arc::clone(&room) };
            if let Some(before) = streams.by_node.insert(node.clone(), reading) {
                before.stop.cancel();
            }
            streams.last
        };
        let (sender, lost, node_id) = (self.sender.clone(), self.lost.clone(), node.clone());
        tokio::spawn(async move {
            let reading = read(lines, channel, node_id, room, sender);
            if let Some(ended) = stop.run_until_cancelled(reading).await {
                tracing::debug!(reason = ended.err().map(|error| error.to_string()), "the stream of commands ended");
                lost.cancel();
            }
        });
        Ok(Attached { address: greeting.address.into(), session: greeting.session.into() })
    }

    async fn post(&self, node: &NodeId, reports: &[&Report]) -> Result<(), TransportError> {
        let mut body = Vec::with_capacity(reports.iter().map(|report| report.body.len() + 1).sum());
        for report in reports {
            body.extend_from_slice(&report.body);
            body.push(b'\n');
        }
        let request = self
            .client
            .post(self.url("/node/v1/reports")?)
            .timeout(ANSWER_WITHIN)
            .header(AUTHORIZATION, self.authorization(node))
            .body(body);
        let answer = request.send().await.map_err(failed("reach the gateway"))?;
        accepted("post reports", answer).await.map(drop)
    }
}

/// The answer, if it is no refusal.
async fn accepted(attempted: &str, answer: Response) -> Result<Response, TransportError> {
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(answer);
    }
    // For the log of this node's operator; an answer need not come from a gateway of ours.
    let text = beginning(answer, REFUSAL_BYTES_MAX, REFUSAL_WITHIN).await;
    let text: String = text.chars().take(300).filter(|c| !c.is_control()).collect();
    Err(TransportError::Link { attempted: attempted.to_owned(), source: format!("{status}: {text}").into() })
}

/// Passes commands on until the stream ends.
async fn read(
    mut lines: Lines,
    channel: u32,
    node_id: NodeId,
    room: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<Incoming>,
) -> Result<(), TransportError> {
    let mut tag = 0;
    while let Some(body) = lines.next().await? {
        // A sign of life.
        if body == b"{}" {
            continue;
        }
        // Given back when the command is acknowledged.
        room.acquire().await.map_err(failed("hold a command"))?.forget();
        tag += 1;
        let incoming = Incoming { node_id: Some(node_id.clone()), body, ticket: Ticket { channel, tag } };
        if sender.send(incoming).is_err() {
            break;
        }
    }
    Ok(())
}

/// A response, line by line.
struct Lines {
    answer: Response,
    buffer: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if searched > COMMAND_BYTES_MAX {
                let source = format!("a line of more than {COMMAND_BYTES_MAX} bytes").into();
                return Err(TransportError::Link { attempted: "read a command".to_owned(), source });
            }
            match self.answer.chunk().await.map_err(failed("read the stream of commands"))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

#[async_trait]
impl Link for GatewayLink {
    async fn attach(&self, nodes: &[NodeId]) -> Result<Vec<Attached>, TransportError> {
        try_join_all(nodes.iter().map(|node| self.open(node))).await
    }

    async fn detach(&self, nodes: &[NodeId]) -> Result<(), TransportError> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for node in nodes {
            if let Some(reading) = streams.by_node.remove(node) {
                reading.stop.cancel();
            }
        }
        Ok(())
    }

    async fn acknowledge(&self, tickets: Vec<Ticket>) -> Result<(), TransportError> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for reading in streams.by_node.values() {
            let done = tickets.iter().filter(|ticket| ticket.channel == reading.channel).count();
            reading.room.add_permits(done);
        }
        Ok(())
    }

    async fn report(&self, reports: &[Report]) -> Result<(), TransportError> {
        // In the order of each node; between nodes there is none.
        let mut by_node: Vec<(&NodeId, Vec<&Report>)> = Vec::new();
        let mut places: HashMap<&NodeId, usize> = HashMap::new();
        for report in reports {
            let place = *places.entry(&report.node_id).or_insert_with(|| {
                by_node.push((&report.node_id, Vec::new()));
                by_node.len() - 1
            });
            by_node[place].1.push(report);
        }
        let posting = by_node.into_iter().map(|(node, reports)| async move {
            for some in posts(&reports) {
                self.post(node, some).await?;
            }
            Ok(())
        });
        let posted = self.lost.run_until_cancelled(try_join_all(posting)).await;
        posted.unwrap_or(Err(TransportError::Closed)).map(drop)
    }

    async fn close(&self) {
        self.streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_node
            .drain()
            .for_each(|(_, one)| one.stop.cancel());
    }
}

impl Drop for GatewayLink {
    fn drop(&mut self) {
        let streams = self.streams.get_mut().unwrap_or_else(PoisonError::into_inner);
        streams.by_node.drain().for_each(|(_, one)| one.stop.cancel());
    }
}

/// Reports in portions that fit into a request. One that is too large goes alone.
fn posts<'a, 'b>(reports: &'b [&'a Report]) -> Vec<&'b [&'a Report]> {
    let mut portions = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (index, report) in reports.iter().enumerate() {
        if index > first && (index - first >= POST_REPORTS_MAX || bytes + report.body.len() > POST_BYTES_MAX) {
            portions.push(&reports[first..index]);
            (first, bytes) = (index, 0);
        }
        bytes += report.body.len();
    }
    if first < reports.len() {
        portions.push(&reports[first..]);
    }
    portions
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn transport(server: &str) -> Result<GatewayTransport, TransportError> {
        GatewayTransport::new(server, None, Arc::new(|_| String::new()))
    }

    #[test]
    fn proofs_do_not_leave_the_machine_without_tls() {
        for server in ["https://patchwave.example", "https://10.0.0.1:8443/", "http://127.0.0.1:8080", "http://[::1]:1"]
        {
            assert!(transport(server).is_ok(), "{server}");
        }
        for (server, words) in [
            ("http://patchwave.example", "without TLS"),
            ("http://127.0.0.1.example:80", "without TLS"),
            ("amqps://host", "not a URL of HTTPS"),
            ("host", "not a URL"),
            ("https://user:secret@host", "no place"),
        ] {
            let error = transport(server).err().expect(server).to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let made = GatewayTransport::new("https://host", Some(file.path()), Arc::new(|_| String::new()));
        let error = made.err().expect("refused").to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }

    #[test]
    fn portions_hold_every_report_in_order() {
        let node = NodeId::from_bits(1);
        let report = |bytes| {
            let mut report = Report::heartbeat(&node, "s", Timestamp::UNIX_EPOCH);
            report.body = vec![b' '; bytes];
            report
        };
        let reports: Vec<Report> =
            [10, POST_BYTES_MAX, POST_BYTES_MAX + 1, 10].into_iter().chain([1; 300]).map(report).collect();
        let all: Vec<&Report> = reports.iter().collect();
        let lengths: Vec<usize> = posts(&all).iter().map(|portion| portion.len()).collect();
        assert_eq!(lengths, [1, 1, 1, POST_REPORTS_MAX, 301 - POST_REPORTS_MAX]);
        assert!(posts(&[]).is_empty());
    }
}
