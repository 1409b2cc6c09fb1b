//! `[[pool]]` and its backends.

use std::{net::SocketAddr, ops::RangeInclusive, sync::Arc};

use toml::Spanned;

use super::{
    Backend, Balance, Check, Name, PerRequest, Pool, Sticky, Weight, WhenAllDown, address,
    check::{self, CHECK},
    discover::{self, DISCOVER},
    drafts::PoolDraft,
    hash_by::{self, HASH_BY},
    kind::{Bool, Choice, Text, Time, Whole},
    limit::{self, MAX_CONNECTIONS, QUEUE},
    list::{List, Listed},
    outlier::{self, OUTLIER},
    retry_budget::{self, PER_SECOND, RETRY_BUDGET},
    schema::{Absent, Key, Schema},
    section::Section,
    source::{Reported, Source},
    sticky::{self, STICKY},
    text,
};

pub(super) static POOL: Schema = Schema {
    name: "pool",
    header: "[[pool]]",
    about: "A pool of backends that serve the same thing.",
    presence: "At least one.",
    keys: &[
        &NAME,
        &BALANCE,
        &HASH_BY,
        &BACKENDS,
        &WHEN_ALL_DOWN,
        &RETRIES,
        &RETRY_BUDGET,
        &PER_SECOND,
        &MAX_CONNECTIONS,
        &SLOW_START,
    ],
    tables: &[&CHECK, &BACKEND, &DISCOVER, &STICKY, &QUEUE, &OUTLIER],
};

static NAME: Key<Text<Name>> = Key {
    name: "name",
    kind: text::NAME,
    absent: Absent::Refused("\"web\""),
    meaning: "The pool's name, unique among the pools.",
};

static BALANCE: Key<Choice<Balance>> = Key {
    name: "balance",
    kind: Choice {
        words: &[
            ("round_robin", Balance::RoundRobin),
            ("least_connections", Balance::LeastConnections),
            ("random_two", Balance::RandomTwo),
            ("source", Balance::Source),
            ("maglev", Balance::Maglev),
            ("hash", Balance::Hash),
        ],
        later: &[],
    },
    absent: Absent::Is("\"round_robin\""),
    meaning: "How a backend is chosen. `round_robin`: each in turn, by weight. \
              `least_connections`: the one with the fewest connections for its weight. \
              `random_two`: the less loaded one of two random backends. `source`: the same backend \
              for the same client address. `maglev`: by a hash of the whole flow (for services of \
              mode `http` and `https`, of the client's address only). `hash`: the same backend for \
              the same path, header or cookie, as `hash_by` selects. `least_connections`, \
              `random_two` and `hash` are for services of mode `http` and `https` only.",
};

static BACKENDS: Key<List<Text<SocketAddr>>> = Key {
    name: "backends",
    kind: List {
        of: address::BACKEND,
        noun: "backend address",
    },
    absent: Absent::Elsewhere(
        "[\"10.0.0.6:80\"]",
        "the backends are in `[[pool.backend]]` or discovered",
    ),
    meaning: "The backends, given by their addresses only. Each is named after its address and has \
              weight 1.",
};

static WHEN_ALL_DOWN: Key<Choice<WhenAllDown>> = Key {
    name: "when_all_down",
    kind: Choice {
        words: &[
            ("try_all", WhenAllDown::TryAll),
            ("refuse", WhenAllDown::Refuse),
        ],
        later: &[],
    },
    absent: Absent::Is("\"try_all\""),
    meaning: "What happens to new connections while no backend is up. `try_all`: they go to all \
              backends except those that the operator drained or took down. `refuse`: a reset, or \
              503 from services of mode `http` and `https`. See [when all backends are \
              down](operations.md#when-all-backends-of-a-pool-are-down).",
};

static RETRIES: Key<Whole<u8>> = Key {
    name: "retries",
    kind: Whole(RangeInclusive::new(0, 3)),
    absent: Absent::Is("3"),
    meaning: "Maximum number of other backends that are tried. Mode `tcp`: after a backend that \
              refused a connection or did not answer, the connection is offered to another each \
              time the client retransmits its SYN, usually after 1, 3 and 7 seconds. Modes `http` \
              and `https`: a request is sent to another backend after one that accepted no \
              connection within `connect` (`[http.timeouts]`), and, if it may be sent twice, after \
              one whose connection ended or that went down before it answered. Backends that \
              refuse the connection are skipped without being counted, for up to `connect`. 0: the \
              client gets the first failure.",
};

static SLOW_START: Key<Time> = Key {
    name: "slow_start",
    kind: Time::milliseconds(100, 86_400_000),
    absent: Absent::Means("the whole share immediately"),
    meaning: "How long the share of a backend that came up takes to grow to the one of its weight; \
              see [slow start](balancing.md#slow-start). For pools of services of mode `http` and \
              `https`.",
};

static BACKEND: Schema = Schema {
    name: "backend",
    header: "[[pool.backend]]",
    about: "A backend, in place of an entry in `backends`: a pool has either.",
    presence: "At least one, or `backends`, or `[pool.discover]`.",
    keys: &[
        &BACKEND_NAME,
        &BACKEND_ADDRESS,
        &BACKEND_WEIGHT,
        &BACKEND_BACKUP,
    ],
    tables: &[],
};

static BACKEND_NAME: Key<Text<Name>> = Key {
    name: "name",
    kind: text::NAME,
    absent: Absent::Means("its address"),
    meaning: "The backend's name in status, metrics and `lb backend`, unique in the pool.",
};

static BACKEND_ADDRESS: Key<Text<SocketAddr>> = Key {
    name: "address",
    kind: address::BACKEND,
    absent: Absent::Refused("\"10.0.0.6:80\""),
    meaning: "Its address and port, unique in the pool.",
};

static BACKEND_WEIGHT: Key<Whole<u16>> = Key {
    name: "weight",
    kind: Whole(RangeInclusive::new(1, 256)),
    absent: Absent::Is("1"),
    meaning: "Its share of the pool: a backend of weight 2 gets twice as much as one of weight 1. \
              To stop new connections to a backend, use `lb backend drain`.",
};

static BACKEND_BACKUP: Key<Bool> = Key {
    name: "backup",
    kind: Bool,
    absent: Absent::Is("false"),
    meaning: "Whether it is used only while no other backend of the pool is up; see [backup \
              backends](balancing.md#backup-backends). For pools of services of mode `http` and \
              `https`.",
};

/// Reads a `[[pool]]` and its backends.
pub(super) fn read(section: &Section<'_>) -> PoolDraft {
    let name = section.value(&NAME);
    let balance = section.value(&BALANCE);
    let when_all_down = section.value(&WHEN_ALL_DOWN).map(Spanned::into_inner);
    let retries = section.value(&RETRIES).map(Spanned::into_inner);
    let check = read_check(section);
    let sticky = read_sticky(section);
    let limit = limit::read(section);
    let outlier = outlier::read(section);
    let retry_budget = retry_budget::read(section);
    let slow_start = section.optional(&SLOW_START);
    let hash_by = hash_by::read(section, balance.as_ref().ok());
    let discover = discover::read(section);
    let (backends, complete) = read_backends(section);
    let addresses = backends.iter().map(|read| read.address.clone());
    let balance = balance.ok().map(Spanned::into_inner);
    PoolDraft {
        balance,
        per_request: per_request_keys(section, &backends),
        addresses: addresses.collect(),
        pool: complete.ok().and_then(|()| {
            Some(Arc::new(Pool {
                name: name.as_ref().ok()?.get_ref().clone(),
                balance: balance?,
                check: check.ok()?,
                when_all_down: when_all_down.ok()?,
                retries: retries.ok()?,
                per_request: PerRequest {
                    sticky: sticky.ok()?,
                    hash_by: hash_by.ok()?,
                    limit: limit.ok()?,
                    outlier: outlier.ok()?,
                    retry_budget: retry_budget.ok()?,
                    slow_start: slow_start.ok()?.map(Spanned::into_inner),
                },
                backends: backends
                    .iter()
                    .map(ReadBackend::backend)
                    .collect::<Option<_>>()?,
                discover: discover.ok()?,
            }))
        }),
        name: name.ok(),
    }
}

fn read_check(section: &Section<'_>) -> Result<Option<Check>, Reported> {
    let table = section.table(&CHECK)?;
    table.map(|table| check::read(&table)).transpose()
}

/// A backend of the file with a valid address; its other keys are errors if they are not valid.
struct ReadBackend {
    address: Spanned<SocketAddr>,
    name: Result<Option<Spanned<Name>>, Reported>,
    weight: Result<Weight, Reported>,
    backup: Result<bool, Reported>,
}

impl ReadBackend {
    fn backend(&self) -> Option<Backend> {
        let address = *self.address.get_ref();
        Some(Backend {
            name: match self.name.as_ref().ok()? {
                Some(name) => name.get_ref().clone(),
                None => Name::of_address(address),
            },
            address,
            weight: self.weight.ok()?,
            backup: self.backup.ok()?,
            leaving: false,
        })
    }
}

fn read_sticky(section: &Section<'_>) -> Result<Option<Sticky>, Reported> {
    let table = section.table(&STICKY)?;
    table.map(|table| sticky::read(&table)).transpose()
}

/// Keys of a pool that services of every mode may use. `hash_by` is among them because it requires
/// `balance = "hash"`, which is itself refused for a service of mode `tcp`.
const FOR_EVERY_MODE: [&str; 6] = [
    NAME.name,
    BALANCE.name,
    HASH_BY.name,
    BACKENDS.name,
    WHEN_ALL_DOWN.name,
    RETRIES.name,
];

/// Tables of a pool that services of every mode may use.
const TABLES_FOR_EVERY_MODE: [&str; 3] = [CHECK.name, BACKEND.name, DISCOVER.name];

/// Returns the keys and tables of a pool that are for the HTTP front only: all that the file has
/// except those of [`FOR_EVERY_MODE`] and [`TABLES_FOR_EVERY_MODE`]. So a key that is new to `lb`
/// is refused for mode `tcp` until it is listed there.
fn per_request_keys(section: &Section<'_>, backends: &[ReadBackend]) -> Vec<&'static str> {
    let has = |name: &str| section.place(name).is_some();
    let keys = POOL.keys.iter().map(|key| key.name());
    let keys = keys.filter(|name| !FOR_EVERY_MODE.contains(name) && has(name));
    let tables = POOL.tables.iter();
    let tables = tables.filter(|table| !TABLES_FOR_EVERY_MODE.contains(&table.name));
    let tables = tables
        .filter(|table| has(table.name))
        .map(|table| table.header);
    let backup = backends
        .iter()
        .any(|backend| matches!(backend.backup, Ok(true)));
    keys.chain(tables)
        .chain(backup.then_some("backup = true"))
        .collect()
}

/// Reads the backends of a pool that have a valid address; the second value is an error if anything
/// about the backends is not valid.
fn read_backends(section: &Section<'_>) -> (Vec<ReadBackend>, Result<(), Reported>) {
    let (listed, tables) = match backends_given(section) {
        Ok(given) => given,
        Err(reported) => return (Vec::new(), Err(reported)),
    };
    let mut complete = listed.complete;
    let mut backends: Vec<_> = listed.items.into_iter().map(bare_backend).collect();
    for table in &tables {
        match backend_table(table) {
            Ok(backend) => backends.push(backend),
            Err(reported) => complete = Err(reported),
        }
    }
    let unique = refuse_twice(&backends, section.source());
    let used = refuse_backups_alone(section, &backends);
    (backends, complete.and(unique).and(used))
}

/// Reads the key `backends` and opens the tables `[[pool.backend]]` of a pool, which may have only
/// one of the two, and neither together with `[pool.discover]`.
fn backends_given<'a>(
    section: &Section<'a>,
) -> Result<(Listed<SocketAddr>, Vec<Section<'a>>), Reported> {
    let listed = section.optional(&BACKENDS);
    let tables = section.tables(&BACKEND);
    if let (Some(list), Some(_)) = (section.place("backends"), section.place("backend")) {
        let message = format!("{} has both backends and [[pool.backend]]", section.label());
        let hint = "keep one of them: write a [[pool.backend]] for every backend, or list all \
                    addresses in backends";
        return Err(section.source().error(list, message, hint.to_owned()));
    }
    let discovered = section.place(DISCOVER.name).is_some();
    if let Some(place) = section.place("backends").or(section.place("backend"))
        && discovered
    {
        let message = format!("{} has backends and [pool.discover]", section.label());
        let hint = "keep one of them: the source alone decides which backends there are";
        return Err(section.source().error(place, message, hint.to_owned()));
    }
    let (listed, tables) = (listed?.map(Spanned::into_inner), tables?);
    let listed = listed.unwrap_or_else(Listed::empty);
    let is_empty = listed.items.is_empty() && tables.is_empty();
    if listed.complete.is_ok() && is_empty && !discovered {
        return Err(no_backends(section));
    }
    Ok((listed, tables))
}

fn no_backends(section: &Section<'_>) -> Reported {
    let place = section.place("backends").unwrap_or_else(|| section.span());
    let message = format!("{} has no backends", section.label());
    let hint =
        "add at least one: backends = [\"10.0.0.6:80\"], or [pool.discover] with their source";
    section.source().error(place, message, hint.to_owned())
}

fn refuse_backups_alone(section: &Section<'_>, backends: &[ReadBackend]) -> Result<(), Reported> {
    if backends.is_empty()
        || backends
            .iter()
            .any(|backend| !matches!(backend.backup, Ok(true)))
    {
        return Ok(());
    }
    let message = format!("{} has only backup backends", section.label());
    let hint = "remove backup = true from the backends that normally serve";
    Err(section.error(message, hint.to_owned()))
}

fn bare_backend(address: Spanned<SocketAddr>) -> ReadBackend {
    ReadBackend {
        name: Ok(None),
        weight: Ok(Weight::ONE),
        backup: Ok(false),
        address,
    }
}

fn backend_table(section: &Section<'_>) -> Result<ReadBackend, Reported> {
    let name = section.optional(&BACKEND_NAME);
    let weight = section.value(&BACKEND_WEIGHT);
    let backup = section.value(&BACKEND_BACKUP).map(Spanned::into_inner);
    Ok(ReadBackend {
        name,
        backup,
        weight: weight.and_then(|weight| Weight::new(weight.into_inner()).ok_or(Reported)),
        address: section.value(&BACKEND_ADDRESS)?,
    })
}

fn refuse_twice(backends: &[ReadBackend], source: &Source<'_>) -> Result<(), Reported> {
    let addresses = backends.iter().map(|backend| &backend.address);
    let addresses =
        super::unique::refuse_twice("backend address", "in this pool", addresses, source);
    // A backend's name that is made from its address equals another name only if the addresses are
    // equal: a name that the file gives has no colon.
    let names = backends
        .iter()
        .filter_map(|backend| backend.name.as_ref().ok()?.as_ref());
    let names = super::unique::refuse_twice("backend", "in this pool", names, source);
    addresses.and(names)
}
