//! DescribeMaintenanceWindows.

use patchwave_platform::store::windows::Window;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Filter, Request, check_filters, present};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(default)]
    filters: Vec<Filter>,
}

pub(crate) async fn handle(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(10..=100)?;
    check_filters(&input.filters, &["Name", "Enabled"])?;
    let mut windows = api.store.windows().await?;
    windows.retain(|window| input.filters.iter().all(|filter| passes(window, filter)));
    let (windows, next) = paging.of_list(windows, |window| window.window_id.to_string());
    let identities: Vec<Value> = windows.iter().map(|window| present(super::view(window))).collect();
    Ok(present(json!({ "WindowIdentities": identities, "NextToken": next })))
}

fn passes(window: &Window, filter: &Filter) -> bool {
    match filter.key.as_str() {
        "Name" => filter.accepts(&window.name),
        _ => {
            filter.values.iter().any(|value| value.eq_ignore_ascii_case(if window.enabled { "true" } else { "false" }))
        }
    }
}
