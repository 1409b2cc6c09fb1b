//! Links between hosts: pairs of virtual Ethernet interfaces.

use anyhow::Result;
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

use super::Host;

/// One end of a cable: an interface of a host.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The host.
    pub host: &'a Host,
    /// What the interface is called there, at most 15 bytes.
    pub interface: &'a str,
}

impl<'a> End<'a> {
    /// An end that is still to be plugged in.
    #[must_use]
    pub fn new(host: &'a Host, interface: &'a str) -> Self {
        Self { host, interface }
    }
}

/// Creates a link between two hosts. Both ends are up, without addresses.
///
/// The ends finish their checksums and segments themselves: a virtual interface would otherwise
/// leave both to "hardware" that is not there, and an XDP program, which stands before the stack,
/// would forward packets with half a checksum. What a real network card delivers is finished.
///
/// # Errors
/// When the kernel refuses an operation.
pub fn connect(a: End<'_>, b: End<'_>) -> Result<()> {
    let (a_pid, b_pid) = (a.host.pid().to_string(), b.host.pid().to_string());
    // In the network of `a`, but not among its processes: `netns PID` means the outside's numbers.
    let status = std::process::Command::new("nsenter")
        .args(["-t", &a_pid, "-n", "--", "ip", "link", "add", a.interface])
        .args(["type", "veth", "peer", "name", b.interface, "netns", &b_pid])
        .status()?;
    anyhow::ensure!(
        status.success(),
        "could not lay a cable from {} to {}: `ip link add` ended with {status}",
        a.host.name(),
        b.host.name(),
    );
    a.host.plugged_into(b);
    b.host.plugged_into(a);
    plug_in(a)?;
    plug_in(b)
}

/// Makes an interface deliver what an XDP program on the cable's other end transmits.
///
/// A virtual interface takes such frames when it has a receive ring, for which GRO would do, but it
/// is woken for them only when it has an XDP program of its own (drivers/net/veth.c,
/// `veth_xdp_flush`). With GRO alone the ring fills up unseen, and then takes nothing from anybody.
/// The program here lets everything pass.
///
/// # Errors
/// When `bpftool` is missing or the kernel refuses.
pub fn accept_xdp_frames(end: End<'_>) -> Result<()> {
    let (interface, object) = (end.interface, "/run/pass.o");
    end.host.write(object, pass_all()?)?;
    end.host.script(&format!(
        "bpftool prog load {object} /sys/fs/bpf/{interface} type xdp\n\
         bpftool net attach xdpdrv pinned /sys/fs/bpf/{interface} dev {interface}"
    ))?;
    Ok(())
}

/// An object file with one XDP program, `return XDP_PASS`.
fn pass_all() -> Result<Vec<u8>> {
    // r0 = 2; exit
    const PROGRAM: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let text = file.add_section(Vec::new(), b"xdp".to_vec(), SectionKind::Text);
    file.append_section_data(text, &PROGRAM, 8);
    file.add_symbol(Symbol {
        name: b"pass".to_vec(),
        value: 0,
        size: PROGRAM.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    Ok(file.write()?)
}

/// Packets of one flow are worked off by one CPU, as a network card with several queues does it.
///
/// Left to itself a virtual interface hands each packet to whichever CPU sent it, and Linux before 6.19
/// answers data with a reset where it overtakes the work on the acknowledgement that opened its
/// connection: for a moment neither the request nor the socket is in the table
/// (net/ipv4/inet_hashtables.c, `inet_ehash_insert`). Seen once in 200,000 connections, whatever
/// balancer was in between.
fn plug_in(end: End<'_>) -> Result<()> {
    let interface = end.interface;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mask = (1_u32 << cpus.min(MOST_CPUS)) - 1;
    end.host.script(&format!(
        "ethtool -K {interface} tx off tso off gso off >/dev/null\n\
         echo {mask:x} >/sys/class/net/{interface}/queues/rx-0/rps_cpus\n\
         ip link set {interface} up"
    ))?;
    Ok(())
}

/// More share the flows of no interface.
const MOST_CPUS: usize = 16;
