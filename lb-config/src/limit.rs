//! `max_connections` and `[pool.queue]`: the maximum number of concurrent requests of a backend,
//! and the queue for requests above it.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::{
    RequestLimit,
    kind::{Time, Whole},
    schema::{Absent, Key, Schema},
    section::Section,
    source::Reported,
};

pub(super) static MAX_CONNECTIONS: Key<Whole<u32>> = Key {
    name: "max_connections",
    kind: Whole(RangeInclusive::new(1, 1_000_000)),
    absent: Absent::Means("no limit"),
    meaning: "Maximum number of concurrent requests to each backend, tunnels included, from all \
              services and workers of this process. Further requests wait in the queue. For pools \
              of services of mode `http` and `https`. See [limits and the \
              queue](balancing.md#limits-and-the-queue).",
};

pub(super) static QUEUE: Schema = Schema {
    name: "queue",
    header: "[pool.queue]",
    about: "The queue in which requests wait while every backend has its `max_connections`, first \
            come, first served.",
    presence: "Optional, and only with `max_connections`.",
    keys: &[&SIZE, &TIMEOUT],
    tables: &[],
};

static SIZE: Key<Whole<u32>> = Key {
    name: "size",
    kind: Whole(RangeInclusive::new(0, 1_000_000)),
    absent: Absent::Is("1_024"),
    meaning: "Maximum number of waiting requests; further ones get 503. 0: no request waits.",
};

static TIMEOUT: Key<Time> = Key {
    name: "timeout",
    kind: Time::milliseconds(1, 3_600_000),
    absent: Absent::Is("\"10s\""),
    meaning: "The longest that a request waits; then it gets 503.",
};

/// Reads `max_connections` and `[pool.queue]`.
pub(super) fn read(section: &Section<'_>) -> Result<Option<RequestLimit>, Reported> {
    let limit = section.optional(&MAX_CONNECTIONS);
    let queue = section.table(&QUEUE)?;
    let opened;
    let queue = match queue {
        Some(queue) => {
            if limit.as_ref().is_ok_and(Option::is_none) {
                queue.value(&SIZE).and(queue.value(&TIMEOUT))?;
                let message = format!(
                    "{} has [pool.queue], but no max_connections",
                    section.label()
                );
                let hint = "requests wait only where there is a limit: add, for example, \
                            max_connections = 100, or leave [pool.queue] out";
                return Err(queue.error(message, hint.to_owned()));
            }
            opened = queue;
            &opened
        }
        None => {
            return Ok(limit?.map(|limit| RequestLimit {
                per_backend: *limit.get_ref() as usize,
                queue_size: DEFAULT_SIZE,
                queue_timeout: DEFAULT_TIMEOUT,
            }));
        }
    };
    let size = queue.value(&SIZE);
    let timeout = queue.value(&TIMEOUT).map(Spanned::into_inner);
    let (size, timeout) = (size?, timeout?);
    Ok(limit?.map(|limit| RequestLimit {
        per_backend: *limit.get_ref() as usize,
        queue_size: *size.get_ref() as usize,
        queue_timeout: timeout,
    }))
}

/// The defaults of the keys `size` and `timeout`, which also apply to a pool without
/// `[pool.queue]`.
const DEFAULT_SIZE: usize = 1_024;
const DEFAULT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
