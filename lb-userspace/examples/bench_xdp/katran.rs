//! Katran's XDP program beside `lb`'s: an object that was built outside of this repository, loaded,
//! and its maps filled by their names so that it steers the same services to the same backends.
//!
//! The layouts of keys and values are those of `katran/lib/bpf/balancer_structs.h`. Katran sends
//! packets on in IPIP, and backends reply to clients directly, so Katran handles one direction
//! only.

use std::{fs, path::Path, sync::Mutex, time::Duration};

use anyhow::{Context as _, bail, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, ArrayOfMaps, HashMap, MapData, PerCpuArray, PerCpuValues},
    programs::Xdp,
    util::nr_cpus,
};
use lb_common::{flow::FlowKey, host::TcpPacket};
use nix::time::{ClockId, clock_gettime};

use crate::{
    balancer::Balancer,
    cpus,
    packets::{ACK, FIN_ACK, SYN, XDP_TX},
    stage::{self, VIP},
};

/// `flow_key` and `real_pos_lru`: a connection, and the number of its real server.
type Lru = HashMap<MapData, [u8; 40], [u8; 16]>;

/// The XDP program of `balancer.bpf.c`.
const PROGRAM: &str = "balancer_ingress";
/// `fallback_cache`: the connections of a CPU that has no table in `lru_mapping`.
const FALLBACK: &str = "fallback_cache";
/// The router of the backends' network, to which Katran sends everything.
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const TCP: u8 = 6;
const IPIP: u8 = 4;

/// `balancer_consts.h`: indices in the map `stats`, counted from the first that is not a service's.
mod counter {
    pub(super) const LRU_MISS: u32 = 1;
    pub(super) const NEW_CONNECTIONS: u32 = 2;
    pub(super) const FALLBACK_LRU: u32 = 3;
}

/// Katran's loaded XDP program.
pub(crate) struct Katran {
    loaded: Ebpf,
    /// `lb_stats`: two counters for each service, and for each of [`counter`].
    stats: Mutex<PerCpuArray<MapData, [u64; 2]>>,
    /// Maximum number of services: the first index in `stats` that is not a service's.
    max_vips: u32,
    interface: u32,
}

impl Katran {
    /// Loads the object at `path` and fills its maps: `services` are ports of [`VIP`] with the last
    /// octets of the backends. The first two of `cpus`, on which many connections are opened, get
    /// tables for `connections` connections, the other CPUs small tables. Packets come in by
    /// `interface`.
    pub(crate) fn load(
        path: &Path,
        services: &[(u16, &[u8])],
        cpus: &[usize],
        connections: u32,
        interface: u32,
    ) -> anyhow::Result<Self> {
        let object = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut loaded = EbpfLoader::new()
            .load(&object)
            .with_context(|| format!("cannot make the maps of {}", path.display()))?;
        let program: &mut Xdp = loaded
            .program_mut(PROGRAM)
            .with_context(|| format!("{} has no program {PROGRAM}", path.display()))?
            .try_into()?;
        program.load().context("the kernel refused the program")?;

        let stats: PerCpuArray<_, [u64; 2]> = take(&mut loaded, "stats")?.try_into()?;
        // STATS_MAP_SIZE is MAX_VIPS * 2.
        let max_vips = stats.len() / 2;
        steer(&mut loaded, services, max_vips)?;
        let mut tables: ArrayOfMaps<_, Lru> = take(&mut loaded, "lru_mapping")?.try_into()?;
        for (position, cpu) in cpus.iter().enumerate() {
            let entries = if position < 2 {
                connections
            } else {
                OTHER_CPUS
            };
            let table = lru(&object, entries)?;
            let failed = || format!("cannot give CPU {cpu} a table of {entries} connections");
            tables
                .set(u32::try_from(*cpu)?, &table, 0)
                .with_context(failed)?;
        }
        let katran = Self {
            loaded,
            stats: Mutex::new(stats),
            max_vips,
            interface,
        };
        katran.encapsulates(services)?;
        Ok(katran)
    }

    /// Fails unless a packet goes to a backend, in IPIP.
    fn encapsulates(&self, services: &[(u16, &[u8])]) -> anyhow::Result<()> {
        for (port, backends) in services {
            let client = TcpPacket::key(([203, 0, 113, 1], 1024), (VIP, *port));
            let packet = TcpPacket::new(client, SYN).bytes();
            let mut out = Vec::new();
            let (action, _) = self.feed(&packet, &mut out);
            ensure!(
                action == XDP_TX,
                "Katran answers a packet to port {port} with XDP action {action}, not XDP_TX: \
                 its maps are laid out otherwise than in revision 19f08fec"
            );
            let inner = packet.get(14..);
            let whole = out.len() == packet.len() + 20
                && out.starts_with(&ROUTER_MAC)
                && out[23] == IPIP
                && out[30..33] == [10, 0, 0]
                && backends.contains(&out[33])
                && out.get(34..) == inner;
            ensure!(
                whole,
                "Katran does not encapsulate in IPIP to a backend of port {port}: build the object \
                 without GUE_ENCAP; it made {out:02x?} of {packet:02x?}"
            );
        }
        Ok(())
    }

    fn sends_on(&self, client: FlowKey, packets: &[u8], out: &mut Vec<u8>) -> bool {
        packets.iter().all(|&flags| {
            let (action, _) = self.feed(&TcpPacket::new(client, flags).bytes(), out);
            action == XDP_TX
        })
    }

    /// Fails if Katran did not find a known connection, or used the table that all CPUs share: its
    /// figures would then be those of another path of a packet through the program.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let [_new, lost] = self.counted(counter::LRU_MISS)?;
        ensure!(lost == 0, "Katran did not find {lost} known connections");
        let [shared, _] = self.counted(counter::FALLBACK_LRU)?;
        ensure!(
            shared == 0,
            "Katran looked {shared} packets up in its fallback table"
        );
        Ok(())
    }

    /// Returns both values of a counter of the map `stats`, each summed over the CPUs.
    fn counted(&self, counter: u32) -> anyhow::Result<[u64; 2]> {
        let stats = self.stats.lock().expect("no thread has panicked");
        let values = stats.get(&(self.max_vips + counter), 0)?;
        Ok(values
            .iter()
            .fold([0, 0], |sum, value| [sum[0] + value[0], sum[1] + value[1]]))
    }

    /// Makes every CPU believe that it saw `count` new connections since `begun`, in nanoseconds
    /// of the monotonic clock. Past 125,000 within a second Katran writes no more of them into its
    /// table.
    fn set_new_connections(&self, count: u64, begun: u64) -> anyhow::Result<()> {
        let cpus = nr_cpus().map_err(|(path, error)| anyhow::anyhow!("{path}: {error}"))?;
        let values = PerCpuValues::try_from(vec![[count, begun]; cpus])?;
        let mut stats = self.stats.lock().expect("no thread has panicked");
        stats.set(self.max_vips + counter::NEW_CONNECTIONS, values, 0)?;
        Ok(())
    }

    /// Makes Katran assume a flood of new connections for the following second.
    pub(crate) fn flood(&self) -> anyhow::Result<()> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        self.set_new_connections(u64::from(u32::MAX), u64::try_from(now.as_nanos())?)
    }
}

impl Balancer for Katran {
    fn feed(&self, packet: &[u8], out: &mut Vec<u8>) -> (u32, Duration) {
        let program = self.loaded.program(PROGRAM).expect("it was loaded");
        let program: &Xdp = program.try_into().expect("an XDP program");
        stage::test_run(program, self.interface, packet, out)
    }

    /// Opens the connection on each CPU, because each CPU has its own table.
    fn open(&self, client: FlowKey, cpus: &[usize], out: &mut Vec<u8>) -> bool {
        let opens = |out: &mut Vec<u8>| self.sends_on(client, &[SYN, ACK], out);
        if cpus.is_empty() {
            return opens(out);
        }
        cpus::at_once(cpus, |_position| Ok(opens(&mut Vec::new())))
            .is_ok_and(|opened| opened.into_iter().all(|opened| opened))
    }

    fn open_and_close(&self, client: FlowKey, out: &mut Vec<u8>) -> bool {
        self.sends_on(client, &[SYN, ACK, FIN_ACK, ACK], out)
    }

    fn before_new(&self) {
        self.set_new_connections(0, 0)
            .expect("the counter of new connections is set");
    }
}

/// Capacity of the connection tables of CPUs that see only one or two connections.
const OTHER_CPUS: u32 = 1 << 12;

/// Fills Katran's maps of the services, of their consistent-hash rings, of the real servers and of
/// the router that everything goes to.
fn steer(loaded: &mut Ebpf, services: &[(u16, &[u8])], max_vips: u32) -> anyhow::Result<()> {
    let mut vips: HashMap<_, [u8; 20], [u8; 8]> = take(loaded, "vip_map")?.try_into()?;
    let mut reals: Array<_, [u8; 20]> = take(loaded, "reals")?.try_into()?;
    let mut rings: Array<_, u32> = take(loaded, "ch_rings")?.try_into()?;
    let mut control: Array<_, [u8; 8]> = take(loaded, "ctl_array")?.try_into()?;
    // CH_RINGS_SIZE is MAX_VIPS * RING_SIZE.
    let slots = rings.len() / max_vips;

    let [a, b, c, d, e, f] = ROUTER_MAC;
    control.set(0, [a, b, c, d, e, f, 0, 0], 0)?;
    // Real servers are numbered from 1, because Katran reads number 0 as "none".
    let mut first = 1;
    for (number, (port, backends)) in (0_u32..).zip(services) {
        let count = u32::try_from(backends.len())?;
        if count == 0 {
            bail!("the service at port {port} has no backend");
        }
        vips.insert(vip_definition(*port), vip_meta(number), 0)?;
        for (id, octet) in (first..).zip(*backends) {
            reals.set(id, real_definition([10, 0, 0, *octet]), 0)?;
        }
        for slot in 0..slots {
            rings.set(number * slots + slot, first + slot % count, 0)?;
        }
        first += count;
    }
    Ok(())
}

/// `vip_definition`: address, port and protocol as they stand in a packet.
fn vip_definition(port: u16) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&VIP);
    bytes[16..18].copy_from_slice(&port.to_be_bytes());
    bytes[18] = TCP;
    bytes
}

/// `vip_meta`: no flags, and the service's number.
fn vip_meta(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[4..].copy_from_slice(&number.to_ne_bytes());
    bytes
}

/// `real_definition`: an IPv4 address and no flags.
fn real_definition(address: [u8; 4]) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&address);
    bytes
}

/// Creates a table of connections for `lru_mapping`. The library creates only the maps of an
/// object, so the maps of the object are created once more, and all but this one are dropped.
fn lru(object: &[u8], entries: u32) -> anyhow::Result<Lru> {
    let mut again = EbpfLoader::new()
        .map_max_entries(FALLBACK, entries)
        .map_max_entries("ch_rings", 1)
        .map_max_entries("server_id_map", 1)
        .load(object)?;
    Ok(take(&mut again, FALLBACK)?.try_into()?)
}

fn take(loaded: &mut Ebpf, name: &str) -> anyhow::Result<aya::maps::Map> {
    loaded
        .take_map(name)
        .with_context(|| format!("the object has no map {name}: it is not Katran's balancer"))
}
