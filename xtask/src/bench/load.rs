//! The loads that the measured proxies are put under, and the tools that generate them.

use std::process::Command;

use anyhow::{Context as _, bail};

use super::{namespace::ADDRESS, site::Site};
use crate::child;

/// One kind of load on a proxy.
pub(crate) struct Work {
    /// Name of the load in the printed table and in the file of figures.
    pub(crate) name: &'static str,
    /// What the CPU time is divided by: `request` or `connection`.
    pub(crate) unit: &'static str,
    tool: Tool,
}

#[derive(Clone, Copy)]
enum Tool {
    /// HTTP/1.1 requests for this path, over connections that are kept alive.
    Wrk(&'static str),
    /// HTTP/2 requests for this path.
    H2load(&'static str),
    /// New TLS connections, on which no request is sent.
    Handshakes,
    /// New connections that resume a TLS session, each with a request: in TLS 1.3 the session
    /// ticket follows the handshake, so a client that reads nothing gets none.
    Resumptions,
}

/// All loads that proxies are put under, in the order of the printed table.
pub(crate) const WORKS: [Work; 5] = [
    Work {
        name: "HTTP/1.1 keep-alive, 1 KiB",
        unit: "request",
        tool: Tool::Wrk("/1k"),
    },
    Work {
        name: "HTTP/1.1 keep-alive, 100 KiB",
        unit: "request",
        tool: Tool::Wrk("/100k"),
    },
    Work {
        name: "HTTP/2, 1 KiB",
        unit: "request",
        tool: Tool::H2load("/1k"),
    },
    Work {
        name: "full handshake",
        unit: "connection",
        tool: Tool::Handshakes,
    },
    Work {
        name: "resumed handshake with one request",
        unit: "connection",
        tool: Tool::Resumptions,
    },
];

impl Work {
    /// Puts the proxy on this port under load for `seconds`; returns how many requests or
    /// connections were served.
    ///
    /// # Errors
    /// The tool failed, or any response was not the expected one.
    pub(crate) fn load(&self, port: u16, seconds: u32, site: &Site) -> anyhow::Result<u64> {
        let output = child::output(&mut self.command(port, seconds, site))?;
        let count = match self.tool {
            Tool::Wrk(_) => count_wrk(&output),
            Tool::H2load(_) => count_h2load(&output),
            Tool::Handshakes => count_s_time(&output, Session::New),
            Tool::Resumptions => count_s_time(&output, Session::Resumed),
        };
        let served = count.and_then(|count| match count {
            0 => bail!("nothing was served"),
            count => Ok(count),
        });
        served.with_context(|| {
            let output = readable(&output);
            format!(
                "the load \"{}\" was not fully served:\n{output}\n",
                self.name
            )
        })
    }

    fn command(&self, port: u16, seconds: u32, site: &Site) -> Command {
        let seconds = seconds.to_string();
        let mut command;
        match self.tool {
            Tool::Wrk(path) => {
                command = child::command("wrk");
                command
                    .args(["--threads", "1", "--connections", "32", "--duration"])
                    .arg(format!("{seconds}s"))
                    .arg(format!("https://{ADDRESS}:{port}{path}"));
            }
            Tool::H2load(path) => {
                command = child::command("h2load");
                command
                    .args(["--threads=1", "--clients=8", "--max-concurrent-streams=16"])
                    .arg(format!("--duration={seconds}"))
                    .arg(format!("https://{ADDRESS}:{port}{path}"));
            }
            Tool::Handshakes | Tool::Resumptions => {
                command = child::command("openssl");
                command
                    .args(["s_time", "-time", &seconds, "-tls1_3", "-connect"])
                    .arg(format!("{ADDRESS}:{port}"))
                    .arg("-CAfile")
                    .arg(site.certificate());
                if let Tool::Handshakes = self.tool {
                    command.arg("-new");
                } else {
                    command.args(["-reuse", "-www", "/1k"]);
                }
            }
        }
        command
    }
}

/// Removes long lines from the output of openssl's s_time, which prints one letter per connection.
fn readable(output: &str) -> String {
    let lines: Vec<_> = output.lines().filter(|line| line.len() < 200).collect();
    lines.join("\n")
}

/// Parses the number of requests from wrk's line `91220 requests in 3.00s, 108.53MB read`. Fails if
/// wrk also reports errors.
fn count_wrk(output: &str) -> anyhow::Result<u64> {
    for trouble in ["Socket errors", "Non-2xx"] {
        if let Some(line) = output.lines().find(|line| line.contains(trouble)) {
            bail!("wrk reports: {}", line.trim());
        }
    }
    number_before(output, " requests in ").context("wrk does not report the number of requests")
}

/// Parses the number of requests from h2load's line `requests: 100 total, 100 started, 100 done,
/// 100 succeeded, 0 failed, 0 errored, 0 timeout`.
fn count_h2load(output: &str) -> anyhow::Result<u64> {
    let line = output
        .lines()
        .find(|line| line.starts_with("requests: "))
        .context("h2load does not report the number of requests")?;
    for trouble in [" failed", " errored", " timeout"] {
        if number_before(line, trouble) != Some(0) {
            bail!("h2load reports: {line}");
        }
    }
    number_before(line, " succeeded").context("h2load reports no succeeded requests")
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Session {
    New,
    Resumed,
}

/// Parses the number of connections from s_time's line `812 connections in 0.43s; …`. In the
/// output, this line follows one letter for each connection, and the letter is `r` if the
/// connection resumed a session.
fn count_s_time(output: &str, session: Session) -> anyhow::Result<u64> {
    let count = number_before(output, " connections in ")
        .context("s_time does not report the number of connections")?;
    let resumed = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && line.bytes().all(|byte| b"rt*3".contains(&byte)))
        .map(|line| line.bytes().filter(|byte| *byte == b'r').count() as u64)
        .sum::<u64>();
    let fits = match session {
        Session::New => resumed == 0,
        Session::Resumed => resumed >= count,
    };
    if !fits {
        bail!("only {resumed} of {count} connections resumed a session");
    }
    let bytes = number_before(output, " bytes read per connection").unwrap_or_default();
    if session == Session::Resumed && bytes < 1_024 {
        bail!("responses had {bytes} bytes each, but the file alone has 1,024");
    }
    Ok(count)
}

/// Parses the number directly before the first occurrence of `text` in `output`; `None` if there is
/// none.
fn number_before(output: &str, text: &str) -> Option<u64> {
    let (before, _) = output.split_once(text)?;
    before
        .split(|c: char| !c.is_ascii_digit())
        .next_back()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_believed_only_without_errors() {
        let output = "  91220 requests in 3.00s, 108.53MB read\n";
        assert_eq!(count_wrk(output).expect("a clean run"), 91_220);
        let errors = format!("{output}  Socket errors: connect 0, read 3, write 0, timeout 0\n");
        assert!(count_wrk(&errors).is_err());
        assert!(count_wrk(&format!("{output}  Non-2xx or 3xx responses: 7\n")).is_err());
        assert!(count_wrk("").is_err());
    }

    #[test]
    fn h2load_is_believed_only_without_failures() {
        let output =
            "requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout";
        assert_eq!(count_h2load(output).expect("a clean run"), 9);
        assert!(count_h2load(&output.replace("0 failed", "1 failed")).is_err());
        assert!(count_h2load("finished").is_err());
    }

    #[test]
    fn a_resumption_that_did_not_take_is_no_resumption() {
        let run = |letters, bytes| {
            format!(
                "starting\n{letters}\n\n4 connections in 0.01s; 400.00 connections/user sec\n\
                 4 connections in 2 real seconds, {bytes} bytes read per connection\n"
            )
        };
        let count = |output: &str, session| count_s_time(output, session).ok();
        assert_eq!(count(&run("rrrr", 1_200), Session::Resumed), Some(4));
        assert_eq!(count(&run("rr**", 1_200), Session::Resumed), None);
        assert_eq!(count(&run("rrrr", 17), Session::Resumed), None);
        assert_eq!(count(&run("****", 0), Session::New), Some(4));
        assert_eq!(count(&run("***r", 0), Session::New), None);
    }
}
