//! Routes of an HTTPS service with real nginx as the backends: pools by host and path, redirects,
//! header edits, a maintenance response, an error page, and reloads that change routes under
//! traffic.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, CONFIG_FILE, Settings},
    load::{Load, Plan, Reuse},
    topology::{CA_FILE, CLIENT, SITE},
};

/// Path on the agent's host of the file that a route answers with; the next constant is that of an
/// error page.
const MAINTENANCE: &str = "/run/lb/maintenance.html";
const SORRY: &str = "/run/lb/sorry.html";

/// The pools that the routes name: one has the web server of the host `web4`, the other an address
/// that belongs to no host.
const POOLS: &str = r#"
[[pool]]
name = "api"
check = { type = "http", path = "/", interval = "200ms", timeout = "100ms", rise = 2, fall = 3 }
backends = ["10.0.0.19:80"]

[[pool]]
name = "dead"
when_all_down = "refuse"
check = { type = "tcp", interval = "200ms", timeout = "100ms", rise = 2, fall = 1 }
backends = ["10.0.0.99:80"]

[[service]]
name = "plain"
listen = "172.31.0.68:8080"
mode = "http"
[[service.route]]
redirect = { to = "https://{host}{path}{query}", status = 308 }
"#;

/// Lines of the configuration: the keys and routes of the service `https`.
const ROUTES: &str = r#"
error_pages = { 503 = "/run/lb/sorry.html" }
[service.request_headers]
set = { X-Real-IP = "{client_ip}" }
[service.response_headers]
set = { Strict-Transport-Security = "max-age=31536000" }
remove = ["Server"]
[[service.route]]
name = "www"
host = "www.SITE"
redirect = { to = "https://{bare_host}{path}{query}", status = 301 }
[[service.route]]
name = "maintenance"
path_prefix = "/shop"
respond = { status = 503, file = "/run/lb/maintenance.html" }
response_headers = { set = { Retry-After = "300" } }
[[service.route]]
name = "dead"
path_prefix = "/dead"
pool = "dead"
[[service.route]]
name = "api-host"
host = "api.SITE"
pool = "api"
[[service.route]]
name = "api-path"
path_prefix = "/api"
method = "GET"
pool = "api"
replace_prefix = "/"
"#;

/// Returns the configuration of these settings, with these lines in the service `https`.
fn configuration(settings: &Settings, lines: &str) -> String {
    let toml = settings.toml();
    let mode = "mode = \"https\"\n";
    assert_eq!(toml.matches(mode).count(), 1, "{toml}");
    // In TOML the keys of a section must precede its tables, so the lines are inserted in two
    // places.
    let (keys, tables) = match lines.trim_start().split_once("\n[") {
        Some((keys, tables)) => (keys, format!("[{tables}")),
        None => ("", String::new()),
    };
    let toml = toml.replace(mode, &format!("{mode}{keys}\n"));
    let pool = "\n[[pool]]\nname = \"web\"";
    let toml = toml.replace(pool, &format!("\n{tables}\n{pool}"));
    format!("{toml}\n{POOLS}").replace("SITE", SITE)
}

struct Front {
    lab: Lab,
    settings: Settings,
    agent: Agent,
}

impl Front {
    fn raise() -> Result<Self> {
        let lab = Lab::raise()?;
        let settings = Settings::of(&lab);
        lab.lb_a().write(MAINTENANCE, "<h1>Back at noon</h1>\n")?;
        lab.lb_a().write(SORRY, "<h1>Sorry</h1>\n")?;
        let agent = Agent::start(&lab, &settings)?;
        let front = Self {
            lab,
            settings,
            agent,
        };
        front.reload(ROUTES)?;
        front
            .agent
            .wait_for_backend("10.0.0.19:80", true, Duration::from_secs(10))?;
        front
            .agent
            .wait_for_backend("10.0.0.99:80", false, Duration::from_secs(10))?;
        Ok(front)
    }

    fn reload(&self, lines: &str) -> Result<()> {
        let text = configuration(&self.settings, lines);
        self.lab.lb_a().write(CONFIG_FILE, text)?;
        self.agent.operate(&["reload"]).map(drop)
    }

    /// Returns the head and the body of the response to a path of a host, over HTTP/1.1 or HTTP/2.
    fn get(&self, version: &str, host: &str, path: &str) -> Result<String> {
        let (header, url) = (format!("Host: {host}"), format!("https://{SITE}{path}"));
        let arguments = [
            "-sS",
            "-i",
            version,
            "--path-as-is",
            "--cacert",
            CA_FILE,
            "-H",
            &header,
            "-H",
            "X-Real-IP: 192.0.2.1",
            &url,
        ];
        self.lab.client.run("curl", &arguments)
    }
}

#[test]
fn requests_are_routed_redirected_and_answered() -> Result<()> {
    let front = Front::raise()?;
    for version in ["--http1.1", "--http2"] {
        for (host, path, wanted) in [
            (format!("api.{SITE}"), "/", &[" 200", "\r\n\r\nweb4\n"][..]),
            (SITE.to_owned(), "/api", &[" 200", "\r\n\r\nweb4\n"]),
            (SITE.to_owned(), "/%61pi/", &[" 200", "\r\n\r\nweb4\n"]),
            (SITE.to_owned(), "/apis", &[" 404", "nginx"]),
            (SITE.to_owned(), "/x/../api", &[" 400", "segment"]),
            (
                format!("www.{SITE}"),
                "/a?b=c",
                &[" 301", &format!("ocation: https://{SITE}/a?b=c\r\n")],
            ),
            (
                SITE.to_owned(),
                "/shop/cart",
                &[" 503", "etry-after: 300", "text/html", "Back at noon"],
            ),
            (SITE.to_owned(), "/dead", &[" 503", "text/html", "Sorry"]),
            (
                SITE.to_owned(),
                "/real-ip",
                &[" 200", &format!("\r\n\r\n{CLIENT}\n")],
            ),
        ] {
            let page = front.get(version, &host, path)?;
            // Field names are in lower case in HTTP/2, so the name is compared in lower case.
            let page = page.replace("Retry-After", "retry-after");
            ensure!(
                wanted.iter().all(|part| page.contains(part)),
                "{version} {host}{path} should show {wanted:?}:\n{page}"
            );
            let lower = page.to_ascii_lowercase();
            let refused = path.contains("..");
            ensure!(
                refused || lower.contains("strict-transport-security: max-age=31536000\r\n"),
                "no HSTS:\n{page}"
            );
            ensure!(
                !lower.contains("\r\nserver:"),
                "who serves is told:\n{page}"
            );
        }
    }
    let page = front.lab.lb_a().run(
        "curl",
        &[
            "-sS",
            "-i",
            "-H",
            &format!("Host: {SITE}"),
            "http://172.31.0.68:8080/a?b=c",
        ],
    )?;
    let location = format!("Location: https://{SITE}/a?b=c\r\n");
    ensure!(page.contains(" 308") && page.contains(&location), "{page}");
    let metrics = front.agent.metrics()?;
    let taken = |route| metrics.sum("lb_http_route_requests_total", &[("route", route)]);
    for (route, count) in [
        ("www", 2.0),
        ("maintenance", 2.0),
        ("api-path", 4.0),
        ("api-host", 2.0),
    ] {
        ensure!(
            taken(route) == count,
            "{route} took {} requests",
            taken(route)
        );
    }
    let explained =
        front
            .agent
            .operate(&["explain", "--url", &format!("https://{SITE}/api/x?y")])?;
    for line in [
        "route www: no, host",
        "route maintenance: no, path /api/x is not at or below /shop",
        "route api-path: yes (path, method match)",
        "-> pool api, as /x?y",
    ] {
        ensure!(
            explained.contains(line),
            "{line:?} is missing:\n{explained}"
        );
    }
    Ok(())
}

#[test]
fn routes_change_by_reloads_under_traffic_and_no_request_fails() -> Result<()> {
    let front = Front::raise()?;
    let loads: Vec<Load> = [Reuse::Never, Reuse::Always]
        .into_iter()
        .map(|reuse| {
            let plan = Plan {
                reuse,
                connections: 4,
                pause: Duration::from_millis(4),
                ..Plan::https(&front.lab)?
            };
            Ok(plan.start(&front.lab.client))
        })
        .collect::<Result<_>>()?;
    let all_to_api = format!("{ROUTES}\n[[service.route]]\nname = \"all\"\npool = \"api\"\n");
    for turn in 0..20 {
        thread::sleep(Duration::from_millis(100));
        front.reload(if turn % 2 == 0 { &all_to_api } else { ROUTES })?;
    }
    // A new configuration applies to all requests that arrive after the reload.
    front.reload(&all_to_api)?;
    let plan = Plan {
        requests: Some(50),
        ..Plan::https(&front.lab)?
    };
    let report = plan.run(&front.lab.client)?;
    report.all_answered()?;
    ensure!(
        report.shares().keys().eq(&["web4"]),
        "{:?}",
        report.shares()
    );
    let mut answers = 0;
    for load in loads {
        let report = load.stop()?;
        report.all_answered().context("while routes changed")?;
        ensure!(report.shares().len() == 4, "{:?}", report.shares());
        answers += report.answers.len();
    }
    println!("{answers} requests during 21 reloads, none failed");
    Ok(())
}

#[test]
fn a_bad_route_or_a_missing_file_leaves_the_old_routes_in_force() -> Result<()> {
    let front = Front::raise()?;
    for (from, to, said) in [
        (
            "path_prefix = \"/api\"",
            "path_prefix = \"api\"",
            "does not begin with /",
        ),
        ("maintenance.html", "missing.html", "/run/lb/missing.html"),
        (
            "pool = \"dead\"",
            "pool = \"daed\"",
            "did you mean \"dead\"?",
        ),
    ] {
        let error = front.reload(&ROUTES.replace(from, to)).err();
        let error = error.context("a bad route was taken over")?.to_string();
        ensure!(error.contains(said), "{error}");
        let page = front.get("--http2", SITE, "/api")?;
        ensure!(page.contains("web4"), "{page}");
    }
    Ok(())
}
