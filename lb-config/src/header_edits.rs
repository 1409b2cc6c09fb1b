//! Changes of the headers of requests and responses.

use toml::Spanned;

use super::{
    HeaderEdits, Template,
    kind::Text,
    list::{List, Listed},
    map::Map,
    route_text::{REQUEST_FIELD, REQUEST_VALUE, RESPONSE_FIELD, RESPONSE_VALUE},
    schema::{Absent, Key, Schema},
    section::Section,
    source::{Reported, Source},
};

/// Maximum number of header changes in one section.
const MOST: usize = 64;

const REQUESTS: &str = "Changes of the header of requests before they are forwarded. Where a name \
    is set or removed, the client's own lines of that name are removed, also those that write `_` \
    for `-`. Refused: fields that belong to a connection or frame a message, `Host`, and those \
    that lb writes itself (`X-Forwarded-*`, `Client-Cert*`, `X-Client-Cert*`). Values may have the \
    variables `{client_ip}`, `{scheme}`, `{host}` (without a port), `{bare_host}` (the same \
    without `www.`), `{path}` and `{query}` (with its `?`).";

const RESPONSES: &str = "Changes of the header of responses, those of backends and lb's own. \
    Fields that belong to a connection or frame a message are refused.";

pub(super) static OF_REQUESTS: Schema = Schema {
    name: "request_headers",
    header: "[service.request_headers]",
    about: REQUESTS,
    presence: "For `http` and `https`. Optional.",
    keys: &[&SET_IN_REQUESTS, &ADD_TO_REQUESTS, &REMOVE_FROM_REQUESTS],
    tables: &[],
};

pub(super) static OF_RESPONSES: Schema = Schema {
    name: "response_headers",
    header: "[service.response_headers]",
    about: RESPONSES,
    presence: "For `http` and `https`. Optional.",
    keys: &[&SET_IN_RESPONSES, &ADD_TO_RESPONSES, &REMOVE_FROM_RESPONSES],
    tables: &[],
};

pub(super) static OF_ROUTE_REQUESTS: Schema = Schema {
    name: "request_headers",
    header: "[service.route.request_headers]",
    about: "The same as `[service.request_headers]` for the requests of this route. Applied after \
            those of the service, so that this section overrides them.",
    presence: "Optional.",
    keys: &[&SET_IN_REQUESTS, &ADD_TO_REQUESTS, &REMOVE_FROM_REQUESTS],
    tables: &[],
};

pub(super) static OF_ROUTE_RESPONSES: Schema = Schema {
    name: "response_headers",
    header: "[service.route.response_headers]",
    about: "The same as `[service.response_headers]` for the responses to requests of this route. \
            Applied after those of the service, so that this section overrides them.",
    presence: "Optional.",
    keys: &[&SET_IN_RESPONSES, &ADD_TO_RESPONSES, &REMOVE_FROM_RESPONSES],
    tables: &[],
};

type Values = Map<String, Text<Template>>;
type Names = List<Text<String>>;

const REQUEST_VALUES: Values = Map {
    key: REQUEST_FIELD,
    noun: "header",
    of: REQUEST_VALUE,
};

const RESPONSE_VALUES: Values = Map {
    key: RESPONSE_FIELD,
    noun: "header",
    of: RESPONSE_VALUE,
};

static SET_IN_REQUESTS: Key<Values> = Key {
    name: "set",
    kind: REQUEST_VALUES,
    absent: Absent::Means("none"),
    meaning: "One line that replaces all lines of that name: `set = { X-Real-IP = \"{client_ip}\" \
              }`.",
};

static ADD_TO_REQUESTS: Key<Values> = Key {
    name: "add",
    kind: REQUEST_VALUES,
    absent: Absent::Means("none"),
    meaning: "A line in addition to those of that name.",
};

static REMOVE_FROM_REQUESTS: Key<Names> = Key {
    name: "remove",
    kind: List {
        of: REQUEST_FIELD,
        noun: "header",
    },
    absent: Absent::Means("none"),
    meaning: "Names whose lines are removed.",
};

static SET_IN_RESPONSES: Key<Values> = Key {
    name: "set",
    kind: RESPONSE_VALUES,
    absent: Absent::Means("none"),
    meaning: "One line that replaces all lines of that name: `set = { Strict-Transport-Security = \
              \"max-age=31536000\" }`.",
};

static ADD_TO_RESPONSES: Key<Values> = Key {
    name: "add",
    kind: RESPONSE_VALUES,
    absent: Absent::Means("none"),
    meaning: "A line in addition to those of that name.",
};

static REMOVE_FROM_RESPONSES: Key<Names> = Key {
    name: "remove",
    kind: List {
        of: RESPONSE_FIELD,
        noun: "header",
    },
    absent: Absent::Means("none"),
    meaning: "Names whose lines are removed.",
};

/// Reads the header changes of a service or a route, for requests and for responses.
pub(super) fn read(
    section: &Section<'_>,
    requests: &'static Schema,
    responses: &'static Schema,
) -> Result<(HeaderEdits, HeaderEdits), Reported> {
    let requests = edits(
        section,
        requests,
        (&SET_IN_REQUESTS, &ADD_TO_REQUESTS, &REMOVE_FROM_REQUESTS),
    );
    let responses = edits(
        section,
        responses,
        (&SET_IN_RESPONSES, &ADD_TO_RESPONSES, &REMOVE_FROM_RESPONSES),
    );
    Ok((requests?, responses?))
}

fn edits(
    section: &Section<'_>,
    schema: &'static Schema,
    (set, add, remove): (&Key<Values>, &Key<Values>, &Key<Names>),
) -> Result<HeaderEdits, Reported> {
    let Some(section) = section.table(schema)? else {
        return Ok(HeaderEdits::default());
    };
    let set = listed(&section, set);
    let add = listed(&section, add);
    let remove = match section.optional(remove) {
        Ok(remove) => remove.map_or_else(Listed::empty, Spanned::into_inner),
        Err(reported) => return Err(reported),
    };
    let (set, add) = (set?, add?);
    let source = section.source();
    let named = |items: &[Spanned<(String, Template)>]| {
        let names = items
            .iter()
            .map(|item| Spanned::new(item.span(), item.get_ref().0.to_ascii_lowercase()));
        names.collect::<Vec<_>>()
    };
    let removed = remove
        .items
        .iter()
        .map(|item| Spanned::new(item.span(), item.get_ref().to_ascii_lowercase()));
    let settled: Vec<_> = named(&set.items).into_iter().chain(removed).collect();
    let once = super::unique::refuse_twice("header", "in set and remove", settled.iter(), source);
    let few = refuse_many(&section, set.items.len() + add.items.len(), source);
    once?;
    few?;
    Ok(HeaderEdits {
        set: set.all()?,
        add: add.all()?,
        remove: remove.all()?,
    })
}

fn listed(
    section: &Section<'_>,
    key: &Key<Values>,
) -> Result<Listed<(String, Template)>, Reported> {
    let values = section.optional(key)?;
    Ok(values.map_or_else(Listed::empty, Spanned::into_inner))
}

fn refuse_many(section: &Section<'_>, count: usize, source: &Source<'_>) -> Result<(), Reported> {
    if count <= MOST {
        return Ok(());
    }
    let message = format!("{} makes {count} header changes", section.label());
    let hint = format!("at most {MOST} are allowed, because they apply to every message");
    Err(source.error(section.span(), message, hint))
}
