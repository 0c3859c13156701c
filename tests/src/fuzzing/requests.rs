//! Requests to the API, as far as they go before a handler: signature, target, JSON, the model's
//! constraints.

use jiff::Timestamp;
use patchwave_api::fuzzing;

use super::parts;

/// Characters that an error may tell its sender: the request itself must not come back whole.
const MESSAGE_CHARS_MAX: usize = 20_000;

/// The `X-Amz-Target` header, a zero byte, and the body.
///
/// Whatever is refused is refused in words, and in not too many.
///
/// # Panics
/// When that does not hold.
pub fn request(data: &[u8]) {
    let [target, body] = parts(data);
    let Ok(target) = std::str::from_utf8(target) else { return };
    if let Err((code, message)) = fuzzing::request(target, body) {
        assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{code}");
        assert!(!message.is_empty(), "{code} says nothing");
        let length = message.chars().count();
        assert!(length <= MESSAGE_CHARS_MAX, "{code} says {length} characters for {} bytes", data.len());
    }
}

/// Path and query, the headers `Authorization` and `X-Amz-Date`, and a body, with zero bytes between
/// them: the claim of a request, and its signature.
///
/// Nobody has signed with the secret, so nothing is accepted, and no refusal tells the secret.
///
/// # Panics
/// When that does not hold.
pub fn sigv4(data: &[u8]) {
    const SECRET: &str = "a secret that nobody has ever signed with";
    let [target, authorization, date, body] = parts(data);
    let Ok(target) = std::str::from_utf8(target) else { return };
    let headers: [(&'static str, &[u8]); 5] = [
        ("host", b"localhost"),
        ("content-type", b"application/x-amz-json-1.1"),
        ("x-amz-target", b"AmazonSSM.ListCommands"),
        ("x-amz-date", date),
        ("authorization", authorization),
    ];
    // Without the header the claim is in the query.
    let headers = if authorization.is_empty() { &headers[..4] } else { &headers };
    let now = Timestamp::from_second(1_774_656_000).expect("a second of this century");
    match fuzzing::signed(target, headers, body, SECRET, now) {
        Ok(()) => panic!("a request that nobody signed is accepted"),
        Err((code, message)) => assert!(!message.is_empty() && !message.contains(SECRET), "{code}: {message}"),
    }
}
