//! `[service.tls]`.

use std::path::PathBuf;

/// How a service speaks TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// The oldest version. Default 1.2.
    pub min_version: TlsVersion,
    /// The cipher suites that clients may choose from; at least one of TLS 1.3, and of TLS 1.2 where that
    /// is allowed. Default: all.
    pub ciphers: Vec<CipherSuite>,
    /// The key exchanges, the preferred ones first; at least one. Default: all.
    pub key_exchange: Vec<KeyExchange>,
    /// Whether clients show a certificate. Default: they are not asked.
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
    /// RFC 5246, with ephemeral keys and authenticated encryption alone.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A cipher suite, by its number (IANA, TLS Cipher Suites).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CipherSuite(pub u16);

impl CipherSuite {
    /// All that there are, with IANA's names.
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

    /// The version that it belongs to.
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
    /// All that there are, in the order of preference: the one first that a quantum computer does not
    /// break (draft-ietf-tls-ecdhe-mlkem).
    pub const ALL: &[(&str, Self)] = &[
        ("X25519MLKEM768", Self(0x11ec)),
        ("x25519", Self(0x001d)),
        ("secp256r1", Self(0x0017)),
        ("secp384r1", Self(0x0018)),
    ];
}

/// Whether clients show a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    None,
    /// They are asked. One that has none is served; one whose certificate is not valid is refused.
    Optional(ClientAuthorities),
    /// One without a valid certificate is refused.
    Required(ClientAuthorities),
}

/// Who vouches for clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientAuthorities {
    /// PEM files of the certificates that clients' certificates must be signed by; at least one.
    pub authorities: Vec<PathBuf>,
    /// PEM files of lists of certificates that are revoked (RFC 5280 §5).
    pub revocations: Vec<PathBuf>,
}
