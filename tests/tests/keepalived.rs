//! A pair of an agent and the real keepalived, each as master and as backup, in VRRP versions 2
//! and 3.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab,
    agent::{self, Agent, Settings},
    cable::{self, End},
    capture::Capture,
    keepalived::{Keepalived, KeepalivedSettings, Role},
    topology::{BALANCERS, BALANCERS_PREFIX, VIRTUAL_IP},
};

/// Time limit for the hosts to elect a master.
const SOON: Duration = Duration::from_secs(15);

/// Priority of the host that is to be master.
const STRONG: u8 = 150;

/// Priority of the host that is to be backup.
const WEAK: u8 = 100;

/// Serialises the tests, as they measure times, which a concurrent test would distort.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An agent on the first balancer and keepalived on the second, both with the same version of VRRP.
struct Scene {
    lab: Lab,
    version: u8,
    agent_settings: Settings,
    keepalived_settings: KeepalivedSettings,
}

impl Scene {
    fn raise(version: u8, agent_priority: u8, keepalived_priority: u8) -> Result<Self> {
        let lab = Lab::raise()?;
        agent::install_certificate(&lab)?;
        // The advert interval is long enough to distinguish a goodbye (an advert with priority 0)
        // from silence on a busy machine.
        let interval = match version {
            2 => Duration::from_secs(1),
            _ => Duration::from_millis(500),
        };
        let [mut agent_settings, _] = Settings::virtual_pair(&lab);
        let ha = agent_settings.ha.as_mut().context("[ha]")?;
        ha.priority = agent_priority;
        ha.advert_interval = interval;
        ha.link = false;
        ha.more = format!("version = {version}");
        let [agent, keepalived] = [0, 1].map(|index| BALANCERS[index].1.into());
        let keepalived_settings = KeepalivedSettings {
            priority: keepalived_priority,
            version,
            advert_interval: interval,
            virtual_addresses: vec![format!("{VIRTUAL_IP}/{BALANCERS_PREFIX}")],
            ..KeepalivedSettings::between(keepalived, agent)
        };
        Ok(Self {
            lab,
            version,
            agent_settings,
            keepalived_settings,
        })
    }

    fn start_agent(&self) -> Result<Agent> {
        Agent::start_on(self.lab.lb_a(), &self.agent_settings)
    }

    fn start_keepalived(&self) -> Result<Keepalived> {
        Keepalived::start(self.lab.lb_b(), &self.keepalived_settings)
    }

    fn agent_does_not_preempt(&mut self) -> Result<()> {
        self.agent_settings.ha.as_mut().context("[ha]")?.preempt = false;
        Ok(())
    }

    /// Waits until the agent is master and has the virtual IP address, and keepalived is backup.
    fn agent_wins(&self, agent: &Agent, keepalived: &Keepalived) -> Result<()> {
        agent.wait_for_role(agent::Role::Master, SOON)?;
        keepalived.wait_for(Role::Backup, SOON)?;
        has_address(self.lab.lb_a())
    }

    /// Waits until keepalived is master and has the virtual IP address, and the agent is backup.
    fn keepalived_wins(&self, agent: &Agent, keepalived: &Keepalived) -> Result<()> {
        keepalived.wait_for(Role::Master, SOON)?;
        agent.wait_for_role(agent::Role::Backup, SOON)?;
        has_address(self.lab.lb_b())
    }

    /// Checks that the backup took over because adverts stopped without a goodbye (an advert with
    /// priority 0). `took` is the time from the end of the master's process until the backup, whose
    /// priority is [`WEAK`], became master.
    fn was_missed(&self, took: Duration) -> Result<()> {
        let least = self.longest_goodbye();
        ensure!(
            took > least,
            "a master that was killed was missed after {took:?} already"
        );
        println!("version {}, killed: {took:?}", self.version);
        Ok(())
    }

    /// Checks that the backup took over because of a goodbye (an advert with priority 0): the time
    /// `took` that the takeover needed must be short.
    fn said_goodbye(&self, took: Duration) -> Result<()> {
        let most = self.longest_goodbye();
        ensure!(
            took < most,
            "a master that was stopped was replaced after {took:?} only"
        );
        println!("version {}, stopped: {took:?}", self.version);
        Ok(())
    }

    /// Returns the longest time in which a backup takes over after a goodbye (an advert with
    /// priority 0); a takeover after the silence of the master takes longer. The last advert before
    /// a silence is up to an interval old; after a goodbye the backup waits for the skew.
    fn longest_goodbye(&self) -> Duration {
        let backup = KeepalivedSettings {
            priority: WEAK,
            ..self.keepalived_settings.clone()
        };
        backup.takeover() - backup.advert_interval - Duration::from_millis(20)
    }
}

fn has_address(host: &Host) -> Result<()> {
    let address = VIRTUAL_IP.to_string();
    let what = format!("{address} on {}", host.name());
    lab::wait::until_true(&what, SOON, || {
        Ok(host.run("ip", &["address", "show"])?.contains(&address))
    })
}

/// Runs `done` and `happens` concurrently, and returns the time from the start of `done` until
/// `happens` has returned.
fn timed(
    done: impl FnOnce() -> Result<()>,
    happens: impl FnOnce() -> Result<()> + Send,
) -> Result<Duration> {
    thread::scope(|scope| {
        let begun = Instant::now();
        let watcher = scope.spawn(move || happens().map(|()| begun.elapsed()));
        done()?;
        watcher
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the watching thread panicked"))
    })
}

#[test]
fn an_agent_with_the_higher_priority_leads_keepalived_in_version_3() -> Result<()> {
    agent_leads(3)
}

#[test]
fn an_agent_with_the_higher_priority_leads_keepalived_in_version_2() -> Result<()> {
    agent_leads(2)
}

fn agent_leads(version: u8) -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise(version, STRONG, WEAK)?;
    let capture = Capture::start(scene.lab.lb_b(), "adverts", "eth0", "proto 112")?;
    let keepalived = scene.start_keepalived()?;
    keepalived.wait_for(Role::Master, SOON)?;

    let agent = scene.start_agent()?;
    (scene.agent_wins(&agent, &keepalived)).context("it preempts a lower priority")?;
    thread::sleep(scene.keepalived_settings.takeover() * 2);
    let states = keepalived.states();
    ensure!(
        states == [Role::Backup, Role::Master, Role::Backup],
        "led by the agent, keepalived became {states:?}:\n{}",
        keepalived.log()
    );

    let missed = || keepalived.wait_for(Role::Master, SOON);
    scene.was_missed(timed(|| agent.sigkill(), missed)?)?;

    let agent = scene.start_agent()?;
    (scene.agent_wins(&agent, &keepalived)).context("it preempts on its return")?;

    let replaced = || keepalived.wait_for(Role::Master, SOON);
    scene.said_goodbye(timed(|| agent.sigterm().map(drop), replaced)?)?;
    tshark_is_content(capture, version)
}

#[test]
fn keepalived_with_the_higher_priority_leads_an_agent_in_version_3() -> Result<()> {
    keepalived_leads(3)
}

#[test]
fn keepalived_with_the_higher_priority_leads_an_agent_in_version_2() -> Result<()> {
    keepalived_leads(2)
}

fn keepalived_leads(version: u8) -> Result<()> {
    let _alone = alone();
    let scene = Scene::raise(version, WEAK, STRONG)?;
    let capture = Capture::start(scene.lab.lb_b(), "adverts", "eth0", "proto 112")?;
    let agent = scene.start_agent()?;
    agent.wait_for_role(agent::Role::Master, SOON)?;

    let keepalived = scene.start_keepalived()?;
    (scene.keepalived_wins(&agent, &keepalived)).context("it preempts a lower priority")?;
    thread::sleep(scene.keepalived_settings.takeover() * 2);
    scene.keepalived_wins(&agent, &keepalived)?;
    let metrics = agent.metrics()?;
    let [received, refused] = ["received", "refused"]
        .map(|what| metrics.sum(&format!("lb_vrrp_adverts_{what}_total"), &[]));
    ensure!(
        received >= 6.0 && refused == 0.0,
        "{received} adverts were received and {refused} refused"
    );

    let missed = || agent.wait_for_role(agent::Role::Master, SOON);
    scene.was_missed(timed(|| keepalived.kill9(), missed)?)?;
    has_address(scene.lab.lb_a())?;

    let keepalived = scene.start_keepalived()?;
    (scene.keepalived_wins(&agent, &keepalived)).context("it preempts on its return")?;

    let replaced = || agent.wait_for_role(agent::Role::Master, SOON);
    scene.said_goodbye(timed(|| keepalived.stop(), replaced)?)?;
    has_address(scene.lab.lb_a())?;
    tshark_is_content(capture, version)
}

#[test]
fn an_agent_that_does_not_preempt_leaves_a_lower_priority_be() -> Result<()> {
    let _alone = alone();
    for version in [3, 2] {
        let mut scene = Scene::raise(version, STRONG, WEAK)?;
        scene.agent_does_not_preempt()?;
        let keepalived = scene.start_keepalived()?;
        keepalived.wait_for(Role::Master, SOON)?;
        let agent = scene.start_agent()?;
        agent.wait_for_role(agent::Role::Backup, SOON)?;
        thread::sleep(scene.keepalived_settings.takeover() * 2);
        scene.keepalived_wins(&agent, &keepalived)?;
        let states = keepalived.states();
        ensure!(
            states == [Role::Backup, Role::Master],
            "version {version}: it became {states:?}"
        );
        drop(keepalived);
        agent.wait_for_role(agent::Role::Master, SOON)?;
    }
    Ok(())
}

#[test]
fn keepalived_that_does_not_preempt_leaves_an_agent_of_lower_priority_be() -> Result<()> {
    let _alone = alone();
    for version in [3, 2] {
        let mut scene = Scene::raise(version, WEAK, STRONG)?;
        scene.keepalived_settings.preempt = false;
        let agent = scene.start_agent()?;
        agent.wait_for_role(agent::Role::Master, SOON)?;
        let keepalived = scene.start_keepalived()?;
        thread::sleep(scene.keepalived_settings.takeover() * 2);
        let states = keepalived.states();
        ensure!(
            states == [Role::Backup],
            "version {version}: it became {states:?}:\n{}",
            keepalived.log()
        );
        scene.agent_wins(&agent, &keepalived)?;
        agent.sigkill()?;
        keepalived.wait_for(Role::Master, SOON)?;
    }
    Ok(())
}

/// Checks that the capture contains adverts of the agent and that tshark reports no error in them.
fn tshark_is_content(capture: Capture, version: u8) -> Result<()> {
    let agent = BALANCERS[0].1;
    let rows = capture.stop()?.fields(
        &format!("vrrp && ip.src == {agent}"),
        &[
            "vrrp.version",
            "vrrp.checksum.status",
            "_ws.expert.message",
            "_ws.malformed",
        ],
    )?;
    ensure!(!rows.is_empty(), "the agent sent no advert");
    // tshark's checksum status 1 means "good"; the columns after it are for errors, and must be
    // empty.
    let good = format!("{version}|1||");
    let strange = rows.iter().find(|row| **row != good);
    ensure!(strange.is_none(), "tshark says {strange:?}");
    println!("tshark is content with {} adverts", rows.len());
    Ok(())
}

/// Shows that keepalived works as these tests configure it, which the other tests rely on.
#[test]
fn two_keepalived_agree_and_hand_over() -> Result<()> {
    let _alone = alone();
    let (left, right) = (Host::raise("left")?, Host::raise("right")?);
    cable::connect(End::new(&left, "eth0"), End::new(&right, "eth0"))?;
    let [a, b] = [1, 2].map(|last| [10, 77, 0, last].into());
    for (host, address) in [(&left, a), (&right, b)] {
        host.script(&format!("ip address add {address}/24 dev eth0"))?;
    }
    let strong = KeepalivedSettings {
        priority: STRONG,
        virtual_addresses: vec!["10.77.0.100/24".to_owned()],
        ..KeepalivedSettings::between(a, b)
    };
    let weak = KeepalivedSettings {
        virtual_addresses: strong.virtual_addresses.clone(),
        ..KeepalivedSettings::between(b, a)
    };

    let master = Keepalived::start(&left, &strong)?;
    let backup = Keepalived::start(&right, &weak)?;
    master.wait_for(Role::Master, SOON)?;
    ensure!(backup.state() == Some(Role::Backup));
    let missed = || backup.wait_for(Role::Master, SOON);
    let silence = timed(|| master.kill9(), missed)?;
    ensure!(
        silence > weak.takeover() - 2 * weak.advert_interval,
        "a keepalived that was killed said goodbye: its backup was master after {silence:?}"
    );
    let master = Keepalived::start(&left, &strong)?;
    master.wait_for(Role::Master, SOON)?;
    backup.wait_for(Role::Backup, SOON)?;
    let replaced = || backup.wait_for(Role::Master, SOON);
    let goodbye = timed(|| master.stop(), replaced)?;
    println!("killed: {silence:?}, stopped: {goodbye:?}");
    Ok(())
}
