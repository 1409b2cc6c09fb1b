//! `lb-lab`: the lab on the command line.

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
    /// Raises the lab with an agent, sends traffic, breaks things and shows what happens.
    Demo {
        /// Ends after the last step, with an exit code, where the lab would stay to be tried.
        #[arg(long)]
        once: bool,
    },
    /// Raises the lab without a balancer, prints each host and how to enter it, and stays.
    Up,
    /// Loses the active host again and again, and prints as JSON how long nobody answered.
    Failover {
        /// How often each kind of loss is measured with each setup.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// Measure only these.
        #[arg(long = "setup", value_enum, default_values_t = failover::Setup::ALL)]
        setups: Vec<failover::Setup>,
    },
    /// Opens short connections as fast as they are answered, through each of several balancers, and
    /// prints as JSON how many a second, and what CPU time they cost.
    Connections {
        /// How long each setup is loaded with each load, in seconds.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(10..=3600))]
        seconds: u32,
        /// Measure only these.
        #[arg(long = "setup", value_enum, default_values_t = connections::Setup::ALL)]
        setups: Vec<connections::Setup>,
        /// Only with these loads.
        #[arg(long = "load", value_enum, default_values_t = connections::Load::ALL)]
        loads: Vec<connections::Load>,
    },
    /// Floods the steered service with SYN segments beside established connections and honest
    /// clients, and prints as JSON what came of each.
    Flood {
        /// How long the flood lasts, in seconds.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
        seconds: u32,
        /// Connections that are established before.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
        established: u32,
        /// Packets of the flood a second; as many as one core can send, if not given.
        #[arg(long)]
        rate: Option<u32>,
    },
    /// Runs a command on a host of the lab that was raised last.
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
        Command::Demo { once } => (demo::run(once), true),
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

/// The lab ends with us; we end by a signal.
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
