//! A balancer with several interfaces: packets are redirected between them, and no packet is
//! redirected to an interface without the XDP program, where it would be lost.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab,
    agent::{Agent, CONFIG_FILE, Metrics, PINS, Settings, binary, install_certificate, try_to_run},
    load::Plan,
    topology::{BALANCERS, SITE, Wiring},
    wait,
    web::WWW,
};
use serde_json::Value;

const REQUESTS: u64 = 500;

/// Number of bytes of each transfer: many times the size of all windows and queues on the path.
const BYTES: u64 = 64 << 20;

#[test]
fn traffic_between_two_interfaces_is_redirected_and_counted_as_that() -> Result<()> {
    let lab = Lab::raise_with(Wiring::TwoInterfaces)?;
    let settings = Settings {
        // The interval of health checks is long, so no packets are sent between two of them.
        interval: Duration::from_secs(2),
        ..on_both(&lab)
    };
    let agent = Agent::start(&lab, &settings)?;
    let before = in_silence(&agent, &["eth0", "eth1"])?;
    answered_by_all(&lab)?;
    let after = in_silence(&agent, &["eth0", "eth1"])?;

    let received = after.received - before.received;
    ensure!(received > 5000, "only {received} packets came");
    let counted = after.counted() - before.counted();
    ensure!(
        received == counted,
        "the interfaces received {received} packets, the verdicts say {counted}"
    );
    let new = after.verdict("redirect", "new_flow") - before.verdict("redirect", "new_flow");
    ensure!(
        new == REQUESTS,
        "{REQUESTS} connections were made, {new} were redirected"
    );
    ensure!(after.verdict("redirect", "flow") > 4 * REQUESTS);
    ensure!(after.verdict("drop", "no_interface") == 0);
    let transmitted = after.metrics.sum(VERDICTS, &[("verdict", "transmit")]);
    ensure!(
        transmitted == 0.0,
        "{transmitted} packets left where they came in"
    );
    attached(&agent, "native", &["eth0", "eth1"])
}

#[test]
fn a_transfer_between_two_interfaces_arrives_whole() -> Result<()> {
    let mut lab = Lab::raise_with(Wiring::TwoInterfaces)?;
    let settings = on_both(&lab).only(&["web1"]);
    let agent = Agent::start(&lab, &settings)?;
    there_and_back(&mut lab)?;
    // A transfer arrives whole even if redirected packets are dropped and retransmitted, so the
    // counters of packets are checked as well.
    let metrics = agent.metrics()?;
    ensure!(metrics.sum(VERDICTS, &[("reason", "no_interface")]) == 0.0);
    ensure!(metrics.sum(VERDICTS, &[("verdict", "redirect")]) > 0.0);
    Ok(())
}

#[test]
fn generic_mode_carries_traffic_out_of_the_same_interface() -> Result<()> {
    let mut lab = Lab::raise()?;
    let agent = Agent::start(&lab, &generic(Settings::of(&lab)).only(&["web1"]))?;
    attached(&agent, "generic", &["eth0"])?;
    there_and_back(&mut lab)?;
    let metrics = agent.metrics()?;
    ensure!(metrics.sum(VERDICTS, &[("verdict", "transmit")]) > 0.0);
    ensure!(metrics.sum(VERDICTS, &[("verdict", "redirect")]) == 0.0);
    Ok(())
}

#[test]
fn generic_mode_carries_traffic_between_two_interfaces() -> Result<()> {
    let mut lab = Lab::raise_with(Wiring::TwoInterfaces)?;
    let agent = Agent::start(&lab, &generic(on_both(&lab)))?;
    attached(&agent, "generic", &["eth0", "eth1"])?;
    answered_by_all(&lab)?;
    agent.reconfigure(&generic(on_both(&lab)).only(&["web1"]))?;
    there_and_back(&mut lab)?;
    let metrics = agent.metrics()?;
    ensure!(metrics.sum(VERDICTS, &[("verdict", "transmit")]) == 0.0);
    ensure!(metrics.sum(VERDICTS, &[("reason", "no_interface")]) == 0.0);
    Ok(())
}

#[test]
fn where_one_interface_refuses_native_mode_all_are_generic_and_the_log_says_why() -> Result<()> {
    let lab = Lab::raise()?;
    // The MTU is too large: a virtual interface accepts native XDP only if its other end's MTU fits
    // into a page.
    third_interface(lab.lb_a(), 9001)?;
    let agent = Agent::start(&lab, &Settings::of(&lab).on(&["eth0", "eth2"]))?;
    attached(&agent, "generic", &["eth0", "eth2"])?;
    let log = agent.log();
    for words in [
        "WARN",
        "native XDP is refused",
        "eth2",
        "Peer MTU is too large to set XDP",
        "lower the MTU from 9001",
    ] {
        ensure!(log.contains(words), "the log lacks {words:?}");
    }
    answered_by_all(&lab)
}

#[test]
fn backends_behind_an_interface_without_the_program_are_refused_at_the_start() -> Result<()> {
    let lab = Lab::raise_with(Wiring::TwoInterfaces)?;
    install_certificate(&lab)?;
    lab.lb_a()
        .write(CONFIG_FILE, Settings::of(&lab).on(&["eth0"]).toml())?;
    let output = try_to_run(lab.lb_a())?;
    let said = String::from_utf8_lossy(&output.stderr);
    // The exit status must not be 2, with which systemd would not restart the agent: a suitable
    // route may appear later.
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    for (web, line) in lab.webs.iter().zip([30, 34, 38, 42]) {
        let name = format!("backend {} ({})", web.name(), web.address());
        ensure!(said.contains(&name), "the refusal lacks {name}: {said}");
        let place = format!("{CONFIG_FILE}:{line}:");
        ensure!(said.contains(&place), "the refusal lacks {place}: {said}");
    }
    for words in [
        "its route leaves by eth1, where lb has no XDP program",
        "add eth1 to [node] interfaces",
        "4 errors",
    ] {
        ensure!(said.contains(words), "the refusal lacks {words:?}: {said}");
    }
    ensure!(programs(lab.lb_a())?.is_empty(), "something was attached");
    // `lb check` accepts the configuration, because it does not check the state of the host, such
    // as its routes.
    lab.lb_a()
        .run(&path_of_lb()?, &["check", "--config", CONFIG_FILE])?;
    Ok(())
}

#[test]
fn backends_that_cannot_be_reached_are_refused_on_reload_and_the_old_file_stays() -> Result<()> {
    let lab = Lab::raise_with(Wiring::TwoInterfaces)?;
    third_interface(lab.lb_a(), 1500)?;
    lab.lb_a().script(
        "ip route add 192.0.2.0/24 dev eth2\n\
         ip route add unreachable 198.18.0.0/24",
    )?;
    let settings = on_both(&lab);
    let agent = Agent::start(&lab, &settings)?;
    let mut broken = settings.clone();
    let own = format!("{}:8080", BALANCERS[0].1);
    for (name, address) in [
        ("behind-eth2", "192.0.2.9:80"),
        ("nowhere", "198.18.0.9:80"),
        ("own", &own),
    ] {
        broken.backends.push((name.to_owned(), address.parse()?));
    }
    let refusal = agent.reconfigure(&broken).err();
    let refusal = format!("{:#}", refusal.context("it was taken over")?);
    for words in [
        "backend behind-eth2 (192.0.2.9:80): its route leaves by eth2",
        "backend nowhere (198.18.0.9:80): this host has no route to it",
        "backend own (172.31.0.68:8080): it is an address of this host",
        "3 errors",
        "The old configuration stays in force",
    ] {
        ensure!(
            refusal.contains(words),
            "the refusal lacks {words:?}: {refusal}"
        );
    }
    answered_by_all(&lab)?;
    agent.reconfigure(&settings)?;

    let elsewhere = agent.reconfigure(&settings.on(&["eth0", "eth1", "eth2"]));
    let refusal = format!("{:#}", elsewhere.err().context("it was taken over")?);
    ensure!(
        refusal.contains("node.interfaces") && refusal.contains("lb upgrade"),
        "{refusal}"
    );
    Ok(())
}

#[test]
fn the_next_agent_takes_interfaces_over_leaves_others_and_unload_leaves_all() -> Result<()> {
    let lab = Lab::raise_with(Wiring::TwoInterfaces)?;
    let host = lab.lb_a();
    third_interface(host, 1500)?;
    let both = on_both(&lab);
    let agent = Agent::start(&lab, &both.clone().on(&["eth0", "eth1", "eth2"]))?;
    ensure!(programs(host)? == ["eth0", "eth1", "eth2"]);
    ensure!(redirects_to(host)? == 3);
    let trickle = Plan {
        requests: None,
        connections: 2,
        pause: Duration::from_millis(5),
        ..Plan::http()
    };
    let trickle = trickle.start(&lab.client);
    agent.sigkill()?;

    let agent = Agent::start_on(host, &both)?;
    ensure!(agent.status()?["xdp"]["adopted"] == true);
    attached(&agent, "native", &["eth0", "eth1"])?;
    ensure!(programs(host)? == ["eth0", "eth1"]);
    ensure!(redirects_to(host)? == 2);
    trickle.stop()?.all_answered()?;

    agent.sigterm()?;
    host.run(&path_of_lb()?, &["unload", "--config", CONFIG_FILE])?;
    ensure!(programs(host)?.is_empty(), "a program is left");
    ensure!(!host.path(PINS).exists(), "pins are left");
    Ok(())
}

const VERDICTS: &str = "lb_xdp_packets_total";

fn on_both(lab: &Lab) -> Settings {
    Settings::of(lab).on(&["eth0", "eth1"])
}

fn generic(settings: Settings) -> Settings {
    Settings {
        more: "[dataplane]\nxdp_mode = \"generic\"".to_owned(),
        ..settings
    }
}

/// Checks that every backend answers HTTP requests, which the kernel forwards, and HTTPS requests,
/// which the agent forwards.
fn answered_by_all(lab: &Lab) -> Result<()> {
    for (plan, requests) in [(Plan::http(), REQUESTS), (Plan::https(lab)?, 100)] {
        let plan = Plan {
            requests: Some(requests),
            ..plan
        };
        let report = plan.run(&lab.client)?;
        report.all_answered()?;
        let shares = report.shares();
        ensure!(shares.len() == lab.webs.len(), "{shares:?}");
    }
    Ok(())
}

/// Uploads random bytes to `web1`, downloads them again, and checks that they are the same.
fn there_and_back(lab: &mut Lab) -> Result<()> {
    let url = format!("http://{SITE}/upload/random");
    lab.client.script(&format!(
        "head -c {BYTES} /dev/urandom >/run/random\n\
         curl -sS --fail -m 120 -T /run/random {url}"
    ))?;
    let sent = sha256(&lab.client, "/run/random")?;
    let server = lab.web("web1")?.host().clone();
    let kept = sha256(&server, &format!("{WWW}/upload/random"))?;
    ensure!(kept == sent, "{sent} was uploaded, {kept} arrived");
    let back = lab
        .client
        .script(&format!("curl -sS --fail -m 120 {url} | sha256sum"))?;
    ensure!(
        back.starts_with(&sent),
        "{sent} was to be downloaded, {back} arrived"
    );
    Ok(())
}

fn sha256(host: &Host, file: &str) -> Result<String> {
    let line = host.run("sha256sum", &[file])?;
    let sum = line.split_whitespace().next().context("no checksum")?;
    Ok(sum.to_owned())
}

/// Adds a cable whose two ends, `eth2` and `far2`, are both on this host.
fn third_interface(host: &Host, mtu: u32) -> Result<()> {
    host.script(&format!(
        "ip link add eth2 mtu {mtu} type veth peer name far2 mtu {mtu}\n\
         ip link set far2 up\n\
         ip link set eth2 up"
    ))?;
    Ok(())
}

/// Checks in which mode and on which interfaces the XDP program is attached, according to `lb
/// status`.
fn attached(agent: &Agent, mode: &str, interfaces: &[&str]) -> Result<()> {
    let status = agent.status()?;
    let listed = status["xdp"]["interfaces"].as_array().context("no list")?;
    let said: Vec<_> = listed
        .iter()
        .map(|one| (one["name"].as_str(), one["mode"].as_str()))
        .collect();
    let wanted: Vec<_> = interfaces
        .iter()
        .map(|name| (Some(*name), Some(mode)))
        .collect();
    ensure!(said == wanted, "{said:?}");
    let words = format!("{mode} XDP on {}", interfaces.join(" and "));
    let table = agent.operate(&["status"])?;
    ensure!(
        table.contains(&words),
        "`lb status` lacks {words:?}:\n{table}"
    );
    let metrics = agent.metrics()?;
    for name in interfaces {
        let labels = [("interface", *name), ("mode", mode)];
        ensure!(metrics.sum("lb_xdp_mode", &labels) == 1.0);
    }
    Ok(())
}

/// Returns the names of the host's interfaces that have an XDP program.
fn programs(host: &Host) -> Result<Vec<String>> {
    let json = host.run("ip", &["-j", "link", "show"])?;
    let links: Value = serde_json::from_str(&json)?;
    let links = links.as_array().context("`ip -j link` prints no list")?;
    let mut names: Vec<String> = links
        .iter()
        .filter(|link| link.get("xdp").is_some())
        .filter_map(|link| Some(link["ifname"].as_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Returns the number of interfaces to which the XDP program on a host can redirect packets.
fn redirects_to(host: &Host) -> Result<usize> {
    let pin = format!("{PINS}/maps/interfaces");
    let json = host.run("bpftool", &["-j", "map", "dump", "pinned", &pin])?;
    let entries: Value = serde_json::from_str(&json)?;
    Ok(entries.as_array().context("a dump is a list")?.len())
}

/// Numbers of packets that were received and counted, read at a moment without traffic.
struct Reading {
    received: u64,
    metrics: Metrics,
}

impl Reading {
    fn counted(&self) -> u64 {
        self.metrics.sum(VERDICTS, &[]) as u64
    }

    fn verdict(&self, verdict: &str, reason: &str) -> u64 {
        let labels = [("verdict", verdict), ("reason", reason)];
        self.metrics.sum(VERDICTS, &labels) as u64
    }
}

fn in_silence(agent: &Agent, interfaces: &[&str]) -> Result<Reading> {
    let limit = Duration::from_secs(30);
    wait::until("two looks without a packet between", limit, || {
        let received = received(agent.host(), interfaces)?;
        let metrics = agent.metrics()?;
        let silent = received == self::received(agent.host(), interfaces)?;
        Ok(silent.then_some(Reading { received, metrics }))
    })
}

fn received(host: &Host, interfaces: &[&str]) -> Result<u64> {
    let mut sum = 0;
    for interface in interfaces {
        let json = host.run("ip", &["-s", "-j", "link", "show", interface])?;
        let links: Value = serde_json::from_str(&json)?;
        sum += links[0]["stats64"]["rx"]["packets"]
            .as_u64()
            .context("`ip -s link` shows no packets")?;
    }
    Ok(sum)
}

fn path_of_lb() -> Result<String> {
    let path = binary()?;
    let path = path.to_str().context("the path of `lb` is not UTF-8")?;
    Ok(path.to_owned())
}
