//! A document's content: text in JSON or YAML, and what it says.

use patchwave_engine::documents::{DOCUMENT_BYTES_MAX, Definition};
use serde_json::Value;

use crate::auth::canonical::sha256_hex;
use crate::wire::{Error, has_nul};

/// Nodes that aliases may stand for. A document has no use for many, and a few lines of nested
/// aliases otherwise stand for a million of them, which cost a second or more to read.
const ALIASED_NODES_MAX: usize = 10_000;

fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIASED_NODES_MAX },
    }
}

/// A content that was accepted.
pub(super) struct Content {
    pub(super) text: String,
    /// `JSON` or `YAML`.
    pub(super) format: String,
    /// The same as JSON.
    pub(super) json: Value,
    /// SHA-256 of the text, in hex.
    pub(super) hash: String,
}

impl Content {
    /// As [`Content::read`], beside the threads that answer requests: a content may keep one busy for
    /// seconds.
    pub(super) async fn read_apart(text: String, format: Option<String>) -> Result<Self, Error> {
        let read = tokio::task::spawn_blocking(move || Self::read(text, format.as_deref()));
        read.await.unwrap_or_else(|failure| {
            Err(Error::internal(patchwave_platform::Class::Rejected, "a content could not be read", failure))
        })
    }

    /// Reads a content in the format that the request names, JSON if none.
    pub(super) fn read(text: String, format: Option<&str>) -> Result<Self, Error> {
        if text.len() > DOCUMENT_BYTES_MAX {
            let message = format!("Content is {} bytes long; at most {DOCUMENT_BYTES_MAX} are allowed", text.len());
            return Err(Error::new("MaxDocumentSizeExceeded", message));
        }
        let format = format.unwrap_or("JSON");
        let invalid = |message: String| Error::new("InvalidDocumentContent", message);
        let json: Value = match format {
            "JSON" => serde_json::from_str(&text).map_err(|error| invalid(format!("Content is not JSON: {error}")))?,
            "YAML" => serde_saphyr::from_str_with_options(&text, yaml_options()).map_err(|error| {
                // The rest of the message quotes the content.
                let why = error.to_string().lines().next().unwrap_or_default().to_owned();
                invalid(format!("Content is not YAML that is understood: {why}"))
            })?,
            other => {
                return Err(Error::validation(format!(
                    "DocumentFormat is `{other}`; allowed are JSON and YAML, in which Command documents are written"
                )));
            }
        };
        Definition::parse(&json).map_err(|error| {
            let code = if error.is_schema_version { "InvalidDocumentSchemaVersion" } else { "InvalidDocumentContent" };
            Error::new(code, error.to_string())
        })?;
        if has_nul("", &json) {
            return Err(invalid("Content holds the character NUL, which is not allowed".to_owned()));
        }
        Ok(Self { hash: sha256_hex(text.as_bytes()), text, format: format.to_owned(), json })
    }
}

/// A stored content in the format that a reader wants: as it was given if that is its format.
pub(super) fn in_format(text: &str, format: &str, json: &Value, wanted: &str) -> Result<String, Error> {
    if wanted == format {
        return Ok(text.to_owned());
    }
    match wanted {
        "JSON" => Ok(format!("{json:#}")),
        "YAML" => serde_saphyr::to_string(json).map_err(|error| {
            Error::internal(patchwave_platform::Class::Rejected, "the content cannot be written as YAML", error)
        }),
        other => Err(Error::validation(format!("DocumentFormat is `{other}`; allowed are JSON and YAML"))),
    }
}

#[cfg(test)]
mod tests {
    use super::Content;

    fn script(line: &str) -> String {
        let inputs = serde_json::json!({ "runCommand": [line] });
        let step = serde_json::json!({ "action": "aws:runShellScript", "name": "run", "inputs": inputs });
        serde_json::json!({ "schemaVersion": "2.2", "description": "d", "mainSteps": [step] }).to_string()
    }

    #[test]
    fn nul_is_refused_and_a_script_that_writes_its_escape_is_not() {
        let error = Content::read(script("printf '\0'"), None).err().expect("it is refused");
        assert_eq!(error.code(), "InvalidDocumentContent");
        assert!(error.message().contains("NUL"), "{}", error.message());
        assert!(Content::read(script(r"printf '\u0000'"), None).is_ok());
    }

    #[test]
    fn a_few_lines_that_stand_for_a_million_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..7 {
            let inner = vec![format!("*a{}", level - 1); 8].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        let error = Content::read(text, Some("YAML")).err().expect("it is refused");
        assert_eq!(error.code(), "InvalidDocumentContent");
        assert!(error.message().contains("alias"), "{}", error.message());
    }
}
