//! `[[service.route]]` and the other keys of a service that apply to single requests.

mod answer;
mod condition;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use toml::Spanned;

use super::{
    Action, Name, Pool, Route, Routing,
    drafts::{PoolDraft, find_pool},
    header_edits,
    kind::Text,
    list::Listed,
    map::Map,
    route_text::{ERROR_STATUS, PREFIX},
    schema::{Absent, Entry, Key, Schema},
    section::Section,
    source::Reported,
    suggest, text, unique,
};

use self::{
    answer::{REDIRECT, RESPOND, read_redirect, read_respond},
    condition::{
        HEADER, HOSTS, METHODS, PATH, PATH_PREFIX, PATH_REGEX, read_header, read_path, several,
    },
};

/// Maximum number of routes of one service, as each route adds time series to the metrics.
const MOST_ROUTES: usize = 1_000;

/// The key `error_pages` of `[[service]]`: files for the front's own answers, by status.
pub(super) static ERROR_PAGES: Key<Map<u16, Text<PathBuf>>> = Key {
    name: "error_pages",
    kind: Map {
        key: ERROR_STATUS,
        noun: "status",
        of: text::PATH,
    },
    absent: Absent::Means("lb's own text"),
    meaning: "Files for lb's own answers, by status: `error_pages = { 502 = \"/etc/lb/502.html\" \
              }`. Read when the configuration is loaded, at most 1 MiB each; the content type \
              follows from the file name extension. Answers of backends and of `respond` are not \
              changed. For `http` and `https`.",
};

pub(super) static ROUTE: Schema = Schema {
    name: "route",
    header: "[[service.route]]",
    about: "A rule for some of a service's requests; see [routing](routing.md). A request is taken \
            by the first route in the file whose conditions it meets, or else by the service's \
            `pool`. A route has exactly one of `pool`, `redirect` and `respond`.",
    presence: "For `http` and `https`. Optional.",
    keys: &[
        &NAME,
        &HOSTS,
        &PATH,
        &PATH_PREFIX,
        &PATH_REGEX,
        &METHODS,
        &POOL,
        &REPLACE_PREFIX,
    ],
    tables: &[
        &HEADER,
        &REDIRECT,
        &RESPOND,
        &header_edits::OF_ROUTE_REQUESTS,
        &header_edits::OF_ROUTE_RESPONSES,
    ],
};

static NAME: Key<Text<Name>> = Key {
    name: "name",
    kind: text::NAME,
    absent: Absent::Means("its number, from 1"),
    meaning: "The route's name in metrics and in `lb explain`, unique in the service. Numbers and \
              `default` are reserved.",
};

static POOL: Key<Text<Name>> = Key {
    name: "pool",
    kind: text::NAME,
    absent: Absent::Means("none"),
    meaning: "The pool that serves the requests.",
};

static REPLACE_PREFIX: Key<Text<String>> = Key {
    name: "replace_prefix",
    kind: PREFIX,
    absent: Absent::Means("the path is not changed"),
    meaning: "The text that replaces `path_prefix` in forwarded requests: with `path_prefix = \
              \"/api\"` and `replace_prefix = \"/\"` backends get a request for `/api/x` as `/x`. \
              Needs `path_prefix` and `pool`.",
};

/// The valid parts of the routing of a service.
pub(super) struct RoutingDraft {
    /// The routes, header edits and error pages, if all of them are valid.
    pub(super) routing: Result<Routing, Reported>,
    /// The names of the pools that the service's routes refer to, whether or not they exist.
    pub(super) pool_names: Vec<Spanned<Name>>,
    /// Whether the service has routes, valid or not.
    pub(super) has_routes: bool,
}

/// Reads the routing of a service. `pools` is `None` if the pools could not be read: then the names
/// of pools are not looked up.
pub(super) fn read(section: &Section<'_>, pools: Option<&[PoolDraft]>) -> RoutingDraft {
    let headers = header_edits::read(
        section,
        &header_edits::OF_REQUESTS,
        &header_edits::OF_RESPONSES,
    );
    let error_pages = error_pages(section);
    let mut pool_names = Vec::new();
    let routes = routes(section, pools, &mut pool_names);
    let read = || {
        let (request_headers, response_headers) = headers?;
        Ok(Routing {
            routes: routes?,
            request_headers,
            response_headers,
            error_pages: error_pages?,
        })
    };
    RoutingDraft {
        routing: read(),
        pool_names,
        has_routes: section.place(ROUTE.name).is_some(),
    }
}

/// The keys of a service that are allowed only with mode `http` and `https`.
pub(super) const KEYS: [&str; 4] = [
    "route",
    "request_headers",
    "response_headers",
    "error_pages",
];

fn error_pages(section: &Section<'_>) -> Result<BTreeMap<u16, PathBuf>, Reported> {
    let pages = section.optional(&ERROR_PAGES)?;
    let pages = pages.map_or_else(Listed::empty, Spanned::into_inner);
    Ok(pages.all()?.into_iter().collect())
}

fn routes(
    section: &Section<'_>,
    pools: Option<&[PoolDraft]>,
    pool_names: &mut Vec<Spanned<Name>>,
) -> Result<Vec<Route>, Reported> {
    let sections = section.tables(&ROUTE)?;
    let mut few = Ok(());
    if let Some(one_too_many) = sections.get(MOST_ROUTES) {
        let message = format!("{} has {} routes", section.label(), sections.len());
        let hint = format!("at most {MOST_ROUTES} are allowed");
        few = Err(section.source().error(one_too_many.span(), message, hint));
    }
    let names: Vec<_> = sections
        .iter()
        .filter_map(|route| route.optional(&NAME).ok()?)
        .collect();
    let once = unique::refuse_twice("route", "in this service", names.iter(), section.source());
    let mut routes = Ok(Vec::new());
    for (number, section) in (1..).zip(&sections) {
        match (read_route(section, number, pools, pool_names), &mut routes) {
            (Ok(route), Ok(routes)) => routes.push(route),
            (Err(reported), routes) => *routes = Err(reported),
            (Ok(_), Err(_)) => {}
        }
    }
    few?;
    once?;
    let routes = routes?;
    warn_of_idle_routes(&sections, &routes);
    Ok(routes)
}

/// Warns of the first route that no request reaches because an earlier route matches every request.
fn warn_of_idle_routes(sections: &[Section<'_>], routes: &[Route]) {
    let Some(last) = routes.iter().position(Route::takes_all) else {
        return;
    };
    if let (Some(idle), Some(section)) = (routes.get(last + 1), sections.get(last + 1)) {
        let message = format!(
            "route \"{}\" never takes a request: route \"{}\" before it takes all",
            idle.name, routes[last].name
        );
        let hint = "put the route without conditions last".to_owned();
        section.source().warning(section.span(), message, hint);
    }
}

fn read_route(
    section: &Section<'_>,
    number: usize,
    pools: Option<&[PoolDraft]>,
    pool_names: &mut Vec<Spanned<Name>>,
) -> Result<Route, Reported> {
    let name = read_name(section, number);
    let hosts = several(section, &HOSTS);
    let path = read_path(section);
    let methods = several(section, &METHODS);
    let headers = section.tables(&HEADER).and_then(|rules| {
        let rules: Vec<_> = rules.iter().map(read_header).collect();
        rules.into_iter().collect::<Result<Vec<_>, _>>()
    });
    let action = read_action(section, pools, pool_names);
    let edits = header_edits::read(
        section,
        &header_edits::OF_ROUTE_REQUESTS,
        &header_edits::OF_ROUTE_RESPONSES,
    );
    let (request_headers, response_headers) = edits?;
    Ok(Route {
        name: name?,
        hosts: hosts?,
        path: path?,
        methods: methods?,
        headers: headers?,
        action: action?,
        request_headers,
        response_headers,
    })
}

fn read_name(section: &Section<'_>, number: usize) -> Result<Name, Reported> {
    let Some(name) = section.optional(&NAME)? else {
        return Name::parse(&number.to_string()).ok_or(Reported);
    };
    let text = name.get_ref().as_str();
    if *name.get_ref() == Name::default_route() || text.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("route name \"{text}\" is reserved");
        let hint =
            "lb gives routes without a name their number as the name, and \"default\" stands for \
                    the requests that no route takes: choose another name"
                .to_owned();
        return Err(section.source().error(name.span(), message, hint));
    }
    Ok(name.into_inner())
}

const ACTIONS: [&str; 3] = ["pool", "redirect", "respond"];

fn read_action(
    section: &Section<'_>,
    pools: Option<&[PoolDraft]>,
    pool_names: &mut Vec<Spanned<Name>>,
) -> Result<Action, Reported> {
    let pool = section.optional(&POOL);
    let replace_prefix = section.optional(&REPLACE_PREFIX);
    let redirect = section.table(&REDIRECT);
    let respond = section.table(&RESPOND);
    let one = section.only_one(&ACTIONS, "keep one of them: a route has one action");
    let (redirect, respond) = (
        redirect.and_then(|table| table.map(|table| read_redirect(&table)).transpose()),
        respond.and_then(|table| table.map(|table| read_respond(&table)).transpose()),
    );
    let pool = pool.map(|name| {
        name.map(|name| {
            let found = pools.and_then(|pools| find_pool(section, &name, pools));
            pool_names.push(name);
            found.and_then(|draft| draft.pool.as_ref().map(Arc::<Pool>::clone))
        })
    });
    one?;
    check_replace_prefix(section)?;
    match (pool?, redirect?, respond?) {
        (Some(pool), ..) => Ok(Action::Pool {
            // If the pool does not exist, that has been reported already.
            pool: pool.ok_or(Reported)?,
            replace_prefix: replace_prefix?.map(Spanned::into_inner),
        }),
        (_, Some(redirect), _) => Ok(Action::Redirect(redirect)),
        (_, _, Some(respond)) => Ok(Action::Respond(respond)),
        (None, None, None) => {
            let message = format!("{} has no action", section.label());
            let hint = format!("give it one of {}", suggest::listed(&ACTIONS));
            Err(section.error(message, hint))
        }
    }
}

fn check_replace_prefix(section: &Section<'_>) -> Result<(), Reported> {
    let Some(place) = section.place(REPLACE_PREFIX.name()) else {
        return Ok(());
    };
    let missing = [PATH_PREFIX.name(), POOL.name()]
        .into_iter()
        .find(|key| section.place(key).is_none());
    let Some(missing) = missing else {
        return Ok(());
    };
    let message = format!("{} has replace_prefix, but no {missing}", section.label());
    let hint = "it replaces path_prefix in the paths of requests to a pool".to_owned();
    Err(section.source().error(place, message, hint))
}
