//! Decides what becomes of a request: by the routes of its service, in their order.
//!
//! A [`Table`] is compiled once for each configuration and never changes; workers share it. A
//! service without routes, header edits and error pages has none, and costs nothing.

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

/// What becomes of the requests of one service.
#[derive(Debug)]
pub(super) struct Table {
    routing: Arc<Routing>,
    /// For each route.
    compiled: Vec<Compiled>,
    /// For what no route takes.
    default: Edits,
    error_pages: BTreeMap<u16, Page>,
    /// Whether a route looks at paths: they must be comparable then.
    looks_at_paths: bool,
    /// Whether a route looks at hosts.
    looks_at_hosts: bool,
}

#[derive(Debug)]
struct Compiled {
    edits: Edits,
    /// The place of its pool among the service's.
    pool: Option<usize>,
    /// The body of its fixed answer.
    page: Option<Page>,
}

#[derive(Debug)]
struct Edits {
    requests: FieldEdits,
    responses: FieldEdits,
}

/// A request before it is decided upon.
pub(super) struct Request<'a> {
    /// Its method.
    pub(super) method: &'a str,
    /// Its host, with the port that it came with.
    pub(super) host: &'a str,
    /// Its target: a path with its query, or `*`.
    pub(super) target: &'a str,
    /// Its header.
    pub(super) fields: &'a dyn Fields,
    /// The client's address.
    pub(super) client: &'a str,
    /// Whether the client is connected over TLS.
    pub(super) https: bool,
}

impl<'a> Request<'a> {
    /// What variables stand for. A host that is not comparable is none.
    pub(super) fn values(&self) -> Values<'a> {
        Values {
            client: self.client,
            https: self.https,
            host: comparable_host(self.host).unwrap_or(""),
            target: self.target,
        }
    }
}

/// A body after its content type.
type Body<'a> = (&'a str, &'a [u8]);

/// What becomes of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It goes to the pool of that place among the service's, and there with that target.
    Pool(usize, Option<String>),
    /// It goes to the service's own pool.
    Default,
    /// The client is sent elsewhere.
    Redirect(u16, String),
    /// The fixed answer of its route.
    Respond,
    /// Nothing takes it: the status.
    Nothing(u16),
}

/// A verdict, and the route that it is of.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    /// The table.
    pub(super) table: Arc<Table>,
    /// The place of the route; `None`: none took the request.
    pub(super) route: Option<usize>,
    /// What becomes of the request.
    pub(super) verdict: Verdict,
}

impl Table {
    /// The table of a service, whose files are read; `None`: there is nothing to decide.
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

    /// The same without bodies, to decide and not to answer.
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

    /// Decides upon a request. `has_pool`: the service has a pool of its own.
    ///
    /// # Errors
    /// Routes look at its path or host, and servers differ on what that says.
    pub(super) fn decide(
        self: &Arc<Self>,
        request: &Request<'_>,
        has_pool: bool,
    ) -> Result<Decision, Refusal> {
        let (route, verdict) = self.find(request, has_pool)?;
        Ok(Decision {
            table: Arc::clone(self),
            route,
            verdict,
        })
    }

    fn find(
        &self,
        request: &Request<'_>,
        has_pool: bool,
    ) -> Result<(Option<usize>, Verdict), Refusal> {
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
            Some(place) => (Some(place), self.verdict(place, request)),
            None if has_pool => (None, Verdict::Default),
            None => (None, Verdict::Nothing(self.nothing(host, request.https))),
        })
    }

    fn verdict(&self, place: usize, request: &Request<'_>) -> Verdict {
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
                    Some(pool) => Verdict::Pool(pool, target),
                    None => Verdict::Nothing(503),
                }
            }
            Action::Redirect(redirect) => {
                let values = request.values();
                let location = redirect.to.render(|variable| values.of(variable));
                Verdict::Redirect(redirect.status, location.into_owned())
            }
            Action::Respond(_) => Verdict::Respond,
        }
    }

    /// The status for what nothing takes. A connection that was made for another host may have
    /// carried the request here (RFC 9110 §15.5.20): over a new one it may reach its server.
    fn nothing(&self, host: &str, https: bool) -> u16 {
        let mut routes = self.routing.routes.iter();
        let names_host = routes.any(|route| {
            route.hosts.is_empty() || route.hosts.iter().any(|rule| is_host(rule, host))
        });
        if https && !names_host { 421 } else { 404 }
    }

    /// The names of the routes, in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.routing.routes.iter().map(|route| &route.name)
    }

    /// What stands in place of the front's own text for a status: its content type and itself.
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
    /// What is changed in the headers of the request.
    pub(super) fn request_edits(&self) -> Option<&FieldEdits> {
        let edits = &self.table.edits(self.route).requests;
        (!edits.is_empty()).then_some(edits)
    }

    /// What is changed in the header of its response.
    pub(super) fn response_edits(&self) -> Option<&FieldEdits> {
        let edits = &self.table.edits(self.route).responses;
        (!edits.is_empty()).then_some(edits)
    }

    /// The fixed answer of its route: the status, and the body with its content type.
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

/// A target whose path begins with `old` with `new` in place of that.
fn rewritten(target: &str, old: &[u8], new: &str) -> String {
    let path = path_of(target);
    let query = target.find('?').map_or("", |at| &target[at..]);
    request_path::with_prefix(path, request_path::segments(old), new) + query
}

/// The body of the fixed answer of a route.
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

/// Reads the files that a service's routing names, each once.
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

/// What is wrong with the files for answers that a service names.
#[must_use]
pub fn check_pages(service: &Service) -> Vec<Error> {
    read_pages(service).err().unwrap_or_default()
}

#[cfg(test)]
mod tests;
