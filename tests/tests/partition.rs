//! Network partitions between the two hosts of a pair.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Scene,
    agent::{Agent, Role, Timeline},
    effort,
    load::{Load, Plan},
    partition::{Lost, Way},
    stall::Meter,
};

/// Maximum time for which both hosts may be active. The standby becomes active after a silence of
/// three advert intervals and a skew. The active host has detected the silence by then, asks the
/// EC2 API for the holder of the Elastic IP four times a second, and leaves the active role after
/// two answers that another host has the Elastic IP.
const BOTH: Duration = Duration::from_millis(1000);

/// Time limit for the Elastic IP to reach the right host after a change.
const SETTLING: Duration = Duration::from_secs(10);

/// Serialises the tests, as two concurrent pairs would delay each other. Hold the result during a
/// test.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn when_both_paths_are_lost_the_owner_decides_and_the_address_moves_once() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    let span = effort(Duration::from_secs(8), Duration::from_secs(60));
    for round in 0..effort(2, 20) {
        let observed = Observed::begin(&scene)?;
        let partition = scene.lab.part(Lost::Everything, Way::Both)?;
        thread::sleep(span);
        scene.wait_until_owner(1, Duration::ZERO)?;
        let roles = [0, 1].map(|host| scene.pair.agent(host).and_then(Agent::role));
        ensure!(
            matches!(roles, [Ok(Some(Role::Backup)), Ok(Some(Role::Master))]),
            "parted, they are {roles:?}\n{}",
            scene.pair.statuses()
        );
        let metrics = scene.pair.agent(0)?.metrics()?;
        ensure!(metrics.sum("lb_vrrp_stepped_back", &[]) == 1.0);
        observed.moves_were(1)?;

        partition.heal()?;
        // The host with the higher priority becomes active again, by a hand-over.
        scene.wait_until_agreed(0)?;
        observed.moves_were(2)?;
        observed
            .end(BOTH)
            .with_context(|| format!("round {round}\n{}", scene.pair.statuses()))?;
    }
    scene.calls_were_one_by_one()
}

#[test]
fn one_lost_path_changes_nothing() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    for lost in [Lost::Adverts, Lost::Link] {
        let observed = Observed::begin(&scene)?;
        let load = gentle(&scene)?;
        let partition = scene.lab.part(lost, Way::Both)?;
        thread::sleep(effort(Duration::from_secs(3), Duration::from_secs(30)));
        partition.heal()?;
        scene.wait_until_agreed(0)?;
        observed.moves_were(0)?;
        let timeline = observed.end(Duration::ZERO)?;
        for host in [0, 1] {
            let roles = timeline.roles(host);
            ensure!(roles.len() == 1, "without {lost:?}, {host} was {roles:?}");
        }
        load.stop()?.all_answered()?;
    }
    Ok(())
}

#[test]
fn a_path_that_is_lost_one_way_leaves_one_active_host() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    for from in [0, 1] {
        let observed = Observed::begin(&scene)?;
        let partition = scene.lab.part(Lost::Everything, Way::From(from))?;
        thread::sleep(effort(Duration::from_secs(6), Duration::from_secs(60)));
        let actives = scene.pair.actives();
        ensure!(
            actives.iter().filter(|active| **active).count() == 1,
            "nothing got from {from} to the other for a while, and active are {actives:?}\n{}",
            scene.pair.statuses()
        );
        partition.heal()?;
        scene.wait_until_agreed(0)?;
        let moves = observed.moves();
        ensure!(moves <= 2, "there and back are {moves} moves");
        observed.end(BOTH * 2)?;
    }
    Ok(())
}

#[test]
fn a_pause_of_the_active_agent_ends_with_one_active_host() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    let observed = Observed::begin(&scene)?;
    // The process is paused, as on a machine that swaps or is migrated by its hypervisor, and later
    // continues where it stopped.
    scene.pair.agent(0)?.pause()?;
    scene.wait_until_owner(1, SETTLING)?;
    thread::sleep(Duration::from_secs(1));
    scene.pair.agent(0)?.go_on()?;
    // The hosts hear each other again immediately, so the priorities decide which of them is
    // active.
    scene.wait_until_agreed(0)?;
    let moves = observed.moves();
    ensure!(moves <= 2, "there and back are {moves} moves");
    observed.end(BOTH)?;
    scene.calls_were_one_by_one()
}

/// Records the roles of both hosts and the moves of the Elastic IP while a test causes and ends a
/// disturbance.
struct Observed<'a> {
    scene: &'a Scene,
    watch: lab::agent::Watch,
    meter: Meter,
    moves: usize,
}

impl<'a> Observed<'a> {
    fn begin(scene: &'a Scene) -> Result<Self> {
        scene.wait_until_agreed(0)?;
        Ok(Self {
            scene,
            watch: scene.pair.watch(),
            meter: Meter::start(),
            moves: scene.ec2.moves(),
        })
    }

    fn moves(&self) -> usize {
        self.scene.ec2.moves() - self.moves
    }

    fn moves_were(&self, due: usize) -> Result<()> {
        let (moves, calls) = (self.moves(), self.scene.associations());
        ensure!(
            moves == due,
            "the address moved {moves} times where {due} were due: {calls:#?}\n{}",
            self.scene.pair.statuses()
        );
        Ok(())
    }

    /// Stops recording, and checks that the two hosts were not active at once for longer than
    /// `limit` plus the scheduling delay of the machine.
    fn end(self, limit: Duration) -> Result<Timeline> {
        let timeline = self.watch.stop()?;
        let (both, late) = (timeline.longest_with_two_actives(), self.meter.stop());
        println!("both were active for {both:?}; the machine was up to {late:?} late");
        ensure!(
            both <= limit + late,
            "both were active for {both:?}: {:?} and {:?}",
            timeline.roles(0),
            timeline.roles(1)
        );
        Ok(timeline)
    }
}

fn gentle(scene: &Scene) -> Result<Load> {
    let plan = Plan {
        connections: 2,
        pause: Duration::from_millis(20),
        ..Plan::https(&scene.lab)?
    };
    Ok(plan.start(&scene.lab.client))
}
