//! A request: which operation, and its body.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use patchwave_platform::store::Tx;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Checks, Error, Paging};
use crate::auth::Caller;
use crate::model;

/// A request whose body is one JSON object.
#[derive(Debug)]
pub(crate) struct Request {
    /// `AmazonSSM` or `Patchwave`.
    service: String,
    operation: String,
    members: Map<String, Value>,
    caller: Caller,
}

impl Request {
    /// Reads the target header and the body; an empty body is an empty object. The members are
    /// checked by [`Request::check`], once it is known that the caller may ask.
    pub(crate) fn new(target: &str, body: &[u8], caller: Caller) -> Result<Self, Error> {
        let Some((service, operation)) = target.split_once('.') else {
            let message = format!(
                "header X-Amz-Target is `{target}`; allowed are `AmazonSSM.<Operation>` and `Patchwave.<Operation>`"
            );
            return Err(Error::new("UnknownOperationException", message));
        };
        let mut members: Map<String, Value> = if body.is_empty() {
            Map::new()
        } else {
            serde_json::from_slice(body)
                .map_err(|error| Error::new("SerializationException", format!("body is not a JSON object: {error}")))?
        };
        // `null` is absent (SSM).
        members.retain(|_, value| !value.is_null());
        Ok(Self { service: service.to_owned(), operation: operation.to_owned(), members, caller })
    }

    /// Checks the members against the model.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        model::check(&self.service, &self.operation, &self.members)?;
        self.members.values_mut().for_each(without_nulls);
        if let Some(member) = self.members.iter().find_map(|(key, value)| has_nul(key, value).then_some(key)) {
            return Err(Error::validation(format!(
                "1 validation error detected: Value at '{}' failed to satisfy constraint: \
                 Member must not contain the character NUL",
                lower_camel(&member.replace('\0', "\u{fffd}"))
            )));
        }
        Ok(())
    }

    /// Who sent it.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The members as they were sent.
    pub(crate) fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// A value within the members, by its JSON pointer.
    pub(crate) fn member(&self, pointer: &str) -> Option<&Value> {
        let (member, rest) = match pointer.strip_prefix('/')?.split_once('/') {
            Some((member, rest)) => (member, Some(rest)),
            None => (&pointer[1..], None),
        };
        let value = self.members.get(member)?;
        match rest {
            Some(rest) => value.pointer(&format!("/{rest}")),
            None => Some(value),
        }
    }

    pub(crate) fn operation(&self) -> &str {
        &self.operation
    }

    /// Reads the members. Unknown ones are ignored, as SSM does.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_path_to_error::deserialize(Value::Object(self.members.clone())).map_err(|error| {
            let path = member_path(error.path());
            misread(&path, &error.inner().to_string())
        })
    }

    /// Which page of a list is asked for.
    pub(crate) fn paging(&self, allowed: RangeInclusive<i64>) -> Result<Paging, Error> {
        // The model has checked the types.
        let max_results = self.members.get("MaxResults").and_then(Value::as_i64);
        let next_token = self.members.get("NextToken").and_then(Value::as_str);
        Paging::new(&self.fingerprint(&["MaxResults", "NextToken"]), max_results, next_token, allowed)
    }

    /// As [`Request::paging`], in the spelling and with the sizes of Step Functions: up to 1,000, and 100
    /// where no size or none above zero is asked for.
    pub(crate) fn states_paging(&self, max_results: Option<usize>) -> Result<Paging, Error> {
        let size = max_results.filter(|size| *size > 0).unwrap_or(100);
        let next_token = self.members.get("nextToken").and_then(Value::as_str);
        let fingerprint = self.fingerprint(&["maxResults", "nextToken"]);
        Paging::new(&fingerprint, Some(i64::try_from(size).unwrap_or(i64::MAX)), next_token, 1..=1_000).map_err(|_| {
            Error::new(
                "InvalidToken",
                "Invalid Token: nextToken is not one that this operation gave out for these parameters",
            )
        })
    }

    /// Answers a repeated request as the first one was: `Some` when its `ClientToken` is known.
    ///
    /// Remembers `response` otherwise, in the transaction that makes it true.
    pub(crate) async fn repeated(&self, tx: &mut Tx, response: &Value, now: Timestamp) -> Result<Option<Value>, Error> {
        let Some(Value::String(token)) = self.members.get("ClientToken") else { return Ok(None) };
        let request = self.fingerprint(&["ClientToken"]);
        let earlier = tx.remember_request(&self.operation, token, &request, &response.to_string(), now).await?;
        let Some(earlier) = earlier else { return Ok(None) };
        if earlier.request != request {
            return Err(Error::new(
                "IdempotentParameterMismatch",
                format!(
                    "ClientToken '{token}' was used for {} with other parameters; \
                     allowed are the same parameters, or a new token",
                    self.operation
                ),
            ));
        }
        serde_json::from_str(&earlier.response).map(Some).map_err(|source| {
            Error::internal(patchwave_platform::Class::Rejected, "a remembered response cannot be read", source)
        })
    }

    /// Operation and parameters as text, equal exactly when they are.
    fn fingerprint(&self, without: &[&str]) -> String {
        let members: Map<String, Value> = self
            .members
            .iter()
            .filter(|(key, _)| !without.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        format!("{}{}", self.operation, Value::Object(members))
    }
}

/// Takes members that are `null` out, at any depth.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Whether a name or text in it holds NUL, which PostgreSQL's text does not.
pub(crate) fn has_nul(key: &str, value: &Value) -> bool {
    key.contains('\0')
        || match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(items) => items.iter().any(|item| has_nul("", item)),
            Value::Object(members) => members.iter().any(|(key, value)| has_nul(key, value)),
            _ => false,
        }
}

/// SSM's way of naming a member: lower camel case, list items counted from 1.
fn member_path(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        if !text.is_empty() {
            text.push('.');
        }
        match segment {
            Segment::Seq { index } => text.push_str(&format!("{}.member", index + 1)),
            Segment::Map { key } => text.push_str(&lower_camel(key)),
            Segment::Enum { variant } => text.push_str(&lower_camel(variant)),
            Segment::Unknown => text.push('?'),
        }
    }
    text
}

/// A member's name as SSM spells it in messages.
pub(crate) fn lower_camel(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + characters.as_str())
}

/// Says what `serde` says in SSM's words: a missing member and a word that is not allowed are
/// validation errors, anything of another type is malformed.
fn misread(path: &str, reason: &str) -> Error {
    let mut checks = Checks::default();
    if let Some(member) = reason.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        let dot = if path.is_empty() { "" } else { "." };
        return Error::validation(format!(
            "1 validation error detected: Value null at '{path}{dot}{}' failed to satisfy constraint: \
             Member must not be null",
            lower_camel(member)
        ));
    }
    if let Some(rest) = reason.strip_prefix("unknown variant `")
        && let Some((value, expected)) = rest.split_once("`, expected ")
    {
        let allowed = expected.trim_start_matches("one of ").replace('`', "").replace(" or ", ", ");
        checks.refuse(path, value, format_args!("Member must satisfy enum value set: [{allowed}]"));
        return checks.finish().expect_err("a fault was just recorded");
    }
    Error::new("SerializationException", format!("member '{path}' cannot be read: {reason}"))
}
