//! Tests of the lab itself (the test network), with HAProxy as the balancer: they show that a
//! failing test of `lb` is not caused by the test network.
//!
//! The lab is the set of network namespaces that the end-to-end tests make: one for each host.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab, Process,
    load::Plan,
    partition::{Lost, Way},
    topology::{BALANCERS, BALANCERS_PREFIX, CLIENT, EC2_API, METADATA, SITE, VIRTUAL_IP, WEBS},
    wait,
};

/// Time limit for a host to serve again after its cable was cut.
const SETTLING: Duration = Duration::from_secs(15);

#[test]
fn client_requests_reach_all_four_servers_through_the_elastic_ip() -> Result<()> {
    let lab = Lab::raise()?;
    let _haproxy = start_haproxy(&lab)?;

    for plan in [Plan::http(), Plan::https(&lab)?] {
        let report = Plan {
            requests: Some(200),
            ..plan
        }
        .run(&lab.client)?;
        report.all_answered()?;
        let shares = report.shares();
        ensure!(
            shares.len() == 4 && shares.values().all(|share| *share == 50),
            "HAProxy deals 200 requests to four servers in turn, but they came from {shares:?}"
        );
    }
    let balancer = BALANCERS[0].1.to_string();
    for web in &lab.webs {
        let log = web.access_log()?;
        ensure!(
            log.iter()
                .all(|line| line.starts_with(&balancer) || line.starts_with("10.0.0."))
                && log
                    .iter()
                    .any(|line| line.contains(&format!("xff=\"{CLIENT}\""))),
            "{} sees other addresses than the balancer's: {log:?}",
            web.name()
        );
    }
    Ok(())
}

#[test]
fn curl_on_the_client_trusts_the_site() -> Result<()> {
    let lab = Lab::raise()?;
    let _haproxy = start_haproxy(&lab)?;
    let url = format!("https://{SITE}/headers");
    let page = lab
        .client
        .run("curl", &["-sS", "--cacert", lab::topology::CA_FILE, &url])?;
    ensure!(
        page.contains("x-forwarded-proto: https\n")
            && page.contains(&format!("x-forwarded-for: {CLIENT}\n")),
        "the web server saw other headers: {page}"
    );
    Ok(())
}

#[test]
fn the_elastic_ip_follows_its_owner() -> Result<()> {
    let lab = Lab::raise()?;
    let _haproxy = start_haproxy(&lab)?;
    let request = || Plan {
        requests: Some(1),
        connections: 1,
        patience: Duration::from_millis(500),
        ..Plan::http()
    };
    request().run(&lab.client)?.all_answered()?;
    lab.internet_gateway
        .point_elastic_ip_at([172, 31, 0, 99].into())?;
    ensure!(
        request().run(&lab.client)?.all_answered().is_err(),
        "the Elastic IP has no owner, but a host answered"
    );
    lab.internet_gateway.point_elastic_ip_at(BALANCERS[0].1)?;
    request().run(&lab.client)?.all_answered()
}

#[test]
fn the_gateway_follows_what_it_is_told_of_the_elastic_ip() -> Result<()> {
    let lab = Lab::raise()?;
    let _haproxies = [start_haproxy(&lab)?, start_haproxy_on(&lab, 1)?];
    let told = Arc::new(Mutex::new(Some(BALANCERS[1].1)));
    let telling = Arc::clone(&told);
    let tell = |owner| *told.lock().unwrap_or_else(PoisonError::into_inner) = owner;
    let follower = lab
        .internet_gateway
        .follow(move || Ok(*telling.lock().unwrap_or_else(PoisonError::into_inner)));
    let limit = Duration::from_secs(2);
    let answers = || {
        let plan = Plan {
            requests: Some(4),
            connections: 1,
            patience: Duration::from_millis(500),
            ..Plan::https(&lab)?
        };
        anyhow::Ok(plan.run(&lab.client)?.all_answered().is_ok())
    };
    follower.wait_for(Some(BALANCERS[1].1), limit)?;
    ensure!(answers()?, "lb-b owns the Elastic IP and does not answer");
    lab.lb_b().cut()?;
    ensure!(!answers()?, "lb-b answers without a cable");
    tell(Some(BALANCERS[0].1));
    follower.wait_for(Some(BALANCERS[0].1), limit)?;
    ensure!(answers()?, "lb-a owns the Elastic IP and does not answer");
    tell(None);
    follower.wait_for(None, limit)?;
    ensure!(
        !answers()?,
        "the Elastic IP has no owner, but a host answers"
    );
    lab.lb_b().restore()?;
    tell(Some(BALANCERS[1].1));
    follower.wait_for(Some(BALANCERS[1].1), limit)?;
    // HAProxy may have marked its servers as down while the host was disconnected.
    wait::until_true("answers with the link restored", SETTLING, answers)?;
    lab.lb_b().destroy()?;
    ensure!(!answers()?, "lb-b answers after its end");
    let owners: Vec<_> = follower.moves().iter().map(|moved| moved.owner).collect();
    let (a, b) = (Some(BALANCERS[0].1), Some(BALANCERS[1].1));
    ensure!(owners == [b, a, None, b], "the moves were {owners:?}");
    Ok(())
}

#[test]
fn the_gateway_is_reached_when_a_host_was_destroyed() -> Result<()> {
    let lab = Lab::raise()?;
    let gateway = lab.internet_gateway.host();
    // A bridge without an address of its own has the lowest one of its ports.
    gateway.script("ip link set lb-a address 00:00:00:00:00:01")?;
    ensure!(pings(lab.lb_b(), EC2_API.ip()), "lb-b has no connection");
    lab.lb_a().destroy()?;
    wait::until_true("the end of lb-a's cable", SETTLING, || {
        Ok(gateway.run("ip", &["link", "show", "lb-a"]).is_err())
    })?;
    ensure!(
        pings(lab.lb_b(), EC2_API.ip()),
        "lb-b lost its connection with the end of lb-a"
    );
    Ok(())
}

#[test]
fn a_partition_is_between_the_balancers_only_and_heals() -> Result<()> {
    let lab = Lab::raise()?;
    let a = lab.lb_a().clone();
    let (from_a, from_b) = (
        || pings(&a, BALANCERS[1].1.into()),
        || pings(lab.lb_b(), BALANCERS[0].1.into()),
    );
    ensure!(
        from_a() && from_b(),
        "the balancers do not reach each other"
    );

    let partition = lab.part(Lost::Everything, Way::Both)?;
    ensure!(!from_a() && !from_b(), "they reach each other when parted");
    for host in &lab.balancers {
        ensure!(
            pings(host, EC2_API.ip())
                && pings(host, METADATA.ip())
                && pings(host, WEBS[0].1.into()),
            "{} reaches less than it should when parted",
            host.name()
        );
    }
    partition.heal()?;
    ensure!(from_a() && from_b(), "they stay parted");

    // With either direction lost no response arrives, so a partition in one direction looks like a
    // full one: only its end is checked.
    drop(lab.part(Lost::Everything, Way::From(1))?);
    ensure!(from_a() && from_b(), "they stay parted");
    let _partition = lab.part(Lost::Adverts, Way::Both)?;
    ensure!(from_a() && from_b(), "more than adverts is lost");
    Ok(())
}

#[test]
fn the_virtual_ip_is_reached_wherever_it_is() -> Result<()> {
    let lab = Lab::raise()?;
    lab.internet_gateway.point_elastic_ip_at(VIRTUAL_IP)?;
    let _haproxies = [start_haproxy(&lab)?, start_haproxy_on(&lab, 1)?];
    for host in &lab.balancers {
        let address = format!("{VIRTUAL_IP}/{BALANCERS_PREFIX}");
        host.run("ip", &["address", "add", &address, "dev", "eth0"])?;
        // An agent that moves the virtual IP address to its host would announce the address to the
        // neighbours; this test clears the neighbours' caches instead.
        for neighbour in [lab.internet_gateway.host(), &lab.router] {
            neighbour.run("ip", &["neighbour", "flush", "to", &VIRTUAL_IP.to_string()])?;
        }
        let plan = Plan {
            requests: Some(8),
            ..Plan::https(&lab)?
        };
        plan.run(&lab.client)?.all_answered()?;
        host.run("ip", &["address", "del", &address, "dev", "eth0"])?;
    }
    Ok(())
}

#[test]
fn a_pulled_cable_and_a_killed_server_are_both_silent_and_both_come_back() -> Result<()> {
    let mut lab = Lab::raise()?;
    let router = lab.router.clone();
    let web2 = lab.web("web2")?;
    let reachable = || router.wait_for_port(web2.address(), Duration::from_millis(300));
    web2.pull_cable()?;
    ensure!(reachable().is_err(), "web2 answers with its cable pulled");
    web2.plug_cable()?;
    router.wait_for_port(web2.address(), Duration::from_secs(5))?;
    let address = web2.address();
    web2.kill()?;
    ensure!(
        router
            .wait_for_port(address, Duration::from_millis(300))
            .is_err(),
        "web2 answers after it was killed"
    );
    web2.start()?;
    router.wait_for_port(address, Duration::from_secs(5))
}

#[test]
fn two_labs_stand_side_by_side() -> Result<()> {
    let (one, other) = (Lab::raise()?, Lab::raise()?);
    let _haproxies = (start_haproxy(&one)?, start_haproxy(&other)?);
    for lab in [&one, &other] {
        let plan = Plan {
            requests: Some(8),
            ..Plan::http()
        };
        plan.run(&lab.client)?.all_answered()?;
    }
    let requests = |lab: &Lab| -> Result<usize> {
        lab.webs
            .iter()
            .map(|web| Ok(web.access_log()?.len()))
            .sum::<Result<usize>>()
    };
    ensure!(requests(&one)? >= 8 && requests(&other)? >= 8);
    drop(one);
    let plan = Plan {
        requests: Some(8),
        ..Plan::http()
    };
    plan.run(&other.client)?.all_answered()
}

#[test]
fn a_lab_ends_with_its_process_even_by_sigkill() -> Result<()> {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_lb-lab"))
        .arg("up")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = holder.stdout.take().context("no stdout")?;
    // The output has one line per host: the host's name and the process ID of its process 1.
    let pids: Vec<String> = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| Some(line.split_whitespace().nth(1)?.to_owned()))
        .collect();
    ensure!(pids.len() >= 8, "`lb-lab up` names {} hosts", pids.len());
    let alive = |pid: &&String| Path::new("/proc").join(pid).exists();
    ensure!(pids.iter().all(|pid| alive(&pid)), "not all hosts are up");
    holder.kill()?;
    holder.wait()?;
    wait::until_true("the end of every host", Duration::from_secs(5), || {
        Ok(!pids.iter().any(|pid| alive(&pid)))
    })
}

#[test]
fn raising_takes_seconds_and_leaves_the_outside_alone() -> Result<()> {
    let outside = || fs::read_to_string("/proc/net/route").context("no routes to read");
    let (before, began) = (outside()?, Instant::now());
    let lab = Lab::raise()?;
    ensure!(
        began.elapsed() < Duration::from_secs(20),
        "the lab took {:?}",
        began.elapsed()
    );
    ensure!(before == outside()?, "the machine's own routes changed");
    drop(lab);
    Ok(())
}

fn pings(host: &Host, address: IpAddr) -> bool {
    let once = ["-c", "1", "-W", "0.3", &address.to_string()];
    host.run("ping", &once).is_ok()
}

fn start_haproxy(lab: &Lab) -> Result<Process> {
    start_haproxy_on(lab, 0)
}

fn start_haproxy_on(lab: &Lab, balancer: usize) -> Result<Process> {
    let certificate = lab.authority.certify(SITE)?;
    let host = &lab.balancers[balancer];
    host.write("/run/haproxy/site.pem", certificate.pem())?;
    let servers: String = (lab.webs.iter())
        .map(|web| format!("  server {} {} check\n", web.name(), web.address()))
        .collect();
    host.write(
        "/run/haproxy/haproxy.cfg",
        format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             frontend plain\n  bind :80\n  default_backend web\n\
             frontend tls\n  bind :443 ssl crt /run/haproxy/site.pem\n  option forwardfor\n  \
             http-request set-header X-Forwarded-Proto https\n  default_backend webs\n\
             backend web\n  balance roundrobin\n{servers}\
             backend webs\n  balance roundrobin\n{servers}"
        ),
    )?;
    let haproxy = host.spawn(
        "haproxy",
        "haproxy",
        &["-db", "-f", "/run/haproxy/haproxy.cfg"],
    )?;
    let listener = SocketAddr::from((BALANCERS[balancer].1, 443));
    host.wait_for_port(listener, Duration::from_secs(10))
        .with_context(|| haproxy.log())?;
    Ok(haproxy)
}
