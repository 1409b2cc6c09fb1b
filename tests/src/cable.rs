//! Cables between hosts: pairs of virtual Ethernet interfaces.

use anyhow::Result;

use crate::host::Host;

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

/// Lays a cable between two hosts. Both ends are up afterwards, without addresses.
///
/// The ends finish their checksums and segments themselves: a virtual interface would otherwise
/// leave both to "hardware" that is not there, and an XDP program, which stands before the stack,
/// would forward packets with half a checksum. What a real network card delivers is finished.
///
/// # Errors
/// When the kernel refuses.
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
    plug_in(a)?;
    plug_in(b)
}

/// Makes an interface deliver what an XDP program on the cable's other end transmits.
///
/// A virtual interface takes XDP frames only while it has a receive ring, and it has one only with
/// an XDP program of its own or with GRO switched on. Without either the frames vanish.
///
/// # Errors
/// When `ethtool` is missing or refuses.
pub fn accept_xdp_frames(end: End<'_>) -> Result<()> {
    end.host
        .run("ethtool", &["-K", end.interface, "gro", "on"])?;
    Ok(())
}

fn plug_in(end: End<'_>) -> Result<()> {
    let interface = end.interface;
    end.host.script(&format!(
        "ethtool -K {interface} tx off tso off gso off >/dev/null\nip link set {interface} up"
    ))?;
    Ok(())
}
