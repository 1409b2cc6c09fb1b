//! Tests of TLS handshakes: server names, session resumption, certificates.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use lb::{
    config::{Mode, Tls},
    tickets::TicketKeys,
};
use rustls::{HandshakeKind, SupportedProtocolVersion, version};

use crate::{
    backends::Backend,
    clients::{TlsClient, client_config},
    site::{Site, certificate, free_address, wait_until},
};

/// Returns the names in the certificate that the front presents to a client that names this server.
fn shown(site: &Site, name: &str) -> Vec<u8> {
    let config = Arc::new(client_config(&version::TLS13));
    let client = TlsClient::tls_with(site.address, &config, name);
    let chain = client.session().peer_certificates().expect("a chain");
    chain[0].to_vec()
}

#[test]
fn each_name_is_shown_its_certificate() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let folder = site.folder.path();
    let mut service = site.service.clone();
    service.mode = Mode::Https {
        certificates: vec![
            certificate(folder, "first", "first.example"),
            certificate(folder, "second", "second.example *.wild.example"),
        ],
        obtained: None,
        tls: Tls::default(),
    };
    site.apply(service).expect("applied");
    let first = shown(&site, "first.example");
    let second = shown(&site, "second.example");
    assert_ne!(first, second);
    assert_eq!(shown(&site, "x.wild.example"), second);
    assert_eq!(shown(&site, "SECOND.example"), second);
    assert_eq!(shown(&site, "x.y.wild.example"), first);
    assert_eq!(shown(&site, "unknown.example"), first);
    let names: Vec<_> = site
        .proxy()
        .certificates()
        .into_iter()
        .map(|info| info.names)
        .collect();
    assert_eq!(names[1], ["second.example", "*.wild.example"]);
}

#[test]
fn a_malformed_record_after_the_close_is_dropped() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    assert_eq!(client.rest(), b"");
    // This is a TLS record of application data that cannot be decrypted.
    let record = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
    let socket = &mut client.reader().get_mut().sock;
    socket.write_all(&record).expect("sent");
    drop(client);
    wait_until("the connection ends", || {
        site.proxy().open_connections() == 0
    });
    assert_eq!(site.proxy().counters().panics[0].1, 0);
}

#[test]
fn sessions_are_resumed_whichever_worker_answers() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    for (protocol, label) in [(&version::TLS13, "1.3"), (&version::TLS12, "1.2")] {
        let config = Arc::new(client_config(protocol));
        let kinds: Vec<_> = (0..20)
            .map(|_| {
                let mut client = TlsClient::tls_with(site.address, &config, "localhost");
                // In TLS 1.3, session tickets arrive with the first response, so the client reads
                // one.
                assert_eq!(client.get("/").status(), 200);
                client.session().handshake_kind()
            })
            .collect();
        let resumed = kinds
            .iter()
            .filter(|kind| **kind == Some(HandshakeKind::Resumed));
        assert_eq!(resumed.count(), 19, "{label}: {kinds:?}");
        let counted = site.proxy().counters().handshakes;
        let counted = counted
            .iter()
            .find(|kind| kind.version == label && kind.resumed);
        assert_eq!(counted.map(|kind| kind.count), Some(19), "{label}");
    }
}

/// The fronts of both hosts of a pair, each with its own ticket keys, and one backend that both
/// use.
struct Hosts {
    a: (Site, TicketKeys),
    b: (Site, TicketKeys),
    _backend: Backend,
}

impl Hosts {
    fn new() -> Self {
        let backend = Backend::named("a");
        let host = || {
            let keys = TicketKeys::new().expect("random numbers");
            (Site::with_tickets(&[backend.address], &keys), keys)
        };
        Self {
            a: host(),
            b: host(),
            _backend: backend,
        }
    }

    /// Exchanges the hosts' ticket keys, as the agents do when the link between them comes up.
    fn exchange(&self) {
        let (a, b) = (&self.a.1, &self.b.1);
        let (from_a, from_b) = (a.link_up(), b.link_up());
        a.heard(from_b.expect("an offer"));
        b.heard(from_a.expect("an offer"));
    }
}

/// Connects a client to one host and then to the other. Returns the kind of the second handshake:
/// `Resumed` if the second host knew the session.
fn moved(
    version: &'static SupportedProtocolVersion,
    from: &Site,
    to: &Site,
) -> Option<HandshakeKind> {
    let config = Arc::new(client_config(version));
    let mut client = TlsClient::tls_with(from.address, &config, "localhost");
    // In TLS 1.3, session tickets arrive with the first response, so the client reads one.
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.session().handshake_kind(), Some(HandshakeKind::Full));
    let mut client = TlsClient::tls_with(to.address, &config, "localhost");
    assert_eq!(client.get("/").status(), 200);
    client.session().handshake_kind()
}

#[test]
fn a_session_made_at_one_host_resumes_at_the_other_once_they_have_exchanged_keys() {
    let hosts = Hosts::new();
    let (a, b) = (&hosts.a.0, &hosts.b.0);
    for protocol in [&version::TLS13, &version::TLS12] {
        assert_eq!(moved(protocol, a, b), Some(HandshakeKind::Full));
    }
    hosts.exchange();
    for protocol in [&version::TLS13, &version::TLS12] {
        assert_eq!(moved(protocol, a, b), Some(HandshakeKind::Resumed));
        assert_eq!(moved(protocol, b, a), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn openssl_resumes_with_a_session_from_a_file() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let session = site.folder.path().join("session");
    let session = session.to_str().expect("text");
    let s_client = |version: &str, option: &str| {
        let script = format!(
            "(printf 'GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n'; sleep 0.5) | \
             openssl s_client -connect {} {version} {option} {session} 2>&1",
            site.address
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .output()
            .expect("openssl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for version in ["-tls1_3", "-tls1_2"] {
        assert!(
            s_client(version, "-sess_out").contains("New, TLSv1"),
            "{version}"
        );
        let second = s_client(version, "-sess_in");
        assert!(second.contains("Reused, TLSv1"), "{version}: {second}");
    }
}

/// Creates a certificate file with a key of the type `kind`, and returns the path of the file.
fn certificate_of(site: &Site, kind: &[&str]) -> PathBuf {
    let path = site.folder.path().join(format!("{}.pem", kind.join("-")));
    let path_text = path.to_str().expect("text");
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=a"])
        .args(["-addext", "subjectAltName=DNS:both.example"])
        .args(["-keyout", path_text, "-newkey"])
        .args(kind)
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{output:?}");
    let key = std::fs::read(&path).expect("the key");
    std::fs::write(&path, [key, output.stdout].concat()).expect("written");
    path
}

#[test]
fn a_client_gets_the_kind_of_certificate_that_it_can_verify() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let mut service = site.service.clone();
    let ecdsa = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    service.mode = Mode::Https {
        certificates: vec![
            certificate_of(&site, &["rsa:2048"]),
            certificate_of(&site, &ecdsa),
        ],
        obtained: None,
        tls: Tls::default(),
    };
    site.apply(service).expect("applied");
    let signed = |arguments: &str| {
        let script = format!(
            "openssl s_client -connect {} {arguments} </dev/null 2>&1",
            site.address
        );
        let output = Command::new("sh").args(["-c", &script]).output();
        let text = String::from_utf8_lossy(&output.expect("openssl").stdout).into_owned();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Peer signature type: "));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    for name in ["-servername both.example", "-noservername"] {
        assert_eq!(signed(name), "ECDSA");
        assert_eq!(
            signed(&format!("{name} -sigalgs RSA-PSS+SHA256")),
            "RSA-PSS"
        );
        let rsa_only = "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256";
        assert_eq!(signed(&format!("{name} {rsa_only}")), "RSA-PSS");
        let ecdsa_only = "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256";
        assert_eq!(signed(&format!("{name} {ecdsa_only}")), "ECDSA");
    }
}

/// A TLS server that offers 0-RTT; it is killed when this value is dropped.
struct EarlyServer(Child);

impl EarlyServer {
    fn start(address: SocketAddr, certificate: &Path) -> Self {
        let process = Command::new("openssl")
            .args([
                "s_server",
                "-tls1_3",
                "-early_data",
                "-max_early_data",
                "16384",
            ])
            .args(["-accept", &address.to_string()])
            .arg("-cert")
            .arg(certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        wait_until("openssl listens", || {
            std::net::TcpStream::connect(address).is_ok()
        });
        Self(process.expect("openssl"))
    }
}

impl Drop for EarlyServer {
    fn drop(&mut self) {
        let _done = self.0.kill();
        let _done = self.0.wait();
    }
}

#[test]
fn a_client_that_sends_0_rtt_data_in_vain_is_answered() {
    let backend = Backend::named("answer");
    let site = Site::https(&[backend.address]);
    let folder = site.folder.path();
    let other = free_address();
    let _server = EarlyServer::start(other, &certificate(folder, "other", "other.example"));
    std::fs::write(folder.join("early"), [b'x'; 1000]).expect("written");
    let s_client = |address: SocketAddr, options: &str| {
        let script = format!(
            "(sleep 0.5; printf 'GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n'; \
             sleep 0.5) | openssl s_client -connect {address} -tls1_3 {options} 2>&1"
        );
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", &script]).current_dir(folder).output();
        String::from_utf8_lossy(&output.expect("openssl").stdout).into_owned()
    };
    let first = s_client(other, "-sess_out session");
    assert!(folder.join("session").exists(), "{first}");
    let said = s_client(site.address, "-sess_in session -early_data early");
    assert!(said.contains("Early data was rejected"), "{said}");
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
    assert!(said.contains("answer"), "{said}");
}
