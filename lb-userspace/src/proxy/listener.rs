//! Listening sockets: one for each worker on the same address.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that wait to be accepted, at one worker.
const BACKLOG: i32 = 4096;
/// When a silent peer is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// At least `count` sockets that listen on an address, so that the kernel spreads connections over
/// them: those that this process was given, and as many more as it takes. An address that `moves` between
/// hosts is bound whether or not it is here at the time.
///
/// # Errors
/// The kernel's refusal, and that another program has the address, even one that would share it.
pub(super) fn bind(
    address: SocketAddr,
    moves: bool,
    count: usize,
    mut given: Vec<TcpListener>,
) -> io::Result<Vec<TcpListener>> {
    if given.is_empty() {
        // Without SO_REUSEPORT this fails where anyone listens.
        socket(address, moves)?.bind(&address.into())?;
    }
    while given.len() < count {
        given.push(shared(address, moves)?);
    }
    Ok(given)
}

/// Deals sockets to workers, each at least one where there are enough.
pub(super) fn deal(listeners: Vec<TcpListener>, workers: usize) -> Vec<Vec<TcpListener>> {
    let mut hands: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
    for (index, listener) in listeners.into_iter().enumerate() {
        hands[index % workers].push(listener);
    }
    hands
}

fn shared(address: SocketAddr, moves: bool) -> io::Result<TcpListener> {
    let socket = socket(address, moves)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// When a connection on which nothing moves is asked whether its other end is still there.
pub(super) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE)
}

/// A socket whose options the accepted ones inherit.
fn socket(address: SocketAddr, moves: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    if moves {
        // Only for these: of any other address that is not here, its author should hear.
        match address {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
    }
    if address.is_ipv6() {
        // A service has the one address that it names: `[::]` is not also `0.0.0.0`.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_someone_has_is_refused_even_if_they_would_share() {
        let held = bind(
            "127.0.0.1:0".parse().expect("an address"),
            false,
            1,
            Vec::new(),
        );
        let held = held.expect("a free port");
        let address = held[0].local_addr().expect("an address");
        let error = bind(address, false, 1, Vec::new()).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(held);
        let free = bind(address, false, 3, Vec::new());
        assert_eq!(free.expect("free again").len(), 3);
    }

    #[test]
    fn sockets_that_were_given_are_all_kept_and_added_to() {
        let address = "127.0.0.1:0".parse().expect("an address");
        let held = bind(address, false, 1, Vec::new()).expect("a free port");
        let address = held[0].local_addr().expect("an address");
        let more = bind(address, false, 3, held).expect("usable keys");
        assert_eq!(more.len(), 3);
        let kept = bind(address, false, 2, more).expect("kept");
        let dealt: Vec<_> = deal(kept, 2).iter().map(Vec::len).collect();
        assert_eq!(dealt, [2, 1]);
    }

    #[test]
    fn an_address_that_is_elsewhere_is_bound_only_if_it_moves() {
        for elsewhere in ["192.0.2.7:0", "[2001:db8::7]:0"] {
            let elsewhere = elsewhere.parse().expect("an address");
            let error =
                bind(elsewhere, false, 1, Vec::new()).expect_err("not an address of this host");
            assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
            let held =
                bind(elsewhere, true, 2, Vec::new()).expect("bound for the day that it comes");
            assert_eq!(held.len(), 2);
        }
    }
}
