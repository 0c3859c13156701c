//! ListSigningKeys, RotateSigningKey, RetireSigningKey: the keys that nodes know the control plane by.

use jiff::{SignedDuration, Timestamp};
use patchwave_platform::Class;
use patchwave_platform::signing::{self, RETIRES_AFTER_DEFAULT, SIGNS_AFTER_DEFAULT, SigningError, current};
use patchwave_platform::store::signing_keys::StoredKey;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch, present, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    key_id: Option<String>,
    signs_after_seconds: Option<u32>,
    retires_after_seconds: Option<u32>,
}

/// ListSigningKeys.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let paging = request.paging(1..=50)?;
    let now = Timestamp::now();
    let keys = api.store.signing_keys().await?;
    let signs = current(&keys, now).map(|key| key.key_id.clone());
    let (page, next) = paging.of_list(keys, |key| format!("{:020}/{}", key.created_at.as_millisecond(), key.key_id));
    let list: Vec<Value> = page.iter().map(|key| view(key, signs.as_deref(), now)).collect();
    Ok(present(json!({ "SigningKeys": list, "NextToken": next })))
}

/// RotateSigningKey: makes a key that nodes learn of before it signs.
pub(crate) async fn rotate(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let seconds = |given: Option<u32>, default| given.map_or(default, |given| SignedDuration::from_secs(given.into()));
    let now = Timestamp::now();
    // There is always one to rotate away from.
    api.signer.key(now).await.map_err(refusal)?;
    let mut tx = api.store.begin().await?;
    let key = signing::rotate(
        &mut tx,
        &api.master_key,
        seconds(input.signs_after_seconds, SIGNS_AFTER_DEFAULT),
        seconds(input.retires_after_seconds, RETIRES_AFTER_DEFAULT),
        now,
    )
    .await
    .map_err(refusal)?;
    tx.commit().await?;
    Ok(view(&key, None, now))
}

/// RetireSigningKey: at once.
pub(crate) async fn retire(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let key_id = required("keyId", input.key_id)?;
    let mut tx = api.store.begin().await?;
    signing::retire(&mut tx, &key_id, Timestamp::now()).await.map_err(refusal)?;
    tx.commit().await?;
    Ok(json!({ "KeyId": key_id }))
}

fn view(key: &StoredKey, signs: Option<&str>, now: Timestamp) -> Value {
    let state = match key {
        key if !key.is_valid(now) => "Retired",
        key if signs == Some(key.key_id.as_str()) => "Signing",
        key if key.signs_from > now => "Announced",
        _ => "Retiring",
    };
    present(json!({
        "KeyId": key.key_id,
        "PublicKey": key.public_key,
        "State": state,
        "EndorsedBy": key.endorsed_by,
        "CreatedDate": epoch(key.created_at),
        "SignsFrom": epoch(key.signs_from),
        "RetiresAt": key.retires_at.map(epoch),
    }))
}

fn refusal(error: SigningError) -> Error {
    match error {
        SigningError::Store(error) => error.into(),
        SigningError::Unknown { .. } => Error::new("DoesNotExistException", error.to_string()),
        SigningError::InUse { .. } => Error::new("ResourceInUseException", error.to_string()),
        other => Error::internal(Class::Fatal, "the signing keys cannot be used; see the log", other),
    }
}
