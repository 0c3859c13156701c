//! `notification`: what was published to topics.

use clap::Subcommand;

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
        table::member("MESSAGE", "Message"),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
}
