//! Clients that send mutated bytes and disconnect in every possible way.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use socket2::SockRef;

use super::{
    bytes::{Random, mutate, send_in_pieces},
    frames,
};
use crate::{clients::client_config, replay::requests};

const GOOD: [&str; 5] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\ntunnelled",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\nexpected!",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
];

/// What all clients of a test share: the seed, the requests that they send, and the addresses of
/// the front.
pub(super) struct Clients {
    seed: u64,
    /// The corpus of requests that all clients mutate; the front refuses most of them.
    requests: Vec<Vec<u8>>,
    /// Requests that are valid, so that they reach a backend.
    good: Vec<Vec<u8>>,
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Clients {
    pub(super) fn new(seed: u64, plain: SocketAddr, tls: SocketAddr) -> Self {
        let config = |protocol: &[u8]| {
            let mut config = client_config(&rustls::version::TLS13);
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        let mut good = GOOD.map(|request| request.as_bytes().to_vec()).to_vec();
        let long = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
        good.push([&long[..], &[b'x'; 100_000]].concat());
        Self {
            seed,
            requests: requests(),
            good,
            plain,
            tls,
            http1: config(b"http/1.1"),
            http2: config(b"h2"),
        }
    }

    /// Runs the client connection with this number. Returns its socket if the client left it open.
    pub(super) fn run(&self, number: u64) -> Option<TcpStream> {
        let mut random = Random::new(self.seed, number);
        match random.below(20) {
            0..9 => {
                let bytes = self.http1_bytes(&mut random, number);
                let tcp = connect(&mut random, self.plain)?;
                exchange(&mut random, &bytes, &tcp, &mut &tcp).then_some(tcp)
            }
            9..12 => {
                let bytes = self.http1_bytes(&mut random, number);
                self.over_tls(&mut random, &self.http1, &bytes)
            }
            _ => {
                let bytes = frames::script(&mut random, number);
                self.over_tls(&mut random, &self.http2, &bytes)
            }
        }
    }

    /// Returns the bytes of one to three requests, half of them mutated.
    fn http1_bytes(&self, random: &mut Random, number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..=random.below(3) {
            let requests = match random.below(3) {
                0 => &self.requests,
                _ => &self.good,
            };
            let mut request = random.pick(requests).clone();
            // The value of this field differs for each connection, so the backend misbehaves
            // differently for each.
            if let Some(end) = request.windows(6).position(|six| six == b"Host: ") {
                let mark = format!("X-Number: {number}\r\n");
                drop(request.splice(end..end, mark.into_bytes()));
            }
            if random.one_in(2) {
                mutate(random, &mut request);
            }
            bytes.extend(request);
        }
        bytes
    }

    fn over_tls(
        &self,
        random: &mut Random,
        config: &Arc<ClientConfig>,
        bytes: &[u8],
    ) -> Option<TcpStream> {
        let name = ServerName::try_from("localhost").ok()?;
        let mut session = ClientConnection::new(Arc::clone(config), name).ok()?;
        let tcp = connect(random, self.tls)?;
        // On one connection in eight, records of TLS are mutated, in the handshake or later.
        let spoils = random.one_in(8);
        let mut wire = Wire {
            tcp,
            spoils: spoils.then(|| Random::new(self.seed, random.below(usize::MAX) as u64)),
        };
        while session.is_handshaking() {
            if session.complete_io(&mut wire).is_err() {
                return random.one_in(2).then_some(wire.tcp);
            }
        }
        let tcp = wire.tcp.try_clone().ok()?;
        let mut stream = StreamOwned::new(session, wire);
        exchange(random, bytes, &tcp, &mut stream).then_some(tcp)
    }
}

fn connect(random: &mut Random, address: SocketAddr) -> Option<TcpStream> {
    let tcp = TcpStream::connect(address).expect("connected");
    tcp.set_nodelay(true).ok()?;
    let patience = match random.below(100) {
        // This time-out of reading, in milliseconds, is longer than the front's own time-outs in
        // this test.
        0 => 1_200,
        1..10 => 100,
        _ => 20,
    };
    tcp.set_read_timeout(Some(Duration::from_millis(patience)))
        .ok()?;
    tcp.set_write_timeout(Some(Duration::from_secs(1))).ok()?;
    Some(tcp)
}

/// Makes this connection end with a RST when it is dropped.
pub(super) fn reset(tcp: &TcpStream) {
    let _gone = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

/// Sends bytes, reads the response or not, and ends the connection in a random way. Returns whether
/// the connection stays open.
fn exchange(
    random: &mut Random,
    bytes: &[u8],
    tcp: &TcpStream,
    stream: &mut (impl Read + Write),
) -> bool {
    let sent = send_in_pieces(random, bytes, |piece| {
        stream.write_all(piece)?;
        stream.flush()
    });
    let end = random.below(8);
    if sent && end > 5 {
        let _gone = tcp.shutdown(Shutdown::Write);
    }
    match end {
        // The client disconnects immediately.
        0 => return false,
        1 => {
            let _some = stream.read(&mut [0; 100]);
            reset(tcp);
            return false;
        }
        2 => {
            reset(tcp);
            return false;
        }
        // The client reads nothing, and leaves the connection open.
        3 => return true,
        _ => {}
    }
    let mut piece = [0; 16_384];
    while let Ok(1..) = stream.read(&mut piece) {}
    end == 4 || end == 7
}

/// A client's TCP connection that mutates some of the bytes that TLS sends over it.
struct Wire {
    tcp: TcpStream,
    spoils: Option<Random>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(random) = &mut self.spoils
            && random.one_in(2)
        {
            let mut spoiled = bytes.to_vec();
            mutate(random, &mut spoiled);
            self.tcp.write_all(&spoiled)?;
            return Ok(bytes.len());
        }
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
