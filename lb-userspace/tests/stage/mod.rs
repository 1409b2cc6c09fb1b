//! A test stage for the XDP program: a network namespace private to this thread, with the
//! interface, routes and neighbours of a load balancer. The agent's code loads the program, and
//! `BPF_PROG_TEST_RUN` feeds packets to it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use lb::{
    config::{
        self, Backend, Balance, Forward, Interfaces, Mode, Name, Node, Pool, Service, Weight,
        XdpModeChoice,
    },
    dataplane::Dataplane,
    pool::PoolView,
};
use lb_common::backend::BackendState;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};

/// The load balancer's IP address, which services listen on.
pub(crate) const VIP: [u8; 4] = [172, 31, 0, 68];
/// A second IP address of the load balancer.
pub(crate) const FURTHER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 70);
/// The last octets of the addresses of the backends, in 10.0.0.0/24.
pub(crate) const BACKENDS: [u8; 4] = [6, 7, 9, 19];
/// The source ports that NAT may give to flows.
pub(crate) const SOURCE_PORTS: RangeInclusive<u16> = 10_240..=32_767;

/// The configuration of a stage: steered services, each with a pool, and the data plane's settings.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// The balancing algorithm of all pools.
    pub(crate) balance: Balance,
    /// The port on [`VIP`] of each steered service, with the last octets of its backends'
    /// addresses.
    pub(crate) services: &'a [(u16, &'a [u8])],
    /// The capacity of the connection table, in connections.
    pub(crate) max_connections: u32,
    /// Source addresses for NAT in addition to [`VIP`]. The host has the address [`FURTHER`].
    pub(crate) source_addresses: &'a [Ipv4Addr],
}

impl Setup<'_> {
    /// Returns the section `[dataplane]` of the load balancer's configuration.
    pub(crate) fn settings(&self) -> config::Dataplane {
        config::Dataplane {
            max_connections: self.max_connections,
            source_addresses: self.source_addresses.to_vec(),
            ..settings()
        }
    }
}

/// The capacity of the connection table, in connections, unless a test sets another one.
pub(crate) const MAX_CONNECTIONS: u32 = 131_072;

/// The maximum number of bytes that the program prepends to a packet: an outer IPv4 header.
const ENCAPSULATION: usize = 20;

/// A stage on which the XDP program is loaded.
pub(crate) struct Stage {
    /// The agent's handle of the XDP program and its maps.
    pub(crate) dataplane: Dataplane,
    /// The index of the load balancer's interface.
    pub(crate) interface: u32,
    program: Xdp,
    empty: Ebpf,
}

impl Stage {
    /// Creates a stage on this thread with one service on port 80 and [`BACKENDS`]. The thread
    /// moves to a new network namespace, which is removed when the thread ends.
    pub(crate) fn raise(balance: Balance) -> Self {
        Self::raise_before(balance, &BACKENDS)
    }

    /// Like [`Self::raise`], with backends given by the last octets of their addresses.
    pub(crate) fn raise_before(balance: Balance, backends: &[u8]) -> Self {
        Self::raise_as(&Setup {
            balance,
            services: &[(80, backends)],
            max_connections: MAX_CONNECTIONS,
            source_addresses: &[],
        })
    }

    /// Like [`Self::raise`], with the services of `setup`. In addition, a service that the agent
    /// serves listens on port 443 and uses the first pool.
    pub(crate) fn raise_as(setup: &Setup<'_>) -> Self {
        Self::raise_on(&node(), &setup.settings(), "", setup)
    }

    /// Like [`Self::raise_as`], with the sections `[node]` and `[dataplane]` of the configuration
    /// as given in `node` and `settings`, after running the additional commands of `scene`.
    pub(crate) fn raise_on(
        node: &Node,
        settings: &config::Dataplane,
        scene: &str,
        setup: &Setup<'_>,
    ) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this needs root: run it with sudo"
        );
        stay_on_one_cpu();
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("own namespaces");
        let lines = SCENE.lines().chain(scene.lines()).map(str::trim);
        for line in lines.filter(|line| !line.is_empty()) {
            run(line);
        }
        let interface = nix::net::if_::if_nametoindex("eth0").expect("eth0");
        let mut dataplane = Dataplane::open(node, settings, None).expect("the program loads");
        let (services, views) = services(setup);
        dataplane
            .apply(&services, &views)
            .expect("the maps are filled");
        let program = Xdp::from_pin(
            settings.pin_path.join("program"),
            aya_obj::programs::XdpAttachType::Interface,
        )
        .expect("the pinned program");
        Self {
            dataplane,
            interface,
            program,
            empty: empty(),
        }
    }

    /// Applies the configuration of another setup to the data plane.
    pub(crate) fn apply(&mut self, setup: &Setup<'_>) {
        let (services, views) = services(setup);
        self.dataplane
            .apply(&services, &views)
            .expect("the maps are filled");
    }

    /// Runs the XDP program on a packet as if it was received on the interface. Returns the XDP
    /// action and the run time that the kernel reports; `out` is set to the resulting packet.
    pub(crate) fn feed(&self, packet: &[u8], out: &mut Vec<u8>) -> (u32, Duration) {
        test_run(&self.program, self.interface, packet, out)
    }

    /// Runs, like [`Self::feed`], a program that passes every packet unchanged.
    pub(crate) fn feed_empty(&self, packet: &[u8], out: &mut Vec<u8>) -> (u32, Duration) {
        let program = self.empty.program("pass").expect("the empty program");
        let program: &Xdp = program.try_into().expect("an XDP program");
        test_run(program, self.interface, packet, out)
    }
}

/// The commands that set up the interface, its neighbours and a private BPF file system. IPv6 is
/// disabled so that the program sees no packets but those of the test.
const SCENE: &str = "
    mount --make-rprivate /
    mount -t bpf bpf /sys/fs/bpf
    sysctl -qw net.ipv6.conf.default.disable_ipv6=1
    ip link set lo up
    ip link add eth0 address 02:00:00:00:00:68 type veth peer name peer0
    ip link set peer0 up
    ip link set eth0 up
    ip address add 172.31.0.68/20 dev eth0
    ip address add 172.31.0.70/20 dev eth0
    ip route add default via 172.31.0.1
    ip route add 10.0.0.0/24 via 172.31.0.2
    ip neighbour add 172.31.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
    ip neighbour add 172.31.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent
";

/// Pins this thread to one CPU, so that the per-CPU round-robin counters advance in a fixed order
/// and measurements are not affected by another CPU's clock or cache.
fn stay_on_one_cpu() {
    let mut cpus = CpuSet::new();
    cpus.set(0).expect("the first CPU");
    sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus).expect("stays on one CPU");
}

fn run(line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let done = Command::new(words[0])
        .args(&words[1..])
        .output()
        .expect(line);
    assert!(
        done.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn empty() -> Ebpf {
    static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));
    let mut loaded = EbpfLoader::new()
        .map_max_entries("connections", 1024)
        .load(OBJECT)
        .expect("the object loads");
    let program: &mut Xdp = loaded
        .program_mut("pass")
        .expect("the object has the program")
        .try_into()
        .expect("an XDP program");
    program.load().expect("the verifier accepts the program");
    loaded
}

/// Runs `program` once in the kernel on a packet received on `interface`, an index in this thread's
/// network namespace. Returns the XDP action and the run time; `out` is set to the resulting
/// packet.
pub(crate) fn test_run(
    program: &Xdp,
    interface: u32,
    packet: &[u8],
    out: &mut Vec<u8>,
) -> (u32, Duration) {
    let length = u32::try_from(packet.len()).expect("fits");
    // The fields of struct xdp_md are: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
    // egress_ifindex.
    let context: Vec<u8> = [0, length, 0, interface, 0, 0]
        .iter()
        .flat_map(|word: &u32| word.to_ne_bytes())
        .collect();
    out.resize(packet.len() + ENCAPSULATION, 0);
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        })
        .expect("the kernel runs the program");
    out.truncate(usize::try_from(result.data_size_out).expect("fits"));
    (result.return_value, result.duration)
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// Returns the section `[node]` of the load balancer's configuration.
pub(crate) fn node() -> Node {
    Node {
        name: name("lb-a"),
        interfaces: Interfaces::one("eth0"),
    }
}

/// Returns the section `[dataplane]` of the load balancer's configuration.
pub(crate) fn settings() -> config::Dataplane {
    config::Dataplane {
        pin_path: PathBuf::from("/sys/fs/bpf/lb"),
        max_connections: MAX_CONNECTIONS,
        source_ports: SOURCE_PORTS,
        source_addresses: Vec::new(),
        xdp_mode: XdpModeChoice::Native,
    }
}

/// Returns the services of a setup and the views of their pools, with all backends up.
fn services(setup: &Setup<'_>) -> (Vec<Service>, Vec<Arc<PoolView>>) {
    let tcp = Mode::Tcp {
        forward: Forward::Nat,
    };
    let mut services = Vec::new();
    let mut views = Vec::new();
    for (port, backends) in setup.services {
        let pool = pool(&format!("web-{port}"), setup.balance, backends);
        services.push(service(&format!("http-{port}"), *port, tcp.clone(), &pool));
        if views.is_empty() {
            services.push(service("https", 443, Mode::Http, &pool));
        }
        let states = vec![BackendState::Up; backends.len()];
        views.push(Arc::new(PoolView::new(pool, states)));
    }
    (services, views)
}

fn pool(text: &str, balance: Balance, backends: &[u8]) -> Arc<Pool> {
    let backends = backends
        .iter()
        .map(|octet| Backend {
            name: name(&format!("web{octet}")),
            address: SocketAddr::from(([10, 0, 0, *octet], 80)),
            weight: Weight::ONE,
            backup: false,
            leaving: false,
        })
        .collect();
    Arc::new(Pool {
        name: name(text),
        balance,
        check: None,
        when_all_down: config::WhenAllDown::Refuse,
        retries: 3,
        per_request: config::PerRequest::default(),
        backends,
        discover: None,
    })
}

fn service(text: &str, port: u16, mode: Mode, pool: &Arc<Pool>) -> Service {
    Service {
        name: name(text),
        listen: SocketAddr::from((VIP, port)),
        mode,
        pool: Some(Arc::clone(pool)),
        routing: Arc::default(),
        timeouts: config::Timeouts::default(),
    }
}
