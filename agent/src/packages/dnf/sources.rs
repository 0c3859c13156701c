//! A baseline's own repositories: they take the place of the node's for its scans and installations,
//! and the node's configuration stays as it is.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use patchwave_engine::baseline::{NodeProfile, glob_matches, product};
use patchwave_schemas::baseline::PatchSource;

use super::super::PackageError;
use super::root::DnfRoot;

/// Directory of the `.repo` files in the agent's own.
const DIRECTORY: &str = "dnf-sources";

/// The root with the repositories that the baseline names for this node; as it is when it names none.
///
/// # Errors
/// [`PackageError::NoSource`] when it names some and none is for this node's product, and
/// [`PackageError::Write`].
pub(super) fn effective(root: &DnfRoot, sources: &[PatchSource], node: &NodeProfile) -> Result<DnfRoot, PackageError> {
    if sources.is_empty() {
        return Ok(root.clone());
    }
    let product = product(node).unwrap_or_default();
    let is_for_us =
        |source: &&PatchSource| source.products.iter().any(|wanted| wanted == "*" || glob_matches(wanted, &product));
    let ours: Vec<&PatchSource> = sources.iter().filter(is_for_us).collect();
    if ours.is_empty() {
        let names = sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(PackageError::NoSource { product, names });
    }
    let directory = root.state_dir().join(DIRECTORY);
    write(&directory, &ours).map_err(|source| PackageError::Write { path: directory.clone(), source })?;
    Ok(root.with_sources(directory))
}

/// Writes what is not there already, readable by its owner alone: it may hold passwords.
fn write(directory: &Path, sources: &[&PatchSource]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    let files: Vec<(PathBuf, String)> = sources
        .iter()
        .enumerate()
        // Names may be equal but for what a file name cannot tell apart.
        .map(|(number, source)| {
            (directory.join(format!("{number}-{}.repo", file_name(&source.name))), repository_file(source))
        })
        .collect();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if !files.iter().any(|(known, _)| *known == path) {
            fs::remove_file(path)?;
        }
    }
    for (path, text) in files {
        if fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
        }
    }
    Ok(())
}

fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }).collect()
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

    use super::{effective, repository_file};
    use crate::packages::dnf::DnfRoot;

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
    fn only_sources_for_the_nodes_product_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let root = DnfRoot::new(directory.path(), directory.path().join("state"));
        let node = NodeProfile {
            operating_system: OperatingSystem::RockyLinux,
            version: "9.4".into(),
            codename: String::new(),
        };
        assert_eq!(effective(&root, &[], &node).unwrap(), root);
        let sources = [source("nine", "RockyLinux9.*", "baseurl=x"), source("eight", "RockyLinux8.10", "baseurl=y")];
        let with = effective(&root, &sources, &node).unwrap();
        let files: Vec<_> = fs::read_dir(with.sources().unwrap())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(files, ["0-nine.repo"]);
        let error = effective(&root, &sources[1..], &node).unwrap_err().to_string();
        assert_eq!(error, "the baseline's sources (eight) are not for `RockyLinux9.4`, which this node is");
    }
}
