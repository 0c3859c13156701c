//! Files that are too large for a row: command output, package lists, reports.
//!
//! Kept by key in a directory or, with the `s3` feature, in any S3-compatible store. Nothing here
//! knows what a file means or when it may go.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::Class;
use crate::telemetry::redact_url;

/// Longest key, in bytes. Directories hold names of up to 255 bytes, and S3 keys of up to 1,024.
pub const KEY_MAX: usize = 1_024;

/// Longest part of a key between slashes, in bytes.
pub const KEY_PART_MAX: usize = 200;

/// A store of files by key. Clones share it.
#[derive(Debug, Clone)]
pub struct Artifacts {
    store: Arc<dyn ObjectStore>,
}

/// Why a file could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactsError {
    /// The URL names no store.
    #[error("artifacts `{url}`: {reason}; expected `file:///directory`, `memory:` or `s3://bucket`")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key could leave its store or name no file.
    #[error("artifact key is `{key}`: {reason}")]
    Key {
        /// What was given.
        key: String,
        /// What is wrong with it, and what is allowed.
        reason: &'static str,
    },
    /// No file has this key.
    #[error("no artifact has the key `{key}`")]
    NotFound {
        /// What was asked for.
        key: String,
    },
    /// The store is away or refused.
    #[error("could not {attempted}")]
    Store {
        /// What was attempted, with the key.
        attempted: String,
        /// The driver's reason.
        #[source]
        source: object_store::Error,
    },
}

impl ArtifactsError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Url { .. } | Self::Key { .. } | Self::NotFound { .. } => Class::Rejected,
            Self::Store { .. } => Class::Transient,
        }
    }
}

impl Artifacts {
    /// Opens `file:///directory` (made if missing), `memory:` or, with the `s3` feature,
    /// `s3://bucket/prefix` with credentials from the usual `AWS_…` variables.
    ///
    /// # Errors
    /// [`ArtifactsError::Url`] for any other URL, or a directory that cannot be made.
    pub fn open(url: &str) -> Result<Self, ArtifactsError> {
        let refused = |reason: String| ArtifactsError::Url { url: redact_url(url), reason };
        if url == "memory:" {
            return Ok(Self { store: Arc::new(InMemory::new()) });
        }
        if let Some(directory) = url.strip_prefix("file://") {
            let directory = PathBuf::from(directory);
            if !directory.is_absolute() {
                return Err(refused("the directory is not absolute".to_owned()));
            }
            std::fs::create_dir_all(&directory).map_err(|error| refused(error.to_string()))?;
            let store = LocalFileSystem::new_with_prefix(&directory).map_err(|error| refused(error.to_string()))?;
            // What was put stays put, over a power cut too.
            return Ok(Self { store: Arc::new(store.with_fsync(true)) });
        }
        if url.starts_with("s3://") {
            return open_s3(url).map_err(refused);
        }
        Err(refused("unknown scheme".to_owned()))
    }

    /// Keeps `content` under `key`, replacing what was there.
    ///
    /// # Errors
    /// [`ArtifactsError::Key`], or [`ArtifactsError::Store`] and then the old content stands.
    pub async fn put(&self, key: &str, content: Vec<u8>) -> Result<(), ArtifactsError> {
        let path = checked(key)?;
        match self.store.put(&path, content.into()).await {
            Ok(_) => Ok(()),
            Err(source) => Err(ArtifactsError::Store { attempted: format!("put artifact `{key}`"), source }),
        }
    }

    /// The content under `key`.
    ///
    /// # Errors
    /// [`ArtifactsError::Key`], [`ArtifactsError::NotFound`] or [`ArtifactsError::Store`].
    pub async fn get(&self, key: &str) -> Result<Vec<u8>, ArtifactsError> {
        let path = checked(key)?;
        let failed = |source| match source {
            object_store::Error::NotFound { .. } => ArtifactsError::NotFound { key: key.to_owned() },
            source => ArtifactsError::Store { attempted: format!("get artifact `{key}`"), source },
        };
        let found = self.store.get(&path).await.map_err(failed)?;
        Ok(found.bytes().await.map_err(failed)?.into())
    }

    /// The keys below `prefix` (whole parts: `a` lists `a/b`, not `ab`), sorted. Empty lists all.
    ///
    /// # Errors
    /// [`ArtifactsError::Key`] or [`ArtifactsError::Store`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, ArtifactsError> {
        let prefix = if prefix.is_empty() { None } else { Some(checked(prefix)?) };
        let found = self.store.list(prefix.as_ref()).map_ok(|file| file.location.to_string()).try_collect().await;
        let mut keys: Vec<String> =
            found.map_err(|source| ArtifactsError::Store { attempted: "list artifacts".to_owned(), source })?;
        keys.sort();
        Ok(keys)
    }
}

#[cfg(feature = "s3")]
fn open_s3(url: &str) -> Result<Artifacts, String> {
    use object_store::aws::AmazonS3Builder;
    use object_store::prefix::PrefixStore;

    let rest = url.trim_start_matches("s3://");
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(|error| error.to_string())?;
    let prefix = Path::parse(prefix).map_err(|error| error.to_string())?;
    Ok(Artifacts { store: Arc::new(PrefixStore::new(store, prefix)) })
}

#[cfg(not(feature = "s3"))]
fn open_s3(_url: &str) -> Result<Artifacts, String> {
    Err("this program was built without the `s3` feature".to_owned())
}

/// A key as a path that stays inside its store on every kind of store.
fn checked(key: &str) -> Result<Path, ArtifactsError> {
    let refused = |reason| ArtifactsError::Key { key: key.chars().take(100).collect(), reason };
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(refused("a key has 1 to 1024 bytes"));
    }
    for part in key.split('/') {
        if part.is_empty() || part.len() > KEY_PART_MAX {
            return Err(refused("each part between slashes has 1 to 200 bytes"));
        }
        if part.starts_with('.') {
            return Err(refused("no part may begin with a dot"));
        }
        if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(refused("only letters, digits, `-`, `_`, `.` and `/` are allowed"));
        }
    }
    Path::parse(key).map_err(|_| refused("it is not a path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_could_leave_the_store_are_refused() {
        for key in ["", "/etc/passwd", "a/../b", "..", ".", "a//b", "a/", ".hidden", "a\\b", "a b", "ä", "a\0b"] {
            assert!(matches!(checked(key), Err(ArtifactsError::Key { .. })), "{key}");
        }
        assert!(checked(&"a".repeat(201)).is_err());
        assert!(checked("commands/0192f1c4/mi-0123/stdout.txt").is_ok());
    }

    #[test]
    fn unknown_urls_are_refused_without_their_password() {
        for (url, expected) in [
            ("ftp://user:secret@host/x", "artifacts `ftp://user:***@host/x`: unknown scheme"),
            ("file://relative", "artifacts `file://relative`: the directory is not absolute"),
        ] {
            let error = Artifacts::open(url).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
