//! Properties of a network device by generic netlink (genetlink(7)): its channels and offloads
//! (linux/ethtool_netlink.h), and whether its driver has XDP (linux/netdev.h).

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::{TimeVal, TimeValLike as _},
};

/// Properties of a network device. Those that the kernel or the driver does not report are `None`,
/// or empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Device {
    /// Whether the driver has native XDP. Linux reports it from 6.3 on.
    pub(crate) native_xdp: Option<bool>,
    /// The numbers of the device's channels that receive packets; `None` if they are not reported.
    pub(crate) channels: Option<Channels>,
    /// Names of the offloads that are on, as in `ethtool --json -k`, such as `rx-lro`.
    pub(crate) offloads: Vec<String>,
}

/// Numbers of the channels of a device that receive packets: combined channels, which have a queue
/// for receiving and one for sending, or channels for receiving alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Channels {
    /// Number of channels in use.
    pub(crate) count: u32,
    /// Highest number of channels that the device supports.
    pub(crate) max: u32,
}

/// Reads the properties of an interface.
///
/// # Errors
/// There is no socket for generic netlink.
pub(crate) fn device(interface: u32) -> io::Result<Device> {
    let mut kernel = Genetlink::open()?;
    let mut device = Device::default();
    if let Ok(family) = kernel.family("netdev") {
        let asked = attribute(NETDEV_IFINDEX, &interface.to_ne_bytes());
        if let Ok(answer) = kernel.ask(family, NETDEV_DEV_GET, &asked) {
            let features = find(&answer, NETDEV_XDP_FEATURES).and_then(number);
            device.native_xdp = features.map(|features| features & XDP_BASIC != 0);
        }
    }
    if let Ok(family) = kernel.family("ethtool") {
        let header = attribute(HEADER_DEV_INDEX, &interface.to_ne_bytes());
        let asked = attribute(HEADER | NESTED, &header);
        if let Ok(answer) = kernel.ask(family, ETHTOOL_CHANNELS_GET, &asked) {
            device.channels = channels(&answer);
        }
        if let Ok(answer) = kernel.ask(family, ETHTOOL_FEATURES_GET, &asked) {
            device.offloads = offloads(&answer);
        }
    }
    Ok(device)
}

const CONTROLLER: u16 = 16;
const CONTROLLER_GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

const NETDEV_DEV_GET: u8 = 1;
const NETDEV_IFINDEX: u16 = 1;
const NETDEV_XDP_FEATURES: u16 = 3;
/// The flag `NETDEV_XDP_ACT_BASIC`: the driver supports the XDP verdicts other than redirect.
const XDP_BASIC: u64 = 1;

const HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_FEATURES_GET: u8 = 11;
const ETHTOOL_CHANNELS_GET: u8 = 17;
const CHANNELS_RX_MAX: u16 = 2;
const CHANNELS_RX_COUNT: u16 = 6;
const CHANNELS_COMBINED_MAX: u16 = 5;
const CHANNELS_COMBINED_COUNT: u16 = 9;
const FEATURES_ACTIVE: u16 = 4;
const BITSET_BITS: u16 = 3;
const BITSET_BIT: u16 = 1;
const BIT_NAME: u16 = 2;

const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Length in bytes of the header of a netlink message and the header of generic netlink after it.
const HEADERS: usize = 16 + 4;
/// The flag of attributes that hold other attributes. Some families of generic netlink refuse such
/// attributes without the flag.
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are flags.
const TYPE_FLAGS: u16 = 0xc000;

struct Genetlink {
    socket: Socket,
    sequence: u32,
}

impl Genetlink {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(1))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Returns the number that the kernel assigned to the generic netlink family of this name.
    fn family(&mut self, name: &str) -> io::Result<u16> {
        let asked = attribute(FAMILY_NAME, format!("{name}\0").as_bytes());
        let answer = self.ask(CONTROLLER, CONTROLLER_GET_FAMILY, &asked)?;
        let id = find(&answer, FAMILY_ID).and_then(number);
        id.and_then(|id| u16::try_from(id).ok())
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Sends a request of a generic netlink family to the kernel, and returns the attributes of the
    /// reply.
    fn ask(&mut self, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        self.sequence += 1;
        let length = u32::try_from(HEADERS + attributes.len()).map_err(io::Error::other)?;
        let mut request = length.to_ne_bytes().to_vec();
        request.extend(family.to_ne_bytes());
        request.extend(NLM_F_REQUEST.to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]);
        request.extend([command, 1, 0, 0]);
        request.extend(attributes);
        self.socket.send(&request, 0)?;
        loop {
            let (datagram, _from) = self.socket.recv_from_full()?;
            if let Some(reply) = reply(&datagram, self.sequence) {
                return reply;
            }
        }
    }
}

/// Parses a reply: its attributes, or the error that it reports. `None` if it belongs to another
/// request.
fn reply(datagram: &[u8], sequence: u32) -> Option<io::Result<Vec<u8>>> {
    let field = |place: usize| Some(u32::from_ne_bytes(*datagram.get(place..)?.first_chunk()?));
    if field(8)? != sequence {
        return None;
    }
    let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?);
    if kind == NLMSG_ERROR {
        let code = field(16)?.cast_signed();
        return Some(Err(io::Error::from_raw_os_error(code.saturating_neg())));
    }
    let length = usize::try_from(field(0)?).ok()?;
    Some(Ok(datagram.get(HEADERS..length)?.to_vec()))
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Returns the attributes in `bytes`, each with its type; an attribute that is cut off is left out.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & !TYPE_FLAGS;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

/// Reads a number of two, four or eight bytes, in the host's byte order, from the value of an
/// attribute; `None` if the value has another length.
fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        2 => Some(u16::from_ne_bytes(*value.first_chunk()?).into()),
        4 => Some(u32::from_ne_bytes(*value.first_chunk()?).into()),
        8 => Some(u64::from_ne_bytes(*value.first_chunk()?)),
        _ => None,
    }
}

fn channels(answer: &[u8]) -> Option<Channels> {
    let count = |kind| find(answer, kind).and_then(number)?.try_into().ok();
    let of = |count_of, max_of| {
        Some(Channels {
            count: count(count_of)?,
            max: count(max_of)?,
        })
    };
    of(CHANNELS_COMBINED_COUNT, CHANNELS_COMBINED_MAX)
        .or_else(|| of(CHANNELS_RX_COUNT, CHANNELS_RX_MAX))
}

fn offloads(answer: &[u8]) -> Vec<String> {
    let bits = find(answer, FEATURES_ACTIVE).and_then(|set| find(set, BITSET_BITS));
    let names = attributes(bits.unwrap_or_default())
        .filter(|(kind, _)| *kind == BITSET_BIT)
        .filter_map(|(_, bit)| find(bit, BIT_NAME));
    names
        .map(|name| {
            String::from_utf8_lossy(name)
                .trim_end_matches('\0')
                .to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_describes_the_loopback_interface() {
        let device = device(1).expect("an answer");
        assert_eq!(device.native_xdp, Some(false), "{device:?}");
        assert!(
            device
                .offloads
                .iter()
                .any(|one| one == "tx-checksum-ip-generic"),
            "{device:?}"
        );
        assert_eq!(device.channels, None);
    }

    #[test]
    fn an_interface_that_does_not_exist_has_no_properties() {
        assert_eq!(device(u32::MAX >> 1).expect("an answer"), Device::default());
    }

    #[test]
    fn a_reply_is_told_from_an_error_and_from_another_request() {
        let mut error = vec![0_u8; 20];
        error[4] = 2;
        error[8] = 7;
        error[16..20].copy_from_slice(&(-95_i32).to_ne_bytes());
        let answered = reply(&error, 7).expect("an answer").expect_err("an error");
        assert_eq!(answered.raw_os_error(), Some(95));
        assert!(reply(&error, 8).is_none());
        assert!(reply(&error[..10], 7).is_none());
    }

    #[test]
    fn attributes_that_are_cut_off_end_the_list() {
        let both = [
            attribute(5, &8_u32.to_ne_bytes()),
            attribute(9, &[4, 0, 0, 0]),
        ]
        .concat();
        assert_eq!(channels(&both), Some(Channels { count: 4, max: 8 }));
        assert_eq!(channels(&both[..both.len() - 1]), None);
        let endless = [0_u8; 8];
        assert_eq!(attributes(&endless).count(), 0);
    }
}
