//! `[acme]`, and what a service obtains by it.

use std::{path::PathBuf, time::Duration};

/// `[acme]`: where certificates are obtained.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acme {
    /// Where the directory may write to. Default none.
    pub email: Option<String>,
    /// The directory's URL. Default: Let's Encrypt's.
    pub directory: String,
    /// How names may be validated, the preferred first; at least one. Default TLS-ALPN-01, HTTP-01.
    pub challenges: Vec<AcmeChallenge>,
    /// The folder for accounts and certificates. Default `/var/lib/lb/acme`.
    pub storage: PathBuf,
    /// The authorities of the directory's own certificate; `None`: the host's.
    pub ca_file: Option<PathBuf>,
    /// External account binding (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// The profile that is ordered; `None`: the directory's default.
    pub profile: Option<String>,
    /// How DNS-01 is done; there where it is one of the `challenges`.
    pub dns: Option<DnsHook>,
}

impl Acme {
    /// The folder of this directory in the storage: accounts and certificates of one directory are
    /// nothing to another.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        let address = self.directory.trim_start_matches("https://");
        let plain = |character: char| match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => character,
            _ => '_',
        };
        self.storage
            .join(address.chars().map(plain).collect::<String>())
    }
}

/// How a name is validated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AcmeChallenge {
    /// A certificate on port 443 (RFC 8737).
    TlsAlpn01,
    /// A file on port 80 (RFC 8555 §8.3).
    Http01,
    /// A record in the DNS (RFC 8555 §8.4).
    Dns01,
}

impl AcmeChallenge {
    /// Its name, as directories and the configuration have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// The command that sets and removes records of the DNS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsHook {
    /// The program and its first arguments.
    pub command: Vec<String>,
    /// How long a run may take. Default 60 s.
    pub timeout: Duration,
    /// From the last record set until the directory is told to look. Default 30 s.
    pub propagation: Duration,
}

/// External account binding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalAccount {
    /// The key's identifier.
    pub key_id: String,
    /// The file with the MAC key.
    pub key_file: PathBuf,
}

/// A certificate that is obtained.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obtained {
    /// The names that it is for, in lower case; at least one.
    pub domains: Vec<String>,
    /// How they may be validated, the preferred first; at least one: those of [`Acme::challenges`] by
    /// which the directory reaches the agent.
    pub challenges: Vec<AcmeChallenge>,
    /// Where it is kept: chain and key. There is no file before the first order.
    pub file: PathBuf,
}
