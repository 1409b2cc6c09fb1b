//! `[acme]`, and the certificate that a service obtains.

use std::{path::PathBuf, time::Duration};

/// `[acme]`: how certificates are obtained.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acme {
    /// The address to which the certificate authority of the ACME directory sends mail. Default
    /// none.
    pub email: Option<String>,
    /// The URL of the ACME directory. Default: that of Let's Encrypt.
    pub directory: String,
    /// How names may be validated, the preferred challenge first; at least one. Default
    /// TLS-ALPN-01, HTTP-01.
    pub challenges: Vec<AcmeChallenge>,
    /// The folder in which accounts and certificates are stored. Default `/var/lib/lb/acme`.
    pub storage: PathBuf,
    /// A PEM file of the authorities with which the TLS certificate of the ACME directory's server
    /// is verified; `None` for those that the host trusts.
    pub ca_file: Option<PathBuf>,
    /// External account binding (RFC 8555 §7.3.4), if the certificate authority requires it.
    pub external_account: Option<ExternalAccount>,
    /// The certificate profile to order; `None` for the directory's default.
    pub profile: Option<String>,
    /// The command for DNS-01; `Some` if DNS-01 is one of the `challenges`.
    pub dns: Option<DnsHook>,
}

impl Acme {
    /// Returns the folder for this ACME directory below `storage`: accounts and certificates of one
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

/// How the certificate authority validates that a domain name belongs to its applicant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AcmeChallenge {
    /// TLS-ALPN-01: the agent serves a special certificate on port 443 (RFC 8737).
    TlsAlpn01,
    /// HTTP-01: the agent serves a file on port 80 (RFC 8555 §8.3).
    Http01,
    /// DNS-01: a command of the operator sets a record in the DNS (RFC 8555 §8.4).
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

/// The command of the operator that sets and removes records of the DNS, for the challenge DNS-01.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsHook {
    /// The command's program and its first arguments.
    pub command: Vec<String>,
    /// Maximum duration of one run of the command. Default 60 s.
    pub timeout: Duration,
    /// The time from setting the last record to asking the ACME directory to validate. Default 30
    /// s.
    pub propagation: Duration,
}

/// External account binding (RFC 8555 §7.3.4): ties the agent's account to one that the certificate
/// authority has issued a key for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalAccount {
    /// The identifier of the key that the certificate authority issued.
    pub key_id: String,
    /// The file with the MAC key that the certificate authority issued.
    pub key_file: PathBuf,
}

/// A certificate that the agent obtains for a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obtained {
    /// The domain names of the certificate, in lower case; at least one.
    pub domains: Vec<String>,
    /// How the domain names may be validated, the preferred challenge first; at least one: those of
    /// [`Acme::challenges`] with which the directory reaches the agent.
    pub challenges: Vec<AcmeChallenge>,
    /// The file with the certificate's chain and key, which the agent's first order creates.
    pub file: PathBuf,
}
