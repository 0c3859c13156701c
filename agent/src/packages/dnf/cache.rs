//! The cached metadata of repositories: finding it, and having the tool fetch what is not current.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::PackageError;
use super::super::rpm::repomd::Metadata;
use super::config::{Config, Repository};
use super::output;
use super::root::{DnfRoot, Tool};

/// How deep below the cache directory yum keeps a repository: architecture, release, repository.
const YUM_DEPTH: usize = 3;
/// Hexadecimal digits that dnf adds to a repository's id: of the hash of its address.
const HASH_DIGITS: usize = 16;

/// A repository with its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cached {
    pub(super) repository: Repository,
    pub(super) metadata: Metadata,
}

/// The metadata of every enabled repository; what is missing or no longer current is fetched first,
/// as dnf itself would.
///
/// # Errors
/// [`PackageError::NoMetadata`] when a repository that the system cannot do without has none.
pub(super) fn current(root: &DnfRoot, config: &Config) -> Result<Vec<Cached>, PackageError> {
    let expired = expired(&config.cache);
    let now = SystemTime::now();
    let is_current = |repository: &Repository| {
        !expired.contains(&repository.id)
            && find(root.tool(), &config.cache, &repository.id)
                .is_some_and(|cache| cache.metadata().is_ok_and(|m| m.is_some()) && !cache.is_too_old(repository, now))
    };
    let mut complaint = None;
    if !config.repositories.iter().all(is_current) {
        complaint = fetch(root)?;
        if let Some(complaint) = &complaint {
            tracing::warn!(complaint, "metadata could not be fetched; what is there is used");
        }
    }
    let mut cached = Vec::with_capacity(config.repositories.len());
    for repository in &config.repositories {
        let metadata = find(root.tool(), &config.cache, &repository.id).map(|cache| cache.metadata()).transpose()?;
        match metadata.flatten() {
            Some(metadata) => cached.push(Cached { repository: repository.clone(), metadata }),
            None if repository.optional => {
                tracing::warn!(repository = %repository.id, "there is no metadata of the repository, which is optional");
            }
            None => {
                let reason = complaint.unwrap_or_else(|| format!("nothing whole is in `{}`", config.cache.display()));
                return Err(PackageError::NoMetadata { repository: repository.id.clone(), reason });
            }
        }
    }
    Ok(cached)
}

/// Has the tool fetch what is no longer current; returns what it complained about when it failed.
fn fetch(root: &DnfRoot) -> Result<Option<String>, PackageError> {
    let mut command = root.command()?;
    command.args(["-q", "makecache"]);
    let program = format!("{} makecache", root.tool().program());
    let output = command.output().map_err(|source| PackageError::Run { program, source })?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((!output.status.success()).then(|| output::complaint(&said(&output.stdout), &said(&output.stderr))))
}

/// Ids of repositories that dnf was told to fetch again, whatever their age.
fn expired(cache: &Path) -> Vec<String> {
    fs::read(cache.join("expired_repos.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Where the metadata of one repository lies.
#[derive(Debug)]
struct Place {
    repomd: PathBuf,
    directory: PathBuf,
    modified: SystemTime,
    tool: Tool,
}

impl Place {
    fn new(tool: Tool, repomd: PathBuf, directory: PathBuf) -> Option<Self> {
        let modified = fs::metadata(&repomd).ok()?.modified().ok()?;
        Some(Self { repomd, directory, modified, tool })
    }

    fn metadata(&self) -> Result<Option<Metadata>, PackageError> {
        Metadata::read(&self.repomd, &self.directory, self.tool == Tool::Yum)
    }

    fn is_too_old(&self, repository: &Repository, now: SystemTime) -> bool {
        // dnf notes on the list of packages when it last found the metadata unchanged.
        let primary = self.metadata().ok().flatten().and_then(|m| fs::metadata(m.primary?).ok()?.modified().ok());
        let confirmed = primary.map_or(self.modified, |primary| primary.max(self.modified));
        let age = now.duration_since(confirmed).unwrap_or_default();
        repository.expires.is_some_and(|limit| age > limit)
    }
}

/// The newest cache of a repository: there is another for each address that it ever had.
fn find(tool: Tool, cache: &Path, id: &str) -> Option<Place> {
    let places: Vec<Place> = match tool {
        Tool::Dnf => directories(cache)
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| is_of(&name.to_string_lossy(), id)))
            .filter_map(|path| Place::new(tool, path.join("repodata/repomd.xml"), path.join("repodata")))
            .collect(),
        Tool::Yum => {
            let mut level = vec![cache.to_owned()];
            let mut all = Vec::new();
            for _ in 0..YUM_DEPTH {
                level = level.iter().flat_map(|path| directories(path)).collect();
                all.extend(level.iter().filter(|path| path.file_name().is_some_and(|name| name == id)).cloned());
            }
            all.into_iter().filter_map(|path| Place::new(tool, path.join("repomd.xml"), path.clone())).collect()
        }
    };
    places.into_iter().max_by_key(|place| place.modified)
}

/// Whether a directory of dnf's cache is the repository's: `id-` and the hash of its address.
fn is_of(name: &str, id: &str) -> bool {
    name.strip_prefix(id)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|hash| hash.len() == HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn directory_is_of_the_repository_with_exactly_that_id() {
        assert!(is_of("base-56501298ba91b5d1", "base"));
        assert!(!is_of("base-56501298ba91b5d1", "bas"));
        assert!(!is_of("base-debug-56501298ba91b5d1", "base"));
        assert!(!is_of("base-56501298ba91b5d", "base"));
    }
}
