//! The parsed `[service.tls]`.

use std::path::PathBuf;

/// The settings of TLS of a service: versions, cipher suites and client certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// The oldest version of TLS that clients may use. Default 1.2.
    pub min_version: TlsVersion,
    /// The cipher suites that clients may choose from; at least one of TLS 1.3, and one of TLS 1.2
    /// if that version is allowed. Default: all.
    pub ciphers: Vec<CipherSuite>,
    /// The key exchanges that clients may choose from, the preferred ones first; at least one.
    /// Default: all.
    pub key_exchange: Vec<KeyExchange>,
    /// Whether clients are asked for a certificate. Default: they are not asked.
    pub clients: ClientCertificates,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            min_version: TlsVersion::Tls12,
            ciphers: CipherSuite::ALL.iter().map(|(_, suite)| *suite).collect(),
            key_exchange: KeyExchange::ALL.iter().map(|(_, one)| *one).collect(),
            clients: ClientCertificates::None,
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with ephemeral keys and authenticated encryption only.
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// A cipher suite, by its number (IANA, TLS Cipher Suites).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CipherSuite(pub u16);

impl CipherSuite {
    /// All supported cipher suites, each with the name that IANA gives it.
    pub const ALL: &[(&str, Self)] = &[
        ("TLS_AES_256_GCM_SHA384", Self(0x1302)),
        ("TLS_AES_128_GCM_SHA256", Self(0x1301)),
        ("TLS_CHACHA20_POLY1305_SHA256", Self(0x1303)),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Self(0xc02c)),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Self(0xc02b)),
        (
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            Self(0xcca9),
        ),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Self(0xc030)),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Self(0xc02f)),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Self(0xcca8)),
    ];

    /// Returns the TLS version that the cipher suite belongs to.
    #[must_use]
    pub fn version(self) -> TlsVersion {
        match self.0 >> 8 {
            0x13 => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        }
    }
}

/// A key exchange, by its number (IANA, TLS Supported Groups).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyExchange(pub u16);

impl KeyExchange {
    /// All supported key exchanges in the order of preference: the post-quantum key exchange first
    /// (draft-ietf-tls-ecdhe-mlkem).
    pub const ALL: &[(&str, Self)] = &[
        ("X25519MLKEM768", Self(0x11ec)),
        ("x25519", Self(0x001d)),
        ("secp256r1", Self(0x0017)),
        ("secp384r1", Self(0x0018)),
    ];
}

/// Whether clients are asked for a certificate, and whether they must have one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientCertificates {
    /// Clients are not asked for a certificate.
    None,
    /// Clients are asked for a certificate. A client without one is served; a client with an
    /// invalid one is refused.
    Optional(ClientAuthorities),
    /// Clients are asked for a certificate. A client without a valid one is refused.
    Required(ClientAuthorities),
}

/// The authorities whose signatures on client certificates are accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientAuthorities {
    /// PEM files with the certificates of these authorities; at least one file.
    pub authorities: Vec<PathBuf>,
    /// PEM files with certificate revocation lists (RFC 5280 §5); empty for no revocation.
    pub revocations: Vec<PathBuf>,
}
