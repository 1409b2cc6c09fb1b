//! Every alert of `deploy/prometheus` is made to fire and to clear by its real cause: real agents,
//! packets and web servers, scraped by a real Prometheus that runs with the files of
//! `deploy/prometheus`. Only intervals and delays are shorter; the expressions are those of the
//! files.

mod pair;
mod traffic;

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    monitoring::{Monitor, Pace, rules},
    wait,
};

/// Time limit for an alert to fire once its cause has begun, and for one on a state to clear.
const SOON: Duration = Duration::from_secs(60);

/// Time limit for an alert on a counter to clear: the window of its expression, and some more.
const WINDOW: Duration = Duration::from_secs(180);

/// Alerts that fire in [`pair::the_elastic_ip_the_roles_and_the_link`].
const OF_THE_PAIR: &[&str] = &[
    "LbAgentDown",
    "LbNoActiveHost",
    "LbSteppedBack",
    "LbHostFault",
    "LbTrackedItemFails",
    "LbElasticIpElsewhere",
    "LbElasticIpUnconfirmed",
    "LbElasticIpCallsFail",
    "LbPeerLinkDown",
    "LbAdvertsRefused",
    "LbNotifyFails",
    "NodeExporterDown",
];

/// Alerts that fire in [`pair::two_active_hosts_and_a_role_that_flaps`].
const OF_VIRTUAL_IPS: &[&str] = &["LbTwoActiveHosts", "LbFlowsNotSynced", "LbRoleFlapping"];

/// Alerts that fire in [`traffic::backends_requests_connections_and_certificates`].
const OF_TRAFFIC: &[&str] = &[
    "LbBackendDown",
    "LbPoolAllDown",
    "LbBackendEjected",
    "LbDiscoveryFails",
    "LbHttpErrors",
    "LbHttpSlow",
    "LbRetriesRefused",
    "LbQueueRejects",
    "LbTlsHandshakesFail",
    "LbSourcePortsLow",
    "LbSourcePortsExhausted",
    "LbConnectionTableFull",
    "LbNextHopUnreachable",
    "LbAccessLogDropped",
    "LbPanics",
    "LbFileDescriptorsLow",
    "LbCertificateExpiresSoon",
    "LbCertificateExpiresToday",
    "LbCertificateRenewalOverdue",
    "NodeDiskFull",
    "NodeMemoryLow",
    "PrometheusConfigReloadFailed",
];

#[test]
fn every_alert_is_in_one_of_these_tests() {
    let listed: BTreeSet<_> = [OF_THE_PAIR, OF_VIRTUAL_IPS, OF_TRAFFIC]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let alerts: BTreeSet<_> = rules::alerts().into_iter().map(|rule| rule.name).collect();
    assert_eq!(listed, alerts);
}

/// Runs the scenarios at the same time, each in a test network of its own: most of the time they
/// wait until counters are out of the windows of two minutes that the expressions look back.
#[test]
fn every_alert_fires_and_clears_by_its_real_cause() -> Result<()> {
    let scenarios = [
        pair::the_elastic_ip_the_roles_and_the_link,
        pair::two_active_hosts_and_a_role_that_flaps,
        traffic::backends_requests_connections_and_certificates,
    ];
    let running = scenarios.map(thread::spawn);
    let results = running.map(|thread| {
        let panicked = |_| Err(anyhow::anyhow!("a scenario panicked"));
        thread.join().unwrap_or_else(panicked)
    });
    results.into_iter().collect()
}

/// A Prometheus, and which of the expected alerts have fired so far.
struct Watched {
    monitor: Monitor,
    expected: BTreeSet<&'static str>,
    fired: BTreeSet<&'static str>,
    began: Instant,
}

impl Watched {
    /// Starts Prometheus, and waits until all targets and rules are healthy and no alert fires, but
    /// for `from_the_start`.
    fn raise(
        lab: &Lab,
        expected: &'static [&'static str],
        targets: f64,
        from_the_start: &[&str],
    ) -> Result<Self> {
        let monitor = Monitor::raise(lab, Pace::TEST)?;
        let watched = Self {
            monitor,
            expected: expected.iter().copied().collect(),
            fired: BTreeSet::new(),
            began: Instant::now(),
        };
        let what = format!("{targets} healthy targets and no alert");
        let healthy = wait::until_true(&what, SOON, || {
            let up = watched.monitor.query("sum(up)")?;
            let is_up = up.iter().any(|sample| sample.value == targets);
            let errors = watched.monitor.rule_errors()?;
            Ok(is_up && errors.is_empty() && watched.unexpected(from_the_start)?.is_empty())
        });
        healthy.with_context(|| watched.state())?;
        // Rules that look back for a while must stay silent too.
        thread::sleep(Duration::from_secs(3));
        let firing = watched.unexpected(from_the_start)?;
        ensure!(firing.is_empty(), "they fire without a cause: {firing:?}");
        Ok(watched)
    }

    fn unexpected(&self, expected: &[&str]) -> Result<Vec<String>> {
        let mut firing: Vec<_> = self.monitor.firing()?.into_iter().collect();
        firing.retain(|name| !expected.contains(&name.as_str()));
        Ok(firing)
    }

    /// Waits until all of these alerts fire.
    fn fire(&mut self, names: &[&'static str], limit: Duration) -> Result<()> {
        for name in names {
            ensure!(self.expected.contains(name), "{name} is not in the list");
        }
        let what = format!("{names:?} firing");
        let fired = wait::until_true(&what, limit, || {
            thread::sleep(Duration::from_millis(200));
            let firing = self.monitor.firing()?;
            Ok(names.iter().all(|name| firing.contains(*name)))
        });
        fired.with_context(|| self.state())?;
        self.fired.extend(names);
        println!("{:>6.1?} {names:?} fired", self.began.elapsed());
        Ok(())
    }

    /// Waits until none of these alerts fires.
    fn clear(&self, names: &[&str], limit: Duration) -> Result<()> {
        let what = format!("none of {names:?} firing");
        let cleared = wait::until_true(&what, limit, || {
            thread::sleep(Duration::from_millis(200));
            let firing = self.monitor.firing()?;
            Ok(names.iter().all(|name| !firing.contains(*name)))
        });
        cleared.with_context(|| self.state())?;
        println!("{:>6.1?} {names:?} cleared", self.began.elapsed());
        Ok(())
    }

    /// Checks that all expected alerts have fired, and waits until no alert fires any more.
    fn end(self) -> Result<()> {
        let silent: Vec<_> = self.expected.difference(&self.fired).collect();
        ensure!(silent.is_empty(), "these never fired: {silent:?}");
        let ended = wait::until_true("no alert", WINDOW, || {
            thread::sleep(Duration::from_millis(500));
            Ok(self.monitor.firing()?.is_empty())
        });
        ended.with_context(|| self.state())?;
        println!("{:>6.1?} no alert fires", self.began.elapsed());
        Ok(())
    }

    fn state(&self) -> String {
        format!(
            "firing: {:?}\nerrors of rules: {:?}\nPrometheus logged: {}",
            self.monitor.alerts(),
            self.monitor.rule_errors(),
            self.monitor.log()
        )
    }
}
