//! The kernel's side of the agent: loads, attaches and pins the XDP program, keeps its maps in
//! step with the configuration, and reads its counters.

use crate::config::Name;

/// What the kernel counted since the maps were made (they outlive the agent).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Packets by verdict and reason: every packet is in exactly one.
    pub verdicts: Vec<VerdictCount>,
    /// Traffic by service and, where the kernel steers it, by backend.
    pub traffic: Vec<Traffic>,
}

/// Packets that ended in one verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictCount {
    /// `pass`, `drop`, `transmit` or `redirect`.
    pub verdict: &'static str,
    /// Why, in lower-case words joined by `_`.
    pub reason: &'static str,
    /// How many packets.
    pub packets: u64,
}

/// What went through one service to one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// The service.
    pub service: Name,
    /// The backend, where the kernel chose one.
    pub backend: Option<Name>,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, IP header on.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients, IP header on.
    pub bytes_out: u64,
    /// Connections begun.
    pub connections: u64,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
}

/// The XDP program, attached, and its maps. The pins outlive this value: dropping it forwards on.
#[derive(Debug)]
pub struct Dataplane {}

/// Why an operation on the kernel's side failed: what was attempted, on what, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Dataplane {
    /// Loads the program and attaches it, or adopts what an earlier agent pinned and swaps the
    /// program atomically. Holds a lock, so that a second agent is refused.
    ///
    /// # Errors
    /// Whatever keeps the host from forwarding: nothing is left half-attached.
    pub fn open(
        node: &crate::config::Node,
        settings: &crate::config::Dataplane,
    ) -> Result<Self, Error> {
        let _ = (node, settings);
        Err(Error("not built yet".to_owned()))
    }

    /// Makes the kernel say what the configuration and the pools say. Checks all before it changes
    /// anything. `pools` holds a view of every pool that `services` name.
    ///
    /// # Errors
    /// More services or backends than the maps hold, or the kernel's refusal.
    pub fn apply(
        &mut self,
        services: &[crate::config::Service],
        pools: &[std::sync::Arc<crate::pool::PoolView>],
    ) -> Result<(), Error> {
        let _ = (services, pools);
        Ok(())
    }

    /// Backends changed state: their rings are swapped at once.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn pool_changed(&mut self, pool: &crate::pool::PoolView) -> Result<(), Error> {
        let _ = pool;
        Ok(())
    }

    /// Sums the per-CPU counters.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn counters(&self) -> Result<Counters, Error> {
        Ok(Counters::default())
    }

    /// How the program is attached.
    #[must_use]
    pub fn mode(&self) -> XdpMode {
        XdpMode::Native
    }

    /// Whether flows of an earlier agent were adopted.
    #[must_use]
    pub fn adopted(&self) -> bool {
        false
    }

    /// Detaches the program and removes the pins: forwarding ends. Returns what was removed.
    ///
    /// # Errors
    /// The kernel's refusal, or an agent that still runs.
    pub fn unload(settings: &crate::config::Dataplane) -> Result<Vec<std::path::PathBuf>, Error> {
        let _ = settings;
        Ok(Vec::new())
    }
}
