//! GetCalendarState, and the calendars that a window names.

use jiff::Timestamp;
use patchwave_engine::calendar::{Calendar, combined};
use patchwave_platform::calendars::{FORMAT, read};
use patchwave_platform::store::Tx;
use patchwave_platform::store::documents::VersionSelector;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::documents::bare_name;
use crate::wire::{Error, Request, present};

/// Calendars that one request may ask about: each is read, and costs milliseconds.
const CALENDARS_MAX: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    calendar_names: Vec<String>,
    at_time: Option<String>,
}

/// GetCalendarState: OPEN only if all are.
pub(crate) async fn state(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let (asked, names) = (input.calendar_names.len(), input.calendar_names);
    if !(1..=CALENDARS_MAX).contains(&asked) {
        return Err(Error::validation(format!("CalendarNames has {asked} entries; allowed are 1 to {CALENDARS_MAX}")));
    }
    let at = match &input.at_time {
        None => Timestamp::now(),
        Some(text) => text.parse().map_err(|_| {
            let allowed = "an instant with offset such as `2026-12-24T18:00:00Z`";
            Error::validation(format!("AtTime is `{text}`; expected {allowed}"))
        })?,
    };
    // Whole seconds, as SSM answers.
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    let mut versions = Vec::with_capacity(names.len());
    for name in &names {
        let version = api.store.document_version(bare_name(name), VersionSelector::Default).await?;
        let missing = || Error::new("InvalidDocument", format!("change calendar `{name}` does not exist"));
        let version = version.ok_or_else(missing)?;
        if version.format != FORMAT {
            return Err(Error::new("InvalidDocumentType", format!("document `{name}` is no change calendar")));
        }
        versions.push(version);
    }
    let judged = tokio::task::spawn_blocking(move || {
        let calendars: Result<Vec<Calendar>, Error> = versions
            .iter()
            .map(|version| {
                read(Some(version)).map_err(|problem| {
                    Error::new("UnsupportedCalendarException", format!("change calendar `{}` {problem}", version.name))
                })
            })
            .collect();
        Ok::<_, Error>(combined(&calendars?, at))
    });
    let found = judged.await.unwrap_or_else(|failure| {
        Err(Error::internal(patchwave_platform::Class::Rejected, "calendars could not be judged", failure))
    })?;
    Ok(present(json!({
        "State": found.state.name(),
        "AtTime": at.to_string(),
        "NextTransitionTime": found.next_transition.map(|at| at.to_string()),
    })))
}

/// Checks that the calendars a window names are there; returns them by their bare names, each once.
pub(crate) async fn checked(tx: &mut Tx, names: Vec<String>) -> Result<Vec<String>, Error> {
    let mut checked: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let bare = bare_name(&name);
        if checked.iter().any(|known| known == bare) {
            continue;
        }
        let version = tx.document_version(bare, VersionSelector::Default).await?;
        if version.is_none_or(|version| version.format != FORMAT) {
            let message = format!("CalendarNames names `{name}`; allowed are documents of type ChangeCalendar");
            return Err(Error::validation(message));
        }
        checked.push(bare.to_owned());
    }
    Ok(checked)
}
