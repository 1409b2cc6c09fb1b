//! Test clients that speak HTTP/1, and a wrapper for curl.

use std::{
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::backends::{read_body, read_head};

/// Time-out of reading from a connection, after which a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client's connection to the front over HTTP/1, with or without TLS.
pub(crate) struct Client<S: Read + Write> {
    stream: BufReader<S>,
}

pub(crate) type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

/// A response, as the client received it.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head[9..12].parse().expect("a status")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl TlsClient {
    /// Connects to the front with TLS, and with the server name `localhost`.
    pub(crate) fn tls(address: SocketAddr) -> Self {
        Self::tls_with(
            address,
            &Arc::new(client_config(&rustls::version::TLS13)),
            "localhost",
        )
    }

    /// Connects to the front with TLS, with these settings and this server name.
    pub(crate) fn tls_with(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut session = ClientConnection::new(Arc::clone(config), name).expect("a session");
        let mut tcp = connect(address);
        while session.is_handshaking() {
            session.complete_io(&mut tcp).expect("a handshake");
        }
        Self {
            stream: BufReader::new(StreamOwned::new(session, tcp)),
        }
    }

    /// Returns the state of the connection's TLS session.
    pub(crate) fn session(&self) -> &ClientConnection {
        &self.stream.get_ref().conn
    }
}

impl Client<TcpStream> {
    /// Connects to the front without TLS.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self {
            stream: BufReader::new(connect(address)),
        }
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends these bytes to the front, without any change.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let stream = self.stream.get_mut();
        stream.write_all(bytes.as_ref()).expect("sent");
        stream.flush().expect("sent");
    }

    /// Returns the reader of the bytes that the front sends.
    pub(crate) fn reader(&mut self) -> &mut BufReader<S> {
        &mut self.stream
    }

    /// Sends a GET request for this path, and returns the response.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.response()
    }

    /// Reads a response whose body has a Content-Length or is chunked.
    pub(crate) fn response(&mut self) -> Response {
        let head = self.head();
        let body = read_body(&head, &mut self.stream).expect("a whole body");
        Response { head, body }
    }

    /// Reads and returns the head of a response.
    pub(crate) fn head(&mut self) -> String {
        read_head(&mut self.stream).expect("a head")
    }

    /// Reads exactly this many bytes from the connection.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("bytes");
        bytes
    }

    /// Reads and returns all bytes until the connection ends, whether or not it was closed
    /// gracefully.
    pub(crate) fn rest_of_any_kind(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _end = self.stream.read_to_end(&mut rest);
        rest
    }

    /// Reads and returns all bytes until the connection is closed gracefully.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("an orderly end");
        rest
    }

    /// Returns whether the connection has ended, gracefully or not, without any more bytes before
    /// its end.
    pub(crate) fn has_ended(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => !matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ),
        }
    }
}

/// Returns the TLS settings of a client that accepts any certificate and remembers sessions.
pub(crate) fn client_config(version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth()
}

/// Runs curl with these arguments, and returns its exit status and output.
pub(crate) fn curl(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--max-time", "60"])
        .args(arguments)
        .output()
        .expect("curl")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
