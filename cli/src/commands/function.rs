//! `function`: what executions and windows' tasks may call, by name.

use clap::Subcommand;
use serde_json::json;

use super::Context;
use super::request::Request;
use super::window::elements;
use crate::table;

/// Functions.
#[derive(Debug, Subcommand)]
pub enum FunctionCommand {
    /// Register a function, or change it
    Put {
        /// Name
        name: String,
        /// Where Lambda's Invoke interface is, what stands before /2015-03-31: https, or http on loopback
        #[arg(long, value_name = "URL")]
        url: String,
        /// Seconds that an answer may take, 1 to 900 [default: 60]
        #[arg(long, value_name = "SECONDS")]
        timeout_seconds: Option<u32>,
        /// Description
        #[arg(long)]
        description: Option<String>,
    },
    /// List the functions
    List,
    /// Delete functions; calls that wait for them fail
    Delete {
        /// Names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub(super) async fn run(command: FunctionCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        FunctionCommand::Put { name, url, timeout_seconds, description } => {
            let request = Request::new()
                .set("Name", name.as_str())
                .set("Url", url)
                .maybe("TimeoutSeconds", timeout_seconds)
                .maybe("Description", description)
                .done();
            let answer = cx.client.patchwave("PutFunction", &request).await?;
            Ok(cx.output.either(&answer, || name)?)
        }
        FunctionCommand::List => {
            let list = "Functions";
            let answer = cx.client.patchwave_all("ListFunctions", &json!({}), list, None).await?;
            let columns = [
                table::member("NAME", "Name"),
                table::member("URL", "Url"),
                table::member("SECONDS", "TimeoutSeconds"),
                table::member("DESCRIPTION", "Description"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
        }
        FunctionCommand::Delete { names } => {
            for name in names {
                let answer = cx.client.patchwave("DeleteFunction", &json!({"Name": name})).await?;
                cx.output.either(&answer, || name)?;
            }
            Ok(())
        }
    }
}
