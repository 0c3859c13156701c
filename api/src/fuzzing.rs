//! What reads bytes from outside, for the fuzz targets of `tests` alone.

use crate::wire::Request;

/// Reads a request: its `X-Amz-Target`, its body, and the model's constraints.
///
/// # Errors
/// The error's code and message.
pub fn request(target: &str, body: &[u8]) -> Result<(), (String, String)> {
    Request::new(target, body).map(drop).map_err(|error| (error.code().to_owned(), error.message().to_owned()))
}

/// Reads the content of a document in `JSON` or `YAML`.
///
/// # Errors
/// The error's code and message.
pub fn content(text: &str, format: &str) -> Result<(), (String, String)> {
    crate::documents::check_content(text, format).map_err(|error| (error.code().to_owned(), error.message().to_owned()))
}
