//! `notification`: what was published to topics.

use clap::Subcommand;
use serde_json::Value;

use super::Context;
use super::request::Request;
use super::window::elements;
use crate::table;

/// Notifications that were published.
#[derive(Debug, Subcommand)]
pub enum NotificationCommand {
    /// List notifications, newest first
    List {
        /// Only of this topic
        #[arg(long)]
        topic: Option<String>,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

pub(super) async fn run(command: NotificationCommand, cx: &Context) -> anyhow::Result<()> {
    let NotificationCommand::List { topic, limit } = command;
    let request = Request::new().maybe("Topic", topic).done();
    let list = "Notifications";
    let limit = Some(usize::try_from(limit)?);
    let answer = cx.client.patchwave_all("ListNotifications", &request, list, limit).await?;
    let columns = [
        table::ago("RAISED", "RaisedAt"),
        table::member("TOPIC", "Topic"),
        table::member("SUBJECT", "Subject"),
        table::computed("MESSAGE", message),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
}

/// A message is an object as JSON text; its members read as pairs.
fn message(row: &Value) -> String {
    let text = table::text(&row["Message"]);
    serde_json::from_str::<Value>(&text).map_or(text, |message| table::text(&message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn messages_read_as_pairs_and_others_as_they_are() {
        let row = json!({"Message": r#"{"commandId":"c-1","status":"Failed"}"#});
        assert_eq!(super::message(&row), "commandId=c-1, status=Failed");
        assert_eq!(super::message(&json!({"Message": "no JSON"})), "no JSON");
    }
}
