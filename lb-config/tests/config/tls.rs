//! Tests of `[service.tls]`.

use lb_config::{CipherSuite, ClientCertificates, KeyExchange, Mode, Tls, TlsVersion};

use crate::{BASE, parse};

fn errors(text: &str) -> String {
    parse(text).expect_err("refused").to_string()
}

/// Returns the base configuration with lines at its end, which belong to its last service.
fn with(service: &str) -> String {
    format!(
        "{BASE}\n[[service]]\nname = \"secure\"\nlisten = \"172.31.0.68:8443\"\npool = \"web\"\n{service}"
    )
}

const HTTPS: &str = "mode = \"https\"\ncertificates = [\"/etc/lb/tls/a.pem\"]\n[service.tls]\n";

fn tls(keys: &str) -> Tls {
    let parsed = parse(&with(&format!("{HTTPS}{keys}"))).expect("good");
    let service = parsed.config.services.last().expect("one");
    match &service.mode {
        Mode::Https { tls, .. } => tls.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_is_allowed_and_nobody_asked_unless_the_file_says_so() {
    assert_eq!(tls(""), Tls::default());
    assert_eq!(tls("").min_version, TlsVersion::Tls12);
    assert_eq!(tls("").clients, ClientCertificates::None);
}

#[test]
fn what_the_file_says_is_kept_in_its_order() {
    let read = tls(
        "min_version = \"1.3\"\nciphers = [\"TLS_CHACHA20_POLY1305_SHA256\", \"TLS_AES_128_GCM_SHA256\"]\n\
         key_exchange = [\"x25519\"]\nclient_certificates = \"optional\"\n\
         client_authorities = [\"/etc/lb/tls/ca.pem\"]\nclient_revocations = [\"/etc/lb/tls/crl.pem\"]\n",
    );
    assert_eq!(read.ciphers, [CipherSuite(0x1303), CipherSuite(0x1301)]);
    assert_eq!(read.key_exchange, [KeyExchange(0x1d)]);
    let ClientCertificates::Optional(authorities) = read.clients else {
        panic!("{read:?}");
    };
    assert_eq!(
        authorities.authorities,
        [std::path::Path::new("/etc/lb/tls/ca.pem")]
    );
    assert_eq!(
        authorities.revocations,
        [std::path::Path::new("/etc/lb/tls/crl.pem")]
    );
}

#[test]
fn settings_that_would_refuse_everybody_are_errors() {
    for (keys, wanted) in [
        ("ciphers = []", "none of the cipher suites is of TLS 1.3"),
        (
            "ciphers = [\"TLS_AES_128_GCM_SHA256\"]",
            "none of the cipher suites is of TLS 1.2",
        ),
        ("key_exchange = []", "key_exchange is empty"),
        (
            "ciphers = [\"TLS_AES_128_GCM_SHA265\"]",
            "did you mean \"TLS_AES_128_GCM_SHA256\"",
        ),
        ("min_version = \"1.1\"", "min_version cannot be \"1.1\""),
        (
            "client_certificates = \"required\"",
            "client_certificates needs client_authorities",
        ),
        (
            "client_authorities = [\"/etc/lb/tls/ca.pem\"]",
            "clients are not asked for a certificate",
        ),
    ] {
        let text = errors(&with(&format!("{HTTPS}{keys}\n")));
        assert!(text.contains(wanted), "{keys}: {text}");
    }
}

#[test]
fn a_service_without_tls_has_no_such_table() {
    let text = errors(&with(
        "mode = \"http\"\n[service.tls]\nmin_version = \"1.3\"\n",
    ));
    assert!(text.contains("has tls, but its mode is \"http\""), "{text}");
}
