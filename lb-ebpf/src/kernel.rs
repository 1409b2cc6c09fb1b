//! The tables of the packet logic under XDP: BPF maps and helpers.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, BPF_RB_NO_WAKEUP,
        bpf_fib_lookup as FibLookup,
    },
    helpers::{
        bpf_fib_lookup,
        generated::{bpf_get_smp_processor_id, bpf_jiffies64},
    },
    programs::XdpContext,
};
use lb_common::{
    backend::{Backend, BackendId},
    endpoint::EndpointBucket,
    hop::NextHop,
    listener::Listeners,
    record::Record,
    ring::Head,
    service::{Service, ServiceId, ServiceKey},
    settings::Settings,
    tables::{Shared, Tables},
    tick::Tick,
    traffic::{Direction, TrafficSlot},
    verdict::{DropReason, Verdict},
    walk::Turn,
};

use crate::{
    maps::{
        BACKENDS, CONNECTIONS, CURSORS, ENDPOINTS, FLOW_EVENTS, HOPS, INTERFACES, LINE_TURNS,
        LISTENERS, PORTS, RINGS, Ring, SERVICES, SETTINGS, SOURCE_PORTS, TRAFFIC, UNTOLD, VERDICTS,
    },
    shared::{MapPorts, MapWords, order_loads},
};

/// The tables that the packet logic uses, for one packet.
pub(crate) struct Kernel<'a> {
    context: &'a XdpContext,
}

impl<'a> Kernel<'a> {
    pub(crate) const fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }
}

impl Shared for Kernel<'_> {
    type Entry = MapWords;
    type Line = MapPorts;

    #[inline(always)]
    fn entry(&self, index: u32) -> Option<MapWords> {
        CONNECTIONS.get_ptr_mut(index).map(MapWords::new)
    }

    #[inline(always)]
    fn line(&self, row: u16, line: u32) -> Option<MapPorts> {
        SOURCE_PORTS
            .get_value_ptr_mut(u32::from(row), &line)
            .map(MapPorts::new)
    }

    #[inline(always)]
    fn order_loads(&self) {
        order_loads();
    }
}

impl Tables for Kernel<'_> {
    type Hop = MapWords;

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn now(&self) -> Tick {
        now()
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel's field has 32 bits"
    )]
    fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn can_send(&self, interface: u32) -> bool {
        INTERFACES.get(interface).is_some()
    }

    #[inline(always)]
    fn listeners(&self, word: u32) -> Listeners {
        LISTENERS.get(word).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn is_source_port(&self, port: u16) -> bool {
        let word = PORTS.get(u32::from(port) / 64).copied().unwrap_or(0);
        word >> (port % 64) & 1 == 1
    }

    #[inline(always)]
    fn endpoints(&self, bucket: u32) -> Option<&EndpointBucket> {
        ENDPOINTS.get(bucket)
    }

    #[inline(always)]
    fn hop(&self, index: u32) -> Option<MapWords> {
        HOPS.get_ptr_mut(index).map(MapWords::new)
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        // SAFETY: the value is copied immediately; an entry that the agent replaces is freed only
        // after this program has returned (RCU).
        unsafe { SERVICES.get(key) }.copied()
    }

    #[inline(always)]
    fn ring(&self, service: ServiceId, number: u32) -> Option<BackendId> {
        let ring = RINGS.get(service.index())?;
        let slot = Head::of_word(word(ring, 0)?).pick(number)?;
        Some(slot.backend_in(word(ring, slot.word())?))
    }

    #[inline(always)]
    fn turn(&self, service: ServiceId) -> u32 {
        replaced(CURSORS.get_ptr_mut(service.index()), |turn| {
            turn.wrapping_add(1)
        })
    }

    #[inline(always)]
    fn line_turn(&self, row: u16) -> Turn {
        Turn(replaced(LINE_TURNS.get_ptr_mut(u32::from(row)), |turn| {
            Turn(turn).next().0
        }))
    }

    #[inline(always)]
    fn miss(&self, row: u16, second: bool) {
        replaced(LINE_TURNS.get_ptr_mut(u32::from(row)), |turn| {
            if second {
                Turn(turn).after_second_miss().0
            } else {
                Turn(turn).after_miss().0
            }
        });
    }

    #[inline(always)]
    fn cpu(&self) -> u32 {
        // SAFETY: the helper takes no argument and returns a number.
        unsafe { bpf_get_smp_processor_id() }
    }

    #[inline(always)]
    fn backend(&self, id: BackendId) -> Option<Backend> {
        BACKENDS.get(id.index()).copied()
    }

    #[inline(always)]
    fn next_hop(&self, source: [u8; 4], destination: [u8; 4]) -> Result<NextHop, DropReason> {
        fib_lookup(self.context, self.ingress(), source, destination)
    }

    #[inline(always)]
    fn export_record(&self, record: &Record) {
        // The agent polls the ring buffer `flow_events` every few milliseconds; waking the agent up
        // for each record would cost more than the rest of the work on a packet.
        if FLOW_EVENTS
            .output(record, u64::from(BPF_RB_NO_WAKEUP))
            .is_err()
            && let Some(untold) = UNTOLD.get_ptr_mut(0)
        {
            // SAFETY: the pointer is to this CPU's own entry of a per-CPU map, which nothing else
            // writes meanwhile.
            unsafe { *untold += 1 };
        }
    }

    #[inline(always)]
    fn count_verdict(&self, verdict: Verdict) {
        if let Some(counter) = VERDICTS.get_ptr_mut(verdict.counter()) {
            // SAFETY: the pointer is to this CPU's own entry of a per-CPU map, which nothing else
            // writes meanwhile.
            unsafe { *counter += 1 };
        }
    }

    #[inline(always)]
    fn count_traffic(&self, slot: TrafficSlot, direction: Direction, bytes: u16, opens: bool) {
        if let Some(traffic) = TRAFFIC.get_ptr_mut(slot.index()) {
            // SAFETY: the pointer is to this CPU's own entry of a per-CPU map, which nothing else
            // writes meanwhile.
            unsafe { (*traffic).count(direction, bytes, opens) };
        }
    }
}

/// Updates this CPU's entry of a map and returns the entry's previous value; 0 if there is no
/// entry.
#[inline(always)]
fn replaced(entry: Option<*mut u32>, next: impl Fn(u32) -> u32) -> u32 {
    let Some(entry) = entry else {
        return 0;
    };
    // SAFETY: the entry is this CPU's own, and no other program runs on this CPU concurrently.
    unsafe {
        let value = *entry;
        *entry = next(value);
        value
    }
}

/// Reads a word of a ring of backends atomically: the agent may at any time store another head,
/// which is the word with the range of slots in use.
#[inline(always)]
fn word(ring: &Ring, index: u32) -> Option<u64> {
    let word = ring.get_ptr(index)?;
    // SAFETY: the pointer is to a value of the map, aligned to its eight bytes; each store of the
    // agent writes the whole value.
    Some(unsafe { word.read_volatile() })
}

/// Returns the time in ticks of the kernel's clock.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is kept"
)]
pub(crate) fn now() -> Tick {
    // SAFETY: the helper takes no argument and returns a number. The verifier replaces the call by
    // one load (kernel/bpf/verifier.c, `do_misc_fixups`).
    Tick(unsafe { bpf_jiffies64() } as u32)
}

/// Looks up a route and its neighbour in the kernel.
///
/// The lookup is that of a forwarded packet: forwarding must be enabled on the interface
/// (net/core/filter.c, `bpf_ipv4_fib_lookup`).
#[inline(always)]
fn fib_lookup(
    context: &XdpContext,
    ifindex: u32,
    source: [u8; 4],
    destination: [u8; 4],
) -> Result<NextHop, DropReason> {
    let mut question = Question { words: [0; 8] };
    // SAFETY: all words of the union were just set to zero, which is valid for each field of the
    // lookup: all of them are numbers.
    let lookup = unsafe { &mut question.lookup };
    lookup.family = AF_INET;
    lookup.l4_protocol = lb_common::wire::PROTOCOL_TCP;
    lookup.ifindex = ifindex;
    lookup.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(source);
    lookup.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(destination);
    // SAFETY: the context is that of this program, and the structure is on this function's stack,
    // with its size.
    let result = unsafe { bpf_fib_lookup(context.as_ptr(), &raw mut *lookup, FIB_LOOKUP_SIZE, 0) };
    if result == i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        Ok(NextHop {
            destination_mac: mac(&lookup.dmac),
            source_mac: mac(&lookup.smac),
            interface: lookup.ifindex,
            // The kernel stores the gateway here, if there is one (net/core/filter.c).
            // SAFETY: the union's fields are numbers, and the lookup has set every bit of this one.
            neighbour: unsafe { lookup.__bindgen_anon_4.ipv4_dst }.to_ne_bytes(),
        })
    } else if result == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH) {
        Err(DropReason::NoNeighbour)
    } else {
        Err(DropReason::NoRoute)
    }
}

/// Reads a MAC address by halfwords. Otherwise LLVM reads four bytes together at any offset, and
/// the verifier requires aligned reads of the stack.
#[inline(always)]
fn mac(octets: &[u8; 6]) -> [u8; 6] {
    let halfwords: *const u16 = octets.as_ptr().cast();
    // SAFETY: three halfwords are the six octets, which begin at an even offset of an aligned
    // structure.
    let [first, second, third] = unsafe {
        [
            halfwords.read_volatile(),
            halfwords.add(1).read_volatile(),
            halfwords.add(2).read_volatile(),
        ]
        .map(u16::to_ne_bytes)
    };
    [first[0], first[1], second[0], second[1], third[0], third[1]]
}

/// The parameters of a route lookup on the stack, set to zero by words of eight bytes. If they are
/// set to zero by their fields, which end in two MAC addresses, LLVM writes across word boundaries,
/// and the verifier requires aligned writes to the stack.
union Question {
    words: [u64; 8],
    lookup: FibLookup,
}

/// Size in bytes of the parameters of a route lookup, which the kernel expects.
const FIB_LOOKUP_SIZE: i32 = 64;

const _CHECK: () = assert!(size_of::<FibLookup>() == FIB_LOOKUP_SIZE as usize);

/// The address family of IPv4 (linux/socket.h).
const AF_INET: u8 = 2;
