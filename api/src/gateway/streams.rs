//! Who is connected to this process, and what waits for them to be written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use patchwave_platform::proofs::PUBLIC_KEY_BYTES;
use patchwave_schemas::report::{NodeDisconnected, ReturnedCommand};
use patchwave_schemas::{CommandId, NodeId};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Commands that wait for one node to read them. A node that reads so slowly is cut off: what it
/// missed is sent again when it has come back.
const QUEUE_MAX: usize = 64;

/// A command on its way to a node.
#[derive(Debug)]
pub(super) struct Command {
    node_id: NodeId,
    /// The message as it came: what is signed must not change by a byte.
    pub(super) body: Vec<u8>,
    /// What is given back if it does not get there.
    release: Option<ReturnedCommand>,
}

/// What a gateway reads of a command.
#[derive(Deserialize)]
struct Wire {
    releaseattempt: Option<i64>,
    data: WireData,
}

#[derive(Deserialize)]
struct WireData {
    node_id: NodeId,
    command_id: CommandId,
}

impl Command {
    /// Reads for whom a message is.
    ///
    /// # Errors
    /// Why it is no command that can be passed on.
    pub(super) fn read(body: Vec<u8>) -> Result<Self, String> {
        let Wire { releaseattempt, data } = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        if body.contains(&b'\n') {
            return Err("it has several lines, and each command is one".to_owned());
        }
        let release = releaseattempt.map(|attempt| ReturnedCommand { command_id: data.command_id, attempt });
        Ok(Self { node_id: data.node_id, body, release })
    }
}

/// A node's public key.
pub(super) type Key = [u8; PUBLIC_KEY_BYTES];

/// The streams of this process.
pub(super) struct Streams {
    inner: Mutex<Inner>,
    news: mpsc::Sender<NodeDisconnected>,
    most: usize,
}

#[derive(Default)]
struct Inner {
    /// The queue that commands come by; without one, nobody can be let in.
    address: Option<Arc<str>>,
    by_node: HashMap<NodeId, Entry>,
}

struct Entry {
    session: Arc<str>,
    /// The key that the node was let in by.
    key: Key,
    commands: mpsc::Sender<Command>,
    closed: CancellationToken,
}

/// Why a node is not let in now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The bus is away.
    NoAddress,
    /// There are too many.
    TooMany,
}

/// The writing end of a node's stream. The node counts as connected until it is dropped.
pub(super) struct Stream {
    pub(super) node_id: NodeId,
    pub(super) address: Arc<str>,
    pub(super) session: Arc<str>,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Cancelled when nothing more is to be written: a newer stream has taken its place, the node was
    /// cut off or reads too slowly, or the gateway leaves.
    pub(super) closed: CancellationToken,
    streams: Arc<Streams>,
}

impl Streams {
    pub(super) fn new(most: usize, news: mpsc::Sender<NodeDisconnected>) -> Self {
        Self { inner: Mutex::default(), news, most }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().by_node.len()
    }

    /// Lets nodes in, under this address.
    pub(super) fn open_at(&self, address: &str) {
        self.lock().address = Some(address.into());
    }

    /// Ends every stream and lets nobody in until there is an address again.
    pub(super) fn close_all(&self) {
        let mut inner = self.lock();
        inner.address = None;
        inner.by_node.drain().for_each(|(_, entry)| entry.closed.cancel());
    }

    /// Who is connected.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.lock().by_node.keys().cloned().collect()
    }

    /// Ends a node's stream, unless it was let in by the key `unless`.
    pub(super) fn cut_off(&self, node: &NodeId, unless: Option<&Key>) {
        let mut inner = self.lock();
        if inner.by_node.get(node).is_some_and(|entry| Some(&entry.key) != unless)
            && let Some(entry) = inner.by_node.remove(node)
        {
            tracing::info!(node.id = %node, "not registered by this key any more; its stream ends");
            entry.closed.cancel();
        }
    }

    /// Makes a node reachable here that was let in by `key`. An older stream of it ends.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn open(self: &Arc<Self>, node: &NodeId, key: Key) -> Result<Stream, Full> {
        let mut inner = self.lock();
        let address = inner.address.clone().ok_or(Full::NoAddress)?;
        if inner.by_node.len() >= self.most && !inner.by_node.contains_key(node) {
            return Err(Full::TooMany);
        }
        let (sender, commands) = mpsc::channel(QUEUE_MAX);
        let closed = CancellationToken::new();
        // Made under the lock, so of two streams the later one has the greater session.
        let session: Arc<str> = new_session().into();
        let entry = Entry { session: Arc::clone(&session), key, commands: sender, closed: closed.clone() };
        if let Some(older) = inner.by_node.insert(node.clone(), entry) {
            tracing::debug!(node.id = %node, "connected anew; the older stream ends");
            older.closed.cancel();
        }
        Ok(Stream { node_id: node.clone(), address, session, commands, closed, streams: Arc::clone(self) })
    }

    /// Hands a command to its node's stream, or tells the control plane that the node is not here.
    pub(super) fn pass_on(&self, command: Command) {
        let mut inner = self.lock();
        let Some(entry) = inner.by_node.get(&command.node_id) else {
            let Some(address) = inner.address.clone() else { return };
            // Greater than every session that has ended here, and less than any that will begin.
            let session = new_session();
            drop(inner);
            return self.tell(&command.node_id, &address, &session, command.release.into_iter().collect());
        };
        let command = match entry.commands.try_send(command) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(command) | mpsc::error::TrySendError::Closed(command)) => command,
        };
        tracing::warn!(node.id = %command.node_id, "the node does not read its commands; its stream ends");
        let Some(entry) = inner.by_node.remove(&command.node_id) else { return };
        entry.closed.cancel();
        let Some(address) = inner.address.clone() else { return };
        drop(inner);
        // What waits in the stream's queue is given back when it is dropped.
        self.tell(&command.node_id, &address, &entry.session, command.release.into_iter().collect());
    }

    fn tell(&self, node: &NodeId, address: &str, session: &str, returned: Vec<ReturnedCommand>) {
        let news = NodeDisconnected {
            node_id: node.clone(),
            address: address.to_owned(),
            session: session.to_owned(),
            returned,
        };
        if self.news.try_send(news).is_err() {
            tracing::warn!(node.id = %node, "too much news to tell that the node is away; its rollouts will notice");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut inner = self.streams.lock();
        if inner.by_node.get(&self.node_id).is_some_and(|entry| entry.session == self.session) {
            inner.by_node.remove(&self.node_id);
        }
        let alive = inner.address.as_ref() == Some(&self.address);
        drop(inner);
        if !alive {
            // The queue is gone, and commands to it come back by themselves; what had come with it
            // is sent again when the node says hello.
            return;
        }
        self.commands.close();
        let returned = std::iter::from_fn(|| self.commands.try_recv().ok()).filter_map(|command| command.release);
        let returned = returned.collect();
        self.streams.tell(&self.node_id, &self.address, &self.session, returned);
    }
}

/// Later sessions of one process sort after earlier ones (UUIDv7).
fn new_session() -> String {
    Uuid::now_v7().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [1; PUBLIC_KEY_BYTES];

    fn streams(most: usize) -> (Arc<Streams>, mpsc::Receiver<NodeDisconnected>) {
        let (sender, news) = mpsc::channel(100);
        let streams = Arc::new(Streams::new(most, sender));
        streams.open_at("patchwave.host.1");
        (streams, news)
    }

    fn node(number: u128) -> NodeId {
        NodeId::from_bits(number)
    }

    fn command(number: u128, release: Option<i64>) -> Command {
        let attempt = release.map_or_else(String::new, |attempt| format!(r#""releaseattempt":{attempt},"#));
        let data = format!(r#"{{"node_id":"{}","command_id":"{}"}}"#, node(number), CommandId::derived("a"));
        Command::read(format!(r#"{{{attempt}"data":{data}}}"#).into_bytes()).expect("a command")
    }

    #[test]
    fn a_command_reaches_its_node_and_no_other() {
        let (streams, mut news) = streams(10);
        let mut one = streams.open(&node(1), KEY).expect("open");
        let mut two = streams.open(&node(2), KEY).expect("open");
        streams.pass_on(command(1, Some(1)));
        assert!(one.commands.try_recv().is_ok());
        assert!(two.commands.try_recv().is_err());
        assert!(news.try_recv().is_err());
    }

    #[test]
    fn what_does_not_reach_its_node_is_given_back() {
        let (streams, mut news) = streams(10);
        let stream = streams.open(&node(1), KEY).expect("open");
        let session = stream.session.to_string();
        streams.pass_on(command(1, Some(3)));
        streams.pass_on(command(1, None));
        drop(stream);
        let told = news.try_recv().expect("told");
        assert_eq!((told.node_id, &*told.address, told.session), (node(1), "patchwave.host.1", session.clone()));
        assert_eq!(told.returned.iter().map(|one| one.attempt).collect::<Vec<_>>(), [3]);

        streams.pass_on(command(1, Some(4)));
        let told = news.try_recv().expect("told");
        assert_eq!(told.returned[0].attempt, 4);
        assert!(told.session > session);
        let next = streams.open(&node(1), KEY).expect("open");
        assert!(*next.session > *told.session, "a stream that is opened later is not meant");
        streams.pass_on(command(2, None));
        assert!(news.try_recv().expect("told").returned.is_empty(), "a repetition gives no slot back");
    }

    #[test]
    fn a_newer_stream_takes_the_place_of_an_older_one() {
        let (streams, mut news) = streams(1);
        let older = streams.open(&node(1), KEY).expect("open");
        let mut newer = streams.open(&node(1), KEY).expect("one node is one stream");
        assert_eq!(streams.open(&node(2), KEY).err(), Some(Full::TooMany));
        assert!(older.closed.is_cancelled() && !newer.closed.is_cancelled());
        let ended = older.session.to_string();
        drop(older);
        assert_eq!(news.try_recv().expect("told").session, ended);
        streams.pass_on(command(1, Some(1)));
        assert!(newer.commands.try_recv().is_ok());
        assert_eq!(streams.len(), 1);
    }

    #[test]
    fn a_stream_ends_when_its_key_is_not_the_node_s_any_more() {
        let (streams, mut news) = streams(10);
        let (one, two) = (streams.open(&node(1), KEY).expect("open"), streams.open(&node(2), KEY).expect("open"));
        streams.cut_off(&node(1), Some(&KEY));
        assert!(!one.closed.is_cancelled(), "it is");
        streams.cut_off(&node(1), Some(&[2; PUBLIC_KEY_BYTES]));
        streams.cut_off(&node(2), None);
        assert!(one.closed.is_cancelled() && two.closed.is_cancelled());
        assert_eq!(streams.len(), 0);
        streams.pass_on(command(1, Some(1)));
        assert_eq!(news.try_recv().expect("told").returned.len(), 1, "nothing more is given to it");
    }

    #[test]
    fn a_node_that_does_not_read_is_cut_off_and_nothing_is_lost() {
        let (streams, mut news) = streams(10);
        let stream = streams.open(&node(1), KEY).expect("open");
        for attempt in 0..=QUEUE_MAX {
            streams.pass_on(command(1, i64::try_from(attempt).ok()));
        }
        assert!(stream.closed.is_cancelled());
        drop(stream);
        let mut returned = Vec::new();
        while let Ok(told) = news.try_recv() {
            returned.extend(told.returned.into_iter().map(|one| one.attempt));
        }
        returned.sort_unstable();
        assert_eq!(returned, (0..=64).collect::<Vec<_>>());
    }

    #[test]
    fn without_its_queue_the_gateway_lets_nobody_in_and_says_nothing() {
        let (streams, mut news) = streams(10);
        let stream = streams.open(&node(1), KEY).expect("open");
        streams.close_all();
        assert!(stream.closed.is_cancelled());
        drop(stream);
        assert!(news.try_recv().is_err(), "its commands come back by themselves");
        assert_eq!(streams.open(&node(1), KEY).err(), Some(Full::NoAddress));
        streams.open_at("patchwave.host.2");
        assert!(streams.open(&node(1), KEY).is_ok());
    }

    #[test]
    fn what_is_no_command_is_not_passed_on() {
        for body in ["", "{}", "[]", r#"{"data":{}}"#, "{\n\"data\":{}}"] {
            assert!(Command::read(body.as_bytes().to_vec()).is_err(), "{body}");
        }
    }
}
