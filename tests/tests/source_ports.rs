//! Source ports of NAT are reused, so they do not limit the total number of short connections.
//!
//! Each load opens three times as many connections as there are source ports, all of them within
//! the minute for which Linux keeps a connection in TIME-WAIT.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Metrics, Settings},
    host::joined,
    load::{Churn, Closing, Plan, USER_AGENT},
    tcp,
    topology::{BALANCERS, BALANCERS_PREFIX, ELASTIC_IP},
};

/// The smallest range that the configuration accepts: 1,024 ports, which each of the four backends
/// has separately.
const SOURCE_PORTS: &str = "[dataplane]\nsource_ports = \"10240-11263\"";

/// An additional address of `lb-a`, which backends can see as a source address.
const FURTHER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 70);

/// Number of connections in a load: three for each source port of each backend.
const CONNECTIONS: u64 = 3 * 4 * 1024;

/// Number of connections per second, at which a load takes 21 s.
const RATE: u32 = 600;

/// Time limit for a load on a busy machine, well within the minute of TIME-WAIT.
const LIMIT: Duration = Duration::from_secs(45);

/// Time limit for the metrics to show connections, which the agent counts once a second.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn connections_that_the_backends_close_do_not_use_up_the_source_ports() -> Result<()> {
    let lab = Lab::raise()?;
    none_fails(&lab, Closing::Server)?;
    let kept = tcp::time_waits(&lab.client)?;
    ensure!(
        kept == 0,
        "the client keeps {kept} connections in TIME-WAIT: the web servers did not close first, \
         and this shows nothing"
    );
    Ok(())
}

#[test]
fn connections_that_the_client_closes_do_not_use_up_the_source_ports() -> Result<()> {
    none_fails(&Lab::raise()?, Closing::Client)
}

#[test]
fn open_connections_are_seen_in_the_source_ports_that_are_held() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings {
        more: SOURCE_PORTS.to_owned(),
        ..Settings::of(&lab)
    };
    let agent = Agent::start(&lab, &settings)?;
    let ports = |metrics: &Metrics, state| {
        let labels = [("service", "http"), ("state", state)];
        metrics.sum("lb_backend_source_ports", &labels)
    };
    let before = agent.metrics()?;
    ensure!(ports(&before, "held") == 0.0, "{before:?}");
    ensure!(ports(&before, "free") == 4.0 * 1024.0, "{before:?}");

    let connect = || {
        let to = SocketAddr::from((ELASTIC_IP, 80));
        let streams = (0..40).map(|_| TcpStream::connect_timeout(&to, SOON));
        Ok(streams.collect::<std::io::Result<Vec<_>>>()?)
    };
    let open = joined(lab.client.inside(connect))?;
    agent.wait_for_metrics("40 ports held, some at each backend", SOON, |metrics| {
        let held = [("service", "http"), ("state", "held")];
        let held = metrics.samples("lb_backend_source_ports", &held);
        let sum: f64 = held.iter().map(|sample| sample.value).sum();
        // The backends' shares are not equal, because each CPU picks backends in rotation
        // independently of the other CPUs.
        sum == 40.0 && held.iter().all(|sample| sample.value > 0.0)
    })?;
    drop(open);
    let after = agent.wait_for_metrics("no port held any more", SOON, |metrics| {
        ports(metrics, "held") == 0.0
    })?;
    ensure!(ports(&after, "resting") + ports(&after, "free") == 4.0 * 1024.0);
    Ok(())
}

#[test]
fn backends_see_a_further_source_address_that_the_host_has() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings {
        more: format!("{SOURCE_PORTS}\nsource_addresses = [\"{FURTHER}\"]"),
        ..Settings::of(&lab)
    };
    let refused = Agent::start(&lab, &settings)
        .err()
        .map(|error| format!("{error:#}"));
    let refused = refused.context("an agent started whose host has not the address")?;
    ensure!(
        refused.contains(&format!("ip address add {FURTHER}/32")),
        "{refused}"
    );

    let further = format!("{FURTHER}/{BALANCERS_PREFIX}");
    lab.lb_a()
        .run("ip", &["address", "add", &further, "dev", "eth0"])?;
    let agent = Agent::start(&lab, &settings)?;
    let plan = Plan {
        requests: Some(400),
        ..Plan::http()
    };
    plan.run(&lab.client)?.all_answered()?;
    for web in &lab.webs {
        let lines = web.requests_of(USER_AGENT)?;
        let (_, own) = BALANCERS[0];
        for address in [own, FURTHER] {
            let seen = lines
                .iter()
                .filter(|line| line.starts_with(&format!("{address} ")));
            let (seen, all) = (seen.count(), lines.len());
            ensure!(
                seen > all / 5,
                "{} saw {address} in {seen} of {all} requests",
                web.name()
            );
        }
    }
    let metrics = agent.metrics()?;
    let all = metrics.sum("lb_backend_source_ports", &[("service", "http")]);
    ensure!(all == 2.0 * 4.0 * 1024.0, "{all} source ports are counted");

    agent.sigkill()?;
    let without = Settings {
        more: SOURCE_PORTS.to_owned(),
        ..settings.clone()
    };
    let refused = Agent::start(&lab, &without)
        .err()
        .map(|error| format!("{error:#}"));
    let refused = refused.context("an agent took over rows that were made for other addresses")?;
    let hint = format!("write source_addresses = [\"{FURTHER}\"], or run `lb unload`");
    ensure!(refused.contains(&hint), "{refused}");
    let _adopting = Agent::start(&lab, &settings)?;
    let plan = Plan {
        requests: Some(400),
        ..Plan::http()
    };
    plan.run(&lab.client)?.all_answered()
}

/// Opens three connections for each source port from one client, through an agent with few source
/// ports, and checks that none fails.
fn none_fails(lab: &Lab, closing: Closing) -> Result<()> {
    let settings = Settings {
        more: SOURCE_PORTS.to_owned(),
        ..Settings::of(lab)
    };
    let agent = Agent::start(lab, &settings)?;
    let plan = Churn {
        rate: Some(RATE),
        total: Some(CONNECTIONS),
        connections: 8,
        ..Churn::new(closing, LIMIT)
    };
    let report = plan.run(&lab.client)?;
    let missing = (agent.metrics()?).sum("lb_xdp_packets_total", &[("reason", "no_source_port")]);
    ensure!(
        missing == 0.0,
        "{missing} packets were dropped because no source port was free: {} of {CONNECTIONS} \
         connections were answered within {LIMIT:?}, and these failed: {:?}",
        report.answers(),
        report.failures
    );
    report.all_answered()?;
    ensure!(
        report.answers() == CONNECTIONS,
        "{} of {CONNECTIONS} connections were answered within {LIMIT:?}",
        report.answers()
    );
    Ok(())
}
