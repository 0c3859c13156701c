//! Computing and checking signatures.

use ring::hmac;

use super::canonical::{self, Parts, sha256_hex};
use super::claim::Claim;
use crate::wire::Error;

/// Bytes of a canonical request that are quoted back to whoever signed another one.
const QUOTED_BYTES_MAX: usize = 2_048;

/// The key that signs what is of `scope`, `yyyyMMdd/region/service/aws4_request`.
pub(crate) fn key(secret: &str, scope: &str) -> hmac::Key {
    let first = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    scope
        .split('/')
        .fold(first, |key, part| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref()))
}

/// Checks that the request is what the holder of `secret` signed. The comparison takes the same
/// time whatever is wrong.
///
/// # Errors
/// `InvalidSignatureException`, with what should have been signed and nothing of the secret.
pub(crate) fn check(parts: &Parts<'_>, body: &[u8], claim: &Claim, secret: &str) -> Result<(), Error> {
    let body_sha256 = body_hash(parts, body)?;
    let signed: Vec<&str> = claim.signed_headers.iter().map(String::as_str).collect();
    let canonical = canonical::request(parts, &signed, &body_sha256)
        .ok_or_else(|| mismatch("a header that SignedHeaders names is not in the request, or is not text"))?;
    let text = canonical::string_to_sign(&claim.timestamp, &claim.scope, &canonical);
    let given: Vec<u8> = (0..claim.signature.len())
        .step_by(2)
        .filter_map(|at| claim.signature.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()))
        .collect();
    hmac::verify(&key(secret, &claim.scope), text.as_bytes(), &given).map_err(|_| {
        let quoted: String = canonical.chars().take(QUOTED_BYTES_MAX).collect();
        mismatch(&format!(
            "The Canonical String for this request should have been\n'{quoted}'\n\nThe String-to-Sign should have been\n'{text}'"
        ))
    })
}

/// The hash of the body, which a client may also have sent in `x-amz-content-sha256`. A body that
/// is not signed (`UNSIGNED-PAYLOAD`, and chunks) is for large objects, which this API has none of.
fn body_hash(parts: &Parts<'_>, body: &[u8]) -> Result<String, Error> {
    let computed = sha256_hex(body);
    match parts.headers.get("x-amz-content-sha256") {
        Some(sent) if sent.as_bytes() != computed.as_bytes() => Err(mismatch(
            "The provided 'x-amz-content-sha256' header does not match what was computed; unsigned bodies are not accepted.",
        )),
        _ => Ok(computed),
    }
}

fn mismatch(detail: &str) -> Error {
    Error::new(
        "InvalidSignatureException",
        format!(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.\n\n{detail}"
        ),
    )
}
