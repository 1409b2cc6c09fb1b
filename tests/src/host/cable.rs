//! Cables between hosts: pairs of virtual Ethernet interfaces.

use anyhow::Result;
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

use super::Host;

/// One end of a cable: an interface of a host.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The host that has the interface.
    pub host: &'a Host,
    /// Name of the interface on the host, at most 15 bytes.
    pub interface: &'a str,
}

impl<'a> End<'a> {
    /// Describes an end that [`connect`] will create.
    #[must_use]
    pub fn new(host: &'a Host, interface: &'a str) -> Self {
        Self { host, interface }
    }
}

/// Connects two hosts by a cable. Both ends are up, without addresses.
///
/// Both ends compute checksums and split segments in software. By default a virtual interface
/// leaves both to hardware that does not exist, and an XDP program, which runs before the network
/// stack, would forward packets with incomplete checksums. Packets from a real network card are
/// complete.
///
/// # Errors
/// When the kernel refuses an operation.
pub fn connect(a: End<'_>, b: End<'_>) -> Result<()> {
    let (a_pid, b_pid) = (a.host.pid().to_string(), b.host.pid().to_string());
    // The command runs in the network of `a`, but not in its PID namespace: `netns PID` expects
    // process IDs of the outer PID namespace.
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

/// Makes an interface deliver the frames that an XDP program on the cable's other end transmits.
///
/// A virtual interface accepts such frames if it has a receive ring, for which enabling GRO would
/// be enough. But it is woken for them only if it has an XDP program itself (drivers/net/veth.c,
/// `veth_xdp_flush`): with GRO alone the ring fills up, and then accepts no frames at all. So this
/// attaches a program that lets every packet pass.
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

/// Returns an object file with one XDP program, which is `return XDP_PASS`.
fn pass_all() -> Result<Vec<u8>> {
    // The instructions `r0 = 2` (`XDP_PASS`) and `exit`.
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

/// Configures an end of a cable and brings it up. All packets of a flow are processed by one CPU,
/// as with a network card that has several queues.
///
/// By default a virtual interface processes each packet on the CPU that sent it. Linux before 6.19
/// answers data with a reset if it overtakes the acknowledgement that completes the handshake: for
/// a moment the connection is in the table neither as a request nor as a socket
/// (net/ipv4/inet_hashtables.c, `inet_ehash_insert`). This was seen once in 200,000 connections,
/// with every balancer.
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

/// Maximum number of CPUs that process the flows of one interface.
const MOST_CPUS: usize = 16;
