//! The access log of an agent, rotated as logrotate does it, and `lb errors`.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{
    Lab,
    agent::{Agent, CONFIG_FILE, Settings},
    topology::{CA_FILE, SITE},
    wait,
};
use serde_json::Value;

const FILE: &str = "/run/log/access.log";
const MOVED: &str = "/run/log/access.log.1";

#[test]
fn the_log_is_rotated_and_errors_are_shown() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    let agent = Agent::start(&lab, &settings)?;
    let logged = format!("{}\n[log.access]\nto = \"{FILE}\"\n", settings.toml());
    lab.lb_a().write(CONFIG_FILE, logged)?;
    agent.operate(&["reload"])?;

    ask(&lab, "/before", &[])?;
    wait_for_line(&lab, FILE, "/before")?;
    lab.lb_a().run("mv", &[FILE, MOVED])?;
    ask(&lab, "/between", &[])?;
    agent.rotate_log()?;
    wait::until_true("a new file", Duration::from_secs(5), || {
        Ok(lab.lb_a().read(FILE).is_ok())
    })?;
    ask(&lab, "/after", &[])?;
    let after = wait_for_line(&lab, FILE, "/after")?;
    ensure!(
        after["host"] == SITE && after["protocol"] == "HTTP/2.0",
        "{after}"
    );
    wait_for_line(&lab, MOVED, "/between")?;

    // A TRACE request must not have a body: the agent refuses this request, and `lb errors` shows
    // it.
    ask(&lab, "/", &["--http1.1", "-X", "TRACE", "-d", "x"])?;
    let errors: Value = serde_json::from_str(&agent.operate(&["errors", "--json"])?)?;
    let last = errors.as_array().and_then(|errors| errors.last());
    ensure!(
        last.is_some_and(|last| {
            last["reason"] == "client_head_method"
                && last["status"] == 501
                && last["offending"]
                    .as_str()
                    .is_some_and(|bytes| bytes.starts_with("TRACE / "))
        }),
        "{errors:#}"
    );
    let text = agent.operate(&["errors"])?;
    ensure!(text.contains("client_head_method  501"), "{text}");
    let written = agent.metrics_text()?;
    ensure!(
        written
            .lines()
            .any(|line| line == "lb_access_log_lines_total 4"),
        "{written}"
    );
    Ok(())
}

fn ask(lab: &Lab, path: &str, more: &[&str]) -> Result<()> {
    let url = format!("https://{SITE}{path}");
    let mut arguments = vec![
        "-sS",
        "-m",
        "5",
        "-o",
        "/dev/null",
        "--cacert",
        CA_FILE,
        &url,
    ];
    arguments.extend(more);
    lab.client.run("curl", &arguments).map(drop)
}

/// Waits until the access log `file` has a line for a request of this path, and returns the line.
fn wait_for_line(lab: &Lab, file: &str, path: &str) -> Result<Value> {
    let what = format!("a line of {path} in {file}");
    wait::until(&what, Duration::from_secs(5), || {
        let text = lab.lb_a().read(file).unwrap_or_default();
        let lines = text.lines().map(serde_json::from_str::<Value>);
        for line in lines {
            let line = line?;
            if line["target"] == path {
                return Ok(Some(line));
            }
        }
        Ok(None)
    })
}
