//! Tests of certificates that the agent obtains by ACME from a real pebble (Let's Encrypt's test
//! server), which rejects nine nonces out of ten.

mod directory;
mod dns;
mod profile;
mod site;

use std::{fs, os::unix::fs::PermissionsExt as _};

use rustls::pki_types::CertificateDer;
use site::Site;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

const NAME: &str = "www.example.org";
const DOMAINS: &str = r#""www.example.org", "example.org""#;

fn issuer(certificate: &CertificateDer<'_>) -> String {
    let (_, parsed) = X509Certificate::from_der(certificate).expect("a certificate");
    parsed.issuer().to_string()
}

fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).expect("a certificate");
    let names = parsed.subject_alternative_name().expect("readable");
    let names = names.expect("names").value.general_names.iter();
    let text = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    let mut names: Vec<_> = text.collect();
    names.sort();
    names
}

#[test]
fn a_certificate_is_obtained_renewed_and_kept() {
    let mut site = Site::raise();
    site.configure("tls-alpn-01", DOMAINS);

    // The agent starts while no ACME directory runs, and clients get a placeholder certificate.
    site.start_agent();
    let placeholder = site.shown(NAME);
    assert!(!issuer(&placeholder).contains("Pebble"));

    // The first certificate is validated by TLS-ALPN-01. The operator requests it, because the
    // agent's own next attempt would be due only in a quarter of an hour.
    site.start_pebble();
    let renew = || site.lb(&["certificate", "renew", "web"]);
    let said = renew().unwrap_or_else(|error| panic!("{error}\n{}", site.log()));
    assert!(
        said.starts_with("service web has a new certificate, valid until "),
        "{said}"
    );
    let first = site.shown_another(NAME, &placeholder);
    assert!(issuer(&first).contains("Pebble"), "{}", issuer(&first));
    assert_eq!(names(&first), ["example.org", "www.example.org"]);

    // The certificate is renewed without a restart.
    renew().unwrap_or_else(|error| panic!("{error}\n{}", site.log()));
    let second = site.shown_another(NAME, &first);
    site.assert_metric(r#"lb_acme_orders_total{service="web",outcome="issued"} 2"#);
    site.assert_metric(r#"lb_acme_orders_total{service="web",outcome="unreachable"} 1"#);
    let list = site.lb(&["certificate", "list"]).expect("listed");
    assert!(list.contains("web.pem"), "{list}");
    let shown = site.lb(&["certificate", "show", "web"]).expect("shown");
    assert!(shown.contains("failure     none"), "{shown}");

    // The agent keeps the certificate over a restart, and orders no other one.
    site.stop_agent();
    site.start_agent();
    assert_eq!(site.shown(NAME), second);
    site.assert_metric(r#"lb_acme_orders_total{service="web",outcome="issued"} 0"#);

    // After a reload with HTTP-01 and one more name, the agent orders a certificate immediately,
    // because the present one lacks that name.
    site.configure(
        "http-01",
        r#""www.example.org", "example.org", "api.example.org""#,
    );
    site.lb(&["reload"]).expect("reloaded");
    let third = site.shown_another(NAME, &second);
    assert_eq!(names(&third).len(), 3, "{:?}", names(&third));

    // The fifth order within an hour is refused, whoever requests it, and the certificate in use
    // stays in use.
    let refused = site
        .lb(&["certificate", "renew", "web"])
        .expect_err("the limit of an hour");
    assert!(
        refused.contains("4 orders began within the last hour"),
        "{refused}"
    );
    assert_eq!(site.shown(NAME), third);

    for file in ["account.json", "certificates/web.pem", "orders/web.json"] {
        let path = site.path("acme/127.0.0.1_14000_dir").join(file);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn http_01_is_answered_next_to_a_redirect() {
    let mut site = Site::raise();
    site.start_pebble();
    let redirect = r#"
            [[service.route]]
            redirect = { to = "https://{host}{path}{query}", status = 308 }"#;
    site.configure_with("http-01", DOMAINS, ("", redirect));
    site.start_agent();
    let placeholder = site.shown(NAME);
    site.shown_another(NAME, &placeholder);
    let answer = site::get("127.0.0.1:80", "/.well-known/acme-challenge/no-such-token");
    assert!(answer.starts_with("HTTP/1.1 30"), "{answer}");
}

#[test]
fn the_old_certificate_stays_while_the_directory_is_down() {
    let mut site = Site::raise();
    site.start_pebble();
    site.configure("http-01", DOMAINS);
    site.start_agent();
    let placeholder = site.shown(NAME);
    let first = site.shown_another(NAME, &placeholder);
    site.stop_pebble();
    let failed = site
        .lb(&["certificate", "renew", "web"])
        .expect_err("no directory");
    assert!(failed.contains("The current one stays"), "{failed}");
    assert_eq!(site.shown(NAME), first);
    let status = site.lb(&["status"]).expect("status");
    assert!(
        status.contains("PROBLEM: service web got no new certificate"),
        "{status}"
    );

    // This pebble is another one, which does not know the agent's account, so the agent creates a
    // new account.
    site.start_pebble();
    site.lb(&["certificate", "renew", "web"])
        .unwrap_or_else(|error| panic!("{error}\n{}", site.log()));
    site.shown_another(NAME, &first);
}
