//! `document`: what commands and tasks can run.

use clap::Subcommand;
use serde_json::{Value, json};

use super::Context;
use super::request::Request;
use super::window::elements;
use crate::table;

/// Documents.
#[derive(Debug, Subcommand)]
pub enum DocumentCommand {
    /// List the documents
    List,
    /// Print a document's content
    Show {
        /// Name
        name: String,
        /// Version: a number, `$DEFAULT` or `$LATEST`
        #[arg(long, value_name = "VERSION")]
        document_version: Option<String>,
    },
}

pub(super) async fn run(command: DocumentCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        DocumentCommand::List => {
            let list = "DocumentIdentifiers";
            let answer = cx.client.ssm_all("ListDocuments", &json!({}), list, None).await?;
            let columns = [
                table::member("NAME", "Name"),
                table::member("TYPE", "DocumentType"),
                table::member("PLATFORMS", "PlatformTypes"),
                table::member("VERSION", "DocumentVersion"),
                table::member("OWNER", "Owner"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
        }
        DocumentCommand::Show { name, document_version } => {
            let request = Request::new().set("Name", name).maybe("DocumentVersion", document_version).done();
            let answer = cx.client.ssm("GetDocument", &request).await?;
            Ok(cx.output.either(&answer, || indented(&answer["Content"]))?)
        }
    }
}

/// A document's content; JSON is indented.
fn indented(content: &Value) -> String {
    let parsed = content.as_str().and_then(|content| serde_json::from_str::<Value>(content).ok());
    parsed.map_or_else(|| table::text(content), |parsed| format!("{parsed:#}"))
}
