//! `[http.timeouts]` and `[service.timeouts]`: the same keys, for all services and for one service.

use std::time::Duration;

use super::{
    Timeouts,
    kind::Time,
    schema::{Absent, Entry, Key, Schema},
    section::Section,
    source::Reported,
};

/// The range of allowed timeouts: 1 ms to 24 h.
const PATIENCE: Time = Time::milliseconds(1, 24 * 3_600_000);

/// The default of each key of `[service.timeouts]`: the value of the key with the same name in
/// `[http.timeouts]`.
const AS_HTTP: Absent = Absent::Means("that of `[http.timeouts]`");

macro_rules! timeouts {
    ($($field:ident $name:literal $default:literal $meaning:literal;)*) => {
        /// The keys of `[http.timeouts]`, which hold for all services.
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

        /// The keys of `[service.timeouts]`, which hold for one service.
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
        "From the first byte of a request to the end of its head. Also the longest wait for the \
         first request of a connection, after the handshake.";
    body "body" "\"30s\""
        "The longest pause within a request's body.";
    keep_alive "keep_alive" "\"60s\""
        "The longest pause between two requests of a connection.";
    send "send" "\"60s\""
        "The longest time without progress in sending a pending response to a client, or a request \
         to a backend. A peer that keeps receiving, however slowly, is served to the end.";
    connect "connect" "\"2s\""
        "The longest wait for a connection to a backend.";
    response_head "response_head" "\"60s\""
        "From sending a request to the end of its response's head.";
    response_body "response_body" "\"60s\""
        "The longest pause within a response's body.";
    tunnel "tunnel" "\"1h\""
        "How long an upgraded connection (a WebSocket) may be idle while both sides are open.";
    half_closed "half_closed" "\"30s\""
        "How long an upgraded connection may be idle after one side has closed it.";
}

const MEANING_OF_REQUEST: &str = "From the end of a request's head to the end of its response, \
    attempts at several backends, uploads and downloads included. A client that has received \
    nothing of the response by then gets 504. Does not apply to tunnels.";

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
    about: "The longest waits for clients and backends. Each has its own [reason](reasons.md), \
            which is reported when it is reached.",
    presence: "Optional.",
    keys: all::KEYS,
    tables: &[],
};

pub(super) static SERVICE_TIMEOUTS: Schema = Schema {
    name: "timeouts",
    header: "[service.timeouts]",
    about: "The same timeouts for the service above, in place of those of `[http.timeouts]`. For \
            `http` and `https` only.",
    presence: "Optional.",
    keys: own::KEYS,
    tables: &[],
};

/// Reads the section `[http.timeouts]`: the timeouts of all services.
pub(super) fn of_all(http: &Section<'_>) -> Result<Timeouts, Reported> {
    match http.table(&HTTP_TIMEOUTS)? {
        Some(section) => read_all(&section),
        None => Ok(Timeouts::default()),
    }
}

/// Reads the section `[service.timeouts]`: the timeouts of one service, with `defaults` for the
/// keys that it does not set.
pub(super) fn of_service(service: &Section<'_>, defaults: &Timeouts) -> Result<Timeouts, Reported> {
    match service.table(&SERVICE_TIMEOUTS)? {
        Some(section) => read_own(&section, defaults),
        None => Ok(*defaults),
    }
}
