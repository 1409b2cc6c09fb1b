//! The map `settings`, whose only entry applies to all connections.

use std::{iter, net::Ipv4Addr, time::Duration};

use lb_common::{limits, settings::Settings, tick::Tick};
use zerocopy::transmute;

use super::Maps;
use crate::dataplane::{Error, ports::PortSet};

impl Maps {
    /// Writes the settings: the size of the connection table, the source ports and addresses of
    /// NAT, and the frequency of the kernel's clock. The secret of the connections' hash is
    /// generated once, when the table is created.
    ///
    /// # Errors
    /// The kernel refuses the write, or the maps were created with other source addresses. Those
    /// cannot change because their number and order determine a backend's rows of source ports.
    pub(in crate::dataplane) fn set_up(
        &mut self,
        entries: u32,
        ports: &PortSet,
        source_addresses: &[Ipv4Addr],
    ) -> Result<(), Error> {
        let mut settings = self.settings()?;
        let before = settings.source_addresses;
        for (place, address) in settings.source_addresses.iter_mut().zip(
            source_addresses
                .iter()
                .map(Ipv4Addr::octets)
                .chain(iter::repeat([0; 4])),
        ) {
            *place = address;
        }
        let is_new = settings.secret == [0; 2];
        if !is_new && settings.source_addresses != before {
            return Err(other_addresses(&before));
        }
        for (index, word) in (0..).zip(ports.words()) {
            self.ports
                .set(index, word, 0)
                .map_err(Error::write_map("ports"))?;
        }
        if is_new {
            settings.secret = secret()?;
            (settings.generation, settings.routes) = (1, 1);
        }
        settings.last_bucket = entries - limits::WAYS;
        settings.hertz = hertz()?;
        settings.layout = limits::LAYOUT;
        let lines = ports.lines();
        settings.first_line = lines.first;
        settings.lines = lines.usable;
        settings.lines_before_gap = lines.before_gap;
        settings.gap = lines.gap;
        self.set_settings(settings)
    }

    /// Invalidates all next hops that the XDP program has stored, because a neighbour's link-layer
    /// address changed: the program looks them up again.
    pub(in crate::dataplane) fn begin_generation(&mut self) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.generation = settings.generation.wrapping_add(1);
        self.set_settings(settings)
    }

    /// Invalidates all routes and next hops that the XDP program has stored, because a route
    /// changed: the program looks them up again.
    pub(in crate::dataplane) fn begin_routes(&mut self) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.generation = settings.generation.wrapping_add(1);
        settings.routes = settings.routes.wrapping_add(1);
        // A connection stores the low 16 bits of the number `routes`, where 0 means that its route
        // was not looked up yet. So a number whose low 16 bits are 0 is skipped.
        if settings.routes.trailing_zeros() >= 16 {
            settings.routes += 1;
        }
        self.set_settings(settings)
    }

    /// Reads the settings from the BPF map `settings`.
    pub(in crate::dataplane) fn current_settings(&self) -> Result<Settings, Error> {
        self.settings()
    }

    /// Sets the time until which packets that would open new connections are dropped; `None` ends
    /// this hold.
    pub(in crate::dataplane) fn hold(&mut self, end: Option<Tick>) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.hold = u8::from(end.is_some());
        settings.held_until = end.map_or(0, |end| end.0);
        self.set_settings(settings)
    }

    /// Sets whether the XDP program reports changed connections in the ring buffer.
    pub(in crate::dataplane) fn set_export(&mut self, wanted: bool) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.export = u8::from(wanted);
        self.set_settings(settings)
    }

    pub(super) fn settings(&self) -> Result<Settings, Error> {
        self.settings
            .get(&0, 0)
            .map(|bytes| transmute!(bytes))
            .map_err(Error::read_map("settings"))
    }

    pub(super) fn set_settings(&mut self, settings: Settings) -> Result<(), Error> {
        let bytes: [u8; size_of::<Settings>()] = transmute!(settings);
        self.settings
            .set(0, bytes, 0)
            .map_err(Error::write_map("settings"))
    }
}

/// Returns how many ticks (jiffies) the kernel's clock has in a second. It is computed from the
/// resolution of a coarse clock, which is one tick.
pub(in crate::dataplane) fn hertz() -> Result<u32, Error> {
    let tick = nix::time::clock_getres(nix::time::ClockId::CLOCK_MONOTONIC_COARSE).map_err(
        Error::kernel("cannot read the resolution of the kernel\'s clock"),
    )?;
    let nanoseconds = Duration::from(tick).as_nanos().max(1);
    // The division rounds to nearest, because the kernel rounds the length of a tick: 1,000,000,000
    // / 3,333,333 is slightly above 300.
    Ok(u32::try_from((1_000_000_000 + nanoseconds / 2) / nanoseconds).unwrap_or(1000))
}

fn other_addresses(before: &[[u8; 4]]) -> Error {
    let before: Vec<String> = before
        .iter()
        .filter(|address| **address != [0; 4])
        .map(|address| format!("\"{}\"", Ipv4Addr::from(*address)))
        .collect();
    Error::SourceAddressesChanged {
        before: before.join(", "),
    }
}

/// Generates a random secret for the hash that places connections in the connection table.
fn secret() -> Result<[u64; 2], Error> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| Error::NoRandomNumbers)?;
    Ok(transmute!(bytes))
}
