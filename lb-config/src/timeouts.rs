//! `[http.timeouts]` and `[service.timeouts]`: the same keys, for all services and for one.

use std::time::Duration;

use super::{
    Timeouts,
    kind::Time,
    schema::{Absent, Entry, Key, Schema},
    section::Section,
    source::Reported,
};

/// What a wait for a client or a backend may be set to.
const PATIENCE: Time = Time::milliseconds(1, 24 * 3_600_000);

/// What a service without a key of its own has.
const AS_HTTP: Absent = Absent::Means("that of `[http.timeouts]`");

macro_rules! timeouts {
    ($($field:ident $name:literal $default:literal $meaning:literal;)*) => {
        /// For all services.
        mod all {
            use super::*;

            $(#[expect(non_upper_case_globals, reason = "named after the field")]
            pub(super) static $field: Key<Time> = Key {
                name: $name,
                kind: PATIENCE,
                absent: Absent::Is($default),
                meaning: $meaning,
            };)*

            pub(super) static KEYS: &[&dyn Entry] = &[$(&$field,)* &super::REQUEST];
        }

        /// For one service.
        mod own {
            use super::*;

            $(#[expect(non_upper_case_globals, reason = "named after the field")]
            pub(super) static $field: Key<Time> = Key {
                name: $name,
                kind: PATIENCE,
                absent: AS_HTTP,
                meaning: $meaning,
            };)*

            pub(super) static KEYS: &[&dyn Entry] = &[$(&$field,)* &super::OWN_REQUEST];
        }

        fn read_all(section: &Section<'_>) -> Result<Timeouts, Reported> {
            $(let $field = section.value(&all::$field);)*
            let request = section.optional(&REQUEST);
            Ok(Timeouts {
                $($field: $field?.into_inner(),)*
                request: request?.map(toml::Spanned::into_inner),
            })
        }

        fn read_own(section: &Section<'_>, defaults: &Timeouts) -> Result<Timeouts, Reported> {
            $(let $field = section.optional(&own::$field);)*
            let request = section.optional(&OWN_REQUEST);
            let or = |own: Option<toml::Spanned<Duration>>, default| {
                own.map_or(default, toml::Spanned::into_inner)
            };
            Ok(Timeouts {
                $($field: or($field?, defaults.$field),)*
                request: request?.map(toml::Spanned::into_inner).or(defaults.request),
            })
        }
    };
}

timeouts! {
    handshake "handshake" "\"10s\""
        "The longest TLS handshake.";
    head "head" "\"10s\""
        "From the first byte of a request to the end of its head. Also how long the first request of \
         a connection is waited for, after the handshake.";
    body "body" "\"30s\""
        "The longest pause within a request's body.";
    keep_alive "keep_alive" "\"60s\""
        "The longest pause between two requests of a connection.";
    send "send" "\"60s\""
        "The longest pause in which a client takes nothing of a response that waits for it, or a \
         backend nothing of a request. One that goes on taking it, however slowly, is served to the \
         end.";
    connect "connect" "\"2s\""
        "The longest wait for a connection to a backend.";
    response_head "response_head" "\"60s\""
        "From a request sent to the end of its response's head.";
    response_body "response_body" "\"60s\""
        "The longest pause within a response's body.";
    tunnel "tunnel" "\"1h\""
        "How long an upgraded connection (a WebSocket) may be silent while both sides are open.";
    half_closed "half_closed" "\"30s\""
        "How long an upgraded connection may be silent after one side has closed it.";
}

const MEANING_OF_REQUEST: &str = "From the end of a request's head to the end of its response, \
    attempts at several backends, uploads and downloads included. A client that has nothing of the \
    response by then is answered 504. Tunnels are not bounded by it.";

static REQUEST: Key<Time> = Key {
    name: "request",
    kind: PATIENCE,
    absent: Absent::Means("no limit"),
    meaning: MEANING_OF_REQUEST,
};

static OWN_REQUEST: Key<Time> = Key {
    name: "request",
    kind: PATIENCE,
    absent: AS_HTTP,
    meaning: MEANING_OF_REQUEST,
};

pub(super) static HTTP_TIMEOUTS: Schema = Schema {
    name: "timeouts",
    header: "[http.timeouts]",
    about: "How long clients and backends are waited for. Each has one meaning, and a [reason](reasons.md) \
            of its own that says when it was reached.",
    presence: "May be left out.",
    keys: all::KEYS,
    tables: &[],
};

pub(super) static SERVICE_TIMEOUTS: Schema = Schema {
    name: "timeouts",
    header: "[service.timeouts]",
    about: "The same for the service above, where it is to have others. For `http` and `https` only.",
    presence: "May be left out.",
    keys: own::KEYS,
    tables: &[],
};

/// Reads `[http.timeouts]`.
pub(super) fn of_all(http: &Section<'_>) -> Result<Timeouts, Reported> {
    match http.table(&HTTP_TIMEOUTS)? {
        Some(section) => read_all(&section),
        None => Ok(Timeouts::default()),
    }
}

/// Reads `[service.timeouts]`.
pub(super) fn of_service(service: &Section<'_>, defaults: &Timeouts) -> Result<Timeouts, Reported> {
    match service.table(&SERVICE_TIMEOUTS)? {
        Some(section) => read_own(&section, defaults),
        None => Ok(*defaults),
    }
}
