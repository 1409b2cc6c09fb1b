//! Traffic is forwarded and balanced evenly, and requests have the header fields that the servers
//! need.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Settings},
    load::{Plan, Report, Reuse, USER_AGENT},
    topology::{BALANCERS, CA_FILE, CLIENT, SITE},
    wait,
};

/// Accepted range of each server's share of the requests: a quarter, with a tolerance.
const EVEN: std::ops::RangeInclusive<f64> = 0.23..=0.27;

#[test]
fn a_thousand_requests_through_xdp_are_all_answered_and_dealt_evenly() -> Result<()> {
    let lab = Lab::raise()?;
    let _agent = Agent::start(&lab, &Settings::of(&lab))?;
    let report = a_thousand(Plan::http()).run(&lab.client)?;
    dealt_evenly(&lab, &report)?;
    // On connections through the kernel, a server sees only the balancer's address, not the
    // client's.
    let seen: Vec<String> = page_requests(&lab)?;
    let balancer = format!("{} ", BALANCERS[0].1);
    ensure!(
        seen.len() == 1000 && seen.iter().all(|line| line.starts_with(&balancer)),
        "nginx saw {} requests of the client, not all of them from {balancer}: {:?}",
        seen.len(),
        seen.iter().find(|line| !line.starts_with(&balancer)),
    );
    Ok(())
}

#[test]
fn a_thousand_https_requests_are_all_answered_and_dealt_evenly() -> Result<()> {
    let lab = Lab::raise()?;
    let _agent = Agent::start(&lab, &Settings::of(&lab))?;
    let report = a_thousand(Plan::https(&lab)?).run(&lab.client)?;
    dealt_evenly(&lab, &report)?;
    let told = format!("xff=\"{CLIENT}\" xfp=\"https\" xfh=\"{SITE}\"");
    let seen = page_requests(&lab)?;
    ensure!(
        seen.len() == 1000 && seen.iter().all(|line| line.ends_with(&told)),
        "nginx saw {} requests of the client, not all of them with {told}: {:?}",
        seen.len(),
        seen.iter().find(|line| !line.ends_with(&told)),
    );
    Ok(())
}

#[test]
fn requests_that_share_tls_connections_are_dealt_evenly_too() -> Result<()> {
    let lab = Lab::raise()?;
    let _agent = Agent::start(&lab, &Settings::of(&lab))?;
    let plan = Plan {
        reuse: Reuse::Always,
        ..a_thousand(Plan::https(&lab)?)
    };
    let report = plan.run(&lab.client)?;
    ensure!(
        report.connections == 8,
        "{} connections were opened where 8 should have lasted",
        report.connections
    );
    dealt_evenly(&lab, &report)
}

#[test]
fn a_client_cannot_forge_where_it_comes_from() -> Result<()> {
    let lab = Lab::raise()?;
    let _agent = Agent::start(&lab, &Settings::of(&lab))?;
    let url = format!("https://{SITE}/headers");
    let arguments = ["-sS", "--fail", "--cacert", CA_FILE, &url];
    let forged = [
        "-H",
        "X-Forwarded-For: 192.0.2.1",
        "-H",
        "X-Forwarded-Proto: http",
    ];
    let page = lab
        .client
        .run("curl", &[&arguments[..], &forged].concat())?;
    ensure!(
        page.contains(&format!("x-forwarded-for: {CLIENT}\n"))
            && page.contains("x-forwarded-proto: https\n")
            && page.contains(&format!("host: {SITE}\n")),
        "the server was told:\n{page}"
    );
    Ok(())
}

#[test]
fn http_2_and_both_tls_versions_are_spoken() -> Result<()> {
    let lab = Lab::raise()?;
    let _agent = Agent::start(&lab, &Settings::of(&lab))?;
    let url = format!("https://{SITE}/1k");
    for (options, version) in [
        (["--http2", "--tlsv1.3"].as_slice(), "2"),
        (&["--http2", "--tls-max", "1.2"], "2"),
        (&["--http1.1", "--tlsv1.3"], "1.1"),
        (&["--http1.1", "--tls-max", "1.2"], "1.1"),
    ] {
        let report = "%{http_version} %{http_code} %{size_download}";
        let asking = [
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            report,
            "--cacert",
            CA_FILE,
            &url,
        ];
        let answer = lab.client.run("curl", &[&asking[..], options].concat())?;
        ensure!(
            answer == format!("{version} 200 1024"),
            "with {options:?} curl reports {answer:?}"
        );
    }
    Ok(())
}

fn a_thousand(plan: Plan) -> Plan {
    Plan {
        requests: Some(1000),
        ..plan
    }
}

fn dealt_evenly(lab: &Lab, report: &Report) -> Result<()> {
    report.all_answered()?;
    ensure!(
        report.answers.len() == 1000,
        "{} answers came to 1000 requests",
        report.answers.len()
    );
    for web in &lab.webs {
        let share = report.share(web.name());
        ensure!(
            EVEN.contains(&share),
            "{} answered {:.1}% of the requests: {:?}",
            web.name(),
            share * 100.0,
            report.shares()
        );
    }
    Ok(())
}

/// Returns the lines of the load generator's thousand requests in the logs of all servers. It waits
/// for them, because nginx writes a line after the client has its response.
fn page_requests(lab: &Lab) -> Result<Vec<String>> {
    wait::until(
        "a thousand lines in the logs",
        Duration::from_secs(5),
        || {
            let mut lines = Vec::new();
            for web in &lab.webs {
                lines.extend(web.requests_of(USER_AGENT)?);
            }
            Ok((lines.len() >= 1000).then_some(lines))
        },
    )
}
