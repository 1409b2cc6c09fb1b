//! Tests in which interfaces, addresses or privileges are missing, at the start or later.

use std::{env, process::Command};

use anyhow::{Result, ensure};
use lab::wait;

use crate::stage::{INTERVAL, Ours, SOON, Setup, Stage};

#[test]
fn an_address_that_comes_later_is_waited_for() -> Result<()> {
    let stage = Stage::raise()?;
    stage.ours.script("ip address del 10.77.0.1/24 dev eth0")?;
    let mut ours = Ours::open(&stage, &Setup::v3())?;
    ours.send(100);
    let counters = ours.counters();
    ensure!(
        (counters.sent, counters.send_errors) == (0, 1),
        "{counters:?}"
    );
    stage.ours.script("ip address add 10.77.0.1/24 dev eth0")?;
    both_ways(&stage, &mut ours, &Setup::v3())
}

#[test]
fn an_interface_that_is_down_for_a_while_is_borne() -> Result<()> {
    for setup in both_casts() {
        let stage = Stage::raise()?;
        let mut ours = Ours::open(&stage, &setup)?;
        both_ways(&stage, &mut ours, &setup)?;
        stage.ours.script("ip link set eth0 down")?;
        wait::until_true("an advert that cannot be sent", SOON, || {
            ours.send(100);
            Ok(ours.counters().send_errors > 0)
        })?;
        stage.ours.script("ip link set eth0 up")?;
        both_ways(&stage, &mut ours, &setup)?;
    }
    Ok(())
}

#[test]
fn adverts_pass_again_over_an_interface_that_was_recreated() -> Result<()> {
    for setup in both_casts() {
        let stage = Stage::raise()?;
        let mut ours = Ours::open(&stage, &setup)?;
        both_ways(&stage, &mut ours, &setup)?;
        stage.ours.script("ip link del eth0")?;
        ours.send(100);
        let counters = ours.counters();
        ensure!(counters.send_errors == 1, "{counters:?}");
        stage.lay_cable()?;
        both_ways(&stage, &mut ours, &setup)?;
    }
    Ok(())
}

#[test]
fn an_interface_that_comes_later_is_waited_for() -> Result<()> {
    for setup in both_casts() {
        let stage = Stage::raise()?;
        stage.ours.script("ip link del eth0")?;
        let mut ours = Ours::open(&stage, &setup)?;
        stage.lay_cable()?;
        both_ways(&stage, &mut ours, &setup)?;
    }
    Ok(())
}

fn both_casts() -> [Setup; 2] {
    let multicast = Setup {
        multicast: true,
        ..Setup::v3()
    };
    [Setup::v3(), multicast]
}

/// Asserts that our host receives adverts of the other host, and the other host those of ours.
fn both_ways(stage: &Stage, ours: &mut Ours, setup: &Setup) -> Result<()> {
    let mut theirs = Ours::open_theirs(stage, setup)?;
    let ours_go_out = ours.advertise(17, INTERVAL);
    let theirs_go_out = theirs.advertise(18, INTERVAL);
    let came = theirs.hear_until("our adverts", |heard| heard.advert.priority.get() == 17);
    let went = ours.hear_until("their adverts", |heard| heard.advert.priority.get() == 18);
    ours_go_out.abort();
    theirs_go_out.abort();
    came?;
    went.map(drop)
}

#[test]
fn without_cap_net_raw_it_is_said_what_is_missing() -> Result<()> {
    // The test starts its own binary again without the capability, and this part runs in that
    // process.
    if env::var_os("LB_TEST_WITHOUT_CAP_NET_RAW").is_some() {
        let stage = Stage::raise()?;
        let error = Ours::open(&stage, &Setup::v3()).err();
        let said = format!("{:#}", error.expect("refused"));
        ensure!(said.contains("CAP_NET_RAW"), "{said}");
        println!("it said: {said}");
        return Ok(());
    }
    let output = Command::new("setpriv")
        .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", "--"])
        .arg(env::current_exe()?)
        .args([
            "--exact",
            "interfaces::without_cap_net_raw_it_is_said_what_is_missing",
        ])
        .arg("--nocapture")
        .env("LB_TEST_WITHOUT_CAP_NET_RAW", "1")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.contains("it said:"),
        "{said}"
    );
    Ok(())
}
