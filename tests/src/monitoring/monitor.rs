//! A real Prometheus, and a real node_exporter on each balancer and web server.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::files::{CONFIGURATION, RULES};
use crate::{
    Host, Lab, Process,
    agent::Sample,
    cable::{self, End},
    wait,
    web::Web,
};

/// The address of the host that Prometheus runs on, in the web servers' network.
pub const MONITOR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 30);

/// Address of Prometheus on its own host.
pub const PROMETHEUS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// Directory of the configuration and of the data on the host of Prometheus.
const FOLDER: &str = "/run/prometheus";

/// Time-out for Prometheus to start.
const STARTING: Duration = Duration::from_secs(20);

/// Mount points that node_exporter leaves out: those that all hosts of the test network share with
/// the machine, which are all but those below `/run`.
const MACHINES_MOUNTS: &str = "^/([^r].*|r([^u].*)?)?$";

/// How often Prometheus scrapes and evaluates, and whether alerts wait before they fire and
/// resolve.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Interval of scrapes and evaluations, as Prometheus writes durations.
    pub interval: &'static str,
    /// Whether the delays `for` and `keep_firing_for` of the alert rules are in force; otherwise
    /// alerts fire and resolve immediately.
    pub delays: bool,
}

impl Pace {
    /// For tests: Prometheus scrapes every second, and alerts have no delays. The expressions of
    /// the rules are those of `deploy/prometheus`.
    pub const TEST: Self = Self {
        interval: "1s",
        delays: false,
    };

    /// For a person who looks on: Prometheus scrapes every two seconds, and alerts have the delays
    /// that `deploy/prometheus` gives them.
    pub const DEMO: Self = Self {
        interval: "2s",
        delays: true,
    };

    fn configuration(self) -> String {
        CONFIGURATION.replace("_interval: 15s", &format!("_interval: {}", self.interval))
    }

    fn rules(self, text: &str) -> String {
        let is_delay = |line: &str| {
            let line = line.trim_start();
            line.starts_with("for: ") || line.starts_with("keep_firing_for: ")
        };
        text.lines()
            .filter(|line| self.delays || !is_delay(line))
            .flat_map(|line| [line, "\n"])
            .collect()
    }
}

/// An alert that Prometheus reports as firing.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Name of the alert.
    pub name: String,
    /// All labels of the alert.
    pub labels: BTreeMap<String, String>,
}

/// A host `monitor` with a running Prometheus, configured by the files of `deploy/prometheus`, and
/// the node_exporters that it scrapes. They end when this value is dropped.
#[derive(Debug)]
pub struct Monitor {
    prometheus: Process,
    exporters: BTreeMap<String, Process>,
    host: Host,
}

impl Monitor {
    /// Connects a host to the web servers' network, and starts Prometheus there and node_exporter
    /// on the balancers and web servers. The agents must listen where the scrape configuration
    /// expects them: [`Settings::monitored`](crate::agent::Settings::monitored).
    ///
    /// # Errors
    /// A program is missing or does not start; the error contains its log.
    pub fn raise(lab: &Lab, pace: Pace) -> Result<Self> {
        let host = Host::raise("monitor")?;
        let port = End::new(&lab.router, "monitor");
        cable::connect(End::new(&host, "eth0"), port)?;
        host.script(&format!(
            "ip address add {MONITOR}/24 dev eth0\nip route add default via 10.0.0.1"
        ))?;
        lab.router
            .script("ip link set monitor master webnet")
            .map(drop)?;
        let hosts = lab.balancers.iter().chain(lab.webs.iter().map(Web::host));
        let exporters = hosts
            .map(|host| Ok((host.name().to_owned(), node_exporter(host)?)))
            .collect::<Result<_>>()?;
        host.write(&format!("{FOLDER}/prometheus.yml"), pace.configuration())?;
        for (name, text) in RULES {
            host.write(&format!("{FOLDER}/rules/{name}"), pace.rules(text))?;
        }
        let prometheus = prometheus(&host)?;
        Ok(Self {
            prometheus,
            exporters,
            host,
        })
    }

    /// Returns the host that Prometheus runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Kills the node_exporter of a host.
    ///
    /// # Errors
    /// No node_exporter runs on the host.
    pub fn kill_exporter(&mut self, host: &str) -> Result<()> {
        let exporter = self.exporters.remove(host);
        exporter
            .with_context(|| format!("no node_exporter runs on {host}"))?
            .kill()
    }

    /// Starts node_exporter on a host again.
    ///
    /// # Errors
    /// node_exporter does not start.
    pub fn start_exporter(&mut self, host: &Host) -> Result<()> {
        let exporter = node_exporter(host)?;
        self.exporters.insert(host.name().to_owned(), exporter);
        Ok(())
    }

    /// Appends text to Prometheus's configuration, or with `None` removes what was appended, and
    /// has Prometheus read the configuration again.
    ///
    /// # Errors
    /// Prometheus has ended.
    pub fn reconfigure(&self, pace: Pace, addition: Option<&str>) -> Result<()> {
        let text = pace.configuration() + addition.unwrap_or_default();
        self.host.write(&format!("{FOLDER}/prometheus.yml"), text)?;
        self.prometheus.signal(Signal::SIGHUP)
    }

    /// Returns the result of a query at this moment: of a vector its samples, of a scalar one
    /// sample without labels.
    ///
    /// # Errors
    /// Prometheus refuses the query or does not answer.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let data = self.api("query", &[("query", expression)])?;
        let result = &data["result"];
        if data["resultType"] == "scalar" {
            return Ok(vec![sample(BTreeMap::new(), result)?]);
        }
        let series = result.as_array().context("the result is no list")?;
        series
            .iter()
            .map(|one| sample(labels(&one["metric"]), &one["value"]))
            .collect()
    }

    /// Returns the alerts that fire.
    ///
    /// # Errors
    /// Prometheus does not answer.
    pub fn alerts(&self) -> Result<Vec<Alert>> {
        let data = self.api("alerts", &[])?;
        let alerts = data["alerts"].as_array().context("no list of alerts")?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let alerts = firing.map(|alert| {
            let labels = labels(&alert["labels"]);
            let name = labels.get("alertname").cloned().unwrap_or_default();
            Alert { name, labels }
        });
        Ok(alerts.collect())
    }

    /// Returns the names of the alerts that fire.
    ///
    /// # Errors
    /// Prometheus does not answer.
    pub fn firing(&self) -> Result<BTreeSet<String>> {
        Ok(self.alerts()?.into_iter().map(|alert| alert.name).collect())
    }

    /// Returns the names of all metrics that Prometheus has stored.
    ///
    /// # Errors
    /// Prometheus does not answer.
    pub fn metric_names(&self) -> Result<BTreeSet<String>> {
        let data = self.api("label/__name__/values", &[])?;
        let names = data.as_array().context("no list of names")?;
        Ok(names
            .iter()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect())
    }

    /// Returns the error of the last evaluation of each rule that has one: `NAME: ERROR`.
    ///
    /// # Errors
    /// Prometheus does not answer.
    pub fn rule_errors(&self) -> Result<Vec<String>> {
        let data = self.api("rules", &[])?;
        let groups = data["groups"].as_array().context("no list of groups")?;
        let rules = groups
            .iter()
            .filter_map(|group| group["rules"].as_array())
            .flatten();
        let failed = rules.filter(|rule| rule["health"] != "ok");
        Ok(failed
            .map(|rule| format!("{}: {}", rule["name"], rule["lastError"]))
            .collect())
    }

    /// Returns what Prometheus has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.prometheus.log()
    }

    /// Calls Prometheus's API, and returns `data` of its answer.
    fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let url = format!("http://{PROMETHEUS}/api/v1/{path}");
        let mut curl = self.host.command("curl");
        curl.args(["-sS", "-m", "10", "-G", &url]);
        for (key, value) in parameters {
            curl.arg("--data-urlencode").arg(format!("{key}={value}"));
        }
        let output = curl.output()?;
        ensure!(
            output.status.success(),
            "curl to Prometheus: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut answer: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())?;
        if answer["status"] != "success" {
            bail!(
                "Prometheus refuses {path} {parameters:?}: {}",
                answer["error"]
            );
        }
        Ok(answer["data"].take())
    }
}

fn labels(metric: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pairs = metric.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

fn sample(mut labels: BTreeMap<String, String>, value: &Value) -> Result<Sample> {
    Ok(Sample {
        name: labels.remove("__name__").unwrap_or_default(),
        labels,
        value: value[1]
            .as_str()
            .context("a sample has no value")?
            .parse()?,
    })
}

fn prometheus(host: &Host) -> Result<Process> {
    let arguments = [
        format!("--config.file={FOLDER}/prometheus.yml"),
        format!("--storage.tsdb.path={FOLDER}/data"),
        format!("--web.listen-address={PROMETHEUS}"),
        "--log.level=warn".to_owned(),
    ];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let process = host
        .spawn("prometheus", "prometheus", &arguments)
        .context("could not start Prometheus (package prometheus)")?;
    // Prometheus listens before it has read its data, and answers with status 503 until then.
    let ready = format!("http://{PROMETHEUS}/-/ready");
    wait::until_true("Prometheus being ready", STARTING, || {
        Ok(host.run("curl", &["-sf", &ready]).is_ok())
    })
    .with_context(|| format!("Prometheus logged: {}", process.log()))?;
    Ok(process)
}

fn node_exporter(host: &Host) -> Result<Process> {
    let process = host
        .spawn(
            "node_exporter",
            "prometheus-node-exporter",
            &[
                "--log.level=warn",
                "--collector.filesystem.mount-points-exclude",
                MACHINES_MOUNTS,
            ],
        )
        .context("could not start node_exporter (package prometheus-node-exporter)")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9100));
    host.wait_for_port(address, STARTING)
        .with_context(|| format!("node_exporter logged: {}", process.log()))?;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_changes_intervals_and_delays_and_nothing_else() {
        let text = "      - alert: Low\n        expr: a < 1\n        for: 5m\n        keep_firing_for: 5m\n";
        assert_eq!(Pace::DEMO.rules(text), text);
        assert_eq!(
            Pace::TEST.rules(text),
            "      - alert: Low\n        expr: a < 1\n"
        );
        let configuration = Pace::TEST.configuration();
        assert_eq!(configuration.matches("_interval: 1s\n").count(), 2);
        let restored = configuration.replace("_interval: 1s", "_interval: 15s");
        assert_eq!(restored, CONFIGURATION);
    }
}
