//! A bus that keeps its contract and nothing more: durable messages are delivered at least once,
//! in any order and as late as it likes; commands to nodes may vanish on their way, and so may what
//! the bus says of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use patchwave_platform::bus::{Bus, BusError, Consumer, HostQueue, Link, Outgoing, Published, Route};
use patchwave_schemas::report::NodeConnected;
use patchwave_schemas::topology::{EVENTS_EXCHANGE, REPORTS_EXCHANGE, WorkQueue, node_queue, pattern_matches};
use patchwave_schemas::{CloudEvent, NodeId};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;

/// A connected node's queue.
#[derive(Debug, Default)]
pub struct Inbox {
    /// What is on its way.
    pub messages: VecDeque<Vec<u8>>,
    /// The queue is gone: what had arrived is with the node, whatever else is sent comes back.
    pub gone: bool,
}

/// What the network holds.
#[derive(Debug)]
pub struct Wires {
    /// Durable messages by queue. Taken at random: delay and disorder are the same thing.
    pub queues: BTreeMap<WorkQueue, Vec<Vec<u8>>>,
    /// Commands on their way, by address. An address that is absent is not connected.
    pub nodes: BTreeMap<String, Inbox>,
    /// Publishes after which the publisher dies: set by the world before it acts.
    pub dies_after: Option<usize>,
    /// Whether anything may still go wrong.
    pub faulty: bool,
    /// Messages lost or doubled.
    pub faults: usize,
    rng: ChaCha8Rng,
}

/// The bus; clones share the wires.
#[derive(Debug, Clone)]
pub struct Network {
    wires: Arc<Mutex<Wires>>,
    link: watch::Sender<Link>,
}

impl Network {
    /// An empty network.
    #[must_use]
    pub fn new(rng: ChaCha8Rng) -> Self {
        let wires = Wires {
            queues: WorkQueue::ALL.into_iter().map(|queue| (queue, Vec::new())).collect(),
            nodes: BTreeMap::new(),
            dies_after: None,
            faulty: true,
            faults: 0,
            rng,
        };
        Self { wires: Arc::new(Mutex::new(wires)), link: watch::Sender::new(Link::Up) }
    }

    /// The wires, for the world to look at and to take from.
    pub fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wires {
    /// Puts a message where its route leads.
    pub fn put(&mut self, message: &Outgoing) -> Published {
        match &message.route {
            Route::Event { key } => self.bind(EVENTS_EXCHANGE, key, &message.body),
            Route::Report { key } => self.bind(REPORTS_EXCHANGE, key, &message.body),
            Route::Queue(queue) => self.enqueue(*queue, &message.body),
            Route::Node { address } => {
                let lost = self.faulty && self.rng.random_bool(0.05);
                let doubled = self.faulty && self.rng.random_bool(0.1);
                self.faults += usize::from(lost) + usize::from(doubled);
                let Some(inbox) = self.nodes.get_mut(address).filter(|inbox| !inbox.gone) else {
                    // Lost is the answer of the bus, which then counts as taken.
                    return if lost { Published::Confirmed } else { Published::Returned };
                };
                if !lost {
                    inbox.messages.push_back(message.body.clone());
                }
                if doubled {
                    inbox.messages.push_back(message.body.clone());
                }
                if self.faulty && self.rng.random_bool(0.15) {
                    self.faults += 1;
                    inbox.gone = true;
                }
            }
        }
        Published::Confirmed
    }

    fn bind(&mut self, exchange: &str, key: &str, body: &[u8]) {
        for queue in WorkQueue::ALL {
            let bound = |(from, pattern): &(&str, &str)| *from == exchange && pattern_matches(pattern, key);
            if queue.bindings().iter().any(bound) {
                self.enqueue(queue, body);
            }
        }
    }

    fn enqueue(&mut self, queue: WorkQueue, body: &[u8]) {
        let waiting = self.queues.entry(queue).or_default();
        waiting.push(body.to_vec());
        if self.faulty && self.rng.random_bool(0.1) {
            self.faults += 1;
            waiting.push(body.to_vec());
        }
    }

    /// Takes up to `max` messages of a queue, in any order.
    pub fn take(&mut self, queue: WorkQueue, max: usize) -> Vec<Vec<u8>> {
        let waiting = self.queues.entry(queue).or_default();
        let mut taken = Vec::new();
        while taken.len() < max && !waiting.is_empty() {
            let index = self.rng.random_range(0..waiting.len());
            taken.push(waiting.swap_remove(index));
        }
        taken
    }

    /// Connections of this node whose hello is on its way.
    #[must_use]
    pub fn hellos_of(&self, node: &NodeId) -> usize {
        let prefix = node_queue(node, "");
        let addresses = self.queues[&WorkQueue::Dispatcher].iter().filter_map(|body| {
            let hello = CloudEvent::<NodeConnected>::from_bytes(body).ok()?;
            Some(hello.data.address).filter(|address| address.starts_with(&prefix))
        });
        addresses.collect::<BTreeSet<_>>().len()
    }

    /// Queues that have messages.
    #[must_use]
    pub fn busy(&self) -> Vec<WorkQueue> {
        self.queues.iter().filter(|(_, waiting)| !waiting.is_empty()).map(|(queue, _)| *queue).collect()
    }
}

#[async_trait]
impl Bus for Network {
    async fn publish(&self, messages: &[Outgoing]) -> Result<Vec<Published>, BusError> {
        let mut wires = self.wires();
        let mut answers = Vec::with_capacity(messages.len());
        let mut returned = BTreeSet::new();
        for message in messages {
            if wires.dies_after == Some(0) {
                return Err(BusError::Closed);
            }
            if let Some(left) = &mut wires.dies_after {
                *left -= 1;
            }
            let answer = wires.put(message);
            if let (Route::Node { address }, Published::Returned) = (&message.route, answer) {
                returned.insert((message.message_id, address));
            }
            answers.push(answer);
        }
        // A broker names what it returns by id and queue. So of two deliveries of one invocation in
        // one publish, both are said to have come back, although the first may have arrived.
        for (answer, message) in answers.iter_mut().zip(messages) {
            if let Route::Node { address } = &message.route
                && returned.contains(&(message.message_id, address))
            {
                *answer = Published::Returned;
            }
        }
        Ok(answers)
    }

    async fn consume(&self, _queue: WorkQueue) -> Result<Box<dyn Consumer>, BusError> {
        Err(BusError::Closed) // The world takes from the wires itself, one step at a time.
    }

    async fn host(&self) -> Result<Box<dyn HostQueue>, BusError> {
        Err(BusError::Closed) // Simulated nodes have queues of their own.
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    async fn depth(&self, queue: WorkQueue) -> Option<u64> {
        self.wires().queues.get(&queue).and_then(|waiting| u64::try_from(waiting.len()).ok())
    }

    async fn close(&self) {}
}
