//! `reboot-limit`: how many nodes may restart at once, over all rollouts.

use clap::Args;
use serde_json::json;

use super::Context;
use crate::table;

/// Id of the setting.
const SETTING: &str = "/patchwave/reboot-concurrency";

/// Arguments of `reboot-limit`.
#[derive(Debug, Args)]
pub struct RebootLimitArgs {
    /// Nodes that may be in an installation that may restart them; 0 for no limit. Shows the limit in
    /// force when not given
    nodes: Option<u32>,
}

pub(super) async fn run(args: RebootLimitArgs, cx: &Context) -> anyhow::Result<()> {
    if let Some(nodes) = args.nodes {
        let request = json!({"SettingId": SETTING, "SettingValue": nodes.to_string()});
        cx.client.ssm("UpdateServiceSetting", &request).await?;
    }
    let answer = cx.client.ssm("GetServiceSetting", &json!({"SettingId": SETTING})).await?;
    Ok(cx.output.either(&answer, || table::text(&answer["ServiceSetting"]["SettingValue"]))?)
}
