//! Reading an InstallOverrideList: SSM's YAML, or the same as JSON, which YAML contains.
//!
//! What the text means is the parser's matter; which lists are allowed is decided here.

use patchwave_schemas::baseline::OverrideEntry;
use serde::Deserialize;

/// Bytes of a list at most; a thousand entries of usual length have a fifth of it.
pub const OVERRIDE_BYTES_MAX: usize = 256 << 10;
/// Entries of a list at most, so that judging stays short.
pub const OVERRIDE_ENTRIES_MAX: usize = 1_000;
/// Characters of an id or a title at most.
const TEXT_CHARS_MAX: usize = 512;

/// Why a text is no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideListError {
    /// It is larger than a list may be.
    #[error("it has {bytes} bytes; at most {OVERRIDE_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It is no text.
    #[error("it is not UTF-8")]
    NotText,
    /// It is no YAML, or not of the form that such lists have.
    #[error("it is no list of `patches` with an `id` and perhaps a `title` each: {0}")]
    Form(String),
    /// An id or a title is too short or too long.
    #[error("patches[{place}].{key} has {chars} characters; allowed are 1 to {TEXT_CHARS_MAX}")]
    Length {
        /// From 0.
        place: usize,
        /// `id` or `title`.
        key: &'static str,
        /// How many it has.
        chars: usize,
    },
    /// It has no entry, or too many.
    #[error("patches has {count} entries; allowed are 1 to {OVERRIDE_ENTRIES_MAX}")]
    Count {
        /// How many there are.
        count: usize,
    },
}

/// The list as it is written. Members other than these are read over, as SSM does.
#[derive(Deserialize)]
struct Written {
    patches: Vec<OverrideEntry>,
}

/// Reads a list.
///
/// # Errors
/// [`OverrideListError`] naming the line or the entry, and what is allowed there.
pub fn parse_override_list(bytes: &[u8]) -> Result<Vec<OverrideEntry>, OverrideListError> {
    if bytes.len() > OVERRIDE_BYTES_MAX {
        return Err(OverrideListError::TooLarge { bytes: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| OverrideListError::NotText)?;
    // Aliases, depth and repeated keys are bounded or refused by the parser's own defaults.
    let written: Written = serde_saphyr::from_str(text).map_err(|error| {
        let said = error.without_snippet().to_string();
        OverrideListError::Form(said.split_whitespace().collect::<Vec<_>>().join(" "))
    })?;
    if written.patches.is_empty() || written.patches.len() > OVERRIDE_ENTRIES_MAX {
        return Err(OverrideListError::Count { count: written.patches.len() });
    }
    for (place, entry) in written.patches.iter().enumerate() {
        for (key, text) in [("id", Some(&entry.id)), ("title", entry.title.as_ref())] {
            let chars = text.map(|text| text.chars().count());
            if let Some(chars) = chars.filter(|chars| !(1..=TEXT_CHARS_MAX).contains(chars)) {
                return Err(OverrideListError::Length { place, key, chars });
            }
        }
    }
    Ok(written.patches)
}

#[cfg(test)]
mod tests {
    use super::parse_override_list;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let entries = parse_override_list(text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(entries.into_iter().map(|entry| (entry.id, entry.title.unwrap_or_default())).collect())
    }

    fn pair(id: &str, title: &str) -> (String, String) {
        (id.to_owned(), title.to_owned())
    }

    #[test]
    fn ssms_own_example_is_a_list() {
        let text = "patches:\n    -\n        id: 'kernel.x86_64'\n    -\n        id: 'bind*.x86_64'\n        title: \
                    '39.11.4-26.P2.amzn1'\n    -\n        id: 'glibc*'\n";
        let expected = [pair("kernel.x86_64", ""), pair("bind*.x86_64", "39.11.4-26.P2.amzn1"), pair("glibc*", "")];
        assert_eq!(read(text), Ok(expected.to_vec()));
    }

    #[test]
    fn short_forms_comments_quotes_other_keys_and_json_are_understood() {
        let text = "---\n# ours\npatches: # here\n- id: bash   # why\n  title: \"bash.amd64:5.2\"\n  owner: me\n\
                    - title: it's\n  id: 'a''b'\r\n- id: '*ssl*'\n";
        assert_eq!(read(text), Ok(vec![pair("bash", "bash.amd64:5.2"), pair("a'b", "it's"), pair("*ssl*", "")]));
        let json = r#"{"patches": [{"id": "KB4284826"}, {"id": "b", "title": "1", "owner": 3}]}"#;
        assert_eq!(read(json), Ok(vec![pair("KB4284826", ""), pair("b", "1")]));
    }

    #[test]
    fn refusals_name_the_line_or_the_entry() {
        for (text, expected) in [
            ("", "`patches`"),
            ("patches: []\n", "patches has 0 entries"),
            ("packages:\n- id: a\n", "missing field `patches`"),
            ("patches:\n- title: a\n", "missing field `id`"),
            ("patches:\n- id: a\n- id: ''\n", "patches[1].id has 0 characters; allowed are 1 to 512"),
            ("patches:\n- id: a\n  id: b\n", "line 3"),
            ("patches:\n- id: a\n    title: b\n", "line 3"),
            ("patches:\n- bash\n", "line 2"),
            ("patches:\n- id: *ssl*\n", "line 2"),
            ("{\n\"patches\": [}", "line 2"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        assert_eq!(
            parse_override_list(&vec![b' '; super::OVERRIDE_BYTES_MAX + 1]).map_err(|e| e.to_string()),
            Err("it has 262145 bytes; at most 262144 are allowed".into())
        );
        assert!(read(&format!("patches:\n{}", "- id: a\n".repeat(1_001))).is_err_and(|e| e.contains("1001 entries")));
    }

    #[test]
    fn alias_bomb_and_depth_are_refused_in_no_time() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![below; 9].join(", ")));
        }
        assert!(read(&(bomb + "patches: *a11\n")).is_err());
        assert!(read(&format!("patches: {}", "[".repeat(100_000))).is_err());
    }
}
