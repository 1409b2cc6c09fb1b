//! Listening sockets: one for each worker on the same address.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Length of the accept queue of each listening socket.
const BACKLOG: i32 = 4096;
/// How long a connection is idle before the kernel sends the first TCP keepalive probe.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Returns at least `count` sockets that listen on an address, so that the kernel spreads
/// connections over them: the sockets `inherited` from the process before this one, and new sockets
/// if those are too few. An address that `moves` between the hosts of a pair is bound whether or
/// not this host has it now.
///
/// # Errors
/// The kernel refused to create or bind a socket, or another program listens on the address, even
/// if that program allows sharing by `SO_REUSEPORT`.
pub(super) fn bind(
    address: SocketAddr,
    moves: bool,
    count: usize,
    mut inherited: Vec<TcpListener>,
) -> io::Result<Vec<TcpListener>> {
    if inherited.is_empty() {
        // This socket is without SO_REUSEPORT, so binding it fails if any other socket listens on
        // the address.
        socket(address, moves)?.bind(&address.into())?;
    }
    while inherited.len() < count {
        inherited.push(shared(address, moves)?);
    }
    Ok(inherited)
}

/// Distributes listening sockets over the workers; each worker gets at least one if there are
/// enough.
pub(super) fn distribute(listeners: Vec<TcpListener>, workers: usize) -> Vec<Vec<TcpListener>> {
    let mut lists: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
    for (index, listener) in listeners.into_iter().enumerate() {
        lists[index % workers].push(listener);
    }
    lists
}

fn shared(address: SocketAddr, moves: bool) -> io::Result<TcpListener> {
    let socket = socket(address, moves)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Returns the TCP keepalive settings of connections, which detect peers that vanished while a
/// connection is idle.
pub(super) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE)
}

/// Creates a socket for listening; the sockets that it accepts inherit its options.
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
        // The option IP_FREEBIND (binding an address that the host lacks) is set only for addresses
        // that move between hosts: if any other address is missing on this host, the operator must
        // see the error.
        match address {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
    }
    if address.is_ipv6() {
        // A service listens on exactly the address that it names: `[::]` does not include
        // `0.0.0.0`.
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
        let dealt: Vec<_> = distribute(kept, 2).iter().map(Vec::len).collect();
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
