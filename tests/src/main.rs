//! `lb-lab` starts, uses and measures the lab from the command line.
//!
//! The lab is a set of network namespaces, one for each host, as in the end-to-end tests.

mod connections;
mod demo;
mod door;
mod failover;
mod flood_bench;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};
use lab::{Lab, flood::Scenario};

#[derive(Parser)]
#[command(name = "lb-lab", about = "The lab of lb: hosts as network namespaces")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts the lab with an agent, sends traffic, causes failures and shows the effects.
    Demo {
        /// End after the last step with an exit status, instead of keeping the lab running.
        #[arg(long)]
        once: bool,
        /// Run Prometheus beside the lab, with node_exporter on its hosts, and print its address.
        #[arg(long)]
        monitoring: bool,
    },
    /// Starts the lab without a balancer, prints each host and how to enter it, and keeps running.
    Up,
    /// Repeatedly fails the active host, and prints the times without service as JSON.
    Failover {
        /// Number of measurements for each kind of loss and each setup.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// Measure only these.
        #[arg(long = "setup", value_enum, default_values_t = failover::Setup::ALL)]
        setups: Vec<failover::Setup>,
    },
    /// Opens short connections as fast as they are answered through each balancer, and prints their
    /// rate and CPU time as JSON.
    Connections {
        /// Duration of each load on each setup, in seconds.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(10..=3600))]
        seconds: u32,
        /// Measure only these.
        #[arg(long = "setup", value_enum, default_values_t = connections::Setup::ALL)]
        setups: Vec<connections::Setup>,
        /// Measure only with these loads.
        #[arg(long = "load", value_enum, default_values_t = connections::Load::ALL)]
        loads: Vec<connections::Load>,
    },
    /// Floods the steered service with SYN segments, beside established connections and legitimate
    /// clients, and prints the effects as JSON.
    Flood {
        /// Duration of the flood in seconds.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
        seconds: u32,
        /// Number of connections established before the flood.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
        established: u32,
        /// Packets per second of the flood [default: as many as one core can send].
        #[arg(long)]
        rate: Option<u32>,
    },
    /// Runs a command on a host of the lab that was started last.
    Exec {
        /// The host: client, igw, lb-a, lb-b, router, web1 to web4.
        host: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let (done, told) = match Arguments::parse().command {
        Command::Demo { once, monitoring } => (demo::run(once, monitoring), true),
        Command::Up => (up(), false),
        Command::Failover { rounds, setups } => (failover::run(rounds, &setups), false),
        Command::Connections {
            seconds,
            setups,
            loads,
        } => {
            connections::run(seconds, &setups, &loads);
            (Ok(()), false)
        }
        Command::Flood {
            seconds,
            established,
            rate,
        } => (flood(seconds, established, rate), false),
        Command::Exec { host, command } => (door::run(&host, &command), false),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !told {
                eprintln!("lb-lab: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn flood(seconds: u32, established: u32, rate: Option<u32>) -> Result<()> {
    flood_bench::run(&Scenario {
        established: usize::try_from(established)?,
        period: Duration::from_secs(5),
        honest: 200,
        lasts: Duration::from_secs(seconds.into()),
        rate,
    })
}

/// Starts the lab, the test network, and waits until a signal ends this process, which ends the
/// test network as well.
fn up() -> Result<()> {
    let lab = Lab::raise()?;
    for host in lab.hosts() {
        println!("{:8} {:8} nsenter -t {1} -a", host.name(), host.pid());
    }
    println!();
    loop {
        std::thread::park();
    }
}
