//! Reading a baseline from a file: what `aws ssm get-patch-baseline` prints, or a list of such.

use std::path::{Path, PathBuf};
use std::{fs, io};

use patchwave_engine::baseline::{BaselineError, predefined, validate};
use patchwave_schemas::BaselineId;
use patchwave_schemas::baseline::{BaselineRules, BaselineSnapshot, PatchSource};
use patchwave_schemas::node::OperatingSystem;
use serde::Deserialize;
use serde_json::Value;

/// Bytes of a baseline file at most. SSM's limits allow some 100 KB.
pub const BASELINE_BYTES_MAX: u64 = 1 << 20;

/// Why a file is no baseline for this node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineFileError {
    /// It cannot be read.
    #[error("could not read baseline `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is larger than a baseline may be.
    #[error("baseline has {bytes} bytes, allowed are at most {BASELINE_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// It is no JSON, or a field has the wrong type.
    #[error("baseline is not what GetPatchBaseline answers with: {0}")]
    Json(#[from] serde_json::Error),
    /// A list has none, or several, for this system.
    #[error("{count} of the baselines are for {os:?}, allowed is exactly one")]
    Count {
        /// How many there are for the system.
        count: usize,
        /// What the node runs.
        os: OperatingSystem,
    },
    /// It is for another system.
    #[error("OperatingSystem is {given:?}, allowed is {os:?}, which this machine runs")]
    OtherSystem {
        /// What the baseline says.
        given: OperatingSystem,
        /// What the node runs.
        os: OperatingSystem,
    },
    /// It breaks one of SSM's rules.
    #[error(transparent)]
    Rules(#[from] BaselineError),
}

/// What a file says beside the rules. Other members, such as `CreatedDate`, are read over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    baseline_id: Option<BaselineId>,
    #[serde(flatten)]
    rules: BaselineRules,
    #[serde(default)]
    sources: Vec<PatchSource>,
}

/// Reads the baseline for `os` from a file.
///
/// # Errors
/// [`BaselineFileError`] naming the field and what is allowed.
pub fn read_baseline(path: &Path, os: OperatingSystem) -> Result<BaselineSnapshot, BaselineFileError> {
    let read = |source| BaselineFileError::Read { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(read)?.len();
    if bytes > BASELINE_BYTES_MAX {
        return Err(BaselineFileError::TooLarge { bytes });
    }
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("baseline");
    parse_baseline(&fs::read(path).map_err(read)?, name, os)
}

/// Reads the baseline for `os` from JSON: one baseline, or SSM's BaselineOverride, a list with
/// exactly one for each system it speaks of. `name` is that of a baseline that says none.
///
/// # Errors
/// [`BaselineFileError`] naming the field and what is allowed.
pub fn parse_baseline(json: &[u8], name: &str, os: OperatingSystem) -> Result<BaselineSnapshot, BaselineFileError> {
    let written: Written = match serde_json::from_slice(json)? {
        Value::Array(all) => {
            let all: Vec<Written> = all.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
            let count = all.iter().filter(|written| written.rules.operating_system == os).count();
            match all.into_iter().find(|written| written.rules.operating_system == os) {
                Some(written) if count == 1 => written,
                _ => return Err(BaselineFileError::Count { count, os }),
            }
        }
        one => serde_json::from_value(one)?,
    };
    if written.rules.operating_system != os {
        return Err(BaselineFileError::OtherSystem { given: written.rules.operating_system, os });
    }
    validate(&written.rules)?;
    let id = written.baseline_id.unwrap_or_else(|| BaselineId::from_bits(0));
    let name = written.name.unwrap_or_else(|| name.to_owned());
    let mut snapshot = BaselineSnapshot::new("", id, &name, written.rules);
    snapshot.sources = written.sources;
    Ok(snapshot)
}

/// The baseline that SSM has predefined for `os`.
#[must_use]
pub fn predefined_baseline(os: OperatingSystem) -> BaselineSnapshot {
    let (name, rules) = predefined(os);
    BaselineSnapshot::new("", BaselineId::from_bits(0), name, rules)
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::node::OperatingSystem as Os;
    use serde_json::{Value, json};

    use super::parse_baseline;

    fn parse(json: &Value) -> Result<String, String> {
        parse_baseline(json.to_string().as_bytes(), "file", Os::Debian)
            .map(|snapshot| snapshot.name)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_get_patch_baseline_prints_is_a_baseline() {
        let printed = json!({
            "BaselineId": "pb-0123456789abcdef0", "Name": "ours", "OperatingSystem": "DEBIAN",
            "GlobalFilters": { "PatchFilters": [] }, "ApprovalRules": { "PatchRules": [] },
            "ApprovedPatches": ["bash"], "CreatedDate": 1, "PatchGroups": [], "Description": "x",
            "Sources": [{ "Name": "own", "Products": ["*"], "Configuration": "deb http://x y z" }],
        });
        assert_eq!(parse(&printed), Ok("ours".into()));
        assert_eq!(parse(&json!({ "OperatingSystem": "DEBIAN" })), Ok("file".into()));
    }

    #[test]
    fn list_has_exactly_one_for_the_system() {
        let (debian, ubuntu) = (json!({ "OperatingSystem": "DEBIAN" }), json!({ "OperatingSystem": "UBUNTU" }));
        assert_eq!(parse(&json!([ubuntu, debian])), Ok("file".into()));
        assert_eq!(parse(&json!([ubuntu])), Err("0 of the baselines are for Debian, allowed is exactly one".into()));
        assert_eq!(
            parse(&json!([debian, debian])),
            Err("2 of the baselines are for Debian, allowed is exactly one".into())
        );
    }

    #[test]
    fn errors_name_the_field_and_what_is_allowed() {
        for (written, expected) in [
            (json!({ "OperatingSystem": "UBUNTU" }), "OperatingSystem is Ubuntu, allowed is Debian"),
            (json!({}), "missing field `OperatingSystem`"),
            (json!({ "OperatingSystem": "DEBIAN", "ApprovedPatches": [""] }), "ApprovedPatches[0] has 0 characters"),
            (json!("x"), "invalid type"),
        ] {
            let error = parse(&written).expect_err("refused");
            assert!(error.contains(expected), "{error}");
        }
    }
}
