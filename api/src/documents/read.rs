//! DescribeDocument and GetDocument.

use patchwave_platform::store::tags::Taggable;
use serde::Deserialize;
use serde_json::{Value, json};

use super::content::in_format;
use super::{Found, builtin, calendar, find, view};
use crate::Api;
use crate::wire::{Error, Request, epoch, present};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    name: String,
    document_version: Option<String>,
    version_name: Option<String>,
    document_format: Option<String>,
}

impl Input {
    async fn find(&self, api: &Api) -> Result<Found, Error> {
        find(api, &self.name, self.document_version.as_deref(), self.version_name.as_deref()).await
    }
}

/// DescribeDocument.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let view = match input.find(api).await? {
        Found::BuiltIn(document) => builtin::description(document),
        Found::Own(own) => {
            let (document, version) = *own;
            let tags = api.store.tags(Taggable::Document, &document.name).await?;
            view::description(&document, &version, &tags)?
        }
    };
    Ok(json!({ "Document": view }))
}

/// GetDocument: in JSON, unless another format is asked for (SSM).
pub(crate) async fn get(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let found = input.find(api).await?;
    let stored = match &found {
        Found::BuiltIn(_) => "JSON",
        Found::Own(own) => own.1.format.as_str(),
    };
    let kind = calendar::document_type(stored);
    let usual = if calendar::is_calendar(stored) { "TEXT" } else { "JSON" };
    let wanted = input.document_format.as_deref().unwrap_or(usual).to_owned();
    if calendar::is_calendar(stored) && wanted != stored {
        return Err(Error::validation(format!("DocumentFormat is `{wanted}`; allowed for a change calendar is TEXT")));
    }
    let wanted = wanted.as_str();
    let mut view = match found {
        Found::BuiltIn(document) => {
            let content = builtin::content(document);
            let json = serde_json::from_str(&content).unwrap_or_default();
            json!({
                "Name": document.name,
                "DocumentVersion": document.version,
                "Content": in_format(&content, "JSON", &json, wanted)?,
            })
        }
        Found::Own(own) => {
            let (document, version) = *own;
            json!({
                "Name": document.name,
                "CreatedDate": epoch(version.created_at),
                "DisplayName": document.display_name,
                "VersionName": version.version_name,
                "DocumentVersion": version.version.to_string(),
                "Content": in_format(&version.content, &version.format, &version.definition, wanted)?,
            })
        }
    };
    for (member, value) in [("Status", "Active"), ("DocumentType", kind), ("DocumentFormat", wanted)] {
        view[member] = json!(value);
    }
    Ok(present(view))
}
