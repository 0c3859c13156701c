//! What can go wrong with a package manager as a whole. A single package that fails is not an
//! error but a patch in state `Failed`.

use std::io;
use std::path::PathBuf;

/// Why nothing could be scanned or installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file of the package manager cannot be read.
    #[error("could not read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the agent's own cannot be written.
    #[error("could not write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A tool cannot be started.
    #[error("could not run `{program}`")]
    Run {
        /// The tool with its first arguments.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A tool failed.
    #[error("`{program}` ended with {status}: {message}")]
    Failed {
        /// The tool with its first arguments.
        program: String,
        /// Its exit status in words.
        status: String,
        /// The last thing it complained about.
        message: String,
    },
    /// Another program held the package manager's lock longer than we may wait.
    #[error("`{path}` is locked by {holder}, for longer than the {seconds} s allowed for waiting")]
    Locked {
        /// The lock file.
        path: String,
        /// Who holds it: process id and name where known.
        holder: String,
        /// How long we waited.
        seconds: u64,
    },
    /// The operating system is none that patch baselines know.
    #[error("operating system `{id}` is unknown, allowed are those that a patch baseline may name")]
    UnknownSystem {
        /// `ID` of os-release; empty when the file says none.
        id: String,
    },
    /// A repository that the system cannot do without has no metadata here.
    #[error("there is no metadata of repository `{repository}`: {reason}")]
    NoMetadata {
        /// Its id.
        repository: String,
        /// What the tool complained about, or where was looked.
        reason: String,
    },
    /// A baseline names repositories, but none for this node.
    #[error("the baseline's sources ({names}) are not for `{product}`, which this node is")]
    NoSource {
        /// The node's product, as SSM names it; empty when unknown.
        product: String,
        /// Names of the sources.
        names: String,
    },
    /// A task of ours ended unexpectedly.
    #[error("the scan was interrupted")]
    Interrupted,
}
