//! Dead letters: look at them, send them round again, or drop them.

use patchwave_platform::bus::{Outgoing, Route};
use patchwave_platform::store::dead_letters::DeadLetter;
use patchwave_schemas::catalogue::{Direction, MESSAGES};
use patchwave_schemas::envelope::Head;
use patchwave_schemas::topology::{WorkQueue, routing_key};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Api;
use crate::wire::{Error, Request, epoch, instant_key, present, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    dead_letter_id: Option<String>,
}

impl Input {
    fn id(&self) -> Result<Uuid, Error> {
        let text = required("deadLetterId", self.dead_letter_id.as_deref())?;
        Uuid::try_parse(text).map_err(|_| Error::validation(format!("DeadLetterId is `{text}`; allowed is a UUID")))
    }
}

/// ListDeadLetters, newest first.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let paging = request.paging(1..=100)?;
    let rows = api.store.dead_letters(paging.after_instant()?, paging.rows()).await?;
    let (rows, next) = paging.of_rows(rows, |row| instant_key(row.buried_at, row.dead_letter_id));
    let list: Vec<Value> = rows.iter().map(summary).collect();
    Ok(present(json!({ "DeadLetters": list, "NextToken": next })))
}

/// GetDeadLetter, with its body.
pub(crate) async fn get(api: &Api, request: &Request) -> Result<Value, Error> {
    let letter = existing(api, request.read::<Input>()?.id()?).await?;
    let mut view = summary(&letter);
    view["Body"] = json!(letter.body);
    Ok(json!({ "DeadLetter": view }))
}

/// ReplayDeadLetter: back to the queue that gave it up. It is forgotten here once it is there.
pub(crate) async fn replay(api: &Api, request: &Request) -> Result<Value, Error> {
    let letter = existing(api, request.read::<Input>()?.id()?).await?;
    let head = Head::from_bytes(letter.body.as_bytes()).ok();
    let route = match (queue_named(&letter.queue), &head) {
        (Some(queue), _) => Route::Queue(queue),
        (None, Some(head)) => {
            let key = routing_key(&head.event_type).to_owned();
            let entry = MESSAGES.iter().find(|entry| entry.message_type == head.event_type);
            match entry.map(|entry| entry.direction) {
                Some(Direction::Report) => Route::Report { key },
                _ => Route::Event { key },
            }
        }
        (None, None) => {
            return Err(Error::validation(format!(
                "dead letter {} came from queue `{}` and is no CloudEvent; it can only be dropped",
                letter.dead_letter_id, letter.queue
            )));
        }
    };
    if let Some(head) = head.as_ref().filter(|head| !letter.sender.may_have_said(head)) {
        return Err(Error::validation(format!(
            "dead letter {} says it is from `{}`, and {} published it; it can only be dropped",
            letter.dead_letter_id, head.source, letter.sender
        )));
    }
    let outgoing = Outgoing {
        route,
        message_id: head.as_ref().map_or(letter.dead_letter_id, |head| head.id),
        message_type: head.map(|head| head.event_type).unwrap_or_default(),
        body: letter.body.clone().into_bytes(),
    };
    api.bus
        .publish(&[outgoing])
        .await
        .map_err(|error| Error::internal(error.class(), "the bus did not take the message; try again later", error))?;
    let mut tx = api.store.begin().await?;
    // It may have been given up again already; then that is the one to keep.
    tx.forget_dead_letter(&letter).await?;
    tx.commit().await?;
    Ok(json!({ "DeadLetterId": letter.dead_letter_id, "Queue": letter.queue }))
}

/// DropDeadLetter.
pub(crate) async fn drop_letter(api: &Api, request: &Request) -> Result<Value, Error> {
    let id = request.read::<Input>()?.id()?;
    let mut tx = api.store.begin().await?;
    if !tx.delete_dead_letter(id).await? {
        return Err(missing(id));
    }
    tx.commit().await?;
    Ok(json!({ "DeadLetterId": id }))
}

async fn existing(api: &Api, id: Uuid) -> Result<DeadLetter, Error> {
    api.store.dead_letter(id).await?.ok_or_else(|| missing(id))
}

fn missing(id: Uuid) -> Error {
    Error::does_not_exist(format_args!("dead letter {id}"))
}

fn queue_named(name: &str) -> Option<WorkQueue> {
    WorkQueue::ALL.into_iter().filter(|queue| *queue != WorkQueue::Dead).find(|queue| queue.name() == name)
}

fn summary(letter: &DeadLetter) -> Value {
    let head = Head::from_bytes(letter.body.as_bytes()).ok();
    present(json!({
        "DeadLetterId": letter.dead_letter_id,
        "Queue": letter.queue,
        "Reason": letter.reason,
        "MessageType": head.as_ref().map(|head| &head.event_type),
        "MessageId": head.as_ref().map(|head| head.id),
        "Sender": letter.sender.to_text(),
        "Source": head.as_ref().map(|head| &head.source),
        "BuriedAt": epoch(letter.buried_at),
    }))
}
