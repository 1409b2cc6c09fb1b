//! TLS of the admin server.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::proxy;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate of the admin server cannot be served.
    #[error("`admin.certificate`: {0}")]
    Certificate(#[source] proxy::Error),
    /// The TLS library refused the settings that this module gives it.
    #[error("cannot set up TLS for `admin.listen`: {0}")]
    Library(#[from] rustls::Error),
}

/// Sets up TLS with a certificate file.
///
/// # Errors
/// The certificate cannot be served.
pub(super) fn acceptor(path: &Path) -> Result<TlsAcceptor, TlsError> {
    let certificate = WatchedCertificate::read(path).map_err(TlsError::Certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// A certificate of the admin server that is read again when its file changes.
struct WatchedCertificate {
    path: PathBuf,
    current: Mutex<(Option<SystemTime>, Arc<CertifiedKey>)>,
}

impl WatchedCertificate {
    fn read(path: &Path) -> Result<Self, proxy::Error> {
        let changed = changed(path);
        let key = proxy::certified_key(path)?;
        Ok(Self {
            path: path.to_owned(),
            current: Mutex::new((changed, key)),
        })
    }

    /// Returns the certificate in the file; while the file cannot be used, the previous
    /// certificate.
    fn current(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = changed(&self.path);
        if changed != current.0 {
            current.0 = changed;
            match proxy::certified_key(&self.path) {
                Ok(key) => current.1 = key,
                // A certificate file that cannot be used is logged once after each change of the
                // file.
                Err(error) => tracing::warn!(
                    error = %error,
                    "cannot use the new admin certificate; the previous one stays in use"
                ),
            }
        }
        Arc::clone(&current.1)
    }
}

/// Returns when a file last changed; `None` if its metadata cannot be read.
fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|file| file.modified())
        .ok()
}

impl ResolvesServerCert for WatchedCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for WatchedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, current: _ } = self;
        f.debug_struct("WatchedCertificate")
            .field("path", path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        time::{Duration, UNIX_EPOCH},
    };

    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    use super::*;

    /// Writes a new certificate file, and sets the file's modification time, because the file
    /// system's own times may be too coarse to tell two changes apart. Returns the certificate.
    fn write(path: &Path, seconds: u64) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["lb.example".to_owned()]).expect("made");
        let pem = made.cert.pem();
        put(
            path,
            &(pem.clone() + &made.signing_key.serialize_pem()),
            seconds,
        );
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
    }

    fn put(path: &Path, text: &str, seconds: u64) {
        fs::write(path, text).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
        let file = fs::File::options().write(true).open(path).expect("open");
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(time).expect("its time");
    }

    #[test]
    fn a_new_certificate_is_served_and_a_broken_file_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.pem");
        let first = write(&path, 1);
        let watched = WatchedCertificate::read(&path).expect("good");
        assert_eq!(watched.current().cert, [first]);
        let second = write(&path, 2);
        assert_eq!(watched.current().cert, std::slice::from_ref(&second));
        put(&path, "not a certificate", 3);
        assert_eq!(watched.current().cert, std::slice::from_ref(&second));
        fs::remove_file(&path).expect("removed");
        assert_eq!(watched.current().cert, [second]);
        let third = write(&path, 4);
        assert_eq!(watched.current().cert, [third]);
    }
}
