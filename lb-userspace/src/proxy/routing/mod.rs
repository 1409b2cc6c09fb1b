//! Routes requests: the first route of a service that matches a request decides.
//!
//! A [`Table`] is compiled once for each configuration, is immutable, and is shared by the workers.
//! A service without routes, header edits and error pages has no table, and its requests cost
//! nothing here.

mod explain;
mod matching;
mod page;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;

pub use explain::{Question, explain};
pub use page::PageProblem;

pub(super) use matching::Fields;

use self::{
    matching::{MatchInput, comparable_host, is_host, mismatch},
    page::Page,
};
use super::{
    Error,
    message::{FieldEdits, Refusal, Values, path_of},
};
use crate::{
    config::request_path,
    config::{Action, Name, PathRule, RespondBody, Route, Routing, Service},
};

/// The routing table of one service.
#[derive(Debug)]
pub(super) struct Table {
    routing: Arc<Routing>,
    /// What was compiled of each route, by the route's index.
    compiled: Vec<Compiled>,
    /// The header edits of requests that match no route.
    default: Edits,
    error_pages: BTreeMap<u16, Page>,
    /// Whether any route matches on paths; the path of a request must be unambiguous then.
    looks_at_paths: bool,
    /// Whether any route matches on hosts.
    looks_at_hosts: bool,
}

#[derive(Debug)]
struct Compiled {
    edits: Edits,
    /// Index of the route's pool among the service's pools; `None` if the route has no pool.
    pool: Option<usize>,
    /// The body of the route's fixed answer; `None` if it has none.
    page: Option<Page>,
}

#[derive(Debug)]
struct Edits {
    requests: FieldEdits,
    responses: FieldEdits,
}

/// A request that is to be routed.
pub(super) struct Request<'a> {
    /// The method of the request.
    pub(super) method: &'a str,
    /// The host that the request names, with its port if it has one.
    pub(super) host: &'a str,
    /// The path of the request with its query, or `*`.
    pub(super) target: &'a str,
    /// The header of the request.
    pub(super) fields: &'a dyn Fields,
    /// The IP address of the client, as text.
    pub(super) client: &'a str,
    /// Whether the client is connected over TLS.
    pub(super) https: bool,
}

impl<'a> Request<'a> {
    /// Returns the values of the variables in header edits and redirects. A host that servers may
    /// interpret differently is replaced by an empty one.
    pub(super) fn values(&self) -> Values<'a> {
        Values {
            client: self.client,
            https: self.https,
            host: comparable_host(self.host).unwrap_or(""),
            target: self.target,
        }
    }
}

/// The content type and the body of a response.
type Body<'a> = (&'a str, &'a [u8]);

/// What the front does with a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// Forward the request to the pool with this index among the service's pools, with this target
    /// if the route rewrites it.
    Pool(usize, Option<String>),
    /// Forward the request to the service's own pool.
    Default,
    /// Answer with a redirect of this status to this location.
    Redirect(u16, String),
    /// Answer with the route's fixed answer.
    Respond,
    /// No route matched and the service has no pool of its own: answer with this status.
    Unmatched(u16),
}

/// What is done with a request, and the route that says so.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    /// The routing table that made the decision.
    pub(super) table: Arc<Table>,
    /// The index of the route that matched; `None` if no route matched.
    pub(super) route: Option<usize>,
    /// What is done with the request.
    pub(super) outcome: Outcome,
}

impl Table {
    /// Compiles the routing table of a service and reads the files for its answers; `None` if the
    /// service has nothing to route or edit.
    ///
    /// # Errors
    /// Every file that cannot be read.
    pub(super) fn compile(service: &Service) -> Result<Option<Arc<Self>>, Vec<Error>> {
        if service.routing.is_empty() {
            return Ok(None);
        }
        let pages = read_pages(service)?;
        Ok(Some(Arc::new(Self::with_pages(service, &pages))))
    }

    /// Compiles the table without reading files, for decisions that are only explained and not
    /// carried out.
    fn without_files(service: &Service) -> Self {
        Self::with_pages(service, &HashMap::new())
    }

    fn with_pages(service: &Service, pages: &HashMap<&PathBuf, Page>) -> Self {
        let routing = &service.routing;
        let pools = service.pools();
        let pool_of = |route: &Route| {
            let name = &route.pool()?.name;
            pools.iter().position(|pool| pool.name == *name)
        };
        let routes = &routing.routes;
        let compiled = routes.iter().map(|route| Compiled {
            edits: Edits::new(routing, Some(route)),
            pool: pool_of(route),
            page: page_of(route, pages),
        });
        let error_pages = routing.error_pages.iter();
        let error_pages =
            error_pages.filter_map(|(status, file)| Some((*status, pages.get(file)?.clone())));
        Self {
            compiled: compiled.collect(),
            error_pages: error_pages.collect(),
            default: Edits::new(routing, None),
            looks_at_paths: looks_at_paths(routing),
            looks_at_hosts: looks_at_hosts(routing),
            routing: Arc::clone(routing),
        }
    }

    /// Decides what is done with a request. `has_pool`: the service has a `pool`, which gets the
    /// requests that match no route.
    ///
    /// # Errors
    /// A route matches on the path or host, and servers may interpret the path or host of this
    /// request differently.
    pub(super) fn decide(
        self: &Arc<Self>,
        request: &Request<'_>,
        has_pool: bool,
    ) -> Result<Decision, Refusal> {
        let (route, outcome) = self.find(request, has_pool)?;
        Ok(Decision {
            table: Arc::clone(self),
            route,
            outcome,
        })
    }

    fn find(
        &self,
        request: &Request<'_>,
        has_pool: bool,
    ) -> Result<(Option<usize>, Outcome), Refusal> {
        let host = match comparable_host(request.host) {
            Some(host) => host,
            None if self.looks_at_hosts => return Err(Refusal::Host),
            None => "",
        };
        let path = match request.target {
            "*" => None,
            target if self.looks_at_paths => {
                let path = request_path::comparable(path_of(target).as_bytes());
                Some(path.map_err(|_| Refusal::AmbiguousPath)?)
            }
            _ => None,
        };
        let input = MatchInput {
            method: request.method,
            host,
            path: path.as_deref(),
            fields: request.fields,
        };
        let routes = &self.routing.routes;
        let found = routes
            .iter()
            .position(|route| mismatch(route, &input).is_none());
        Ok(match found {
            Some(place) => (Some(place), self.outcome(place, request)),
            None if has_pool => (None, Outcome::Default),
            None => (
                None,
                Outcome::Unmatched(self.unmatched_status(host, request.https)),
            ),
        })
    }

    fn outcome(&self, place: usize, request: &Request<'_>) -> Outcome {
        let route = &self.routing.routes[place];
        match &route.action {
            Action::Pool { replace_prefix, .. } => {
                let target = replace_prefix.as_ref().and_then(|new| {
                    let Some(PathRule::Prefix(old)) = &route.path else {
                        return None;
                    };
                    Some(rewritten(request.target, old, new))
                });
                match self.compiled[place].pool {
                    Some(pool) => Outcome::Pool(pool, target),
                    None => Outcome::Unmatched(503),
                }
            }
            Action::Redirect(redirect) => {
                let values = request.values();
                let location = redirect.to.render(|variable| values.of(variable));
                Outcome::Redirect(redirect.status, location.into_owned())
            }
            Action::Respond(_) => Outcome::Respond,
        }
    }

    /// Returns the status of the answer if no route matches. It is 421 if no route names the host
    /// and the client uses TLS: the client may have reused a connection made for another host and
    /// can reach the right server over a new connection (RFC 9110 §15.5.20). Otherwise it is 404.
    fn unmatched_status(&self, host: &str, https: bool) -> u16 {
        let mut routes = self.routing.routes.iter();
        let names_host = routes.any(|route| {
            route.hosts.is_empty() || route.hosts.iter().any(|rule| is_host(rule, host))
        });
        if https && !names_host { 421 } else { 404 }
    }

    /// Returns the names of the service's routes, in the order of the configuration.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.routing.routes.iter().map(|route| &route.name)
    }

    /// Returns the content type and body of the error page for a status; `None` if the service has
    /// none for it.
    pub(super) fn error_page(&self, status: u16) -> Option<Body<'_>> {
        let page = self.error_pages.get(&status)?;
        Some((&page.content_type, &page.body))
    }

    fn edits(&self, route: Option<usize>) -> &Edits {
        match route {
            Some(place) => &self.compiled[place].edits,
            None => &self.default,
        }
    }
}

impl Decision {
    /// Returns the header edits for the request; `None` if there are none.
    pub(super) fn request_edits(&self) -> Option<&FieldEdits> {
        let edits = &self.table.edits(self.route).requests;
        (!edits.is_empty()).then_some(edits)
    }

    /// Returns the header edits for the response; `None` if there are none.
    pub(super) fn response_edits(&self) -> Option<&FieldEdits> {
        let edits = &self.table.edits(self.route).responses;
        (!edits.is_empty()).then_some(edits)
    }

    /// Returns the fixed answer of the matching route (the status, and the content type and body);
    /// `None` if the route has none.
    pub(super) fn fixed_answer(&self) -> Option<(u16, Option<Body<'_>>)> {
        let place = self.route?;
        let Action::Respond(respond) = &self.table.routing.routes[place].action else {
            return None;
        };
        let page = self.table.compiled[place].page.as_ref();
        let body = page.map(|page| (page.content_type.as_str(), &*page.body));
        Some((respond.status, body))
    }
}

impl Edits {
    fn new(routing: &Routing, route: Option<&Route>) -> Self {
        Self {
            requests: FieldEdits::new(
                &routing.request_headers,
                route.map(|route| &route.request_headers),
            ),
            responses: FieldEdits::new(
                &routing.response_headers,
                route.map(|route| &route.response_headers),
            ),
        }
    }
}

fn looks_at_paths(routing: &Routing) -> bool {
    routing.routes.iter().any(|route| route.path.is_some())
}

fn looks_at_hosts(routing: &Routing) -> bool {
    routing.routes.iter().any(|route| !route.hosts.is_empty())
}

/// Returns the target with the prefix `old` of its path replaced by `new`.
fn rewritten(target: &str, old: &[u8], new: &str) -> String {
    let path = path_of(target);
    let query = target.find('?').map_or("", |at| &target[at..]);
    request_path::with_prefix(path, request_path::segments(old), new) + query
}

/// Returns the body of a route's fixed answer; `None` if the route has none.
fn page_of(route: &Route, pages: &HashMap<&PathBuf, Page>) -> Option<Page> {
    let Action::Respond(respond) = &route.action else {
        return None;
    };
    let body = match respond.body.as_ref()? {
        RespondBody::Text(text) => Bytes::from(text.clone()),
        RespondBody::File(file) => pages.get(file)?.body.clone(),
    };
    Some(Page {
        body,
        content_type: respond.content_type.clone(),
    })
}

/// Reads the files that a service's routes and error pages name, each file once.
fn read_pages(service: &Service) -> Result<HashMap<&PathBuf, Page>, Vec<Error>> {
    let files: BTreeSet<&PathBuf> = service.routing.files().collect();
    let mut pages = HashMap::new();
    let mut errors = Vec::new();
    for file in files {
        match Page::read(file) {
            Ok(page) => drop(pages.insert(file, page)),
            Err(problem) => errors.push(Error::Page {
                service: service.name.clone(),
                path: file.clone(),
                problem,
            }),
        }
    }
    if errors.is_empty() {
        Ok(pages)
    } else {
        Err(errors)
    }
}

/// Returns every problem with the files that a service's routes and error pages name.
#[must_use]
pub fn check_pages(service: &Service) -> Vec<Error> {
    read_pages(service).err().unwrap_or_default()
}

#[cfg(test)]
mod tests;
