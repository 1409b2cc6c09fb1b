//! The conditions of a route, which decide what requests it matches.

use super::super::{
    HeaderRule, HeaderTest, HostRule, PathRule, Pattern,
    kind::Text,
    list::{List, OneOrMore},
    request_path,
    route_text::{EXACT_PATH, HOST, LOOKED_AT, METHOD, PREFIX, REGEX, WANTED_VALUE},
    schema::{Absent, Entry as _, Key, Schema},
    section::Section,
    source::Reported,
};

pub(super) static HOSTS: Key<OneOrMore<Text<HostRule>>> = Key {
    name: "host",
    kind: OneOrMore(List {
        of: HOST,
        noun: "host",
    }),
    absent: Absent::Means("any"),
    meaning: "The request's host is one of these. Case, the port and a dot at the end are ignored. \
              `*.example.com` matches every name below `example.com`, at any depth, but not \
              `example.com` itself.",
};

pub(super) static PATH: Key<Text<Vec<u8>>> = Key {
    name: "path",
    kind: EXACT_PATH,
    absent: Absent::Means("any"),
    meaning: "The request's path is this one, without the query. At most one of `path`, \
              `path_prefix` and `path_regex`.",
};

pub(super) static PATH_PREFIX: Key<Text<String>> = Key {
    name: "path_prefix",
    kind: PREFIX,
    absent: Absent::Means("any"),
    meaning: "The request's path is this one or below it, by whole segments: `/api` matches \
              `/api`, `/api/` and `/api/x`, but not `/apix`.",
};

pub(super) static PATH_REGEX: Key<Text<Pattern>> = Key {
    name: "path_regex",
    kind: REGEX,
    absent: Absent::Means("any"),
    meaning: "The expression matches anywhere in the request's path; `^` and `$` anchor it. Syntax \
              of [regex](https://docs.rs/regex), over bytes; `(?i)` ignores case.",
};

pub(super) static METHODS: Key<OneOrMore<Text<String>>> = Key {
    name: "method",
    kind: OneOrMore(List {
        of: METHOD,
        noun: "method",
    }),
    absent: Absent::Means("any"),
    meaning: "The request's method is one of these.",
};

pub(super) static HEADER: Schema = Schema {
    name: "header",
    header: "[[service.route.header]]",
    about: "A condition on a field of the request's header: it is present, or, with `value` or \
            `regex`, one of its lines matches. All conditions must hold. On one line: `header = [{ \
            name = \"X-Debug\" }]`.",
    presence: "Optional.",
    keys: &[&HEADER_NAME, &HEADER_VALUE, &HEADER_REGEX],
    tables: &[],
};

static HEADER_NAME: Key<Text<String>> = Key {
    name: "name",
    kind: LOOKED_AT,
    absent: Absent::Refused("\"X-Debug\""),
    meaning: "The name of the field. Fields that are not forwarded do not match, such as \
              `X-Forwarded-Proto` of a client that is not one of `trusted_proxies`.",
};

static HEADER_VALUE: Key<Text<String>> = Key {
    name: "value",
    kind: WANTED_VALUE,
    absent: Absent::Means("any"),
    meaning: "The whole value, case-sensitive.",
};

static HEADER_REGEX: Key<Text<Pattern>> = Key {
    name: "regex",
    kind: REGEX,
    absent: Absent::Means("any"),
    meaning: "An expression that matches anywhere in the value.",
};

pub(super) fn several<T>(
    section: &Section<'_>,
    key: &Key<OneOrMore<Text<T>>>,
) -> Result<Vec<T>, Reported> {
    let Some(listed) = section.optional(key)? else {
        return Ok(Vec::new());
    };
    let place = listed.span();
    let items = listed.into_inner().all()?;
    if items.is_empty() {
        let message = format!("{} is empty", key.name());
        let hint = "remove the key to match any, or name at least one".to_owned();
        return Err(section.source().error(place, message, hint));
    }
    Ok(items)
}

pub(super) fn read_path(section: &Section<'_>) -> Result<Option<PathRule>, Reported> {
    let exact = section.optional(&PATH);
    let prefix = section.optional(&PATH_PREFIX);
    let regex = section.optional(&PATH_REGEX);
    let keys = [PATH.name(), PATH_PREFIX.name(), PATH_REGEX.name()];
    section.only_one(
        &keys,
        "keep one of them, and write a second route for the other",
    )?;
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

pub(super) fn read_header(section: &Section<'_>) -> Result<HeaderRule, Reported> {
    let name = section.value(&HEADER_NAME);
    let value = section.optional(&HEADER_VALUE);
    let regex = section.optional(&HEADER_REGEX);
    section.only_one(
        &["value", "regex"],
        "keep one of them: value compares the whole value, regex searches it",
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
