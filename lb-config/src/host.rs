//! The sections about this host: `[node]`, `[dataplane]`, `[http]`.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::PathBuf,
    thread,
};

use lb_common::limits;
use toml::Spanned;

use super::{
    Dataplane, Http, Interfaces, Node, XdpModeChoice,
    address::{HOST_IPV4, IP},
    kind::{Choice, Text, Time, Whole},
    list::{List, Listed},
    model::Name,
    schema::{Absent, Key, Schema},
    section::Section,
    source::Reported,
    text, timeouts, unique,
};

pub(super) static NODE: Schema = Schema {
    name: "node",
    header: "[node]",
    about: "This host.",
    presence: "Required.",
    keys: &[&NODE_NAME, &INTERFACE, &INTERFACES],
    tables: &[],
};

static NODE_NAME: Key<Text<Name>> = Key {
    name: "name",
    kind: text::NAME,
    absent: Absent::Refused("\"lb-a\""),
    meaning: "The name of this host in status and logs.",
};

static INTERFACE: Key<Text<String>> = Key {
    name: "interface",
    kind: text::INTERFACE,
    absent: Absent::Elsewhere("\"eth0\"", "`interfaces` is"),
    meaning: "The network interface that the XDP program is attached to, if packets of clients and \
              of backends arrive on the same one.",
};

static INTERFACES: Key<List<Text<String>>> = Key {
    name: "interfaces",
    kind: List {
        of: text::INTERFACE,
        noun: "interface",
    },
    absent: Absent::Means("`interface` alone"),
    meaning: "In place of `interface`: every network interface on which packets of clients and \
              backends arrive, the clients' first. The XDP program is attached to each. `[ha]` \
              sends multicast adverts out of the first one and adds the addresses that move to it. \
              A backend of a `tcp` service is refused if its route does not leave by an interface \
              of this list.",
};

/// Reads the section `[node]`.
pub(super) fn node(section: &Section<'_>) -> Result<Node, Reported> {
    let name = section.value(&NODE_NAME);
    let interfaces = interfaces(section);
    Ok(Node {
        name: name?.into_inner(),
        interfaces: interfaces?,
    })
}

/// Reads `interface` or `interfaces`, whichever of the two keys the file has.
fn interfaces(section: &Section<'_>) -> Result<Interfaces, Reported> {
    let one = section.optional(&INTERFACE);
    let several = section.optional(&INTERFACES);
    let several_at = section.place(INTERFACES.name);
    if let (Some(_), Some(list)) = (section.place(INTERFACE.name), several_at) {
        let message = "[node] has both interface and interfaces".to_owned();
        let hint = "keep one of them: interfaces lists every interface, the clients' first";
        return Err(section.source().error(list, message, hint.to_owned()));
    }
    match several? {
        Some(list) => listed(section, list),
        None => match one? {
            Some(one) => Ok(Interfaces::one(one.into_inner())),
            None => section
                .value(&INTERFACE)
                .map(|one| Interfaces::one(one.into_inner())),
        },
    }
}

fn listed(section: &Section<'_>, list: Spanned<Listed<String>>) -> Result<Interfaces, Reported> {
    let most = limits::INTERFACES as usize;
    let (place, names) = (list.span(), list.into_inner());
    let source = section.source();
    let once = unique::refuse_twice("interface", "in this list", names.items.iter(), source);
    let count = names.items.len();
    let names = names.all()?;
    once?;
    if count > most {
        let message = format!("interfaces has {count} entries");
        let hint =
            format!("at most {most} are allowed: the XDP program can be attached to no more");
        return Err(source.error(place, message, hint));
    }
    Interfaces::new(names).ok_or_else(|| {
        let hint = "name at least one: interfaces = [\"eth0\"]";
        source.error(place, "interfaces is empty", hint.to_owned())
    })
}

pub(super) static DATAPLANE: Schema = Schema {
    name: "dataplane",
    header: "[dataplane]",
    about: "The packet path in the kernel.",
    presence: "Optional.",
    keys: &[
        &PIN_PATH,
        &MAX_CONNECTIONS,
        &SOURCE_PORTS,
        &SOURCE_ADDRESSES,
        &XDP_MODE,
    ],
    tables: &[],
};

static PIN_PATH: Key<Text<PathBuf>> = Key {
    name: "pin_path",
    kind: text::PIN_PATH,
    absent: Absent::Is("\"/sys/fs/bpf/lb\""),
    meaning: "The folder of the pinned maps, program and links. Two agents on one host need different folders.",
};

static MAX_CONNECTIONS: Key<Whole<u32>> = Key {
    name: "max_connections",
    kind: Whole(RangeInclusive::new(1_024, 4_000_000)),
    absent: Absent::Is("250000"),
    meaning: "Maximum number of connections that the kernel tracks, at 256 to 512 bytes each.",
};

static SOURCE_PORTS: Key<Text<RangeInclusive<u16>>> = Key {
    name: "source_ports",
    kind: text::PORTS,
    absent: Absent::Is("\"1024-65535\""),
    meaning: "Source ports of NAT, both ends included, except those that the host itself uses: the \
              ports that it listens on, and the upper 8,192 of `net.ipv4.ip_local_port_range`. The \
              agent reserves the others, so that the kernel does not use them.",
};

static SOURCE_ADDRESSES: Key<List<Text<Ipv4Addr>>> = Key {
    name: "source_addresses",
    kind: List {
        of: HOST_IPV4,
        noun: "source address",
    },
    absent: Absent::Is("[]"),
    meaning: "Further source addresses of packets to backends with `forward = \"nat\"`, in \
              addition to the service's own: each adds as many source ports at each backend as \
              `source_ports` has. At most 8, none of which a service listens on. Each must be on \
              an interface of this host, and must stay there: see [source \
              ports](operations.md#source-ports). A change needs `lb unload`.",
};

static XDP_MODE: Key<Choice<XdpModeChoice>> = Key {
    name: "xdp_mode",
    kind: Choice {
        words: &[
            ("auto", XdpModeChoice::Auto),
            ("native", XdpModeChoice::Native),
            ("generic", XdpModeChoice::Generic),
        ],
        later: &[],
    },
    absent: Absent::Is("\"auto\""),
    meaning: "How the XDP program is attached. `auto`: native where the driver of every interface \
              has it, or else generic on all of them, with a warning in the log that says why and \
              what to do. `native`: native; the agent does not start without it.",
};

/// `[dataplane]`, with the places of its source addresses for the check against services' listen
/// addresses.
pub(super) struct DataplaneDraft {
    /// The section, or an error if any part of it is not valid.
    pub(super) dataplane: Result<Dataplane, Reported>,
    /// The valid source addresses of the section, with their places in the file.
    pub(super) source_addresses: Vec<Spanned<Ipv4Addr>>,
}

/// Reads the section `[dataplane]`.
pub(super) fn dataplane(section: &Section<'_>) -> DataplaneDraft {
    let pin_path = section.value(&PIN_PATH);
    let max_connections = section.value(&MAX_CONNECTIONS);
    let source_ports = section.value(&SOURCE_PORTS);
    let (source_addresses, complete) = source_addresses(section);
    let xdp_mode = section.value(&XDP_MODE);
    let read = || {
        complete?;
        let addresses = source_addresses.iter().map(|address| *address.get_ref());
        Ok(Dataplane {
            pin_path: pin_path?.into_inner(),
            max_connections: max_connections?.into_inner(),
            source_ports: source_ports?.into_inner(),
            source_addresses: addresses.collect(),
            xdp_mode: xdp_mode?.into_inner(),
        })
    };
    DataplaneDraft {
        dataplane: read(),
        source_addresses,
    }
}

/// Reads the key `source_addresses` and returns the valid addresses; the second value is an error
/// if any address is not valid.
fn source_addresses(section: &Section<'_>) -> (Vec<Spanned<Ipv4Addr>>, Result<(), Reported>) {
    let list = match section.value(&SOURCE_ADDRESSES) {
        Ok(list) => list,
        Err(reported) => return (Vec::new(), Err(reported)),
    };
    let most = limits::SOURCE_ADDRESSES as usize;
    let (place, source) = (list.span(), section.source());
    let Listed { items, complete } = list.into_inner();
    let once = unique::refuse_twice("source address", "in this list", items.iter(), source);
    let few = if items.len() > most {
        let message = format!("source_addresses has {} entries", items.len());
        let hint = format!(
            "at most {most} are allowed, in addition to the addresses of the \
                            services"
        );
        Err(source.error(place, message, hint))
    } else {
        Ok(())
    };
    (items, complete.and(once).and(few))
}

pub(super) static HTTP: Schema = Schema {
    name: "http",
    header: "[http]",
    about: "Limits of the HTTP front: all services of mode `http` and `https` share them.",
    presence: "Optional.",
    keys: &[
        &WORKERS,
        &DRAIN_TIMEOUT,
        &MAX_HEADER_BYTES,
        &MAX_CONNECTIONS_OF_CLIENTS,
        &MAX_CONNECTIONS_PER_CLIENT,
        &CONNECTION_BUFFER_BYTES,
        &BUFFER_BYTES,
        &IDLE_CONNECTIONS,
        &TRUSTED_PROXIES,
    ],
    tables: &[&timeouts::HTTP_TIMEOUTS],
};

static WORKERS: Key<Whole<u32>> = Key {
    name: "workers",
    kind: Whole(RangeInclusive::new(1, 1_024)),
    absent: Absent::Means("one per core"),
    meaning: "Worker threads.",
};

static DRAIN_TIMEOUT: Key<Time> = Key {
    name: "drain_timeout",
    kind: Time::milliseconds(1, 24 * 3_600_000),
    absent: Absent::Is("\"1h\""),
    meaning: "How long the previous process may keep its connections after `lb upgrade`: \
              WebSockets, downloads and server-sent events. Then they are closed.",
};

static MAX_HEADER_BYTES: Key<Whole<u32>> = Key {
    name: "max_header_bytes",
    kind: Whole(RangeInclusive::new(1_024, 1_048_576)),
    absent: Absent::Is("16384"),
    meaning: "The longest head of a request or a response, in bytes.",
};

static MAX_CONNECTIONS_OF_CLIENTS: Key<Whole<u32>> = Key {
    name: "max_connections",
    kind: Whole(RangeInclusive::new(16, 16_777_216)),
    absent: Absent::Means("65536"),
    meaning: "Maximum number of concurrent client connections; each worker has an equal part. At \
              most half of the descriptors that the process may have, minus 128: the other half is \
              for backends, and the 128 are for the admin listener, checks and the peer. When the \
              limit is reached, the connections that have been idle for longest are closed first.",
};

static MAX_CONNECTIONS_PER_CLIENT: Key<Whole<u32>> = Key {
    name: "max_connections_per_client",
    kind: Whole(RangeInclusive::new(0, 16_777_216)),
    absent: Absent::Is("0"),
    meaning: "Maximum number of concurrent connections from one IPv4 address or one IPv6 /64, over \
              all services of mode `http` and `https`; further ones are closed immediately. 0: no \
              limit, because many people may share an address. `trusted_proxies` have no limit.",
};

static CONNECTION_BUFFER_BYTES: Key<Whole<u32>> = Key {
    name: "connection_buffer_bytes",
    kind: Whole(RangeInclusive::new(16_384, 1_073_741_824)),
    absent: Absent::Is("1048576"),
    meaning: "Maximum number of bytes of responses that are buffered for one client connection \
              over HTTP/2. At this limit, backends are not read from until the client has received \
              some. A larger value helps distant clients that load many resources in parallel. \
              Open connections keep the value that they started with.",
};

static BUFFER_BYTES: Key<Whole<u32>> = Key {
    name: "buffer_bytes",
    kind: Whole(RangeInclusive::new(1_048_576, 4_294_967_295)),
    absent: Absent::Is("268435456"),
    meaning: "Maximum number of bytes of responses that are buffered for all clients together; \
              each worker has an equal part. One connection gets at most an eighth of what is \
              still free, and at least 16 KiB.",
};

static IDLE_CONNECTIONS: Key<Whole<u32>> = Key {
    name: "idle_connections",
    kind: Whole(RangeInclusive::new(0, 65_536)),
    absent: Absent::Is("64"),
    meaning: "Idle connections that one worker keeps open to one backend. 0: every request opens a \
              connection.",
};

static TRUSTED_PROXIES: Key<List<Text<IpAddr>>> = Key {
    name: "trusted_proxies",
    kind: List {
        of: IP,
        noun: "proxy address",
    },
    absent: Absent::Is("[]"),
    meaning: "Proxies in front of this host whose `X-Forwarded-*` headers are trusted and \
              extended. Those of all other clients are replaced.",
};

/// Reads the section `[http]`.
pub(super) fn http(section: &Section<'_>) -> Result<Http, Reported> {
    let workers = section.optional(&WORKERS);
    let drain_timeout = section.value(&DRAIN_TIMEOUT);
    let max_header_bytes = section.value(&MAX_HEADER_BYTES);
    let max_connections = section.optional(&MAX_CONNECTIONS_OF_CLIENTS);
    let max_connections_per_client = section.value(&MAX_CONNECTIONS_PER_CLIENT);
    let connection_buffer_bytes = section.value(&CONNECTION_BUFFER_BYTES);
    let buffer_bytes = section.value(&BUFFER_BYTES);
    let idle_connections = section.value(&IDLE_CONNECTIONS);
    let trusted_proxies = section.value(&TRUSTED_PROXIES);
    let timeouts = timeouts::of_all(section);
    Ok(Http {
        workers: workers?.map_or_else(one_per_core, |workers| {
            NonZeroUsize::new(*workers.get_ref() as usize).unwrap_or(NonZeroUsize::MIN)
        }),
        timeouts: timeouts?,
        drain_timeout: drain_timeout?.into_inner(),
        max_header_bytes: max_header_bytes?.into_inner() as usize,
        max_connections: max_connections?.map(|most| most.into_inner() as usize),
        max_connections_per_client: max_connections_per_client?.into_inner() as usize,
        connection_buffer_bytes: connection_buffer_bytes?.into_inner() as usize,
        buffer_bytes: buffer_bytes?.into_inner() as usize,
        idle_connections: idle_connections?.into_inner() as usize,
        trusted_proxies: trusted_proxies?.into_inner().all()?,
    })
}

fn one_per_core() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
