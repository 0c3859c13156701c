//! Service settings. What SSM lets an account choose is decided here by what Patchwave is, so each of its
//! settings has one value: it can be read, and be set to what it is. Two settings are our own.

use jiff::Timestamp;
use patchwave_platform::store::service_settings::{
    STALE_AFTER_HOURS, STALE_AFTER_HOURS_DEFAULT, STALE_AFTER_HOURS_MAX,
};
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

/// Our own: how many nodes may be in an installation that may restart them, over all rollouts; 0 is
/// no limit.
const REBOOT_CONCURRENCY: &str = "/patchwave/reboot-concurrency";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    setting_id: String,
    setting_value: Option<String>,
}

impl Input {
    /// The id; an ARN ends in `servicesetting` and the id.
    fn id(&self) -> &str {
        self.setting_id.split_once(":servicesetting").map_or(self.setting_id.as_str(), |(_, id)| id)
    }

    fn find(&self) -> Result<(&'static str, &'static str, &'static str), Error> {
        let id = self.id();
        SETTINGS.into_iter().find(|(known, ..)| *known == id).ok_or_else(|| {
            let known = SETTINGS.map(|(known, ..)| known).join(", ");
            let message = format!(
                "SettingId is `{}`; there are {known}, {STALE_AFTER_HOURS}, {REBOOT_CONCURRENCY}",
                self.setting_id
            );
            Error::new("ServiceSettingNotFound", message)
        })
    }
}

/// GetServiceSetting.
pub(crate) async fn get(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    if input.id() == REBOOT_CONCURRENCY {
        let value = api.store.reboot_limit().await?;
        return Ok(json!({ "ServiceSetting": restarts(api, value) }));
    }
    if input.id() == STALE_AFTER_HOURS {
        let stored = api.store.service_setting(STALE_AFTER_HOURS).await?;
        let Some((value, at)) = stored else {
            let default = STALE_AFTER_HOURS_DEFAULT.to_string();
            return Ok(json!({ "ServiceSetting": view(api.account_id(), STALE_AFTER_HOURS, &default) }));
        };
        let mut view = view(api.account_id(), STALE_AFTER_HOURS, &value);
        view["LastModifiedDate"] = epoch(at);
        view["Status"] = json!("Customized");
        return Ok(json!({ "ServiceSetting": view }));
    }
    let (id, value, _) = input.find()?;
    Ok(json!({ "ServiceSetting": view(api.account_id(), id, value) }))
}

/// ResetServiceSetting: to the default.
pub(crate) async fn reset(api: &Api, request: &Request) -> Result<Value, Error> {
    let id = request.read::<Input>()?.id().to_owned();
    if id == REBOOT_CONCURRENCY {
        limit_restarts(api, 0).await?;
    }
    if id == STALE_AFTER_HOURS {
        let mut tx = api.store.begin().await?;
        tx.put_service_setting(STALE_AFTER_HOURS, None, Timestamp::now()).await?;
        tx.commit().await?;
    }
    get(api, request).await
}

/// UpdateServiceSetting: ours are changed; SSM's take the value in force and refuse others.
pub(crate) async fn update(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    if input.id() == REBOOT_CONCURRENCY {
        let wanted = input.setting_value.as_deref().unwrap_or_default();
        let limit = wanted.parse().map_err(|_| {
            let allowed = "0 for no limit, or a number of nodes";
            Error::validation(format!("SettingValue of {REBOOT_CONCURRENCY} is `{wanted}`; allowed is {allowed}"))
        })?;
        limit_restarts(api, limit).await?;
        return Ok(json!({}));
    }
    if input.id() == STALE_AFTER_HOURS {
        let wanted = input.setting_value.as_deref().unwrap_or_default();
        let hours = wanted.parse::<u32>().ok().filter(|hours| (1..=STALE_AFTER_HOURS_MAX).contains(hours));
        let hours = hours.ok_or_else(|| {
            Error::validation(format!(
                "SettingValue of {STALE_AFTER_HOURS} is `{wanted}`; allowed are 1 to {STALE_AFTER_HOURS_MAX} hours"
            ))
        })?;
        let mut tx = api.store.begin().await?;
        tx.put_service_setting(STALE_AFTER_HOURS, Some(&hours.to_string()), Timestamp::now()).await?;
        tx.commit().await?;
        return Ok(json!({}));
    }
    let (id, value, why) = input.find()?;
    match input.setting_value {
        Some(wanted) if wanted != value => {
            Err(Error::validation(format!("SettingValue of {id} is `{wanted}`; allowed is {value}: {why}")))
        }
        _ => Ok(json!({})),
    }
}

async fn limit_restarts(api: &Api, limit: u32) -> Result<(), Error> {
    let mut tx = api.store.begin().await?;
    tx.set_reboot_limit(limit).await?;
    tx.commit().await?;
    Ok(())
}

fn restarts(api: &Api, limit: u32) -> Value {
    let mut view = view(api.account_id(), REBOOT_CONCURRENCY, &limit.to_string());
    view["Status"] = json!(if limit == 0 { "Default" } else { "Customized" });
    view
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
