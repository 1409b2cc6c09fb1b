//! The active host is lost, and the standby takes over.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Scene,
    agent::Role,
    effort,
    load::{Plan, outage},
    stall::Meter,
};

/// Maximum time without service in the median round of failovers.
const MEDIAN: Duration = Duration::from_millis(600);

/// Maximum time without service in the worst round of failovers.
const WORST: Duration = Duration::from_secs(1);

/// Time-out of a failover, after which the test fails.
const LIMIT: Duration = Duration::from_secs(20);

/// Serialises the tests, as they measure times, which a concurrent test would distort.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_standby_answers_soon_after_the_active_agent_is_killed() -> Result<()> {
    let _alone = alone();
    let mut scene = Scene::raise()?;
    let mut rounds = Rounds::default();
    for round in 0..effort(5, 20) {
        let moves = scene.ec2.moves();
        let agent = scene.pair.take(0)?;
        rounds.measure(round, &scene, || agent.sigkill())?;
        moved_once(&scene, moves, 1)?;
        scene.pair.agent(1)?.wait_for_role(Role::Master, LIMIT)?;
        let metrics = scene.pair.agent(1)?.metrics()?;
        let silences = metrics.sum("lb_failovers_total", &[("reason", "silence")]);
        ensure!(
            silences == f64::from(round + 1),
            "after {} losses, {silences} failovers were counted",
            round + 1
        );
        scene.pair.start_again(0)?;
        scene.wait_until_agreed(0)?;
    }
    scene.calls_were_one_by_one()?;
    rounds.are_quick()
}

#[test]
fn the_standby_answers_soon_after_the_active_host_is_cut_off() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    let mut rounds = Rounds::default();
    for round in 0..effort(5, 20) {
        let moves = scene.ec2.moves();
        rounds.measure(round, &scene, || scene.lab.lb_a().cut())?;
        moved_once(&scene, moves, 1)?;
        scene.lab.lb_a().restore()?;
        scene.wait_until_agreed(0)?;
    }
    scene.calls_were_one_by_one()?;
    rounds.are_quick()
}

#[test]
fn the_loss_of_the_standby_moves_nothing_and_nobody_notices() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    let moves = scene.ec2.moves();
    let load = Plan {
        pause: Duration::from_millis(20),
        ..Plan::https(&scene.lab)?
    }
    .start(&scene.lab.client);
    thread::sleep(Duration::from_millis(500));
    scene.lab.lb_b().cut()?;
    thread::sleep(Duration::from_secs(3));
    scene.lab.lb_b().restore()?;
    scene.wait_until_agreed(0)?;
    load.stop()?.all_answered()?;
    ensure!(
        scene.ec2.moves() == moves,
        "the Elastic IP moved {} times",
        scene.ec2.moves() - moves
    );
    Ok(())
}

#[test]
fn tls_sessions_resume_on_the_other_host() -> Result<()> {
    let _alone = alone();
    let mut scene = Scene::raise()?;
    // The load uses one connection at a time, so each has the session ticket from the previous
    // connection. The sessions are stored in the TLS configuration of `plan`, which its clones
    // share.
    let plan = Plan {
        requests: Some(10),
        connections: 1,
        ..Plan::https(&scene.lab)?
    };
    let before = plan.clone().run(&scene.lab.client)?;
    before.all_answered()?;
    ensure!(
        before.resumed == 9,
        "of 10 connections to one host, {} resumed a session",
        before.resumed
    );
    scene.pair.take(0)?.sigkill()?;
    scene.wait_until_owner(1, LIMIT)?;
    let after = plan.run(&scene.lab.client)?;
    after.all_answered()?;
    ensure!(
        after.resumed == 10,
        "of 10 connections to the other host, {} resumed a session",
        after.resumed
    );
    Ok(())
}

/// The time without service in each round of failovers, minus the scheduling delays of the machine
/// itself.
#[derive(Default)]
struct Rounds(Vec<Duration>);

impl Rounds {
    fn measure(
        &mut self,
        round: u32,
        scene: &Scene,
        lose: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let meter = Meter::start();
        let outage = outage(&scene.lab, LIMIT, lose).with_context(|| scene.pair.statuses())?;
        let (lasted, late) = (outage.lasted, meter.stop());
        println!(
            "round {round}: no service for {lasted:?}; the machine was delayed by up to {late:?}; {:?}",
            outage.report.why_failed()
        );
        self.0.push(lasted.saturating_sub(late));
        Ok(())
    }

    fn are_quick(mut self) -> Result<()> {
        self.0.sort();
        let (median, worst) = (self.0[self.0.len() / 2], self.0[self.0.len() - 1]);
        println!("median {median:?}, worst {worst:?}");
        ensure!(median < MEDIAN, "the median is {median:?}");
        ensure!(worst < WORST, "the worst is {worst:?}");
        Ok(())
    }
}

/// Checks that the loss of a host moved the Elastic IP exactly once, to the balancer `to`.
fn moved_once(scene: &Scene, before: usize, to: usize) -> Result<()> {
    scene.wait_until_owner(to, LIMIT)?;
    // A second move of the Elastic IP, which must not happen, would follow within this time.
    thread::sleep(Duration::from_millis(500));
    let moved = scene.ec2.moves() - before;
    ensure!(moved == 1, "one loss moved the Elastic IP {moved} times");
    scene.wait_until_owner(to, Duration::ZERO)
}
