//! `document`: what commands and tasks can run.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::pairs::{Pair, parse_pair, tags};
use super::request::Request;
use super::window::elements;
use crate::table;

/// Documents.
#[derive(Debug, Subcommand)]
pub enum DocumentCommand {
    /// Create a document from a file in JSON or YAML, or a change calendar from one in iCalendar
    Create {
        /// Name: 3 to 128 letters, digits, `_`, `-` and `.`
        name: String,
        /// What it says
        #[command(flatten)]
        content: ContentArgs,
        /// Tag of the document, `KEY=VALUE`
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_pair)]
        tags: Vec<Pair>,
    },
    /// Add a version to a document; prints its number
    Update {
        /// Name
        name: String,
        /// What it says
        #[command(flatten)]
        content: ContentArgs,
        /// Make the new version the default
        #[arg(long)]
        default: bool,
    },
    /// List the documents
    List {
        /// Only one's own (`Self`) or those that come with the program (`Amazon`)
        #[arg(long)]
        owner: Option<String>,
    },
    /// Print a document's content
    Show {
        /// Name
        name: String,
        /// Version: a number, `$DEFAULT` or `$LATEST`
        #[arg(long, value_name = "VERSION")]
        document_version: Option<String>,
    },
    /// List the versions of a document
    Versions {
        /// Name
        name: String,
    },
    /// Make a version the one that runs when none is named
    Default {
        /// Name
        name: String,
        /// Number of the version
        version: String,
    },
    /// Delete a document, or one of its versions
    Delete {
        /// Name
        name: String,
        /// Only this version
        #[arg(long, value_name = "VERSION")]
        document_version: Option<String>,
    },
}

/// Where a content comes from.
#[derive(Debug, Args)]
pub struct ContentArgs {
    /// File with the content; YAML when it ends in `.yaml` or `.yml`, a change calendar when it ends in
    /// `.ics`
    #[arg(long, value_name = "FILE")]
    content: PathBuf,
    /// Name of the version
    #[arg(long, value_name = "NAME")]
    version_name: Option<String>,
}

impl ContentArgs {
    fn request(&self, name: &str) -> anyhow::Result<Request> {
        let path = &self.content;
        let content = std::fs::read_to_string(path)
            .with_context(|| format!("could not read the content `{}`", path.display()))?;
        Ok(Request::new()
            .set("Name", name)
            .set("Content", content)
            .set("DocumentFormat", format_of(path))
            .maybe("VersionName", self.version_name.clone()))
    }
}

fn format_of(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "yaml" | "yml" => "YAML",
        "ics" => "TEXT",
        _ => "JSON",
    }
}

pub(super) async fn run(command: DocumentCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        DocumentCommand::Create { name, content, tags: given } => {
            let kind = if format_of(&content.content) == "TEXT" { "ChangeCalendar" } else { "Command" };
            let request = content.request(&name)?.set("DocumentType", kind).unless_empty("Tags", tags(&given)).done();
            let answer = cx.client.ssm("CreateDocument", &request).await?;
            Ok(cx.output.either(&answer, || table::text(&answer["DocumentDescription"]["Name"]))?)
        }
        DocumentCommand::Update { name, content, default } => {
            let answer = cx.client.ssm("UpdateDocument", &content.request(&name)?.done()).await?;
            let version = answer["DocumentDescription"]["DocumentVersion"].clone();
            if default {
                let request = json!({"Name": name, "DocumentVersion": version});
                cx.client.ssm("UpdateDocumentDefaultVersion", &request).await?;
            }
            Ok(cx.output.either(&answer, || table::text(&version))?)
        }
        DocumentCommand::List { owner } => {
            let list = "DocumentIdentifiers";
            let filters: Vec<Value> = owner.iter().map(|owner| json!({"Key": "Owner", "Values": [owner]})).collect();
            let request = Request::new().unless_empty("Filters", filters).done();
            let answer = cx.client.ssm_all("ListDocuments", &request, list, None).await?;
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
        DocumentCommand::Versions { name } => {
            let list = "DocumentVersions";
            let answer = cx.client.ssm_all("ListDocumentVersions", &json!({"Name": name}), list, None).await?;
            let columns = [
                table::member("VERSION", "DocumentVersion"),
                table::member("NAME", "VersionName"),
                table::member("DEFAULT", "IsDefaultVersion"),
                table::member("FORMAT", "DocumentFormat"),
                table::ago("CREATED", "CreatedDate"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
        }
        DocumentCommand::Default { name, version } => {
            let request = json!({"Name": name, "DocumentVersion": version});
            let answer = cx.client.ssm("UpdateDocumentDefaultVersion", &request).await?;
            Ok(cx.output.either(&answer, || table::text(&answer["Description"]["DefaultVersion"]))?)
        }
        DocumentCommand::Delete { name, document_version } => {
            let request = Request::new().set("Name", name.as_str()).maybe("DocumentVersion", document_version).done();
            let answer = cx.client.ssm("DeleteDocument", &request).await?;
            Ok(cx.output.either(&answer, || name)?)
        }
    }
}

/// A document's content; JSON is indented.
fn indented(content: &Value) -> String {
    let parsed = content.as_str().and_then(|content| serde_json::from_str::<Value>(content).ok());
    parsed.map_or_else(|| table::text(content), |parsed| format!("{parsed:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_a_file_says_its_format() {
        for (path, format) in
            [("a.yaml", "YAML"), ("b.YML", "YAML"), ("c.json", "JSON"), ("d", "JSON"), ("e.ics", "TEXT")]
        {
            assert_eq!(format_of(Path::new(path)), format, "{path}");
        }
    }
}
