//! `compliance export`: a report in SSM's columns, to standard output, a file or the artifact store.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::Context;
use super::request::Request;
use crate::table;

/// What to write, and where to.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// How to write it; in CSV a text that a spreadsheet would take for a formula has a `'` in front
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    format: ReportFormat,
    /// A line for each patch of this node, instead of a line for each node
    #[arg(long, value_name = "NODE", conflicts_with = "patch_group")]
    node: Option<String>,
    /// Only the nodes of this patch group
    #[arg(long, value_name = "NAME")]
    patch_group: Option<String>,
    /// Into this file, which is replaced, instead of standard output
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    file: Option<PathBuf>,
    /// Into the server's artifact store; prints the key
    #[arg(long)]
    store: bool,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// Comma-separated values with a line of headings
    Csv,
    /// A list of objects
    Json,
}

pub(super) async fn run(args: ExportArgs, cx: &Context) -> anyhow::Result<()> {
    let format = match args.format {
        ReportFormat::Csv => "CSV",
        ReportFormat::Json => "JSON",
    };
    let request = Request::new()
        .set("Format", format)
        .maybe("InstanceId", args.node)
        .maybe("PatchGroup", args.patch_group)
        .done();
    if args.store {
        let answer = cx.client.patchwave("ExportComplianceReport", &request).await?;
        return Ok(cx.output.either(&answer, || table::text(&answer["Key"]))?);
    }
    let answer = cx.client.patchwave("GetComplianceReport", &request).await?;
    let content = answer["Content"].as_str().unwrap_or_default();
    match args.file {
        Some(path) => {
            std::fs::write(&path, content).with_context(|| format!("could not write `{}`", path.display()))?;
            cx.output.note(&format!("{} rows written to `{}`", answer["Rows"], path.display()));
            Ok(())
        }
        // As it is: the report has a format of its own, and ends its last line itself.
        None => Ok(cx.output.line(content.trim_end_matches(['\r', '\n']))?),
    }
}
