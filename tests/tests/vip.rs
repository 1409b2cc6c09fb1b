//! With a virtual IP address, established connections survive the loss of the host that steered
//! them.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Metrics, Pair, Role, Settings},
    ec2::Ec2 as _,
    load::{Plan, outage},
    partition::{Lost, Way},
    topology::{ELASTIC_IP, VIRTUAL_IP},
    trickle::{Basin, Trickle},
    wait,
};

const CONNECTIONS: u64 = 100;

/// Port of the servers that return bytes, and of the balancers' service for them.
const PORT: u16 = 7000;

const LIMIT: Duration = Duration::from_secs(20);

/// Serialises the tests, as two concurrent pairs would delay each other. Hold the result during a
/// test.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_hundred_connections_outlive_the_active_host() -> Result<()> {
    let _alone = alone();
    let site = Site::raise()?;
    let flows = site.trickle_while(|| site.lab.lb_a().destroy())?;
    let agent = site.pair.agent(1)?;
    agent.wait_for_role(Role::Master, LIMIT)?;
    ensure!(agent.metrics()?.sum("lb_virtual_ip_held", &[]) == 1.0);
    println!("the longest wait for an answer was {flows:?}");
    Ok(())
}

#[test]
fn a_hundred_connections_outlive_a_hand_over_and_the_return() -> Result<()> {
    let _alone = alone();
    let site = Site::raise()?;
    for from in [0, 1] {
        let longest = site.trickle_while(|| {
            site.pair.agent(from)?.operate(&["failover"])?;
            site.pair.wait_until_agreed(1 - from)
        })?;
        println!("the longest wait for an answer was {longest:?}");
    }
    Ok(())
}

#[test]
fn the_standby_is_synced_only_while_the_link_is_up() -> Result<()> {
    let _alone = alone();
    let lab = Lab::raise()?;
    let pair = Pair::start(&lab, &Settings::virtual_pair(&lab))?;
    let standby = pair.agent(1)?;
    let becomes = |synced: f64| {
        let what = format!("lb_peer_flows_synced being {synced}");
        let holds = |metrics: &Metrics| metrics.sum("lb_peer_flows_synced", &[]) == synced;
        standby.wait_for_metrics(&what, LIMIT, holds).map(drop)
    };
    becomes(1.0)?;
    let partition = lab.part(Lost::Link, Way::Both)?;
    becomes(0.0)?;
    ensure!(standby.status()?["ha"]["flows"]["synced"] == false);
    partition.heal()?;
    becomes(1.0)
}

#[test]
fn the_virtual_ip_is_with_one_host_and_answers_soon_after_a_loss() -> Result<()> {
    let _alone = alone();
    let mut site = Site::raise()?;
    ensure!(site.holders()? == [true, false], "not only lb-a has it");
    let agent = site.pair.take(0)?;
    let gap = outage(&site.lab, LIMIT, || agent.sigkill())?.lasted;
    println!("there was no service for {gap:?}");
    ensure!(
        gap < Duration::from_secs(1),
        "there was no service for {gap:?}"
    );
    // The killed agent could not remove the virtual IP address; the agent that is started next
    // removes it.
    site.pair.start_again(0)?;
    site.pair.wait_until_agreed(0)?;
    let limit = Duration::from_secs(2);
    wait::until_true("one holder of the address", limit, || {
        Ok(site.holders()? == [true, false])
    })?;
    let plan = Plan {
        requests: Some(100),
        ..Plan::https(&site.lab)?
    };
    plan.run(&site.lab.client)?.all_answered()
}

#[test]
fn a_hundred_connections_outlive_the_active_host_where_the_private_address_moves_along()
-> Result<()> {
    let _alone = alone();
    let lab = Lab::raise()?;
    let ec2 = lab.fake_ec2()?;
    let follower = lab.internet_gateway.follow_ec2(&ec2);
    let settings = Settings::elastic_pair_with_address(&lab, &*ec2);
    let site = Site::furnish(lab, settings)?;
    follower.wait_for(VIRTUAL_IP, LIMIT)?;
    let moved = || {
        ec2.cloud()
            .secondary
            .iter()
            .position(|held| held.contains(&VIRTUAL_IP))
    };
    ensure!(
        moved() == Some(0),
        "the private address is at {:?}",
        moved()
    );
    let longest = site.trickle_while(|| site.lab.lb_a().destroy())?;
    println!("the longest wait for an answer was {longest:?}");
    ensure!(
        moved() == Some(1),
        "the private address is at {:?}",
        moved()
    );
    ensure!(ec2.owner()?.is_some_and(|owner| owner.interface == 1));
    Ok(())
}

/// A pair with a virtual IP address, and a service on it for long-lived connections.
struct Site {
    pair: Pair,
    _basins: Vec<Basin>,
    lab: Lab,
}

impl Site {
    fn raise() -> Result<Self> {
        let lab = Lab::raise()?;
        lab.internet_gateway.point_elastic_ip_at(VIRTUAL_IP)?;
        let settings = Settings::virtual_pair(&lab);
        Self::furnish(lab, settings)
    }

    fn furnish(lab: Lab, settings: [Settings; 2]) -> Result<Self> {
        let address = |server: SocketAddr| SocketAddr::new(server.ip(), PORT);
        let basins: Vec<_> = (lab.webs.iter())
            .map(|web| Basin::start(web.host(), address(web.address())))
            .collect::<Result<_>>()?;
        let backends: Vec<_> = (lab.webs.iter())
            .map(|web| format!("{:?}", address(web.address()).to_string()))
            .collect();
        let settings = settings.map(|settings| Settings {
            more: format!(
                "[[pool]]\nname = \"basins\"\nbalance = \"round_robin\"\n\
                 check = {{ type = \"tcp\", interval = \"500ms\", timeout = \"200ms\" }}\n\
                 backends = [{}]\n\n\
                 [[service]]\nname = \"trickle\"\nlisten = \"{VIRTUAL_IP}:{PORT}\"\n\
                 mode = \"tcp\"\nforward = \"nat\"\npool = \"basins\"\n",
                backends.join(", ")
            ),
            ..settings
        });
        Ok(Self {
            pair: Pair::start(&lab, &settings)?,
            _basins: basins,
            lab,
        })
    }

    /// Sends data on long-lived connections before, during and after `happens`. Returns the longest
    /// time until data was returned.
    fn trickle_while(&self, happens: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let to = SocketAddr::from((ELASTIC_IP, PORT));
        let trickle = Trickle::start(&self.lab.client, to, CONNECTIONS);
        let went_on = |what: &str| {
            let due = trickle.drops() + CONNECTIONS * 10;
            wait::until_true(what, LIMIT, || Ok(trickle.drops() >= due))
        };
        went_on("ten drops on each connection")?;
        // The pause lets the standby receive the newest flows, which the active host sends shortly
        // after they begin.
        thread::sleep(Duration::from_secs(1));
        happens()?;
        let resumed = went_on("drops after what happened");
        let flows = trickle.stop().with_context(|| self.pair.statuses())?;
        resumed?;
        ensure!(flows.len() as u64 == CONNECTIONS);
        let longest = flows.iter().map(|flow| flow.longest).max();
        Ok(longest.unwrap_or_default())
    }

    /// Returns for each host whether it has the virtual IP address on its interface.
    fn holders(&self) -> Result<Vec<bool>> {
        let has = |host: &lab::Host| {
            let addresses = host.run("ip", &["-4", "-br", "address", "show", "dev", "eth0"])?;
            Ok(addresses.contains(&VIRTUAL_IP.to_string()))
        };
        self.lab.balancers.iter().map(has).collect()
    }
}
