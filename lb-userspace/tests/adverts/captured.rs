//! What tshark says about the adverts that we send.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{Host, wait};
use nix::sys::signal::Signal;

use crate::stage::{Ours, SOON, Setup, Stage};

const CAPTURE: &str = "/run/adverts.pcap";

const FIELDS: [&str; 10] = [
    "ip.ttl",
    "ipv6.hlim",
    "ip.dsfield",
    "ipv6.tclass",
    "vrrp.version",
    "vrrp.virt_rtr_id",
    "vrrp.prio",
    "vrrp.checksum.status",
    "_ws.expert.message",
    "_ws.malformed",
];

#[test]
fn tshark_has_nothing_to_say_about_our_adverts() -> Result<()> {
    let multicast = |setup: &Setup| Setup {
        multicast: true,
        ..setup.clone()
    };
    let ipv6 = Setup {
        ipv6: true,
        ..Setup::v3()
    };
    let with_password = Setup {
        password: Some("s3cret"),
        ..Setup::v2()
    };
    let unicast = [Setup::v3(), Setup::v2(), with_password, ipv6];
    let stage = Stage::raise()?;
    for setup in unicast.iter().cloned().chain(unicast.iter().map(multicast)) {
        let capture = capture(&stage, &setup)?;
        let rows: BTreeSet<&str> = capture.lines().collect();
        let (version, family) = (setup.version, if setup.ipv6 { 6 } else { 4 });
        let ip = match family {
            4 => "255||0xc0||",
            _ => "|255||0x000000c0|",
        };
        // The checksum's status 1 is "good"; behind it would be complaints.
        let expected: BTreeSet<String> = [0, 150, 200]
            .map(|priority| format!("{ip}{version}|41|{priority}|1||"))
            .into();
        let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        ensure!(rows == expected, "{setup:?}: tshark has {rows:#?}");
    }
    Ok(())
}

/// What tshark makes of three adverts of ours, a line each.
fn capture(stage: &Stage, setup: &Setup) -> Result<String> {
    let there = &stage.theirs;
    let arguments = ["-U", "-i", "eth0", "-w", CAPTURE, "proto", "112"];
    let v6_arguments = ["-U", "-i", "eth0", "-w", CAPTURE, "ip6", "proto", "112"];
    let arguments: &[&str] = if setup.ipv6 {
        &v6_arguments
    } else {
        &arguments
    };
    there.script(&format!("rm -f {CAPTURE} /run/log/tcpdump.log"))?;
    let mut tcpdump = there.spawn("tcpdump", "tcpdump", arguments)?;
    wait::until_true("tcpdump listening", SOON, || {
        Ok(tcpdump.log().contains("listening on"))
    })?;
    let ours = Ours::open(stage, setup)?;
    for priority in [150, 200, 0] {
        ours.send(priority);
    }
    let packets = || -> Result<usize> { Ok(tshark(there, &["frame.number"])?.lines().count()) };
    wait::until_true("three adverts in the capture", SOON, || Ok(packets()? >= 3))?;
    tcpdump.signal(Signal::SIGINT)?;
    tcpdump.wait(Duration::from_secs(5))?;
    tshark(there, &FIELDS)
}

fn tshark(host: &Host, fields: &[&str]) -> Result<String> {
    let mut arguments = vec!["-r", CAPTURE, "-T", "fields", "-E", "separator=|"];
    for field in fields {
        arguments.extend(["-e", field]);
    }
    // tcpdump may be in the middle of writing a packet.
    let output = host.command("tshark").args(arguments).output()?;
    String::from_utf8(output.stdout).context("tshark printed no UTF-8")
}
