//! How many short connections a second a balancer sustains, and what CPU time each costs: `lb`,
//! nftables and HAProxy before the same four nginx, under the same clients.

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

/// The machine counts as idle when it is busy for less than this part of its time.
const IDLE: f64 = 0.05;

/// How long the machine may take to become idle after the lab before: the kernel then frees its
/// connections. Measured is in any case; the figures say how busy the machine was.
const CALMING: Duration = Duration::from_secs(10);

/// What is between the client and the web servers.
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

/// Who connects, and who closes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Load {
    /// wrk with `Connection: close` from one address; the web servers close first.
    Wrk,
    /// From 64 addresses; the client closes first.
    ClientCloses,
    /// From 200 addresses; the web servers close first.
    ManyClients,
    /// From 200 addresses; the client closes first.
    ManyClientsClose,
}

/// Measures each setup under each load and prints the figures as JSON. What could not be measured
/// is in them too, and does not keep the rest from being measured.
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
    /// All of them.
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
    /// All of them.
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

/// Loads one setup in a lab of its own: nothing of an earlier load is left in a table, and no
/// earlier connection in TIME-WAIT.
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

/// A few requests, all of which must be answered before a load makes sense.
fn probe(lab: &Lab) -> Result<()> {
    let plan = Plan {
        requests: Some(8),
        connections: 1,
        ..Plan::http()
    };
    plan.run(&lab.client)?.all_answered()
}
