//! Checks whether a listening socket of the agent is answered.
//!
//! The kernel completes handshakes for a listener whose program hangs. The check is therefore
//! whether the agent accepts connections: the connection is opened, closed for writing without
//! data, and must be closed by the agent in turn.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use lb_ha::streak::Streak;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{Look, Report, Reports, What};

const INTERVAL: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(1);
/// Number of failed checks in a row after which the listener is unhealthy: a busy host may be slow
/// once.
const FALL: u32 = 3;

/// Checks the listener once a second until the receiver of the reports is dropped.
pub(super) async fn watch(what: What, listen: SocketAddr, well: Option<bool>, reports: Reports) {
    let mut ticks = interval_at(Instant::now(), INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut streak = Streak::new(1, FALL, well.unwrap_or(false));
    loop {
        ticks.tick().await;
        let (look, message) = look(listen).await;
        streak.step(look == Look::Succeeded);
        // Unlike a time-out, a refused connection does not mean that the agent is busy: nothing
        // listens, so the listener is unhealthy immediately.
        if look == Look::Failed {
            streak = Streak::new(1, FALL, false);
        }
        let report = Report {
            what: what.clone(),
            well: streak.is_healthy(),
            look,
            message,
        };
        if reports.send(report).is_err() {
            return;
        }
    }
}

async fn look(listen: SocketAddr) -> (Look, String) {
    match timeout(LIMIT, ask(listen)).await {
        Ok(Ok(how)) => (Look::Succeeded, how.to_owned()),
        Ok(Err(error)) => (Look::Failed, format!("{listen} does not answer: {error}")),
        Err(_elapsed) => {
            let limit = humantime::format_duration(LIMIT);
            (
                Look::TimedOut,
                format!("{listen} did not answer within {limit}"),
            )
        }
    }
}

/// Checks the listener once. Returns what was found, as words for the status.
async fn ask(listen: SocketAddr) -> io::Result<&'static str> {
    let target = reachable(listen);
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Connect from the listener's own address, so that the check fails if that address is at the
    // other host.
    match socket.bind(SocketAddr::new(target.ip(), 0)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            return listens(listen).map(|()| "listens; its address is not on this host");
        }
        Err(error) => return Err(error),
    }
    let stream = socket.connect(target).await?;
    await_end(stream).await.map(|()| "accepts connections")
}

/// Closes the connection for writing, and waits until the other side closes it: by a FIN or, if the
/// agent breaks the connection off, by a reset.
async fn await_end(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 256];
    loop {
        match stream.read(&mut rest).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Returns the address to connect to: the loopback address for a listener on the wildcard address,
/// otherwise the listener's own.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listen.port())
}

/// Returns an error if the kernel has no socket that listens at this address.
fn listens(listen: SocketAddr) -> io::Result<()> {
    let table = match listen {
        SocketAddr::V4(_) => "/proc/thread-self/net/tcp",
        SocketAddr::V6(_) => "/proc/thread-self/net/tcp6",
    };
    let wanted = in_table(listen);
    for line in BufReader::new(File::open(table)?).lines().skip(1) {
        let line = line?;
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, state) = (words.next(), words.nth(1));
        // /proc/net/tcp lists listening sockets first, so the search ends at the first socket in
        // another state.
        if state != Some("0A") {
            break;
        }
        if local == Some(&wanted) {
            return Ok(());
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ConnectionRefused,
        "no socket listens on it",
    ))
}

/// Returns the address as the files /proc/net/tcp and tcp6 write it (proc(5)): hexadecimal words in
/// the host's byte order.
fn in_table(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let words = octets.as_chunks::<4>().0.iter();
    let words = words.map(|word| format!("{:08X}", u32::from_ne_bytes(*word)));
    format!("{}:{:04X}", words.collect::<String>(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_that_listens_is_found_and_a_closed_one_is_not() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("a free port");
            let address = listener.local_addr().expect("an address");
            listens(address).expect("it listens");
            drop(listener);
            let error = listens(address).expect_err("it is closed");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    #[tokio::test]
    async fn only_who_accepts_and_ends_the_connection_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        // The kernel completes the handshake, but no program accepts the connection.
        assert_eq!(look(address).await.0, Look::TimedOut);
        let served = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        assert_eq!(look(address).await.0, Look::Succeeded);
        served.abort();
        assert!(served.await.is_err_and(|end| end.is_cancelled()));
        let (found, message) = look(address).await;
        assert_eq!(found, Look::Failed);
        assert!(message.contains("does not answer"), "{message}");
    }

    #[tokio::test]
    async fn a_listener_whose_address_is_elsewhere_is_looked_up() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.set_freebind_v4(true).expect("set");
        let address: SocketAddr = "192.0.2.7:4443".parse().expect("an address");
        socket.bind(&address.into()).expect("bound");
        assert_eq!(look(address).await.0, Look::Failed);
        socket.listen(1).expect("listens");
        let (found, message) = look(address).await;
        assert_eq!(found, Look::Succeeded, "{message}");
        assert!(
            message.contains("its address is not on this host"),
            "{message}"
        );
    }
}
