//! The client: sends a list of requests by curl, and reads what it prints.

use std::{fmt::Write as _, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lab::Host;

use crate::backend::NUMBER;

/// The name that clients connect to, for which both proxies have the certificate. The `Host` of a
/// request is independent of it.
pub(crate) const NAME: &str = "a.example.com";

/// How a request is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Over {
    Http,
    Https1,
    Https2,
}

/// A request of a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) over: Over,
    pub(crate) address: SocketAddr,
    pub(crate) method: String,
    pub(crate) host: String,
    /// The path with the query.
    pub(crate) target: String,
    pub(crate) header: Vec<(String, String)>,
}

/// What a client was answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    /// The status; 0 if there was no answer.
    pub(crate) status: u16,
    /// The lines of the header, with names in lower case.
    pub(crate) header: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    /// Returns the number of lines of a field of the header.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.header
            .iter()
            .filter(|(other, _)| other == name)
            .count()
    }
}

/// Ends the output of a request.
const END: &str = "\n@@ end of answer ";

/// The file with the requests, on the host of the client.
const FILE: &str = "/run/requests";

/// Sends the requests, each with its number, one after another from a host, and returns the answers in the same order.
pub(crate) fn send(host: &Host, requests: &[(usize, &Request)]) -> Result<Vec<Answer>> {
    let mut text = String::new();
    for (number, request) in requests {
        if !text.is_empty() {
            text.push_str("next\n");
        }
        one(&mut text, request, &case_of(host, *number))?;
    }
    host.write(FILE, text)?;
    // curl's own status is that of the last request, which may have no answer.
    let output = host
        .command("curl")
        .args(["-q", "--config", FILE])
        .output()?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let parts = output.split(END).collect::<Vec<_>>();
    ensure!(
        parts.len() == requests.len() + 1,
        "curl printed {} answers to {} requests",
        parts.len() - 1,
        requests.len()
    );
    // Each part begins with the rest of the line that ended the answer before it.
    let answers = parts
        .iter()
        .zip(&parts[1..])
        .enumerate()
        .map(|(index, (part, next))| {
            let text = if index == 0 {
                part
            } else {
                part.split_once('\n').map_or("", |(_, rest)| rest)
            };
            let status = next
                .split_whitespace()
                .next()
                .context("there is no status")?;
            answer(text, status.parse()?)
        });
    answers.collect()
}

/// Returns the value that the servers record a request by: the host of the proxy, and its number.
pub(crate) fn case_of(host: &Host, number: usize) -> String {
    format!("{}-{number}", host.name())
}

/// Writes a request in the syntax of curl's configuration files.
fn one(text: &mut String, request: &Request, case: &str) -> Result<()> {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
    let (scheme, version) = match request.over {
        Over::Http => ("http", "http1.1"),
        Over::Https1 => ("https", "http1.1"),
        Over::Https2 => ("https", "http2"),
    };
    let port = request.address.port();
    writeln!(
        text,
        "url = \"{scheme}://{NAME}:{port}{}\"",
        quoted(&request.target)
    )?;
    writeln!(text, "connect-to = \"::{}\"", request.address)?;
    writeln!(
        text,
        "{version}\npath-as-is\nglobbing = false\ninsecure\nsilent\nmax-time = 10"
    )?;
    match &*request.method {
        "HEAD" => writeln!(text, "head")?,
        method => writeln!(text, "include\nrequest = \"{method}\"")?,
    }
    // HAProxy resets a stream of HTTP/2 if it has answered before the body of the request arrived,
    // which curl may take for a failure. Bodies are therefore sent over HTTP/1.1 only.
    if matches!(&*request.method, "POST" | "PUT") && request.over != Over::Https2 {
        writeln!(text, "data-binary = \"a=b\"")?;
    }
    writeln!(text, "header = \"Host: {}\"", quoted(&request.host))?;
    writeln!(text, "header = \"{NUMBER}: {case}\"")?;
    for (name, value) in &request.header {
        writeln!(text, "header = \"{name}: {}\"", quoted(value))?;
    }
    let end = END.replace('\n', "\\n");
    writeln!(text, "write-out = \"{end}%{{http_code}}\\n\"")?;
    Ok(())
}

fn answer(text: &str, status: u16) -> Result<Answer> {
    if status == 0 {
        return Ok(Answer {
            status,
            header: Vec::new(),
            body: String::new(),
        });
    }
    let (head, body) = text
        .split_once("\r\n\r\n")
        .with_context(|| format!("the answer has no end of its header: {text:?}"))?;
    let lines = head.split("\r\n").skip(1);
    let header = lines.filter_map(|line| line.split_once(':'));
    Ok(Answer {
        status,
        header: header
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
        body: body.to_owned(),
    })
}
