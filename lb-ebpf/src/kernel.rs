//! The tables under XDP: BPF maps and helpers.

use core::arch::asm;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_ANY, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, BPF_NOEXIST,
        BPF_RB_NO_WAKEUP, bpf_fib_lookup as FibLookup,
    },
    helpers::{bpf_fib_lookup, generated::bpf_jiffies64},
    programs::XdpContext,
};
use lb_common::{
    backend::{Backend, BackendId},
    flow::{Flow, FlowKey, Mac, NextHop, Tick},
    record::Record,
    service::{Service, ServiceId, ServiceKey},
    settings::Settings,
    tables::{Entry, Refused, Tables},
    tcp::State,
    traffic::{Direction, TrafficSlot},
    verdict::{Drop, Verdict},
};

use zerocopy::transmute;

use crate::maps::{
    BACKENDS, CURSORS, EPOCHS, FLOW_EVENTS, FLOWS_V4, PORTS, RECENT, RINGS, SERVICES, SETTINGS,
    TRAFFIC, UNTOLD, VERDICTS,
};

/// The tables, for one packet.
pub(crate) struct Kernel<'a> {
    context: &'a XdpContext,
}

impl<'a> Kernel<'a> {
    pub(crate) const fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }
}

impl Tables for Kernel<'_> {
    type Entry = MapEntry;

    #[inline(always)]
    fn settings(&self) -> Option<Settings> {
        SETTINGS.get(0).copied()
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
    fn concerns(&self, port: u16) -> bool {
        let word = PORTS.get(u32::from(port) / 64).copied().unwrap_or(u64::MAX);
        word >> (port % 64) & 1 == 1
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<MapEntry> {
        // By words of eight bytes: the kernel compares keys so, and a read that spans two smaller
        // writes has to wait for both.
        let words: [u64; 2] = transmute!(*key);
        // SAFETY: a key has no padding, so its bytes as two words are a key, and aligned for one.
        let key: &FlowKey = unsafe { &*words.as_ptr().cast() };
        FLOWS_V4.get_ptr_mut(key).map(MapEntry)
    }

    #[inline(always)]
    fn recall(&self, key: &FlowKey) -> Option<Flow> {
        let place = key.place();
        let recent = RECENT.get_ptr(place)?;
        // SAFETY: this CPU's own entry, which nobody else writes.
        let recent = unsafe { &*recent };
        (recent.key == *key && recent.epoch == *EPOCHS.get(place)?).then_some(recent.flow)
    }

    #[inline(always)]
    fn epoch(&self, key: &FlowKey) -> u32 {
        EPOCHS.get(key.place()).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn remember(&self, key: &FlowKey, flow: &Flow, epoch: u32) {
        if let Some(recent) = RECENT.get_ptr_mut(key.place()) {
            // SAFETY: this CPU's own entry, and no other program runs on it meanwhile.
            unsafe {
                (*recent).key = *key;
                (*recent).flow = *flow;
                (*recent).epoch = epoch;
            }
        }
    }

    #[inline(always)]
    fn forget(&self, key: &FlowKey) {
        if let Some(epoch) = EPOCHS.get_ptr_mut(key.place()) {
            // SAFETY: an aligned word of the map. Two CPUs that count it on at once may count one:
            // it differs from what it was, which is all that is asked.
            unsafe { *epoch = (*epoch).wrapping_add(1) };
        }
    }

    #[inline(always)]
    fn add_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused> {
        FLOWS_V4
            .insert(key, flow, u64::from(BPF_NOEXIST))
            .map_err(|error| {
                if error == -EEXIST {
                    Refused::Exists
                } else {
                    Refused::Full
                }
            })
    }

    #[inline(always)]
    fn put_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused> {
        FLOWS_V4
            .insert(key, flow, u64::from(BPF_ANY))
            .map_err(|_error| Refused::Full)
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) {
        // It may have been evicted already: then it is gone, as was asked.
        let _gone = FLOWS_V4.remove(key);
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        // SAFETY: copied at once; an entry that the agent replaces meanwhile is freed only after
        // this program has returned (RCU).
        unsafe { SERVICES.get(key) }.copied()
    }

    #[inline(always)]
    fn ring(&self, service: ServiceId, slot: u32) -> Option<BackendId> {
        RINGS.get_value(u32::from(service), &slot).copied()
    }

    #[inline(always)]
    fn turn(&self, service: ServiceId) -> u32 {
        let Some(cursor) = CURSORS.get_ptr_mut(u32::from(service)) else {
            return 0;
        };
        // SAFETY: this CPU's own entry, and no other program runs on it meanwhile.
        unsafe {
            let turn = *cursor;
            *cursor = turn.wrapping_add(1);
            turn
        }
    }

    #[inline(always)]
    fn backend(&self, id: BackendId) -> Option<Backend> {
        BACKENDS.get(id).copied()
    }

    #[inline(always)]
    fn next_hop(&self, source: [u8; 4], destination: [u8; 4]) -> Result<NextHop, Drop> {
        fib_lookup(self.context, self.ingress(), source, destination)
    }

    #[inline(always)]
    fn tell(&self, record: &Record) {
        // The agent looks every few milliseconds: to wake it would cost more than the rest.
        if FLOW_EVENTS
            .output(record, u64::from(BPF_RB_NO_WAKEUP))
            .is_err()
            && let Some(untold) = UNTOLD.get_ptr_mut(0)
        {
            // SAFETY: this CPU's own entry.
            unsafe { *untold += 1 };
        }
    }

    #[inline(always)]
    fn count_verdict(&self, verdict: Verdict) {
        if let Some(counter) = VERDICTS.get_ptr_mut(verdict.counter()) {
            // SAFETY: this CPU's own entry.
            unsafe { *counter += 1 };
        }
    }

    #[inline(always)]
    fn count_traffic(&self, slot: TrafficSlot, direction: Direction, bytes: u16, opens: bool) {
        if let Some(traffic) = TRAFFIC.get_ptr_mut(slot.index()) {
            // SAFETY: this CPU's own entry.
            unsafe { (*traffic).count(direction, bytes, opens) };
        }
    }
}

/// The kernel's clock.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is kept"
)]
pub(crate) fn now() -> Tick {
    // SAFETY: takes nothing and returns a number. The verifier makes one load of it
    // (kernel/bpf/verifier.c, `do_misc_fixups`).
    Tick(unsafe { bpf_jiffies64() } as u32)
}

/// An entry of the map `flows_v4`. It stays readable until the program returns, even when it is
/// removed or evicted meanwhile (kernel/bpf/hashtab.c frees and reuses elements after RCU or, for
/// LRU lists, may reuse them at once: a packet then sees another flow's numbers, never bad memory).
pub(crate) struct MapEntry(*mut Flow);

impl Entry for MapEntry {
    #[inline(always)]
    fn read(&self) -> Flow {
        // SAFETY: a value of the map, aligned and readable; what another CPU writes meanwhile are
        // single fields, each of which is valid with any number in it.
        unsafe { *self.0 }
    }

    #[inline(always)]
    fn set_seen(&self, now: Tick) {
        // SAFETY: a value of the map; all writers write the time.
        unsafe { (*self.0).seen = now.0 };
    }

    #[inline(always)]
    fn set_state(&self, state: State) {
        // SAFETY: a value of the map; one byte.
        unsafe { (*self.0).state = state.0 };
    }

    #[inline(always)]
    fn set_next_hop(&self, hop: &NextHop, generation: u32) {
        // SAFETY: a value of the map; two CPUs that write at once write the same.
        unsafe { (*self.0).goes_by(hop, generation) };
    }

    #[inline(always)]
    fn claim(&self, old: &Flow, now: Tick) -> bool {
        let claimed = Flow {
            seen: now.0,
            ..*old
        };
        // SAFETY: a value of the map, aligned to eight bytes, and so is the word at `backend`: the
        // contract checks its place.
        unsafe { exchange(&raw mut (*self.0).backend, old.stamp(), claimed.stamp()) }
    }
}

/// Writes `new` to the eight bytes at `word` if `old` stands there, and says whether it did.
///
/// An instruction of its own (`BPF_CMPXCHG`, Linux 5.12), for which rustc has no atomic type on
/// this target.
///
/// # Safety
/// `word` points to eight readable and writable bytes, aligned to eight.
#[inline(always)]
unsafe fn exchange(word: *mut u16, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: as the caller promises; the instruction reads and writes those bytes and r0 alone.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inlateout("r0") old => found,
        );
    }
    found == old
}

/// Asks the kernel's routing table and neighbour table.
///
/// The lookup is that of a forwarded packet: the interface must have forwarding switched on
/// (net/core/filter.c, `bpf_ipv4_fib_lookup`).
#[inline(always)]
fn fib_lookup(
    context: &XdpContext,
    ifindex: u32,
    source: [u8; 4],
    destination: [u8; 4],
) -> Result<NextHop, Drop> {
    let mut question = Question { words: [0; 8] };
    // SAFETY: all of it was just set to zero, which is valid for each field; it is made of numbers.
    let lookup = unsafe { &mut question.lookup };
    lookup.family = AF_INET;
    lookup.l4_protocol = lb_common::wire::PROTOCOL_TCP;
    lookup.ifindex = ifindex;
    lookup.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(source);
    lookup.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(destination);
    // SAFETY: the context is this program's, and the structure is on our stack with its own size.
    let result = unsafe { bpf_fib_lookup(context.as_ptr(), &raw mut *lookup, FIB_LOOKUP_SIZE, 0) };
    if result == i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        Ok(NextHop {
            destination_mac: mac(&lookup.dmac),
            source_mac: mac(&lookup.smac),
            interface: lookup.ifindex,
        })
    } else if result == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH) {
        Err(Drop::NoNeighbour)
    } else {
        Err(Drop::NoRoute)
    }
}

/// Reads a MAC address by halfwords: left alone, LLVM reads four bytes at once wherever they lie,
/// and the verifier wants reads of the stack aligned.
#[inline(always)]
fn mac(octets: &[u8; 6]) -> Mac {
    let halfwords: *const u16 = octets.as_ptr().cast();
    // SAFETY: three halfwords are the six octets, at an even place of an aligned structure.
    let [first, second, third] = unsafe {
        [
            halfwords.read_volatile(),
            halfwords.add(1).read_volatile(),
            halfwords.add(2).read_volatile(),
        ]
        .map(u16::to_ne_bytes)
    };
    Mac::new([first[0], first[1], second[0], second[1], third[0], third[1]])
}

/// A lookup on the stack, cleared by words: cleared by its own fields, which end in two MAC
/// addresses, LLVM writes across word boundaries, and the verifier wants the stack aligned.
union Question {
    words: [u64; 8],
    lookup: FibLookup,
}

/// As the kernel takes it.
const FIB_LOOKUP_SIZE: i32 = 64;

const _CHECK: () = assert!(size_of::<FibLookup>() == FIB_LOOKUP_SIZE as usize);

/// The address family of IPv4 (linux/socket.h).
const AF_INET: u8 = 2;

/// What the kernel returns for an entry that is there already (asm-generic/errno-base.h).
const EEXIST: i32 = 17;
