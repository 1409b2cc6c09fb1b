//! The raw socket that VRRP adverts are sent and received through.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd as _,
};

use lb_ha::advert::{PROTOCOL, Packet, Refusal, TTL, TYPE_OF_SERVICE, Wire, parse_ipv4};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage,
    recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::settings::Error;

/// Size of the receive buffer in bytes, larger than any advert.
pub(super) const LONGEST: usize = 8 * 1024;

/// The source, destination and interface of this host's adverts.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// The address of this host that adverts are sent from.
    pub(super) source: IpAddr,
    /// The peer's address, or VRRP's multicast group.
    pub(super) destination: IpAddr,
    /// The name of the interface. It is used only for multicast groups and link-local addresses.
    pub(super) interface: String,
}

/// A socket for the adverts of one [`Route`].
#[derive(Debug)]
pub(super) struct Socket {
    /// A raw socket, held in tokio's type for UDP sockets because tokio has no type for raw ones.
    inner: UdpSocket,
    source: IpAddr,
    destination: SocketAddr,
    /// The index that the interface had when the socket was opened; 0 if neither address of the
    /// adverts is multicast or IPv6 link-local, so that any interface may carry them.
    interface: u32,
}

/// Why the socket could not be opened.
#[derive(Debug)]
pub(super) enum Refused {
    /// The error is permanent: a retry cannot succeed.
    ForGood(Error),
    /// A retry may succeed, for example when the interface exists.
    ForNow {
        step: &'static str,
        error: io::Error,
    },
}

/// The length, addresses and hop limit of a received packet.
#[derive(Clone, Copy, Debug)]
struct PacketInfo {
    length: usize,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    hop_limit: Option<u8>,
}

impl Route {
    pub(super) fn new(wire: &Wire, interface: &str) -> Self {
        Self {
            source: wire.settings().source,
            destination: wire.destination(),
            interface: interface.to_owned(),
        }
    }

    /// Returns whether an address of the adverts is multicast or IPv6 link-local. Such an address
    /// has a meaning only together with an interface.
    fn is_of_a_link(&self) -> bool {
        let of_a_link = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.is_multicast(),
            IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
        };
        of_a_link(self.source) || of_a_link(self.destination)
    }

    /// Returns the index that the adverts' interface has now; 0 if the interface does not exist, or
    /// if neither address of the adverts is multicast or IPv6 link-local, so that any interface may
    /// carry them.
    fn interface_number(&self) -> u32 {
        if !self.is_of_a_link() {
            return 0;
        }
        nix::net::if_::if_nametoindex(self.interface.as_str()).unwrap_or(0)
    }
}

impl Socket {
    /// Opens a socket that receives packets for the route's source address, or for the multicast
    /// group. This host may lack the source address. If the source or the destination is multicast
    /// or IPv6 link-local, the interface must exist.
    pub(super) fn open(route: &Route) -> Result<Self, Refused> {
        let socket = create(route).map_err(Refused::ForGood)?;
        let interface = route.interface_number();
        if route.is_of_a_link() && interface == 0 {
            let error = io::Error::from(nix::errno::Errno::ENODEV);
            let step = "finding the interface";
            return Err(Refused::ForNow { step, error });
        }
        let prepared = match (route.source, route.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                prepare_v4(&socket, route, source, destination, interface)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                prepare_v6(&socket, route, source, destination, interface)
            }
            _ => Err(("using it", io::ErrorKind::InvalidInput.into())),
        };
        prepared.map_err(|(step, error)| Refused::ForNow { step, error })?;
        let inner = UdpSocket::from_std(socket.into()).map_err(|error| Refused::ForNow {
            step: "waiting for packets",
            error,
        })?;
        Ok(Self {
            inner,
            source: route.source,
            destination: with_scope(route.destination, interface),
            interface,
        })
    }

    /// Returns whether the interface is still the one that the socket was opened on. A re-created
    /// interface has another index, and the socket receives nothing from it.
    pub(super) fn is_current(&self, route: &Route) -> bool {
        self.interface == route.interface_number()
    }

    /// Sends an advert, and returns an error instead of waiting.
    pub(super) fn send(&self, advert: &[u8]) -> io::Result<()> {
        let descriptor = self.inner.as_raw_fd();
        let content = [IoSlice::new(advert)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let sent = match (self.source, self.destination) {
            (IpAddr::V4(source), SocketAddr::V4(destination)) => {
                let information = libc::in_pktinfo {
                    ipi_ifindex: self.interface.cast_signed(),
                    ipi_spec_dst: in_addr(source),
                    ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
                };
                let source = [ControlMessage::Ipv4PacketInfo(&information)];
                let destination = SockaddrIn::from(destination);
                sendmsg(descriptor, &content, &source, flags, Some(&destination))
            }
            (IpAddr::V6(source), SocketAddr::V6(destination)) => {
                let information = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: source.octets(),
                    },
                    ipi6_ifindex: self.interface,
                };
                let source = [ControlMessage::Ipv6PacketInfo(&information)];
                let destination = SockaddrIn6::from(destination);
                sendmsg(descriptor, &content, &source, flags, Some(&destination))
            }
            _ => Err(nix::errno::Errno::EAFNOSUPPORT),
        };
        sent.map(drop).map_err(io::Error::from)
    }

    /// Waits for a packet and returns it, or why it is refused. Cancel safe.
    ///
    /// # Errors
    /// The kernel's errors. An invalid packet is not an error but a [`Refusal`].
    pub(super) async fn receive<'a>(
        &self,
        buffer: &'a mut [u8],
    ) -> io::Result<Result<Packet<'a>, Refusal>> {
        let info = self.inner.async_io(Interest::READABLE, || {
            receive_now(&self.inner, &mut *buffer)
        });
        let info = info.await?;
        let received = buffer.get(..info.length).unwrap_or_default();
        if self.source.is_ipv4() {
            return Ok(parse_ipv4(received));
        }
        Ok(info.packet(received).ok_or(Refusal::IpHeader))
    }
}

impl PacketInfo {
    /// Returns the packet with this payload; `None` if the kernel did not report one of its
    /// addresses or its hop limit, which does not happen.
    fn packet(self, payload: &[u8]) -> Option<Packet<'_>> {
        Some(Packet {
            source: self.source?,
            destination: self.destination?,
            ttl: self.hop_limit?,
            payload,
        })
    }
}

fn create(route: &Route) -> Result<socket2::Socket, Error> {
    let (domain, family) = match route.source {
        IpAddr::V4(_) => (Domain::IPV4, "IPv4"),
        IpAddr::V6(_) => (Domain::IPV6, "IPv6"),
    };
    let kind = Type::RAW.nonblocking().cloexec();
    let protocol = Protocol::from(i32::from(PROTOCOL));
    socket2::Socket::new_raw(domain, kind, Some(protocol)).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Error::Permission(error),
        _ => Error::Socket { family, error },
    })
}

type Step = (&'static str, io::Error);

fn prepare_v4(
    socket: &socket2::Socket,
    route: &Route,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    interface: u32,
) -> Result<(), Step> {
    let step = |step| move |error| (step, error);
    let plain = || {
        socket.set_tos_v4(TYPE_OF_SERVICE.into())?;
        socket.set_ttl_v4(TTL.into())?;
        socket.set_multicast_ttl_v4(TTL.into())?;
        socket.set_multicast_loop_v4(false)?;
        // Otherwise the socket would also receive packets of groups that only other programs on
        // this host joined.
        socket.set_multicast_all_v4(false)
    };
    plain().map_err(step("setting the socket up"))?;
    if destination.is_multicast() {
        socket
            .bind_device(Some(route.interface.as_bytes()))
            .map_err(step("binding to the interface"))?;
        let on = InterfaceIndexOrAddress::Index(interface);
        return socket
            .join_multicast_v4_n(&destination, &on)
            .map_err(step("joining VRRP's group"));
    }
    let bind = || {
        socket.set_freebind_v4(true)?;
        socket.bind(&SocketAddrV4::new(source, 0).into())
    };
    bind().map_err(step("binding to ha.source"))
}

fn prepare_v6(
    socket: &socket2::Socket,
    route: &Route,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    interface: u32,
) -> Result<(), Step> {
    let step = |step| move |error| (step, error);
    let plain = || {
        socket.set_tclass_v6(TYPE_OF_SERVICE.into())?;
        socket.set_unicast_hops_v6(TTL.into())?;
        socket.set_multicast_hops_v6(TTL.into())?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_multicast_all_v6(false)?;
        // Have the kernel report the destination and hop limit of each packet.
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true).map_err(io::Error::from)
    };
    plain().map_err(step("setting the socket up"))?;
    if destination.is_multicast() {
        socket
            .bind_device(Some(route.interface.as_bytes()))
            .map_err(step("binding to the interface"))?;
        return socket
            .join_multicast_v6(&destination, interface)
            .map_err(step("joining VRRP's group"));
    }
    let bind = || {
        socket.set_freebind_v6(true)?;
        let scope = if source.is_unicast_link_local() {
            interface
        } else {
            0
        };
        socket.bind(&SocketAddrV6::new(source, 0, 0, scope).into())
    };
    bind().map_err(step("binding to ha.source"))
}

fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<PacketInfo> {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let sender = received
        .address
        .as_ref()
        .and_then(SockaddrStorage::as_sockaddr_in6);
    let mut info = PacketInfo {
        length: received.bytes,
        source: sender.map(|sender| IpAddr::V6(sender.ip())),
        destination: None,
        hop_limit: None,
    };
    for message in received.cmsgs()? {
        match message {
            ControlMessageOwned::Ipv6PacketInfo(information) => {
                let address = Ipv6Addr::from(information.ipi6_addr.s6_addr);
                info.destination = Some(address.into());
            }
            ControlMessageOwned::Ipv6HopLimit(limit) => {
                info.hop_limit = u8::try_from(limit).ok();
            }
            _ => {}
        }
    }
    Ok(info)
}

fn with_scope(address: IpAddr, interface: u32) -> SocketAddr {
    match address {
        IpAddr::V4(v4) => SocketAddrV4::new(v4, 0).into(),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, interface).into(),
    }
}

fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(address.octets()),
    }
}
