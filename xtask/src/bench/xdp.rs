//! Nanoseconds a packet of the XDP program.

use std::fs;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{XdpArguments, machine::Machine, write_json};
use crate::{
    checks::cargo,
    child::{self, Privilege},
    ebpf,
    setup::{self, Purpose},
    table::{Column, Table},
    workspace::Workspace,
};

/// Builds the program and has the agent's example load and time it.
///
/// # Errors
/// The set-up or a build failed, or the program could not be loaded or timed.
pub(crate) fn run(workspace: &Workspace, arguments: &XdpArguments) -> anyhow::Result<()> {
    setup::ensure(Purpose::Bench)?;
    ebpf::build_and_report(workspace)?;
    child::run(cargo(workspace).args([
        "build",
        "--release",
        "--package",
        "lb-userspace",
        "--example",
        EXAMPLE,
    ]))?;
    let example = workspace.target.join("release/examples").join(EXAMPLE);
    let timed = child::output(
        Privilege::Root
            .command("unshare")?
            .arg("--net")
            .arg(example),
    )
    .context("the XDP program was not timed")?;
    let times: Times = serde_json::from_str(&timed)
        .with_context(|| format!("{EXAMPLE} printed something else than its figures: {timed}"))?;
    let figures = Figures {
        machine: Machine::this(),
        compiler: fs::read_to_string("/proc/sys/net/core/bpf_jit_enable")
            .is_ok_and(|enabled| enabled.trim() != "0"),
        times,
    };
    print(&figures);
    arguments
        .json
        .as_ref()
        .map_or(Ok(()), |path| write_json(path, &figures))
}

/// The example of `lb-userspace` that loads the program and times it.
const EXAMPLE: &str = "bench_xdp";

#[derive(Serialize)]
struct Figures {
    machine: Machine,
    /// Whether the kernel compiles BPF.
    #[serde(rename = "jit")]
    compiler: bool,
    #[serde(flatten)]
    times: Times,
}

/// What the example prints: as the kernel reports them, the empty program not yet subtracted.
#[derive(Deserialize, Serialize)]
struct Times {
    empty_ns: f64,
    known_flow_ns: f64,
    new_flow_ns: f64,
    not_ours_ns: f64,
    /// A service's port at another address: it takes a look at all tables.
    elsewhere_ns: f64,
    /// The known flow, from the backend to the client.
    known_flow_back_ns: f64,
    /// Known flows in turn, far more than a CPU remembers.
    many_flows_ns: f64,
}

fn print(figures: &Figures) {
    let times = &figures.times;
    let mut table = Table::new([
        Column::Left("XDP, IPv4 TCP"),
        Column::Right("ns a packet"),
        Column::Right("with the empty program"),
    ]);
    for (name, time) in [
        ("known flow, NAT, to the backend", times.known_flow_ns),
        ("known flow, NAT, to the client", times.known_flow_back_ns),
        ("known flow, one of 16,384 in turn", times.many_flows_ns),
        ("new flow, NAT", times.new_flow_ns),
        ("packet that is not ours", times.not_ours_ns),
        (
            "the same, to a service's port elsewhere",
            times.elsewhere_ns,
        ),
    ] {
        let own = time - times.empty_ns;
        table.row([name.to_owned(), format!("{own:.1}"), format!("{time:.1}")]);
    }
    println!("{table}");
    let jit = if figures.compiler { "on" } else { "OFF" };
    println!("{}, BPF JIT {jit}", figures.machine);
    println!(
        "BPF_PROG_TEST_RUN, repeat = 1, in a loop: the average of the durations that the kernel \
         reports, less the {:.1} ns of an empty program, interleaved in the same run.",
        times.empty_ns
    );
}
