//! Activations and what they lead to: CreateActivation, DescribeActivations, DeleteActivation,
//! DeregisterManagedInstance, UpdateManagedInstanceRole.
//!
//! Registering itself is not an operation of SSM's API but of the nodes' own, see `registration`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use patchwave_engine::registration::{Allowance, LASTS_DEFAULT, LASTS_MAX, LIMIT_DEFAULT};
use patchwave_platform::Class;
use patchwave_platform::registration::{code_mac, deregister};
use patchwave_platform::store::activations::Activation;
use patchwave_platform::{cut_off, outbox, secrets};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::nodes::node_id;
use crate::wire::{Error, Filter, Request, epoch, instant, present, required};
use crate::{Api, tags};

/// Random bytes of an activation code: 32 characters.
const CODE_BYTES: usize = 24;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    activation_id: Option<String>,
    instance_id: Option<String>,
    description: Option<String>,
    default_instance_name: Option<String>,
    iam_role: Option<String>,
    registration_limit: Option<u32>,
    expiration_date: Option<Value>,
    #[serde(default)]
    tags: Vec<tags::Tag>,
    #[serde(default)]
    registration_metadata: Vec<Value>,
    #[serde(default)]
    filters: Vec<ActivationFilter>,
}

/// SSM spells these filters in its own way.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ActivationFilter {
    filter_key: Option<String>,
    #[serde(default)]
    filter_values: Vec<String>,
}

/// CreateActivation. The code is in this answer and nowhere else.
pub(crate) async fn create(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let now = Timestamp::now();
    if !input.registration_metadata.is_empty() {
        return Err(Error::new("InvalidParameters", "RegistrationMetadata is given; it is for AWS's own use"));
    }
    let code = secrets::random::<CODE_BYTES>()
        .map_err(|error| Error::internal(Class::Transient, "no activation code could be made", error))?;
    let code = URL_SAFE_NO_PAD.encode(code);
    let activation_id = Uuid::new_v4();
    let activation = Activation {
        activation_id,
        code_mac: code_mac(&api.master_key, activation_id, &code),
        description: input.description,
        default_instance_name: input.default_instance_name,
        iam_role: required("iamRole", input.iam_role)?,
        allowance: Allowance {
            limit: input.registration_limit.unwrap_or(LIMIT_DEFAULT),
            used: 0,
            expires_at: expiry(input.expiration_date.as_ref(), now)?,
        },
        tags: tags::checked_tags(&input.tags)?,
        created_at: now,
    };
    let mut tx = api.store.begin().await?;
    tx.add_activation(&activation).await?;
    tx.commit().await?;
    Ok(json!({ "ActivationId": activation_id, "ActivationCode": code }))
}

/// When an activation expires: as asked, within what SSM allows.
fn expiry(asked: Option<&Value>, now: Timestamp) -> Result<Timestamp, Error> {
    let Some(asked) = asked else { return Ok(now + LASTS_DEFAULT) };
    match instant("expirationDate", asked) {
        Ok(at) if at > now && at <= now + LASTS_MAX => Ok(at),
        _ => Err(Error::new(
            "InvalidParameters",
            format!("ExpirationDate is {asked}; allowed is a time within the next 30 days"),
        )),
    }
}

/// DescribeActivations.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=50)?;
    let mut filters = Vec::new();
    for ActivationFilter { filter_key, filter_values } in input.filters {
        let key = filter_key.unwrap_or_default();
        if !["ActivationIds", "DefaultInstanceName", "IamRole"].contains(&key.as_str()) {
            let message = format!("filter key is `{key}`; allowed are ActivationIds, DefaultInstanceName and IamRole");
            return Err(Error::new("InvalidFilter", message));
        }
        filters.push(Filter { key, values: filter_values });
    }
    let now = Timestamp::now();
    let passes = |activation: &Activation| {
        filters.iter().all(|filter| match filter.key.as_str() {
            "ActivationIds" => filter.accepts(&activation.activation_id.to_string()),
            "IamRole" => filter.accepts(&activation.iam_role),
            _ => activation.default_instance_name.as_deref().is_some_and(|name| filter.accepts(name)),
        })
    };
    let mut all = api.store.activations().await?;
    all.retain(passes);
    let (page, next) = paging.of_list(all, |activation| activation.activation_id.to_string());
    let list: Vec<Value> = page.iter().map(|activation| view(activation, now)).collect();
    Ok(present(json!({ "ActivationList": list, "NextToken": next })))
}

fn view(activation: &Activation, now: Timestamp) -> Value {
    let tags: Vec<Value> = activation.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    present(json!({
        "ActivationId": activation.activation_id,
        "Description": activation.description,
        "DefaultInstanceName": activation.default_instance_name,
        "IamRole": activation.iam_role,
        "RegistrationLimit": activation.allowance.limit,
        "RegistrationsCount": activation.allowance.used,
        "ExpirationDate": epoch(activation.allowance.expires_at),
        "Expired": now >= activation.allowance.expires_at,
        "CreatedDate": epoch(activation.created_at),
        "Tags": tags,
    }))
}

/// DeleteActivation. What it admitted stays.
pub(crate) async fn delete(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let text = required("activationId", input.activation_id)?;
    let missing = || Error::new("InvalidActivationId", format!("there is no activation `{text}`"));
    let id: Uuid = text.parse().map_err(|_| missing())?;
    let mut tx = api.store.begin().await?;
    if !tx.delete_activation(id).await? {
        return Err(missing());
    }
    tx.commit().await?;
    Ok(json!({}))
}

/// DeregisterManagedInstance: from the commit on nothing that the node says changes anything, and
/// nobody speaks to it. Its connection is closed before this answers, or later by the sweep.
pub(crate) async fn deregister_node(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let text = required("instanceId", input.instance_id)?;
    let node = node_id(&text)?;
    let now = Timestamp::now();
    let mut tx = api.store.begin().await?;
    let Some(messages) = deregister(&mut tx, &node, now).await? else {
        return Err(Error::new("InvalidInstanceId", format!("instance id is `{text}`; there is no such node")));
    };
    tx.commit().await?;
    api.cut_off(&node);
    cut_off::at_once(&api.store, api.bus.as_ref(), &node, now).await;
    outbox::flush(&api.store, api.bus.as_ref(), &messages).await;
    Ok(json!({}))
}

/// UpdateManagedInstanceRole. The role is recorded and shown; it has no effect here.
pub(crate) async fn update_role(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let text = required("instanceId", input.instance_id)?;
    let role = required("iamRole", input.iam_role)?;
    let node = node_id(&text)?;
    let mut tx = api.store.begin().await?;
    if !tx.set_iam_role(&node, &role).await? {
        let message =
            format!("instance id is `{text}`; there is no node of that id that registered with an activation");
        return Err(Error::new("InvalidInstanceId", message));
    }
    tx.commit().await?;
    Ok(json!({}))
}
