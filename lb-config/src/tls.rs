//! `[service.tls]`: TLS versions, cipher suites and client certificates.

use std::path::PathBuf;

use toml::Spanned;

use super::{
    CipherSuite, ClientAuthorities, ClientCertificates, KeyExchange, Tls, TlsVersion,
    kind::{Choice, Text},
    list::{List, Listed},
    schema::{Absent, Entry as _, Key, Schema},
    section::Section,
    source::Reported,
    text,
};

pub(super) static TLS: Schema = Schema {
    name: "tls",
    header: "[service.tls]",
    about: "TLS versions, cipher suites and client certificates of the service.",
    presence: "Optional, for `https`; it belongs to the `[[service]]` above it.",
    keys: &[
        &MIN_VERSION,
        &CIPHERS,
        &KEY_EXCHANGE,
        &CLIENT_CERTIFICATES,
        &CLIENT_AUTHORITIES,
        &CLIENT_REVOCATIONS,
    ],
    tables: &[],
};

static MIN_VERSION: Key<Choice<TlsVersion>> = Key {
    name: "min_version",
    kind: Choice {
        words: &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)],
        later: &[],
    },
    absent: Absent::Is("\"1.2\""),
    meaning: "The oldest version of TLS that is accepted.",
};

static CIPHERS: Key<List<Choice<CipherSuite>>> = Key {
    name: "ciphers",
    kind: List {
        of: Choice {
            words: CipherSuite::ALL,
            later: &[],
        },
        noun: "cipher suite",
    },
    absent: Absent::Means("all of them"),
    meaning: "The cipher suites that clients may choose from, by IANA's names. At least one of TLS \
              1.3, and one of TLS 1.2 if `min_version` allows it.",
};

static KEY_EXCHANGE: Key<List<Choice<KeyExchange>>> = Key {
    name: "key_exchange",
    kind: List {
        of: Choice {
            words: KeyExchange::ALL,
            later: &[],
        },
        noun: "key exchange",
    },
    absent: Absent::Means("all of them, in the order of this list"),
    meaning: "The key exchanges, the preferred ones first; one for which the client has sent a key \
              share comes before the others, which would need another round trip. `X25519MLKEM768` \
              is post-quantum, and for TLS 1.3 only.",
};

#[derive(Clone, Copy, Eq, PartialEq)]
enum Clients {
    None,
    Optional,
    Required,
}

static CLIENT_CERTIFICATES: Key<Choice<Clients>> = Key {
    name: "client_certificates",
    kind: Choice {
        words: &[
            ("none", Clients::None),
            ("optional", Clients::Optional),
            ("required", Clients::Required),
        ],
        later: &[],
    },
    absent: Absent::Is("\"none\""),
    meaning: "Whether clients are asked for a certificate. `optional`: a client without one is \
              served, one with an invalid certificate is refused. Backends get the certificate in \
              `Client-Cert` (RFC 9440) and its subject in `X-Client-Cert-Subject`; fields of these \
              names that clients send are removed, for every service. Sessions are not resumed, so \
              that each connection is verified.",
};

/// The name of the key with the authorities of client certificates, also in `[admin]`.
pub(super) const CLIENT_AUTHORITIES_NAME: &str = "client_authorities";
/// The kind of value of that key.
pub(super) const CLIENT_AUTHORITIES_KIND: List<Text<PathBuf>> = List {
    of: text::PATH,
    noun: "authority",
};

static CLIENT_AUTHORITIES: Key<List<Text<PathBuf>>> = Key {
    name: CLIENT_AUTHORITIES_NAME,
    kind: CLIENT_AUTHORITIES_KIND,
    absent: Absent::Means("none: `client_certificates` needs at least one"),
    meaning: "PEM files with the certificates of the authorities that sign client certificates.",
};

/// The key with the revocation lists of client certificates, of services and of `[admin]`.
pub(super) static CLIENT_REVOCATIONS: Key<List<Text<PathBuf>>> = Key {
    name: "client_revocations",
    kind: List {
        of: text::PATH,
        noun: "list of revoked certificates",
    },
    absent: Absent::Means("none: revocation is not checked"),
    meaning: "PEM files with certificate revocation lists (CRL). With at least one, a client \
              certificate is refused if its authority has no list, or a list that has expired. A \
              changed file is read again without a reload.",
};

/// Reads the section `[service.tls]`; without it, every key has its default.
pub(super) fn read(service: &Section<'_>) -> Result<Tls, Reported> {
    let Some(section) = service.table(&TLS)? else {
        return Ok(Tls::default());
    };
    let default = Tls::default();
    let min_version = section.value(&MIN_VERSION).map(Spanned::into_inner);
    let ciphers = list(section.optional(&CIPHERS), default.ciphers);
    let key_exchange = list(section.optional(&KEY_EXCHANGE), default.key_exchange);
    let clients = clients(&section);
    let (min_version, ciphers) = (min_version?, ciphers?);
    refuse_unusable(&section, min_version, &ciphers)?;
    let key_exchange = key_exchange?;
    if key_exchange.is_empty() {
        let hint = "leave key_exchange out to allow all key exchanges".to_owned();
        return Err(wrong(
            &section,
            KEY_EXCHANGE.name(),
            "key_exchange is empty",
            hint,
        ));
    }
    Ok(Tls {
        min_version,
        ciphers,
        key_exchange,
        clients: clients?,
    })
}

/// Returns the items of a list, or those of `default` if the file has no such list.
pub(super) fn list<T>(
    list: Result<Option<Spanned<Listed<T>>>, Reported>,
    default: Vec<T>,
) -> Result<Vec<T>, Reported> {
    list?.map_or(Ok(default), |list| list.into_inner().all())
}

/// Reports a TLS version that is allowed without any of its cipher suites: every handshake of that
/// version would fail.
fn refuse_unusable(
    section: &Section<'_>,
    min_version: TlsVersion,
    ciphers: &[CipherSuite],
) -> Result<(), Reported> {
    let has = |version| ciphers.iter().any(|suite| suite.version() == version);
    if !has(TlsVersion::Tls13) {
        let hint =
            "TLS 1.3 is always enabled: add, for example, \"TLS_AES_128_GCM_SHA256\"".to_owned();
        let message = "none of the cipher suites is of TLS 1.3";
        return Err(wrong(section, CIPHERS.name(), message, hint));
    }
    if min_version == TlsVersion::Tls12 && !has(TlsVersion::Tls12) {
        let message = "none of the cipher suites is of TLS 1.2, which min_version allows";
        let hint = "write min_version = \"1.3\", or add one of TLS 1.2".to_owned();
        return Err(wrong(section, CIPHERS.name(), message, hint));
    }
    Ok(())
}

fn clients(section: &Section<'_>) -> Result<ClientCertificates, Reported> {
    let wanted = section.value(&CLIENT_CERTIFICATES);
    let authorities = list(section.optional(&CLIENT_AUTHORITIES), Vec::new());
    let revocations = list(section.optional(&CLIENT_REVOCATIONS), Vec::new());
    let (wanted, authorities) = (wanted?.into_inner(), authorities?);
    let revocations = revocations?;
    if wanted == Clients::None {
        for key in [CLIENT_AUTHORITIES.name(), CLIENT_REVOCATIONS.name()] {
            if section.place(key).is_some() {
                let message =
                    format!("{key} has no effect: clients are not asked for a certificate");
                let hint = "add: client_certificates = \"required\" (or \"optional\")".to_owned();
                return Err(wrong(section, key, &message, hint));
            }
        }
        return Ok(ClientCertificates::None);
    }
    if authorities.is_empty() {
        let message = "client_certificates needs client_authorities, which has no file";
        let hint = "add: client_authorities = [\"/etc/lb/tls/clients-ca.pem\"]".to_owned();
        return Err(wrong(section, CLIENT_CERTIFICATES.name(), message, hint));
    }
    let authorities = ClientAuthorities {
        authorities,
        revocations,
    };
    Ok(match wanted {
        Clients::Required => ClientCertificates::Required(authorities),
        Clients::None | Clients::Optional => ClientCertificates::Optional(authorities),
    })
}

/// Reports a mistake at the place of a key, or of its section if the file does not have the key.
pub(super) fn wrong(section: &Section<'_>, key: &str, message: &str, hint: String) -> Reported {
    let place = section.place(key).unwrap_or_else(|| section.span());
    section.source().error(place, message.to_owned(), hint)
}
