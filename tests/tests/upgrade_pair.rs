//! The agents of a pair are upgraded under traffic, without a change of roles.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{CONFIG_FILE, Pair, Role, Settings, Watch},
    effort,
    load::{Load, Plan, Reuse},
    streams::{Backend, Streams},
    topology::{BALANCERS, ELASTIC_IP, VIRTUAL_IP},
    wait,
};

/// Port of the balancers' service for long-lived streams.
const PORT: u16 = 8081;

const LIMIT: Duration = Duration::from_secs(20);

/// Serialises the tests, as two concurrent pairs would delay each other. Hold the result during a
/// test.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn both_hosts_of_a_pair_are_upgraded_and_nothing_is_lost() -> Result<()> {
    let _alone = alone();
    let lab = Lab::raise()?;
    lab.internet_gateway.point_elastic_ip_at(VIRTUAL_IP)?;
    let site = Site::furnish(&lab, Settings::virtual_pair(&lab))?;
    let loads = site.loads()?;
    let streams = Streams::open(&lab.client, SocketAddr::from((ELASTIC_IP, PORT)))?;
    wait::until_true("messages on the streams", LIMIT, || {
        Ok(streams.messages() > 20)
    })?;
    let watch = site.pair.watch();
    for _ in 0..effort(2, 10) {
        for host in [0, 1] {
            site.upgrade(host)?;
            site.pair.wait_until_agreed(0)?;
        }
    }
    site.stood_by(1, watch)?;
    for load in loads {
        let report = load.stop()?;
        report.all_answered()?;
        ensure!(report.shares().len() == 4, "{:?}", report.shares());
    }
    // The streams began in the first process of the active host, which still serves them.
    let messages = streams.stop()?;
    ensure!(messages.iter().all(|count| *count > 20), "{messages:?}");
    // The new process of the active host can still hand over to the other host.
    site.pair.agent(0)?.operate(&["failover"])?;
    site.pair.wait_until_agreed(1)
}

#[test]
fn an_upgrade_of_the_active_host_moves_no_elastic_ip() -> Result<()> {
    let _alone = alone();
    let lab = Lab::raise()?;
    let ec2 = lab.fake_ec2()?;
    let _follower = lab.internet_gateway.follow_ec2(&ec2);
    let site = Site::furnish(&lab, Settings::elastic_pair(&lab, &*ec2))?;
    let loads = site.loads()?;
    let moves = ec2.moves();
    let watch = site.pair.watch();
    for _ in 0..3 {
        site.upgrade(0)?;
        site.pair.wait_until_agreed(0)?;
    }
    site.stood_by(1, watch)?;
    ensure!(ec2.moves() == moves, "it was moved");
    for load in loads {
        load.stop()?.all_answered()?;
    }
    Ok(())
}

#[test]
fn a_process_that_cannot_go_on_in_the_pair_leaves_the_role_where_it_is() -> Result<()> {
    let _alone = alone();
    let lab = Lab::raise()?;
    lab.internet_gateway.point_elastic_ip_at(VIRTUAL_IP)?;
    let site = Site::furnish(&lab, Settings::virtual_pair(&lab))?;
    let loads = site.loads()?;
    let refused = |host: usize, toml: &str, what: &str| -> Result<()> {
        let watch = site.pair.watch();
        lab.balancers[host].write(CONFIG_FILE, toml)?;
        let error = site.pair.agent(host)?.operate(&["upgrade"]);
        let error = error.err().context("it took over")?.to_string();
        ensure!(
            error.contains(what) && error.contains("continues to serve"),
            "{error}"
        );
        site.pair.wait_until_agreed(host)?;
        lab.balancers[host].write(CONFIG_FILE, site.settings[host].toml())?;
        site.stood_by(1 - host, watch)
    };
    // The first of two wrong configurations has an error that is found before the running process
    // leaves its role to the new process.
    let toml = site.settings[0].toml();
    let other = toml.replace(&VIRTUAL_IP.to_string(), "172.31.0.201");
    refused(0, &other, "addresses that move")?;
    // The error of the second configuration is found only when the running process has left the
    // pair: another program uses the port that is configured for the link between the agents.
    site.pair.agent(0)?.operate(&["failover"])?;
    site.pair.wait_until_agreed(1)?;
    let taken = SocketAddr::from((BALANCERS[1].1, 9246));
    let program = Backend::start(&lab.balancers[1], taken)?;
    let toml = site.settings[1].toml();
    let other = toml.replace("[ha.link]", "[ha.link]\nport = 9246");
    refused(1, &other, "9246")?;
    drop(program);

    let watch = site.pair.watch();
    site.upgrade(1)?;
    site.pair.wait_until_agreed(1)?;
    site.stood_by(0, watch)?;
    for load in loads {
        load.stop()?.all_answered()?;
    }
    Ok(())
}

/// A pair in which both hosts have a service for long-lived streams.
struct Site<'lab> {
    pair: Pair,
    settings: [Settings; 2],
    _backends: Vec<Backend>,
    lab: &'lab Lab,
}

impl<'lab> Site<'lab> {
    fn furnish(lab: &'lab Lab, settings: [Settings; 2]) -> Result<Self> {
        let address = |web: SocketAddr| SocketAddr::new(web.ip(), PORT);
        let backends: Vec<_> = (lab.webs.iter())
            .map(|web| Backend::start(web.host(), address(web.address())))
            .collect::<Result<_>>()?;
        let addresses: Vec<_> = (lab.webs.iter())
            .map(|web| format!("{:?}", address(web.address()).to_string()))
            .collect();
        let settings = settings.map(|settings| Settings {
            more: format!(
                "[[pool]]\nname = \"streams\"\nbackends = [{}]\n\n\
                 [[service]]\nname = \"streams\"\nlisten = \"{}:{PORT}\"\nmode = \"http\"\n\
                 pool = \"streams\"\n",
                addresses.join(", "),
                settings.listen,
            ),
            ..settings
        });
        Ok(Self {
            pair: Pair::start(lab, &settings)?,
            settings,
            _backends: backends,
            lab,
        })
    }

    fn upgrade(&self, host: usize) -> Result<()> {
        let said = self.pair.agent(host)?.operate(&["upgrade"])?;
        ensure!(said.contains("has taken over"), "{said}");
        Ok(())
    }

    /// Checks that this host was never active while it was watched.
    fn stood_by(&self, host: usize, watch: Watch) -> Result<()> {
        let roles = watch.stop()?.roles(host);
        ensure!(
            roles.iter().all(|(_, role)| *role == Role::Backup),
            "the standby became active: {roles:?}; they say of themselves:\n{}",
            self.pair.statuses()
        );
        Ok(())
    }

    /// Starts loads on new connections that the kernel forwards, and on new and persistent HTTPS
    /// connections that the agent serves. The loads run until they are stopped.
    fn loads(&self) -> Result<Vec<Load>> {
        let https = Plan::https(self.lab)?;
        let plans = [
            Plan::http(),
            https.clone(),
            Plan {
                reuse: Reuse::Always,
                ..https
            },
        ];
        let start = |plan| {
            let plan = Plan {
                connections: 4,
                pause: Duration::from_millis(4),
                ..plan
            };
            plan.start(&self.lab.client)
        };
        Ok(plans.map(start).into())
    }
}
