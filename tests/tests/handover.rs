//! No request is lost in a planned hand-over.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Scene, effort,
    load::{Failure, Load, Plan, Probe, Report, Reuse, Seen},
};

/// Time for which the load runs before and after each change of roles.
const AROUND: Duration = Duration::from_secs(1);

/// Serialises the tests, as two concurrent pairs would delay each other. Hold the result during a
/// test.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn no_request_fails_when_the_operator_hands_over_and_back() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    let loads = Loads::start(&scene)?;
    // Each round has two hand-overs: to the peer and back.
    for round in 0..effort(1, 5) {
        for from in [0, 1] {
            let moves = scene.ec2.moves();
            thread::sleep(AROUND);
            let said = scene.pair.agent(from)?.operate(&["failover"])?;
            println!("round {round}: {}", said.trim());
            // The hand-over is complete when the command `lb failover` exits.
            scene.wait_until_owner(1 - from, Duration::from_millis(200))?;
            scene.wait_until_agreed(1 - from)?;
            loads.none_failed(&scene)?;
            ensure!(
                scene.ec2.moves() == moves + 1,
                "one hand-over moved the Elastic IP {} times",
                scene.ec2.moves() - moves
            );
        }
    }
    thread::sleep(AROUND);
    loads.stop(&scene)
}

#[test]
fn no_request_fails_when_the_active_agent_is_told_to_end_and_when_it_returns() -> Result<()> {
    let _alone = alone();
    let mut scene = Scene::raise()?;
    let loads = Loads::start(&scene)?;
    for round in 0..effort(2, 10) {
        thread::sleep(AROUND);
        let status = scene.pair.take(0)?.sigterm()?;
        ensure!(
            status.success(),
            "told to end, the agent ended with {status}"
        );
        scene.wait_until_owner(1, Duration::from_secs(2))?;
        loads
            .none_failed(&scene)
            .with_context(|| format!("when the agent ended, round {round}"))?;
        thread::sleep(AROUND);
        // The host that starts again has the higher priority, so it takes over again without a
        // command.
        scene.pair.start_again(0)?;
        scene.wait_until_agreed(0)?;
        loads
            .none_failed(&scene)
            .with_context(|| format!("when the agent returned, round {round}"))?;
    }
    thread::sleep(AROUND);
    loads.stop(&scene)
}

#[test]
fn a_host_that_was_told_to_hand_over_leaves_it_at_that() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    scene.pair.agent(0)?.operate(&["failover"])?;
    scene.wait_until_agreed(1)?;
    let moves = scene.ec2.moves();
    // Within this time, the host with the higher priority would preempt its peer.
    thread::sleep(Duration::from_secs(3));
    scene.wait_until_agreed(1)?;
    ensure!(scene.ec2.moves() == moves, "it took the address back");
    let refused = scene.pair.agent(0)?.operate(&["failover"]);
    ensure!(
        refused.is_err(),
        "a standby was told to hand over, and said {refused:?}"
    );
    Ok(())
}

/// Loads of 200 requests per second: half of them on new connections, one every 10 ms whether or
/// not earlier requests were answered, and half on persistent connections.
struct Loads {
    fresh: Probe,
    kept: Load,
}

impl Loads {
    fn start(scene: &Scene) -> Result<Self> {
        let client = &scene.lab.client;
        let patient = Plan {
            patience: Duration::from_secs(10),
            ..Plan::https(&scene.lab)?
        };
        let kept = Plan {
            connections: 4,
            reuse: Reuse::Always,
            // A response takes a few milliseconds, so with this pause each connection sends a
            // request every 40 ms.
            pause: Duration::from_millis(36),
            ..patient.clone()
        };
        Ok(Self {
            fresh: Probe::steady(patient, Duration::from_millis(10), client),
            kept: kept.start(client),
        })
    }

    fn none_failed(&self, scene: &Scene) -> Result<()> {
        for load in [self.fresh.load(), &self.kept] {
            let report = load.news(&mut Seen::default());
            report
                .all_answered()
                .with_context(|| format!("{}{}", when(scene, &report), scene.pair.statuses()))?;
        }
        Ok(())
    }

    fn stop(self, scene: &Scene) -> Result<()> {
        for (report, what) in [(self.fresh.stop()?, "new"), (self.kept.stop()?, "lasting")] {
            report
                .all_answered()
                .with_context(|| format!("on {what} connections\n{}", scene.pair.statuses()))?;
            println!(
                "{} answered on {what} connections, the longest after {:?}",
                report.answers.len(),
                report.longest()
            );
        }
        Ok(())
    }
}

/// Returns when requests failed relative to the moves of the Elastic IP, for the message of a
/// failed test.
fn when(scene: &Scene, report: &Report) -> String {
    let moves = scene.follower.moves();
    let from = |moved: Instant, at: Instant| match at.checked_duration_since(moved) {
        Some(after) => format!("{after:?} after"),
        None => format!("{:?} before", moved.duration_since(at)),
    };
    let line = |failure: &Failure| {
        let distance = |moved: &Instant| {
            let (early, late) = ((*moved).min(failure.ended), (*moved).max(failure.ended));
            late.duration_since(early)
        };
        let nearest = moves.iter().map(|moved| moved.at).min_by_key(distance)?;
        Some(format!(
            "begun {} and failed {} the gateway had moved the address: {}\n",
            from(nearest, failure.began),
            from(nearest, failure.ended),
            failure.why
        ))
    };
    report.failures.iter().filter_map(line).collect()
}
