//! Who this node is: its id, made once and kept, and the facts it reports.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use patchwave_schemas::node::NodeFacts;
use patchwave_schemas::{IdError, NodeId};

use crate::packages::{OsRelease, PackageError, os_release};

/// File in the state directory that holds the node's id.
const NODE_ID_FILE: &str = "node-id";

/// Why a node does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The state directory cannot be used.
    #[error("could not {attempted} `{path}`")]
    Io {
        /// What was attempted.
        attempted: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("`{path}` does not hold a node id; remove it to enrol as a new node")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: IdError,
    },
    /// The operating system cannot be told.
    #[error("could not tell the operating system under `{root}`")]
    System {
        /// Where it was looked for.
        root: PathBuf,
        /// Why that failed.
        #[source]
        source: PackageError,
    },
}

/// The node's id as kept in the state directory; drawn at random the first time.
///
/// # Errors
/// [`IdentityError`] if the file cannot be read or written, or holds something else.
pub fn node_id(state_dir: &Path) -> Result<NodeId, IdentityError> {
    let path = state_dir.join(NODE_ID_FILE);
    let failed = |attempted: &'static str| {
        let path = path.clone();
        move |source| IdentityError::Io { attempted, path, source }
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|source| IdentityError::Malformed { path: path.clone(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = NodeId::random();
            std::fs::create_dir_all(state_dir).map_err(failed("create the directory of"))?;
            // Written beside and renamed: half an id would keep the agent from ever starting.
            let beside = path.with_extension("new");
            std::fs::write(&beside, format!("{id}\n")).map_err(failed("write"))?;
            std::fs::File::open(&beside).and_then(|file| file.sync_all()).map_err(failed("flush"))?;
            std::fs::rename(&beside, &path).map_err(failed("write"))?;
            Ok(id)
        }
        Err(error) => Err(failed("read")(error)),
    }
}

/// What the node under `root` reports about itself.
///
/// # Errors
/// [`IdentityError::System`] if its operating system is none that baselines know.
pub fn facts(node_id: NodeId, root: &Path, tags: BTreeMap<String, String>) -> Result<NodeFacts, IdentityError> {
    let system = system(root)?;
    Ok(NodeFacts {
        node_id,
        computer_name: computer_name(),
        operating_system: system.operating_system,
        platform_name: system.platform_name,
        platform_version: system.platform_version,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        ip_address: None,
        simulated: false,
        tags,
    })
}

/// The operating system under `root`.
///
/// # Errors
/// [`IdentityError::System`] if it is none that baselines know.
pub fn system(root: &Path) -> Result<OsRelease, IdentityError> {
    os_release(root).map_err(|source| IdentityError::System { root: root.to_owned(), source })
}

/// This machine's host name.
#[must_use]
pub fn computer_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_keeps_its_id_across_starts() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let first = node_id(&state).expect("drawn");
        assert_eq!(node_id(&state).expect("kept"), first);
    }

    #[test]
    fn damaged_id_is_refused_and_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(NODE_ID_FILE), "mi-").expect("written");
        let error = node_id(directory.path()).expect_err("refused");
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}
