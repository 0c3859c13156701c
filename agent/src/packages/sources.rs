//! A baseline's own repositories: they take the place of the node's for its scans and installations,
//! and the node's configuration stays as it is.
//!
//! Which of them are for a node, and the files that say so; where a package manager looks for such
//! files is its own directory's matter.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use patchwave_engine::baseline::{NodeProfile, glob_matches, product};
use patchwave_schemas::baseline::PatchSource;

use super::PackageError;

/// The sources that are for this node's product. None where the baseline names none at all.
///
/// # Errors
/// [`PackageError::NoSource`] when it names some and none is for this node's product.
pub(super) fn for_node<'a>(
    sources: &'a [PatchSource],
    node: &NodeProfile,
) -> Result<Vec<&'a PatchSource>, PackageError> {
    let product = product(node).unwrap_or_default();
    let is_for_us =
        |source: &&PatchSource| source.products.iter().any(|wanted| wanted == "*" || glob_matches(wanted, &product));
    let ours: Vec<&PatchSource> = sources.iter().filter(is_for_us).collect();
    if ours.is_empty() && !sources.is_empty() {
        let names = sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(PackageError::NoSource { product, names });
    }
    Ok(ours)
}

/// Makes these the files of a directory, by name and text: readable by their owner alone, for they
/// may hold passwords. What is there already is not written.
///
/// # Errors
/// [`PackageError::Write`].
pub(super) fn write(directory: &Path, files: &[(String, String)]) -> Result<(), PackageError> {
    let writing = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
        let files: Vec<(PathBuf, &str)> =
            files.iter().map(|(name, text)| (directory.join(name), text.as_str())).collect();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if !files.iter().any(|(known, _)| *known == path) {
                fs::remove_file(path)?;
            }
        }
        for (path, text) in files {
            if fs::read_to_string(&path).ok().as_deref() != Some(text) {
                let mut file =
                    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
                io::Write::write_all(&mut file, text.as_bytes())?;
            }
        }
        Ok(())
    };
    writing().map_err(|source| PackageError::Write { path: directory.to_owned(), source })
}

/// A file name for each of them. Names may be equal but for what a file name cannot tell apart.
pub(super) fn file_name(number: usize, source: &PatchSource, extension: &str) -> String {
    let name = source.name.chars();
    let name: String =
        name.map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }).collect();
    format!("{number}-{name}.{extension}")
}

/// The `.repo` files of dnf, yum and zypper.
pub(super) fn repository_files(sources: &[&PatchSource]) -> Vec<(String, String)> {
    let file = |(number, source): (usize, &&PatchSource)| (file_name(number, source, "repo"), repository_file(source));
    sources.iter().enumerate().map(file).collect()
}

/// SSM's examples give the repository's section the name `[main]`, or none at all; dnf wants its id.
fn repository_file(source: &PatchSource) -> String {
    let id = format!("[{}]", source.name);
    let mut text = String::new();
    if !source.configuration.lines().any(|line| line.trim_start().starts_with('[')) {
        text.push_str(&id);
        text.push('\n');
    }
    for line in source.configuration.lines() {
        text.push_str(if line.trim() == "[main]" { &id } else { line });
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use patchwave_engine::baseline::NodeProfile;
    use patchwave_schemas::baseline::PatchSource;
    use patchwave_schemas::node::OperatingSystem;

    use super::{for_node, repository_file, repository_files, write};

    fn source(name: &str, product: &str, configuration: &str) -> PatchSource {
        PatchSource { name: name.into(), products: vec![product.into()], configuration: configuration.into() }
    }

    #[test]
    fn section_gets_the_sources_name_unless_it_has_one() {
        for (configuration, expected) in [
            ("[main]\nbaseurl=x\n", "[mine]\nbaseurl=x\n"),
            ("baseurl=x", "[mine]\nbaseurl=x\n"),
            ("[other]\nbaseurl=x\n", "[other]\nbaseurl=x\n"),
        ] {
            assert_eq!(repository_file(&source("mine", "*", configuration)), expected);
        }
    }

    #[test]
    fn only_sources_for_the_nodes_product_are_written_and_older_files_go() {
        let directory = tempfile::tempdir().unwrap();
        let node = NodeProfile {
            operating_system: OperatingSystem::RockyLinux,
            version: "9.4".into(),
            codename: String::new(),
        };
        assert!(for_node(&[], &node).unwrap().is_empty());
        let sources = [source("ni/ne", "RockyLinux9.*", "baseurl=x"), source("eight", "RockyLinux8.10", "baseurl=y")];
        fs::write(directory.path().join("old.repo"), "").unwrap();
        write(directory.path(), &repository_files(&for_node(&sources, &node).unwrap())).unwrap();
        let files: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(files, ["0-ni_ne.repo"]);
        let error = for_node(&sources[1..], &node).unwrap_err().to_string();
        assert_eq!(error, "the baseline's sources (eight) are not for `RockyLinux9.4`, which this node is");
    }
}
