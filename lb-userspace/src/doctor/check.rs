//! The checks of `lb doctor`: how one is described, and the groups that they are listed in.

/// One kind of check of `lb doctor`. Each finding names the check that made it.
#[derive(Debug, Eq, PartialEq)]
pub struct Check {
    /// The name of the check in the output, in JSON and in docs/doctor.md: lower case, words joined
    /// by `_`.
    pub name: &'static str,
    /// The group that the check is listed in.
    pub group: Group,
    /// What the check looks at, as text for docs/doctor.md.
    pub looks_at: &'static str,
    /// Why the check matters, as text for docs/doctor.md.
    pub why: &'static str,
    /// How to fix what the check finds, in general, as text for docs/doctor.md; a finding says how
    /// to fix the case at hand.
    pub fix: &'static str,
}

/// The groups of the checks of `lb doctor`, in the order of its output.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Group {
    /// Checks of the configuration file and of the agent.
    Agent,
    /// Checks of the kernel.
    Kernel,
    /// Checks of the interfaces of `[node]`.
    Interfaces,
    /// Checks of limits, sysctls, ports and the clock of the host.
    Host,
    /// Checks of the backends, and of the routes to them.
    Backends,
    /// Checks of the pair: this host's address for the peer, the secret, the link between the
    /// agents, and adverts.
    Pair,
    /// Checks of the EC2 API and of the instance metadata service.
    Aws,
    /// Checks of DNS names and of certificates.
    Certificates,
    /// Checks of files, folders and disks.
    Files,
}

impl Group {
    /// Returns the name of the group, as in JSON.
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

    /// Returns the heading of the group in the output and in docs/doctor.md.
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
