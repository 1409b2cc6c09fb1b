//! Sends requests to the kernel and receives its notifications, by rtnetlink (rtnetlink(7)).

mod generic;
mod route;
mod xdp;

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::{TimeVal, TimeValLike as _},
};
use tokio::io::unix::AsyncFd;

#[cfg(test)]
pub(crate) use self::generic::Channels;
pub use self::xdp::XdpMode;
pub(crate) use self::{
    generic::{Device, device},
    route::Way,
    xdp::{XdpProgram, why_native_is_refused},
};

/// Multicast groups of rtnetlink notifications (linux/rtnetlink.h).
pub(crate) const GROUP_LINK: u32 = 1;
pub(crate) const GROUP_NEIGHBOUR: u32 = 3;
pub(crate) const GROUP_IPV4_ADDRESS: u32 = 5;
pub(crate) const GROUP_IPV4_ROUTE: u32 = 7;
pub(crate) const GROUP_IPV4_RULE: u32 = 8;
pub(crate) const GROUP_IPV6_ADDRESS: u32 = 9;

/// How long a reply of the kernel is waited for, in seconds. The kernel normally replies before the
/// request's system call returns; the time-out is for a reply that does not come.
const PATIENCE_SECONDS: i64 = 2;

/// A netlink socket for requests to the kernel. It belongs to the network namespace in which it was
/// opened.
pub(crate) struct Rtnetlink {
    socket: Socket,
    sequence: u32,
}

impl Rtnetlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let patience = TimeVal::seconds(PATIENCE_SECONDS);
        setsockopt(&socket, ReceiveTimeout, &patience)?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Requests a change from the kernel; `flags` are added to `NLM_F_REQUEST` and `NLM_F_ACK`.
    ///
    /// # Errors
    /// The kernel refuses the request.
    pub(crate) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(message, flags | NLM_F_ACK)?;
        self.answers(|_| {})
    }

    /// Requests a list of objects (a dump) from the kernel, and returns all the messages of the
    /// reply.
    ///
    /// # Errors
    /// The kernel refuses the request.
    pub(crate) fn list(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_DUMP)?;
        let mut listed = Vec::new();
        self.answers(|message| listed.push(message))?;
        Ok(listed)
    }

    /// Requests one object from the kernel and returns it.
    ///
    /// # Errors
    /// The kernel refuses the request, or its reply has no object.
    pub(crate) fn one(&mut self, message: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        // With `NLM_F_ACK` an acknowledgement marks the end of the kernel's reply.
        self.send(message, NLM_F_ACK)?;
        let mut answer = None;
        self.answers(|message| answer = Some(message))?;
        answer.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags | NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(|_sent| ())
    }

    /// Reads the whole reply to the last request and passes each message to `take`. Messages that
    /// are left of earlier replies are skipped.
    fn answers(&self, mut take: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
        loop {
            let (datagram, _from) = self.socket.recv_from_full()?;
            for message in messages(&datagram) {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => take(message),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

/// Receives the kernel's notifications of some multicast groups.
pub(crate) struct News(AsyncFd<Socket>);

impl News {
    /// Subscribes to the notifications of these multicast groups. Must be called within a tokio
    /// runtime.
    pub(crate) fn subscribe(groups: &[u32]) -> io::Result<Self> {
        let socket = subscribe(groups)?;
        socket.set_non_blocking(true)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe to call, for types that do not keep their descriptor: \
                      this one owns it, and is given up to nobody"
        )]
        AsyncFd::new(socket).map(Self)
    }

    /// Waits for the next notifications and returns them; `None` if notifications were lost:
    /// anything may have changed then. Cancel-safe: no notification is lost when the future is
    /// dropped.
    pub(crate) async fn next(&self) -> Option<Vec<RouteNetlinkMessage>> {
        loop {
            let Ok(mut ready) = self.0.readable().await else {
                // The runtime is shutting down, and will end this task as well.
                return std::future::pending().await;
            };
            match ready.try_io(|socket| socket.get_ref().recv_from_full()) {
                Ok(Ok((datagram, _from))) => {
                    let news = messages(&datagram).filter_map(|message| match message.payload {
                        NetlinkPayload::InnerMessage(message) => Some(message),
                        _ => None,
                    });
                    return Some(news.collect());
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(_lost)) => return None,
                Err(_not_ready) => {}
            }
        }
    }
}

/// Opens a netlink socket that receives the notifications of these multicast groups.
pub(crate) fn subscribe(groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

/// Returns the netlink messages in one datagram; messages that cannot be parsed are skipped.
pub(crate) fn messages(
    mut datagram: &[u8],
) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> {
    const HEADER: usize = 16;
    std::iter::from_fn(move || {
        loop {
            let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok()?;
            let whole = datagram
                .get(..length)
                .filter(|whole| whole.len() >= HEADER)?;
            // In a datagram, each message begins at a multiple of four bytes.
            datagram = datagram
                .get(length.next_multiple_of(4)..)
                .unwrap_or_default();
            if let Ok(message) = NetlinkMessage::deserialize(whole) {
                return Some(message);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    fn link(index: u32) -> Vec<u8> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        let message = RouteNetlinkMessage::NewLink(link);
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn indices(datagram: &[u8]) -> Vec<u32> {
        let index = |message: NetlinkMessage<RouteNetlinkMessage>| match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                Some(link.header.index)
            }
            _ => None,
        };
        messages(datagram).filter_map(index).collect()
    }

    #[test]
    fn every_message_of_a_datagram_is_read_and_half_a_one_is_not() {
        let (first, second) = (link(7), link(8));
        let both = [first.clone(), second.clone()].concat();
        assert_eq!(indices(&both), [7, 8]);
        assert_eq!(indices(&both[..both.len() - 1]), [7]);
        // A message with a length of zero must not cause an endless loop.
        let stuck = [first, vec![0; 16], second].concat();
        assert_eq!(indices(&stuck), [7]);
        assert_eq!(indices(&[]), [0; 0]);
    }

    #[test]
    fn the_kernel_lists_the_loopback_interface() {
        let mut kernel = Rtnetlink::open().expect("a socket");
        let asked = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let listed = kernel.list(asked).expect("a list");
        let is_loopback = |message: &RouteNetlinkMessage| matches!(message, RouteNetlinkMessage::NewLink(link) if link.header.index == 1);
        assert!(listed.iter().any(is_loopback), "{listed:?}");
    }
}
