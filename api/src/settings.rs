//! Service settings. What SSM lets an account choose is decided here by what Patchwave is, so each
//! setting has one value: it can be read, and be set to what it is.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch};

/// A setting: its id, the value in force, and why there is no other.
const SETTINGS: [(&str, &str, &str); 3] = [
    (
        "/ssm/managed-instance/activation-tier",
        "advanced",
        "there are no tiers, and any number of nodes may be registered",
    ),
    (
        "/ssm/documents/console/public-sharing-permission",
        "Disable",
        "there is one account, so no document can be shared",
    ),
    (
        "/ssm/managed-instance/default-ec2-instance-management-role",
        "$None",
        "there are no EC2 instances; nodes are registered with activations",
    ),
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    setting_id: String,
    setting_value: Option<String>,
}

impl Input {
    fn find(&self) -> Result<(&'static str, &'static str, &'static str), Error> {
        // An ARN ends in `servicesetting` and the id.
        let id = self.setting_id.split_once(":servicesetting").map_or(self.setting_id.as_str(), |(_, id)| id);
        SETTINGS.into_iter().find(|(known, ..)| *known == id).ok_or_else(|| {
            let known = SETTINGS.map(|(known, ..)| known).join(", ");
            Error::new("ServiceSettingNotFound", format!("SettingId is `{}`; there are {known}", self.setting_id))
        })
    }
}

/// GetServiceSetting.
pub(crate) async fn get(api: &Api, request: &Request) -> Result<Value, Error> {
    let (id, value, _) = request.read::<Input>()?.find()?;
    Ok(json!({ "ServiceSetting": view(api.account_id(), id, value) }))
}

/// ResetServiceSetting: to the default, which it has.
pub(crate) async fn reset(api: &Api, request: &Request) -> Result<Value, Error> {
    get(api, request).await
}

/// UpdateServiceSetting: to the value in force, or refused.
pub(crate) async fn update(_: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let (id, value, why) = input.find()?;
    match input.setting_value {
        Some(wanted) if wanted != value => {
            Err(Error::validation(format!("SettingValue of {id} is `{wanted}`; allowed is {value}: {why}")))
        }
        _ => Ok(json!({})),
    }
}

fn view(account_id: &str, id: &str, value: &str) -> Value {
    json!({
        "SettingId": id,
        "SettingValue": value,
        "LastModifiedDate": epoch(jiff::Timestamp::UNIX_EPOCH),
        "LastModifiedUser": "System",
        "ARN": format!("arn:aws:ssm:local:{account_id}:servicesetting{id}"),
        "Status": "Default",
    })
}
