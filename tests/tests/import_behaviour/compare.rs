//! Compares what HAProxy and lb did with the same requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Result, ensure};
use lab::Host;

use crate::{
    backend::{NUMBER, Received},
    client::{Answer, Over, Request, case_of, send},
    site::Site,
};

/// Fields of requests that are not compared: those that belong to one connection, and those that
/// each proxy writes about itself and the client, which the report and docs/migration.md name.
const OWN_REQUEST_FIELDS: &[&str] = &[
    "connection",
    "keep-alive",
    "traceparent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    NUMBER,
];

/// Fields of responses that are not compared: those that belong to one connection, and the length of
/// the body, which is compared itself.
const OWN_RESPONSE_FIELDS: &[&str] = &["connection", "content-length", "date", "keep-alive"];

/// A difference between the two programs that the report of the import announces.
pub(crate) struct Known {
    /// What differs: the text before the colon of a [`Difference`].
    pub(crate) what: &'static str,
    /// Which requests it is known for.
    pub(crate) of: fn(&Request) -> bool,
    /// The words of the report that announce it.
    pub(crate) announced: &'static str,
}

/// A difference between what the two programs did with a request.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Difference {
    what: String,
    haproxy: String,
    lb: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: HAProxy {}, lb {}", self.what, self.haproxy, self.lb)
    }
}

/// What became of a request.
struct Outcome {
    answer: Answer,
    received: Vec<Received>,
}

/// Sends the requests to both programs.
///
/// # Errors
/// The programs differ in something that is not known, or a known difference is not announced by
/// the report or does not appear.
pub(crate) fn compare(site: &Site, requests: &[Request], known: &[Known]) -> Result<()> {
    let theirs = outcomes(site, &site.haproxy, requests)?;
    let ours = outcomes(site, &site.lb, requests)?;
    let mut unknown: BTreeMap<Difference, Vec<&Request>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut differing = 0;
    for (request, (theirs, ours)) in requests.iter().zip(theirs.iter().zip(&ours)) {
        let differences = differences(theirs, ours);
        differing += usize::from(!differences.is_empty());
        for difference in differences {
            let is = |known: &Known| known.what == difference.what && (known.of)(request);
            match known.iter().position(is) {
                Some(index) => {
                    seen.insert(index);
                }
                None => unknown.entry(difference).or_default().push(request),
            }
        }
    }
    let forwarded = ours
        .iter()
        .filter(|outcome| !outcome.received.is_empty())
        .count();
    println!(
        "{} requests compared, {forwarded} of them forwarded; {differing} with a difference",
        requests.len()
    );
    for (difference, of) in unknown.iter().take(60) {
        println!(
            "{difference}\n    {} requests, such as {:?}",
            of.len(),
            of[0]
        );
    }
    ensure!(
        unknown.is_empty(),
        "{} differences are not known:\n{}",
        unknown.len(),
        site.report
    );
    for (index, known) in known.iter().enumerate() {
        let words = known.announced;
        ensure!(
            site.report.contains(words),
            "the report does not announce {:?}:\n{}",
            words,
            site.report
        );
        ensure!(
            seen.contains(&index),
            "no request shows this difference: {words}"
        );
    }
    Ok(())
}

fn outcomes(site: &Site, host: &Host, requests: &[Request]) -> Result<Vec<Outcome>> {
    let numbered: Vec<(usize, &Request)> = requests.iter().enumerate().collect();
    let answers = send(host, &numbered)?;
    let outcome = |(number, answer): (usize, Answer)| Outcome {
        answer,
        received: site.servers.received(&case_of(host, number)),
    };
    Ok(answers.into_iter().enumerate().map(outcome).collect())
}

fn differences(theirs: &Outcome, ours: &Outcome) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut differ = |what: String, haproxy: String, lb: String| {
        if haproxy != lb {
            found.push(Difference { what, haproxy, lb });
        }
    };
    differ("outcome".to_owned(), said(theirs), said(ours));
    if said(theirs) != said(ours) {
        return found;
    }
    differ(
        "body".to_owned(),
        theirs.answer.body.clone(),
        ours.answer.body.clone(),
    );
    for (name, haproxy, lb) in fields(
        &theirs.answer.header,
        &ours.answer.header,
        OWN_RESPONSE_FIELDS,
    ) {
        differ(format!("response field {name}"), haproxy, lb);
    }
    if let ([theirs], [ours]) = (&*theirs.received, &*ours.received) {
        differ(
            "request line".to_owned(),
            theirs.line.clone(),
            ours.line.clone(),
        );
        differ(
            "request body".to_owned(),
            theirs.body.clone(),
            ours.body.clone(),
        );
        for (name, haproxy, lb) in fields(&theirs.header, &ours.header, OWN_REQUEST_FIELDS) {
            differ(format!("request field {name}"), haproxy, lb);
        }
    }
    found
}

/// Returns the status, and the sections whose servers got the request.
fn said(outcome: &Outcome) -> String {
    let by: Vec<_> = outcome
        .received
        .iter()
        .map(|received| &*received.section)
        .collect();
    match &*by {
        [] => format!("{} itself", outcome.answer.status),
        by => format!("{} from {}", outcome.answer.status, by.join(" and ")),
    }
}

/// Returns the values of each field, of both headers.
fn fields(
    theirs: &[(String, String)],
    ours: &[(String, String)],
    left_out: &[&str],
) -> Vec<(String, String, String)> {
    let names: BTreeSet<&String> = theirs.iter().chain(ours).map(|(name, _)| name).collect();
    let values = |header: &[(String, String)], name: &String| {
        let lines = header.iter().filter(|(other, _)| other == name);
        // Of a cookie only the name is compared: the values of the proxies' own are their secrets.
        let lines = lines.map(|(name, value)| match value.split_once('=') {
            Some((cookie, _)) if name == "set-cookie" => (name, cookie),
            _ => (name, &**value),
        });
        let mut values: Vec<_> = lines.map(|(_, value)| format!("{value:?}")).collect();
        // lb adds lines of a service before those of a route: their order has no meaning.
        values.sort();
        if values.is_empty() {
            "none".to_owned()
        } else {
            values.join(" and ")
        }
    };
    let names = names
        .into_iter()
        .filter(|name| !left_out.contains(&&***name));
    names
        .map(|name| (name.clone(), values(theirs, name), values(ours, name)))
        .collect()
}

/// The values that requests to each listener are made of.
pub(crate) struct Product<'a> {
    pub(crate) hosts: &'a [&'a str],
    pub(crate) targets: &'a [&'a str],
    pub(crate) variants: &'a [Variant],
}

/// A method and fields of a header.
pub(crate) type Variant = (&'static str, &'static [(&'static str, &'static str)]);

impl Product<'_> {
    /// Returns the requests: every pair of a host and a target with the first variant, every pair
    /// of a target and a variant with the first host, and every pair of a host and a variant with
    /// the first target.
    pub(crate) fn requests(&self, site: &Site) -> Vec<Request> {
        let mut requests = Vec::new();
        for (over, address) in &site.listeners {
            for (place, (method, header)) in self.variants.iter().enumerate() {
                // Fields of a connection are not allowed in HTTP/2.
                let of_connection = header.iter().any(|(name, _)| *name == "Connection");
                if of_connection && *over == Over::Https2 {
                    continue;
                }
                let lines = header
                    .iter()
                    .map(|(name, value)| ((*name).into(), (*value).into()));
                let header: Vec<(String, String)> = lines.collect();
                for (at, host) in self.hosts.iter().enumerate() {
                    for (on, target) in self.targets.iter().enumerate() {
                        if [place, at, on].iter().all(|index| *index > 0) {
                            continue;
                        }
                        requests.push(Request {
                            over: *over,
                            address: *address,
                            method: (*method).to_owned(),
                            host: (*host).to_owned(),
                            target: (*target).to_owned(),
                            header: header.clone(),
                        });
                    }
                }
            }
        }
        requests
    }
}
