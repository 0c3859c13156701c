//! The master key: what a stolen database lacks.
//!
//! Secrets that the store must be able to read again (secret access keys, which SigV4 needs in the
//! clear on the server's side, and the private halves of signing keys) are sealed with a key that is
//! in a file beside the programs and never in the store. Sealing is AES-256-GCM with a random
//! 96-bit nonce; the purpose is authenticated with the text, so a sealed value that is moved to
//! another row does not open. Records that must not be altered unseen carry a MAC by the same key.
//!
//! Nothing here is logged, and no type here shows its content through `Debug`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes of a master key.
pub const MASTER_KEY_BYTES: usize = 32;
/// What a key file begins with, so that another file is not taken for one.
const FILE_PREFIX: &str = "patchwave-master-key-1:";
/// Bytes of a key file at most: enough for the prefix, the key and a line's end.
const FILE_BYTES_MAX: u64 = 256;
/// What a sealed text begins with: names the way it was sealed.
const SEALED_PREFIX: &str = "s1:";
/// Permissions of others on a key file that are refused.
const FOREIGN_ACCESS: u32 = 0o077;

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The key file cannot be read or written.
    #[error("could not {attempted} the master key file {}", path.display())]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The key file holds something else, or is open to others.
    #[error("the master key file {}: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// A sealed value was altered, moved, or sealed with another master key.
    #[error("a sealed {purpose} cannot be opened: it was altered, or sealed with another master key")]
    Unsealable {
        /// What it is.
        purpose: String,
    },
    /// The system has no randomness to give.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl SecretError {
    /// What a caller can do about it: nothing but stop, or refuse what it was asked.
    #[must_use]
    pub fn class(&self) -> crate::Class {
        match self {
            Self::File { .. } | Self::BadFile { .. } | Self::NoRandomness => crate::Class::Fatal,
            Self::Unsealable { .. } => crate::Class::Rejected,
        }
    }
}

/// Seals and opens secrets, and signs records. Every process of one control plane has the same.
pub struct MasterKey {
    sealing: LessSafeKey,
    records: hmac::Key,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// A key of these bytes.
    ///
    /// # Panics
    /// Never: every 32 bytes are a key, and HKDF yields as many as are asked for here.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; MASTER_KEY_BYTES]) -> Self {
        let master = Salt::new(HKDF_SHA256, b"patchwave master key").extract(bytes);
        let sealing: UnboundKey = master.expand(&[b"sealing"], &AES_256_GCM).expect("as long as a key").into();
        let records: hmac::Key = master.expand(&[b"records"], hmac::HMAC_SHA256).expect("as long as a key").into();
        Self { sealing: LessSafeKey::new(sealing), records }
    }

    /// A key that nobody has and that is not kept: for tests and throw-away systems.
    ///
    /// # Errors
    /// [`SecretError::NoRandomness`].
    pub fn ephemeral() -> Result<Self, SecretError> {
        Ok(Self::from_bytes(&random::<MASTER_KEY_BYTES>()?))
    }

    /// Reads the key in `path`.
    ///
    /// # Errors
    /// [`SecretError::File`] when there is none, [`SecretError::BadFile`] when it is no key file or
    /// others may read it.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let failed = |source| SecretError::File { attempted: "read", path: path.to_owned(), source };
        let bad = |reason: String| SecretError::BadFile { path: path.to_owned(), reason };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & FOREIGN_ACCESS != 0 {
            return Err(bad(format!("mode is {:o}; allowed is access for its owner alone, such as 600", mode & 0o777)));
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        let expected = || bad(format!("allowed is one line: `{FILE_PREFIX}` and 32 bytes in base64"));
        let encoded = text.trim().strip_prefix(FILE_PREFIX).ok_or_else(expected)?;
        let bytes: [u8; MASTER_KEY_BYTES] =
            BASE64.decode(encoded).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(expected)?;
        Ok(Self::from_bytes(&bytes))
    }

    /// Reads the key in `path`; makes one when there is no such file.
    ///
    /// Two processes that start at once agree on one key: a key is written whole under another name
    /// and then linked to its own, which only one of them can do.
    ///
    /// # Errors
    /// As [`MasterKey::load`], and when the file cannot be written.
    pub fn load_or_create(path: &Path) -> Result<Self, SecretError> {
        match Self::load(path) {
            Err(SecretError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            known => return known,
        }
        let failed = |source| SecretError::File { attempted: "write", path: path.to_owned(), source };
        let line = format!("{FILE_PREFIX}{}\n", BASE64.encode(random::<MASTER_KEY_BYTES>()?));
        let draft = path.with_extension(format!("{}.new", uuid::Uuid::new_v4().simple()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            match std::fs::hard_link(&draft, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            }
        })();
        // Whether or not it was linked, the draft's own name has done its work.
        let _ = std::fs::remove_file(&draft);
        written.map_err(failed)?;
        Self::load(path)
    }

    /// Seals a secret for one purpose, such as `access key AKIA…`.
    ///
    /// # Errors
    /// [`SecretError::NoRandomness`].
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<String, SecretError> {
        let nonce = random::<NONCE_LEN>()?;
        let mut text = secret.to_vec();
        self.sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose.as_bytes()), &mut text)
            .map_err(|_| SecretError::NoRandomness)?;
        Ok(format!("{SEALED_PREFIX}{}", BASE64.encode([&nonce[..], &text].concat())))
    }

    /// Opens what was sealed for the same purpose.
    ///
    /// # Errors
    /// [`SecretError::Unsealable`].
    pub fn open(&self, purpose: &str, sealed: &str) -> Result<Vec<u8>, SecretError> {
        let refused = || SecretError::Unsealable { purpose: purpose.to_owned() };
        let bytes = sealed.strip_prefix(SEALED_PREFIX).and_then(|text| BASE64.decode(text).ok()).ok_or_else(refused)?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(refused)?;
        let mut text = text.to_vec();
        let secret = self
            .sealing
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(purpose.as_bytes()), &mut text)
            .map_err(|_| refused())?;
        Ok(secret.to_vec())
    }

    /// The MAC of a record, as 64 hex digits: HMAC-SHA-256 over the length and bytes of each part.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> String {
        let mut context = hmac::Context::with_key(&self.records);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        hex(context.sign().as_ref())
    }
}

/// Random bytes from the system.
///
/// # Errors
/// [`SecretError::NoRandomness`].
pub fn random<const N: usize>() -> Result<[u8; N], SecretError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SecretError::NoRandomness)?;
    Ok(bytes)
}

/// Bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey::from_bytes(&[byte; MASTER_KEY_BYTES])
    }

    #[test]
    fn a_secret_opens_with_its_key_and_purpose_alone() {
        let sealed = key(1).seal("access key A", b"secret").expect("randomness");
        assert!(!sealed.contains("secret"));
        assert_eq!(key(1).open("access key A", &sealed).expect("the same key"), b"secret");
        for (other, purpose) in [(key(2), "access key A"), (key(1), "access key B")] {
            assert!(matches!(other.open(purpose, &sealed), Err(SecretError::Unsealable { .. })));
        }
    }

    #[test]
    fn altered_and_cut_texts_do_not_open() {
        let sealed = key(1).seal("p", b"secret").expect("randomness");
        for bad in ["", "s1:", "s1:AAAA", "s2:AAAA", &sealed[..sealed.len() - 4], &sealed.replacen("s1:", "s1:A", 1)] {
            assert!(key(1).open("p", bad).is_err(), "{bad}");
        }
        assert_ne!(sealed, key(1).seal("p", b"secret").expect("randomness"), "nonces differ");
    }

    #[test]
    fn parts_of_a_record_cannot_be_shifted() {
        assert_eq!(key(1).mac(&[b"ab", b"c"]), key(1).mac(&[b"ab", b"c"]));
        assert_ne!(key(1).mac(&[b"ab", b"c"]), key(1).mac(&[b"a", b"bc"]));
        assert_ne!(key(1).mac(&[b"ab"]), key(2).mac(&[b"ab"]));
    }

    #[test]
    fn a_key_file_is_made_once_and_kept_from_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("master.key");
        let sealed = MasterKey::load_or_create(&path).expect("made").seal("p", b"x").expect("randomness");
        assert_eq!(MasterKey::load_or_create(&path).expect("found").open("p", &sealed).expect("the same"), b"x");
        assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 1, "no draft is left");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        let error = MasterKey::load(&path).expect_err("others may read it").to_string();
        assert!(error.contains("644"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        std::fs::write(&path, "something else").expect("write");
        assert!(matches!(MasterKey::load_or_create(&path), Err(SecretError::BadFile { .. })));
    }
}
