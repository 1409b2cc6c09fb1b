//! Tests of `[service.tls]`: versions, cipher suites, key exchanges, and client certificates.

use std::{fs, net::TcpStream, path::PathBuf, sync::Arc};

use lb::config::{
    CipherSuite, ClientAuthorities, ClientCertificates, KeyExchange, Mode, Tls, TlsVersion,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion,
    pki_types::{PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};

use crate::{
    backends::{Backend, ok},
    clients::{TlsClient, client_config, curl},
    site::Site,
};

/// Starts a front under test with these TLS settings, whose backend answers with the head of each
/// request.
fn site(settings: Tls) -> Site {
    let backend = Backend::answering(|seen| ok(seen.head.as_bytes()));
    let site = Site::https(&[backend.address]);
    apply(&site, settings);
    site
}

fn apply(site: &Site, settings: Tls) {
    let mut service = site.service.clone();
    if let Mode::Https { tls, .. } = &mut service.mode {
        *tls = settings;
    }
    site.apply(service).expect("applied");
}

/// Returns whether a client with this configuration gets a response. The handshake alone does not
/// show that: in TLS 1.3, a server may reject a client's certificate after the client has finished
/// its part of the handshake.
fn is_served(site: &Site, config: ClientConfig) -> bool {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut tcp = TcpStream::connect(site.address).expect("connected");
    let mut stream = rustls::Stream::new(&mut session, &mut tcp);
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut answer = [0; 12];
    std::io::Write::write_all(&mut stream, request).is_ok()
        && std::io::Read::read_exact(&mut stream, &mut answer).is_ok()
        && &answer == b"HTTP/1.1 200"
}

#[test]
fn an_old_version_is_refused_where_it_is_not_allowed() {
    let site = site(Tls {
        min_version: TlsVersion::Tls13,
        ..Tls::default()
    });
    assert!(!is_served(&site, client_config(&TLS12)));
    assert!(is_served(&site, client_config(&TLS13)));
    apply(&site, Tls::default());
    assert!(is_served(&site, client_config(&TLS12)));
}

#[test]
fn no_other_cipher_suite_than_those_of_the_configuration_is_used() {
    const CHACHA: [CipherSuite; 2] = [CipherSuite(0x1303), CipherSuite(0xcca9)];
    let site = site(Tls {
        ciphers: CHACHA.to_vec(),
        ..Tls::default()
    });
    for (version, suite) in [(&TLS13, CHACHA[0]), (&TLS12, CHACHA[1])] {
        let client = TlsClient::tls_with(site.address, &client_config(version).into(), "localhost");
        let used = client.session().negotiated_cipher_suite().expect("one");
        assert_eq!(u16::from(used.suite()), suite.0);
    }
}

#[test]
fn the_key_exchange_that_withstands_quantum_computers_is_preferred() {
    let group = |site: &Site| {
        let config = Arc::new(client_config(&TLS13));
        let client = TlsClient::tls_with(site.address, &config, "localhost");
        let group = client.session().negotiated_key_exchange_group();
        group.expect("one").name()
    };
    let site = site(Tls::default());
    assert_eq!(group(&site), NamedGroup::X25519MLKEM768);
    apply(
        &site,
        Tls {
            key_exchange: vec![KeyExchange(0x17)],
            ..Tls::default()
        },
    );
    assert_eq!(group(&site), NamedGroup::secp256r1);
    // A client that speaks only TLS 1.2, which has no post-quantum key exchange, can connect to
    // this front, too.
    let config = Arc::new(client_config(&TLS12));
    let client = TlsClient::tls_with(site.address, &config, "localhost");
    let version = client.session().protocol_version();
    assert_eq!(version, Some(ProtocolVersion::TLSv1_2));
}

/// A certificate authority that issues certificates for clients.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

/// The certificate and key of a client, both in DER, and together in one PEM file.
struct Shown {
    der: Vec<u8>,
    key: Vec<u8>,
    file: PathBuf,
}

impl Authority {
    fn new(site: &Site, name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let made = parameters.self_signed(&key).expect("a certificate");
        let file = site.folder.path().join(format!("{name}.pem"));
        fs::write(&file, made.pem()).expect("written");
        Self {
            issuer: Issuer::new(parameters, key),
            file,
        }
    }

    fn client(&self, site: &Site, serial: u64) -> Shown {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        let name = format!("client {serial}");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let made = parameters.signed_by(&key, &self.issuer).expect("signed");
        let file = site.folder.path().join(format!("client-{serial}.pem"));
        fs::write(&file, made.pem() + &key.serialize_pem()).expect("written");
        Shown {
            der: made.der().to_vec(),
            key: key.serialize_der(),
            file,
        }
    }

    /// Creates a file with a list that revokes these serial numbers and expires in `year`. Returns
    /// the path of the file.
    fn revoking(&self, site: &Site, serials: &[u64], year: i32) -> PathBuf {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("signed");
        let file = site.folder.path().join("revoked.pem");
        fs::write(&file, list.pem().expect("PEM")).expect("written");
        file
    }

    fn vouches(&self, revocations: Vec<PathBuf>) -> ClientAuthorities {
        ClientAuthorities {
            authorities: vec![self.file.clone()],
            revocations,
        }
    }
}

fn showing(shown: &Shown, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
    let key = PrivateKeyDer::try_from(shown.key.clone()).expect("a key");
    let chain = vec![shown.der.clone().into()];
    let mut config = client_config(version);
    let provider = config.crypto_provider();
    let certified = rustls::sign::CertifiedKey::from_der(chain, key, provider).expect("a pair");
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    config
}

fn with(clients: ClientCertificates) -> Tls {
    Tls {
        clients,
        ..Tls::default()
    }
}

#[test]
fn a_client_without_a_valid_certificate_is_refused_where_one_is_required() {
    let site = site(Tls::default());
    let (ours, others) = (
        Authority::new(&site, "ours"),
        Authority::new(&site, "others"),
    );
    apply(
        &site,
        with(ClientCertificates::Required(ours.vouches(Vec::new()))),
    );
    let (good, bad) = (ours.client(&site, 7), others.client(&site, 8));
    for version in [&TLS12, &TLS13] {
        assert!(is_served(&site, showing(&good, version)));
        assert!(!is_served(&site, showing(&bad, version)));
        assert!(!is_served(&site, client_config(version)));
    }
    apply(
        &site,
        with(ClientCertificates::Optional(ours.vouches(Vec::new()))),
    );
    assert!(is_served(&site, client_config(&TLS13)));
    assert!(is_served(&site, showing(&good, &TLS13)));
    assert!(!is_served(&site, showing(&bad, &TLS13)));
}

#[test]
fn backends_are_told_of_the_certificate_over_both_protocols() {
    let site = site(Tls::default());
    let ours = Authority::new(&site, "ours");
    apply(
        &site,
        with(ClientCertificates::Optional(ours.vouches(Vec::new()))),
    );
    let client = ours.client(&site, 7);
    let url = format!("https://{}/", site.address);
    let forged = "X-Client-Cert-Subject: CN=admin";
    for protocol in ["--http1.1", "--http2"] {
        let file = client.file.to_str().expect("a path");
        let shown = curl(&[protocol, "--cert", file, "-H", forged, &url]);
        let head = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(head.contains("Client-Cert: :MII"), "{head}");
        assert!(
            head.contains("X-Client-Cert-Subject: CN=client 7\r\n"),
            "{head}"
        );
        assert!(!head.contains("admin"), "{head}");
        let hidden = curl(&[protocol, "-H", forged, &url]);
        let head = String::from_utf8_lossy(&hidden.stdout).into_owned();
        assert!(head.contains("Host: "), "{head}");
        assert!(!head.to_lowercase().contains("client-cert"), "{head}");
    }
}

#[test]
fn a_revoked_certificate_is_refused_by_the_next_handshake() {
    let site = site(Tls::default());
    let ours = Authority::new(&site, "ours");
    let (kept, revoked) = (ours.client(&site, 7), ours.client(&site, 8));
    let required = |lists| with(ClientCertificates::Required(ours.vouches(lists)));
    apply(&site, required(Vec::new()));
    let config = Arc::new(showing(&revoked, &TLS13));
    for _ in 0..2 {
        let mut client = TlsClient::tls_with(site.address, &config, "localhost");
        assert_eq!(client.get("/").status(), 200);
        // Sessions are not resumed, because the certificate of a resumed session would not be
        // checked again.
        assert_ne!(
            client.session().handshake_kind(),
            Some(HandshakeKind::Resumed)
        );
    }
    apply(&site, required(vec![ours.revoking(&site, &[8], 2100)]));
    assert!(!is_served(&site, showing(&revoked, &TLS13)));
    assert!(is_served(&site, showing(&kept, &TLS13)));
    // If the revocation list has expired, all clients are refused, because it may lack revocations.
    apply(&site, required(vec![ours.revoking(&site, &[8], 2025)]));
    assert!(!is_served(&site, showing(&kept, &TLS13)));
}

#[test]
fn files_of_certificates_authorities_and_revocations_are_watched() {
    let site = site(Tls::default());
    let ours = Authority::new(&site, "ours");
    let list = ours.revoking(&site, &[], 2100);
    let mut service = site.service.clone();
    if let Mode::Https { tls, .. } = &mut service.mode {
        tls.clients = ClientCertificates::Optional(ours.vouches(vec![list.clone()]));
    }
    let own = site.folder.path().join("localhost.pem");
    let mut files = [own, ours.file, list];
    files.sort();
    assert!(lb::proxy::tls_files(&[service]).iter().eq(&files));
}

#[test]
fn a_list_of_revoked_certificates_is_read_again_without_a_reload() {
    let site = site(Tls::default());
    let ours = Authority::new(&site, "ours");
    let (kept, revoked) = (ours.client(&site, 7), ours.client(&site, 8));
    let list = ours.revoking(&site, &[], 2100);
    apply(
        &site,
        with(ClientCertificates::Required(
            ours.vouches(vec![list.clone()]),
        )),
    );
    assert!(is_served(&site, showing(&revoked, &TLS13)));
    ours.revoking(&site, &[8], 2100);
    site.proxy().reload_tls_files().expect("a good list");
    assert!(!is_served(&site, showing(&revoked, &TLS13)));
    // A revocation list that cannot be read makes the reload fail instead of disabling revocation.
    fs::remove_file(&list).expect("removed");
    let errors = site.proxy().reload_tls_files().expect_err("no list");
    assert!(errors[0].to_string().contains("revoked.pem"), "{errors:?}");
    assert!(!is_served(&site, showing(&revoked, &TLS13)));
    assert!(!is_served(&site, client_config(&TLS13)));
    assert!(is_served(&site, showing(&kept, &TLS13)));
}

#[test]
fn a_file_that_holds_no_authority_is_refused_and_the_settings_in_force_stay() {
    let site = site(Tls::default());
    let file = site.folder.path().join("empty.pem");
    fs::write(&file, "nothing\n").expect("written");
    let mut service = site.service.clone();
    if let Mode::Https { tls, .. } = &mut service.mode {
        tls.clients = ClientCertificates::Required(ClientAuthorities {
            authorities: vec![file, "/nonexistent/ca.pem".into()],
            revocations: Vec::new(),
        });
    }
    let errors = site.apply(service).expect_err("refused");
    let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("it contains no certificate"), "{said:?}");
    assert!(said[1].contains("there is no such file"), "{said:?}");
    assert!(is_served(&site, client_config(&TLS13)));
}
