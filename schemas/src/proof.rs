//! The texts by which a node proves who it is: signed with the key it made when it registered.
//!
//! A login proof is the password of its broker connection and of its requests to the gateway. It is
//! made anew for each connection and is good for a few minutes, so nothing that is stored anywhere
//! lets anybody else log in as the node. A rebind proof gives the node another key; it names that
//! key, and its text begins otherwise, so neither passes for the other.
//!
//! Only the texts are made here; whoever signs or verifies brings the cryptography.

use crate::ids::NodeId;

/// What a proof of this version begins with.
pub const LOGIN_VERSION: &str = "v1";

/// Seconds by which the clocks of a node and the control plane may differ, and for which a proof
/// can be used: five minutes, as SigV4 has it.
pub const LOGIN_SKEW_SECONDS: i64 = 300;

/// The text that a node signs to log in at an instant, in seconds since 1970.
#[must_use]
pub fn login_text(node: &NodeId, at_seconds: i64) -> Vec<u8> {
    format!("patchwave-node-login-v1\n{node}\n{at_seconds}").into_bytes()
}

/// The text that a node signs with the key it has to be known by another: from this instant, in
/// seconds since 1970, its key is to be `public_key` (base64) and its fingerprint `fingerprint`.
///
/// A text of its own, and bound to what it admits: whoever sees a login proof, or this one, gains no
/// key for the node. None of the parts holds a line's end.
#[must_use]
pub fn rebind_text(node: &NodeId, at_seconds: i64, public_key: &str, fingerprint: &str) -> Vec<u8> {
    format!("patchwave-node-rebind-v1\n{node}\n{at_seconds}\n{public_key}\n{fingerprint}").into_bytes()
}

/// A proof of either kind: `v1.<seconds>.<signature>`, the signature in base64url without padding.
#[must_use]
pub fn login_proof(at_seconds: i64, signature_base64url: &str) -> String {
    format!("{LOGIN_VERSION}.{at_seconds}.{signature_base64url}")
}

/// The parts of a proof: the instant in seconds since 1970, and the signature in base64url.
#[must_use]
pub fn split_login_proof(proof: &str) -> Option<(i64, &str)> {
    let (version, rest) = proof.split_once('.')?;
    let (seconds, signature) = rest.split_once('.')?;
    let digits = !seconds.is_empty() && seconds.len() <= 12 && seconds.bytes().all(|byte| byte.is_ascii_digit());
    (version == LOGIN_VERSION && digits).then_some(())?;
    Some((seconds.parse().ok()?, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_comes_apart_as_it_was_put_together() {
        assert_eq!(split_login_proof(&login_proof(1_700_000_000, "c2ln")), Some((1_700_000_000, "c2ln")));
        for bad in ["", "v1", "v1.1", "v2.1.c2ln", "v1.-1.c2ln", "v1.+1.c2ln", "v1.x.c2ln", "v1.1234567890123.c2ln"] {
            assert_eq!(split_login_proof(bad), None, "{bad}");
        }
    }
}
