//! ListAuditEntries and VerifyAudit: what was done, and whether the log of it is whole.

use std::time::Duration;

use jiff::Timestamp;
use patchwave_platform::audit::{Head, Recorded};
use patchwave_platform::store::audit::AuditQuery;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch, present};

/// Faults that are named at most: the first ones say where to look.
const FAULTS_MAX: usize = 50;
/// Time for reading the log through in one answer: well below what an answer may take.
const VERIFY_WITHIN: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    since: Option<String>,
    until: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    expect: Option<Place>,
    after: Option<Place>,
}

/// A place in the log.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Place {
    seq: i64,
    mac: String,
}

impl From<Place> for Head {
    fn from(place: Place) -> Self {
        Self { seq: place.seq, mac: place.mac }
    }
}

/// ListAuditEntries, newest first.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=100)?;
    let query = AuditQuery {
        since: instant("since", input.since.as_deref())?,
        until: instant("until", input.until.as_deref())?,
        actor: input.actor,
        action: input.action,
    };
    // A token is ours, so it holds a number.
    let before = paging.after().and_then(|after| after.parse().ok());
    let rows = api.store.audit_entries(&query, before, paging.rows()).await?;
    let (rows, next) = paging.of_rows(rows, |row| row.seq.to_string());
    let entries: Vec<Value> = rows.iter().map(view).collect();
    Ok(present(json!({ "AuditEntries": entries, "NextToken": next })))
}

/// VerifyAudit: reads the log through, from its beginning or from `After`, where an answer before
/// left off. `Expect` is a head that was noted before.
///
/// A log that takes too long for one answer comes back with `Next`, to be given as `After`. It is
/// `Intact` when the last answer says so, and every one before had no faults.
pub(crate) async fn verify(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let (after, expected) = (input.after.map(Head::from).unwrap_or_default(), input.expect.map(Head::from));
    let found = api.store.verify_audit(&api.master_key, after, expected, FAULTS_MAX, VERIFY_WITHIN).await?;
    let faults: Vec<Value> =
        found.faults.iter().map(|fault| json!({ "Seq": fault.seq, "Reason": fault.reason })).collect();
    let head = json!({ "Seq": found.head.seq, "Mac": found.head.mac });
    Ok(present(json!({
        "Intact": found.is_whole && faults.is_empty(),
        "Head": head,
        "Next": (!found.is_whole).then_some(&head),
        "Faults": faults,
    })))
}

fn instant(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    text.map(|text| {
        text.parse().map_err(|_| {
            Error::validation(format!("{field} is `{text}`; allowed is an instant such as 2026-04-07T14:29:00Z"))
        })
    })
    .transpose()
}

fn view(entry: &Recorded) -> Value {
    let detail: Value = serde_json::from_str(&entry.detail).unwrap_or_else(|_| json!(entry.detail));
    json!({
        "Seq": entry.seq,
        "Time": epoch(entry.at),
        "Actor": entry.actor,
        "Source": entry.source,
        "Action": entry.action,
        "Subject": entry.subject,
        "Detail": detail,
        "Outcome": entry.outcome,
        "Mac": entry.mac,
    })
}
