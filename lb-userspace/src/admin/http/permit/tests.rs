//! Tests of who may change something: over real TLS connections, with certificates of the
//! authority of the operators, of another one, and without any.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{
    admin::{
        Command, accept::Shutdown, examples::Example, protocol, tls::AdminTls, token::OperatorToken,
    },
    config::ClientAuthorities,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// A serial number, which a revocation list can name.
const SERIAL: u64 = 7;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    /// Returns a client that shows a certificate of this authority to `server`.
    fn client(&self, server: &Site) -> Arc<ClientConfig> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(SERIAL));
        params.distinguished_name.push(DnType::CommonName, "Ada");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = server.builder().with_client_auth_cert(chain, key);
        Arc::new(config.expect("a certificate and its key"))
    }

    fn revoking(&self, serials: &[u64]) -> String {
        let revoked_certs = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).expect("signed");
        list.pem().expect("PEM")
    }
}

/// A server that accepts operators of `authority`, and answers each command with `done`.
struct Site {
    folder: tempfile::TempDir,
    address: SocketAddr,
    authority: Authority,
    /// The certificate of the server, which clients trust.
    certificate: CertificateDer<'static>,
}

impl Site {
    async fn new(with_token: bool) -> Self {
        let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
        let at = |name: &str| folder.path().join(name);
        let made = rcgen::generate_simple_self_signed(["lb.example".to_owned()]).expect("made");
        let pem = made.cert.pem();
        write(
            &at("admin.pem"),
            &(pem.clone() + &made.signing_key.serialize_pem()),
        );
        write(&at("ca.pem"), &authority.0.pem());
        write(&at("crl.pem"), &authority.revoking(&[]));
        write(&at("token"), TOKEN);
        let authorities = ClientAuthorities {
            authorities: vec![at("ca.pem")],
            revocations: vec![at("crl.pem")],
        };
        let tls = AdminTls::new(&at("admin.pem"), Some(&authorities)).expect("TLS");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (commands, mut received) = mpsc::channel::<Command>(1);
        let source = Example {
            problems: Vec::new(),
        };
        let token = with_token.then(|| OperatorToken::at(at("token")));
        let server = Server::new(Arc::new(source), commands, token, Some(tls));
        tokio::spawn(server.live.clone().run());
        tokio::spawn(server.serve(listener, Shutdown::never()));
        tokio::spawn(async move {
            while let Some(Command { request, answer }) = received.recv().await {
                assert!(
                    matches!(request, protocol::Request::Failover),
                    "{request:?}"
                );
                answer.send(Ok("done".to_owned())).expect("received");
            }
        });
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        Self {
            folder,
            address,
            authority,
            certificate,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn builder(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
    }

    /// Returns a client without a certificate.
    fn stranger(&self) -> Arc<ClientConfig> {
        Arc::new(self.builder().with_no_client_auth())
    }

    /// Returns a client with the certificate of an operator.
    fn operator(&self) -> Arc<ClientConfig> {
        self.authority.client(self)
    }

    /// Sends a request as `client`. Returns the answer; an error if the handshake is refused.
    async fn ask(&self, client: &Arc<ClientConfig>, request: &str) -> io::Result<String> {
        let (_, answer) = self.exchange(client, request).await?;
        Ok(answer)
    }

    /// Sends a request as `client`. Returns the kind of the handshake, and the answer.
    async fn exchange(
        &self,
        client: &Arc<ClientConfig>,
        request: &str,
    ) -> io::Result<(Option<HandshakeKind>, String)> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("lb.example").expect("a name");
        let connector = TlsConnector::from(Arc::clone(client));
        let mut stream = connector.connect(name, stream).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok((stream.get_ref().1.handshake_kind(), answer))
    }

    /// Orders a hand-over as `client`, with these header lines. Returns the code of the answer.
    async fn order(&self, client: &Arc<ClientConfig>, lines: &str) -> u16 {
        let body = r#"{"command":"failover"}"#;
        let length = body.len();
        let request = format!(
            "POST /api/v1/command HTTP/1.1\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
        );
        let answer = self.ask(client, &request).await.expect("an answer");
        let code = answer.split(' ').nth(1).expect("a code");
        assert_eq!(
            code == "200",
            answer.ends_with("\r\n\r\ndone\n"),
            "{answer}"
        );
        code.parse().expect("a number")
    }

    async fn page(&self, client: &Arc<ClientConfig>) -> String {
        let request = "GET / HTTP/1.1\r\nHost: lb.example\r\n\r\n";
        self.ask(client, request).await.expect("the page")
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// Replaces a file, and gives it another modification time than it had: the times of the file
/// system may be too coarse to tell the two contents apart.
fn replace(path: &Path, text: &str, seconds: u64) {
    write(path, text);
    let file = fs::File::options().write(true).open(path).expect("open");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    file.set_modified(time).expect("its time");
}

const HOST: &str = "Host: lb.example:9145\r\n";

#[tokio::test]
async fn a_client_with_the_certificate_of_an_operator_needs_no_token() {
    for with_token in [false, true] {
        let site = Site::new(with_token).await;
        let operator = site.operator();
        assert_eq!(site.order(&operator, HOST).await, 200);
        let page = site.page(&operator).await;
        assert!(page.contains("data-request="), "{page}");
        assert!(!page.contains("<dialog"), "{page}");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_reads_and_changes_nothing() {
    let site = Site::new(false).await;
    let stranger = site.stranger();
    assert_eq!(site.order(&stranger, HOST).await, 403);
    let page = site.page(&stranger).await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(!page.contains("data-request="), "{page}");
}

#[tokio::test]
async fn a_client_without_a_certificate_may_send_the_token() {
    let site = Site::new(true).await;
    let stranger = site.stranger();
    assert_eq!(site.order(&stranger, HOST).await, 401);
    let token = format!("{HOST}Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(site.order(&stranger, &token).await, 200);
    assert!(site.page(&stranger).await.contains("<dialog"));
}

#[tokio::test]
async fn a_token_that_is_sent_decides() {
    let site = Site::new(true).await;
    let operator = site.operator();
    let wrong = format!("{HOST}Authorization: Bearer wrong\r\n");
    assert_eq!(site.order(&operator, &wrong).await, 401);
    // Another site's page cannot send the token, so that its origin does not matter.
    let right = format!("{HOST}Origin: https://evil.example\r\nAuthorization: Bearer {TOKEN}\r\n");
    assert_eq!(site.order(&operator, &right).await, 200);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let site = Site::new(false).await;
    let other = Authority::new().client(&site);
    let page = "GET / HTTP/1.1\r\nHost: lb.example\r\n\r\n";
    let refused = site.ask(&other, page).await.expect_err("refused");
    assert!(refused.to_string().contains("alert"), "{refused}");
}

#[tokio::test]
async fn an_order_from_a_page_of_another_site_is_refused() {
    let site = Site::new(false).await;
    let operator = site.operator();
    for (lines, code) in [
        ("Host: lb.example\r\nOrigin: https://lb.example\r\n", 200),
        ("Host: lb.example\r\nSec-Fetch-Site: same-origin\r\n", 200),
        ("Host: 127.0.0.1:9145\r\n", 200),
        ("Host: lb.example\r\nOrigin: https://evil.example\r\n", 403),
        ("Host: lb.example\r\nOrigin: null\r\n", 403),
        ("Host: lb.example\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Host: lb.example\r\nSec-Fetch-Site: same-site\r\n", 403),
        (
            "Host: evil.example\r\nOrigin: https://evil.example\r\n",
            403,
        ),
        ("Host: evil.example\r\n", 403),
        ("", 403),
    ] {
        assert_eq!(site.order(&operator, lines).await, code, "{lines}");
    }
}

#[tokio::test]
async fn a_revocation_takes_effect_without_a_reload() {
    let site = Site::new(false).await;
    let operator = site.operator();
    assert_eq!(site.order(&operator, HOST).await, 200);
    // A file that cannot be used leaves the previous content in use.
    replace(&site.file("crl.pem"), "nothing\n", 1);
    assert_eq!(site.order(&operator, HOST).await, 200);
    replace(
        &site.file("crl.pem"),
        &site.authority.revoking(&[SERIAL]),
        2,
    );
    let page = "GET / HTTP/1.1\r\nHost: lb.example\r\n\r\n";
    // The same client, so that a session that could be resumed would be.
    let refused = site.ask(&operator, page).await.expect_err("refused");
    assert!(refused.to_string().contains("alert"), "{refused}");
    assert!(site.page(&site.stranger()).await.contains("200 OK"));
}

#[tokio::test]
async fn each_connection_is_verified_because_sessions_are_not_resumed() {
    let site = Site::new(false).await;
    let operator = site.operator();
    let page = "GET / HTTP/1.1\r\nHost: lb.example\r\n\r\n";
    for _ in 0..2 {
        let (kind, _) = site.exchange(&operator, page).await.expect("the page");
        assert_eq!(kind, Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn another_authority_takes_effect_without_a_reload() {
    let site = Site::new(false).await;
    let next = Authority::new();
    let (before, after) = (site.operator(), next.client(&site));
    replace(&site.file("crl.pem"), &next.revoking(&[]), 1);
    replace(&site.file("ca.pem"), &next.0.pem(), 1);
    assert_eq!(site.order(&after, HOST).await, 200);
    let page = "GET / HTTP/1.1\r\nHost: lb.example\r\n\r\n";
    site.ask(&before, page).await.expect_err("refused");
}
