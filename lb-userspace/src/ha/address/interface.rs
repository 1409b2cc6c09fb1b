//! Reads, adds and removes the addresses of a network interface, by rtnetlink.

use std::{fs, io, net::IpAddr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo},
};

use super::{super::Error, reconcile::Seen};
use crate::{config::InterfaceAddress, netlink::Rtnetlink};

/// The mark of the addresses that the agent adds: `l` as a protocol (IFA_PROTO, since Linux 5.18;
/// `ip address` shows it as `proto 0x6c`). Older kernels drop the mark; then the agent does not
/// recognise an address that an agent with another configuration left.
pub(super) const MARK: u8 = b'l';

/// The lifetime of an address that never expires, in seconds (linux/if_addr.h).
const FOR_EVER: u32 = u32::MAX;

/// The network interface whose addresses the agent manages.
pub(super) struct Interface {
    name: String,
    kernel: Rtnetlink,
}

impl Interface {
    /// Opens the interface of this name, to read and change its addresses.
    ///
    /// # Errors
    /// The kernel has no interface of this name, or gives this process no rtnetlink socket.
    pub(super) fn open(name: &str) -> Result<Self, Error> {
        let kernel = Rtnetlink::open().map_err(|error| {
            Error::new(format!(
                "cannot open rtnetlink to manage addresses: {error}"
            ))
        })?;
        let interface = Self {
            name: name.to_owned(),
            kernel,
        };
        interface.index()?;
        Ok(interface)
    }

    /// Returns the index of the interface, which changes when the interface is re-created.
    pub(super) fn index(&self) -> Result<u32, Error> {
        let name = &self.name;
        nix::net::if_::if_nametoindex(name.as_str()).map_err(|_errno| {
            Error::new(format!(
                "there is no interface {name}: `ip link` lists the interfaces"
            ))
        })
    }

    /// Returns the addresses that the interface has now.
    pub(super) fn addresses(&mut self) -> Result<Vec<Seen>, Error> {
        let index = self.index()?;
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let listed = self.kernel.list(request).map_err(|error| {
            Error::new(format!(
                "cannot list the addresses of {}: {error}",
                self.name
            ))
        })?;
        let seen = listed.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == index => {
                seen(message)
            }
            _ => None,
        });
        Ok(seen.collect())
    }

    /// Adds an address to the interface. Succeeds also if the interface has it already.
    pub(super) fn add(&mut self, address: InterfaceAddress) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewAddress(self.described(address)?);
        match self.kernel.change(message, NLM_F_CREATE | NLM_F_EXCL) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.failed("add", address, "to", &error)),
        }
    }

    /// Removes an address from the interface. The other addresses of its network stay, whichever of
    /// them was added first.
    pub(super) fn remove(&mut self, address: InterfaceAddress) -> Result<(), Error> {
        self.keep_secondaries(address);
        let message = RouteNetlinkMessage::DelAddress(self.bare(address)?);
        match self.kernel.change(message, 0) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(()),
            Err(error) => Err(self.failed("remove", address, "from", &error)),
        }
    }

    fn described(&self, address: InterfaceAddress) -> Result<AddressMessage, Error> {
        let mut message = self.bare(address)?;
        let marked = AddressAttribute::Protocol(AddressProtocol::Other(MARK));
        message.attributes.push(marked);
        if address.address.is_ipv6() {
            // Duplicate address detection is off, because the address would not answer for the
            // second that it takes. The preferred lifetime of zero keeps the host's own connections
            // from using an address that may move away.
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_valid = FOR_EVER;
            message.attributes.extend([
                AddressAttribute::Flags(AddressFlags::Nodad),
                AddressAttribute::CacheInfo(lifetime),
            ]);
        }
        Ok(message)
    }

    fn bare(
        &self,
        InterfaceAddress { address, prefix }: InterfaceAddress,
    ) -> Result<AddressMessage, Error> {
        let mut message = AddressMessage::default();
        message.header.family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.prefix_len = prefix;
        message.header.index = self.index()?;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
        ];
        Ok(message)
    }

    /// Sets `promote_secondaries` of the interface. Without it the kernel removes the later IPv4
    /// addresses of a network together with the first one. The first one may be an address that
    /// moves: the host's own address comes after it once it was renewed.
    fn keep_secondaries(&self, address: InterfaceAddress) {
        if address.address.is_ipv6() {
            return;
        }
        let path = format!("/proc/sys/net/ipv4/conf/{}/promote_secondaries", self.name);
        if fs::read_to_string(&path).is_ok_and(|present| present.trim() != "0") {
            return;
        }
        if let Err(error) = fs::write(&path, "1") {
            tracing::warn!(
                %address,
                %path,
                %error,
                "cannot write 1 to a sysctl: removing the address may remove others of its network"
            );
        }
    }

    fn failed(
        &self,
        verb: &str,
        address: InterfaceAddress,
        side: &str,
        error: &io::Error,
    ) -> Error {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied if address.address.is_ipv6() => {
                ": CAP_NET_ADMIN is needed, and IPv6 must not be disabled on the interface"
            }
            io::ErrorKind::PermissionDenied => ": CAP_NET_ADMIN is needed",
            _ => "",
        };
        let name = &self.name;
        Error::new(format!(
            "cannot {verb} {address} {side} {name}: {error}{hint}"
        ))
    }
}

fn seen(message: &AddressMessage) -> Option<Seen> {
    let mut local = None;
    let mut address = None;
    let mut marked = false;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Address(found) => address = Some(*found),
            AddressAttribute::Protocol(protocol) => marked = u8::from(*protocol) == MARK,
            _ => {}
        }
    }
    // On a point-to-point link, the attribute `Address` is the address of the other end, so `Local`
    // is preferred.
    let address = InterfaceAddress {
        address: local.or(address)?,
        prefix: message.header.prefix_len,
    };
    Some(Seen { address, marked })
}
