//! A pool discovers its backends in DNS, in EC2 and in a file: backends come and go, and the source
//! is down or empty for a while, under load. No request is lost.

mod sources;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, CONFIG_FILE, Settings, install_certificate},
    ec2::Ec2 as _,
    load::{Body, Load, Plan, Reuse, answers_come_from},
    wait,
    web::SLOW_BYTES,
};

use sources::{DNS_NAMES, Dns, Ec2, File, GROUP, Group, LIST, SRV_NAME, Source};

/// How long the source is down in the tests of names in DNS and of tags in EC2.
const OUTAGE: Duration = Duration::from_secs(60);

/// How long the source is down in the other tests.
const SHORT_OUTAGE: Duration = Duration::from_secs(10);

/// Time limit for a change of the source to reach the agent: two queries, 1 s apart, and a check.
const SOON: Duration = Duration::from_secs(15);

/// Time that a backend is drained for, in seconds.
const DRAIN: u64 = 10;

#[test]
fn instances_of_an_auto_scaling_group_come_and_go_and_no_request_is_lost() -> Result<()> {
    let lab = Lab::raise()?;
    let mut group = Group::start(&lab)?;
    let endpoint = group.ec2.moto.endpoint();
    let lines = format!(
        "auto_scaling_group = \"{GROUP}\"\nauto_scaling_endpoint = \"{endpoint}\"\n{}",
        group.ec2.lines()
    );
    no_request_is_lost(&lab, &mut group, &lines, SHORT_OUTAGE)
}

#[test]
fn backends_of_names_in_dns_come_and_go_and_no_request_is_lost() -> Result<()> {
    let lab = Lab::raise()?;
    let mut dns = Dns::start(&lab, false)?;
    let lines = format!("dns = {DNS_NAMES:?}\nport = 80");
    no_request_is_lost(&lab, &mut dns, &lines, OUTAGE)
}

#[test]
fn backends_of_a_service_in_dns_come_and_go_and_no_request_is_lost() -> Result<()> {
    let lab = Lab::raise()?;
    let mut dns = Dns::start(&lab, true)?;
    let address = dns.server.address();
    let lines = format!("srv = \"{SRV_NAME}\"\nnameservers = [\"{address}\"]");
    no_request_is_lost(&lab, &mut dns, &lines, SHORT_OUTAGE)
}

#[test]
fn backends_with_tags_in_ec2_come_and_go_and_no_request_is_lost() -> Result<()> {
    let lab = Lab::raise()?;
    let mut ec2 = Ec2::start(&lab)?;
    let lines = format!(
        "ec2_tags = {{ Role = \"web\", Stage = \"production\" }}\n{}",
        ec2.lines()
    );
    no_request_is_lost(&lab, &mut ec2, &lines, OUTAGE)
}

#[test]
fn backends_of_a_file_come_and_go_and_no_request_is_lost() -> Result<()> {
    let lab = Lab::raise()?;
    let lines = format!("file = \"{LIST}\"");
    no_request_is_lost(&lab, &mut File::default(), &lines, SHORT_OUTAGE)
}

#[test]
fn a_process_that_takes_over_continues_to_discover() -> Result<()> {
    let lab = Lab::raise()?;
    let mut dns = Dns::start(&lab, false)?;
    dns.list(&lab, &["web1", "web2"])?;
    let lines = format!("dns = {DNS_NAMES:?}\nport = 80");
    let settings = discovering(&lab, &lines);
    install_certificate(&lab)?;
    lab.lb_a().write(CONFIG_FILE, settings.toml())?;
    let agent = Agent::start_as_unit(lab.lb_a())?;
    wait_for(&agent, &["web1", "web2"])?;
    let loads = loads(&lab)?;
    let said = agent.upgrade()?;
    ensure!(said.contains("has taken over"), "{said}");
    ensure!(is_in_use(&agent, "web1")? && is_in_use(&agent, "web2")?);
    dns.list(&lab, &["web2", "web3"])?;
    wait_for(&agent, &["web2", "web3"])?;
    answers_come_from(&lab, &["web2", "web3"])?;
    for load in loads {
        load.stop()?.all_answered()?;
    }
    Ok(())
}

/// Returns the settings of an agent whose pool discovers its backends as `lines` of
/// `[pool.discover]` say.
fn discovering(lab: &Lab, lines: &str) -> Settings {
    Settings {
        backends: Vec::new(),
        more: format!("[pool.discover]\n{lines}\ninterval = \"1s\"\ndrain = \"{DRAIN}s\"\n"),
        ..Settings::of(lab)
    }
}

/// Runs an agent whose pool discovers its backends as `lines` of `[pool.discover]` say, and changes
/// the source under load.
fn no_request_is_lost(
    lab: &Lab,
    source: &mut impl Source,
    lines: &str,
    outage: Duration,
) -> Result<()> {
    source.list(lab, &["web1", "web2", "web3"])?;
    let agent = Agent::start(lab, &discovering(lab, lines))?;
    wait_for(&agent, &["web1", "web2", "web3"])?;
    let loads = loads(lab)?;
    thread::sleep(Duration::from_secs(1));

    source.list(lab, &["web1", "web2", "web3", "web4"])?;
    wait_for(&agent, &["web1", "web2", "web3", "web4"])?;
    answers_come_from(lab, &["web1", "web2", "web3", "web4"])?;

    // Downloads that a backend has begun are completed while the backend is drained.
    let slow = Plan {
        path: "/slow".to_owned(),
        body: Body::Filled(b'y', SLOW_BYTES),
        requests: Some(8),
        connections: 8,
        ..Plan::http()
    };
    let slow = slow.start(&lab.client);
    thread::sleep(Duration::from_millis(500));
    source.list(lab, &["web2", "web3", "web4"])?;
    wait::until_true("web1 is drained", SOON, || Ok(!is_in_use(&agent, "web1")?))?;
    answers_come_from(lab, &["web2", "web3", "web4"])?;
    let slow = slow.finish()?;
    slow.all_answered().context("of the slow downloads")?;
    ensure!(slow.share("web1") > 0.0, "{:?}", slow.shares());
    wait_for(&agent, &["web2", "web3", "web4"])?;

    source.empty(lab)?;
    fails(&agent, true)?;
    answers_come_from(lab, &["web2", "web3", "web4"])?;
    source.list(lab, &["web2", "web3", "web4"])?;
    fails(&agent, false)?;

    source.fail(lab)?;
    fails(&agent, true)?;
    println!("{}", agent.operate(&["status"])?);
    let begun = Instant::now();
    while begun.elapsed() < outage {
        answers_come_from(lab, &["web2", "web3", "web4"])?;
        thread::sleep(Duration::from_secs(1));
    }
    ensure!(!is_in_use(&agent, "web1")?, "web1 is back");
    source.restore(lab)?;
    fails(&agent, false)?;
    source.list(lab, &["web1", "web2", "web3", "web4"])?;
    wait_for(&agent, &["web1", "web2", "web3", "web4"])?;
    answers_come_from(lab, &["web1", "web2", "web3", "web4"])?;

    // All backends are replaced at once: the old ones serve until a new one is up.
    source.list(lab, &["web1", "web2"])?;
    wait::until_true("web3 is drained", SOON, || Ok(!is_in_use(&agent, "web3")?))?;
    wait_for(&agent, &["web1", "web2"])?;
    source.list(lab, &["web3", "web4"])?;
    wait::until_true("web1 is drained", SOON, || Ok(!is_in_use(&agent, "web1")?))?;
    wait_for(&agent, &["web3", "web4"])?;
    answers_come_from(lab, &["web3", "web4"])?;

    for load in loads {
        let report = load.stop()?;
        println!(
            "{} requests, the slowest after {:?}, failed: {:?}",
            report.answers.len(),
            report.longest(),
            report.why_failed()
        );
        report.all_answered()?;
        ensure!(report.shares().len() == 4, "{:?}", report.shares());
    }
    events_say_so(&agent)
}

/// Starts loads: new connections that the kernel forwards, and new and persistent HTTPS connections
/// that the agent serves.
fn loads(lab: &Lab) -> Result<Vec<Load>> {
    let https = Plan::https(lab)?;
    let persistent = Plan {
        reuse: Reuse::Always,
        ..https.clone()
    };
    let plans = [Plan::http(), https, persistent].map(|plan| Plan {
        connections: 4,
        pause: Duration::from_millis(20),
        ..plan
    });
    Ok(plans.map(|plan| plan.start(&lab.client)).into())
}

/// Returns the addresses of the pool's backends, and whether each is up.
fn members(agent: &Agent) -> Result<Vec<(String, bool)>> {
    let status = agent.status()?;
    let backends = status["pools"][0]["backends"].as_array();
    let backends = backends.context("the status has no backends")?.iter();
    let members = backends.map(|one| {
        let address = one["address"].as_str().unwrap_or_default().to_owned();
        (address, one["state"] == "up")
    });
    Ok(members.collect())
}

fn is_in_use(agent: &Agent, web: &str) -> Result<bool> {
    let address = address_of(web)?;
    let members = members(agent)?;
    Ok(members
        .iter()
        .any(|(member, is_up)| *member == address && *is_up))
}

fn address_of(web: &str) -> Result<String> {
    let webs = lab::topology::WEBS;
    let found = webs.iter().find(|(name, _)| *name == web);
    let (_, address) = found.with_context(|| format!("there is no {web}"))?;
    Ok(format!("{address}:80"))
}

/// Waits until the pool has exactly these web servers, and all of them are up.
fn wait_for(agent: &Agent, webs: &[&str]) -> Result<()> {
    let wanted: Result<Vec<_>> = webs
        .iter()
        .map(|web| Ok((address_of(web)?, true)))
        .collect();
    let mut wanted = wanted?;
    wanted.sort_unstable();
    let what = format!("the pool has {webs:?}");
    wait::until_true(&what, SOON + Duration::from_secs(DRAIN), || {
        let mut members = members(agent)?;
        members.sort_unstable();
        Ok(members == wanted)
    })
}

/// Waits until the source fails or answers again.
fn fails(agent: &Agent, fails: bool) -> Result<()> {
    let value = f64::from(u8::from(fails));
    let what = format!("lb_discovery_failing of {value}");
    agent.wait_for_metrics(&what, SOON, |metrics| {
        let samples = metrics.samples("lb_discovery_failing", &[("pool", "web")]);
        samples.len() == 1 && samples.iter().all(|sample| sample.value == value)
    })?;
    Ok(())
}

/// Checks that each change is an event.
fn events_say_so(agent: &Agent) -> Result<()> {
    let events = agent.operate(&["events"])?;
    for said in [
        "The backend was added to the pool",
        "is drained and leaves the pool",
        "was removed from the pool: its drain time has passed",
        "cannot be discovered, and stay as they are",
        "are discovered again",
    ] {
        ensure!(events.contains(said), "no event says {said:?}:\n{events}");
    }
    Ok(())
}
