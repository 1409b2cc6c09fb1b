//! Every query of every panel returns data from a real Prometheus that scraped a real pair, its web
//! servers and node_exporter under traffic.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Pair, Settings},
    host::joined,
    load::{Body, Plan, Reuse},
    monitoring::{
        Monitor, Pace,
        dashboards::{ALL, Panel},
        expression::metrics_in,
        rules::{self, Kind},
    },
    topology::{ELASTIC_IP, SITE, VIRTUAL_IP},
    wait,
    web::{BROKEN, SLOW_BYTES},
};

const LIMIT: Duration = Duration::from_secs(30);

/// Keys of the pool `app` with limits that are easily reached, so metrics about them get values.
const APP: &str = r#"max_connections = 2
queue = { size = 4 }
outlier = { consecutive_failures = 3, ejection_time = "2s" }"#;

/// The file in which a pool discovers its backends.
const LIST: &str = "/run/lb/backends";

/// The address and port of a service of mode `http`.
const PLAIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(ELASTIC_IP), 8081);

#[test]
fn every_query_of_every_panel_returns_data() -> Result<()> {
    let lab = Lab::raise()?;
    let ec2 = lab.fake_ec2()?;
    let follower = lab.internet_gateway.follow_ec2(&ec2);
    let settings = Settings::elastic_pair_with_address(&lab, &*ec2).map(|settings| {
        let mut settings = settings.with_app(APP).monitored();
        settings.more.push_str(&more());
        if let Some(ha) = &mut settings.ha {
            ha.more =
                "\n[ha.notify]\nmaster = [\"/bin/true\"]\nbackup = [\"/bin/true\"]".to_owned();
        }
        settings
    });
    for host in &lab.balancers {
        host.write(LIST, "10.0.0.6:80\n")?;
    }
    let pair = Pair::start(&lab, &settings)?;
    follower.wait_for(VIRTUAL_IP, LIMIT)?;
    let monitor = Monitor::raise(&lab, Pace::TEST)?;
    let http = Plan {
        pause: Duration::from_millis(20),
        ..Plan::http()
    };
    let http = http.start(&lab.client);
    let app = Plan::app(&lab)?.start(&lab.client);
    thread::sleep(Duration::from_secs(2));
    disturb(&lab, pair.agent(0)?)?;
    // During a hand-over of the role the kernel drops SYNs of new connections, so the metric of
    // dropped packets gets a value for that reason.
    for from in [0, 1] {
        pair.agent(from)?.operate(&["failover"])?;
        pair.wait_until_agreed(1 - from)?;
    }

    let mut queries = queries();
    let count = queries.len();
    let began = Instant::now();
    let returned = wait::until_true("data of every query", LIMIT, || {
        let mut missing = Vec::new();
        for (place, query) in &queries {
            let samples = monitor.query(query)?;
            if !samples.iter().any(|sample| sample.value.is_finite()) {
                missing.push((place.clone(), query.clone()));
            }
        }
        queries = missing;
        Ok(queries.is_empty())
    });
    ensure!(
        returned.is_ok(),
        "{} of {count} queries return no data: {queries:#?}",
        queries.len()
    );
    println!("{count} queries returned data after {:?}", began.elapsed());
    every_metric_is_in_the_scrape(&monitor)?;
    drop((http, app, follower));
    Ok(())
}

/// Returns each PromQL query of the dashboards, with the job and all hosts selected, after the
/// title of its panel.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for dashboard in ALL {
        for panel in dashboard.rows.iter().flat_map(|(_, panels)| *panels) {
            for (query, _) in panel.queries {
                let place = format!("{}: {}", dashboard.title, panel.title);
                queries.push((place, Panel::resolved(query, dashboard.job, "1m")));
            }
        }
    }
    queries
}

/// Checks that each metric that a rule or panel reads was scraped or recorded.
fn every_metric_is_in_the_scrape(monitor: &Monitor) -> Result<()> {
    let known = monitor.metric_names()?;
    let rules = rules::all();
    let of_rules = rules.iter().map(|rule| rule.expression.clone());
    let of_panels = queries().into_iter().map(|(_, query)| query);
    let read: BTreeSet<_> = of_rules
        .chain(of_panels)
        .flat_map(|expression| metrics_in(&expression))
        .collect();
    // Prometheus stores the metric `ALERTS` only while an alert is pending or fires.
    let unknown: Vec<_> = read
        .iter()
        .filter(|metric| !known.contains(*metric) && *metric != "ALERTS")
        .collect();
    ensure!(unknown.is_empty(), "no scrape has {unknown:?}");
    let recorded = rules.iter().filter(|rule| rule.kind == Kind::Record);
    println!(
        "{} metrics are read, {} of them recorded; all were found",
        read.len(),
        recorded.count()
    );
    Ok(())
}

/// Causes failures and refusals, so that each metric that counts them gets a value.
fn disturb(lab: &Lab, agent: &Agent) -> Result<()> {
    // A web server fails requests: the agent forwards answers with status 500 and ejects the
    // server.
    let web3 = lab.webs[2].host();
    web3.write(BROKEN, "")?;
    agent.wait_for_metrics("the ejection of web3", LIMIT, |metrics| {
        metrics.sum("lb_backend_ejections_total", &[("backend", "web3")]) > 0.0
    })?;
    web3.run("rm", &[BROKEN])?;
    // Send more requests at a time than the pool and its queue accept.
    let crowd = Plan {
        path: "/limited".to_owned(),
        body: Body::Filled(b'y', SLOW_BYTES),
        connections: 24,
        reuse: Reuse::Never,
        patience: LIMIT,
        requests: Some(24),
        ..Plan::app(lab)?
    };
    drop(crowd.run(&lab.client)?);
    // Clients that do not trust the certificate abort their TLS handshakes.
    lab.client.script(&format!(
        "for i in 1 2 3; do curl -s -o /dev/null https://{SITE}/ || true; done"
    ))?;
    let client = || {
        for _ in 0..3 {
            // Send an invalid request, a request whose client leaves before the response ends, and
            // a request whose head never ends.
            talk("nonsense\r\n\r\n", 64)?;
            talk("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", 4096)?;
            talk("GET / HT", 0)?;
        }
        Ok(())
    };
    joined(lab.client.inside(client))
}

/// Connects to the service at [`PLAIN`], sends a text, reads up to `most` bytes of the answer, and
/// closes the connection.
fn talk(text: &str, most: usize) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&PLAIN, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(text.as_bytes())?;
    if most > 0 {
        let read = stream.read(&mut vec![0; most])?;
        ensure!(read > 0, "no answer to {text:?}");
    }
    // The agent may have closed the connection already.
    drop(stream.shutdown(Shutdown::Both));
    Ok(())
}

/// Returns the tables of the agent's configuration besides those of [`Settings`]: a route of the
/// service `app`, an access log, a service of mode `http`, and a certificate that is to be obtained
/// from an ACME directory that does not answer.
fn more() -> String {
    format!(
        r#"
[[service.route]]
name = "everything"
path_prefix = "/"
pool = "app"

[[pool]]
name = "found"
[pool.discover]
file = "{LIST}"

[[service]]
name = "found"
listen = "{VIRTUAL_IP}:8083"
mode = "http"
pool = "found"

[log.access]
to = "/run/lb/access.log"

[acme]
directory = "https://172.31.0.1:14000/dir"
challenges = ["tls-alpn-01"]
storage = "/run/lb/acme"

[[service]]
name = "plain"
listen = "{VIRTUAL_IP}:8081"
mode = "http"
pool = "web"

[[service]]
name = "site"
listen = "{VIRTUAL_IP}:9443"
mode = "https"
pool = "web"
domains = ["www.example.org"]
"#
    )
}
