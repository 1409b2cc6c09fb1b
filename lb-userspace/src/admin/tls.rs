//! TLS of the admin server.

use std::{
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    ServerConfig,
    client::verify_server_name,
    pki_types::ServerName,
    server::{
        ClientHello, NoClientAuth, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{config, proxy};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate of the admin server cannot be served.
    #[error("`admin.certificate`: {0}")]
    Certificate(#[source] proxy::Error),
    /// The certificates of operators cannot be verified, for these reasons.
    #[error("`admin.client_authorities`: {}", in_one_line(.0))]
    ClientAuthorities(Vec<proxy::Error>),
    /// The TLS library refused the settings that this module gives it.
    #[error("cannot set up TLS for `admin.listen`: {0}")]
    Library(#[from] rustls::Error),
}

fn in_one_line(errors: &[proxy::Error]) -> String {
    let sentences: Vec<_> = errors.iter().map(ToString::to_string).collect();
    sentences.join("; ")
}

/// TLS of the admin server. A change of one of its files is in force from the next handshake on.
#[derive(Clone, Debug)]
pub(super) struct AdminTls {
    certificate: Arc<Watched<CertifiedKey>>,
    /// The settings for handshakes, which depend on the files of the authorities of operators.
    settings: Arc<Watched<ServerConfig>>,
    /// Whether clients are asked for the certificate of an operator.
    verifies_operators: bool,
}

/// The operator whose client certificate was verified in the handshake of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Operator {
    /// The common name of the certificate's subject, or else its first alternative name.
    pub(super) name: String,
}

impl AdminTls {
    /// Sets up TLS with a certificate file, and with the authorities of the client certificates of
    /// operators; `None` if clients are not asked for a certificate.
    ///
    /// # Errors
    /// The certificate cannot be served, or the certificates of operators cannot be verified.
    pub(super) fn new(
        certificate: &Path,
        authorities: Option<&config::ClientAuthorities>,
    ) -> Result<Self, TlsError> {
        let path = certificate.to_owned();
        let load = move || proxy::certified_key(&path).map_err(TlsError::Certificate);
        let certificate = Watched::read(vec![certificate.to_owned()], Box::new(load))?;
        let certificate = Arc::new(certificate);
        let verifies_operators = authorities.is_some();
        let authorities = authorities.cloned();
        let files = authorities.iter();
        let files = files.flat_map(|read| read.authorities.iter().chain(&read.revocations));
        let files = files.cloned().collect();
        let served = Arc::clone(&certificate);
        let load = move || {
            let verifier = authorities.as_ref().map(proxy::operator_verifier);
            let verifier = verifier.transpose().map_err(TlsError::ClientAuthorities)?;
            settings(Arc::clone(&served), verifier)
        };
        Ok(Self {
            settings: Arc::new(Watched::read(files, Box::new(load))?),
            certificate,
            verifies_operators,
        })
    }

    /// Returns whether clients are asked for the certificate of an operator.
    pub(super) fn verifies_operators(&self) -> bool {
        self.verifies_operators
    }

    /// Makes the handshake of a connection. Also returns the operator who connects; `None` for a
    /// client without a certificate.
    ///
    /// # Errors
    /// The handshake failed, for example because the certificate of the client is not one of an
    /// operator.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Operator>)> {
        let stream = TlsAcceptor::from(self.settings.current())
            .accept(stream)
            .await?;
        let (_, session) = stream.get_ref();
        // Without a verifier the server asks for no certificate, so one that is here was verified.
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let operator = certificate.map(|certificate| Operator {
            name: proxy::client_name(certificate).unwrap_or_default(),
        });
        Ok((stream, operator))
    }

    /// Returns whether a host, as a client names it in a URL, is this server: an IP address,
    /// `localhost`, or a name that the certificate is valid for. A name of someone else that was
    /// made to point to this server (DNS rebinding) is not.
    pub(super) fn is_host(&self, host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        if address.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let key = self.certificate.current();
        let (Ok(name), Ok(certificate)) = (ServerName::try_from(host), key.end_entity_cert())
        else {
            return false;
        };
        ParsedCertificate::try_from(certificate)
            .and_then(|certificate| verify_server_name(&certificate, &name))
            .is_ok()
    }
}

/// Returns the settings for handshakes. If client certificates are verified, sessions are not
/// resumed: a resumed session would not notice a revocation.
fn settings(
    certificate: Arc<Watched<CertifiedKey>>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifies = verifier.is_some();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.unwrap_or_else(|| Arc::new(NoClientAuth)))
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if verifies {
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    Ok(Arc::new(config))
}

/// A value that is read from files, and again when one of them changes.
struct Watched<T> {
    files: Vec<PathBuf>,
    load: Box<dyn Fn() -> Result<Arc<T>, TlsError> + Send + Sync>,
    /// The value, and when each of the files had changed last before it was read.
    current: Mutex<(Vec<Option<SystemTime>>, Arc<T>)>,
}

impl<T> Watched<T> {
    fn read(
        files: Vec<PathBuf>,
        load: Box<dyn Fn() -> Result<Arc<T>, TlsError> + Send + Sync>,
    ) -> Result<Self, TlsError> {
        let current = Mutex::new((changed(&files), load()?));
        Ok(Self {
            files,
            load,
            current,
        })
    }

    /// Returns the value that the files have now; while they cannot be used, the previous value.
    fn current(&self) -> Arc<T> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = changed(&self.files);
        if changed != current.0 {
            current.0 = changed;
            match (self.load)() {
                Ok(value) => current.1 = value,
                // Files that cannot be used are logged once after each change of them.
                Err(error) => tracing::warn!(
                    error = %error,
                    "cannot use a new TLS file of [admin]; its previous content stays in use"
                ),
            }
        }
        Arc::clone(&current.1)
    }
}

/// Returns when each of these files last changed; `None` for one whose metadata cannot be read.
fn changed(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    let times = files
        .iter()
        .map(|file| std::fs::metadata(file)?.modified())
        .map(Result::ok);
    times.collect()
}

impl ResolvesServerCert for Watched<CertifiedKey> {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, .. } = self;
        f.debug_struct("Watched")
            .field("files", files)
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
        let watched = AdminTls::new(&path, None).expect("good").certificate;
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

    #[test]
    fn a_name_of_the_certificate_an_address_and_localhost_are_this_host() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.pem");
        write(&path, 1);
        let tls = AdminTls::new(&path, None).expect("good");
        for own in [
            "lb.example",
            "LB.Example",
            "localhost",
            "192.0.2.7",
            "[2001:db8::1]",
        ] {
            assert!(tls.is_host(own), "{own}");
        }
        for other in ["", "evil.example", "lb.example.evil.example", "a b", "["] {
            assert!(!tls.is_host(other), "{other}");
        }
    }
}
