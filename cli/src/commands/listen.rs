//! `listen`: a topic's notifications as they are published.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::Context;
use crate::client::ClientError;
use crate::failure::Failure;
use crate::{table, times};

/// Pause before a lost stream is opened again.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// Attempts to open a lost stream again before giving up: a restart takes seconds.
const RECONNECTS_MAX: u32 = 30;
/// Bytes of one event. SNS allows 256 KB for a message; more is not ours.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Arguments of `listen`.
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// The topic; `patchwave` hears of every change
    #[arg(default_value = patchwave_schemas::notification::DEFAULT_TOPIC)]
    topic: String,
    /// Stop after so many notifications
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub(super) async fn run(args: ListenArgs, cx: &Context) -> anyhow::Result<()> {
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut attempts = 0;
    let mut was_connected = false;
    while left > 0 {
        let response = match cx.client.events(&["topics", &args.topic, "events"]).await {
            Ok(response) => response,
            // The first attempt tells at once that the endpoint is wrong; a lost stream is retried.
            Err(ClientError::Unreachable { .. }) if was_connected && attempts < RECONNECTS_MAX => {
                attempts += 1;
                tokio::time::sleep(RECONNECT_AFTER).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if was_connected {
            cx.output.note("listening again; what was published meanwhile is in `patchwave notification list`");
        } else {
            cx.output.note(&format!("listening to `{}`; Ctrl-C ends", args.topic));
        }
        was_connected = true;
        attempts = 0;
        let mut chunks = response.bytes_stream();
        let mut events = EventReader::default();
        while left > 0
            && let Some(Ok(chunk)) = chunks.next().await
        {
            for data in events.push(&chunk)? {
                if left == 0 {
                    break;
                }
                left -= 1;
                show(&data, cx)?;
            }
        }
        if left > 0 {
            cx.output.note("the stream ended; opening it again");
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }
    Ok(())
}

fn show(data: &str, cx: &Context) -> std::io::Result<()> {
    let envelope: Value = serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned()));
    if cx.output.is_json() { cx.output.json_line(&envelope) } else { cx.output.line(&one_line(&envelope)) }
}

/// Time, subject and payload of an envelope, on one line.
fn one_line(envelope: &Value) -> String {
    let line = match (&envelope["Subject"], &envelope["Message"]) {
        (Value::String(subject), Value::String(message)) => {
            let time = times::instant(&envelope["Timestamp"]).map_or_else(|| "-".to_owned(), times::absolute);
            format!("{time}  {subject}  {message}")
        }
        _ => table::text(envelope),
    };
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Takes server-sent events apart: `data:` lines until an empty line. Comments keep the connection
/// alive and are left out.
#[derive(Debug, Default)]
struct EventReader {
    buffer: Vec<u8>,
    data: Option<String>,
}

impl EventReader {
    /// Adds what was received and returns the data of the events that are complete.
    fn push(&mut self, chunk: &[u8]) -> Result<Vec<String>, Failure> {
        self.buffer.extend_from_slice(chunk);
        let mut complete = Vec::new();
        let mut start = 0;
        while let Some(length) = self.buffer[start..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.buffer[start..start + length]).into_owned();
            start += length + 1;
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                complete.extend(self.data.take());
            } else if let Some(data) = line.strip_prefix("data:") {
                let data = data.strip_prefix(' ').unwrap_or(data);
                match &mut self.data {
                    Some(known) => {
                        known.push('\n');
                        known.push_str(data);
                    }
                    None => self.data = Some(data.to_owned()),
                }
            }
        }
        self.buffer.drain(..start);
        if self.buffer.len() + self.data.as_ref().map_or(0, String::len) > EVENT_BYTES_MAX {
            return Err(Failure::failed(format!("an event is larger than {EVENT_BYTES_MAX} bytes")));
        }
        Ok(complete)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_survive_being_cut_anywhere() {
        let stream = ": keep-alive\n\nevent: notification\nid: 7\ndata: {\"a\":\"é\"}\n\ndata: one\r\ndata:two\r\n\r\n";
        for size in 1..stream.len() {
            let mut reader = EventReader::default();
            let mut events = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                events.extend(reader.push(chunk).expect("small events"));
            }
            assert_eq!(events, ["{\"a\":\"é\"}", "one\ntwo"], "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut reader = EventReader::default();
        let chunk = vec![b'x'; EVENT_BYTES_MAX + 1];
        assert!(reader.push(&chunk).is_err());
    }

    #[test]
    fn a_notification_is_one_line() {
        let envelope = json!({
            "Type": "Notification", "Subject": "command ended", "Message": "{\"status\":\n\"Success\"}",
            "Timestamp": "2026-01-02T03:04:05.6Z",
        });
        assert_eq!(one_line(&envelope), "2026-01-02 03:04:05Z  command ended  {\"status\": \"Success\"}");
    }
}
