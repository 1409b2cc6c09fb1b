//! What a check is.

/// One kind of check. Its findings refer to it.
#[derive(Debug, Eq, PartialEq)]
pub struct Check {
    /// The name in the output, in JSON and in docs/doctor.md: lower case, words joined by `_`.
    pub name: &'static str,
    /// The group that it is listed in.
    pub group: Group,
    /// What it looks at.
    pub looks_at: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// How to fix it, in general; a finding says it for the case at hand.
    pub fix: &'static str,
}

/// The groups of checks, in the order of the output.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Group {
    /// The configuration file and the agent.
    Agent,
    /// The kernel.
    Kernel,
    /// The interfaces of `[node]`.
    Interfaces,
    /// Limits, sysctls, ports and the clock of the host.
    Host,
    /// Routes to backends, and the backends.
    Backends,
    /// The other host.
    Pair,
    /// The EC2 API and the instance metadata service.
    Aws,
    /// DNS names and certificates.
    Certificates,
    /// Files, folders and disks.
    Files,
}

impl Group {
    /// Returns the word for the group, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Kernel => "kernel",
            Self::Interfaces => "interfaces",
            Self::Host => "host",
            Self::Backends => "backends",
            Self::Pair => "pair",
            Self::Aws => "aws",
            Self::Certificates => "certificates",
            Self::Files => "files",
        }
    }

    /// Returns the heading of the group.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Agent => "Configuration and agent",
            Self::Kernel => "Kernel",
            Self::Interfaces => "Interfaces",
            Self::Host => "Host limits and ports",
            Self::Backends => "Routes and backends",
            Self::Pair => "Pair",
            Self::Aws => "AWS",
            Self::Certificates => "Names and certificates",
            Self::Files => "Files and disk",
        }
    }
}
