//! Tests of what tshark reports about the adverts that the agent sends.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use lab::{
    capture::{Capture, Captured},
    wait,
};

use crate::stage::{Ours, SOON, Setup, Stage};

const FIELDS: [&str; 11] = [
    "ip.ttl",
    "ipv6.hlim",
    "ip.dsfield",
    "ipv6.tclass",
    "ip.hdr_len",
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
    for setup in (unicast.iter().cloned()).chain(unicast.iter().map(multicast)) {
        let rows = capture(&stage, &setup)?.fields("vrrp", &FIELDS)?;
        let ip = if setup.ipv6 {
            "|255||0x000000c0|"
        } else {
            "255||0xc0||20"
        };
        // A checksum status of 1 means "good" in tshark. The two fields after it are for errors,
        // and are empty.
        let version = setup.version;
        let expected = [0, 150, 200].map(|priority| format!("{ip}|{version}|41|{priority}|1||"));
        let (rows, expected) = (BTreeSet::from_iter(rows), BTreeSet::from(expected));
        ensure!(rows == expected, "{setup:?}: tshark has {rows:#?}");
    }
    Ok(())
}

/// Captures three adverts that the agent's socket sends, as the other host receives them.
fn capture(stage: &Stage, setup: &Setup) -> Result<Captured> {
    let filter = if setup.ipv6 {
        "ip6 proto 112"
    } else {
        "ip proto 112"
    };
    let capture = Capture::start(&stage.theirs, "adverts", "eth0", filter)?;
    let ours = Ours::open(stage, setup)?;
    for priority in [150, 200, 0] {
        ours.send(priority);
    }
    wait::until_true("three adverts in the capture", SOON, || {
        Ok(capture.count()? >= 3)
    })?;
    capture.stop()
}
