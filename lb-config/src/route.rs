//! `[[service.route]]`, and what else a service decides request by request.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, sync::Arc};

use toml::Spanned;

use super::{
    Action, HeaderRule, HeaderTest, HostRule, Name, PathRule, Pattern, Pool, Redirect, Respond,
    RespondBody, Route, Routing, Template, header_edits,
    kind::{Text, TextOrDigits, Whole},
    list::{List, Listed, OneOrMore},
    map::Map,
    pool::PoolDraft,
    route_text::{
        CONTENT_TYPE, ERROR_STATUS, EXACT_PATH, HOST, LOOKED_AT, METHOD, PREFIX, REDIRECT_STATUS,
        REGEX, URL, WANTED_VALUE,
    },
    schema::{Absent, Entry, Key, Schema},
    section::Section,
    service::find_pool,
    source::Reported,
    suggest, text, unique,
};
use crate::request_path;

/// Routes of one service: each has a series in the metrics.
const MOST_ROUTES: usize = 1_000;

/// `[[service]] error_pages`.
pub(super) static ERROR_PAGES: Key<Map<u16, Text<PathBuf>>> = Key {
    name: "error_pages",
    kind: Map {
        key: ERROR_STATUS,
        noun: "status",
        of: text::PATH,
    },
    absent: Absent::Means("lb's own text"),
    meaning: "Files for answers that are lb's own, by status: \
              `error_pages = { 502 = \"/etc/lb/502.html\" }`. Read when the configuration is loaded, \
              at most 1 MiB each; the content type follows from the file's ending. Answers of \
              backends and of `respond` are not touched. For `http` and `https`.",
};

pub(super) static ROUTE: Schema = Schema {
    name: "route",
    header: "[[service.route]]",
    about: "What becomes of some of a service's requests; see [routing](routing.md). The first route \
            in the order of the file whose conditions all hold takes a request, and the service's \
            `pool` what none takes. A route has exactly one of `pool`, `redirect` and `respond`.",
    presence: "For `http` and `https`. May be left out.",
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
    meaning: "The route's name in metrics and in `lb explain`, unique in the service. It is no \
              number and not `default`.",
};

static HOSTS: Key<OneOrMore<Text<HostRule>>> = Key {
    name: "host",
    kind: OneOrMore(List {
        of: HOST,
        noun: "host",
    }),
    absent: Absent::Means("any"),
    meaning: "The request's host is one of these. Case, the port and a dot at the end do not count. \
              `*.example.com` is every name below `example.com`, at any depth, and not that itself.",
};

static PATH: Key<Text<Vec<u8>>> = Key {
    name: "path",
    kind: EXACT_PATH,
    absent: Absent::Means("any"),
    meaning: "The request's path is this one, without the query. At most one of `path`, \
              `path_prefix` and `path_regex`.",
};

static PATH_PREFIX: Key<Text<String>> = Key {
    name: "path_prefix",
    kind: PREFIX,
    absent: Absent::Means("any"),
    meaning: "The request's path is this one or below it, by whole segments: `/api` is for `/api`, \
              `/api/` and `/api/x`, and not for `/apix`.",
};

static PATH_REGEX: Key<Text<Pattern>> = Key {
    name: "path_regex",
    kind: REGEX,
    absent: Absent::Means("any"),
    meaning: "The expression matches somewhere in the request's path: `^` and `$` hold it to the \
              whole. Syntax of [regex](https://docs.rs/regex), over bytes; `(?i)` for any case.",
};

static METHODS: Key<OneOrMore<Text<String>>> = Key {
    name: "method",
    kind: OneOrMore(List {
        of: METHOD,
        noun: "method",
    }),
    absent: Absent::Means("any"),
    meaning: "The request's method is one of these.",
};

static POOL: Key<Text<Name>> = Key {
    name: "pool",
    kind: text::NAME,
    absent: Absent::Means("none"),
    meaning: "The pool that serves it.",
};

static REPLACE_PREFIX: Key<Text<String>> = Key {
    name: "replace_prefix",
    kind: PREFIX,
    absent: Absent::Means("the path stays"),
    meaning: "What backends see in place of `path_prefix`, with which and with `pool` it goes: with \
              `path_prefix = \"/api\"` and `replace_prefix = \"/\"` a request for `/api/x` reaches \
              them as `/x`.",
};

static HEADER: Schema = Schema {
    name: "header",
    header: "[[service.route.header]]",
    about: "A condition on a field of the request's header: it is there, or, with `value` or \
            `regex`, one of its lines is so. Several must all hold. \
            `header = [{ name = \"X-Debug\" }]` is the same on one line.",
    presence: "May be left out.",
    keys: &[&HEADER_NAME, &HEADER_VALUE, &HEADER_REGEX],
    tables: &[],
};

static HEADER_NAME: Key<Text<String>> = Key {
    name: "name",
    kind: LOOKED_AT,
    absent: Absent::Refused("\"X-Debug\""),
    meaning: "The field. Fields that are not forwarded are not seen, such as `X-Forwarded-Proto` of \
              a client that is not one of `trusted_proxies`.",
};

static HEADER_VALUE: Key<Text<String>> = Key {
    name: "value",
    kind: WANTED_VALUE,
    absent: Absent::Means("any"),
    meaning: "The whole value; case counts.",
};

static HEADER_REGEX: Key<Text<Pattern>> = Key {
    name: "regex",
    kind: REGEX,
    absent: Absent::Means("any"),
    meaning: "An expression that matches somewhere in the value.",
};

static REDIRECT: Schema = Schema {
    name: "redirect",
    header: "[service.route.redirect]",
    about: "Sends the client elsewhere: `redirect = { to = \"https://{host}{path}{query}\" }`.",
    presence: "In place of `pool`.",
    keys: &[&TO, &REDIRECT_CODE],
    tables: &[],
};

static TO: Key<Text<Template>> = Key {
    name: "to",
    kind: URL,
    absent: Absent::Refused("\"https://{host}{path}{query}\""),
    meaning: "The URL, with the variables `{scheme}`, `{host}` (without a port), `{bare_host}` (the \
              same without `www.`), `{path}` and `{query}` (with its `?`).",
};

static REDIRECT_CODE: Key<TextOrDigits<u16>> = Key {
    name: "status",
    kind: REDIRECT_STATUS,
    // A mistake in one that is for ever stays in browsers; 302 turns a POST into a GET.
    absent: Absent::Is("307"),
    meaning: "307: for this time, with the same method. 308: for good, which browsers remember. 301 \
              and 302: the same, but a POST may become a GET. 303: as a GET.",
};

static RESPOND: Schema = Schema {
    name: "respond",
    header: "[service.route.respond]",
    about: "Answers in place of a backend: `respond = { status = 503, file = \
            \"/etc/lb/maintenance.html\" }`.",
    presence: "In place of `pool`.",
    keys: &[&RESPOND_STATUS, &BODY, &FILE, &BODY_TYPE],
    tables: &[],
};

static RESPOND_STATUS: Key<Whole<u16>> = Key {
    name: "status",
    kind: Whole(RangeInclusive::new(200, 599)),
    absent: Absent::Refused("503"),
    meaning: "The status.",
};

static BODY: Key<Text<String>> = Key {
    name: "body",
    kind: Text {
        what: "text, at most 64 KiB",
        parse: body_text,
    },
    absent: Absent::Means("none"),
    meaning: "The body, or `file`. None with 204, 205 and 304.",
};

static FILE: Key<Text<PathBuf>> = Key {
    name: "file",
    kind: text::PATH,
    absent: Absent::Means("none"),
    meaning: "The file that holds the body, read when the configuration is loaded; at most 1 MiB.",
};

static BODY_TYPE: Key<Text<String>> = Key {
    name: "content_type",
    kind: CONTENT_TYPE,
    absent: Absent::Means("by the file's ending; `text/plain; charset=utf-8` for `body`"),
    meaning: "The body's content type.",
};

fn body_text(text: &str) -> Result<String, super::kind::Complaint> {
    const LARGEST: usize = 64 << 10;
    if text.len() > LARGEST {
        let found = format!("is {} bytes long", text.len());
        return Err(super::kind::Complaint::new(
            found,
            "put it in a file: file = \"…\"",
        ));
    }
    Ok(text.to_owned())
}

/// What a service decides request by request, as far as it could be read.
pub(super) struct RoutingDraft {
    /// All of it, if it is valid.
    pub(super) routing: Result<Routing, Reported>,
    /// The pools that its routes refer to, whether or not there are such.
    pub(super) pool_names: Vec<Spanned<Name>>,
    /// Whether there are routes, valid or not.
    pub(super) has_routes: bool,
}

/// Reads the routes and all that belongs to them. Without `pools`, which could not be read, none is
/// looked up.
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

/// The keys of a service that are for `http` and `https` alone.
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

/// Warns of the first route behind one that takes everything.
fn warn_of_idle_routes(sections: &[Section<'_>], routes: &[Route]) {
    let Some(last) = routes.iter().position(Route::takes_all) else {
        return;
    };
    if let (Some(idle), Some(section)) = (routes.get(last + 1), sections.get(last + 1)) {
        let message = format!(
            "route \"{}\" takes no request: route \"{}\" before it takes all",
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
        let message = format!("name \"{text}\" cannot be that of a route");
        let hint = "a number is what a route without a name is called by, and default is what no \
                    route takes: write another"
            .to_owned();
        return Err(section.source().error(name.span(), message, hint));
    }
    Ok(name.into_inner())
}

fn several<T>(section: &Section<'_>, key: &Key<OneOrMore<Text<T>>>) -> Result<Vec<T>, Reported> {
    let Some(listed) = section.optional(key)? else {
        return Ok(Vec::new());
    };
    let place = listed.span();
    let items = listed.into_inner().all()?;
    if items.is_empty() {
        let message = format!("{} is empty", key.name());
        let hint = "leave the key out for any, or name at least one".to_owned();
        return Err(section.source().error(place, message, hint));
    }
    Ok(items)
}

fn read_path(section: &Section<'_>) -> Result<Option<PathRule>, Reported> {
    let exact = section.optional(&PATH);
    let prefix = section.optional(&PATH_PREFIX);
    let regex = section.optional(&PATH_REGEX);
    let keys = [PATH.name(), PATH_PREFIX.name(), PATH_REGEX.name()];
    only_one(section, &keys, "keep one: a second route has the other")?;
    Ok(match (exact?, prefix?, regex?) {
        (Some(exact), _, _) => Some(PathRule::Exact(exact.into_inner())),
        (_, Some(prefix), _) => {
            let comparable = request_path::comparable(prefix.get_ref().as_bytes());
            let mut prefix = comparable.map_err(|_| Reported)?.into_owned();
            if prefix.ends_with(b"/") {
                prefix.pop();
            }
            Some(PathRule::Prefix(prefix))
        }
        (_, _, Some(regex)) => Some(PathRule::Regex(regex.into_inner())),
        (None, None, None) => None,
    })
}

/// Reports the second of several keys of which a section may have one.
fn only_one(section: &Section<'_>, keys: &[&'static str], hint: &str) -> Result<(), Reported> {
    let mut there = keys.iter().filter(|key| section.place(key).is_some());
    let (Some(first), Some(second)) = (there.next(), there.next()) else {
        return Ok(());
    };
    let place = section.place(second).unwrap_or_else(|| section.span());
    let message = format!("{} has both {first} and {second}", section.label());
    Err(section.source().error(place, message, hint.to_owned()))
}

fn read_header(section: &Section<'_>) -> Result<HeaderRule, Reported> {
    let name = section.value(&HEADER_NAME);
    let value = section.optional(&HEADER_VALUE);
    let regex = section.optional(&HEADER_REGEX);
    only_one(
        section,
        &["value", "regex"],
        "keep one: a value is compared as it stands",
    )?;
    let test = match (value?, regex?) {
        (Some(value), _) => HeaderTest::Is(value.into_inner()),
        (None, Some(regex)) => HeaderTest::Regex(regex.into_inner()),
        (None, None) => HeaderTest::Present,
    };
    Ok(HeaderRule {
        name: name?.into_inner(),
        test,
    })
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
    let one = only_one(
        section,
        &ACTIONS,
        "keep one of them: a route does one thing",
    );
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
            // One that is not there was reported.
            pool: pool.ok_or(Reported)?,
            replace_prefix: replace_prefix?.map(Spanned::into_inner),
        }),
        (_, Some(redirect), _) => Ok(Action::Redirect(redirect)),
        (_, _, Some(respond)) => Ok(Action::Respond(respond)),
        (None, None, None) => {
            let message = format!("{} does nothing", section.label());
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
    let message = format!("{} has replace_prefix and no {missing}", section.label());
    let hint = "it replaces what path_prefix says in requests to a pool".to_owned();
    Err(section.source().error(place, message, hint))
}

fn read_redirect(section: &Section<'_>) -> Result<Redirect, Reported> {
    let (to, status) = (section.value(&TO), section.value(&REDIRECT_CODE));
    Ok(Redirect {
        to: to?.into_inner(),
        status: status?.into_inner(),
    })
}

fn read_respond(section: &Section<'_>) -> Result<Respond, Reported> {
    let status = section.value(&RESPOND_STATUS);
    let body = section.optional(&BODY);
    let file = section.optional(&FILE);
    let content_type = section.optional(&BODY_TYPE);
    only_one(section, &["body", "file"], "keep one of them")?;
    let status = status?.into_inner();
    let (body, file, content_type) = (body?, file?, content_type?);
    let place = body
        .as_ref()
        .map(Spanned::span)
        .or(file.as_ref().map(Spanned::span));
    if let (204 | 205 | 304, Some(place)) = (status, place) {
        let message = format!("a response of status {status} has no body");
        let hint = "leave the body out, or write another status (RFC 9110 §6.4.1)".to_owned();
        return Err(section.source().error(place, message, hint));
    }
    let body = match (body, file) {
        (Some(body), _) => Some(RespondBody::Text(body.into_inner())),
        (None, Some(file)) => Some(RespondBody::File(file.into_inner())),
        (None, None) => None,
    };
    let content_type = content_type.map(Spanned::into_inner);
    Ok(Respond {
        status,
        content_type: content_type.unwrap_or_else(|| default_type(body.as_ref()).to_owned()),
        body,
    })
}

fn default_type(body: Option<&RespondBody>) -> &'static str {
    match body {
        Some(RespondBody::File(file)) => content_type(file),
        _ => content_type(std::path::Path::new("x.txt")),
    }
}

/// The content type that a file's ending stands for.
pub fn content_type(file: &std::path::Path) -> &'static str {
    let ending = file.extension().and_then(std::ffi::OsStr::to_str);
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        _ => "application/octet-stream",
    }
}
