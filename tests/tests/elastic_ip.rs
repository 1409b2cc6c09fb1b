//! Whatever the EC2 API does, the Elastic IP moves to the active host, and `lb status` reports the
//! cause of delays.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Scene,
    agent::{Agent, Role, Watch},
    ec2::{Faults, Imds, Instance},
    effort,
    load::Plan,
    topology::METADATA,
    wait,
};

/// Time limit for the Elastic IP to reach the active host once the EC2 API answers again: the
/// longest pause between two calls of the agent, with the random addition to it.
const PUT_RIGHT: Duration = Duration::from_secs(8);

/// Time limit for an active host to detect that the Elastic IP was moved away, and to move it back.
const NOTICED: Duration = Duration::from_secs(10);

const SOON: Duration = Duration::from_secs(5);

/// Serialises the tests, as two concurrent pairs would delay each other. Hold the result during a
/// test.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn long() -> Duration {
    effort(Duration::from_secs(6), Duration::from_secs(30))
}

#[test]
fn a_throttling_api_is_asked_gently_until_it_answers() -> Result<()> {
    lost_while("throttled", |faults| {
        faults.throttled = Faults::lasting(long());
    })
}

#[test]
fn a_failing_api_is_asked_until_it_answers() -> Result<()> {
    lost_while("error", |faults| {
        faults.failing = Faults::lasting(long());
    })
}

#[test]
fn an_api_that_hangs_is_given_up_and_asked_again() -> Result<()> {
    lost_while("timed_out", |faults| {
        faults.hanging = Faults::lasting(long());
    })
}

/// Kills the active host while the EC2 API has the given fault, and checks that the Elastic IP
/// moves once the EC2 API works again.
fn lost_while(outcome: &str, fault: impl FnOnce(&mut Faults)) -> Result<()> {
    let _alone = alone();
    let mut scene = Scene::raise()?;
    scene.ec2.forget_calls();
    let began = Instant::now();
    scene.ec2.faults(fault);
    scene.pair.take(0)?.sigkill()?;
    let standby = scene.pair.agent(1)?;
    standby.wait_for_role(Role::Master, SOON)?;

    let failed = [("operation", "AssociateAddress"), ("outcome", outcome)];
    let what = format!("a call that was counted as {outcome}");
    standby.wait_for_metrics(&what, SOON, |metrics| {
        metrics.sum("lb_elastic_ip_calls_total", &failed) >= 1.0
    })?;
    has_not_the_address_and_says_why(standby)?;

    let left = (began + long()).saturating_duration_since(Instant::now());
    scene
        .wait_until_owner(1, left + PUT_RIGHT)
        .with_context(|| scene.pair.statuses())?;
    // The agent makes at most four calls to the EC2 API in any second.
    let attempts = scene.associations().len();
    let most = 4 * (began.elapsed().as_secs() as usize + 1);
    ensure!(
        attempts <= most,
        "{attempts} attempts in {:?}",
        began.elapsed()
    );
    has_the_address(scene.pair.agent(1)?)?;
    ensure!(scene.ec2.moves() == 1, "{} moves", scene.ec2.moves());
    scene.calls_were_one_by_one()?;
    answered(&scene)
}

#[test]
fn descriptions_that_are_behind_the_truth_make_nobody_flap() -> Result<()> {
    let _alone = alone();
    let mut scene = Scene::raise()?;
    scene.ec2.forget_calls();
    scene
        .ec2
        .faults(|faults| faults.stale = Duration::from_secs(5));
    let watch = Watch::start(&scene.lab.balancers);
    scene.pair.take(0)?.sigkill()?;
    scene.wait_until_owner(1, SOON)?;
    // DescribeAddresses is set to be stale: for five seconds it still reports that the Elastic IP
    // is associated with lb-a.
    thread::sleep(Duration::from_secs(7));
    has_the_address(scene.pair.agent(1)?)?;
    let calls = scene.associations();
    ensure!(calls.len() == 1, "it was asked for again: {calls:#?}");
    scene.pair.start_again(0)?;
    scene.pair.wait_until_agreed(0)?;
    thread::sleep(Duration::from_secs(7));
    has_the_address(scene.pair.agent(0)?)?;
    ensure!(scene.ec2.moves() == 2, "{} moves", scene.ec2.moves());
    let timeline = watch.stop()?;
    // The second host was standby at the start, then active, and finally standby again.
    let roles = timeline.roles(1);
    ensure!(roles.len() == 3, "lb-b was {roles:?}");
    answered(&scene)
}

#[test]
fn a_permission_that_is_missing_is_said_and_used_once_it_is_given() -> Result<()> {
    let _alone = alone();
    let mut scene = Scene::raise()?;
    scene.ec2.faults(|faults| {
        faults.denied.insert("AssociateAddress".to_owned());
    });
    scene.pair.take(0)?.sigkill()?;
    let standby = scene.pair.agent(1)?;
    let denied = [("operation", "AssociateAddress"), ("outcome", "denied")];
    standby.wait_for_metrics("a call that was denied", SOON, |metrics| {
        metrics.sum("lb_elastic_ip_calls_total", &denied) >= 1.0
    })?;
    has_not_the_address_and_says_why(standby)?;
    let error = standby.status()?["ha"]["address"]["error"].clone();
    ensure!(
        error
            .as_str()
            .is_some_and(|error| error.contains("AssociateAddress")),
        "the status does not say what is not permitted: {error}"
    );
    scene.ec2.restore();
    scene.wait_until_owner(1, PUT_RIGHT)?;
    has_the_address(scene.pair.agent(1)?)?;
    answered(&scene)
}

#[test]
fn an_address_that_is_moved_by_hand_comes_back() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    for (moves, away) in [(1, Some(1)), (2, None)] {
        scene.ec2.move_to(away);
        // The gateway follows the Elastic IP with a delay, so that it may not have noticed that the
        // address was away: the call that moves it back is the evidence.
        wait::until_true("the call that moves it back", NOTICED, || {
            Ok(scene.ec2.moves() == moves)
        })
        .and_then(|()| scene.wait_until_owner(0, NOTICED))
        .with_context(|| format!("moved to {away:?}\n{}", scene.pair.statuses()))?;
        scene.pair.wait_until_agreed(0)?;
        has_the_address(scene.pair.agent(0)?)?;
        answered(&scene)?;
    }
    ensure!(scene.ec2.moves() == 2, "{} moves", scene.ec2.moves());
    Ok(())
}

#[test]
fn an_api_that_is_gone_takes_nothing_from_an_active_host() -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise()?;
    let watch = scene.pair.watch();
    scene.ec2.close();
    thread::sleep(effort(Duration::from_secs(7), Duration::from_secs(60)));
    answered(&scene)?;
    let unreachable = [("outcome", "unreachable")];
    scene
        .pair
        .agent(0)?
        .wait_for_metrics("a call that was not answered", SOON, |metrics| {
            metrics.sum("lb_elastic_ip_calls_total", &unreachable) >= 1.0
        })?;
    scene.ec2.open()?;
    scene.wait_until_agreed(0)?;
    let timeline = watch.stop()?;
    for host in [0, 1] {
        let roles = timeline.roles(host);
        ensure!(roles.len() == 1, "without an API, {host} was {roles:?}");
    }
    ensure!(scene.ec2.moves() == 0, "{} moves", scene.ec2.moves());
    Ok(())
}

#[test]
fn a_host_learns_its_interface_and_credentials_from_the_metadata_service() -> Result<()> {
    let _alone = alone();
    let lab = lab::Lab::raise()?;
    let ec2 = lab.fake_ec2()?;
    let follower = lab.internet_gateway.follow_ec2(&ec2);
    let imds = Imds::start(
        Some(lab.internet_gateway.host()),
        METADATA,
        Instance::of(&*ec2),
    )?;
    let settings = lab::agent::Settings::elastic_pair(&lab, &*ec2).map(|mut settings| {
        if let Some(ha) = &mut settings.ha
            && let lab::agent::Moves::ElasticIp {
                network_interface_id,
                ..
            } = &mut ha.moves
        {
            *network_interface_id = None;
        }
        settings
    });
    let mut pair = lab::agent::Pair::start_with_metadata(&lab, &settings)?;
    pair.take(0)?.sigkill()?;
    follower.wait_for(lab::topology::BALANCERS[1].1, SOON)?;
    let calls = ec2.calls();
    ensure!(
        calls.iter().all(|call| {
            let key = call.access_key.as_deref().unwrap_or_default();
            key.starts_with("ASIALAB")
        }),
        "not every call has the role's key: {calls:#?}"
    );
    ensure!(!imds.requests().is_empty());
    Ok(())
}

fn has_the_address(agent: &Agent) -> Result<()> {
    agent.wait_for_metrics("the owner to be said to be this host", NOTICED, |metrics| {
        metrics.sum("lb_elastic_ip_owner", &[("owner", "self")]) == 1.0
    })?;
    let address = agent.status()?["ha"]["address"].clone();
    ensure!(
        address["owner"] == "self" && address["error"].is_null(),
        "it has the address, and its status says {address:#}"
    );
    Ok(())
}

fn has_not_the_address_and_says_why(agent: &Agent) -> Result<()> {
    let metrics = agent.metrics()?;
    ensure!(
        metrics.sum("lb_elastic_ip_owner", &[("owner", "self")]) == 0.0,
        "it says that it has the address"
    );
    let ha = agent.status()?["ha"].clone();
    ensure!(
        ha["role"] == "master"
            && ha["address"]["owner"] != "self"
            && ha["address"]["error"].is_string(),
        "it has not got the address, and its status says {ha:#}"
    );
    Ok(())
}

fn answered(scene: &Scene) -> Result<()> {
    let plan = Plan {
        requests: Some(20),
        ..Plan::https(&scene.lab)?
    };
    let report = plan.run(&scene.lab.client)?;
    report.all_answered()
}
