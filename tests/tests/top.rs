//! `lb top` under a pseudo-terminal and without one, with traffic.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Settings, binary},
    load::{Plan, Reuse},
    wait,
};

const LIMIT: Duration = Duration::from_secs(20);

/// The escape sequence by which a program shows its own screen (the terminal's alternate screen);
/// the next constant is the one by which it leaves that screen.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// Runs `lb top` under a pseudo-terminal and then `stty -a`, and returns what both wrote.
fn under_terminal(keys: &str) -> Result<(Lab, Agent, lab::Process)> {
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    let host = lab.lb_a();
    let lb = binary()?.display().to_string();
    let inside = format!(
        "stty rows 40 cols 150; sh -c 'echo $$ > /run/top.pid; exec {lb} top'; echo status $?; stty -a"
    );
    host.write("/run/inside.sh", inside)?;
    let script = format!("({keys}) | script -qfec 'sh /run/inside.sh' /dev/null");
    let process = host.spawn("top", "sh", &["-c", &script])?;
    Ok((lab, agent, process))
}

/// Returns every state that a line of the terminal's screen had. Only the cells that change are
/// written, after a sequence that moves the cursor, so the words of the screen are not in the
/// output.
fn lines_shown(output: &str) -> String {
    let mut screen = vec![vec![' '; 200]; 60];
    let (mut row, mut column) = (0, 0);
    let mut shown = String::new();
    let mut characters = output.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                // Control sequences (ECMA-48, section 5.4): parameters, then a letter.
                if characters.next() != Some('[') {
                    continue;
                }
                let mut parameters = String::new();
                let mut letter = None;
                for one in characters.by_ref() {
                    if one.is_ascii_alphabetic() {
                        letter = Some(one);
                        break;
                    }
                    parameters.push(one);
                }
                if letter == Some('H') {
                    let mut numbers = parameters.split(';').map(str::parse::<usize>);
                    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(1) - 1;
                    (row, column) = (next(), next());
                }
            }
            '\r' => column = 0,
            '\n' => row += 1,
            character => {
                if let Some(cell) = screen.get_mut(row).and_then(|row| row.get_mut(column)) {
                    *cell = character;
                    column += 1;
                    shown.extend(screen[row].iter());
                    shown.push('\n');
                }
            }
        }
    }
    shown
}

fn is_restored(log: &str) -> Result<()> {
    let (_, after) = log.rsplit_once(LEAVE).context("the screen was not left")?;
    ensure!(
        after.contains("\u{1b}[?25h") || log.contains("\u{1b}[?25h"),
        "the cursor is hidden"
    );
    ensure!(after.contains("status 0"), "{after}");
    let words: Vec<_> = after.split([' ', ';', '\r', '\n']).collect();
    for word in ["icanon", "echo", "isig"] {
        ensure!(
            words.contains(&word),
            "{word} is not set after the end: {after}"
        );
    }
    Ok(())
}

#[test]
fn the_view_has_live_rates_and_restores_the_terminal_when_it_is_quit() -> Result<()> {
    let keys = "sleep 6; printf s; sleep 1; printf '?'; sleep 1; printf q; sleep 3";
    let (lab, _agent, mut top) = under_terminal(keys)?;
    let plans = [Plan::http(), Plan::https(&lab)?];
    let loads: Vec<_> = plans
        .into_iter()
        .map(|plan| {
            let plan = Plan {
                reuse: Reuse::Never,
                connections: 2,
                pause: Duration::from_millis(20),
                ..plan
            };
            plan.start(&lab.client)
        })
        .collect();
    wait::until_true("the end of the view", LIMIT, || {
        Ok(top.log().contains("status "))
    })?;
    for load in loads {
        load.stop()?.all_answered()?;
    }
    let log = top.log();
    ensure!(log.contains(ENTER), "{log:?}");
    let shown = lines_shown(&log);
    for word in [
        "SERVICE",
        "REQ/S",
        "/web1",
        "/web4",
        "10.0.0.6:80",
        "native",
        "order: name",
        "next order of the rows",
    ] {
        ensure!(
            shown.contains(word),
            "{word} was not on the screen: {log:?}"
        );
    }
    is_restored(&log)?;
    top.kill()
}

#[test]
fn the_terminal_is_restored_on_sigterm() -> Result<()> {
    let (lab, _agent, mut top) = under_terminal("sleep 15")?;
    wait::until_true("the view", LIMIT, || Ok(top.log().contains("SERVICE")))?;
    lab.lb_a().script("kill -TERM $(cat /run/top.pid)")?;
    wait::until_true("the end of the view", LIMIT, || {
        Ok(top.log().contains("icanon"))
    })?;
    is_restored(&top.log())?;
    top.kill()
}

#[test]
fn one_table_is_printed_without_a_terminal() -> Result<()> {
    let mut lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    lab.web("web2")?.kill()?;
    agent.wait_for_backend("web2", false, LIMIT)?;
    let plan = Plan {
        connections: 4,
        pause: Duration::from_millis(10),
        ..Plan::https(&lab)?
    };
    let load = plan.start(&lab.client);
    agent.wait_for_metrics("requests", LIMIT, |metrics| {
        metrics.sum("lb_http_requests_total", &[]) > 20.0
    })?;
    let table = agent.operate(&["top", "--once"])?;
    load.stop()?;
    ensure!(!table.contains('\u{1b}'), "{table:?}");
    let row = |name: &str| -> Result<Vec<&str>> {
        let row = table
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        Ok(row
            .with_context(|| format!("no row {name} in\n{table}"))?
            .split_whitespace()
            .collect())
    };
    let https = row("https")?;
    ensure!(https[3] == "3/4", "{https:?}");
    let requests: f64 = https[6].parse().with_context(|| format!("{https:?}"))?;
    ensure!(requests > 20.0, "{https:?}");
    let dead = table
        .lines()
        .find(|line| line.contains("/web2"))
        .context("no web2")?;
    ensure!(dead.contains("down") && dead.contains("refused"), "{dead}");
    let error = agent
        .operate(&["top"])
        .err()
        .context("a view without a terminal")?
        .to_string();
    ensure!(error.contains("lb top --once"), "{error}");
    Ok(())
}
