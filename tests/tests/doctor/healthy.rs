//! Tests that `lb doctor` finds nothing wrong on hosts that have no fault.

use anyhow::{Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Pair, Settings},
};

use crate::{report::Report, site::Site};

/// Checks of `lb doctor` that may warn here, because the hosts of the tests have no time service
/// and do not trust the authority of their certificate.
const EXPLAINED: [&str; 2] = ["time_service", "certificate_chain"];

fn is_healthy(report: &Report) -> Result<()> {
    let bad = report.0.iter().filter(|line| match line.state.as_str() {
        "fail" => true,
        "warn" => !EXPLAINED.contains(&&*line.check),
        _ => false,
    });
    let bad: Vec<_> = bad.collect();
    ensure!(bad.is_empty(), "{bad:#?}");
    Ok(())
}

fn is_ok(report: &Report, lines: &[(&str, &str)]) -> Result<()> {
    for (check, subject) in lines {
        let line = report.line(check, subject)?;
        ensure!(line.state == "ok", "{line:#?}");
    }
    Ok(())
}

#[test]
fn a_single_host_before_the_start_and_beside_its_agent() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    let mut site = Site::with(lab, settings)?;
    let report = site.doctor.examine(site.host())?;
    is_healthy(&report)?;
    let common = [
        ("configuration", ""),
        ("kernel_version", ""),
        ("bpf_file_system", ""),
        ("interface", "eth0"),
        ("xdp_program", "eth0"),
        ("xdp_mode", "eth0"),
        ("mtu", "eth0"),
        ("checksums", "eth0"),
        ("port", "service https"),
        ("service_address", "172.31.0.68"),
        ("clock", ""),
        ("route", "web4"),
        ("backend", "web4"),
        ("certificate", ""),
    ];
    is_ok(&report, &common)?;
    let text = site.doctor.run(site.host(), &[])?;
    println!("{}", String::from_utf8_lossy(&text.stdout));

    site.agent = Some(Agent::start(&site.lab, &site.settings)?.quiet());
    let report = site.doctor.examine(site.host())?;
    is_healthy(&report)?;
    is_ok(&report, &common)?;
    is_ok(
        &report,
        &[
            ("agent", ""),
            ("forwarding", "eth0"),
            ("reserved_ports", ""),
        ],
    )?;
    let text = site.doctor.run(site.host(), &[])?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    println!("{text}");
    ensure!(text.contains("the running agent listens there"), "{text}");
    ensure!(!text.contains('\u{1b}'), "it is coloured, and no terminal");
    Ok(())
}

#[test]
fn both_hosts_of_a_pair() -> Result<()> {
    let lab = Lab::raise()?;
    let ec2 = lab.fake_ec2()?;
    let settings = Settings::elastic_pair(&lab, &*ec2);
    let mut site = Site::with(lab, settings[0].clone())?;
    site.pair = Some(Pair::start(&site.lab, &settings)?.quiet());
    for balancer in [0, 1] {
        site.balancer = balancer;
        let report = site.doctor.examine(site.host())?;
        is_healthy(&report)?;
        is_ok(
            &report,
            &[
                ("pair_link", ""),
                ("pair_secret", ""),
                ("aws_permissions", ""),
                ("elastic_ip", ""),
            ],
        )?;
        let adverts = report.line("pair_adverts", "")?;
        let expected = ["skipped", "ok"][balancer];
        ensure!(adverts.state == expected, "{adverts:#?}");
    }
    Ok(())
}
