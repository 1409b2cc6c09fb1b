//! Prints the figures of the sustained-load benchmark as tables.

use super::{
    LOADS, SETUPS,
    figures::{Figures, Run},
};
use crate::table::{Column, Table, grouped};

/// Share of the machine's CPU time (0 to 1) in use before a run, above which the machine is not
/// considered idle.
const QUIET: f64 = 0.1;

/// Prints the tables of the figures, with notes below them.
pub(super) fn print(figures: &Figures) {
    let runs = ordered(&figures.measured.runs);
    println!("\n{}", rates(&runs, figures.seconds));
    println!("{}", costs(&runs));
    for run in &runs {
        print_details(run);
    }
    println!("{}", figures.machine);
    println!("{}", method(figures.seconds));
    for run in runs.iter().filter(|run| run.busy_before > QUIET) {
        println!(
            "Warning: the machine was not idle ({:.0}% busy before setup {} under load {}). \
             Repeat the measurement while nothing else runs.",
            run.busy_before * 100.0,
            title(run),
            run.load
        );
    }
}

/// Sorts runs by load, then by setup, both in the order of the printed table.
fn ordered(runs: &[Run]) -> Vec<&Run> {
    let place = |names: &[&str], name: &str| names.iter().position(|known| *known == name);
    let mut ordered: Vec<_> = runs.iter().collect();
    ordered.sort_by_key(|run| (place(&LOADS, &run.load), place(&SETUPS, &run.setup)));
    ordered
}

fn rates(runs: &[&Run], seconds: u32) -> Table<9> {
    let mut table = Table::new([
        Column::Left("connections a second"),
        Column::Left("balancer"),
        Column::Right("first 10 s"),
        Column::Right("last 10 s"),
        Column::Right("last / first"),
        Column::Right("least 10 s"),
        Column::Right("failed"),
        Column::Right("p50 ms"),
        Column::Right("p99 ms"),
    ]);
    for run in runs {
        let windows = run.windows(seconds);
        let whole = |rate: f64| grouped(rate.round() as u64);
        let star = match run.milliseconds.with_connect {
            true => "",
            false => "*",
        };
        table.row([
            load(run).to_owned(),
            title(run).to_owned(),
            whole(windows.first),
            whole(windows.last),
            format!("{:.2}", windows.ratio()),
            whole(windows.least),
            grouped(run.failed()),
            format!("{:.2}{star}", run.milliseconds.p50),
            format!("{:.2}{star}", run.milliseconds.p99),
        ]);
    }
    table
}

fn costs(runs: &[&Run]) -> Table<10> {
    let mut table = Table::new([
        Column::Left("CPU µs a connection"),
        Column::Left("balancer"),
        Column::Right("whole machine"),
        Column::Right("softirq of it"),
        Column::Right("balancer's process"),
        Column::Right("answered"),
        Column::Right("no_source_port"),
        Column::Right("TIME-WAIT: client"),
        Column::Right("balancer"),
        Column::Right("web servers"),
    ]);
    for run in runs {
        let cpu = &run.cpu_seconds;
        let cost = |seconds| format!("{:.1}", run.microseconds(seconds));
        let dash = || "-".to_owned();
        table.row([
            load(run).to_owned(),
            title(run).to_owned(),
            cost(cpu.machine),
            cost(cpu.softirq),
            cpu.process.map_or_else(dash, cost),
            grouped(run.answered),
            (run.verdicts.as_ref()).map_or_else(dash, |_| grouped(run.packets("no_source_port"))),
            grouped(run.time_waits.client),
            grouped(run.time_waits.balancer),
            grouped(run.time_waits.webs),
        ]);
    }
    table
}

/// Prints details of one run: the reasons of failed connections, and the kernel's counters.
fn print_details(run: &Run) {
    let name = format!("{}, {}", load(run), title(run));
    for (reason, count) in &run.failures {
        println!("{name}: {} failed: {reason}", grouped(*count));
    }
    if let Some(conntrack) = &run.conntrack {
        println!(
            "{name}: {} connections tracked at the end (limit {})",
            grouped(conntrack.count),
            grouped(conntrack.max)
        );
    }
    let Some(verdicts) = &run.verdicts else {
        return;
    };
    println!("{name}: packets by verdict and reason");
    for verdict in verdicts {
        // The counter of packets that were dropped for lack of a source port is always shown, even
        // if it is zero.
        if verdict.packets > 0 || verdict.reason == "no_source_port" {
            let packets = grouped(verdict.packets);
            println!("  {packets:>14}  {}, {}", verdict.verdict, verdict.reason);
        }
    }
}

fn load(run: &Run) -> &str {
    match &*run.load {
        "wrk" => "wrk, 1 client, server closes",
        "client-closes" => "16 clients, client closes",
        "many-clients" => "200 clients, server closes",
        "many-clients-close" => "200 clients, client closes",
        other => other,
    }
}

fn title(run: &Run) -> &str {
    match &*run.setup {
        "lb" => "lb, nat",
        "dnat" => "lb, dnat",
        "nftables" => "nftables",
        "haproxy" => "HAProxy",
        other => other,
    }
}

fn method(seconds: u32) -> String {
    format!(
        "Sixteen connections at a time for {seconds} s, each with one GET of a few bytes, to the same \
         four nginx in the same lab, raised again for each line; client, network, balancer and web \
         servers share the machine, and the load is as much as it serves. CPU time is that of the \
         whole machine during the load, soft interrupts included, divided by answered connections: \
         lb and nftables have no process that spends theirs. The column of the balancer's process \
         is user and system time of HAProxy, or of lb's agent, whose part is checks and counters.\n\
         \n\
         wrk is `wrk -c16 -t1 -H 'Connection: close'`; its times (*) are without the connect, and \
         its course over time is the client kernel's count of connections begun, and where its \
         close is quicker than the server's, as it is through HAProxy, TIME-WAIT is the client's, \
         which has `tcp_tw_reuse` so as not to be the limit. The other loads come from the \
         lab's own generator, with the connect in its times. A client that closes first keeps the \
         port in TIME-WAIT for 60 s: one address with the usual 28,232 ports would end at 470 \
         connections a second, so the client has `ip_local_port_range` 1024-65535 and 16 or 200 \
         addresses. nftables: DNAT in turn with masquerade, TIME-WAIT of conntrack 15 s. \
         HAProxy: TCP mode, one process, `ip_local_port_range` 1024-65535 and `tcp_tw_reuse`. \
         lb: the default configuration."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::connections::figures::{Verdict, tests::run};

    #[test]
    fn rows_are_by_load_and_then_in_the_order_of_the_setups() {
        let runs = [
            run("haproxy", &[10; 10]),
            run("lb", &[20; 10]),
            Run {
                load: "client-closes".to_owned(),
                ..run("lb", &[30; 10])
            },
        ];
        let rates = rates(&ordered(&runs), 10).to_string();
        let firsts: Vec<_> = (rates.lines().skip(1))
            .filter_map(|line| line.split_whitespace().rev().nth(6))
            .collect();
        assert_eq!(firsts, ["20", "10", "30"]);
    }

    #[test]
    fn a_setup_without_verdicts_has_no_count_of_ports_that_were_missing() {
        let mut ours = run("lb", &[10; 10]);
        ours.verdicts = Some(vec![Verdict {
            verdict: "drop".to_owned(),
            reason: "no_source_port".to_owned(),
            packets: 4_321,
        }]);
        let theirs = run("nftables", &[10; 10]);
        let costs = costs(&[&ours, &theirs]).to_string();
        let missing: Vec<_> = (costs.lines().skip(1))
            .filter_map(|line| line.split_whitespace().rev().nth(3))
            .collect();
        assert_eq!(missing, ["4,321", "-"]);
    }
}
