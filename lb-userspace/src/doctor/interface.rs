//! Checks of `lb doctor` about the interfaces of `[node]`: state, driver, XDP program, MTU, queues
//! and offloads.

mod facts;

pub(super) use facts::read;

use super::{
    check::{Check, Group},
    finding::Finding,
};
use crate::{
    config::XdpModeChoice,
    dataplane::{XdpMode, survey::InstalledProgram},
    netlink::Device,
};

pub(super) static PRESENT: Check = Check {
    name: "interface",
    group: Group::Interfaces,
    looks_at: "Whether each interface of `[node]` exists, is up and has a carrier.",
    why: "The agent does not start without the interface, and nothing arrives through one that is down.",
    fix: "Correct `node.interface`, or `ip link set dev IFACE up`; without a carrier, the cable or the \
          other end.",
};

pub(super) static PROGRAM: Check = Check {
    name: "xdp_program",
    group: Group::Interfaces,
    looks_at: "The XDP program on each interface, and whether it is the one that is pinned below \
               `dataplane.pin_path`.",
    why: "An interface has one XDP program: the agent does not start where another one is attached, and \
          forwards nothing without its own.",
    fix: "Stop the program that attached it, or `ip link set dev IFACE xdp off`.",
};

pub(super) static MODE: Check = Check {
    name: "xdp_mode",
    group: Group::Interfaces,
    looks_at: "The mode of the attached program (native or generic); before the start, whether the driver \
               has native XDP (reported by Linux 6.3 and newer).",
    why: "Native XDP runs in the driver. Generic XDP runs after the kernel has allocated a buffer for the \
          packet, and takes several times the CPU time.",
    fix: "As the finding says for the driver; or `xdp_mode = \"generic\"` in `[dataplane]` to accept it.",
};

pub(super) static MTU: Check = Check {
    name: "mtu",
    group: Group::Interfaces,
    looks_at: "The MTU of an interface that has no native XDP program yet.",
    why: "Drivers accept a native program only if a frame fits into a page: ENA up to an MTU of 3498, and \
          AWS sets 9001. A veth has the limit for the MTU of its other end.",
    fix: "`ip link set dev IFACE mtu 3498`, also in the network configuration of the distribution.",
};

pub(super) static QUEUES: Check = Check {
    name: "queues",
    group: Group::Interfaces,
    looks_at: "The channels of the interface (`ethtool -l`).",
    why: "ENA sends the packets of XDP through separate queues, so at most half of its channels may be in \
          use; a single queue gives all packets to one CPU.",
    fix: "`ethtool -L IFACE combined N`.",
};

pub(super) static OFFLOADS: Check = Check {
    name: "offloads",
    group: Group::Interfaces,
    looks_at: "Whether the interface merges received packets in hardware (LRO, hardware GRO).",
    why: "XDP sees single packets; drivers refuse a native program, or switch it off, while they merge.",
    fix: "`ethtool -K IFACE lro off` or `ethtool -K IFACE rx-gro-hw off`.",
};

pub(super) static CHECKS: [&Check; 6] = [&PRESENT, &PROGRAM, &MODE, &MTU, &QUEUES, &OFFLOADS];

/// The maximum MTU with which the driver ENA accepts a native XDP program
/// (drivers/net/ethernet/amazon/ena/ena_xdp.h): a page less headers and the room that XDP reserves.
/// Other drivers have about the same limit.
const LARGEST_MTU: u32 = 3498;

/// The properties of an interface, as far as they could be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) name: String,
    /// If the interface does not exist, the names of the interfaces that the host has; otherwise
    /// empty.
    pub(super) present: Vec<String>,
    /// The properties of the interface in the kernel; `None` if the interface does not exist.
    pub(super) link: Option<Link>,
}

/// The properties of an interface that exists.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// Whether the interface is administratively up (`IFF_UP`).
    pub(super) is_up: bool,
    /// Whether the interface has a carrier (`IFF_LOWER_UP`).
    pub(super) has_carrier: bool,
    /// The name of the interface's driver, or the kind of a virtual interface such as `veth`;
    /// `None` if neither is known.
    pub(super) driver: Option<String>,
    /// The MTU of the interface in bytes; `None` if the kernel does not report it.
    pub(super) mtu: Option<u32>,
    /// The XDP program that is attached to the interface; `None` if there is none.
    pub(super) program: Option<InstalledProgram>,
    /// The properties of the interface that the kernel reports by generic netlink.
    pub(super) device: Device,
    /// What the operator can do to get native XDP on the interface, as sentences.
    pub(super) remedy: String,
}

impl Link {
    fn is_native(&self) -> bool {
        let mode = self.program.as_ref().map(|program| program.mode);
        mode == Some(XdpMode::Native)
    }

    fn driver(&self) -> &str {
        self.driver.as_deref().unwrap_or("unknown")
    }
}

/// Checks one interface. `choice` is `dataplane.xdp_mode`; `agent_runs` says whether an agent runs
/// on this host.
pub(super) fn judge(facts: &Facts, choice: XdpModeChoice, agent_runs: bool) -> Vec<Finding> {
    let name = facts.name.as_str();
    let Some(link) = &facts.link else {
        let found = "this host has no interface of that name";
        let present = facts.present.join(", ");
        return vec![PRESENT.fail(
            name,
            found,
            format!("set `node.interface` to one of: {present}"),
        )];
    };
    vec![
        presence(name, link),
        program(name, link, agent_runs),
        mode(name, link, choice),
        mtu(name, link, choice),
        queues(name, link, choice),
        offloads(name, link),
    ]
}

fn presence(name: &str, link: &Link) -> Finding {
    let driver = link.driver();
    match (link.is_up, link.has_carrier) {
        (true, true) => PRESENT.ok(name, format!("up, driver {driver}")),
        (false, _) => PRESENT.fail(
            name,
            "the interface is down",
            format!("`ip link set dev {name} up`"),
        ),
        (true, false) => PRESENT.fail(
            name,
            "the interface has no carrier",
            "check the cable, the switch port, or the other end of a virtual interface, which may be down",
        ),
    }
}

fn program(name: &str, link: &Link, agent_runs: bool) -> Finding {
    match &link.program {
        Some(found) if found.is_ours => {
            let whose = match agent_runs {
                true => "that of the running agent",
                false => "that of an earlier agent, which the next one adopts",
            };
            PROGRAM.ok(name, format!("program {} is {whose}", found.id))
        }
        Some(found) => {
            let called = found.name.as_deref().unwrap_or("without a name");
            let how = match found.mode {
                XdpMode::Native => "xdp",
                XdpMode::Generic => "xdpgeneric",
            };
            PROGRAM.fail(
                name,
                format!("another XDP program is attached: id {}, {called}", found.id),
                format!(
                    "stop what attached it (`bpftool net show dev {name}`), or detach it: `ip link set \
                     dev {name} {how} off`"
                ),
            )
        }
        None if agent_runs => PROGRAM.fail(
            name,
            "an agent is running, but the interface has no XDP program: nothing is steered",
            "restart the agent, which attaches it: `systemctl restart lb`",
        ),
        None => PROGRAM.ok(name, "none: free for the agent to attach its own"),
    }
}

fn mode(name: &str, link: &Link, choice: XdpModeChoice) -> Finding {
    let driver = link.driver();
    let ours = link.program.as_ref().filter(|program| program.is_ours);
    match (ours.map(|program| program.mode), link.device.native_xdp) {
        (Some(XdpMode::Native), _) => MODE.ok(name, "native"),
        (Some(XdpMode::Generic), _) if choice == XdpModeChoice::Generic => {
            MODE.ok(name, "generic, as configured")
        }
        (Some(XdpMode::Generic), _) => MODE.warn(
            name,
            "generic: an interface refused native mode",
            &link.remedy,
        ),
        (None, _) if choice == XdpModeChoice::Generic => MODE.ok(name, "generic is configured"),
        (None, Some(true)) => MODE.ok(name, format!("the driver {driver} has native XDP")),
        (None, None) => MODE.skipped(
            name,
            format!("this kernel does not report whether the driver {driver} has native XDP"),
        ),
        (None, Some(false)) => {
            let found = format!("the driver {driver} has no native XDP");
            let accept = "set `xdp_mode = \"generic\"` in [dataplane]";
            match choice {
                XdpModeChoice::Native => MODE.fail(
                    name,
                    format!("{found}, and `xdp_mode` is \"native\": the agent will not start"),
                    format!("{accept}, or use an interface whose driver has it"),
                ),
                _ => MODE.warn(
                    name,
                    format!("{found}: the agent will use generic mode on all interfaces"),
                    format!("{accept} to accept it, or use an interface whose driver has it"),
                ),
            }
        }
    }
}

fn mtu(name: &str, link: &Link, choice: XdpModeChoice) -> Finding {
    let Some(mtu) = link.mtu else {
        return MTU.skipped(name, "the kernel does not report the MTU");
    };
    if link.is_native() || choice == XdpModeChoice::Generic || mtu <= LARGEST_MTU {
        return MTU.ok(name, mtu);
    }
    let found = format!(
        "{mtu}: the driver {} may refuse native XDP above {LARGEST_MTU}",
        link.driver()
    );
    let fix =
        format!("`ip link set dev {name} mtu {LARGEST_MTU}`, also in the network configuration");
    match choice {
        XdpModeChoice::Native => MTU.fail(name, found, fix),
        _ => MTU.warn(name, found, fix),
    }
}

fn queues(name: &str, link: &Link, choice: XdpModeChoice) -> Finding {
    let Some(channels) = link.device.channels else {
        return QUEUES.skipped(name, "the driver does not report its channels");
    };
    let found = format!("{} of {} channels in use", channels.count, channels.max);
    let fix = |count: u32| format!("`ethtool -L {name} combined {count}`");
    let half = (channels.max / 2).max(1);
    if link.driver() == "ena" && !link.is_native() && channels.count > half {
        let found = format!("{found}: native XDP on ENA needs the other half for itself");
        return match choice {
            XdpModeChoice::Native => QUEUES.fail(name, found, fix(half)),
            XdpModeChoice::Auto => QUEUES.warn(name, found, fix(half)),
            XdpModeChoice::Generic => QUEUES.ok(name, found),
        };
    }
    if channels.count == 1 && channels.max > 1 && !is_virtual(link) {
        let found = format!("{found}: one CPU receives all packets");
        return QUEUES.warn(name, found, fix(half));
    }
    QUEUES.ok(name, found)
}

/// Returns whether the interface is virtual: both its ends are on this machine, so the number of
/// its queues is not set by hardware.
fn is_virtual(link: &Link) -> bool {
    matches!(
        link.driver.as_deref(),
        None | Some("veth" | "tun" | "bridge")
    )
}

fn offloads(name: &str, link: &Link) -> Finding {
    let is_on = |wanted: &str| link.device.offloads.iter().any(|one| one == wanted);
    let merging = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")];
    let on: Vec<_> = merging.iter().filter(|(name, _)| is_on(name)).collect();
    if link.device.offloads.is_empty() {
        return OFFLOADS.skipped(name, "the driver does not report its offloads");
    }
    if on.is_empty() || link.is_native() {
        return OFFLOADS.ok(name, "received packets are not merged by the hardware");
    }
    let names: Vec<_> = on.iter().map(|(name, _)| *name).collect();
    let off: Vec<_> = on.iter().map(|(_, word)| format!("{word} off")).collect();
    OFFLOADS.warn(
        name,
        format!("{} is on: native XDP may be refused", names.join(" and ")),
        format!("`ethtool -K {name} {}`", off.join(" ")),
    )
}

#[cfg(test)]
mod tests;
