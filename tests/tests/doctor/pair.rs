//! Tests of `lb doctor` on the hosts of a pair.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{CONFIG_FILE, LINK_SECRET_FILE, Pair, Settings},
    wait,
};

use crate::{
    case::{self, Case, Mend, tidy},
    site::Site,
};

const SOON: Duration = Duration::from_secs(15);

/// Adds a firewall rule that drops the packets `what` on the host that `lb doctor` examines.
fn block(site: &Site, what: &str) -> Result<()> {
    site.script(&format!(
        "nft add table inet guard\n\
         nft 'add chain inet guard input {{ type filter hook input priority 0; }}'\n\
         nft add rule inet guard input {what} drop"
    ))
}

fn allow(site: &Site) -> Result<()> {
    site.script("nft delete table inet guard")
}

#[test]
fn beside_the_standby_of_a_running_pair() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::virtual_pair(&lab);
    let mut site = Site::with(lab, settings[1].clone())?;
    site.pair = Some(Pair::start(&site.lab, &settings)?.quiet());
    site.balancer = 1;
    case::all(
        &mut site,
        &[
            Case {
                name: "a firewall drops adverts",
                check: "pair_adverts",
                subject: "172.31.0.68",
                also: &[],
                breaks: |site| block(site, "ip protocol 112"),
                mend: Mend::By("allow IP protocol 112", |site, _| allow(site)),
                tidy,
            },
            Case {
                name: "a firewall drops the link",
                check: "pair_link",
                subject: "172.31.0.68",
                also: &[],
                breaks: |site| {
                    block(site, "tcp dport 9146")?;
                    linked(site, false)
                },
                mend: Mend::By("TCP port 9146", |site, _| {
                    allow(site)?;
                    linked(site, true)
                }),
                tidy,
            },
        ],
    )
}

/// Waits until the agent of the second host reports the link to its peer as up or down.
fn linked(site: &Site, up: bool) -> Result<()> {
    let agent = site.pair.as_ref().context("no pair")?.agent(1)?;
    wait::until_true("the link", SOON, || {
        Ok(agent.status()?["ha"]["link"]["up"] == up)
    })
}

#[test]
fn before_the_second_host_starts() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::virtual_pair(&lab);
    let mut site = Site::with(lab, settings[1].clone())?;
    let mut pair = Pair::install(&site.lab, &settings)?.quiet();
    pair.start_again(0)?;
    site.pair = Some(pair);
    site.balancer = 1;
    let peer = site.lab.lb_a();
    wait::until_true("the first host to be active", SOON, || {
        Ok(peer
            .run("ip", &["address", "show", "dev", "eth0"])?
            .contains("172.31.0.200"))
    })?;
    case::all(
        &mut site,
        &[
            Case {
                name: "others can read the secret of the pair",
                check: "pair_secret",
                subject: LINK_SECRET_FILE,
                also: &[],
                breaks: |site| site.script(&format!("chmod 644 {LINK_SECRET_FILE}")),
                mend: Mend::Run("chmod 600"),
                tidy,
            },
            Case {
                name: "the secret of the pair was not copied",
                check: "pair_secret",
                subject: LINK_SECRET_FILE,
                also: &[],
                breaks: |site| site.script(&format!("rm {LINK_SECRET_FILE}")),
                mend: Mend::By("copy the file to the other", |site, _| {
                    let secret = site.lab.lb_a().read(LINK_SECRET_FILE)?;
                    site.host().write(LINK_SECRET_FILE, secret)
                }),
                tidy,
            },
            Case {
                name: "the source is an address of no host",
                check: "pair_source",
                subject: "172.31",
                also: &["pair_link", "pair_adverts"],
                breaks: |site| edit(site, "172.31.15.233", "172.31.15.200"),
                mend: Mend::By("set `ha.source` to an address of this host", |site, _| {
                    site.configure()
                }),
                tidy,
            },
            Case {
                name: "the hosts have different virtual routers",
                check: "pair_adverts",
                subject: "172.31.0.68",
                also: &[],
                breaks: |site| edit(site, "virtual_router_id = 41", "virtual_router_id = 42"),
                mend: Mend::By("the same number on both hosts", |site, line| {
                    ensure!(line.found.contains("virtual router 41"), "{line:?}");
                    site.configure()
                }),
                tidy,
            },
            Case {
                name: "a firewall drops adverts of the active host",
                check: "pair_adverts",
                subject: "172.31.0.68",
                also: &[],
                breaks: |site| block(site, "ip protocol 112"),
                mend: Mend::By("allow IP protocol 112", |site, _| allow(site)),
                tidy,
            },
        ],
    )
}

#[test]
fn a_peer_that_does_not_answer() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::virtual_pair(&lab);
    let mut site = Site::with(lab, settings[0].clone())?;
    let mut pair = Pair::install(&site.lab, &settings)?.quiet();
    pair.start_again(1)?;
    site.pair = Some(pair);
    case::all(
        &mut site,
        &[Case {
            name: "the firewall of the peer drops the link",
            check: "pair_link",
            subject: "172.31.15.233",
            also: &[],
            breaks: |site| {
                site.balancer = 1;
                let blocked = block(site, "tcp dport 9146");
                site.balancer = 0;
                blocked
            },
            mend: Mend::By("on both hosts, allow TCP port 9146", |site, _| {
                site.lab
                    .lb_b()
                    .script("nft delete table inet guard")
                    .map(drop)
            }),
            tidy,
        }],
    )
}

fn edit(site: &Site, from: &str, to: &str) -> Result<()> {
    let text = site.settings.toml();
    ensure!(text.contains(from), "no {from:?} in {text}");
    site.host().write(CONFIG_FILE, text.replace(from, to))
}
