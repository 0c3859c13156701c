//! Where an operator's commands find the access key that they sign with.
//!
//! The first of: `PATCHWAVE_ACCESS_KEY_ID` with `PATCHWAVE_SECRET_ACCESS_KEY`, the same of AWS, the
//! file `patchwave/credentials` in the user's configuration directory, the file that a server left
//! in its data directory at its first start. None is no error here: the API then says that it needs
//! one.

use std::env;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use patchwave_api::sign::Credentials;
use patchwave_platform::store::access_keys::SecretAccessKey;
use serde::Deserialize;

use crate::failure::Failure;

/// The file's name in either directory.
pub const FILE: &str = "credentials";
/// Permissions of others on the file that are refused.
const FOREIGN_ACCESS: u32 = 0o077;

/// The places that are looked at, so that a test can choose them.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Values of pairs of variables, id and secret; the first pair with an id wins.
    pub variables: Vec<(Option<String>, Option<String>)>,
    /// Files; the first that exists wins.
    pub files: Vec<PathBuf>,
}

impl Places {
    /// Those of the user who runs this program.
    #[must_use]
    pub fn of_this_user(data_dir: PathBuf) -> Self {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let pair = |prefix: &str| {
            (variable(&format!("{prefix}_ACCESS_KEY_ID")), variable(&format!("{prefix}_SECRET_ACCESS_KEY")))
        };
        let config = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")));
        let own = config.map(|directory| directory.join("patchwave").join(FILE));
        Self {
            variables: vec![pair("PATCHWAVE"), pair("AWS")],
            files: own.into_iter().chain([data_dir.join(FILE)]).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    access_key_id: String,
    secret_access_key: String,
}

/// The access key to sign with, if there is one.
///
/// # Errors
/// Half a pair of variables, and a file that is not of its form or that others may read.
pub fn find(places: &Places) -> anyhow::Result<Option<Credentials>> {
    for pair in &places.variables {
        match pair {
            (Some(id), Some(secret)) => return credentials(id.clone(), secret.clone()).map(Some),
            (None, None) => {}
            _ => {
                let message = "one variable of an access key is set and the other is not";
                let hint = "set both PATCHWAVE_ACCESS_KEY_ID and PATCHWAVE_SECRET_ACCESS_KEY, or neither";
                return Err(Failure::usage(message).with_hint(hint).into());
            }
        }
    }
    for path in &places.files {
        match std::fs::metadata(path) {
            Ok(found) if found.permissions().mode() & FOREIGN_ACCESS != 0 => {
                let message = format!("{} can be read by others than its owner", path.display());
                return Err(Failure::usage(message).with_hint(format!("chmod 600 {}", path.display())).into());
            }
            Ok(_) => return read(path).map(Some),
            // Somebody else's data directory is not ours to look into.
            Err(_) => {}
        }
    }
    Ok(None)
}

fn read(path: &Path) -> anyhow::Result<Credentials> {
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    let file: File = toml::from_str(&text).map_err(|_| {
        // The parser would quote the line.
        Failure::usage(format!("{} must hold `access_key_id` and `secret_access_key` as TOML", path.display()))
    })?;
    credentials(file.access_key_id, file.secret_access_key)
}

fn credentials(access_key_id: String, secret: String) -> anyhow::Result<Credentials> {
    let secret_access_key = SecretAccessKey::new(secret).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Credentials { access_key_id, secret_access_key })
}

/// Writes an access key to a file that only its owner may read, in place of one that may be there:
/// that one's mode, owner, links and readers get nothing of the secret.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, credentials: &Credentials) -> anyhow::Result<()> {
    let failed = || format!("could not write {}", path.display());
    let draft = path.with_extension(format!("{}.new", uuid::Uuid::new_v4().simple()));
    let written = (|| {
        // Made by nobody else: whoever put a file or a link here would be told the secret.
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let secret = credentials.secret_access_key.reveal();
        let id = &credentials.access_key_id;
        write!(file, "access_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n")?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    })();
    written.inspect_err(|_: &std::io::Error| drop(std::fs::remove_file(&draft))).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(id: &str, secret: &str) -> (Option<String>, Option<String>) {
        let value = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (value(id), value(secret))
    }

    #[test]
    fn the_first_place_that_has_a_key_wins() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join(FILE);
        let secret = |name: &str| SecretAccessKey::new(format!("{name}-secret-0123456789")).expect("a secret");
        let key = |name: &str| Credentials { access_key_id: name.to_owned(), secret_access_key: secret(name) };
        write(&file, &key("FILE")).expect("written");
        let found = |variables: &[(Option<String>, Option<String>)]| {
            let places = Places { variables: variables.to_vec(), files: vec!["/nowhere".into(), file.clone()] };
            find(&places).expect("valid").map(|found| found.access_key_id)
        };
        let ours = pair("OURS", "ours-secret-0123456789");
        let aws = pair("AWS", "aws-secret-0123456789");
        assert_eq!(found(&[ours, aws.clone()]).as_deref(), Some("OURS"));
        assert_eq!(found(&[pair("", ""), aws]).as_deref(), Some("AWS"));
        assert_eq!(found(&[]).as_deref(), Some("FILE"));
        assert!(find(&Places::default()).expect("valid").is_none());
    }

    #[test]
    fn a_secret_is_not_written_into_a_file_that_others_may_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, elsewhere) = (directory.path().join(FILE), directory.path().join("elsewhere"));
        let secret = SecretAccessKey::new("hunter2-secret-0123456789".to_owned()).expect("a secret");
        let key = Credentials { access_key_id: "OURS".to_owned(), secret_access_key: secret };
        for is_link in [false, true] {
            std::fs::write(&elsewhere, "old").expect("written");
            std::fs::set_permissions(&elsewhere, std::fs::Permissions::from_mode(0o644)).expect("chmod");
            let _ = std::fs::remove_file(&file);
            if is_link {
                std::os::unix::fs::symlink(&elsewhere, &file).expect("a link");
            } else {
                std::fs::hard_link(&elsewhere, &file).expect("a link");
            }
            write(&file, &key).expect("written");
            let found = std::fs::symlink_metadata(&file).expect("there");
            assert!(found.is_file() && found.permissions().mode() & 0o777 == 0o600, "{found:?}");
            assert_eq!(std::fs::read_to_string(&elsewhere).expect("there"), "old");
            assert_eq!(read(&file).expect("a key").access_key_id, "OURS");
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 2, "and nothing is left behind");
    }

    #[test]
    fn half_a_pair_and_a_file_that_is_open_to_others_are_refused_without_their_secret() {
        let half = Places { variables: vec![pair("OURS", "")], files: Vec::new() };
        assert!(find(&half).is_err());
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join(FILE);
        let places = Places { variables: Vec::new(), files: vec![file.clone()] };
        std::fs::write(&file, "secret_access_key = hunter2hunter2hunter2").expect("written");
        for mode in [0o644, 0o600] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("chmod");
            let error = format!("{:?}", find(&places).expect_err("refused"));
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
