//! Listens for adverts of the peer, and makes a TCP connection with it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::sys::socket::SockaddrStorage;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpSocket, UdpSocket},
    time::timeout,
};

use crate::config::{Ha, Node, Transport};

/// The adverts that were received from the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Heard {
    /// An advert with this virtual router identifier (VRID) was received.
    Router(u8),
    /// No advert was received.
    Nothing,
}

/// The IP protocol number of VRRP.
const VRRP: i32 = 112;
/// The IPv4 multicast group that adverts are sent to (RFC 9568, section 5.1.1.2.1).
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// Listens for an advert of the peer, for at most `span`.
///
/// # Errors
/// A raw socket cannot be opened, which takes CAP_NET_RAW.
pub(super) async fn adverts(ha: &Ha, node: &Node, span: Duration) -> io::Result<Heard> {
    let socket = Socket::new(
        Domain::for_address(SocketAddr::new(ha.source, 0)),
        Type::RAW,
        Some(Protocol::from(VRRP)),
    )?;
    socket.set_nonblocking(true)?;
    if ha.transport == Transport::Multicast && ha.source.is_ipv4() {
        let index = nix::net::if_::if_nametoindex(node.interfaces.first())?;
        socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(index))?;
    }
    // tokio has no type for raw sockets, so its type for UDP sockets is used.
    let socket = UdpSocket::from_std(socket.into())?;
    let own = ha.virtual_router_id.get();
    let mut other = Heard::Nothing;
    let heard = timeout(span, async {
        loop {
            let received = socket
                .async_io(Interest::READABLE, || receive(&socket))
                .await;
            match received? {
                Some((from, router)) if from == ha.peer && router == own => {
                    return Ok(Heard::Router(router));
                }
                Some((from, router)) if from == ha.peer => other = Heard::Router(router),
                _ => {}
            }
        }
    });
    heard.await.unwrap_or(Ok(other))
}

/// Receives a packet. Returns its sender and its virtual router identifier (VRID); `None` if the
/// packet is not an advert.
fn receive(socket: &UdpSocket) -> io::Result<Option<(IpAddr, u8)>> {
    let mut buffer = [0; 2048];
    let (length, from) =
        nix::sys::socket::recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer)?;
    let from = from.and_then(|from| {
        let v4 = from.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| from.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    Ok(from.and_then(|from| {
        let datagram = buffer.get(..length)?;
        Some((from, router(datagram, from.is_ipv4())?))
    }))
}

/// Returns the virtual router identifier (VRID) of an advert. A raw socket delivers IPv4 packets
/// with their IP header, and IPv6 packets without it.
fn router(datagram: &[u8], is_ipv4: bool) -> Option<u8> {
    let header = match is_ipv4 {
        true => usize::from(datagram.first()? & 0x0f) * 4,
        false => 0,
    };
    datagram.get(header + 1).copied()
}

/// Connects from the address `source` to the peer once, and closes the connection.
///
/// # Errors
/// The connection fails, or is not made within `limit` ([`io::ErrorKind::TimedOut`]).
pub(super) async fn connect(source: IpAddr, peer: SocketAddr, limit: Duration) -> io::Result<()> {
    let socket = match source {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(source, 0))?;
    match timeout(limit, socket.connect(peer)).await {
        Ok(connected) => connected.map(drop),
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Waits on `address` until the peer connects, at most for `limit`.
///
/// # Errors
/// `address` cannot be listened on, or the peer does not connect within `limit`
/// ([`io::ErrorKind::TimedOut`]).
pub(super) async fn accept(address: SocketAddr, peer: IpAddr, limit: Duration) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let accepted = timeout(limit, async {
        loop {
            let (_stream, from) = listener.accept().await?;
            if from.ip() == peer {
                return Ok(());
            }
        }
    });
    accepted
        .await
        .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_is_behind_the_header_of_ipv4() {
        let mut datagram = vec![0x46; 24];
        datagram.extend([0x31, 41, 110]);
        assert_eq!(router(&datagram, true), Some(41));
        assert_eq!(router(&datagram[24..], false), Some(41));
        assert_eq!(router(&datagram[..24], true), None);
        assert_eq!(router(&[], true), None);
    }
}
