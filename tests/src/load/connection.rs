//! One HTTP/1.1 connection of the load generator, plain or TLS.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};

use super::{Body, Plan, Reuse, USER_AGENT};
use crate::certificate::Authority;

/// Maximum number of header fields in a response.
const MOST_HEADERS: usize = 64;

/// Returns a TLS configuration for HTTP/1.1 that trusts only the certificates of this authority.
///
/// # Errors
/// When the authority's certificate cannot be parsed.
pub fn trust(authority: &Authority) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(
        authority.certificate_pem().as_bytes(),
    )?)?;
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// An open connection of the load generator.
pub(super) struct Connection {
    stream: BufReader<Stream>,
    established: Instant,
    /// Whether the server has announced that it will close the connection.
    ending: bool,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    pub(super) fn open(plan: &Plan) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&plan.address, plan.patience)
            .context("could not connect")?;
        let established = Instant::now();
        socket.set_read_timeout(Some(plan.patience))?;
        socket.set_write_timeout(Some(plan.patience))?;
        socket.set_nodelay(true)?;
        let stream = match &plan.tls {
            None => Stream::Plain(socket),
            Some(config) => {
                let name = ServerName::try_from(plan.host.clone())?;
                let tls = ClientConnection::new(Arc::clone(config), name)?;
                Stream::Tls(Box::new(StreamOwned::new(tls, socket)))
            }
        };
        Ok(Self {
            stream: BufReader::with_capacity(64 << 10, stream),
            established,
            ending: false,
        })
    }

    /// Returns when the connection was established.
    pub(super) fn established(&self) -> Instant {
        self.established
    }

    /// Whether another request may be sent on the connection: the server has neither announced its
    /// end nor closed it. Real clients check this before they reuse a connection.
    pub(super) fn is_open(&self) -> bool {
        !self.ending && self.stream.get_ref().is_silent()
    }

    /// Whether the TLS session of this connection resumed an earlier one.
    pub(super) fn is_resumed(&self) -> bool {
        match self.stream.get_ref() {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Sends a request, reads the complete response, and returns the name of the server that
    /// answered.
    pub(super) fn ask(&mut self, plan: &Plan) -> Result<String> {
        let connection = match plan.reuse {
            Reuse::Never => "close",
            Reuse::Always => "keep-alive",
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\n\
             Connection: {connection}\r\n\r\n",
            plan.path, plan.host
        );
        let stream = self.stream.get_mut();
        (stream.write_all(request.as_bytes()))
            .and_then(|()| stream.flush())
            .context("could not send the request")?;
        let head = self.read_head()?;
        let mut body = vec![0; head.length];
        self.stream
            .read_exact(&mut body)
            .context("the connection broke within the body")?;
        ensure!(head.status == 200, "the answer was {}", head.status);
        let expected = match plan.body {
            Body::BackendName => format!("{}\n", head.backend).into_bytes(),
            Body::Filled(byte, length) => vec![byte; length],
        };
        ensure!(body == expected, "the body is not what the server sent");
        Ok(head.backend)
    }

    fn read_head(&mut self) -> Result<Head> {
        let status_line = self.read_line()?;
        let status = (status_line.strip_prefix("HTTP/1.1 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .with_context(|| format!("not a status line: {status_line:?}"))?;
        let (mut length, mut backend) = (None, None);
        for _ in 0..MOST_HEADERS {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(Head {
                    status,
                    length: length.context("the answer has no Content-Length")?,
                    backend: backend.unwrap_or_default(),
                });
            }
            let (name, value) = line.split_once(':').context("a header without a colon")?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = Some(value.trim().parse()?),
                "connection" if value.trim().eq_ignore_ascii_case("close") => self.ending = true,
                "x-backend" => backend = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        bail!("the answer has more than {MOST_HEADERS} headers")
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read =
            (self.stream.read_line(&mut line)).context("the connection broke within the head")?;
        ensure!(read > 0, "the connection was closed before the answer");
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

struct Head {
    status: u16,
    length: usize,
    backend: String,
}

impl Stream {
    /// Whether the connection is still usable between two responses: neither data nor the end of
    /// the stream has arrived.
    fn is_silent(&self) -> bool {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        };
        let peeked = (socket.set_nonblocking(true)).and_then(|()| socket.peek(&mut [0]));
        let silent = peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        silent && socket.set_nonblocking(false).is_ok()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
