//! `audit`: who did what, and whether the log of it is whole.

use clap::{Args, Subcommand};
use jiff::{Span, Timestamp};
use serde_json::{Value, json};

use super::Context;
use super::request::Request;
use super::window::elements;
use crate::failure::Failure;
use crate::table;

/// Faults that are shown at most: the first ones say where to look.
const FAULTS_MAX: usize = 50;

/// The audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List what was done, newest first
    List(ListArgs),
    /// Read the whole log through; fails and names the entries if any was altered or removed
    Verify {
        /// An end of the log that was noted elsewhere: it must still be in it
        #[arg(long, value_name = "SEQ:MAC", value_parser = parse_head)]
        expect: Option<(i64, String)>,
    },
}

/// Arguments of `audit list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Not before this instant (2026-04-07T14:29:00Z), or this long ago (2h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    since: Option<Timestamp>,
    /// Before this instant, or this long ago
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    until: Option<Timestamp>,
    /// Only what this access key, window or event did
    #[arg(long)]
    actor: Option<String>,
    /// Only this operation, such as `SendCommand`
    #[arg(long)]
    action: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

pub(super) async fn run(command: AuditCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        AuditCommand::List(args) => list(args, cx).await,
        AuditCommand::Verify { expect } => verify(expect, cx).await,
    }
}

async fn list(args: ListArgs, cx: &Context) -> anyhow::Result<()> {
    let request = Request::new()
        .maybe("Since", args.since.map(|at| at.to_string()))
        .maybe("Until", args.until.map(|at| at.to_string()))
        .maybe("Actor", args.actor)
        .maybe("Action", args.action)
        .done();
    let list = "AuditEntries";
    let answer = cx.client.patchwave_all("ListAuditEntries", &request, list, Some(args.limit)).await?;
    let columns = [
        table::member("SEQ", "Seq"),
        table::ago("TIME", "Time"),
        table::member("ACTOR", "Actor"),
        table::member("FROM", "Source"),
        table::member("ACTION", "Action"),
        table::member("SUBJECT", "Subject"),
        table::member("OUTCOME", "Outcome"),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
}

async fn verify(expect: Option<(i64, String)>, cx: &Context) -> anyhow::Result<()> {
    let mut request = expect.map_or_else(|| json!({}), |(seq, mac)| json!({ "Expect": { "Seq": seq, "Mac": mac } }));
    let mut faults: Vec<Value> = Vec::new();
    // A long log is checked a part at a time; each part begins where the one before left off.
    let answer = loop {
        let mut answer = cx.client.patchwave("VerifyAudit", &request).await?;
        faults.extend(elements(&answer, "Faults").cloned());
        match answer["Next"].take() {
            next if next.is_object() && faults.len() < FAULTS_MAX && next != request["After"] => {
                cx.output.note(&format!("{} entries are checked; going on", next["Seq"]));
                request["After"] = next;
            }
            _ => {
                answer["Intact"] = json!(answer["Intact"] == true && faults.is_empty());
                answer["Faults"] = json!(faults);
                answer.as_object_mut().map(|answer| answer.remove("Next"));
                break answer;
            }
        }
    };
    let head = &answer["Head"];
    cx.output.either(&answer, || {
        let mut text: String = elements(&answer, "Faults").map(|fault| table::text(&fault["Reason"]) + "\n").collect();
        text.push_str(&format!("{} entries, head {}:{}", head["Seq"], head["Seq"], table::text(&head["Mac"])));
        text
    })?;
    if answer["Intact"] == true {
        return Ok(());
    }
    let seq = elements(&answer, "Faults").next().map_or(Value::Null, |fault| fault["Seq"].clone());
    Err(Failure::failed(format!("the audit log is not what was recorded, first at entry {seq}")).into())
}

fn parse_head(text: &str) -> Result<(i64, String), String> {
    let expected = || "expected what `patchwave audit verify` prints as head, such as 42:9f86d0…".to_owned();
    let (seq, mac) = text.split_once(':').ok_or_else(expected)?;
    let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or_else(expected)?;
    if mac.len() != 64 || !mac.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(expected());
    }
    Ok((seq, mac.to_ascii_lowercase()))
}

pub(super) fn parse_when(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = || -> Option<Timestamp> {
        let count: i64 = text.get(..text.len().checked_sub(1)?)?.parse().ok()?;
        let hours = match text.as_bytes().last()? {
            b'h' => count,
            b'd' => count.checked_mul(24)?,
            _ => return None,
        };
        Timestamp::now().checked_sub(Span::new().try_hours(hours).ok()?).ok()
    };
    ago().ok_or_else(|| "expected an instant such as 2026-04-07T14:29:00Z, or a time such as 2h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_times_are_read() {
        let mac = "ab".repeat(32);
        assert_eq!(parse_head(&format!("42:{mac}")), Ok((42, mac.clone())));
        for bad in ["42", "0:ab", &format!("x:{mac}"), "42:ab"] {
            assert!(parse_head(bad).is_err(), "{bad}");
        }
        assert!(parse_when("2h").expect("a time") > parse_when("3d").expect("a time"));
        assert!(parse_when("2026-04-07T14:29:00Z").is_ok() && parse_when("soon").is_err() && parse_when("").is_err());
    }
}
