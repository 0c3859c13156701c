//! DescribeDocumentPermission and ModifyDocumentPermission. There is one account, so a document is
//! shared with nobody, and asking for more is refused.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{find, refuse_builtin};
use crate::Api;
use crate::wire::{Error, Request};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    name: String,
    #[serde(default)]
    account_ids_to_add: Vec<String>,
}

/// DescribeDocumentPermission.
pub(crate) async fn describe_permission(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    request.paging(1..=200)?;
    find(api, &input.name, None, None).await?;
    Ok(json!({ "AccountIds": [], "AccountSharingInfoList": [] }))
}

/// ModifyDocumentPermission. Taking back what was never given is no error.
pub(crate) async fn modify_permission(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    refuse_builtin(&input.name, "InvalidDocument")?;
    find(api, &input.name, None, None).await?;
    if let Some(account) = input.account_ids_to_add.first() {
        let message = format!(
            "AccountIdsToAdd names `{account}`; Patchwave has one account, so a document can be shared with no other"
        );
        return Err(Error::new("DocumentPermissionLimit", message));
    }
    Ok(json!({}))
}
