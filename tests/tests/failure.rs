//! Backends fail, recover and are drained under load.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Settings},
    load::{Body, Load, Plan, Report, Reuse},
    stall::Meter,
    wait,
    web::SLOW_BYTES,
};

/// Time limit for the kernel to stop choosing a dead backend after its health checks have failed.
const ALLOWANCE: Duration = Duration::from_millis(100);

/// Time for which the load continues after a failed backend should be down: any request that is
/// sent to it within this time fails.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// Number of HTTPS connections of each load.
const CONNECTIONS: usize = 4;

/// Serialises the tests, as they measure times, which a concurrent test would distort.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_killed_backend_is_left_out_in_time_and_https_clients_never_notice() -> Result<()> {
    let _alone = alone();
    let mut lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    let agent = Agent::start(&lab, &settings)?;
    let loads = Loads::start(&lab)?;
    thread::sleep(Duration::from_secs(1));

    lab.web("web2")?.kill()?;
    let killed = Instant::now();
    let meter = Meter::start();
    // The agent is not polled meanwhile: a tight loop of requests would be additional load.
    thread::sleep(settings.detection() + AFTERWARDS);
    let late = meter.stop();
    ensure!(!agent.is_up("web2")?, "web2 is dead, and still called up");

    let reports = loads.stop()?;
    reports.left_out("web2", killed, settings.detection(), late)?;
    for report in reports.https {
        report.all_answered().context("of the HTTPS requests")?;
    }
    lab.web("web2")?.start()?;
    agent.wait_for_backend("web2", true, Duration::from_secs(10))?;
    takes_its_share(&lab, "web2")
}

#[test]
fn a_backend_that_falls_silent_is_left_out_in_time() -> Result<()> {
    let _alone = alone();
    let mut lab = Lab::raise()?;
    let settings = Settings {
        // The time-out is short, because a silent backend is down only after the time-out of its
        // last check.
        timeout: Duration::from_millis(50),
        ..Settings::of(&lab)
    };
    let agent = Agent::start(&lab, &settings)?;
    let loads = Loads::start(&lab)?;
    thread::sleep(Duration::from_secs(1));

    lab.web("web2")?.pull_cable()?;
    let silent = Instant::now();
    let meter = Meter::start();
    // The agent is not polled meanwhile: a tight loop of requests would be additional load.
    thread::sleep(settings.detection() + AFTERWARDS);
    let late = meter.stop();
    ensure!(!agent.is_up("web2")?, "web2 is dead, and still called up");

    let reports = loads.stop()?;
    reports.left_out("web2", silent, settings.detection(), late)?;
    for report in reports.https {
        // Requests to web2 that were in flight are lost: at most one per connection. Later requests
        // are not sent to web2.
        ensure!(
            report.failures.len() <= CONNECTIONS,
            "{:?}",
            report.failures
        );
        let noticed = silent + settings.detection() + ALLOWANCE + late * 2;
        report
            .since(noticed)
            .all_answered()
            .context("of the HTTPS requests after web2 was out")?;
    }
    lab.web("web2")?.plug_cable()?;
    agent.wait_for_backend("web2", true, Duration::from_secs(10))?;
    takes_its_share(&lab, "web2")
}

#[test]
fn a_drained_backend_ends_what_it_began_and_gets_nothing_new() -> Result<()> {
    let _alone = alone();
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    let slow = |plan: Plan| {
        let plan = Plan {
            path: "/slow".to_owned(),
            body: Body::Filled(b'y', SLOW_BYTES),
            requests: Some(8),
            ..plan
        };
        plan.start(&lab.client)
    };
    let begun = [slow(Plan::http()), slow(Plan::https(&lab)?)];
    thread::sleep(Duration::from_secs(1));

    agent.operate(&["backend", "drain", "web2"])?;
    let drained = Instant::now();
    for plan in [Plan::http(), Plan::https(&lab)?] {
        let report = hundred(plan).run(&lab.client)?;
        report.all_answered()?;
        ensure!(
            report.share("web2") == 0.0,
            "web2 is drained and answered new requests: {:?}",
            report.shares()
        );
    }
    for load in begun {
        let report = load.finish()?;
        report.all_answered().context("of the slow downloads")?;
        let on_web2: Vec<_> = report
            .answers
            .iter()
            .filter(|answer| answer.backend == "web2")
            .collect();
        ensure!(
            !on_web2.is_empty() && on_web2.iter().all(|answer| answer.ended > drained),
            "no download from web2 was on its way when it was drained: {:?}",
            report.shares()
        );
    }

    agent.operate(&["backend", "ready", "web2"])?;
    takes_its_share(&lab, "web2")
}

/// Loads that run at the same time: HTTP requests that the kernel forwards, and HTTPS requests that
/// the agent forwards.
struct Loads {
    xdp: Load,
    https: Vec<Load>,
}

/// Results of the HTTP requests that the kernel forwarded, and of the HTTPS requests that the agent
/// forwarded.
struct Reports {
    xdp: Report,
    https: Vec<Report>,
}

impl Loads {
    fn start(lab: &Lab) -> Result<Self> {
        let gentle = |plan: Plan| Plan {
            connections: CONNECTIONS,
            pause: Duration::from_millis(4),
            ..plan
        };
        let xdp = Plan {
            // The time-out is short, so a dead backend does not block the load generator.
            patience: Duration::from_millis(200),
            connections: 16,
            ..gentle(Plan::http())
        };
        let kept = Plan {
            reuse: Reuse::Always,
            ..gentle(Plan::https(lab)?)
        };
        let fresh = gentle(Plan::https(lab)?);
        Ok(Self {
            xdp: xdp.start(&lab.client),
            https: vec![kept.start(&lab.client), fresh.start(&lab.client)],
        })
    }

    fn stop(self) -> Result<Reports> {
        Ok(Reports {
            xdp: self.xdp.stop()?,
            https: self
                .https
                .into_iter()
                .map(Load::stop)
                .collect::<Result<_>>()?,
        })
    }
}

impl Reports {
    /// Checks that the kernel stopped choosing a backend in time after the backend died. The
    /// machine's delay `late` is allowed for twice: at the start of the health check, and at its
    /// end.
    fn left_out(
        &self,
        backend: &str,
        died: Instant,
        detection: Duration,
        late: Duration,
    ) -> Result<()> {
        let last = (self.xdp.failures.iter())
            .max_by_key(|failure| failure.began)
            .context("no connection failed: none was steered to the failed backend")?;
        let took = last.began.saturating_duration_since(died);
        println!(
            "the kernel chose {backend} for {took:?} after it died; its checks take {detection:?}, \
             and the machine was late by {late:?}"
        );
        ensure!(
            took <= detection + ALLOWANCE + late * 2,
            "the kernel chose {backend} until {took:?} after it died, where {detection:?} and \
             {ALLOWANCE:?} are allowed and twice the machine's own {late:?}; the last failure was: {}",
            last.why
        );
        for report in &self.https {
            let shares = report.shares();
            ensure!(shares.contains_key(backend), "it had no part: {shares:?}");
        }
        Ok(())
    }
}

/// Checks that a recovered backend soon gets its full share of requests. The agent reports the
/// backend as up before it has told the XDP program, in the kernel, to choose the backend as often
/// as others, and its workers avoid a backend for a second after a failed connection, so the full
/// share may take that long, but not longer.
fn takes_its_share(lab: &Lab, backend: &str) -> Result<()> {
    for plan in [Plan::http(), Plan::https(lab)?] {
        let plan = Plan {
            requests: Some(1000),
            ..plan
        };
        let began = Instant::now();
        let mut shares = Vec::new();
        let what = format!(
            "{backend} with its share through port {}",
            plan.address.port()
        );
        wait::until_true(&what, Duration::from_secs(4), || {
            let report = plan.clone().run(&lab.client)?;
            report.all_answered()?;
            shares.push(report.share(backend));
            Ok(report.share(backend) >= 0.23 && report.share(backend) <= 0.27)
        })
        .with_context(|| format!("its shares were {shares:.3?}"))?;
        println!("{what} after {:?}: {shares:.3?}", began.elapsed());
    }
    Ok(())
}

fn hundred(plan: Plan) -> Plan {
    Plan {
        requests: Some(100),
        ..plan
    }
}
