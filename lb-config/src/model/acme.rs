//! `[acme]`, and the certificate that a service obtains.

use std::{path::PathBuf, time::Duration};

/// `[acme]`: how certificates are obtained.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acme {
    /// The address that the ACME directory sends mail to. Default none.
    pub email: Option<String>,
    /// The URL of the ACME directory. Default: Let's Encrypt's.
    pub directory: String,
    /// How names may be validated, the preferred first; at least one. Default TLS-ALPN-01, HTTP-01.
    pub challenges: Vec<AcmeChallenge>,
    /// The folder for accounts and certificates. Default `/var/lib/lb/acme`.
    pub storage: PathBuf,
    /// A PEM file of the authorities for the directory's own certificate; `None`: those that the
    /// host trusts.
    pub ca_file: Option<PathBuf>,
    /// External account binding (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// The certificate profile to order; `None`: the directory's default.
    pub profile: Option<String>,
    /// The command for DNS-01; `Some` if that is one of the `challenges`.
    pub dns: Option<DnsHook>,
}

impl Acme {
    /// Returns the folder of this directory below `storage`: accounts and certificates of one
    /// directory are never used with another.
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
    /// A certificate for this purpose, served on port 443 (RFC 8737).
    TlsAlpn01,
    /// A file, served on port 80 (RFC 8555 §8.3).
    Http01,
    /// A record in the DNS (RFC 8555 §8.4).
    Dns01,
}

impl AcmeChallenge {
    /// Returns the challenge's name, as in its RFC and in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// The command that sets and removes records of the DNS, for DNS-01.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsHook {
    /// The program and its first arguments.
    pub command: Vec<String>,
    /// Maximum duration of a run of the command. Default 60 s.
    pub timeout: Duration,
    /// The time from setting the last record to asking the directory to validate. Default 30 s.
    pub propagation: Duration,
}

/// External account binding (RFC 8555 §7.3.4): ties the agent's account to one that the certificate
/// authority has issued a key for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalAccount {
    /// The identifier of the key.
    pub key_id: String,
    /// The file with the MAC key.
    pub key_file: PathBuf,
}

/// A certificate that the agent obtains.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obtained {
    /// The names of the certificate, in lower case; at least one.
    pub domains: Vec<String>,
    /// How the names may be validated, the preferred first; at least one: those of
    /// [`Acme::challenges`] with which the directory reaches the agent.
    pub challenges: Vec<AcmeChallenge>,
    /// The file with the certificate's chain and key, which the first order creates.
    pub file: PathBuf,
}
