//! `listen`: a topic's notifications as they are published.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::Context;
use crate::client::ClientError;
use crate::events::EventReader;
use crate::{table, times};

/// Pause before a lost stream is opened again.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// Attempts to open a lost stream again before giving up: a restart takes seconds.
const RECONNECTS_MAX: u32 = 30;

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_notification_is_one_line() {
        let envelope = json!({
            "Type": "Notification", "Subject": "command ended", "Message": "{\"status\":\n\"Success\"}",
            "Timestamp": "2026-01-02T03:04:05.6Z",
        });
        assert_eq!(one_line(&envelope), "2026-01-02 03:04:05Z  command ended  {\"status\": \"Success\"}");
    }
}
