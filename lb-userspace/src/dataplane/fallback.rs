//! Says what an operator can do about drivers that refuse native XDP.

use std::fs;

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};

use super::host::Interface;
use crate::netlink::Rtnetlink;

/// The largest MTU in bytes at which AWS's driver (ENA) accepts an XDP program: a page less the
/// headers and the room that XDP reserves (drivers/net/ethernet/amazon/ena/ena_xdp.h,
/// `ENA_XDP_MAX_MTU`).
const ENA_MTU: u32 = 3498;

/// The largest MTU in bytes at which every driver with native XDP accepts an XDP program.
const COMMON_MTU: u32 = 1500;

/// The properties of a network interface that the advice to the operator depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Device {
    /// The name of the interface's driver; `None` for a virtual interface.
    driver: Option<String>,
    /// The interface's MTU in bytes; `None` if it cannot be determined.
    mtu: Option<u32>,
}

impl Device {
    /// Reads the properties of an interface; a property that cannot be determined is `None`.
    pub(super) fn of(interface: &Interface) -> Self {
        let driver = fs::read_link(format!("/sys/class/net/{}/device/driver", interface.name));
        let driver = driver.ok().and_then(|path| {
            let name = path.file_name()?.to_str()?;
            Some(name.to_owned())
        });
        Self {
            driver,
            mtu: mtu(interface.index),
        }
    }
}

fn mtu(index: u32) -> Option<u32> {
    let mut wanted = LinkMessage::default();
    wanted.header.index = index;
    let mut kernel = Rtnetlink::open().ok()?;
    let answer = kernel.one(RouteNetlinkMessage::GetLink(wanted)).ok()?;
    let RouteNetlinkMessage::NewLink(link) = answer else {
        return None;
    };
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        })
}

/// Returns what the operator can do about an interface whose driver refuses native XDP, as
/// sentences.
pub(super) fn remedy(name: &str, device: &Device) -> String {
    let mtu = device.mtu.unwrap_or_default();
    let mut steps = Vec::new();
    match device.driver.as_deref() {
        Some("ena") => {
            if mtu > ENA_MTU {
                steps.push(format!(
                    "lower the MTU from {mtu}: `ip link set dev {name} mtu {ENA_MTU}`"
                ));
            }
            steps.push(format!(
                "use at most half of the channels that `ethtool -l {name}` shows as the maximum: \
                 `ethtool -L {name} combined N`"
            ));
        }
        Some("virtio_net") => steps.push(format!(
            "switch off the merging of packets by the hypervisor: `ethtool -K {name} gro-hw off \
             lro off`"
        )),
        _ if mtu > COMMON_MTU => steps.push(format!(
            "lower the MTU from {mtu}, on both ends of a virtual cable: `ip link set dev {name} \
             mtu {COMMON_MTU}`; many drivers support up to about {ENA_MTU}"
        )),
        Some(driver) => steps.push(format!(
            "find out whether the driver {driver} of a later kernel has native XDP"
        )),
        None => {}
    }
    let accept = "to accept it, set xdp_mode = \"generic\" in [dataplane]";
    match steps.is_empty() {
        true => format!("the interface may have no native XDP: {accept}"),
        false => format!(
            "to get native mode: {}; then run `lb unload`, which ends all flows, and start lb \
             again; {accept}",
            steps.join("; ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(driver: &str, mtu: u32) -> String {
        let device = Device {
            driver: Some(driver.to_owned()),
            mtu: Some(mtu),
        };
        remedy("eth0", &device)
    }

    #[test]
    fn on_aws_it_names_the_mtu_and_the_channels() {
        let jumbo = of("ena", 9001);
        assert!(jumbo.contains("from 9001: `ip link set dev eth0 mtu 3498`"));
        assert!(jumbo.contains("`ethtool -L eth0 combined N`"));
        let short = of("ena", 3498);
        assert!(!short.contains("mtu") && short.contains("ethtool -L"));
    }

    #[test]
    fn of_an_unknown_driver_it_names_the_driver_or_a_large_mtu() {
        assert!(of("e1000e", 1500).contains("the driver e1000e"));
        assert!(of("e1000e", 9000).contains("mtu 1500"));
        let unknown = remedy("eth0", &Device::default());
        assert!(unknown.contains("xdp_mode = \"generic\""), "{unknown}");
    }
}
