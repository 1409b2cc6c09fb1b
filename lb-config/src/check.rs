//! `[pool.check]`: how the health of a pool's backends is checked.

use std::{ops::RangeInclusive, time::Duration};

use toml::Spanned;

use super::{
    Check, CheckKind,
    duration::spell,
    kind::{Choice, Text, TextOrDigits, Time, Whole},
    schema::{Absent, Entry, Key, Schema},
    section::Section,
    source::Reported,
    text,
};

pub(super) static CHECK: Schema = Schema {
    name: "check",
    header: "[pool.check]",
    about: "How the backends are checked. It can also be written on one line: `check = { type = \
            \"http\", path = \"/healthz\" }`.",
    presence: "Optional: without it the backends are always up.",
    keys: &[
        &TYPE, &PATH, &HOST, &EXPECT, &INTERVAL, &TIMEOUT, &RISE, &FALL,
    ],
    tables: &[],
};

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Tcp,
    Http,
}

static TYPE: Key<Choice<Type>> = Key {
    name: "type",
    kind: Choice {
        words: &[("tcp", Type::Tcp), ("http", Type::Http)],
        later: &[],
    },
    absent: Absent::Refused("\"http\""),
    meaning: "`tcp`: opens a connection. `http`: sends `GET path` and expects a status in `expect`.",
};

static PATH: Key<Text<String>> = Key {
    name: "path",
    kind: text::TARGET,
    absent: Absent::Is("\"/\""),
    meaning: "The request target. For `http` only.",
};

static HOST: Key<Text<String>> = Key {
    name: "host",
    kind: text::HOST,
    absent: Absent::Means("the backend's address"),
    meaning: "The Host header. For `http` only.",
};

static EXPECT: Key<TextOrDigits<RangeInclusive<u16>>> = Key {
    name: "expect",
    kind: text::STATUSES,
    absent: Absent::Is("\"200-399\""),
    meaning: "The statuses that mean healthy, both ends included. For `http` only.",
};

static INTERVAL: Key<Time> = Key {
    name: "interval",
    kind: Time::milliseconds(10, 3_600_000),
    absent: Absent::Is("\"2s\""),
    meaning: "From the start of one check to the start of the next.",
};

static TIMEOUT: Key<Time> = Key {
    name: "timeout",
    kind: Time::milliseconds(1, 3_600_000),
    absent: Absent::Is("\"1s\""),
    meaning: "The longest a check may take before it fails. At most `interval`; where `interval` \
              is shorter than the default, the default is `interval`.",
};

static RISE: Key<Whole<u32>> = Key {
    name: "rise",
    kind: Whole(RangeInclusive::new(1, 1_000)),
    absent: Absent::Is("2"),
    meaning: "Successes in a row that bring a backend up.",
};

static FALL: Key<Whole<u32>> = Key {
    name: "fall",
    kind: Whole(RangeInclusive::new(1, 1_000)),
    absent: Absent::Is("3"),
    meaning: "Failures in a row that take it down.",
};

/// Reads the `[pool.check]` of a pool.
pub(super) fn read(section: &Section<'_>) -> Result<Check, Reported> {
    let kind = read_kind(section);
    let times = read_times(section);
    let rise = section.value(&RISE);
    let fall = section.value(&FALL);
    let (interval, timeout) = times?;
    Ok(Check {
        kind: kind?,
        interval,
        timeout,
        rise: rise?.into_inner(),
        fall: fall?.into_inner(),
    })
}

fn read_kind(section: &Section<'_>) -> Result<CheckKind, Reported> {
    let path = section.value(&PATH);
    let host = section.optional(&HOST);
    let expect = section.value(&EXPECT);
    match section.value(&TYPE)?.into_inner() {
        Type::Tcp => refuse_http_keys(section).map(|()| CheckKind::Tcp),
        Type::Http => Ok(CheckKind::Http {
            path: path?.into_inner(),
            host: host?.map(Spanned::into_inner),
            expect: expect?.into_inner(),
        }),
    }
}

fn refuse_http_keys(section: &Section<'_>) -> Result<(), Reported> {
    let mut fitting = Ok(());
    for key in [PATH.name(), HOST.name(), EXPECT.name()] {
        if let Some(place) = section.place(key) {
            let message = format!("a check of type \"tcp\" cannot have {key}");
            let hint = format!("it only connects: remove {key}, or write type = \"http\"");
            fitting = Err(section.source().error(place, message, hint));
        }
    }
    fitting
}

fn read_times(section: &Section<'_>) -> Result<(Duration, Duration), Reported> {
    let interval = section.value(&INTERVAL);
    let timeout = section.value(&TIMEOUT);
    let (interval, timeout) = (interval?.into_inner(), timeout?);
    if *timeout.get_ref() <= interval {
        return Ok((interval, timeout.into_inner()));
    }
    if section.place(TIMEOUT.name()).is_none() {
        return Ok((interval, interval));
    }
    let message = format!(
        "timeout {} is longer than the interval, {}",
        spell(*timeout.get_ref()),
        spell(interval)
    );
    let hint = "a check must end before the next one starts: shorten the timeout or lengthen the \
                interval";
    Err(section
        .source()
        .error(timeout.span(), message, hint.to_owned()))
}
