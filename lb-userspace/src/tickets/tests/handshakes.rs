//! Tests that make complete TLS handshakes in memory, some with tickets that were tampered with.

use std::time::Duration;

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, ServerName},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

use super::*;

/// A ticketer that tampers with each ticket after it was issued.
#[derive(Debug)]
struct Spoiled {
    ticketer: Arc<dyn ProducesTickets>,
    spoil: Spoil,
}

type Spoil = fn(&mut Vec<u8>);

impl ProducesTickets for Spoiled {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.ticketer.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut ticket = self.ticketer.encrypt(plain)?;
        (self.spoil)(&mut ticket);
        Some(ticket)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.ticketer.decrypt(cipher)
    }
}

/// The configurations of a server, and of a client that trusts its certificate.
struct Ends {
    server: ServerConfig,
    client: Arc<ClientConfig>,
}

impl Ends {
    fn new(version: &'static SupportedProtocolVersion, ticketer: Arc<dyn ProducesTickets>) -> Self {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let chain = vec![made.cert.der().clone()];
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key)
            .expect("a pair");
        server.ticketer = ticketer;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let mut roots = RootCertStore::empty();
        roots.add(chain[0].clone()).expect("a root");
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            server,
            client: Arc::new(client),
        }
    }

    /// Makes one connection between client and server and returns whether it resumed a session. The
    /// client keeps the session for its next connection.
    fn connect(&self) -> HandshakeKind {
        let name = ServerName::try_from("a.example").expect("a name");
        let client = ClientConnection::new(Arc::clone(&self.client), name);
        let mut client = client.expect("a client");
        let server = ServerConnection::new(Arc::new(self.server.clone()));
        let mut server = server.expect("a server");
        loop {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).expect("written");
            }
            server.read_tls(&mut &*bytes).expect("read");
            server.process_new_packets().expect("a good client");
            let mut answer = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut answer).expect("written");
            }
            let mut rest = &*answer;
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("read");
                client.process_new_packets().expect("a good server");
            }
            if bytes.is_empty() && answer.is_empty() {
                assert!(!client.is_handshaking() && !server.is_handshaking());
                return server.handshake_kind().expect("a handshake");
            }
        }
    }
}

#[test]
fn tickets_that_were_spoiled_lead_to_a_full_handshake() {
    let spoils: [(Spoil, HandshakeKind); 5] = [
        (|_| {}, HandshakeKind::Resumed),
        (|ticket| ticket[40] ^= 1, HandshakeKind::Full),
        (|ticket| ticket[0] ^= 1, HandshakeKind::Full),
        (
            |ticket| ticket.truncate(ticket.len() - 1),
            HandshakeKind::Full,
        ),
        (|ticket| *ticket = vec![7; 100], HandshakeKind::Full),
    ];
    for version in [&TLS13, &TLS12] {
        for (spoil, second) in spoils {
            let ticketer = keys().ticketer(&name("one"));
            let ends = Ends::new(version, Arc::new(Spoiled { ticketer, spoil }));
            assert_eq!(ends.connect(), HandshakeKind::Full);
            assert_eq!(ends.connect(), second, "{version:?}");
        }
    }
}

#[test]
fn a_session_of_a_key_that_has_ended_does_not_resume() {
    let hours = |hours: u64| Time::after_start(Duration::from_secs(hours * 60 * 60));
    for version in [&TLS13, &TLS12] {
        for (until, second) in [(17, HandshakeKind::Resumed), (18, HandshakeKind::Full)] {
            let mut rotation = Rotation::new(Time::default(), draw().expect("random numbers"));
            let ring = Arc::new(ArcSwap::from_pointee(Keyring::of(&rotation)));
            let ticketer = Ticketer::new(&name("one"), Arc::clone(&ring));
            let ends = Ends::new(version, Arc::new(ticketer));
            assert_eq!(ends.connect(), HandshakeKind::Full);
            let material = draw().expect("random numbers");
            rotation.step(hours(6), Event::Made(material));
            rotation.step(hours(until), Event::Tick);
            ring.store(Arc::new(Keyring::of(&rotation)));
            assert_eq!(ends.connect(), second, "{version:?} after {until} hours");
        }
    }
}
