//! Tests that changes of a backend's state are atomic: each packet uses the old or the new ring,
//! the table of a pool by which a new flow finds its backend.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    thread,
};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb::{
    config::{Backend, Balance, Forward, Mode, Name, Pool, Service, Timeouts, Weight, WhenAllDown},
    pool::PoolView,
};
use lb_common::{
    backend::BackendState::{Down, Up},
    host::TcpPacket,
};
use nix::sched::{CpuSet, sched_setaffinity};

use crate::{
    SYN, XDP_PASS, XDP_TX, client, counted, on_a_host, sent,
    stage::{self, Stage, VIP},
};

/// The last octets of the addresses of the backends in three sets, which the ring of the pool (the
/// table by which a new flow finds its backend) has in turn. A flip makes the XDP program use the
/// other half of the ring, so each half is filled at every second flip, and held another set
/// before. The sets differ in size, and share no backend.
const SETS: [std::ops::Range<u8>; 3] = [2..18, 18..21, 21..28];
/// Number of packets between two flips, which replace the backends of the ring.
const BETWEEN: u32 = 50;
const FLIPS: u32 = 150;

#[test]
fn no_packet_sees_a_mixture_of_two_rings() {
    for balance in [Balance::RoundRobin, Balance::Maglev] {
        on_a_host(move || flip_under_traffic(balance));
    }
}

/// Progress of the flips, each of which replaces the backends of a ring: the number of flips that
/// have ended, and the number that have begun.
#[derive(Default)]
struct Flips {
    ended: AtomicU32,
    begun: AtomicU32,
    over: AtomicBool,
    /// Number of packets that were fed to the XDP program while no flip of the ring was in
    /// progress.
    between: AtomicU32,
}

/// The number of packets that were steered to a backend, and of those that were steered while the
/// ring was being replaced (a flip).
#[derive(Debug, Default)]
struct Met {
    steered: u32,
    during_a_flip: u32,
}

fn flip_under_traffic(balance: Balance) {
    let mut stage = Stage::raise(balance);
    let pool = pool("flipped", SETS[0].start..SETS[2].end, balance);
    let service = steered("flipped", 8080, &pool);
    let flips = Flips::default();
    stage
        .dataplane
        .apply(&[service], &[view(&pool, 0)])
        .expect("the maps are filled");
    let interface = stage.interface;
    let met = thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(interface, &flips));
        for flip in 1..=FLIPS {
            flips.begun.store(flip, SeqCst);
            stage
                .dataplane
                .pools_changed(&[view(&pool, flip)])
                .expect("the ring is written");
            flips.ended.store(flip, SeqCst);
            let enough = flips.between.load(SeqCst) + BETWEEN;
            while flips.between.load(SeqCst) < enough && !feeder.is_finished() {
                thread::yield_now();
            }
        }
        flips.over.store(true, SeqCst);
        feeder.join().expect("each packet went where it may")
    });
    println!("{balance:?}: {met:?}");
    assert!(
        met.steered - met.during_a_flip >= FLIPS * BETWEEN,
        "{met:?}"
    );
    assert!(met.during_a_flip > FLIPS, "{met:?}");
    // A packet that found an empty slot of the ring would go to backend 0, which does not exist,
    // and be dropped because the address of that backend has no route.
    for reason in ["no_route", "no_neighbour"] {
        assert_eq!(counted(&stage, "drop", reason), 0, "{reason}");
    }
}

/// Sends SYNs while the ring of the pool is replaced again and again, and verifies that each SYN
/// goes to a backend of the old or the new ring.
fn feed(interface: u32, flips: &Flips) -> Met {
    // The ring is replaced on the first CPU, so this thread, which sends the SYNs, uses the others.
    let mut cpus = CpuSet::new();
    for cpu in 1..CpuSet::count() {
        cpus.set(cpu).expect("a CPU that there can be");
    }
    let _alone = sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus);
    let program = Xdp::from_pin(
        stage::settings().pin_path.join("program"),
        aya_obj::programs::XdpAttachType::Interface,
    )
    .expect("the pinned program");
    let mut met = Met::default();
    for number in 0.. {
        let ended = flips.ended.load(SeqCst);
        let went = backend_of_syn(&program, interface, number);
        let begun = flips.begun.load(SeqCst);
        if let Some(octet) = went {
            let allowed = (ended..=begun).map(|flip| &SETS[flip as usize % SETS.len()]);
            assert!(
                allowed.clone().any(|set| set.contains(&octet)),
                "packet {number} went to 10.0.0.{octet} between flips {ended} and {begun}"
            );
            met.steered += 1;
            met.during_a_flip += u32::from(begun != ended);
            flips.between.fetch_add(u32::from(begun == ended), SeqCst);
        }
        if flips.over.load(SeqCst) {
            break;
        }
    }
    met
}

/// Returns the last octet of the address of the backend that a SYN with this number is steered to;
/// `None` if it is not steered.
fn backend_of_syn(program: &Xdp, interface: u32, number: u32) -> Option<u8> {
    let [_, a, b, c] = number.to_be_bytes();
    let key = TcpPacket::key(([100, 64 + a, b, c], 40_000), (VIP, 8080));
    let packet = TcpPacket::new(key, SYN).bytes();
    let mut out = vec![0; packet.len()];
    let length = u32::try_from(packet.len()).expect("fits");
    let context: Vec<u8> = [0, length, 0, interface, 0, 0]
        .iter()
        .flat_map(|word: &u32| word.to_ne_bytes())
        .collect();
    let ran = program
        .test_run(TestRunOptions {
            data_in: Some(&packet),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        })
        .expect("the kernel runs the program");
    assert_ne!(ran.return_value, XDP_PASS, "packet {number} met no backend");
    (ran.return_value == XDP_TX).then(|| out[33])
}

#[test]
fn many_pools_that_change_together_are_written_together() {
    on_a_host(|| {
        const POOLS: u16 = 250;
        let mut stage = Stage::raise(Balance::RoundRobin);
        let pools: Vec<_> = (0..POOLS)
            .map(|number| pool(&format!("pool{number}"), 6..10, Balance::Maglev))
            .collect();
        let services: Vec<_> = pools
            .iter()
            .zip(8000..)
            .map(|(pool, port)| steered(pool.name.as_str(), port, pool))
            .collect();
        let views = |states: [lb_common::backend::BackendState; 4]| -> Vec<_> {
            let view =
                |pool: &Arc<Pool>| Arc::new(PoolView::new(Arc::clone(pool), states.to_vec()));
            pools.iter().map(view).collect()
        };
        let all_up = views([Up; 4]);
        stage
            .dataplane
            .apply(&services, &all_up)
            .expect("the maps are filled");
        let mut number = 0;
        let mut went = |stage: &Stage, port: u16| {
            number += 1;
            let from = client(number);
            let key = TcpPacket::key((from.source, from.source_port), (VIP, port));
            let (action, out) = sent(stage, key, SYN);
            (action == XDP_TX).then(|| out[33])
        };
        for only in 0..4_usize {
            let mut states = [Down; 4];
            states[only] = Up;
            stage
                .dataplane
                .pools_changed(&views(states))
                .expect("the rings are written");
            let octets: HashSet<_> = (0..POOLS).map(|place| went(&stage, 8000 + place)).collect();
            assert_eq!(octets, HashSet::from([Some(6 + only as u8)]));
        }
        stage
            .dataplane
            .pools_changed(&views([Down; 4]))
            .expect("the rings are written");
        assert_eq!(went(&stage, 8000), None, "no backend is up");
    });
}

#[test]
fn a_service_that_leaves_and_one_that_comes_leave_the_others_alone() {
    on_a_host(|| {
        let mut stage = Stage::raise(Balance::RoundRobin);
        let small = pool("small", 6..7, Balance::Maglev);
        let large = pool("small", 6..30, Balance::Maglev);
        let other = pool("other", 30..31, Balance::RoundRobin);
        let went = |stage: &Stage, number, port| {
            let from = client(number);
            let key = TcpPacket::key((from.source, from.source_port), (VIP, port));
            sent(stage, key, SYN)
        };
        let all = |pool: &Arc<Pool>| {
            let states = vec![Up; pool.backends.len()];
            Arc::new(PoolView::new(Arc::clone(pool), states))
        };
        let first = [steered("a", 8001, &small), steered("b", 8002, &other)];
        let views = [all(&small), all(&other)];
        stage.dataplane.apply(&first, &views).expect("applied");
        assert_eq!(went(&stage, 1, 8001).1[33], 6);
        assert_eq!(went(&stage, 2, 8002).1[33], 30);
        // The ring of the first service grows, and a new service takes the place of the second one.
        let next = [steered("a", 8001, &large), steered("c", 8003, &other)];
        let views = [all(&large), all(&other)];
        stage.dataplane.apply(&next, &views).expect("applied");
        let octets: HashSet<_> = (10..500)
            .map(|number| went(&stage, number, 8001).1[33])
            .collect();
        assert_eq!(octets.len(), 24, "{octets:?}");
        assert_eq!(went(&stage, 501, 8003).1[33], 30);
        assert_eq!(went(&stage, 502, 8002).0, XDP_PASS, "it has gone");
    });
}

fn view(pool: &Arc<Pool>, flip: u32) -> Arc<PoolView> {
    let up = &SETS[flip as usize % SETS.len()];
    let states = (SETS[0].start..SETS[2].end)
        .map(|octet| if up.contains(&octet) { Up } else { Down })
        .collect();
    Arc::new(PoolView::new(Arc::clone(pool), states))
}

fn pool(name: &str, octets: std::ops::Range<u8>, balance: Balance) -> Arc<Pool> {
    let backends = octets
        .map(|octet| Backend {
            name: Name::parse(&format!("web{octet}")).expect("a name"),
            address: SocketAddr::from(([10, 0, 0, octet], 80)),
            weight: Weight::ONE,
            backup: false,
            leaving: false,
        })
        .collect();
    Arc::new(Pool {
        name: Name::parse(name).expect("a name"),
        balance,
        check: None,
        when_all_down: WhenAllDown::Refuse,
        retries: 3,
        per_request: lb::config::PerRequest::default(),
        backends,
        discover: None,
    })
}

fn steered(name: &str, port: u16, pool: &Arc<Pool>) -> Service {
    Service {
        name: Name::parse(name).expect("a name"),
        listen: SocketAddr::from((VIP, port)),
        mode: Mode::Tcp {
            forward: Forward::Nat,
        },
        pool: Some(Arc::clone(pool)),
        routing: Arc::default(),
        timeouts: Timeouts::default(),
    }
}
