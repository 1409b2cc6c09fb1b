//! `lb-lab`: the lab on the command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lab::Lab;

#[derive(Parser)]
#[command(name = "lb-lab", about = "The lab of lb: hosts as network namespaces")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Raises the lab without a balancer, prints each host and how to enter it, and stays.
    Up,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Up => up(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lb-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
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
