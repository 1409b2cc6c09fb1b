//! Transfers of a gibibyte in each direction, over connections that the kernel forwards and over
//! HTTPS connections that the agent serves.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab,
    agent::{Agent, Settings},
    topology::{CA_FILE, SITE},
    web::WWW,
};

const BYTES: u64 = 1 << 30;

#[test]
fn a_gibibyte_each_way_through_xdp_arrives_whole() -> Result<()> {
    there_and_back(&format!("http://{SITE}"), "--http1.1")
}

#[test]
fn a_gibibyte_each_way_through_tls_and_http_1_arrives_whole() -> Result<()> {
    there_and_back(&format!("https://{SITE}"), "--http1.1")
}

#[test]
fn a_gibibyte_each_way_through_tls_and_http_2_arrives_whole() -> Result<()> {
    there_and_back(&format!("https://{SITE}"), "--http2")
}

/// Uploads random bytes, downloads them again, and checks that they are the same.
fn there_and_back(site: &str, version: &str) -> Result<()> {
    let mut lab = Lab::raise()?;
    // The only backend is web1, so what was uploaded there can be downloaded again.
    let _agent = Agent::start(&lab, &Settings::of(&lab).only(&["web1"]))?;
    lab.client
        .script(&format!("head -c {BYTES} /dev/urandom >/run/random"))?;
    let sent = sha256(&lab.client, "/run/random")?;
    let url = format!("{site}/upload/random");

    let began = Instant::now();
    lab.client.script(&format!(
        "curl -sS --fail -m 300 {version} --cacert {CA_FILE} -T /run/random {url}"
    ))?;
    report("up", began);
    let server = lab.web("web1")?.host().clone();
    let kept = sha256(&server, &format!("{WWW}/upload/random"))?;
    ensure!(kept == sent, "{sent} was uploaded, {kept} arrived");

    let began = Instant::now();
    let back = lab.client.script(&format!(
        "curl -sS --fail -m 300 {version} --cacert {CA_FILE} {url} | sha256sum"
    ))?;
    report("down", began);
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

fn report(direction: &str, began: Instant) {
    let took = began.elapsed();
    let rate = BYTES as f64 * 8.0 / 1e9 / took.as_secs_f64();
    println!("1 GiB {direction} in {took:.1?}: {rate:.2} Gbit/s");
}
