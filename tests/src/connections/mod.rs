//! Sustained rate of short connections, and CPU time per connection: `lb`, nftables and HAProxy in
//! front of the same four nginx, with the same clients.
//!
//! Each measurement has a new lab: a set of network namespaces, one for each host.

mod balancer;
mod loads;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use lab::{
    Lab,
    cpu::{self, MachineTime},
    load::Plan,
    tcp,
};
use serde_json::{Value, json};

use balancer::Balancer;
use loads::Outcome;

/// Load of the machine (0 to 1) below which the machine is considered idle.
const IDLE: f64 = 0.05;

/// Maximum time to wait until the machine is idle: the kernel still frees the connections of the
/// test network of the previous measurement. After that the measurement starts anyway, and its
/// figures contain the machine's load.
const CALMING: Duration = Duration::from_secs(10);

/// The balancer whose rate and CPU time are measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Setup {
    /// `lb` with `forward = "nat"`.
    Lb,
    /// `lb` with `forward = "dnat"`.
    Dnat,
    /// nftables: DNAT to the web servers in turn, and masquerade.
    Nftables,
    /// HAProxy in TCP mode.
    Haproxy,
}

/// The load of a measurement: its client addresses, and which side of a connection closes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Load {
    /// wrk with `Connection: close` from one address; the web servers close first.
    Wrk,
    /// Short connections from 64 client addresses; the client closes first.
    ClientCloses,
    /// Short connections from 200 client addresses; the web servers close first.
    ManyClients,
    /// Short connections from 200 client addresses; the client closes first.
    ManyClientsClose,
}

/// Measures each setup under each load and prints the figures as JSON. A measurement that fails is
/// printed as failed, and the remaining measurements still run.
pub(crate) fn run(seconds: u32, setups: &[Setup], loads: &[Load]) {
    let (mut runs, mut broken) = (Vec::new(), Vec::new());
    for load in loads {
        for setup in setups {
            let (setup_name, load_name) = (setup.name(), load.name());
            eprintln!("{load_name}, {setup_name}: {seconds} s");
            match measure(*setup, *load, seconds) {
                Ok(figures) => {
                    eprintln!(
                        "{load_name}, {setup_name}: {} answered",
                        figures["answered"]
                    );
                    runs.push(figures);
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    eprintln!("{load_name}, {setup_name}: not measured: {why}");
                    broken.push(json!({ "setup": setup_name, "load": load_name, "why": why }));
                }
            }
        }
    }
    println!("{:#}", json!({ "runs": runs, "broken": broken }));
}

impl Setup {
    /// All setups of the benchmark, in the order in which they are measured.
    pub(crate) const ALL: [Self; 4] = [Self::Lb, Self::Dnat, Self::Nftables, Self::Haproxy];

    fn name(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::Dnat => "dnat",
            Self::Nftables => "nftables",
            Self::Haproxy => "haproxy",
        }
    }
}

impl Load {
    /// All loads of the benchmark, in the order in which they are measured.
    pub(crate) const ALL: [Self; 4] = [
        Self::Wrk,
        Self::ClientCloses,
        Self::ManyClients,
        Self::ManyClientsClose,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Wrk => "wrk",
            Self::ClientCloses => "client-closes",
            Self::ManyClients => "many-clients",
            Self::ManyClientsClose => "many-clients-close",
        }
    }
}

/// Measures one setup under one load in a new test network, so no entry of a table of connections
/// and no connection in TIME-WAIT is left from an earlier load.
fn measure(setup: Setup, load: Load, seconds: u32) -> Result<Value> {
    let mut lab = Lab::raise()?;
    (lab.webs.iter_mut()).try_for_each(lab::web::Web::restart_without_access_log)?;
    let balancer = Balancer::start(&lab, setup)
        .with_context(|| format!("the set-up of {} is broken", setup.name()))?;
    probe(&lab).with_context(|| format!("{} does not forward", setup.name()))?;
    let sources = load.prepare(&lab)?;

    let busy_before = cpu::wait_until_idle(IDLE, CALMING)?;
    let (machine, process) = (MachineTime::now()?, balancer.cpu_time()?);
    let verdicts = balancer.verdicts()?;
    let outcome = load.send(&lab, sources, seconds)?;
    let machine = MachineTime::now()?.since(machine);
    let process = balancer
        .cpu_time()?
        .zip(process)
        .map(|(now, then)| now - then);
    let verdicts = (balancer.verdicts()?.zip(verdicts)).map(|(now, then)| now.since(&then));
    let webs = (lab.webs.iter()).map(|web| tcp::time_waits(web.host()));

    let Outcome {
        per_second,
        answered,
        failures,
        times,
    } = outcome;
    ensure!(
        answered > 0,
        "nothing was answered through {}: {failures:?}",
        setup.name()
    );
    Ok(json!({
        "setup": setup.name(),
        "load": load.name(),
        "busy_before": busy_before,
        "answered": answered,
        "failures": failures,
        "per_second": per_second,
        "milliseconds": times.json(),
        "cpu_seconds": {
            "machine": machine.busy.as_secs_f64(),
            "softirq": machine.softirq.as_secs_f64(),
            "process": process.map(|time| time.as_secs_f64()),
        },
        "time_waits": {
            "client": tcp::time_waits(&lab.client)?,
            "balancer": tcp::time_waits(lab.lb_a())?,
            "webs": webs.sum::<Result<u64>>()?,
        },
        "conntrack": balancer.conntrack()?,
        "verdicts": verdicts.map(|verdicts| verdicts.json()),
    }))
}

/// Sends a few requests, all of which must be answered before the load starts.
fn probe(lab: &Lab) -> Result<()> {
    let plan = Plan {
        requests: Some(8),
        connections: 1,
        ..Plan::http()
    };
    plan.run(&lab.client)?.all_answered()
}
