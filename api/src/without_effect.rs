//! Members of served operations that would change what happens, and about which nothing is done
//! here. They are refused: a request that asks for its output in a bucket must not succeed and
//! leave the bucket empty. docs/ssm-compatibility.md has the same table for readers.
//!
//! Members without an effect that nobody can miss (`ServiceRoleArn`, `OutputS3KeyPrefix` without a
//! bucket, `OutputS3Region`) pass.

use serde_json::Value;

use crate::wire::{Error, Request};

/// A member, by its JSON pointer, and why it is refused.
struct Refused {
    operations: &'static [&'static str],
    pointer: &'static str,
    /// The error, where the operation has one for it.
    code: &'static str,
    why: &'static str,
}

const OUTPUT: &str = "output is not copied to buckets; GetCommandInvocation has its first 24,000 characters";
const LOGS: &str = "there is no CloudWatch; GetCommandInvocation has the first 24,000 characters of the output";
const ALARMS: &str = "there are no CloudWatch alarms to stop by; MaxErrors stops a rollout, and ErrorMode `strict` \
                      does so before more can fail";

const TASKS: &[&str] = &["RegisterTaskWithMaintenanceWindow", "UpdateMaintenanceWindowTask"];

const REFUSED: &[Refused] = &[
    Refused { operations: &["SendCommand"], pointer: "/OutputS3BucketName", code: "InvalidOutputFolder", why: OUTPUT },
    Refused {
        operations: &["SendCommand"],
        pointer: "/CloudWatchOutputConfig/CloudWatchOutputEnabled",
        code: "ValidationException",
        why: LOGS,
    },
    Refused { operations: &["SendCommand"], pointer: "/AlarmConfiguration", code: "ValidationException", why: ALARMS },
    Refused { operations: TASKS, pointer: "/AlarmConfiguration", code: "ValidationException", why: ALARMS },
    Refused { operations: TASKS, pointer: "/LoggingInfo", code: "ValidationException", why: OUTPUT },
    Refused {
        operations: TASKS,
        pointer: "/TaskInvocationParameters/RunCommand/OutputS3BucketName",
        code: "ValidationException",
        why: OUTPUT,
    },
    Refused {
        operations: TASKS,
        pointer: "/TaskInvocationParameters/RunCommand/CloudWatchOutputConfig/CloudWatchOutputEnabled",
        code: "ValidationException",
        why: LOGS,
    },
    Refused {
        operations: TASKS,
        pointer: "/TaskInvocationParameters/RunCommand/DocumentHash",
        code: "ValidationException",
        why: "a task does not check the document's hash; name its DocumentVersion, which never changes",
    },
];

/// Refuses a request that asks for what is not done.
pub(crate) fn refuse(request: &Request) -> Result<(), Error> {
    for refused in REFUSED.iter().filter(|refused| refused.operations.contains(&request.operation())) {
        if request.member(refused.pointer).is_some_and(asks) {
            let name = refused.pointer.trim_start_matches('/').replace('/', ".");
            return Err(Error::new(refused.code, format!("{name} is given; {}", refused.why)));
        }
    }
    Ok(())
}

/// Tools send members that are empty or switched off.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(asks),
        Value::Object(members) => members.values().any(asks),
        Value::Number(_) => true,
    }
}
