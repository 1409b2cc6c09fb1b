//! The parsed `[service.tls]`.

use std::path::PathBuf;

/// TLS versions, cipher suites and client certificates of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// The oldest TLS version that clients may use. Default 1.2.
    pub min_version: TlsVersion,
    /// The cipher suites that clients may choose from; at least one of TLS 1.3, and one of TLS 1.2
    /// if that is allowed. Default: all.
    pub ciphers: Vec<CipherSuite>,
    /// The key exchanges, the preferred ones first; at least one. Default: all.
    pub key_exchange: Vec<KeyExchange>,
    /// Whether clients are asked for a certificate. Default: they are not.
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
    /// RFC 5246, with ephemeral keys and authenticated encryption only.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A cipher suite, by its number (IANA, TLS Cipher Suites).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CipherSuite(pub u16);

impl CipherSuite {
    /// All supported cipher suites, with IANA's names.
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

    /// Returns the TLS version that the suite belongs to.
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
    /// All supported key exchanges in the order of preference: the post-quantum one first
    /// (draft-ietf-tls-ecdhe-mlkem).
    pub const ALL: &[(&str, Self)] = &[
        ("X25519MLKEM768", Self(0x11ec)),
        ("x25519", Self(0x001d)),
        ("secp256r1", Self(0x0017)),
        ("secp384r1", Self(0x0018)),
    ];
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientCertificates {
    /// Clients are not asked.
    None,
    /// Clients are asked. A client without a certificate is served; a client with an invalid one is
    /// refused.
    Optional(ClientAuthorities),
    /// A client without a valid certificate is refused.
    Required(ClientAuthorities),
}

/// The authorities that sign client certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientAuthorities {
    /// PEM files of the certificates of these authorities; at least one.
    pub authorities: Vec<PathBuf>,
    /// PEM files of certificate revocation lists (RFC 5280 §5).
    pub revocations: Vec<PathBuf>,
}
