//! What all operations share: reading requests, checking them, paging, errors, and SSM's way of
//! writing values.

mod check;
mod compare;
mod error;
mod filter;
mod page;
mod request;

pub(crate) use check::{Checks, Shown, id, required};
pub(crate) use compare::Comparison;
pub(crate) use error::Error;
pub(crate) use filter::{Filter, check_filters};
pub(crate) use page::{Paging, instant_key};
pub(crate) use request::{Request, has_nul, lower_camel};

use jiff::Timestamp;
use serde_json::{Number, Value};

/// An instant as AWS JSON writes it: seconds since 1970, milliseconds behind the point.
pub(crate) fn epoch(at: Timestamp) -> Value {
    let millis = at.as_millisecond();
    #[expect(clippy::cast_precision_loss, reason = "exact for any instant of this era")]
    let seconds = millis as f64 / 1000.0;
    Number::from_f64(seconds).map_or(Value::Null, Value::Number)
}

/// An instant of a request: seconds since 1970, perhaps with a fraction, or RFC 3339.
pub(crate) fn instant(field: &str, value: &Value) -> Result<Timestamp, Error> {
    let at = match value {
        Value::String(text) => text.parse().ok(),
        #[expect(clippy::cast_possible_truncation, reason = "what is out of range is refused below")]
        number => {
            number.as_f64().and_then(|seconds| Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok())
        }
    };
    at.ok_or_else(|| {
        let mut checks = Checks::default();
        checks.refuse(field, value, "Member must be an instant in seconds since 1970");
        checks.finish().expect_err("a fault was just recorded")
    })
}

/// A response object without its absent members.
pub(crate) fn present(mut object: Value) -> Value {
    if let Value::Object(members) = &mut object {
        members.retain(|_, value| !value.is_null());
    }
    object
}
