//! `[[service]]`: an address that clients connect to.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use toml::Spanned;

use super::{
    Acme, Balance, Forward, Mode, Name, Obtained, Pool, Service, Timeouts,
    acme::{self, DOMAINS},
    address,
    drafts::{PoolDraft, ServiceDraft, find_pool, known_pool},
    header_edits,
    kind::{Choice, Text},
    list::{List, Listed},
    route::{self, ERROR_PAGES, ROUTE},
    schema::{Absent, Entry, Key, Schema},
    section::Section,
    source::Reported,
    steered, text, timeouts, tls,
};

pub(super) static SERVICE: Schema = Schema {
    name: "service",
    header: "[[service]]",
    about: "An address that clients connect to.",
    presence: "At least one.",
    keys: &[
        &NAME,
        &LISTEN,
        &MODE,
        &FORWARD,
        &POOL,
        &CERTIFICATES,
        &DOMAINS,
        &ERROR_PAGES,
    ],
    tables: &[
        &ROUTE,
        &header_edits::OF_REQUESTS,
        &header_edits::OF_RESPONSES,
        &tls::TLS,
        &timeouts::SERVICE_TIMEOUTS,
    ],
};

static NAME: Key<Text<Name>> = Key {
    name: "name",
    kind: text::NAME,
    absent: Absent::Refused("\"http\""),
    meaning: "The service's name, unique among the services.",
};

static LISTEN: Key<Text<SocketAddr>> = Key {
    name: "listen",
    kind: address::LISTEN,
    absent: Absent::Refused("\"172.31.0.68:80\""),
    meaning: "The address and port that clients connect to, unique. Services of mode `http` and \
              `https` may listen on `0.0.0.0` or `[::]`; one of mode `tcp` needs the destination \
              address of its packets, and IPv4 in this version.",
};

static MODE: Key<Choice<Served>> = Key {
    name: "mode",
    kind: Choice {
        words: &[
            ("tcp", Served::Tcp),
            ("http", Served::Http),
            ("https", Served::Https),
        ],
        later: &["udp"],
    },
    absent: Absent::Refused("\"tcp\""),
    meaning: "`tcp`: steered in the kernel. `http` and `https`: served by the agent.",
};

static FORWARD: Key<Choice<Forward>> = Key {
    name: "forward",
    kind: Choice {
        words: &[("nat", Forward::Nat), ("dnat", Forward::Dnat)],
        later: &["dsr", "ipip", "gue"],
    },
    absent: Absent::Is("\"nat\""),
    meaning: "How the kernel forwards packets to the backends. `nat`: rewrites both addresses; \
              backends need no configuration. `dnat`: keeps the client's address; backends must \
              route their packets to clients through this host. For `tcp` only.",
};

static POOL: Key<Text<Name>> = Key {
    name: "pool",
    kind: text::NAME,
    absent: Absent::Elsewhere("\"web\"", "the service has routes"),
    meaning: "The name of the pool that serves the service; with routes, the requests that no \
              route takes. Without it such a request gets 404, or 421 if no route names its host.",
};

static CERTIFICATES: Key<List<Text<PathBuf>>> = Key {
    name: "certificates",
    kind: List {
        of: text::PATH,
        noun: "certificate",
    },
    absent: Absent::Means("none: `https` needs at least one, or `domains`"),
    meaning: "PEM files, each with a certificate chain and its key. The first is for clients that \
              send no name, or one that is in no certificate. A name may have one certificate of \
              each kind (ECDSA and RSA): a client gets the one that it can verify, ECDSA if both. \
              A changed file takes effect from the next handshake on, without a reload. For \
              `https` only.",
};

/// The mode of a service as the file gives it, without the details of [`Mode`].
#[derive(Clone, Copy, PartialEq)]
enum Served {
    Tcp,
    Http,
    Https,
}

/// Reads a `[[service]]`. `pools` is `None` if the pools could not be read: then the names of pools
/// are not looked up.
pub(super) fn read(
    section: &Section<'_>,
    pools: Option<&[PoolDraft]>,
    acme: Result<Option<&Acme>, Reported>,
    defaults: &Timeouts,
) -> ServiceDraft {
    let name = section.value(&NAME).ok();
    let listen = section.value(&LISTEN).ok();
    let served = section.value(&MODE).ok().map(Spanned::into_inner);
    let routing = route::read(section, pools);
    let pool_name = match routing.has_routes {
        true => section.optional(&POOL),
        false => section.value(&POOL).map(Some),
    };
    let named = pool_name.is_ok();
    let pool_name = pool_name.ok().flatten();
    let pool = pool_name
        .as_ref()
        .and_then(|name| find_pool(section, name, pools?));
    let obtained = acme::obtained(section, name.as_ref().map(Spanned::get_ref), acme);
    let mode = read_mode(section, served, obtained);
    let timeouts = timeouts::of_service(section, defaults);
    let mut fitting = Ok(());
    if let Some(listen) = &listen {
        let routed = routing.pool_names.iter();
        let routed = routed.filter_map(|name| known_pool(name.get_ref(), pools?));
        for pool in pool.into_iter().chain(routed) {
            fitting = fitting.and(refuse_itself(section, listen, pool));
        }
    }
    if served == Some(Served::Tcp) {
        let hint = "the kernel reads no requests: remove the section, or write mode = \"http\"";
        let key = timeouts::SERVICE_TIMEOUTS.name;
        fitting = fitting.and(refuse_key(section, key, "tcp", hint));
        fitting = fitting.and(steered::check(section, listen.as_ref(), pool));
        fitting = fitting.and(refuse_balance(section, pool_name.as_ref(), pool));
        fitting = fitting.and(refuse_per_request(section, pool_name.as_ref(), pool));
        for key in route::KEYS {
            fitting = fitting.and(refuse_key(section, key, "tcp", KERNEL_READS_NO_REQUESTS));
        }
    }
    let names = pool_name.iter().chain(&routing.pool_names);
    let pool_names = names.map(|name| name.get_ref().clone()).collect();
    ServiceDraft {
        service: fitting.ok().and_then(|()| {
            let service = Service {
                name: name.as_ref()?.get_ref().clone(),
                listen: *listen.as_ref()?.get_ref(),
                mode: mode.ok()?,
                pool: match (named, &pool_name) {
                    (true, None) => None,
                    _ => Some(pool?.pool.as_ref().map(Arc::<Pool>::clone)?),
                },
                routing: Arc::new(routing.routing.ok()?),
                timeouts: timeouts.ok()?,
            };
            refuse_same_cookie(section, &service).ok()?;
            Some(service)
        }),
        has_domains: section.place(DOMAINS.name()).is_some(),
        pool_names,
        name,
        listen,
    }
}

fn read_mode(
    section: &Section<'_>,
    served: Option<Served>,
    obtained: Result<Option<Obtained>, Reported>,
) -> Result<Mode, Reported> {
    let forward = section.value(&FORWARD);
    let certificates = section.optional(&CERTIFICATES);
    let tls = tls::read(section);
    match served.ok_or(Reported)? {
        Served::Tcp => {
            let certificates = refuse_key(section, CERTIFICATES.name(), "tcp", TCP_HAS_NO_TLS);
            refuse_key(section, DOMAINS.name(), "tcp", TCP_HAS_NO_TLS)?;
            refuse_key(section, tls::TLS.name, "tcp", TCP_HAS_NO_TLS)?;
            certificates?;
            Ok(Mode::Tcp {
                forward: forward?.into_inner(),
            })
        }
        Served::Http => {
            let forward = refuse_key(section, FORWARD.name(), "http", AGENT_FORWARDS_NOTHING);
            let certificates = refuse_key(section, CERTIFICATES.name(), "http", HTTP_HAS_NO_TLS);
            refuse_key(section, DOMAINS.name(), "http", HTTP_HAS_NO_TLS)?;
            refuse_key(section, tls::TLS.name, "http", HTTP_HAS_NO_TLS)?;
            certificates?;
            forward.map(|()| Mode::Http)
        }
        Served::Https => {
            let forward = refuse_key(section, FORWARD.name(), "https", AGENT_FORWARDS_NOTHING);
            let certificates = https_certificates(section, certificates?);
            let (certificates, tls) = (certificates?, tls?);
            let obtained = obtained?;
            forward.map(|()| Mode::Https {
                certificates,
                obtained: obtained.map(Box::new),
                tls,
            })
        }
    }
}

const TCP_HAS_NO_TLS: &str = "the kernel forwards TLS unchanged, so the backends have the \
    certificates: remove this setting, or write mode = \"https\"";
const HTTP_HAS_NO_TLS: &str = "remove this setting, or write mode = \"https\"";
const KERNEL_READS_NO_REQUESTS: &str = "the kernel forwards packets and reads no requests: remove \
    the key, or write mode = \"http\" or \"https\"";
const AGENT_FORWARDS_NOTHING: &str = "the agent connects to the backends itself: remove the key, \
    or write mode = \"tcp\"";

fn refuse_key(section: &Section<'_>, key: &str, mode: &str, hint: &str) -> Result<(), Reported> {
    let Some(place) = section.place(key) else {
        return Ok(());
    };
    let message = format!("{} has {key}, but its mode is \"{mode}\"", section.label());
    Err(section.source().error(place, message, hint.to_owned()))
}

fn https_certificates(
    section: &Section<'_>,
    certificates: Option<Spanned<Listed<PathBuf>>>,
) -> Result<Vec<PathBuf>, Reported> {
    let (place, files) = match certificates {
        Some(list) => (list.span(), list.into_inner()),
        None => (section.span(), Listed::empty()),
    };
    let has_domains = section.place(DOMAINS.name()).is_some();
    if files.complete.is_ok() && files.items.is_empty() && !has_domains {
        let message = format!(
            "{} has mode \"https\", but no certificates",
            section.label()
        );
        let hint = "add: certificates = [\"/etc/lb/tls/example.com.pem\"], \
                    a certificate chain and its key in one file; or domains, for \
                    a certificate that the agent obtains";
        return Err(section.source().error(place, message, hint.to_owned()));
    }
    let shown = files.items.iter();
    let shown = shown.map(|file| Spanned::new(file.span(), file.get_ref().display().to_string()));
    let shown: Vec<_> = shown.collect();
    super::unique::refuse_twice(
        "certificate",
        "in this list",
        shown.iter(),
        section.source(),
    )?;
    files.all()
}

fn refuse_itself(
    section: &Section<'_>,
    listen: &Spanned<SocketAddr>,
    pool: &PoolDraft,
) -> Result<(), Reported> {
    let mut addresses = pool.addresses.iter();
    if addresses.all(|address| address.get_ref() != listen.get_ref()) {
        return Ok(());
    }
    let message = format!(
        "{} listens on {}, which is also a backend of its pool",
        section.label(),
        listen.get_ref()
    );
    let hint = "it would connect to itself: give one of them another address";
    Err(section
        .source()
        .error(listen.span(), message, hint.to_owned()))
}

fn refuse_balance(
    section: &Section<'_>,
    pool_name: Option<&Spanned<Name>>,
    pool: Option<&PoolDraft>,
) -> Result<(), Reported> {
    let (Some(pool_name), Some(pool)) = (pool_name, pool) else {
        return Ok(());
    };
    let balance = match pool.balance {
        Some(Balance::LeastConnections) => "least_connections",
        Some(Balance::RandomTwo) => "random_two",
        Some(Balance::Hash) => "hash",
        Some(Balance::RoundRobin | Balance::Source | Balance::Maglev) | None => return Ok(()),
    };
    let message = format!(
        "{} has mode \"tcp\", and its pool \"{}\" balances by {balance}",
        section.label(),
        pool_name.get_ref()
    );
    let hint = "the kernel does not know the load of backends and reads no requests: for a tcp \
                service, write balance = \"round_robin\", \"source\" or \"maglev\"";
    Err(section
        .source()
        .error(pool_name.span(), message, hint.to_owned()))
}

/// Reports a pool of a service of mode `tcp` with keys for single requests, which the kernel does
/// not read.
fn refuse_per_request(
    section: &Section<'_>,
    pool_name: Option<&Spanned<Name>>,
    pool: Option<&PoolDraft>,
) -> Result<(), Reported> {
    let (Some(pool_name), Some(pool)) = (pool_name, pool) else {
        return Ok(());
    };
    if pool.per_request.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} has mode \"tcp\", and its pool \"{}\" has {}",
        section.label(),
        pool_name.get_ref(),
        pool.per_request.join(", ")
    );
    Err(section.source().error(
        pool_name.span(),
        message,
        KERNEL_READS_NO_REQUESTS.to_owned(),
    ))
}

/// Reports two pools of one service whose sticky cookies have the same name.
fn refuse_same_cookie(section: &Section<'_>, service: &Service) -> Result<(), Reported> {
    let pools = service.pools();
    let mut seen: Vec<(&Name, &str)> = Vec::new();
    for pool in pools {
        let Some(sticky) = &pool.per_request.sticky else {
            continue;
        };
        if let Some((other, cookie)) = seen.iter().find(|(_, cookie)| *cookie == sticky.cookie) {
            let message = format!(
                "{} uses pools \"{other}\" and \"{}\", whose [pool.sticky] both have \
                 cookie = \"{cookie}\"",
                section.label(),
                pool.name
            );
            let hint = "each would replace the cookie of the other: give them different names";
            return Err(section.error(message, hint.to_owned()));
        }
        seen.push((&pool.name, &sticky.cookie));
    }
    Ok(())
}
