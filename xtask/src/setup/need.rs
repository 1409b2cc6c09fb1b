//! The list of the tools that xtask's commands need.

use std::fmt;

use super::{
    Purpose::{self, Bench, Build, Demo, Monitoring, Package, Test},
    debian::{DEBIAN_ROOT, DEBIAN_SUITE},
    probe::Probe,
    python::{AWS_CLI, GRAFANA_MODEL, MOTO, PLAYWRIGHT, PythonPackage, TYPOS},
};
use crate::ebpf::toolchain::BPF_LINKER;

/// A tool that a command of xtask needs.
pub(crate) struct Need {
    /// Name of the tool.
    pub(crate) name: &'static str,
    /// What the tool is needed for.
    pub(crate) why: &'static str,
    /// How an installed tool is detected.
    pub(crate) probe: Probe,
    /// How the tool is installed.
    pub(crate) source: Source,
    /// The commands of xtask that need the tool.
    pub(crate) purposes: &'static [Purpose],
}

/// How a missing tool is installed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// The tool is in these packages of the distribution.
    Packages(&'static [&'static str]),
    /// The compiler is in Debian's packages of rustc, or is rustup's nightly if the distribution
    /// has none.
    EbpfCompiler,
    /// bpf-linker is built by `cargo install`, with Debian's LLVM.
    BpfLinker,
    /// The tool is this component of rustup's default toolchain.
    RustupComponent(&'static str),
    /// clippy is in the package that belongs to the compiler for eBPF.
    EbpfClippy,
    /// The BPF file system is mounted.
    BpfFileSystem,
    /// cargo-deny is built by `cargo install`, unoptimised to shorten the build.
    CargoDeny,
    /// The tool is installed as a package from PyPI, in a separate virtual environment.
    Python(PythonPackage),
    /// debootstrap creates a clean Debian system in the target directory.
    DebianRoot,
}

/// Debian's packages of the compiler for eBPF: rustc, cargo, and `core` for the kernel's target.
pub(crate) const COMPILER_PACKAGES: &[&str] =
    &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// Debian's package of clippy for the compiler for eBPF.
pub(crate) const CLIPPY_PACKAGE: &str = "rust-web-clippy";

/// Debian's package for Python's virtual environments.
pub(crate) const VENV_PACKAGE: &str = "python3-venv";

/// The version of cargo-deny that is installed if none is found.
pub(crate) const CARGO_DENY: &str = "0.20.2";

/// Debian's packages that bpf-linker is built against.
pub(crate) const LINKER_PACKAGES: &[&str] = &["llvm-22-dev", "libzstd-dev", "zlib1g-dev"];

impl Source {
    /// Returns whether a tool with this source may need the installation of packages of the
    /// distribution.
    pub(crate) fn uses_apt(self) -> bool {
        match self {
            Self::Packages(_)
            | Self::EbpfCompiler
            | Self::EbpfClippy
            | Self::BpfLinker
            | Self::Python(_)
            | Self::DebianRoot => true,
            Self::RustupComponent(_) | Self::BpfFileSystem | Self::CargoDeny => false,
        }
    }

    /// Returns whether the tool was installed for an earlier version of this list, and must be
    /// installed again.
    pub(crate) fn is_outdated(self) -> bool {
        matches!(self, Self::Python(package) if package.is_outdated())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packages(packages) => write!(f, "apt: {}", packages.join(" ")),
            Self::EbpfCompiler => write!(
                f,
                "apt: {}, or rustup: nightly with rust-src",
                COMPILER_PACKAGES.join(" ")
            ),
            Self::BpfLinker => write!(
                f,
                "cargo install bpf-linker {BPF_LINKER}, with apt: {}",
                LINKER_PACKAGES.join(" ")
            ),
            Self::RustupComponent(component) => write!(f, "rustup component add {component}"),
            Self::EbpfClippy => write!(f, "apt: {CLIPPY_PACKAGE}, or rustup: clippy for nightly"),
            Self::BpfFileSystem => f.write_str("mount -t bpf bpf /sys/fs/bpf"),
            Self::CargoDeny => write!(f, "cargo install cargo-deny {CARGO_DENY}"),
            Self::DebianRoot => write!(
                f,
                "debootstrap {DEBIAN_SUITE} target/{DEBIAN_ROOT}, with apt: debootstrap"
            ),
            Self::Python(PythonPackage {
                requirement,
                directory,
            }) => write!(
                f,
                "pip install '{requirement}' into target/{directory}, with apt: {VENV_PACKAGE}"
            ),
        }
    }
}

const ALL: &[Purpose] = &[Build, Demo, Test, Bench];
const RUNS: &[Purpose] = &[Demo, Test, Bench];

/// All tools that any command of xtask needs.
pub(crate) const NEEDS: &[Need] = &[
    Need {
        name: "C compiler",
        why: "builds the TLS library's cryptography and the allocator",
        probe: Probe::Program("cc"),
        source: Source::Packages(&["build-essential"]),
        purposes: ALL,
    },
    Need {
        name: "make",
        why: "builds the allocator",
        probe: Probe::Program("make"),
        source: Source::Packages(&["make"]),
        purposes: ALL,
    },
    Need {
        name: "eBPF compiler",
        why: "builds the XDP program",
        probe: Probe::EbpfCompiler,
        source: Source::EbpfCompiler,
        purposes: ALL,
    },
    Need {
        name: "bpf-linker",
        why: "links the XDP program and writes its BTF",
        probe: Probe::BpfLinker,
        source: Source::BpfLinker,
        purposes: ALL,
    },
    Need {
        name: "rustfmt",
        why: "checks the format",
        probe: Probe::CargoCommand("fmt"),
        source: Source::RustupComponent("rustfmt"),
        purposes: &[Test],
    },
    Need {
        name: "clippy",
        why: "checks the code",
        probe: Probe::CargoCommand("clippy"),
        source: Source::RustupComponent("clippy"),
        purposes: &[Test],
    },
    Need {
        name: "clippy for eBPF",
        why: "checks the XDP program's code",
        probe: Probe::EbpfClippy,
        source: Source::EbpfClippy,
        purposes: &[Test],
    },
    Need {
        name: "bpffs",
        why: "holds the pinned maps, program and link",
        probe: Probe::BpfFileSystem,
        source: Source::BpfFileSystem,
        purposes: RUNS,
    },
    Need {
        name: "ip",
        why: "makes network namespaces and their links",
        probe: Probe::Program("ip"),
        source: Source::Packages(&["iproute2"]),
        purposes: RUNS,
    },
    Need {
        name: "unshare, nsenter, setpriv",
        why: "enter namespaces, and tie a process's life to its parent's",
        probe: Probe::Programs(&["unshare", "nsenter", "setpriv"]),
        source: Source::Packages(&["util-linux"]),
        purposes: RUNS,
    },
    Need {
        name: "sysctl",
        why: "makes a host of the lab forward packets",
        probe: Probe::Program("sysctl"),
        source: Source::Packages(&["procps"]),
        purposes: RUNS,
    },
    Need {
        name: "ethtool",
        why: "has veth compute checksums, as a network card would",
        probe: Probe::Program("ethtool"),
        source: Source::Packages(&["ethtool"]),
        purposes: RUNS,
    },
    Need {
        name: "nft",
        why: "translates addresses, as the Internet gateway",
        probe: Probe::Program("nft"),
        source: Source::Packages(&["nftables"]),
        purposes: RUNS,
    },
    Need {
        name: "moto",
        why: "simulates the EC2 and Auto Scaling APIs; optional for the demo",
        probe: Probe::Moto,
        source: Source::Python(MOTO),
        purposes: &[Test],
    },
    Need {
        name: "cfn-lint",
        why: "checks the template for CloudFormation; comes with moto",
        probe: Probe::CfnLint,
        source: Source::Python(MOTO),
        purposes: &[Test],
    },
    Need {
        name: "AWS CLI",
        why: "moves the Elastic IP in a script of keepalived",
        probe: Probe::AwsCli,
        source: Source::Python(AWS_CLI),
        purposes: &[Test],
    },
    Need {
        name: "cargo-deny",
        why: "checks licences and sources of dependencies",
        probe: Probe::CargoCommand("deny"),
        source: Source::CargoDeny,
        purposes: &[Test],
    },
    Need {
        name: "typos",
        why: "checks spelling",
        probe: Probe::Typos,
        source: Source::Python(TYPOS),
        purposes: &[Test],
    },
    Need {
        name: "nginx",
        why: "runs as the backends; compared with lb in benchmarks",
        probe: Probe::Program("nginx"),
        source: Source::Packages(&["nginx"]),
        purposes: RUNS,
    },
    Need {
        name: "curl",
        why: "an independent HTTP client",
        probe: Probe::Program("curl"),
        source: Source::Packages(&["curl"]),
        purposes: RUNS,
    },
    Need {
        name: "openssl",
        why: "makes certificates, measures handshakes",
        probe: Probe::Program("openssl"),
        source: Source::Packages(&["openssl"]),
        purposes: &[Test, Bench],
    },
    Need {
        name: "bpftool",
        why: "reads the BPF maps",
        probe: Probe::Program("bpftool"),
        source: Source::Packages(&["bpftool"]),
        purposes: RUNS,
    },
    Need {
        name: "promtool",
        why: "validates the metrics",
        probe: Probe::Program("promtool"),
        source: Source::Packages(&["prometheus"]),
        purposes: &[Test],
    },
    Need {
        name: "prometheus",
        why: "scrapes the lab: evaluates the alerts, answers the dashboards' queries",
        probe: Probe::Program("prometheus"),
        source: Source::Packages(&["prometheus"]),
        purposes: &[Test, Monitoring],
    },
    Need {
        name: "node_exporter",
        why: "exports the metrics of the lab's hosts",
        probe: Probe::Program("prometheus-node-exporter"),
        source: Source::Packages(&["prometheus-node-exporter"]),
        purposes: &[Test, Monitoring],
    },
    Need {
        name: "Grafana's model",
        why: "validates the dashboards",
        probe: Probe::PythonPackage(GRAFANA_MODEL.directory, "grafana_foundation_sdk"),
        source: Source::Python(GRAFANA_MODEL),
        purposes: &[Test],
    },
    Need {
        name: "chromium",
        why: "opens the status page",
        probe: Probe::Program("chromium"),
        source: Source::Packages(&["chromium"]),
        purposes: &[Test],
    },
    Need {
        name: "Playwright",
        why: "operates the status page in chromium",
        probe: Probe::PythonPackage(PLAYWRIGHT.directory, "playwright"),
        source: Source::Python(PLAYWRIGHT),
        purposes: &[Test],
    },
    Need {
        name: "tcpdump",
        why: "captures the adverts and packets that tests check",
        probe: Probe::Program("tcpdump"),
        source: Source::Packages(&["tcpdump"]),
        purposes: &[Test],
    },
    Need {
        name: "tshark",
        why: "parses the captures, as an independent decoder of VRRP and ARP",
        probe: Probe::Program("tshark"),
        source: Source::Packages(&["tshark"]),
        purposes: &[Test],
    },
    Need {
        name: "ping",
        why: "sends packets that are for no service",
        probe: Probe::Program("ping"),
        source: Source::Packages(&["iputils-ping"]),
        purposes: &[Test],
    },
    Need {
        name: "haproxy",
        why: "compared with lb in benchmarks; tests the lab itself",
        probe: Probe::Program("haproxy"),
        source: Source::Packages(&["haproxy"]),
        purposes: &[Test, Bench],
    },
    Need {
        name: "nsd",
        why: "runs as the name server for the discovery of backends",
        probe: Probe::Program("nsd"),
        source: Source::Packages(&["nsd"]),
        purposes: &[Test],
    },
    Need {
        name: "dig",
        why: "asks the name server, as an independent HTTP client",
        probe: Probe::Program("dig"),
        source: Source::Packages(&["bind9-dnsutils"]),
        purposes: &[Test],
    },
    Need {
        name: "pebble",
        why: "runs as the ACME directory",
        probe: Probe::Program("pebble"),
        source: Source::Packages(&["pebble"]),
        purposes: &[Test],
    },
    Need {
        name: "keepalived",
        why: "runs as the peer in tests; compared with lb in the failover benchmark",
        probe: Probe::Program("keepalived"),
        source: Source::Packages(&["keepalived"]),
        purposes: &[Test, Bench],
    },
    Need {
        name: "dpkg-deb, dpkg-shlibdeps, strip",
        why: "build the Debian package",
        probe: Probe::Programs(&["dpkg-deb", "dpkg-shlibdeps", "strip"]),
        source: Source::Packages(&["dpkg-dev", "binutils"]),
        purposes: &[Test, Package],
    },
    Need {
        name: "rpmbuild, rpm2cpio, cpio",
        why: "build the RPM, and unpack it in the tests",
        probe: Probe::Programs(&["rpmbuild", "rpm2cpio", "cpio"]),
        source: Source::Packages(&["rpm", "rpm2cpio", "cpio"]),
        purposes: &[Test, Package],
    },
    Need {
        name: "Debian root",
        why: "a clean system, in which the tests install the package",
        probe: Probe::DebianRoot,
        source: Source::DebianRoot,
        purposes: &[Test],
    },
    Need {
        name: "wrk",
        why: "generates HTTP/1.1 load",
        probe: Probe::Program("wrk"),
        source: Source::Packages(&["wrk"]),
        purposes: &[Bench],
    },
    Need {
        name: "h2load",
        why: "generates HTTP/2 load",
        probe: Probe::Program("h2load"),
        source: Source::Packages(&["nghttp2-client"]),
        purposes: &[Test, Bench],
    },
];
