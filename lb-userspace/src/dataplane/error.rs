//! Errors of the data plane.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use lb_common::limits;

use super::flows::WireError;
use crate::config::Name;

/// The error that caused another error.
pub(super) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation on the kernel, on pinned maps or on the host failed. A message names what was
/// attempted, on what, and what to do. A message with a source includes all causes beneath it,
/// because aya's own message often says only that a system call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request to the kernel failed.
    #[error("{attempt}: {}", chain(source))]
    Kernel {
        /// What was attempted, such as `cannot list the interfaces`.
        attempt: String,
        /// The kernel's error.
        source: Source,
    },
    /// A BPF map could not be read.
    #[error("cannot read the map {map}: {}", chain(source))]
    ReadMap {
        /// The name of the map.
        map: &'static str,
        /// Why the map could not be read.
        source: Source,
    },
    /// A BPF map could not be written.
    #[error("cannot write the map {map}: {}", chain(source))]
    WriteMap {
        /// The name of the map.
        map: &'static str,
        /// Why the map could not be written.
        source: Source,
    },
    /// An operation on a file, directory or pin failed.
    #[error("{attempt} {}: {}", path.display(), chain(source))]
    Path {
        /// What was attempted, such as `cannot open the pinned map`.
        attempt: &'static str,
        /// The path of the file, directory or pin.
        path: PathBuf,
        /// Why the operation on that path failed.
        source: Source,
    },
    /// A BPF map has another type than this version of `lb` expects.
    #[error("the map {map} has an unexpected type{}", with_cause(source.as_ref()))]
    MapType {
        /// The name of the map.
        map: String,
        /// What differs; `None` if aya does not say it.
        source: Option<Source>,
    },
    /// The eBPF object that is built into the agent lacks a map or a program.
    #[error("the built object has no {kind} \"{name}\"")]
    MissingSymbol {
        /// What is missing: `map` or `XDP program`.
        kind: &'static str,
        /// The name of the map or program.
        name: String,
    },
    /// The verifier of the kernel rejected a program.
    #[error(
        "the kernel's verifier rejected the XDP program {program}; please report this: {}",
        chain(source)
    )]
    Verifier {
        /// The name of the program.
        program: String,
        /// The error with the verifier's log.
        source: Source,
    },
    /// A BPF map could not be mapped into memory.
    #[error("cannot map {bytes} bytes of a BPF map into memory: {}", chain(source))]
    MapMemory {
        /// The size of the mapping in bytes.
        bytes: usize,
        /// Why the memory could not be mapped.
        source: Source,
    },
    /// A thread that writes BPF maps panicked.
    #[error("cannot write the map {map}: its thread panicked; restart lb")]
    LostThread {
        /// The name of the map that the thread wrote.
        map: String,
    },
    /// The kernel returned no random numbers.
    #[error("cannot get random numbers from the kernel")]
    NoRandomNumbers,

    /// A service refers to a pool of this name, for which the caller did not pass the backends and
    /// their states.
    #[error("there is no pool {0}")]
    UnknownPool(Name),
    /// The kernel cannot steer a service at this address.
    #[error(
        "service {service} listens on {listen}, but the XDP program steers only connections to one \
         IPv4 address and port, such as 10.0.0.1:80"
    )]
    ServiceAddress {
        /// The name of the service.
        service: Name,
        /// The address and port that the service listens on.
        listen: SocketAddr,
    },
    /// The backend of this name has an IPv6 address, to which the kernel cannot steer.
    #[error("backend {0} has an IPv6 address, but the XDP program steers to IPv4 backends only")]
    BackendAddress(Name),
    /// The BPF maps have no room for another service.
    #[error("there are more than {} services", limits::SERVICES)]
    TooManyServices,
    /// The BPF maps have no room for another backend.
    #[error(
        "there are more than {} backends, counted once for each service",
        limits::BACKENDS
    )]
    TooManyBackends,
    /// All rows of the map `source_ports` are allocated (each has the source ports to one backend),
    /// some of them to backends that have left the configuration.
    #[error(
        "there have been more than {limit} backends since the maps were created: run `lb unload`, \
         which frees the entries of former ones and ends all connections"
    )]
    TooManyRows {
        /// The highest number of backends for which there are rows in the map `source_ports`.
        limit: u32,
    },
    /// A backend in the pinned maps has its source ports in a row (inner map) whose number is past
    /// the end of the map `source_ports`.
    #[error(
        "the pinned maps refer to a row of the map source_ports that does not exist; it has {} \
         rows, each with the source ports of one backend",
        limits::ROWS
    )]
    RowNumber,
    /// Both buckets of the map `endpoints` that a backend's endpoint may be in are full.
    #[error("there are too many backends: no room in the map endpoints for {address}:{port}")]
    EndpointsFull {
        /// The address of the backend.
        address: Ipv4Addr,
        /// The port of the backend.
        port: u16,
    },
    /// The pinned maps were created with other source addresses than are configured.
    #[error(
        "source_addresses has changed, but connections of an earlier agent use source ports of the \
         earlier addresses: write source_addresses = [{before}], or run `lb unload` first, which \
         ends all flows"
    )]
    SourceAddressesChanged {
        /// The earlier source addresses, as they are written in the configuration.
        before: String,
    },
    /// The adopted program is attached in another XDP mode than is configured.
    #[error(
        "xdp_mode is {configured}, but the pinned program is attached to {interface} in {attached} \
         mode, which cannot change while it forwards: run `lb unload` first, which ends all flows"
    )]
    ModeChanged {
        /// The configured mode: `native` or `generic`.
        configured: &'static str,
        /// The name of the interface.
        interface: String,
        /// The mode in which the program is attached: `native` or `generic`.
        attached: &'static str,
    },

    /// The host has no network interface with a configured name.
    #[error("this host has no network interface \"{name}\", only {}", present.join(", "))]
    NoInterface {
        /// The configured name of the interface.
        name: String,
        /// The names of the host's interfaces.
        present: Vec<String>,
    },
    /// No interface of the host has some of the configured source addresses.
    #[error(
        "no interface of this host has {}, of source_addresses: add it, for example `ip address \
         add {}/32 dev eth0`, or remove it from the list",
        missing.join(" and "), missing.first().map_or("", String::as_str)
    )]
    NoSourceAddress {
        /// The source addresses that are missing.
        missing: Vec<String>,
    },
    /// The process lacks capabilities that loading and attaching the program need.
    #[error(
        "not enough privileges: {}; run lb with sudo, or under its systemd unit, which grants them",
        missing.join(" and ")
    )]
    Privileges {
        /// The missing capabilities, each with what it is needed for.
        missing: Vec<String>,
    },
    /// The directory of this path, in which pins are to be made, is not in a BPF file system.
    #[error(
        "{} is not in a BPF file system; mount one: `sudo mount -t bpf bpf /sys/fs/bpf`",
        .0.display()
    )]
    NotBpfFs(PathBuf),
    /// Another agent holds the lock on the pins in this directory.
    #[error(
        "another agent uses the pins under {}; see `lb status`, and stop that agent first",
        .0.display()
    )]
    Locked(PathBuf),
    /// Another process adopted the pins while this agent had paused its work on them.
    #[error("another process has taken over the data plane")]
    TakenOver,
    /// Another XDP program is attached to the interface of this name.
    #[error(
        "another XDP program is attached to {0}; see `bpftool net show dev {0}`, and remove it with \
         `ip link set dev {0} xdp off`"
    )]
    InterfaceTaken(String),
    /// The kernel does not report the program on the interface of this name, although it was
    /// attached.
    #[error("the XDP program was attached to {0}, but the kernel reports none there")]
    NotAttached(String),
    /// Interfaces refused the program in every XDP mode that is allowed, one sentence for each.
    #[error("{}", .0.join("; "))]
    AttachRefused(Vec<String>),

    /// The pin at this path was made by an earlier version of `lb`, which supported only one
    /// interface.
    #[error(
        "{} was pinned by an earlier version of lb, which supported one interface: run `lb unload`, \
         which removes it and ends all connections",
        .0.display()
    )]
    OldPin(PathBuf),
    /// A pinned map has keys or values of another size than this version of `lb` needs.
    #[error(
        "the pinned map {} has keys of {} and values of {} bytes, but this version of lb needs {} \
         and {}: run `lb unload`, which removes it and ends all connections",
        path.display(), found.0, found.1, expected.0, expected.1
    )]
    PinnedSizes {
        /// The path of the map's pin.
        path: PathBuf,
        /// The sizes in bytes of the pinned map's keys and of its values.
        found: (usize, usize),
        /// The sizes in bytes of keys and of values that this version of `lb` needs.
        expected: (usize, usize),
    },
    /// A pinned map has another number of entries than this version of `lb` needs.
    #[error(
        "the pinned map {} has {found} entries, but this version of lb needs {expected}: run \
         `lb unload`, which removes it and ends all connections",
        path.display()
    )]
    PinnedEntries {
        /// The path of the map's pin.
        path: PathBuf,
        /// The number of entries of the pinned map.
        found: u32,
        /// The number of entries that this version of `lb` needs.
        expected: u32,
    },
    /// The pinned connection table has another size than the configuration asks for.
    #[error(
        "max_connections needs a table of {configured} entries, but the pinned one has {pinned}, \
         which cannot change while connections use it: restore max_connections, or run `lb unload` \
         first, which ends all connections"
    )]
    TableSize {
        /// The number of entries of the connection table that the configuration asks for.
        configured: u32,
        /// The number of entries of the pinned connection table.
        pinned: u32,
    },
    /// The pinned maps have another layout number than this version of `lb`.
    #[error(
        "the maps under {} have layout {found}, but this version of lb needs layout {}: run \
         `lb unload`, which removes them and ends all connections",
        root.display(), limits::LAYOUT
    )]
    LayoutNumber {
        /// The directory of the pins.
        root: PathBuf,
        /// The layout number in the pinned map `settings`.
        found: u32,
    },
    /// The peer sent a chunk of flows that cannot be decoded.
    #[error(transparent)]
    Chunk(#[from] WireError),
}

impl Error {
    /// Returns a function that makes the kernel's error in an attempt into an [`Error::Kernel`].
    pub(super) fn kernel<E: Into<Source>>(attempt: impl Into<String>) -> impl FnOnce(E) -> Self {
        let attempt = attempt.into();
        |cause| Self::Kernel {
            attempt,
            source: cause.into(),
        }
    }

    /// Returns a function that makes the cause of a failed read of a map into an
    /// [`Error::ReadMap`].
    pub(super) fn read_map<E: Into<Source>>(map: &'static str) -> impl Fn(E) -> Self + Copy {
        move |cause| Self::ReadMap {
            map,
            source: cause.into(),
        }
    }

    /// Returns a function that makes the cause of a failed write to a map into an
    /// [`Error::WriteMap`].
    pub(super) fn write_map<E: Into<Source>>(map: &'static str) -> impl Fn(E) -> Self + Copy {
        move |cause| Self::WriteMap {
            map,
            source: cause.into(),
        }
    }

    /// Returns a function that makes the cause of a failed operation on a file or pin into an
    /// [`Error::Path`].
    pub(super) fn path<E: Into<Source>>(
        attempt: &'static str,
        path: &Path,
    ) -> impl Fn(E) -> Self + Copy {
        move |cause| Self::Path {
            attempt,
            path: path.to_owned(),
            source: cause.into(),
        }
    }

    /// Returns a function that makes what aya reports about a map's type into an
    /// [`Error::MapType`].
    pub(super) fn map_type<E: Into<Source>>(map: &str) -> impl Fn(E) -> Self + Copy {
        move |cause| Self::MapType {
            map: map.to_owned(),
            source: Some(cause.into()),
        }
    }

    pub(super) fn missing_map(name: &str) -> Self {
        Self::MissingSymbol {
            kind: "map",
            name: name.to_owned(),
        }
    }

    pub(super) fn missing_program(name: &str) -> Self {
        Self::MissingSymbol {
            kind: "XDP program",
            name: name.to_owned(),
        }
    }
}

/// Returns the message of a cause, followed by the messages of the causes beneath it, except those
/// that the text contains already.
fn chain(source: &Source) -> String {
    let mut message = source.to_string();
    let mut next = source.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !message.contains(&words) {
            message.push_str(": ");
            message.push_str(&words);
        }
        next = cause.source();
    }
    message
}

fn with_cause(source: Option<&Source>) -> String {
    source.map_or_else(String::new, |source| format!(": {}", chain(source)))
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, io};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("a system call failed")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_message_spells_out_the_causes_that_its_source_does_not_name() {
        let cause = Outer(io::Error::from_raw_os_error(1));
        let error = Error::write_map("rings")(cause);
        let message = error.to_string();
        assert!(
            message.starts_with("cannot write the map rings: a system call failed: Operation not"),
            "{message}"
        );
        let source = error.source().expect("a source");
        assert!(source.downcast_ref::<Outer>().is_some());
    }

    #[test]
    fn a_cause_is_not_repeated() {
        let error = Error::path("cannot open", Path::new("/x"))(io::Error::other("no such pin"));
        assert_eq!(error.to_string(), "cannot open /x: no such pin");
    }
}
