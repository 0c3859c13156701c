//! Files that are their owner's alone: the node's key, and whose messages it acts on.
//!
//! Whoever may read the one is the node, and whoever may write the other commands it, so a file that
//! is open to others is not used. What is checked is the file that is then read, and not its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::credentials::CredentialsError;

/// Bytes of such a file at most; 64 keys take a tenth of it.
const BYTES_MAX: u64 = 256 * 1024;
/// Permissions of others that are refused.
const FOREIGN_ACCESS: u32 = 0o077;

/// What the file holds; `None` when there is none.
///
/// # Errors
/// [`CredentialsError::Bad`] when others have access to it, or it is too long;
/// [`CredentialsError::Io`].
pub(crate) fn read(path: &Path) -> Result<Option<String>, CredentialsError> {
    let failed = |source| CredentialsError::Io { attempted: "read", path: path.to_owned(), source };
    let bad = |reason: String| CredentialsError::Bad { path: path.to_owned(), reason };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & FOREIGN_ACCESS != 0 {
        return Err(bad(format!("mode is {mode:o}; allowed is access for its owner alone, such as 600")));
    }
    if metadata.len() > BYTES_MAX {
        return Err(bad(format!("it has {} bytes; allowed are up to {BYTES_MAX}", metadata.len())));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Writes the file, whole or not at all, in place of what was there.
///
/// Each writer has a draft of its own: two at once do not write into each other's.
///
/// # Errors
/// [`CredentialsError::Io`].
pub(crate) fn write(path: &Path, text: &str) -> Result<(), CredentialsError> {
    let failed = |source| CredentialsError::Io { attempted: "write", path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(failed)?;
    let draft = path.with_extension(format!("{}.new", uuid::Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // It may hold a key; when it cannot be removed it is its owner's all the same.
        let _ = fs::remove_file(&draft);
    }
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_draft() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state/file");
        assert_eq!(read(&path).expect("nothing yet"), None);
        for text in ["one", "two"] {
            write(&path, text).expect("written");
            assert_eq!(read(&path).expect("read").as_deref(), Some(text));
        }
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path().join("state")).expect("there").count(), 1);
    }

    #[test]
    fn what_is_open_to_others_or_too_long_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        write(&path, "secret").expect("written");
        for mode in [0o640, 0o604, 0o620, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let error = read(&path).expect_err("open to others").to_string();
            assert!(error.contains(&format!("{mode:o}")) && !error.contains("secret"), "{error}");
        }
        write(&path, &"x".repeat(300_000)).expect("written");
        assert!(read(&path).expect_err("too long").to_string().contains("300000"));
    }
}
