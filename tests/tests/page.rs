//! The status page in a real browser: live, readable on every screen, and the operator's actions.

use std::{env, fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab,
    agent::{Agent, HaSettings, Pair, Settings},
    load::Plan,
    wait,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const TOKEN_FILE: &str = "/run/lb/token";
const LIMIT: Duration = Duration::from_secs(20);
const URL: &str = "http://127.0.0.1:9145/";

#[test]
fn the_page_is_live_readable_on_every_screen_and_complete_without_scripts() -> Result<()> {
    let mut lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    let load = Plan {
        pause: Duration::from_millis(20),
        ..Plan::http()
    };
    let load = load.start(&lab.client);
    let folder = pictures("page")?;
    let seen = browse(lab.lb_a(), URL, &["look", &folder])?;
    ensure!(seen.lines().count() == 4, "{seen}");
    let titles = browse(lab.lb_a(), URL, &["scripts_off"])?;
    for title in ["Services", "Pool web", "Packets", "Certificates", "Events"] {
        ensure!(titles.contains(title), "{titles}");
    }
    // The agent has no token file, so the page is read-only: there is no button.
    let page = lab.lb_a().run("curl", &["-sS", "--fail", URL])?;
    ensure!(!page.contains("<button"), "{page}");

    let host = lab.lb_a().clone();
    let follower = std::thread::spawn(move || browse(&host, URL, &["follow", "backend down"]));
    wait::until_true("the browser follows the page", LIMIT, || {
        Ok(agent.metrics_text().is_ok() && follows(&lab)?)
    })?;
    lab.webs[1].kill()?;
    let seen = follower.join().map_err(|_| anyhow::anyhow!("a panic"))??;
    ensure!(seen.contains("saw backend down"), "{seen}");
    drop(load);
    Ok(())
}

#[test]
fn a_discovering_pool_shows_its_source_and_a_failure_of_it() -> Result<()> {
    let lab = Lab::raise()?;
    let list = "/run/lb/web-backends";
    let webs: Vec<_> = lab.webs.iter().collect();
    let lines = webs.iter().map(|web| format!("{}\n", web.address()));
    let lines: Vec<String> = lines.collect();
    lab.lb_a().write(list, lines.concat())?;
    let settings = Settings {
        backends: Vec::new(),
        more: format!("[pool.discover]\nfile = \"{list}\"\ninterval = \"1s\"\n"),
        ..Settings::of(&lab)
    };
    let _agent = Agent::start(&lab, &settings)?;
    let page = || lab.lb_a().run("curl", &["-sS", "--fail", URL]);
    let shows = |text: &str| {
        wait::until_true(&format!("the page shows \"{text}\""), LIMIT, || {
            Ok(page()?.contains(text))
        })
    };
    shows("backends from file /run/lb/web-backends, confirmed")?;
    lab.lb_a().write(list, lines[1..].concat())?;
    shows("leaving")?;
    lab.lb_a().write(list, "10.0.0.300:80\n")?;
    shows("discovery has failed for")?;
    let seen = browse(lab.lb_a(), URL, &["look", &pictures("discovery")?])?;
    ensure!(seen.lines().count() == 4, "{seen}");
    Ok(())
}

#[test]
fn an_operator_with_the_token_drains_and_hands_over_from_the_page() -> Result<()> {
    let lab = Lab::raise()?;
    for balancer in &lab.balancers {
        balancer.write(TOKEN_FILE, TOKEN)?;
        balancer.run("chmod", &["600", TOKEN_FILE])?;
    }
    let settings = Settings::virtual_pair(&lab).map(|settings| Settings {
        admin_more: "token_file = \"/run/lb/token\"",
        // Long intervals, so that a machine on which a browser starts does not look like a lost
        // host.
        ha: settings.ha.map(|ha| HaSettings {
            advert_interval: Duration::from_secs(1),
            ..ha
        }),
        ..settings
    });
    let pair = Pair::start(&lab, &settings)?;
    let seen = browse(lab.lb_a(), URL, &["drain", "web/web2", TOKEN])?;
    ensure!(
        seen.contains("backend web/web2 is now draining")
            && seen.contains("backend web/web2 is now up"),
        "{seen}"
    );
    let folder = pictures("failover")?;
    let seen = browse(lab.lb_a(), URL, &["failover", &folder, TOKEN])?;
    ensure!(seen.contains("backup"), "{seen}");
    pair.wait_until_agreed(1)
}

/// Folder of the certificates of the status page and of its operators.
const FILES: &str = "/run/lb/tls";
const NAME: &str = "lb-a.lab.example";
const DRAIN: &str = r#"{"command":"backend","name":"web/web2","order":"drain"}"#;
const READY: &str = r#"{"command":"backend","name":"web/web2","order":"ready"}"#;

/// Starts an agent whose status page accepts operators by their certificates, which are made as
/// docs/operations.md says: `ada` of the operators' authority, and `eve` of an authority of her own.
fn with_operators(lab: &Lab) -> Result<Agent> {
    let certificate = lab.authority.certify(NAME)?;
    let host = lab.lb_a();
    host.write("/run/lb/tls/admin.pem", certificate.pem())?;
    host.write("/run/lb/tls/site-ca.pem", lab.authority.certificate_pem())?;
    for (authority, name, subject) in [("operators", "ada", "Ada"), ("others", "eve", "Eve")] {
        host.script(&format!(
            "cd {FILES}
            new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
            openssl req -x509 $new -days 3650 -subj '/CN=Operators of lb' \
                -keyout {authority}-ca.key -out {authority}-ca.pem
            openssl req $new -subj /CN={subject} -keyout {name}.key -out {name}.csr
            echo extendedKeyUsage=clientAuth | openssl x509 -req -in {name}.csr -days 365 \
                -CA {authority}-ca.pem -CAkey {authority}-ca.key -CAcreateserial \
                -extfile /dev/stdin -out {name}.pem"
        ))?;
    }
    let settings = Settings {
        admin_more: "certificate = \"/run/lb/tls/admin.pem\"\n\
                     client_authorities = [\"/run/lb/tls/operators-ca.pem\"]",
        ..Settings::of(lab)
    };
    Agent::start(lab, &settings)
}

/// Orders `body` with curl, as the operator of a certificate if one is named. Returns the status
/// and the sentence of the answer; an error if the connection is refused.
fn order(host: &Host, certificate: Option<&str>, more: &[&str], body: &str) -> Result<String> {
    let (resolve, authority) = (
        format!("{NAME}:9145:127.0.0.1"),
        format!("{FILES}/site-ca.pem"),
    );
    let url = format!("https://{NAME}:9145/api/v1/command");
    let mut all = vec!["-sS", "--max-time", "10", "-w", "%{http_code}"];
    all.extend(["--resolve", &resolve, "--cacert", &authority]);
    let name = certificate.unwrap_or_default();
    let files = (format!("{FILES}/{name}.pem"), format!("{FILES}/{name}.key"));
    if certificate.is_some() {
        all.extend(["--cert", &files.0, "--key", &files.1]);
    }
    all.extend(more);
    all.extend(["-d", body, &url]);
    host.run("curl", &all)
}

#[test]
fn an_operator_with_a_certificate_orders_with_curl() -> Result<()> {
    let lab = Lab::raise()?;
    let agent = with_operators(&lab)?;
    let host = lab.lb_a();
    let said = order(host, Some("ada"), &[], DRAIN)?;
    ensure!(said == "backend web/web2 is now draining\n200", "{said}");
    let log = agent.log();
    let line = log
        .lines()
        .find(|line| line.contains("command from the status page"))
        .with_context(|| log.clone())?;
    ensure!(line.contains("operator=\"Ada\""), "{line}");

    let said = order(host, None, &[], READY)?;
    ensure!(said.ends_with("403"), "{said}");
    let refused = order(host, Some("eve"), &[], READY).expect_err("another authority");
    ensure!(format!("{refused:#}").contains("alert"), "{refused:#}");
    for field in [
        "Origin: https://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Host: evil.example",
    ] {
        let said = order(host, Some("ada"), &["-H", field], READY)?;
        ensure!(said.ends_with("403"), "{field}: {said}");
    }
    let status = agent.operate(&["status"])?;
    ensure!(status.contains("draining"), "{status}");

    // Whoever has no certificate can read as before.
    let metrics = host.run(
        "curl",
        &["-sSk", "--fail", "https://127.0.0.1:9145/metrics"],
    )?;
    ensure!(metrics.contains("lb_backend"), "{metrics}");
    Ok(())
}

#[test]
fn an_operator_with_a_certificate_drains_from_the_page_without_a_token() -> Result<()> {
    let lab = Lab::raise()?;
    let agent = with_operators(&lab)?;
    let (host, url) = (lab.lb_a(), "https://127.0.0.1:9145/");
    let (certificate, key) = (format!("{FILES}/ada.pem"), format!("{FILES}/ada.key"));
    let seen = browse(
        host,
        url,
        &["drain_with_certificate", "web/web2", &certificate, &key],
    )?;
    ensure!(
        seen.contains("backend web/web2 is now draining")
            && seen.contains("backend web/web2 is now up"),
        "{seen}"
    );
    // A page of another site that the browser of an operator shows orders nothing.
    let seen = browse(host, url, &["forge", DRAIN, &certificate, &key])?;
    ensure!(seen.trim() == "403", "{seen}");
    ensure!(agent.is_up("web2")?, "another site drained web2");
    let page = host.run("curl", &["-sSk", "--fail", url])?;
    ensure!(!page.contains("<button"), "{page}");
    Ok(())
}

/// Whether a browser is connected to the stream of updates of the status page on `lb-a`.
fn follows(lab: &Lab) -> Result<bool> {
    let connections = lab.lb_a().run(
        "ss",
        &["-Htn", "state", "established", "sport", "=", "9145"],
    )?;
    Ok(!connections.trim().is_empty())
}

/// Runs one of the scenarios of `tests/page/browser.py` in a browser on a host, and returns what
/// the scenario prints.
fn browse(host: &Host, url: &str, arguments: &[&str]) -> Result<String> {
    let python = python()?;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("page/browser.py");
    let script = script.to_str().context("a path that is not UTF-8")?;
    let all: Vec<_> = [script, url]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    host.run(python.to_str().context("a path that is not UTF-8")?, &all)
}

/// Returns the folder for the screenshots of a test, in the target directory.
fn pictures(name: &str) -> Result<String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("pictures")
        .join(name);
    fs::create_dir_all(&folder)?;
    folder
        .to_str()
        .map(str::to_owned)
        .context("a path that is not UTF-8")
}

/// The Python of the virtual environment that `cargo xtask setup` makes for Playwright, in the
/// target directory, or the one that `LB_PLAYWRIGHT_PYTHON` names.
fn python() -> Result<PathBuf> {
    if let Some(named) = env::var_os("LB_PLAYWRIGHT_PYTHON") {
        return Ok(PathBuf::from(named));
    }
    let ours = env::current_exe()?;
    let found = ours
        .ancestors()
        .map(|folder| folder.join("playwright/bin/python3"))
        .find(|python| python.exists());
    found.context("no Playwright in the target directory: run `cargo xtask setup`")
}
