//! DescribeInstanceProperties: the same nodes as DescribeInstanceInformation, with filters that
//! compare. What SSM knows of EC2 instances besides (type, key, zone) nodes do not have.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::nodes::{Condition, check_values, search, view};
use crate::wire::{Comparison, Error, Filter, Request, present};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(default)]
    instance_property_filter_list: Vec<Filter>,
    #[serde(default)]
    filters_with_operator: Vec<OperatorFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OperatorFilter {
    key: String,
    values: Vec<String>,
    operator: Option<String>,
}

/// DescribeInstanceProperties.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(5..=1000)?;
    let mut conditions: Vec<Condition> = input.instance_property_filter_list.into_iter().map(Condition::from).collect();
    for filter in input.filters_with_operator {
        let comparison = Comparison::read(filter.operator.as_deref())?;
        conditions.push(Condition { key: filter.key, values: filter.values, comparison });
    }
    let now = Timestamp::now();
    check_values(&conditions, "InvalidInstancePropertyFilterValue")?;
    let (nodes, next) = search(api, request.caller(), &conditions, &paging, now).await?;
    let list: Vec<Value> = nodes.iter().map(|(node, identity)| view(node, identity.as_ref(), now)).collect();
    Ok(present(json!({ "InstanceProperties": list, "NextToken": next })))
}
