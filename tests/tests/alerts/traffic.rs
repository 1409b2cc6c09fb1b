//! Alerts about backends, requests, connections, certificates and the host.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab, Process,
    agent::{Agent, CERTIFICATE_FILE, ENVIRONMENT_FILE, Settings},
    host::joined,
    load::{Body, Load, Plan, Reuse},
    monitoring::Pace,
    topology::{BALANCERS, ELASTIC_IP, SITE},
    web::{BROKEN, SLOW_BYTES},
};

use super::{OF_TRAFFIC, SOON, Watched};

/// Directory of the access log, on a small disk.
const LOGS: &str = "/run/lb/log";

/// The address and port of the agent's `tcp` service with one backend; the next constant is that of
/// its `http` service for slow requests.
const FEW: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(ELASTIC_IP), 8080);
const PLAIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(ELASTIC_IP), 8081);

/// The address and port of the agent's `tcp` service whose backend does not exist.
const GONE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(ELASTIC_IP), 8082);

/// The file in which a pool discovers its backends, and what is in it.
const LIST: &str = "/run/lb/backends";
const LISTED: &str = "10.0.0.6:80\n";

/// The target of the request by which a debug build of the agent panics.
const PANIC_TARGET: &str = "/panic";

/// Number of the balancer's source ports towards each backend.
const SOURCE_PORTS: usize = 2048;

/// Address of the ACME directory, on the gateway. The next constants are its port, and the port by
/// which it validates.
const DIRECTORY: &str = "172.31.0.1";
const DIRECTORY_PORT: u16 = 14_000;
const SITE_PORT: u16 = 9443;

const DAY: Duration = Duration::from_secs(86_400);

/// Limits of the pool `app` that are easily reached.
const APP: &str = r#"max_connections = 2
queue = { size = 4 }
outlier = { consecutive_failures = 3, ejection_time = "2s" }
retry_budget = "0%"
min_retries_per_second = 0"#;

pub(super) fn backends_requests_connections_and_certificates() -> Result<()> {
    let mut site = Site::raise()?;
    let overdue = ["LbCertificateRenewalOverdue"];
    let mut watched = Watched::raise(&site.lab, OF_TRAFFIC, 9.0, &overdue)?;
    // No certificate has been obtained since the start, because no ACME directory runs.
    watched.fire(&overdue, SOON)?;

    site.backends_fail(&mut watched)?;
    site.discovery_fails(&mut watched)?;
    site.requests_fail(&mut watched)?;
    site.handshakes_fail(&mut watched)?;
    site.connections_find_no_room(&mut watched)?;
    site.a_backend_is_unreachable(&mut watched)?;
    site.the_disk_is_full(&mut watched)?;
    site.descriptors_run_low(&mut watched)?;
    site.memory_runs_low(&mut watched)?;
    site.a_connection_panics(&mut watched)?;
    site.certificates_expire(&mut watched)?;

    watched
        .monitor
        .reconfigure(Pace::TEST, Some("nonsense: true\n"))?;
    watched.fire(&["PrometheusConfigReloadFailed"], SOON)?;
    watched.monitor.reconfigure(Pace::TEST, None)?;
    watched.clear(&["PrometheusConfigReloadFailed"], SOON)?;

    let _directory = site.a_certificate_is_obtained()?;
    watched.clear(&overdue, SOON)?;
    watched.end()
}

struct Site {
    agent: Agent,
    _other: Agent,
    lab: Lab,
}

impl Site {
    /// Starts an agent without a peer on each balancer. The agent of `lb-a` has all services and
    /// low limits.
    fn raise() -> Result<Self> {
        let lab = Lab::raise()?;
        let host = lab.lb_a();
        host.script(&format!(
            "mkdir -p {LOGS}\nmount -t tmpfs -o size=32m tmpfs {LOGS}"
        ))?;
        host.write("/run/lb/acme-ca.pem", lab.authority.certificate_pem())?;
        let settings = Settings::of(&lab).with_app(APP).monitored();
        let settings = Settings {
            more: format!("{}{}", settings.more, more()),
            ..settings
        };
        host.write(
            ENVIRONMENT_FILE,
            format!("LB_PANIC_TARGET={PANIC_TARGET}\n"),
        )?;
        host.write(LIST, LISTED)?;
        let other = Settings {
            balancer: 1,
            listen: BALANCERS[1].1,
            ..Settings::of(&lab).monitored()
        };
        Ok(Self {
            agent: Agent::start(&lab, &settings)?,
            _other: Agent::start(&lab, &other)?,
            lab,
        })
    }

    /// Makes the alerts fire that a web server without a network causes, and then web servers that
    /// all accept no connections.
    fn backends_fail(&mut self, watched: &mut Watched) -> Result<()> {
        let load = self.app()?;
        self.lab.web("web2")?.pull_cable()?;
        watched.fire(&["LbBackendDown", "LbRetriesRefused"], SOON)?;
        self.lab.web("web2")?.plug_cable()?;
        for web in &mut self.lab.webs {
            web.kill()?;
        }
        watched.fire(&["LbPoolAllDown", "LbHttpErrors"], SOON)?;
        for web in &mut self.lab.webs {
            web.start()?;
        }
        watched.clear(&["LbBackendDown", "LbPoolAllDown"], SOON)?;
        drop(load);
        Ok(())
    }

    /// Makes the alert about a source of backends fire: the file that is the source is removed.
    fn discovery_fails(&self, watched: &mut Watched) -> Result<()> {
        let host = self.lab.lb_a();
        host.run("rm", &[LIST])?;
        watched.fire(&["LbDiscoveryFails"], SOON)?;
        host.write(LIST, LISTED)?;
        watched.clear(&["LbDiscoveryFails"], SOON)
    }

    /// Makes the alerts fire that these causes have: a web server passes its health check and fails
    /// requests, requests are slow, and there are more requests than the pool and its queue accept.
    fn requests_fail(&mut self, watched: &mut Watched) -> Result<()> {
        let load = self.app()?;
        let web3 = self.lab.web("web3")?.host().clone();
        web3.write(BROKEN, "")?;
        // The file exists for nginx although only root can read it, because nginx's worker runs as
        // root.
        watched.fire(&["LbBackendEjected"], SOON)?;
        web3.run("rm", &[BROKEN])?;
        drop(load);

        let slow = Plan {
            address: PLAIN,
            path: "/slow".to_owned(),
            body: Body::Filled(b'y', SLOW_BYTES),
            patience: SOON,
            ..Plan::http()
        };
        let slow = slow.start(&self.lab.client);
        let crowd = Plan {
            path: "/limited".to_owned(),
            body: Body::Filled(b'y', SLOW_BYTES),
            connections: 24,
            reuse: Reuse::Never,
            patience: SOON,
            requests: Some(48),
            ..Plan::app(&self.lab)?
        };
        let crowd = crowd.start(&self.lab.client);
        watched.fire(&["LbQueueRejects", "LbHttpSlow"], SOON)?;
        drop((slow, crowd));
        Ok(())
    }

    /// Makes the alert fire that clients cause which do not trust the certificate.
    fn handshakes_fail(&self, watched: &mut Watched) -> Result<()> {
        let script = format!(
            "for i in $(seq 60); do curl -s -o /dev/null https://{SITE}:443/ || true; done"
        );
        self.lab.client.script(&script)?;
        watched.fire(&["LbTlsHandshakesFail"], SOON)
    }

    /// Makes the alerts fire that more connections cause than there are source ports, and then more
    /// than the connection table can hold.
    fn connections_find_no_room(&self, watched: &mut Watched) -> Result<()> {
        let most = SOURCE_PORTS + 200;
        let few = joined(self.lab.client.inside(move || Ok(open(FEW, most))))?;
        ensure!(
            few.len() > SOURCE_PORTS * 9 / 10,
            "{} connections were opened",
            few.len()
        );
        watched.fire(&["LbSourcePortsLow", "LbSourcePortsExhausted"], SOON)?;
        let http = SocketAddr::from((ELASTIC_IP, 80));
        let many = joined(self.lab.client.inside(move || Ok(open(http, 3000))))?;
        println!("{} and {} connections", few.len(), many.len());
        watched.fire(&["LbConnectionTableFull"], SOON)?;
        drop((few, many));
        watched.clear(&["LbSourcePortsLow"], SOON)
    }

    /// Makes the alert fire that connections cause to a backend in the balancers' own network that
    /// does not exist, and so has no neighbour entry.
    fn a_backend_is_unreachable(&self, watched: &mut Watched) -> Result<()> {
        let knock = || {
            for _ in 0..60 {
                drop(TcpStream::connect_timeout(&GONE, Duration::from_millis(50)));
            }
            Ok(())
        };
        joined(self.lab.client.inside(knock))?;
        watched.fire(&["LbNextHopUnreachable"], SOON)
    }

    /// Makes the alerts fire that a full disk of the access log causes.
    fn the_disk_is_full(&self, watched: &mut Watched) -> Result<()> {
        let host = self.lab.lb_a();
        host.script(&format!("cat /dev/zero >{LOGS}/other || true"))?;
        let load = self.app()?;
        watched.fire(&["NodeDiskFull", "LbAccessLogDropped"], SOON)?;
        drop(load);
        host.run("rm", &[&format!("{LOGS}/other")])?;
        watched.clear(&["NodeDiskFull"], SOON)
    }

    /// Makes the alert fire that the agent causes when it may open hardly more files than it has
    /// open.
    fn descriptors_run_low(&self, watched: &mut Watched) -> Result<()> {
        let open = self.agent.metrics()?.sum("process_open_fds", &[]);
        let limit = |most: f64| {
            let command = format!("prlimit --pid $(pgrep -o -x lb) --nofile={most}:20000");
            self.lab.lb_a().script(&command).map(drop)
        };
        limit(open + 10.0)?;
        watched.fire(&["LbFileDescriptorsLow"], SOON)?;
        limit(20_000.0)?;
        watched.clear(&["LbFileDescriptorsLow"], SOON)
    }

    /// Makes the alert about little available memory fire. All hosts of the test network share the
    /// memory of the machine, which must not run out, so on one host the kernel's `/proc/meminfo`
    /// is covered by a copy with less available memory.
    fn memory_runs_low(&self, watched: &mut Watched) -> Result<()> {
        let host = self.lab.lb_b();
        host.script(
            "awk '/^MemTotal:/ { total = $2 }
                  /^MemAvailable:/ { $2 = int(total / 20) }
                  { print }' /proc/meminfo >/run/meminfo
             mount --bind /run/meminfo /proc/meminfo",
        )?;
        watched.fire(&["NodeMemoryLow"], SOON)?;
        host.run("umount", &["/proc/meminfo"])?;
        watched.clear(&["NodeMemoryLow"], SOON)
    }

    /// Makes the alert about panics fire: a panic in the task of a client's connection ends the
    /// connection without a response.
    fn a_connection_panics(&self, watched: &mut Watched) -> Result<()> {
        let client = &self.lab.client;
        let url = format!("http://{PLAIN}{PANIC_TARGET}");
        let output = client
            .command("curl")
            .args(["-sS", "-m", "5", &url])
            .output()?;
        let metrics = self.agent.metrics()?;
        let panics = metrics.sum("lb_panics_total", &[("service", "plain")]);
        ensure!(
            panics == 1.0 && !output.status.success(),
            "there were {panics} panics (a release build of the agent has none); {output:?}"
        );
        watched.fire(&["LbPanics"], SOON)
    }

    /// Makes the alerts fire that a certificate causes with few days left, then one with few hours
    /// left, and clears them by a new certificate.
    fn certificates_expire(&self, watched: &mut Watched) -> Result<()> {
        let alerts = ["LbCertificateExpiresSoon", "LbCertificateExpiresToday"];
        self.install(3 * DAY)?;
        watched.fire(&alerts[..1], SOON)?;
        self.install(DAY / 2)?;
        watched.fire(&alerts[1..], SOON)?;
        self.install(90 * DAY)?;
        watched.clear(&alerts, SOON)
    }

    fn install(&self, lifetime: Duration) -> Result<()> {
        let certificate = self.lab.authority.certify_for(SITE, lifetime)?;
        self.lab.lb_a().write(CERTIFICATE_FILE, certificate.pem())
    }

    /// Starts an ACME directory, from which the agent obtains its first certificate. Returns the
    /// processes of the directory.
    fn a_certificate_is_obtained(&self) -> Result<[Process; 2]> {
        let internet = self.lab.internet_gateway.host();
        let directory = start_directory(&self.lab, internet)?;
        let renew = ["certificate", "renew", "site"];
        let renewed = self.agent.operate(&renew);
        renewed.with_context(|| format!("the directory logged: {}", directory[1].log()))?;
        Ok(directory)
    }

    /// Starts some forty requests per second to the pool `app`.
    fn app(&self) -> Result<Load> {
        let plan = Plan {
            pause: Duration::from_millis(100),
            patience: SOON,
            ..Plan::app(&self.lab)?
        };
        Ok(plan.start(&self.lab.client))
    }
}

/// Opens up to `most` connections, until ten have failed.
fn open(to: SocketAddr, most: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    let mut failed = 0;
    while streams.len() < most && failed < 10 {
        match TcpStream::connect_timeout(&to, Duration::from_millis(100)) {
            Ok(stream) => streams.push(stream),
            Err(_) => failed += 1,
        }
    }
    streams
}

/// Returns the tables of the agent's configuration that the tests of these alerts add to those of
/// [`Settings`].
fn more() -> String {
    let listen = BALANCERS[0].1;
    let to = SOURCE_PORTS + 10_239;
    format!(
        r#"
[dataplane]
source_ports = "10240-{to}"
max_connections = 1024

[http.timeouts]
connect = "300ms"

[log.access]
to = "{LOGS}/access.log"

[acme]
directory = "https://{DIRECTORY}:{DIRECTORY_PORT}/dir"
challenges = ["tls-alpn-01"]
storage = "/run/lb/acme"
ca_file = "/run/lb/acme-ca.pem"

[[pool]]
name = "few"
backends = ["10.0.0.19:80"]

[[service]]
name = "few"
listen = "{listen}:8080"
mode = "tcp"
pool = "few"

[[pool]]
name = "gone"
backends = ["172.31.0.99:80"]

[[service]]
name = "gone"
listen = "{listen}:8082"
mode = "tcp"
pool = "gone"

[[pool]]
name = "found"
[pool.discover]
file = "{LIST}"

[[service]]
name = "found"
listen = "{listen}:8083"
mode = "http"
pool = "found"

[[service]]
name = "plain"
listen = "{listen}:8081"
mode = "http"
pool = "web"

[[service]]
name = "site"
listen = "{listen}:{SITE_PORT}"
mode = "https"
pool = "web"
domains = ["www.example.org"]
"#
    )
}

/// Starts pebble and its name server, by whose answer every name is at `lb-a`.
fn start_directory(lab: &Lab, internet: &Host) -> Result<[Process; 2]> {
    let own = lab.authority.certify(DIRECTORY)?;
    internet.write("/run/pebble.pem", &own.chain)?;
    internet.write("/run/pebble.key", &own.key)?;
    internet.write(
        "/run/pebble.json",
        format!(
            r#"{{"pebble": {{
                "listenAddress": "{DIRECTORY}:{DIRECTORY_PORT}",
                "managementListenAddress": "127.0.0.1:15000",
                "certificate": "/run/pebble.pem", "privateKey": "/run/pebble.key",
                "httpPort": 8081, "tlsPort": {SITE_PORT},
                "ocspResponderURL": "", "externalAccountBindingRequired": false
            }}}}"#
        ),
    )?;
    let address = BALANCERS[0].1.to_string();
    let mut arguments = vec!["-http01", "", "-https01", "", "-tlsalpn01", ""];
    arguments.extend(["-dns01", "127.0.0.1:8053", "-management", "127.0.0.1:8055"]);
    arguments.extend(["-defaultIPv6", "", "-defaultIPv4", &address]);
    let names = internet.spawn("names", "pebble-challtestsrv", &arguments)?;
    let mut arguments = vec!["PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "pebble"];
    arguments.extend([
        "-config",
        "/run/pebble.json",
        "-dnsserver",
        "127.0.0.1:8053",
    ]);
    let pebble = internet.spawn("pebble", "env", &arguments)?;
    let listens = (DIRECTORY.parse::<std::net::IpAddr>()?, DIRECTORY_PORT);
    internet.wait_for_port(listens.into(), SOON)?;
    Ok([names, pebble])
}
