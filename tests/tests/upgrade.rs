//! The agent is reloaded and upgraded under traffic.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, CERTIFICATE_FILE, CONFIG_FILE, Settings, install_certificate},
    effort,
    load::{Load, Plan, Reuse},
    streams::{Backend, Streams},
    topology::{BALANCERS, ELASTIC_IP},
    wait,
};

/// Port of the balancer's service for long-lived streams.
const PORT: u16 = 8081;

/// Time limit for an agent to exit after its last connection has ended.
const ENDING: Duration = Duration::from_secs(20);

#[test]
fn nothing_is_lost_by_reloads_and_by_processes_that_take_over() -> Result<()> {
    let site = Site::raise()?;
    let agent = &site.agent;
    let loads = site.loads()?;
    let streams = Streams::open(&site.lab.client, SocketAddr::from((ELASTIC_IP, PORT)))?;
    wait::until_true("messages on the streams", ENDING, || {
        Ok(streams.messages() > 20)
    })?;
    let (reloads, upgrades) = (effort(5, 50), effort(3, 10));
    for _ in 0..reloads {
        agent.operate(&["reload"])?;
    }
    for _ in 0..upgrades {
        let said = agent.upgrade()?;
        ensure!(said.contains("has taken over"), "{said}");
        // From here on, status and metrics are those of the new process alone.
        agent.status()?;
        wait::until_true("handshakes with the next process", ENDING, || {
            Ok(handshakes(agent, "true")? > 20.0)
        })?;
        // Clients open new persistent connections to the new process, and resume their TLS sessions
        // on them.
        let full = handshakes(agent, "false")?;
        ensure!(
            full < 5.0,
            "{full} full handshakes in a process that took over"
        );
    }
    for load in loads {
        let report = load.stop()?;
        report.all_answered()?;
        ensure!(report.shares().len() == 4, "{:?}", report.shares());
    }
    // The streams began in the first process, which still serves them.
    let messages = streams.stop()?;
    ensure!(messages.iter().all(|count| *count > 20), "{messages:?}");
    wait::until_true("one agent that is left", ENDING, || {
        Ok(site.processes()? == 1)
    })?;
    site.everything_answers()
}

#[test]
fn a_process_that_cannot_take_over_leaves_the_other_serving() -> Result<()> {
    let site = Site::raise()?;
    let agent = &site.agent;
    let loads = site.loads()?;
    let refused = |what: &str| -> Result<()> {
        let error = agent.upgrade().err().context("it took over")?.to_string();
        ensure!(
            error.contains(what) && error.contains("continues to serve"),
            "{error}"
        );
        agent.status().map(drop)
    };
    // The first of two wrong configurations has an error that is found before anything is passed
    // from the old process to the new one.
    let toml = site.settings.toml();
    site.write(&toml.replace("round_robin", "round_robbing"))?;
    refused("round_robbing")?;
    // The error of the second configuration is found only when the new process, which has received
    // the listening sockets of the old one, binds an address that another program uses.
    let taken = format!("{}:22443", BALANCERS[0].1);
    let other = Backend::start(site.lab.lb_a(), taken.parse()?)?;
    site.write(&format!(
        "{toml}\n[[service]]\nname = \"more\"\nlisten = \"{taken}\"\nmode = \"http\"\npool = \"web\"\n"
    ))?;
    refused("22443")?;
    site.write(&toml)?;
    drop(other);
    ensure!(site.processes()? == 1, "a process was left");
    site.everything_answers()?;
    agent.operate(&["reload"])?;
    let said = agent.upgrade()?;
    ensure!(said.contains("has taken over"), "{said}");
    for load in loads {
        load.stop()?.all_answered()?;
    }
    site.everything_answers()
}

#[test]
fn settings_that_are_bound_at_the_start_take_effect_with_the_next_process() -> Result<()> {
    let site = Site::raise()?;
    let agent = &site.agent;
    let loads = site.loads()?;
    let toml = site.settings.toml();
    for workers in [1, 4, 2] {
        let text = format!("{toml}\n[http]\nworkers = {workers}\n");
        site.write(&text)?;
        agent.upgrade()?;
        wait::until_true("handshakes with the next process", ENDING, || {
            Ok(handshakes(agent, "true")? > 20.0)
        })?;
    }
    for load in loads {
        load.stop()?.all_answered()?;
    }
    site.everything_answers()
}

/// Returns the number of TLS handshakes that the agent's current process has counted.
fn handshakes(agent: &Agent, resumed: &str) -> Result<f64> {
    let metrics = agent.metrics()?;
    Ok(metrics.sum("lb_tls_handshakes_total", &[("resumed", resumed)]))
}

/// A balancer whose agent runs as its systemd unit starts it, with a service for long-lived
/// streams.
struct Site {
    agent: Agent,
    settings: Settings,
    _backends: Vec<Backend>,
    lab: Lab,
}

impl Site {
    fn raise() -> Result<Self> {
        let lab = Lab::raise()?;
        let address = |web: SocketAddr| SocketAddr::new(web.ip(), PORT);
        let backends: Vec<_> = (lab.webs.iter())
            .map(|web| Backend::start(web.host(), address(web.address())))
            .collect::<Result<_>>()?;
        let addresses: Vec<_> = (lab.webs.iter())
            .map(|web| format!("{:?}", address(web.address()).to_string()))
            .collect();
        let settings = Settings {
            more: format!(
                "[[pool]]\nname = \"streams\"\nbackends = [{}]\n\n\
                 [[service]]\nname = \"streams\"\nlisten = \"{}:{PORT}\"\nmode = \"http\"\n\
                 pool = \"streams\"\n",
                addresses.join(", "),
                BALANCERS[0].1,
            ),
            ..Settings::of(&lab)
        };
        install_certificate(&lab)?;
        lab.lb_a().write(CONFIG_FILE, settings.toml())?;
        let agent = Agent::start_as_unit(lab.lb_a())?;
        Ok(Self {
            agent,
            settings,
            _backends: backends,
            lab,
        })
    }

    /// Replaces the agent's configuration file, which the user that the agent runs as can read.
    fn write(&self, toml: &str) -> Result<()> {
        let host = self.lab.lb_a();
        host.write(CONFIG_FILE, toml)?;
        host.script(&format!(
            "chown --reference={CERTIFICATE_FILE} {CONFIG_FILE}"
        ))
        .map(drop)
    }

    /// Starts loads on new connections that the kernel forwards, and on new and persistent HTTPS
    /// connections that the agent serves. The loads run until they are stopped.
    fn loads(&self) -> Result<Vec<Load>> {
        let https = Plan::https(&self.lab)?;
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

    fn processes(&self) -> Result<usize> {
        let found = self.lab.lb_a().run("pgrep", &["-c", "-x", "lb"])?;
        Ok(found.trim().parse()?)
    }

    fn everything_answers(&self) -> Result<()> {
        for plan in [Plan::http(), Plan::https(&self.lab)?] {
            let plan = Plan {
                requests: Some(100),
                ..plan
            };
            let report = plan.run(&self.lab.client)?;
            report.all_answered()?;
            ensure!(report.shares().len() == 4, "{:?}", report.shares());
        }
        Ok(())
    }
}
