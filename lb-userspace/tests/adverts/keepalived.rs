//! Tests of adverts that are exchanged with a real keepalived on the other host.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::keepalived::{Keepalived, Role};
use lb_ha::advert::{Interval, Priority};

use crate::stage::{Ours, SOON, Setup, Stage};

fn every_kind() -> [Setup; 4] {
    [
        Setup::v3(),
        Setup::v2(),
        Setup {
            password: Some("s3cret"),
            ..Setup::v2()
        },
        Setup {
            ipv6: true,
            ..Setup::v3()
        },
    ]
}

#[track_caller]
fn each(setups: &[Setup], multicast: bool, holds: impl Fn(&Stage, &Setup) -> Result<()>) {
    for setup in setups {
        let setup = Setup {
            multicast,
            ..setup.clone()
        };
        let stage = Stage::raise().expect("a stage");
        if let Err(error) = holds(&stage, &setup) {
            panic!("{setup:?}: {error:?}");
        }
    }
}

#[test]
fn we_hear_keepalived_in_unicast() {
    each(&every_kind(), false, hears_it_and_its_goodbye);
}

#[test]
fn we_hear_keepalived_in_multicast() {
    each(&every_kind(), true, hears_it_and_its_goodbye);
}

fn hears_it_and_its_goodbye(stage: &Stage, setup: &Setup) -> Result<()> {
    let mut ours = Ours::open(stage, setup)?;
    let keepalived = Keepalived::start(&stage.theirs, &setup.keepalived())?;
    keepalived.wait_for(Role::Master, SOON)?;
    let heard = ours.hear(SOON)?;
    ensure!(heard.from == setup.their_address(), "{heard:?}");
    let advert = &heard.advert;
    ensure!(advert.priority == Priority::new(100), "{heard:?}");
    let interval = Interval::from_duration(setup.interval());
    ensure!(Some(advert.interval) == interval, "{heard:?}");
    ensure!(advert.addresses == [setup.virtual_address()], "{heard:?}");
    keepalived.stop()?;
    ours.hear_until("its goodbye", |heard| heard.advert.priority.is_goodbye())?;
    let counters = ours.counters();
    ensure!(counters.all_refused() == 0, "{counters:?}");
    Ok(())
}

#[test]
fn keepalived_hears_us_in_unicast_and_takes_over_when_we_fall_silent() {
    each(&every_kind(), false, keeps_it_backup);
}

#[test]
fn keepalived_hears_us_in_multicast_and_takes_over_when_we_fall_silent() {
    each(&every_kind(), true, keeps_it_backup);
}

fn keeps_it_backup(stage: &Stage, setup: &Setup) -> Result<()> {
    let ours = Ours::open(stage, setup)?;
    let advertising = ours.advertise(200, setup.interval());
    let settings = setup.keepalived();
    let keepalived = Keepalived::start(&stage.theirs, &settings)?;
    std::thread::sleep(settings.takeover() * 2);
    ensure!(
        keepalived.states() == [Role::Backup],
        "beside us it became {:?}:\n{}",
        keepalived.states(),
        keepalived.log()
    );
    advertising.abort();
    let silent = Instant::now();
    keepalived.wait_for(Role::Master, SOON)?;
    let took = silent.elapsed();
    // When advertising stopped, up to one interval had passed since the last advert; 20 ms are a
    // tolerance.
    let least = settings.takeover() - setup.interval() - Duration::from_millis(20);
    ensure!(took > least, "it took over {took:?} after our last advert");
    let sent = ours.counters();
    ensure!(sent.send_errors == 0, "{sent:?}");
    println!("{setup:?}: took over after {took:?}");
    Ok(())
}

#[test]
fn keepalived_takes_over_at_once_on_our_goodbye() {
    each(&[Setup::v3(), Setup::v2()], false, |stage, setup| {
        let ours = Ours::open(stage, setup)?;
        let advertising = ours.advertise(200, setup.interval());
        let settings = setup.keepalived();
        let keepalived = Keepalived::start(&stage.theirs, &settings)?;
        keepalived.wait_for(Role::Backup, SOON)?;
        std::thread::sleep(setup.interval() * 2);
        advertising.abort();
        let goodbye = Instant::now();
        ours.send(0);
        keepalived.wait_for(Role::Master, SOON)?;
        let took = goodbye.elapsed();
        let (least, most) = (settings.skew(), settings.takeover() - setup.interval());
        ensure!(
            (least..most).contains(&took),
            "it took over {took:?} after our goodbye, but its skew is {least:?}"
        );
        println!("{setup:?}: took over {took:?} after the goodbye");
        Ok(())
    });
}

#[test]
fn keepalived_that_is_master_steps_down_for_us() {
    each(&[Setup::v3()], false, |stage, setup| {
        let keepalived = Keepalived::start(&stage.theirs, &setup.keepalived())?;
        keepalived.wait_for(Role::Master, SOON)?;
        let ours = Ours::open(stage, setup)?;
        ours.send(200);
        keepalived.wait_for(Role::Backup, Duration::from_secs(1))
    });
}
