//! Requests to the API, as far as they go before a handler: target, JSON, the model's constraints.

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
