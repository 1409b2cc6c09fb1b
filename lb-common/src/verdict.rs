//! Verdicts: what happens to a packet, and why. Every packet gets exactly one.

/// What happens to a packet, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The packet is passed to the host's network stack.
    Pass(PassReason),
    /// The packet is dropped.
    Drop(DropReason),
    /// The packet is rewritten and sent out of the interface on which it arrived.
    Transmit(Steered),
    /// The packet is rewritten and sent out of another interface, whose index is the second value.
    Redirect(Steered, u32),
}

/// Why a packet is passed to the host's network stack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum PassReason {
    /// The packet is not IPv4.
    NotIp,
    /// The packet is IPv4, but not TCP.
    NotTcp,
    /// The packet is a fragment: without ports it cannot be matched to a connection.
    Fragment,
    /// The packet is not addressed to a service.
    NotAService,
    /// The packet is for a service that the agent's listener serves.
    Agent,
    /// The packet is for a service that the kernel steers, but belongs to no known connection: the
    /// host replies with a reset.
    NoFlow,
    /// The packet is for a service of which no backend accepts connections: the host replies with a
    /// reset.
    NoBackend,
    /// The packet carries a VLAN tag: connections have no VLAN in their key.
    Vlan,
}

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum DropReason {
    /// The packet ends within a header.
    Truncated,
    /// The IPv4 header contradicts itself or the packet's length (RFC 791, section 3.1).
    BadIpv4,
    /// The TCP header contradicts itself or the packet's length (RFC 9293, section 3.1).
    BadTcp,
    /// The packet's TTL would become 0.
    TtlExpired,
    /// The host has no route to the destination, or does not forward packets.
    NoRoute,
    /// The next hop's MAC address is not known yet.
    NoNeighbour,
    /// Every source port that was tried, at every backend that was tried, is in use.
    NoSourcePort,
    /// All entries that the connection could use hold established connections.
    TableFull,
    /// The packet would open a connection while this host hands its role over to the peer: the
    /// client retransmits it.
    Held,
    /// Another CPU is writing the same connection: the sender retransmits.
    Contended,
    /// A backend refused a connection that another backend may accept: the client's next SYN goes
    /// there.
    Refused,
    /// The outgoing interface does not have the XDP program of `lb`.
    NoInterface,
    /// The XDP program to which this packet was passed by a tail call, because it may open or
    /// change a connection or needs a route lookup, is not loaded.
    NoProgram,
}

/// How a packet that was forwarded to a backend or a client relates to its flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Steered {
    /// The packet belongs to a known flow.
    Flow,
    /// The packet opened a flow.
    NewFlow,
    /// The packet opened a flow again at another backend, after a backend that did not answer or
    /// refused.
    Retried,
}

/// The entry of a verdict in the map `verdicts`, with its names in metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counter {
    /// The index in the map `verdicts`.
    pub index: u32,
    /// The verdict's name in metrics: `pass`, `drop`, `transmit` or `redirect`.
    pub verdict: &'static str,
    /// The reason's name in metrics.
    pub reason: &'static str,
}

/// The entries of all verdicts in the map `verdicts`.
pub const COUNTERS: [Counter; 27] = [
    counter(Verdict::Pass(PassReason::NotIp), "pass", "not_ip"),
    counter(Verdict::Pass(PassReason::NotTcp), "pass", "not_tcp"),
    counter(Verdict::Pass(PassReason::Fragment), "pass", "fragment"),
    counter(
        Verdict::Pass(PassReason::NotAService),
        "pass",
        "not_a_service",
    ),
    counter(Verdict::Pass(PassReason::Agent), "pass", "agent"),
    counter(Verdict::Pass(PassReason::NoFlow), "pass", "no_flow"),
    counter(Verdict::Pass(PassReason::NoBackend), "pass", "no_backend"),
    counter(Verdict::Pass(PassReason::Vlan), "pass", "vlan"),
    counter(Verdict::Drop(DropReason::Truncated), "drop", "truncated"),
    counter(Verdict::Drop(DropReason::BadIpv4), "drop", "bad_ipv4"),
    counter(Verdict::Drop(DropReason::BadTcp), "drop", "bad_tcp"),
    counter(Verdict::Drop(DropReason::TtlExpired), "drop", "ttl_expired"),
    counter(Verdict::Drop(DropReason::NoRoute), "drop", "no_route"),
    counter(
        Verdict::Drop(DropReason::NoNeighbour),
        "drop",
        "no_neighbour",
    ),
    counter(
        Verdict::Drop(DropReason::NoSourcePort),
        "drop",
        "no_source_port",
    ),
    counter(Verdict::Drop(DropReason::TableFull), "drop", "table_full"),
    counter(Verdict::Drop(DropReason::Held), "drop", "held"),
    counter(Verdict::Drop(DropReason::Contended), "drop", "contended"),
    counter(Verdict::Drop(DropReason::Refused), "drop", "refused"),
    counter(
        Verdict::Drop(DropReason::NoInterface),
        "drop",
        "no_interface",
    ),
    counter(Verdict::Drop(DropReason::NoProgram), "drop", "no_program"),
    counter(Verdict::Transmit(Steered::Flow), "transmit", "flow"),
    counter(Verdict::Transmit(Steered::NewFlow), "transmit", "new_flow"),
    counter(Verdict::Transmit(Steered::Retried), "transmit", "retried"),
    counter(Verdict::Redirect(Steered::Flow, 0), "redirect", "flow"),
    counter(
        Verdict::Redirect(Steered::NewFlow, 0),
        "redirect",
        "new_flow",
    ),
    counter(
        Verdict::Redirect(Steered::Retried, 0),
        "redirect",
        "retried",
    ),
];

/// Entries of the map `verdicts`: sixteen for each kind of verdict, so that a new reason does not
/// renumber the other reasons in a pinned map.
pub const COUNTER_SLOTS: u32 = 64;

impl Verdict {
    /// Returns the index of the verdict's entry in the map `verdicts`.
    #[must_use]
    #[inline(always)]
    pub const fn counter(self) -> u32 {
        match self {
            Self::Pass(reason) => reason as u32,
            Self::Drop(reason) => 16 + reason as u32,
            Self::Transmit(reason) => 32 + reason as u32,
            Self::Redirect(reason, _) => 48 + reason as u32,
        }
    }
}

const fn counter(verdict: Verdict, word: &'static str, reason: &'static str) -> Counter {
    Counter {
        index: verdict.counter(),
        verdict: word,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_verdicts_share_a_counter() {
        for (place, counter) in COUNTERS.iter().enumerate() {
            assert!(counter.index < COUNTER_SLOTS);
            assert!(
                COUNTERS[..place]
                    .iter()
                    .all(|other| other.index != counter.index
                        && (other.verdict, other.reason) != (counter.verdict, counter.reason))
            );
        }
    }
}
