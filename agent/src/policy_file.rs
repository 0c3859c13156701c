//! The node's own policy: a file that only the node's owner writes.
//!
//! ```toml
//! accept = "patch"                        # "all", "patch" or "scan"
//! documents = ["AWS-RunPatchBaseline"]    # the only documents taken; every one when absent
//! ```
//!
//! It narrows what the agent takes and never widens it. It is read once, at the start.
//!
//! Only `accept` bounds what is done: it looks at the steps themselves. A document's name comes from
//! the control plane, as its steps do, so `documents` binds operators, and nobody who has taken the
//! control plane over.

use std::io;
use std::path::{Path, PathBuf};

use patchwave_schemas::node::NodePolicy;

/// Where it is looked for when nothing is said.
pub const DEFAULT_PATH: &str = "/etc/patchwave/agent-policy.toml";

/// Why the policy is not known. The agent does not start without: it might take too much.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// It cannot be read.
    #[error("could not read the policy `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("policy `{}`: {reason}; allowed are accept = \"all\", \"patch\" or \"scan\", and documents, a list of names", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Reads the policy in `path`, or the default file where none is named; that one need not exist.
///
/// # Errors
/// [`PolicyFileError`].
pub fn read(path: Option<&Path>) -> Result<NodePolicy, PolicyFileError> {
    let (path, must_exist) = match path {
        Some(path) => (path, true),
        None => (Path::new(DEFAULT_PATH), false),
    };
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text)
            .map_err(|error| PolicyFileError::Bad { path: path.to_owned(), reason: error.message().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => Ok(NodePolicy::default()),
        Err(source) => Err(PolicyFileError::Io { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::node::Accept;

    use super::*;

    fn policy(text: &str) -> Result<NodePolicy, PolicyFileError> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("policy.toml");
        std::fs::write(&path, text).expect("written");
        read(Some(&path))
    }

    #[test]
    fn a_policy_names_kinds_and_documents() {
        let read = policy("accept = \"scan\"\ndocuments = [\"AWS-RunPatchBaseline\"]\n").expect("a policy");
        assert_eq!(read.accept, Accept::Scan);
        assert!(read.documents.expect("named").contains("AWS-RunPatchBaseline"));
        assert!(policy("").expect("an empty one").is_open());
    }

    #[test]
    fn what_cannot_be_understood_is_refused_and_not_passed_over() {
        for bad in ["accept = \"none\"", "acept = \"scan\"", "documents = \"one\"", "accept"] {
            let error = policy(bad).expect_err(bad).to_string();
            assert!(error.contains("allowed are"), "{error}");
        }
        let missing = read(Some(Path::new("/nowhere/policy.toml"))).expect_err("named and not there");
        assert!(matches!(missing, PolicyFileError::Io { .. }), "{missing}");
    }
}
