//! TLS from PEM files, read again when they change: certificates are renewed while we serve.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why a certificate cannot be used. Nothing of the key is shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM of its kind.
    #[error("could not read the {what} in {}: {reason}", path.display())]
    File {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not belong together, or are not understood.
    #[error("the certificate in {} cannot be used with the key in {}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The library's reason.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate chain with its key.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    stamps: Stamps,
    looked_at: Instant,
}

/// When the two files were written.
type Stamps = [Option<SystemTime>; 2];

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate chain, leaf first, and its key.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let stamps = [written(certificate), written(key)];
        let config = load(certificate, key)?;
        let current = Mutex::new(Current { config, stamps, looked_at: Instant::now() });
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// What the next connection is accepted with. Files that have changed are read again; as long as
    /// they cannot be used, the certificate before goes on.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked_at.elapsed() >= LOOK_EVERY {
            current.looked_at = Instant::now();
            self.renew(&mut current);
        }
        TlsAcceptor::from(Arc::clone(&current.config))
    }

    fn renew(&self, current: &mut Current) {
        let stamps = [written(&self.certificate), written(&self.key)];
        if stamps == current.stamps {
            return;
        }
        match load(&self.certificate, &self.key) {
            Ok(config) => {
                tracing::info!(certificate = %self.certificate.display(), "read the certificate again");
                (current.config, current.stamps) = (config, stamps);
            }
            // Perhaps one of the two files is still to come: the next look tells.
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the changed certificate cannot be used");
            }
        }
    }
}

/// Makes `ring` the cryptography of every TLS client in this process that names none. Again is
/// harmless.
pub fn use_ring() {
    // An error says that it is installed already.
    let _ = ring::default_provider().install_default();
}

fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |what, path: &Path, reason: String| TlsError::File { what, path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(|chain| chain.collect::<Result<Vec<_>, _>>())
        .map_err(|error| file("certificate", certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(file("certificate", certificate, "there is none in PEM form".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| file("private key", key, error.to_string()))?;
    let unusable = |source| TlsError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a certificate for `localhost` and its key.
    fn write(directory: &Path) -> (PathBuf, PathBuf, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        (certificate, key, made.cert.der().to_vec())
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key, _) = write(directory.path());
        let tls = Tls::open(&certificate, &key).expect("usable");
        let before = Arc::clone(&tls.current.lock().expect("no panic").config);
        let look = || {
            let mut current = tls.current.lock().expect("no panic");
            // Whatever the resolution of the file system's clock is.
            current.stamps = [None, None];
            tls.renew(&mut current);
            Arc::clone(&current.config)
        };
        std::fs::write(&certificate, "half a certificate").expect("written");
        assert!(Arc::ptr_eq(&look(), &before), "the one before goes on");
        write(directory.path());
        assert!(!Arc::ptr_eq(&look(), &before), "the new one is in use");
    }

    #[test]
    fn what_is_no_certificate_says_so_without_showing_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key, _) = write(directory.path());
        for (certificate, key) in [(&key, &key), (&certificate, &certificate), (&directory.path().join("none"), &key)] {
            let error = Tls::open(certificate, key).expect_err("refused").to_string();
            assert!(error.contains("could not read the"), "{error}");
            assert!(!error.contains("BEGIN"), "{error}");
        }
        let other = tempfile::tempdir().expect("a directory");
        let (_, foreign, _) = write(other.path());
        assert!(matches!(Tls::open(&certificate, &foreign), Err(TlsError::Unusable { .. })));
    }
}
