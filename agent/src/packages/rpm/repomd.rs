//! `repomd.xml`: which files a repository has.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::super::PackageError;
use super::elements::{Step, for_each, walk};

/// Bytes of the file at most; it lists a dozen others.
const BYTES_MAX: u64 = 1024 * 1024;

/// A repository's metadata as it lies in a cache: all files in one directory, under their own names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::packages) struct Metadata {
    /// Packages; absent where the tool keeps them in a database of its own (yum 3).
    pub(in crate::packages) primary: Option<PathBuf>,
    /// Notices, where the repository has any.
    pub(in crate::packages) updateinfo: Option<PathBuf>,
    /// Modules, where the repository has any.
    pub(in crate::packages) modules: Option<PathBuf>,
}

impl Metadata {
    /// Reads `repomd`, and finds the files that it names in `directory`.
    ///
    /// Nothing when a file that matters is listed and not there: the cache is not whole. The packages
    /// may be missing where `has_database`.
    ///
    /// # Errors
    /// [`PackageError::Read`].
    pub(in crate::packages) fn read(
        repomd: &Path,
        directory: &Path,
        has_database: bool,
    ) -> Result<Option<Self>, PackageError> {
        let failed = |source| PackageError::Read { path: repomd.to_owned(), source };
        let mut text = Vec::new();
        fs::File::open(repomd).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text)).map_err(failed)?;
        let mut listed: Vec<(String, String)> = Vec::new();
        for_each(text.as_slice(), "data", |element| listed.extend(data(element))).map_err(failed)?;
        let find = |kind: &str| listed.iter().find(|(name, _)| name == kind).map(|(_, file)| directory.join(file));
        let here = |path: &Option<PathBuf>| path.as_deref().is_none_or(Path::is_file);
        let (primary, updateinfo, modules) = (find("primary"), find("updateinfo"), find("modules"));
        let primary = primary.filter(|path| path.is_file());
        let whole = (has_database || primary.is_some()) && here(&updateinfo) && here(&modules);
        Ok(whole.then_some(Self { primary, updateinfo, modules }))
    }
}

/// The kind of a listed file, and its name without the directory that it has in the repository.
fn data(element: &[u8]) -> Option<(String, String)> {
    let (mut kind, mut file) = (String::new(), String::new());
    walk(element, |step| {
        if let Step::Open(name, attributes) = step {
            match name {
                "data" => kind = attributes.get("type"),
                "location" => file = attributes.get("href"),
                _ => {}
            }
        }
    });
    let file = file.rsplit('/').next().unwrap_or_default();
    (!kind.is_empty() && !file.is_empty() && file != "..").then(|| (kind, file.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Metadata;

    const REPOMD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1700000000</revision>
  <data type="primary"><checksum type="sha256">ab</checksum><location href="repodata/ab-primary.xml.zst"/></data>
  <data type="primary_db"><location href="repodata/cd-primary.sqlite.bz2"/></data>
  <data type="updateinfo"><location href="../../ef-updateinfo.xml.gz"/></data>
</repomd>"#;

    #[test]
    fn files_are_found_by_their_own_names_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let repomd = directory.path().join("repomd.xml");
        fs::write(&repomd, REPOMD).unwrap();
        fs::write(directory.path().join("ab-primary.xml.zst"), "").unwrap();
        assert_eq!(Metadata::read(&repomd, directory.path(), false).unwrap(), None, "the notices are not there");
        fs::write(directory.path().join("ef-updateinfo.xml.gz"), "").unwrap();
        let metadata = Metadata::read(&repomd, directory.path(), false).unwrap().unwrap();
        assert_eq!(metadata.primary, Some(directory.path().join("ab-primary.xml.zst")));
        assert_eq!(metadata.updateinfo, Some(directory.path().join("ef-updateinfo.xml.gz")));
        assert_eq!(metadata.modules, None);
    }
}
