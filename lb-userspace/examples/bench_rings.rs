//! Cost of state changes of backends for the agent; run by `cargo xtask bench rings`.
//!
//! Many pools, one per service, whose backends all go down and up repeatedly. The outcomes of
//! health checks enter the registry of backends, and the changes of state that the registry reports
//! go to the kernel, as in the agent's loop; the health checks themselves are left out. CPU time is
//! that of this process.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use lb::{
    config::{
        Backend, Balance, Check, CheckKind, Forward, Mode, Name, Pool, Service, Timeouts, Weight,
        WhenAllDown,
    },
    pool::{BackendKey, BackendRegistry, PoolView, SavedStates},
};

#[expect(dead_code, reason = "no packets are fed here")]
#[path = "../tests/stage/mod.rs"]
mod stage;

use stage::{Stage, VIP};

const USAGE: &str = "usage: bench_rings POOLS BACKENDS SECONDS";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = || -> u16 {
        let argument = arguments.next().expect(USAGE);
        argument.parse().expect(USAGE)
    };
    let (pools, backends, seconds) = (number(), number(), number());
    let figures: Vec<String> = [
        (
            "round_robin_one_by_one",
            Balance::RoundRobin,
            Arrive::OneByOne,
        ),
        (
            "round_robin_together",
            Balance::RoundRobin,
            Arrive::Together,
        ),
        ("maglev_one_by_one", Balance::Maglev, Arrive::OneByOne),
        ("maglev_together", Balance::Maglev, Arrive::Together),
    ]
    .into_iter()
    .map(|(name, balance, arrive)| {
        // Each measurement has its own thread, because the test stage that it creates moves its
        // thread to a network namespace.
        let measured = thread::spawn(move || {
            let mut bench = Bench::raise(pools, backends, balance);
            bench.flap(seconds, arrive)
        });
        let measured = measured.join().expect("it is measured");
        format!("\"{name}\": {measured}")
    })
    .collect();
    println!("{{{}}}", figures.join(", "));
}

/// How the outcomes of the health checks of all backends arrive within each second.
#[derive(Clone, Copy)]
enum Arrive {
    /// The outcomes are spread evenly over the second.
    OneByOne,
    /// All outcomes arrive at the beginning of the second.
    Together,
}

struct Bench {
    stage: Stage,
    registry: BackendRegistry,
    ids: Vec<BackendKey>,
    start: Duration,
}

impl Bench {
    fn raise(pools: u16, backends: u16, balance: Balance) -> Self {
        let mut stage = Stage::raise(balance);
        let pools: Vec<_> = (0..pools)
            .map(|number| pool(number, backends, balance))
            .collect();
        let services: Vec<_> = pools.iter().zip(1024..).map(service).collect();
        let registry = BackendRegistry::new(&pools, &SavedStates::default(), SystemTime::now());
        let views: Vec<_> = registry.views().cloned().collect();
        let began = Instant::now();
        stage
            .dataplane
            .apply(&services, &views)
            .expect("the maps are filled");
        let ids = pools.iter().flat_map(|pool| {
            pool.backends
                .iter()
                .map(|backend| BackendKey::of(pool, backend))
        });
        Self {
            start: began.elapsed(),
            ids: ids.collect(),
            stage,
            registry,
        }
    }

    /// Changes the state of every backend once a second; returns the figures as JSON.
    fn flap(&mut self, seconds: u16, arrive: Arrive) -> String {
        let ids = self.ids.clone();
        let step = match arrive {
            Arrive::OneByOne => Duration::from_secs(1) / u32::try_from(ids.len()).expect("fits"),
            Arrive::Together => Duration::ZERO,
        };
        let mut delays = Vec::new();
        let (began, cpu) = (Instant::now(), cpu_time());
        for second in 0..seconds {
            let healthy = second % 2 == 1;
            let begin = began + Duration::from_secs(1) * u32::from(second);
            let mut due = (0..).map(|place| begin + step * place);
            let mut waiting = ids.iter().zip(&mut due).peekable();
            while let Some(&(_, next)) = waiting.peek() {
                thread::sleep(next.saturating_duration_since(Instant::now()));
                let now = Instant::now();
                let mut changed: Vec<Arc<PoolView>> = Vec::new();
                let mut oldest = now;
                while let Some((id, due)) = waiting.next_if(|(_, due)| *due <= now) {
                    oldest = oldest.min(due);
                    if let Some(change) = self.registry.record_check(id, healthy, SystemTime::now())
                    {
                        changed.retain(|view| view.pool.name != change.view.pool.name);
                        changed.push(change.view);
                    }
                }
                self.stage
                    .dataplane
                    .pools_changed(&changed)
                    .expect("the rings are written");
                delays.push(oldest.elapsed());
            }
        }
        let rest = Duration::from_secs(u64::from(seconds)).saturating_sub(began.elapsed());
        thread::sleep(rest);
        let share = (cpu_time() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
        delays.sort_unstable();
        let milliseconds = |delay: Duration| delay.as_secs_f64() * 1e3;
        format!(
            "{{\"cpu_percent\": {:.2}, \"delay_median_ms\": {:.2}, \"delay_worst_ms\": {:.2}, \
             \"start_ms\": {:.1}}}",
            share * 100.0,
            milliseconds(delays[delays.len() / 2]),
            milliseconds(delays[delays.len() - 1]),
            milliseconds(self.start),
        )
    }
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    nix::time::clock_gettime(clock).expect("the time").into()
}

fn pool(number: u16, backends: u16, balance: Balance) -> Arc<Pool> {
    let [high, low] = number.to_be_bytes();
    let backends = (0..backends).map(|backend| {
        let [upper, lower] = backend.to_be_bytes();
        Backend {
            name: name(&format!("web{backend}")),
            address: SocketAddr::from(([10, high, low, lower], 8000 + u16::from(upper))),
            weight: Weight::ONE,
            backup: false,
            leaving: false,
        }
    });
    Arc::new(Pool {
        name: name(&format!("pool{number}")),
        balance,
        check: Some(Check {
            kind: CheckKind::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
        }),
        when_all_down: WhenAllDown::Refuse,
        retries: 3,
        per_request: lb::config::PerRequest::default(),
        backends: backends.collect(),
        discover: None,
    })
}

fn service((pool, port): (&Arc<Pool>, u16)) -> Service {
    Service {
        name: pool.name.clone(),
        listen: SocketAddr::from((VIP, port)),
        mode: Mode::Tcp {
            forward: Forward::Nat,
        },
        pool: Some(Arc::clone(pool)),
        routing: Arc::default(),
        timeouts: Timeouts::default(),
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}
