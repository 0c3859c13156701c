//! Ids as types of their own, so that a window's id cannot be passed where a node's is meant.
//!
//! Two shapes, both SSM's: a prefix with 17 hex digits for what users name in scripts, and a UUID
//! for what the system makes while it runs. Parsing is strict: an id that exists is well formed.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Namespace of the ids that are derived from their cause instead of drawn at random.
const NAMESPACE: Uuid = Uuid::from_u128(0x7061_7463_6877_6176_6500_0000_0000_0001);

/// A text that is not the id it was given as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {kind}: expected {expected}")]
pub struct IdError {
    /// What the text was given as, for instance `window id`.
    pub kind: &'static str,
    /// The text itself.
    pub value: String,
    /// The form that would have been accepted.
    pub expected: &'static str,
}

/// Number of hex digits behind the prefix of a prefixed id (SSM's length).
const HEX_DIGITS: usize = 17;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The fixed text before the 17 hex digits.
            pub const PREFIX: &'static str = $prefix;

            /// Makes the id whose digits are the low 68 bits of `bits`.
            #[must_use]
            pub fn from_bits(bits: u128) -> Self {
                Self(format!(concat!($prefix, "{:017x}"), bits & ((1 << 68) - 1)))
            }

            /// Draws a new id at random.
            #[must_use]
            pub fn random() -> Self {
                Self::from_bits(Uuid::new_v4().as_u128())
            }

            /// The id as users see it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let digits = text.strip_prefix($prefix).unwrap_or_default();
                let well_formed = digits.len() == HEX_DIGITS
                    && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if well_formed {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError {
                        kind: $kind,
                        value: text.to_owned(),
                        expected: concat!("`", $prefix, "` and 17 hex digits"),
                    })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": concat!("^", $prefix, "[0-9a-f]{17}$") })
            }
        }
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an existing UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Draws a new id; later ids sort after earlier ones (UUIDv7).
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::now_v7())
            }

            /// Derives the id from what causes it, so that a repeated cause names the same thing.
            #[must_use]
            pub fn derived(cause: &str) -> Self {
                Self(derived_uuid(concat!($kind, ":"), cause))
            }

            /// The UUID inside.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError {
                    kind: $kind,
                    value: text.to_owned(),
                    expected: "a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057",
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": "uuid" })
            }
        }
    };
}

/// A UUIDv5 in Patchwave's own namespace.
#[must_use]
pub fn derived_uuid(kind: &str, cause: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{kind}{cause}").as_bytes())
}

hex_id!(
    /// A managed node (SSM: hybrid managed instance).
    NodeId, "mi-", "node id"
);
hex_id!(
    /// A maintenance window.
    WindowId, "mw-", "window id"
);
hex_id!(
    /// A patch baseline.
    BaselineId, "pb-", "baseline id"
);
uuid_id!(
    /// A command: one document run on a set of nodes. Also names its rollout.
    CommandId, "command id"
);
uuid_id!(
    /// A target registered with a maintenance window.
    WindowTargetId, "window target id"
);
uuid_id!(
    /// A task registered with a maintenance window.
    WindowTaskId, "window task id"
);
uuid_id!(
    /// One firing of a maintenance window.
    WindowExecutionId, "window execution id"
);
uuid_id!(
    /// One task of one firing.
    TaskExecutionId, "task execution id"
);
uuid_id!(
    /// One execution of an automation or a state machine.
    WorkflowId, "workflow execution id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixed_id_survives_a_round_trip() {
        let id = WindowId::random();
        assert_eq!(id.as_str().len(), 20);
        assert_eq!(id.as_str().parse(), Ok(id));
    }

    #[test]
    fn malformed_prefixed_ids_are_refused_with_the_value() {
        for text in
            ["", "mw-", "mw-0123456789abcdef", "pb-0123456789abcdef0", "mw-0123456789ABCDEF0", "mw-é123456789abcdef0"]
        {
            let error = text.parse::<WindowId>().expect_err(text);
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn derived_ids_depend_on_kind_and_cause() {
        assert_eq!(CommandId::derived("a"), CommandId::derived("a"));
        assert_ne!(CommandId::derived("a"), CommandId::derived("b"));
        assert_ne!(CommandId::derived("a").as_uuid(), TaskExecutionId::derived("a").as_uuid());
    }
}
