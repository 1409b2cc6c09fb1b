//! Forged packets with the address of a connection's client or backend do not end the connection,
//! and do not make the balancer give its source port to another connection.
//!
//! The attackers here know everything except the exact sequence numbers. A RST whose sequence
//! number is exactly the next one ends any TCP connection at its endpoint (RFC 5961, section 3.2),
//! and so does a FIN or data anywhere within the window; no balancer can tell those from the real
//! ones. Endpoints ignore all other forged segments or answer them with a challenge ACK, so the
//! balancer must not end the connection because of them either.
//!
//! The lab is the set of network namespaces that the end-to-end tests make: one for each host.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, SocketAddrV4, TcpStream},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab,
    advert::send,
    agent::{Agent, Settings},
    host::joined,
    numbers::Numbers,
    segment::{ACK, FIN, RST, SYN, Segment, Tap},
    topology::{BALANCERS, CLIENT, ELASTIC_IP, WEBS},
    transfer::{Plan, Transfer, Way, sha256},
    web::{WWW, Web},
};

/// Number of bytes of each transfer.
const BYTES: u64 = 64 << 20;

/// Rate of a transfer in bytes per second, at which it takes several seconds.
const RATE: u64 = 12 << 20;

/// Number of bytes that are transferred before the first forged segment; the next constant is the
/// number before the connections are left idle.
const BEFORE: u64 = BYTES / 4;
const UNTIL_PAUSE: u64 = BYTES / 4 * 3;

/// Time limit for each of the parts of a transfer, before, during and after the attack: long, for a
/// busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Time-out of connecting and of reading a response, for the clients that connect after the attack.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time for which the connections are idle after the forged segments: longer than the quarantine of
/// a source port that the balancer believes to be free.
const IDLE: Duration = Duration::from_secs(4);

/// The balancer's range of source ports: it is small, so the clients that connect after the attack
/// use each of them.
const SOURCE_PORTS: RangeInclusive<u16> = 20_000..=21_023;

/// Number of concurrent connections of the clients that connect after the attack: two thirds of all
/// source ports of two backends.
const CROWD: usize = 1_400;

/// Number of forged segments of each kind.
const TIMES: usize = 50;

/// Address of the service that clients connect to.
const SERVICE: SocketAddrV4 = SocketAddrV4::new(ELASTIC_IP, 80);

/// Serialises the tests, as each of them loads the machine. Hold the result during a test.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_forger_who_knows_addresses_and_ports_ends_no_connection() -> Result<()> {
    let _alone = alone();
    let site = Site::raise()?;
    site.transfer_while(|ports, _| guess(&site, ports))
}

#[test]
fn a_forger_who_sees_the_packets_and_is_a_little_late_ends_no_connection() -> Result<()> {
    let _alone = alone();
    let site = Site::raise()?;
    let tap = Tap::start(&site.lab.client, SERVICE);
    site.transfer_while(|ports, _| miss(&site, &tap, ports))
}

/// Shows that the endpoints of the connection, without a balancer between them, are not the cause
/// if another of these tests fails.
#[test]
fn the_endpoints_themselves_survive_the_same_segments() -> Result<()> {
    let _alone = alone();
    let site = Site::without_a_balancer()?;
    let tap = Tap::start(&site.lab.client, SERVICE);
    site.transfer_while(|ports, _| {
        guess(&site, ports)?;
        miss(&site, &tap, ports)
    })
}

/// The forger acts only while data is sent. On an idle connection the balancer believes a RST with
/// the backend's address, because nothing contradicts it: the network must prevent forged addresses
/// of backends.
#[test]
fn a_forger_in_the_backends_names_ends_no_connection_that_carries_data() -> Result<()> {
    let _alone = alone();
    let site = Site::raise()?;
    let tap = Tap::start(&site.lab.client, SERVICE);
    site.transfer_while(|ports, idle| {
        if idle {
            return Ok(());
        }
        // A blind attacker sends segments to every source port that the balancer might use, with
        // random numbers.
        let mut numbers = Numbers::new(2);
        for flags in [RST, FIN | ACK] {
            for backend in backends() {
                let all =
                    SOURCE_PORTS.map(|to| in_backend_s_name(backend, to, flags, numbers.pair()));
                forge(&site.lab.router, all)?;
            }
        }
        // An observing attacker sends segments to the correct ports, with sequence numbers that are
        // slightly wrong. The numbers that the client may expect next are whole segments apart, so
        // none of the forged numbers is one of them.
        let source_ports = site.source_ports()?;
        for _ in 0..TIMES {
            for port in ports {
                let at = tap.position(port)?;
                let ahead = [1, 113].map(|ahead| at.server.wrapping_add(ahead));
                let around = [ahead[0], ahead[1], at.server.wrapping_sub(1_000)];
                // Which client a source port belongs to does not matter: both source ports get all
                // forged segments.
                for &(backend, to) in &source_ports {
                    let reset =
                        |sequence| in_backend_s_name(backend, to, RST, (sequence, at.client));
                    forge(&site.lab.router, around.map(reset))?;
                }
            }
        }
        Ok(())
    })
}

/// Sends segments with the client's address and random sequence numbers.
fn guess(site: &Site, ports: [u16; 2]) -> Result<()> {
    let mut numbers = Numbers::new(1);
    for _ in 0..TIMES {
        for port in ports {
            let blind = [RST, RST | ACK, FIN | ACK, SYN];
            let blind = blind.map(|flags| in_client_s_name(port, flags, numbers.pair()));
            forge(&site.lab.client, blind)?;
        }
    }
    Ok(())
}

/// Sends segments with the client's address and nearly correct sequence numbers.
fn miss(site: &Site, tap: &Tap, ports: [u16; 2]) -> Result<()> {
    for _ in 0..TIMES {
        for port in ports {
            let at = tap.position(port)?;
            // These numbers are within the window, where a RST is answered with a challenge ACK.
            // The numbers that the server may expect next are whole segments apart, so none of the
            // forged numbers is one of them.
            let ahead = [1, 7, 113].map(|ahead| at.client.wrapping_add(ahead));
            let behind = [1, 1_000, 70_000].map(|behind| at.client.wrapping_sub(behind));
            let forged =
                |flags| move |sequence| in_client_s_name(port, flags, (sequence, at.server));
            forge(&site.lab.client, ahead.map(forged(RST)))?;
            forge(&site.lab.client, behind.map(forged(RST)))?;
            // No FIN is sent with a sequence number ahead of the one that the server expects: the
            // FIN would become part of the stream when the stream gets to that number.
            forge(&site.lab.client, behind.map(forged(FIN | ACK)))?;
            // A SYN is answered with a challenge ACK whatever its number is (RFC 5961, section
            // 4.2).
            forge(&site.lab.client, ahead.map(forged(SYN)))?;
        }
    }
    Ok(())
}

/// A test network whose service on port 80 goes to two backends that have the same file.
struct Site {
    lab: Lab,
    agent: Option<Agent>,
    content: Arc<[u8]>,
}

impl Site {
    fn raise() -> Result<Self> {
        let lab = Lab::raise()?;
        let settings = Settings {
            more: format!(
                "[dataplane]\nsource_ports = \"{}-{}\"",
                SOURCE_PORTS.start(),
                SOURCE_PORTS.end()
            ),
            ..Settings::of(&lab).only(&["web1", "web2"])
        };
        let agent = Agent::start(&lab, &settings)?;
        Self::with_content(lab, Some(agent))
    }

    /// Returns a test network without a balancer: the Elastic IP is translated to the address of a
    /// web server.
    fn without_a_balancer() -> Result<Self> {
        let lab = Lab::raise()?;
        let igw = lab.internet_gateway.host();
        igw.script("ip route add 10.0.0.0/24 via 172.31.0.2")?;
        (lab.router).script("ip route add 198.51.100.0/24 via 172.31.0.1")?;
        lab.internet_gateway.point_elastic_ip_at(WEBS[0].1)?;
        Self::with_content(lab, None)
    }

    fn with_content(lab: Lab, agent: Option<Agent>) -> Result<Self> {
        let content: Arc<[u8]> = content().into();
        for web in &lab.webs[..2] {
            web.host().write(&format!("{WWW}/content"), &content)?;
        }
        Ok(Self {
            lab,
            agent,
            content,
        })
    }

    /// Transfers data in both directions at once, over one connection each. After a quarter, calls
    /// `attack` with the clients' ports: first with `false` while data is sent, then with `true`
    /// when both connections are idle. After that, other clients connect and disconnect, and the
    /// rest of the data is transferred.
    fn transfer_while(&self, mut attack: impl FnMut([u16; 2], bool) -> Result<()>) -> Result<()> {
        let transfers = [(Way::Down, "/content"), (Way::Up, "/upload/content")]
            .map(|(way, path)| self.transfer(way, path));
        let ports = [transfers[0].port()?, transfers[1].port()?];
        // If a transfer breaks early, it is reported with the other results.
        go_on(&transfers, BEFORE)?;
        for transfer in &transfers {
            transfer.allow(UNTIL_PAUSE);
        }
        attack(ports, false).context("while data flows")?;
        go_on(&transfers, UNTIL_PAUSE)?;
        attack(ports, true).context("while the connections are idle")?;
        let crowd = self.crowd();
        go_on(&transfers, BYTES)?;

        let expected = sha256(&self.content);
        let outcomes = transfers.map(Transfer::finish);
        let said = |outcome: &Result<String>| match outcome {
            Ok(_) => "whole".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        println!("down: {}; up: {}", said(&outcomes[0]), said(&outcomes[1]));
        if let Some(agent) = &self.agent {
            println!("verdicts: {}", verdicts(agent)?);
        }
        let [down, up] = outcomes;
        let down = down.context("of the download")?;
        up.context("of the upload")?;
        ensure!(
            down == expected,
            "{expected} was to be downloaded, {down} arrived"
        );
        let kept = self.uploaded()?;
        ensure!(kept == expected, "{expected} was uploaded, {kept} arrived");
        crowd.context("of the other connections")
    }

    fn transfer(&self, way: Way, path: &str) -> Transfer {
        let plan = Plan {
            to: SERVICE,
            way,
            path: path.to_owned(),
            content: Arc::clone(&self.content),
            rate: RATE,
        };
        Transfer::start(&self.lab.client, plan)
    }

    /// Returns the backend and the source port of each steered connection, which an observer of the
    /// packets would know.
    fn source_ports(&self) -> Result<Vec<(SocketAddrV4, u16)>> {
        let balancer = BALANCERS[0].1.to_string();
        let mut found = Vec::new();
        for (backend, web) in backends().into_iter().zip(&self.lab.webs) {
            let filter = ["-Htn", "state", "established", "dst", &balancer];
            for line in web.host().run("ss", &filter)?.lines() {
                let peer = line.split_whitespace().nth(3).context("ss shows no peer")?;
                let peer: SocketAddrV4 = peer.parse()?;
                if SOURCE_PORTS.contains(&peer.port()) {
                    found.push((backend, peer.port()));
                }
            }
        }
        ensure!(found.len() == 2, "the steered connections are {found:?}");
        Ok(found)
    }

    /// Opens as many connections as two thirds of the source ports, after the attack, and does so
    /// twice. Each connection sends two requests once all are open, and must get exactly the
    /// correct responses.
    fn crowd(&self) -> Result<()> {
        thread::sleep(IDLE);
        for _ in 0..2 {
            let crowd = || {
                let open = |_| TcpStream::connect_timeout(&SocketAddr::V4(SERVICE), PATIENCE);
                let mut open = (0..CROWD).map(open).collect::<Result<Vec<_>, _>>()?;
                for _ in 0..2 {
                    open.iter_mut().try_for_each(ask)?;
                }
                Ok(())
            };
            joined(self.lab.client.inside(crowd))?;
            thread::sleep(IDLE);
        }
        Ok(())
    }

    /// Returns the SHA-256 of the uploaded file, from the web server that has the file.
    fn uploaded(&self) -> Result<String> {
        let file = format!("{WWW}/upload/content");
        let webs = self.lab.webs.iter().map(Web::host);
        let sum = webs
            .filter(|host| host.path(&file).exists())
            .map(|host| host.run("sha256sum", &[&file]));
        let sum = sum.collect::<Result<String>>()?;
        Ok(sum
            .split_whitespace()
            .next()
            .context("no web server has the upload")?
            .to_owned())
    }
}

/// Returns the counts of all verdicts so far, for the message of a failed test.
fn verdicts(agent: &Agent) -> Result<String> {
    let metrics = agent.metrics()?;
    let counted = metrics.samples("lb_xdp_packets_total", &[]);
    let counted = counted.iter().filter(|sample| sample.value > 0.0);
    let counted = counted.map(|sample| {
        let label = |name| sample.labels.get(name).map_or("?", String::as_str);
        format!("{} {} {}", label("verdict"), label("reason"), sample.value)
    });
    Ok(counted.collect::<Vec<_>>().join(", "))
}

/// Sends forged segments from a host, with whatever source addresses they have.
fn forge(from: &Host, segments: impl IntoIterator<Item = Segment>) -> Result<()> {
    let packets = segments
        .into_iter()
        .map(|segment| segment.packet().to_vec());
    send(from, packets.collect())
}

fn backends() -> [SocketAddrV4; 2] {
    [0, 1].map(|index| SocketAddrV4::new(WEBS[index].1, 80))
}

/// Allows each of the transfers this many bytes in total, and waits until both transfers are idle
/// or broken.
fn go_on(transfers: &[Transfer; 2], until: u64) -> Result<()> {
    transfers.iter().for_each(|transfer| transfer.allow(until));
    let mut transfers = transfers.iter();
    transfers.try_for_each(|transfer| transfer.wait_until_idle(LIMIT))
}

/// Sends a request on a connection, and checks that exactly the correct answer arrives.
fn ask(stream: &mut TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: crowd\r\n\r\n")?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"1\n") && !answer.ends_with(b"2\n") {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).context("no answer")?;
        ensure!(read > 0, "closed before the answer");
        answer.extend_from_slice(&bytes[..read]);
        ensure!(answer.len() < 1_000, "too much of an answer");
    }
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    ensure!(
        head.starts_with("HTTP/1.1 200 ") && (body == "web1\n" || body == "web2\n"),
        "the answer is {answer:?}"
    );
    stream.set_nonblocking(true)?;
    let more = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    ensure!(
        matches!(&more, Err(error) if error.kind() == ErrorKind::WouldBlock),
        "something follows the answer: {more:?}"
    );
    Ok(())
}

/// Returns a forged segment from the client to the service, with a sequence and an acknowledgement
/// number.
fn in_client_s_name(port: u16, flags: u8, (sequence, acknowledgement): (u32, u32)) -> Segment {
    Segment {
        source: SocketAddrV4::new(CLIENT, port),
        destination: SERVICE,
        flags,
        sequence,
        acknowledgement,
    }
}

/// Returns a forged segment from a backend to a source port of the balancer.
fn in_backend_s_name(
    backend: SocketAddrV4,
    to: u16,
    flags: u8,
    (sequence, acknowledgement): (u32, u32),
) -> Segment {
    Segment {
        source: backend,
        destination: SocketAddrV4::new(BALANCERS[0].1, to),
        flags,
        sequence,
        acknowledgement,
    }
}

fn content() -> Vec<u8> {
    let mut numbers = Numbers::new(3);
    (0..BYTES / 8)
        .flat_map(|_| numbers.word().to_be_bytes())
        .collect()
}
