//! One supervised connection: made, watched, lost, made again, for as long as it is wanted.
//!
//! lapin can recover connections by itself; it replays topology that it remembers and keeps
//! channels of the old connection alive. Here a lost connection is lost: its users take the next
//! one and redeliveries do the rest, so there is one path after a failure and it is the tested one.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use lapin::types::LongString;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::topology;
use crate::telemetry::error_chain;

/// How long the broker may take to answer: a connection attempt from the first packet to declared
/// queues, or any later request. Without it, a request that is under way when the connection is
/// lost could wait for ever.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Longest pause between attempts. Longer would keep `/readyz` red after the broker is back.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// First pause between attempts, before jitter.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How often the connection's own state is looked at, besides the events it sends.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a supervised connection is at the moment.
#[derive(Clone)]
pub(super) enum State {
    /// Usable.
    Up(Arc<Connection>),
    /// Not usable; being retried.
    Down(String),
    /// Closed by this program, for good.
    Closed,
}

impl State {
    /// Whether this very connection is up.
    pub(super) fn is(&self, connection: &Arc<Connection>) -> bool {
        matches!(self, Self::Up(up) if Arc::ptr_eq(up, connection))
    }
}

/// Starts supervising a connection. It ends when `closing` is cancelled.
pub(super) fn supervise(uri: AMQPUri, name: String, closing: CancellationToken) -> watch::Receiver<State> {
    let (sender, receiver) = watch::channel(State::Down("not connected yet".to_owned()));
    tokio::spawn(async move {
        closing.run_until_cancelled(keep_connected(uri, name, &sender)).await;
        let last = sender.send_replace(State::Closed);
        if let State::Up(connection) = last {
            // The broker notices a lost socket by itself, so a failing goodbye is no failure.
            let _ = tokio::time::timeout(ANSWER_PATIENCE, connection.close(200, "closing".into())).await;
        }
    });
    receiver
}

async fn keep_connected(uri: AMQPUri, name: String, state: &watch::Sender<State>) {
    let mut attempts = pauses();
    loop {
        let reason = match tokio::time::timeout(ANSWER_PATIENCE, connect(&uri, &name)).await {
            Ok(Ok(connection)) => {
                let connection = Arc::new(connection);
                tracing::info!(connection = name, "connected to the bus");
                state.send_replace(State::Up(Arc::clone(&connection)));
                attempts = pauses();
                lost(&connection).await
            }
            Ok(Err(error)) => error_chain(&error),
            Err(_elapsed) => format!("no answer within {} s", ANSWER_PATIENCE.as_secs()),
        };
        let changed = !matches!(&*state.borrow(), State::Down(before) if *before == reason);
        if changed {
            tracing::warn!(connection = name, reason, "the bus is away; retrying");
        }
        state.send_replace(State::Down(reason));
        // Full jitter: after a broker restart its clients must not come back in step.
        let pause = attempts.next().unwrap_or(PAUSE_MAX);
        tokio::time::sleep(pause.mul_f64(rand::random::<f64>())).await;
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default().with_min_delay(PAUSE_MIN).with_max_delay(PAUSE_MAX).without_max_times().build()
}

async fn connect(uri: &AMQPUri, name: &str) -> Result<Connection, lapin::Error> {
    let properties = ConnectionProperties::default().with_connection_name(LongString::from(name));
    let connection = Connection::connect_uri(uri.clone(), properties).await?;
    let channel = connection.create_channel().await?;
    topology::declare(&channel).await?;
    Ok(connection)
}

/// Waits until the connection is lost and says why.
async fn lost(connection: &Connection) -> String {
    let mut events = Box::pin(connection.events_listener());
    loop {
        match tokio::time::timeout(LOOK_EVERY, events.next()).await {
            Ok(Some(Event::Error(error))) => return error_chain(&error),
            Ok(Some(Event::ConnectionBlocked(reason))) => {
                tracing::warn!(reason, "the broker blocks publishers until it has memory or disk again");
            }
            Ok(Some(_)) => {}
            Ok(None) => return "connection closed".to_owned(),
            Err(_elapsed) if connection.status().connected() => {}
            Err(_elapsed) => return "connection lost".to_owned(),
        }
    }
}
