//! Explains which route a request matches, and why it does not match earlier ones.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{
    Outcome, Request, Table,
    matching::{Fields, MatchInput, Mismatch, comparable_host, mismatch},
};
use crate::{
    config::request_path,
    config::{
        Action, HeaderRule, HeaderTest, HostRule, Mode, PathRule, Redirect, Respond, Route, Service,
    },
    proxy::message::{check_question, path_of},
};

/// A hypothetical request, of which the operator asks which route it would match.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Question {
    /// The whole URL of the request.
    pub url: String,
    /// The method of the request.
    pub method: String,
    /// The header lines of the request, as `Name: value`.
    pub headers: Vec<String>,
    /// The name of the service, if several services listen on the URL's port; else `None`.
    pub service: Option<String>,
}

/// The parts of the URL of a hypothetical request.
struct Url<'a> {
    https: bool,
    /// The host of the URL, with its port if it has one.
    authority: &'a str,
    port: u16,
    target: &'a str,
}

/// The header lines of a hypothetical request.
struct Lines<'a>(Vec<(&'a str, &'a str)>);

impl Fields for Lines<'_> {
    fn has(&self, name: &str, test: &dyn Fn(&[u8]) -> bool) -> bool {
        let mut lines = self.0.iter();
        lines.any(|(other, value)| other.eq_ignore_ascii_case(name) && test(value.as_bytes()))
    }
}

/// Explains step by step which service and route a hypothetical request matches.
///
/// # Errors
/// The request is invalid, or no service of the agent listens on the URL's port; the error is a
/// sentence.
pub fn explain(services: &[Service], question: &Question) -> Result<String, String> {
    let url = parse_url(&question.url)?;
    let lines = parse_lines(&question.headers)?;
    check_question(&question.method, url.target, url.authority)?;
    let service = find_service(services, &url, question.service.as_deref())?;
    let mut text = format!(
        "service {} ({}, {})\n",
        service.name,
        mode(service),
        service.listen
    );
    if matches!(service.mode, Mode::Tcp { .. }) {
        text.push_str("  the kernel steers its connections and reads no requests\n");
        return Ok(text);
    }
    let request = Request {
        method: &question.method,
        host: url.authority,
        target: url.target,
        fields: &lines,
        client: "203.0.113.1",
        https: url.https,
    };
    routes(&mut text, service, &request);
    Ok(text)
}

fn routes(text: &mut String, service: &Service, request: &Request<'_>) {
    let table = Table::without_files(service);
    let path = request_path::comparable(path_of(request.target).as_bytes());
    if let Err(ambiguity) = &path
        && table.looks_at_paths
        && request.target != "*"
    {
        let words = ambiguity.in_words();
        _ = writeln!(
            text,
            "  refused with 400: the path {words}, which servers read differently"
        );
        return;
    }
    let Some(host) = comparable_host(request.host).or((!table.looks_at_hosts).then_some("")) else {
        text.push_str(
            "  refused with 400: the host has a % in it, which servers read differently\n",
        );
        return;
    };
    let path = path.ok();
    let input = MatchInput {
        method: request.method,
        host,
        path: path.as_deref().filter(|_| request.target != "*"),
        fields: request.fields,
    };
    if let Some(path) = input.path
        && path != path_of(request.target).as_bytes()
    {
        _ = writeln!(text, "  the path is compared as {}", quoted(path));
    }
    for (place, route) in service.routing.routes.iter().enumerate() {
        match mismatch(route, &input) {
            Some(mismatch) => {
                let why = why_not(route, mismatch, &input);
                _ = writeln!(text, "  route {}: no, {why}", route.name);
            }
            None => {
                _ = writeln!(text, "  route {}: yes{}", route.name, why(route));
                let outcome = table.outcome(place, request);
                return write_outcome(text, &outcome, Some(route), service);
            }
        }
    }
    if !service.routing.routes.is_empty() {
        text.push_str("  no route takes it\n");
    }
    let outcome = match &service.pool {
        Some(_) => Outcome::Default,
        None => Outcome::Unmatched(table.unmatched_status(host, request.https)),
    };
    write_outcome(text, &outcome, None, service);
}

fn write_outcome(text: &mut String, outcome: &Outcome, route: Option<&Route>, service: &Service) {
    let action = route.map(|route| &route.action);
    _ = match (outcome, action) {
        (Outcome::Default, _) => {
            let pool = service.pool.as_ref().map_or("", |pool| pool.name.as_str());
            writeln!(text, "-> pool {pool}")
        }
        (Outcome::Pool(_, target), Some(Action::Pool { pool, .. })) => match target {
            Some(target) => writeln!(text, "-> pool {}, as {target}", pool.name),
            None => writeln!(text, "-> pool {}", pool.name),
        },
        (Outcome::Redirect(status, location), Some(Action::Redirect(Redirect { .. }))) => {
            writeln!(text, "-> redirect {status} to {location}")
        }
        (Outcome::Respond, Some(Action::Respond(Respond { status, .. }))) => {
            writeln!(text, "-> fixed answer {status}")
        }
        (Outcome::Unmatched(421), _) => {
            writeln!(
                text,
                "-> 421: no route names the host, and the service has no pool"
            )
        }
        (Outcome::Unmatched(status), _) => {
            writeln!(text, "-> {status}: the service has no pool of its own")
        }
        _ => Ok(()),
    };
}

fn why_not(route: &Route, mismatch: Mismatch, input: &MatchInput<'_>) -> String {
    match mismatch {
        Mismatch::Host => {
            let rules: Vec<_> = route.hosts.iter().map(host_in_words).collect();
            format!("host {} is not {}", input.host, rules.join(" or "))
        }
        Mismatch::Path => {
            let path = input.path.map_or_else(|| "*".to_owned(), quoted);
            let rule = route.path.as_ref().map(path_in_words).unwrap_or_default();
            format!("path {path} {rule}")
        }
        Mismatch::Method => {
            format!(
                "method {} is not {}",
                input.method,
                route.methods.join(" or ")
            )
        }
        Mismatch::Header(place) => match route.headers.get(place) {
            Some(rule) => format!("header {}", header_in_words(rule, input.fields)),
            None => String::new(),
        },
    }
}

/// Names the kinds of conditions that the matching route has, for the explanation of why it
/// matches.
fn why(route: &Route) -> String {
    let conditions = [
        (!route.hosts.is_empty(), "host"),
        (route.path.is_some(), "path"),
        (!route.methods.is_empty(), "method"),
        (!route.headers.is_empty(), "header"),
    ];
    let words: Vec<_> = conditions
        .into_iter()
        .filter_map(|(there, word)| there.then_some(word))
        .collect();
    match &*words {
        [] => " (it has no conditions)".to_owned(),
        [word] => format!(" ({word} matches)"),
        words => format!(" ({} match)", words.join(", ")),
    }
}

fn host_in_words(rule: &HostRule) -> String {
    match rule {
        HostRule::Name(name) => name.clone(),
        HostRule::Below(parent) => format!("*.{parent}"),
        HostRule::Address(address) => address.to_string(),
    }
}

fn path_in_words(rule: &PathRule) -> String {
    match rule {
        PathRule::Exact(path) => format!("is not {}", quoted(path)),
        PathRule::Prefix(prefix) if prefix.is_empty() => "is none".to_owned(),
        PathRule::Prefix(prefix) => format!("is not at or below {}", quoted(prefix)),
        PathRule::Regex(pattern) => format!("does not match {}", pattern.as_str()),
    }
}

fn header_in_words(rule: &HeaderRule, fields: &dyn Fields) -> String {
    let name = &rule.name;
    if !fields.has(name, &|_| true) {
        return format!("{name} is missing");
    }
    match &rule.test {
        HeaderTest::Present => format!("{name} is missing"),
        HeaderTest::Is(value) => format!("{name} is not {value:?}"),
        HeaderTest::Regex(pattern) => format!("{name} does not match {}", pattern.as_str()),
    }
}

fn quoted(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}

fn mode(service: &Service) -> &'static str {
    match service.mode {
        Mode::Tcp { .. } => "tcp",
        Mode::Http => "http",
        Mode::Https { .. } => "https",
    }
}

fn parse_url(text: &str) -> Result<Url<'_>, String> {
    let example = "write it as https://www.example.org/path?query";
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| format!("{text:?} is not a URL: {example}"))?;
    let (https, default) = match scheme.to_ascii_lowercase().as_str() {
        "https" => (true, 443),
        "http" => (false, 80),
        _ => return Err(format!("the scheme {scheme:?} is neither http nor https")),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    // The fragment is cut off, because clients do not send it (RFC 9110 §7.1).
    let target = target.split('#').next().unwrap_or_default();
    let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let port = match authority[after_bracket..].split_once(':') {
        None | Some((_, "")) => default,
        Some((_, port)) => port
            .parse()
            .map_err(|_| format!("{port:?} in {text:?} is not a port: {example}"))?,
    };
    Ok(Url {
        https,
        authority,
        port,
        target: if target.is_empty() { "/" } else { target },
    })
}

fn parse_lines(lines: &[String]) -> Result<Lines<'_>, String> {
    let parsed = lines.iter().map(|line| {
        let parts = line.split_once(':');
        let parts = parts.map(|(name, value)| (name.trim(), value.trim()));
        parts.filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            format!("{line:?} is not a header line: write it as --header 'X-Debug: 1'")
        })
    });
    parsed.collect::<Result<_, _>>().map(Lines)
}

/// Returns the service that a client of the URL reaches: the one with the name that is given, or
/// else the one that the URL's scheme and port belong to.
fn find_service<'s>(
    services: &'s [Service],
    url: &Url<'_>,
    name: Option<&str>,
) -> Result<&'s Service, String> {
    if let Some(name) = name {
        let found = services
            .iter()
            .find(|service| service.name.as_str() == name);
        let names: Vec<_> = services.iter().map(|one| one.name.as_str()).collect();
        return found.ok_or_else(|| {
            format!(
                "there is no service {name:?}; there are {}",
                names.join(", ")
            )
        });
    }
    let fits = |service: &&Service| {
        let by_scheme = match service.mode {
            Mode::Tcp { .. } => true,
            Mode::Http => !url.https,
            Mode::Https { .. } => url.https,
        };
        by_scheme && service.listen.port() == url.port
    };
    let found: Vec<_> = services.iter().filter(fits).collect();
    match &*found {
        [one] => Ok(one),
        [] => {
            let scheme = if url.https { "https" } else { "http" };
            let all: Vec<_> = services
                .iter()
                .map(|one| format!("{} ({}, {})", one.name, mode(one), one.listen))
                .collect();
            Err(format!(
                "no service accepts {scheme} on port {}; the services are: {}",
                url.port,
                all.join(", ")
            ))
        }
        several => {
            let names: Vec<_> = several.iter().map(|one| one.name.as_str()).collect();
            Err(format!(
                "several services listen on port {}: choose one with --service, of {}",
                url.port,
                names.join(", ")
            ))
        }
    }
}
