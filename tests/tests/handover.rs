//! What is planned costs nobody a request.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Scene, effort,
    load::{Load, Plan, Reuse},
};

/// How long the load runs before and after each change.
const AROUND: Duration = Duration::from_secs(1);

/// Two pairs at once would be late for each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn no_request_fails_when_the_operator_hands_over_and_back() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    let loads = Loads::start(&scene)?;
    // There and back is two of them.
    for round in 0..effort(1, 5) {
        for from in [0, 1] {
            let moves = scene.ec2.moves();
            thread::sleep(AROUND);
            let said = scene.pair.agent(from)?.operate(&["failover"])?;
            println!("round {round}: {}", said.trim());
            // It is over when the command ends.
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
        // Its priority is the higher one: it takes over again, without being told.
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
    // Its priority is the higher one, and it preempts.
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

/// Two hundred requests a second, half of them on connections that last.
struct Loads {
    fresh: Load,
    kept: Load,
}

impl Loads {
    fn start(scene: &Scene) -> Result<Self> {
        let plan = |reuse| {
            anyhow::Ok(Plan {
                connections: 4,
                reuse,
                // An answer takes a few milliseconds more.
                pause: Duration::from_millis(36),
                patience: Duration::from_secs(10),
                ..Plan::https(&scene.lab)?
            })
        };
        Ok(Self {
            fresh: plan(Reuse::Never)?.start(&scene.lab.client),
            kept: plan(Reuse::Always)?.start(&scene.lab.client),
        })
    }

    fn none_failed(&self, scene: &Scene) -> Result<()> {
        let failed = self.fresh.failed() + self.kept.failed();
        ensure!(
            failed == 0,
            "{failed} requests failed\n{}",
            scene.pair.statuses()
        );
        Ok(())
    }

    fn stop(self, scene: &Scene) -> Result<()> {
        for (load, what) in [(self.fresh, "new"), (self.kept, "lasting")] {
            let report = load.stop()?;
            report
                .all_answered()
                .with_context(|| format!("on {what} connections\n{}", scene.pair.statuses()))?;
            println!("{} answered on {what} connections", report.answers.len());
        }
        Ok(())
    }
}
