//! The measured paths of a packet through an XDP program.

use clap::ValueEnum;
use serde::Serialize;

/// A measured path of a packet through the program: the packets that are fed to the measured XDP
/// program, and what else happens meanwhile.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Path {
    /// Packets of one established connection, from its client.
    Known,
    /// Packets of one established connection, from its backend.
    Back,
    /// A packet of each of 1,000 established connections in turn.
    Thousand,
    /// A packet of each of 16,384 established connections in turn.
    Many,
    /// A packet of each of 1,000,000 established connections in turn.
    Million,
    /// SYNs of connections that were never seen.
    New,
    /// SYNs of connections that were never seen, while the program assumes a SYN flood.
    Flood,
    /// SYNs of connections that were never seen, while 70% of the source ports towards the backends
    /// are in use.
    Occupied,
    /// Packets to a port that no service has.
    NotOurs,
    /// Packets to a service's port at another address.
    Elsewhere,
    /// Packets of one established connection, while others open and close on another CPU.
    Churn,
    /// A packet of each of 1,000 established connections in turn, while others open and close on
    /// another CPU.
    ChurnThousand,
    /// An established connection on each CPU, concurrently.
    AllCpus,
    /// One established connection whose packets arrive on all CPUs concurrently.
    Shared,
}

impl Path {
    /// Returns the same path without connections that open and close on another CPU; `None` if this
    /// path has no such connections.
    pub(crate) fn quiet(self) -> Option<Self> {
        match self {
            Self::Churn => Some(Self::Known),
            Self::ChurnThousand => Some(Self::Thousand),
            _ => None,
        }
    }

    /// Returns whether packets must arrive on a second CPU, too, to measure the path.
    pub(crate) fn is_parallel(self) -> bool {
        matches!(
            self,
            Self::Churn | Self::ChurnThousand | Self::AllCpus | Self::Shared
        )
    }
}
