//! Functions that executions and windows' tasks may call. Our own; what they speak is Lambda's.

use jiff::Timestamp;
use patchwave_platform::functions::check_url;
use patchwave_platform::store::functions::Function;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch, present, required};

/// Seconds that an answer may take where nothing is said.
const TIMEOUT_SECONDS: u32 = 60;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    name: Option<String>,
    url: Option<String>,
    timeout_seconds: Option<u32>,
    description: Option<String>,
}

/// PutFunction: registers a function, or changes it.
pub(crate) async fn put(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let (name, url) = (required("name", input.name)?, required("url", input.url)?);
    check_url(&url).map_err(|problem| Error::validation(format!("Url: {problem}")))?;
    let now = Timestamp::now();
    let known = api.store.function(&name).await?;
    let function = Function {
        name,
        url,
        timeout_seconds: input.timeout_seconds.unwrap_or(TIMEOUT_SECONDS),
        description: input.description.unwrap_or_default(),
        created_at: known.map_or(now, |known| known.created_at),
        updated_at: now,
    };
    let mut tx = api.store.begin().await?;
    tx.put_function(&function).await?;
    tx.commit().await?;
    Ok(view(&function))
}

/// ListFunctions.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let paging = request.paging(1..=50)?;
    let (functions, next) = paging.of_list(api.store.functions().await?, |one| one.name.clone());
    let functions: Vec<Value> = functions.iter().map(view).collect();
    Ok(present(json!({ "Functions": functions, "NextToken": next })))
}

/// DeleteFunction. Calls that wait for it fail when they are made.
pub(crate) async fn delete(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = required("name", input.name)?;
    let mut tx = api.store.begin().await?;
    if !tx.delete_function(&name).await? {
        return Err(Error::does_not_exist(format_args!("function {name}")));
    }
    tx.commit().await?;
    Ok(json!({ "Name": name }))
}

fn view(function: &Function) -> Value {
    json!({
        "Name": function.name,
        "Url": function.url,
        "TimeoutSeconds": function.timeout_seconds,
        "Description": function.description,
        "CreatedDate": epoch(function.created_at),
        "ModifiedDate": epoch(function.updated_at),
    })
}
