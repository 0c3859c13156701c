//! `signing-key`: the keys that nodes know the control plane by.

use clap::Subcommand;
use serde_json::json;

use super::Context;
use super::request::Request;
use super::window::elements;
use crate::table;

/// Keys that sign what nodes are told.
#[derive(Debug, Subcommand)]
pub enum SigningKeyCommand {
    /// List the keys
    List,
    /// Make a new key; nodes learn of it before it signs, and take the old one for a while after
    Rotate {
        /// Seconds until the new key signs: nodes ask for keys once an hour
        #[arg(long, default_value_t = 7_200, value_name = "SECONDS")]
        signs_after: u32,
        /// Seconds from then until nothing signed by older keys is taken
        #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
        retires_after: u32,
    },
    /// Let nothing that a key signed be taken any more, at once: for one that somebody else may have
    Retire {
        /// Name of the key, `sk-…`
        key: String,
    },
}

pub(super) async fn run(command: SigningKeyCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        SigningKeyCommand::List => {
            let list = "SigningKeys";
            let answer = cx.client.patchwave_all("ListSigningKeys", &json!({}), list, None).await?;
            let columns = [
                table::member("ID", "KeyId"),
                table::member("STATE", "State"),
                table::ago("SIGNS FROM", "SignsFrom"),
                table::ago("RETIRES", "RetiresAt"),
                table::member("ENDORSED BY", "EndorsedBy"),
            ];
            cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?;
            if elements(&answer, list).next().is_none() {
                cx.output.note("the first key is made when the first node registers or the first command is sent");
            }
            Ok(())
        }
        SigningKeyCommand::Rotate { signs_after, retires_after } => {
            let request =
                Request::new().set("SignsAfterSeconds", signs_after).set("RetiresAfterSeconds", retires_after).done();
            let answer = cx.client.patchwave("RotateSigningKey", &request).await?;
            cx.output.either(&answer, || table::text(&answer["KeyId"]))?;
            cx.output.note(&format!(
                "it signs in {} s, and {} s later nothing that older keys signed is taken any more",
                signs_after, retires_after
            ));
            Ok(())
        }
        SigningKeyCommand::Retire { key } => {
            let answer = cx.client.patchwave("RetireSigningKey", &json!({"KeyId": key})).await?;
            Ok(cx.output.either(&answer, || key)?)
        }
    }
}
