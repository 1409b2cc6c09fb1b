//! Notices that routes or neighbours changed, so that flows look up their next hop again.

use std::{
    collections::HashMap,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
};

use lb_common::verdict::{Drop, Verdict};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
};
use netlink_sys::Socket;
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::{TimeVal, TimeValLike as _},
};

use super::{Error, maps::Maps, resolve::Resolver};
use crate::netlink::{self, GROUP_IPV4_ROUTE, GROUP_LINK, GROUP_NEIGHBOUR};

/// How often, in milliseconds, the thread looks whether it is still wanted.
const PATIENCE_MS: i64 = 500;

/// A thread that listens to the kernel, and ends soon after this value is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    _wanted: Arc<()>,
}

impl Watch {
    /// Starts listening; each change that matters begins a new generation in `maps`. In between,
    /// `resolver` gets its chance to ask.
    pub(super) fn start(maps: &Arc<Mutex<Maps>>, resolver: &Arc<Resolver>) -> Result<Self, Error> {
        let failed = |error: io::Error| {
            Error::of(
                "cannot listen to the kernel's changes of routes and neighbours",
                &error,
            )
        };
        let socket = subscribe().map_err(failed)?;
        let wanted = Arc::new(());
        let resolver = Arc::clone(resolver);
        let (still_wanted, maps) = (Arc::downgrade(&wanted), Arc::downgrade(maps));
        thread::Builder::new()
            .name("lb-neighbours".to_owned())
            .spawn(move || listen(&socket, &still_wanted, &maps, &resolver))
            .map_err(failed)?;
        Ok(Self { _wanted: wanted })
    }
}

fn subscribe() -> io::Result<Socket> {
    let groups = [GROUP_LINK, GROUP_NEIGHBOUR, GROUP_IPV4_ROUTE];
    let socket = netlink::subscribe(&groups)?;
    let patience = TimeVal::milliseconds(PATIENCE_MS);
    setsockopt(&socket, ReceiveTimeout, &patience)?;
    Ok(socket)
}

fn listen(socket: &Socket, wanted: &Weak<()>, maps: &Weak<Mutex<Maps>>, resolver: &Resolver) {
    let mut neighbours = Neighbours::default();
    while wanted.strong_count() > 0 {
        resolver.tick(|| dropped(maps));
        let changed = match socket.recv_from_full() {
            Ok((datagram, _from)) => {
                // Every message is looked at: a neighbour that is passed over is not remembered.
                netlink::messages(&datagram)
                    .filter(|message| neighbours.changed_by(&message.payload))
                    .count()
                    > 0
            }
            Err(error) if is_quiet(&error) => false,
            // Messages were lost: anything may have changed.
            Err(_lost) => true,
        };
        if changed && let Some(maps) = maps.upgrade() {
            let mut maps = maps.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = maps.begin_generation() {
                tracing::error!("next hops may be out of date: {error}");
            }
        }
    }
}

/// Packets dropped for want of a neighbour so far.
fn dropped(maps: &Weak<Mutex<Maps>>) -> Option<u64> {
    let maps = maps.upgrade()?;
    let maps = maps.lock().unwrap_or_else(PoisonError::into_inner);
    maps.counted(Verdict::Drop(Drop::NoNeighbour).counter())
        .ok()
}

fn is_quiet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The neighbours' MAC addresses as they were last heard. The kernel also tells each time that it
/// merely confirms one, and that is no reason to look anything up.
#[derive(Debug, Default)]
struct Neighbours {
    known: HashMap<(u32, Ipv4Addr), Vec<u8>>,
}

impl Neighbours {
    fn changed_by(&mut self, payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
        let NetlinkPayload::InnerMessage(message) = payload else {
            return false;
        };
        match message {
            RouteNetlinkMessage::NewNeighbour(neighbour) => self.learns(neighbour),
            RouteNetlinkMessage::NewRoute(_)
            | RouteNetlinkMessage::DelRoute(_)
            | RouteNetlinkMessage::NewLink(_)
            | RouteNetlinkMessage::DelLink(_) => true,
            _ => false,
        }
    }

    fn learns(&mut self, neighbour: &NeighbourMessage) -> bool {
        let mut address = None;
        let mut mac = None;
        for attribute in &neighbour.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(inet)) => {
                    address = Some(*inet);
                }
                NeighbourAttribute::LinkLayerAddress(octets) => mac = Some(octets.clone()),
                _ => {}
            }
        }
        let (Some(address), Some(mac)) = (address, mac) else {
            return false;
        };
        let before = self
            .known
            .insert((neighbour.header.ifindex, address), mac.clone());
        before.as_ref() != Some(&mac)
    }
}
