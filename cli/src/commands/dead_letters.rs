//! `dead-letters`: messages that could not be processed.

use clap::Subcommand;
use serde_json::{Value, json};

use super::Context;
use super::window::elements;
use crate::table;

/// Messages that could not be processed.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List them with the reason of each
    List,
    /// Show one with its body
    Show {
        /// Id of the dead letter
        id: String,
    },
    /// Put dead letters back on the queue they came from
    Replay {
        /// Ids of the dead letters
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Delete dead letters for good
    Drop {
        /// Ids of the dead letters
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

pub(super) async fn run(command: DeadLettersCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        DeadLettersCommand::List => {
            let list = "DeadLetters";
            let answer = cx.client.patchwave_all("ListDeadLetters", &json!({}), list, None).await?;
            let columns = [
                table::member("ID", "DeadLetterId"),
                table::member("QUEUE", "Queue"),
                table::member("TYPE", "MessageType"),
                table::member("SENDER", "Sender"),
                table::ago("BURIED", "BuriedAt"),
                table::member("REASON", "Reason"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
        }
        DeadLettersCommand::Show { id } => {
            let answer = cx.client.patchwave("GetDeadLetter", &one(&id)).await?;
            Ok(cx.output.either(&answer, || table::details(&answer["DeadLetter"]))?)
        }
        DeadLettersCommand::Replay { ids } => each("ReplayDeadLetter", ids, cx).await,
        DeadLettersCommand::Drop { ids } => each("DropDeadLetter", ids, cx).await,
    }
}

fn one(id: &str) -> Value {
    json!({"DeadLetterId": id})
}

async fn each(operation: &str, ids: Vec<String>, cx: &Context) -> anyhow::Result<()> {
    for id in ids {
        let answer = cx.client.patchwave(operation, &one(&id)).await?;
        cx.output.either(&answer, || id)?;
    }
    Ok(())
}
