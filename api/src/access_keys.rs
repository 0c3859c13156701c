//! Access keys: CreateAccessKey, ListAccessKeys, UpdateAccessKey, DeleteAccessKey; and the first one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchwave_engine::access::{AccessError, NodePolicy, Role};
use patchwave_platform::audit::{Entry, Outcome};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::access_keys::{AccessKey, SecretAccessKey, check_id, random_id};
use patchwave_platform::store::{self, Store, Tx};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::sign::Credentials;
use crate::wire::{Error, Request, epoch, present, required};

/// What a new access key is to be.
#[derive(Debug, Clone)]
pub struct NewAccessKey {
    /// What it may do.
    pub role: Role,
    /// The nodes it is for; every node when absent.
    pub policy: Option<NodePolicy>,
    /// For people.
    pub description: String,
    /// Id and secret that are brought along; drawn when absent.
    pub credentials: Option<Credentials>,
}

/// Makes an access key and records that, both in one transaction, without a server: for the first
/// key, and for whoever holds the server's master key and has lost every other.
///
/// `unless_any` makes it only if there is no access key at all. Returns the key with its secret,
/// which is nowhere in the clear afterwards.
///
/// # Errors
/// [`store::Error`]; nothing is stored then.
pub async fn create_offline(
    store: &Store,
    master_key: &MasterKey,
    new: NewAccessKey,
    actor: &str,
    unless_any: bool,
) -> Result<Option<Credentials>, store::Error> {
    let now = Timestamp::now();
    let (key, credentials) = made(new, actor, now)?;
    let mut tx = store.begin().await?;
    let mut detail = json!({ "Role": key.role, "Policy": key.policy, "Description": key.description });
    if unless_any {
        detail["First"] = json!(true);
    }
    let entry = Entry {
        at: now,
        actor: actor.to_owned(),
        source: "offline".to_owned(),
        action: "CreateAccessKey".to_owned(),
        subject: key.access_key_id.clone(),
        detail,
        outcome: Outcome::Succeeded,
    };
    // Whoever holds the log's end is alone: two processes that start at once make one key.
    tx.audit(master_key, &entry).await?;
    if unless_any && tx.has_access_keys().await? {
        return Ok(None);
    }
    tx.add_access_key(master_key, &key, &credentials.secret_access_key).await?;
    tx.commit().await?;
    Ok(Some(credentials))
}

fn made(new: NewAccessKey, by: &str, now: Timestamp) -> Result<(AccessKey, Credentials), store::Error> {
    let credentials = match new.credentials {
        Some(credentials) => credentials,
        None => Credentials { access_key_id: random_id()?, secret_access_key: SecretAccessKey::random()? },
    };
    let key = AccessKey {
        access_key_id: credentials.access_key_id.clone(),
        role: new.role,
        policy: new.policy,
        description: new.description,
        enabled: true,
        created_at: now,
        created_by: by.to_owned(),
        last_used_at: None,
    };
    Ok((key, credentials))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    role: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: Vec<Tag>,
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    values: BTreeSet<String>,
}

/// CreateAccessKey: draws id and secret, or takes those that are given. The only answer with a
/// secret in it.
pub(crate) async fn create(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let role: Role = required("role", input.role.as_deref())?.parse().map_err(refused)?;
    let policy = match input.tags.is_empty() {
        true => None,
        false => {
            let mut tags: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for tag in input.tags {
                tags.entry(tag.key).or_default().extend(tag.values);
            }
            Some(NodePolicy::new(tags).map_err(refused)?)
        }
    };
    if policy.is_some() && role == Role::Admin {
        return Err(Error::validation(
            "Tags limit the key to some nodes, which an admin cannot be; allowed are viewer and operator",
        ));
    }
    let credentials = match (input.access_key_id, input.secret_access_key) {
        (None, None) => None,
        (Some(access_key_id), Some(secret)) => {
            check_id(&access_key_id).map_err(refused)?;
            Some(Credentials { access_key_id, secret_access_key: SecretAccessKey::new(secret).map_err(refused)? })
        }
        _ => {
            return Err(Error::validation(
                "one of AccessKeyId and SecretAccessKey is given; allowed are both, to bring a key along, or none, to have it drawn",
            ));
        }
    };
    let imported = credentials.is_some();
    let new = NewAccessKey { role, policy, description: input.description, credentials };
    let (key, credentials) = made(new, &request.caller().access_key_id, Timestamp::now())?;
    let mut tx = api.store.begin().await?;
    match tx.add_access_key(&api.master_key, &key, &credentials.secret_access_key).await {
        Err(store::Error::Conflict { .. }) => {
            let message = format!("access key {} exists, or existed", key.access_key_id);
            return Err(Error::new("AlreadyExistsException", message));
        }
        added => added?,
    }
    tx.commit().await?;
    let mut view = view(&key);
    if !imported {
        view["SecretAccessKey"] = json!(credentials.secret_access_key.reveal());
    }
    Ok(json!({ "AccessKey": view, "AccessKeyId": key.access_key_id }))
}

/// ListAccessKeys, by id.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let paging = request.paging(1..=100)?;
    let keys = api.store.access_keys(paging.after().unwrap_or_default(), paging.rows()).await?;
    let (keys, next) = paging.of_rows(keys, |key| key.access_key_id.clone());
    let keys: Vec<Value> = keys.iter().map(view).collect();
    Ok(present(json!({ "AccessKeys": keys, "NextToken": next })))
}

/// UpdateAccessKey: `Active` or `Inactive`.
pub(crate) async fn update(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let id = required("accessKeyId", input.access_key_id.as_deref())?;
    let enabled = required("status", input.status.as_deref())? == "Active";
    let mut tx = api.store.begin().await?;
    if !enabled {
        keep_an_admin(&mut tx, id).await?;
    }
    let key = tx.set_access_key_enabled(&api.master_key, id, enabled).await?.ok_or_else(|| missing(id))?;
    tx.commit().await?;
    Ok(json!({ "AccessKey": view(&key) }))
}

/// DeleteAccessKey. Its id is not given out again.
pub(crate) async fn delete(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let id = required("accessKeyId", input.access_key_id.as_deref())?;
    let mut tx = api.store.begin().await?;
    keep_an_admin(&mut tx, id).await?;
    if !tx.delete_access_key(id, Timestamp::now()).await? {
        return Err(missing(id));
    }
    tx.commit().await?;
    Ok(json!({ "AccessKeyId": id }))
}

/// Refuses to take the last admin key away: nobody could make another.
async fn keep_an_admin(tx: &mut Tx, id: &str) -> Result<(), Error> {
    if tx.admin_keys().await? == [id] {
        return Err(Error::new(
            "ResourceInUseException",
            format!("access key {id} is the last enabled one of an admin; make another first"),
        ));
    }
    Ok(())
}

fn missing(id: &str) -> Error {
    let shown: String = id.chars().take(128).filter(|c| !c.is_control()).collect();
    Error::does_not_exist(format!("access key `{shown}`"))
}

fn refused(error: AccessError) -> Error {
    Error::validation(error.to_string())
}

fn view(key: &AccessKey) -> Value {
    let tags = key.policy.as_ref().map(|policy| {
        policy.tags().iter().map(|(key, values)| json!({ "Key": key, "Values": values })).collect::<Vec<_>>()
    });
    present(json!({
        "AccessKeyId": key.access_key_id,
        "Role": key.role,
        "Tags": tags,
        "Description": key.description,
        "Status": if key.enabled { "Active" } else { "Inactive" },
        "CreateDate": epoch(key.created_at),
        "CreatedBy": key.created_by,
        "LastUsedDate": key.last_used_at.map(epoch),
    }))
}
