//! Operations of our own for executions that call them.
//!
//! They take the way of any request: the model, the right to call, the record. An execution may what
//! an operator may; a call's token is its signature, so that a change is carried out once however
//! often its call is made.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use patchwave_engine::access::Role;
use patchwave_engine::calls::{Call, CallOutcome};
use patchwave_platform::operations::CallMaker;
use patchwave_platform::store::calls::StoredCall;
use patchwave_platform::workflows::failed;

use crate::auth::Caller;
use crate::wire::Request;
use crate::{Api, audited};

/// How long a token is remembered as used: longer than a call is made again for.
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_hours(24);

#[async_trait]
impl CallMaker for Api {
    async fn make(&self, call: &StoredCall, _: Duration) -> Option<CallOutcome> {
        let Call::Api { operation, input } = &call.call else { return None };
        let caller = Caller {
            access_key_id: format!("workflow/{}", call.owner_id),
            role: Role::Operator,
            policy: None,
            source: "workflow".to_owned(),
            signature: format!("call/{}", call.token),
            signature_expires_at: Timestamp::now() + REMEMBERED_FOR,
        };
        let target = if operation.contains('.') { operation.clone() } else { format!("AmazonSSM.{operation}") };
        let answer = match Request::new(&target, input.to_string().as_bytes(), caller) {
            Ok(request) => audited::answer(self, request).await,
            Err(error) => Err(error),
        };
        Some(match answer {
            Ok(value) => CallOutcome::Succeeded(value),
            Err(error) => failed(&format!("Ssm.{}", error.code()), error.message()),
        })
    }
}
