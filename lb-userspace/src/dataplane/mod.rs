//! The data plane: loads, attaches and pins the XDP program, keeps the contents of its BPF maps
//! consistent with the configuration, and reads its counters.
//!
//! Maps, program and links are pinned, so they outlive the agent. The agent may crash, restart or
//! be upgraded while connections continue; the next agent adopts the pins and replaces the program
//! atomically.

mod adopt;
mod attach;
mod attached;
mod clock;
mod connections;
mod counters;
mod error;
mod fallback;
pub mod flows;
mod host;
mod id_allocator;
mod layout;
mod lock;
mod map_ids;
mod maps;
mod memory;
mod metrics;
mod nested;
mod object;
mod occupancy;
mod pins;
mod ports;
mod reach;
mod resolve;
mod rings;
mod routes;
mod sources;
pub(crate) mod survey;
mod sysctl;
mod topology;
mod watch;

use std::{
    fs::File,
    io,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

pub(crate) use self::metrics::FAMILIES as METRICS;
pub use self::{
    attach::Attachment,
    counters::{Counters, Traffic, VerdictCount},
    error::Error,
    metrics::KernelMetrics,
    occupancy::{Occupancy, PortCounts, SourcePorts},
    reach::{Unreachable, unreachable},
};
use self::{
    clock::Clock, connections::Connections, flows::Flows, layout::Layout, lock::Lock, maps::Maps,
    pins::Pins, ports::PortSet, resolve::Resolver, sources::Sources, watch::Watch,
};
pub use crate::netlink::XdpMode;
use crate::{config, pool::PoolView};
use lb_common::{limits, tick::Tick};

/// The attached XDP program and its maps. The pins outlive this value, so forwarding continues
/// after it is dropped.
#[derive(Debug)]
pub struct Dataplane {
    maps: Arc<Mutex<Maps>>,
    layout: Layout,
    interfaces: config::Interfaces,
    settings: config::Dataplane,
    attachments: Vec<Attachment>,
    adopted: bool,
    sources: Sources,
    pins: Pins,
    resolver: Arc<Resolver>,
    clock: Arc<Clock>,
    flows: Flows,
    occupancy: Occupancy,
    /// The thread that watches routes and neighbours; `None` while the agent has paused its
    /// changes.
    watch: Option<Watch>,
    /// The lock on the pins; `None` after another process has taken over.
    lock: Option<Lock>,
}

impl Dataplane {
    /// Loads and attaches the XDP program, or adopts what an earlier agent pinned and replaces the
    /// program atomically. The returned value holds a lock that excludes a second agent. `lock` is
    /// the open lock of the agent that this one takes over from, or `None` if there is none.
    ///
    /// # Errors
    /// Any condition that prevents forwarding. After an error no interface has got the program that
    /// did not have it before.
    pub fn open(
        node: &config::Node,
        settings: &config::Dataplane,
        lock: Option<File>,
    ) -> Result<Self, Error> {
        host::require_privileges()?;
        let pins = Pins::at(&settings.pin_path);
        let adopted = pins.exist();
        pins.create()?;
        let lock = Lock::take(pins.root(), lock).inspect_err(|_error| pins.forget_if_empty())?;
        match Self::bring_up(&node.interfaces, settings, pins.clone(), adopted, lock) {
            Ok(dataplane) => Ok(dataplane),
            Err(error) => {
                if !adopted {
                    // Remove the pins that this call created.
                    let _removed = pins.remove_all();
                }
                Err(error)
            }
        }
    }

    fn bring_up(
        names: &config::Interfaces,
        settings: &config::Dataplane,
        pins: Pins,
        adopted: bool,
        lock: Lock,
    ) -> Result<Self, Error> {
        let interfaces = host::Interface::find_all(names)?;
        host::require_addresses(&settings.source_addresses)?;
        let entries = entries(settings.max_connections);
        pins.check_layout(entries)?;
        let ports = PortSet::unused_of(&settings.source_ports);
        sysctl::prepare(&interfaces, &ports)?;
        let mut loaded = object::load(&pins, entries)?;
        let mut maps = Maps::take(&mut loaded)?;
        maps.set_up(entries, &ports, &settings.source_addresses)?;
        let connections = Connections::open(&pins, entries)?;
        let sources = Sources::open(&pins, connections.clone(), &ports)?;
        // An earlier agent may have ended during a hold of new connections or an export of flows.
        maps.hold(None)?;
        maps.set_export(false)?;
        let attachments = attach::attach(&mut loaded, &interfaces, settings.xdp_mode, &pins)?;
        let indices: Vec<u32> = interfaces.iter().map(|one| one.index).collect();
        maps.set_interfaces(&indices)?;
        adopt::release_others(&pins, &interfaces)?;
        let further = settings.source_addresses.iter().map(Ipv4Addr::octets);
        let layout = Layout::adopted(&maps.services()?, &maps.backends()?, further.collect());
        let maps = Arc::new(Mutex::new(maps));
        let resolver = Arc::new(Resolver::default());
        let watch = Watch::start(&maps, &resolver)?;
        let clock = Arc::new(Clock::load(loaded, maps::hertz()?)?);
        let occupancy = Occupancy::new(connections.clone(), Arc::clone(&clock));
        let flows = Flows::open(&maps, &clock, &resolver, &pins, connections)?;
        Ok(Self {
            maps,
            layout,
            interfaces: names.clone(),
            settings: settings.clone(),
            attachments,
            adopted,
            sources,
            pins,
            resolver,
            clock,
            flows,
            occupancy,
            watch: Some(watch),
            lock: Some(lock),
        })
    }

    /// Applies a configuration and the states of its pools. Everything is checked before anything
    /// is changed in the maps. `pools` must have a view of every pool that `services` refer to.
    ///
    /// # Errors
    /// More services or backends than the maps hold, or the kernel refuses a change.
    pub fn apply(
        &mut self,
        services: &[config::Service],
        pools: &[Arc<PoolView>],
    ) -> Result<(), Error> {
        let next = self.layout.next(services, pools)?;
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = maps.write(&self.layout, &next, &mut self.sources) {
            // The maps get the contents of the old configuration again. If that fails, too, the
            // first error is the more useful one.
            let _as_it_was = maps.write(&next, &self.layout, &mut self.sources);
            return Err(error);
        }
        drop(maps);
        self.resolver.follow(&next);
        self.flows.follow(&next);
        self.occupancy.follow(&next);
        self.layout = next;
        Ok(())
    }

    /// Applies new states of backends: the services that use these pools get new rings (the arrays
    /// by which new connections find a backend), each replaced atomically. Passing all pools that
    /// change at the same time in one call saves time.
    ///
    /// # Errors
    /// The kernel refuses a write to a map. The call can be repeated.
    pub fn pools_changed(&mut self, pools: &[Arc<PoolView>]) -> Result<(), Error> {
        let changed = self.layout.changed_by(pools);
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        maps.change(&self.layout, &changed)?;
        drop(maps);
        self.layout.commit(changed);
        Ok(())
    }

    /// Starts a hold of new connections, or ends it. While it lasts, packets that would open a
    /// connection to any service are dropped, so that clients retransmit them a second later. Known
    /// connections continue. A hold ends after [`limits::HOLD_SECONDS`], or when the next agent
    /// adopts the pins.
    ///
    /// # Errors
    /// The kernel refuses the operation.
    pub fn hold(&self, on: bool) -> Result<(), Error> {
        let now = self.clock.now()?;
        let end = Tick(
            now.0
                .wrapping_add(limits::HOLD_SECONDS * self.clock.hertz()),
        );
        self.maps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .hold(on.then_some(end))
    }

    /// Returns the handle that exports this host's connections to the peer and imports the peer's.
    #[must_use]
    pub fn flows(&self) -> &Flows {
        &self.flows
    }

    /// Returns the handle that counts, for each backend, the source ports of NAT that are in use,
    /// rest after use, or are free.
    #[must_use]
    pub fn occupancy(&self) -> &Occupancy {
        &self.occupancy
    }

    /// Reads the XDP program's counters, summed over all CPUs.
    ///
    /// # Errors
    /// The kernel refuses the operation.
    pub fn counters(&self) -> Result<Counters, Error> {
        let maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        counters::read(&maps, &self.layout)
    }

    /// Returns the interfaces that the program is attached to, with the mode of each.
    #[must_use]
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Returns the backends of `tcp` services that cannot be reached through the interfaces that
    /// the XDP program is attached to: see [`unreachable()`].
    ///
    /// # Errors
    /// The lookup of a route fails.
    pub fn unreachable(&self, services: &[config::Service]) -> Result<Vec<Unreachable>, Error> {
        unreachable(&self.interfaces, services)
    }

    /// Returns whether the pins of an earlier agent were adopted at the start.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Returns the directory that the pins are in.
    #[must_use]
    pub fn pin_path(&self) -> &Path {
        self.pins.root()
    }

    /// Returns the secret of the connections' hash, for tests that compare the XDP program with the
    /// tables of `lb_common::host`.
    ///
    /// # Errors
    /// The kernel refuses the operation.
    pub fn secret(&self) -> Result<[u64; 2], Error> {
        let maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(maps.current_settings()?.secret)
    }

    /// Returns the path of the XDP program's pin.
    #[must_use]
    pub fn program_pin(&self) -> PathBuf {
        self.pins.program()
    }

    /// Stops the changes that this agent makes in the kernel, so that another process may take
    /// over. Returns the directory of the pins and a duplicate of the lock's descriptor.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn pause(&mut self) -> Result<(PathBuf, OwnedFd), Error> {
        let lock = self.lock.as_ref().map(Lock::share);
        let lock = lock.unwrap_or_else(|| Err(io::Error::other("another process has it")));
        let lock = lock.map_err(Error::kernel("cannot share the lock on the pins"))?;
        self.watch = None;
        Ok((self.pins.root().to_owned(), lock))
    }

    /// Resumes after [`Self::pause`]: adopts the pins as [`Self::open`] does, whatever another
    /// process has changed in the meantime. The next call of [`Self::apply`] restores the
    /// configuration.
    ///
    /// # Errors
    /// The pins cannot be adopted. This value is unusable after that.
    pub fn resume(&mut self) -> Result<(), Error> {
        let lock = self.lock.take();
        let lock = lock.ok_or(Error::TakenOver)?;
        let (names, settings) = (self.interfaces.clone(), self.settings.clone());
        *self = Self::bring_up(&names, &settings, self.pins.clone(), true, lock)?;
        Ok(())
    }

    /// Releases the lock on the pins, because another process has taken over.
    pub fn give_up(&mut self) {
        self.watch = None;
        self.lock = None;
    }

    /// Detaches the XDP program and removes the pins, which ends forwarding. Returns the paths of
    /// the removed pins.
    ///
    /// # Errors
    /// The kernel refuses the operation, or an agent is running and holds the lock.
    pub fn unload(pin_path: &Path) -> Result<Vec<PathBuf>, Error> {
        let pins = Pins::at(pin_path);
        if !pins.exist() {
            return Ok(Vec::new());
        }
        host::require_privileges()?;
        let lock = Lock::take(pins.root(), None)?;
        let removed = pins.remove_all();
        drop(lock);
        removed
    }
}

/// Returns the number of entries in a connection table for this many connections: a power of two,
/// and at least four entries for each connection. With two and a half entries for each, seven
/// connections of 100,000 find all the entries that they may use taken; with four, none.
fn entries(connections: u32) -> u32 {
    connections
        .saturating_mul(4)
        .next_power_of_two()
        .max(limits::WAYS * 16)
}
