//! Tests of the challenge DNS-01, with a command that sets records at the DNS server that pebble
//! queries.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{issuer, names, site::Site};

/// The body of a shell script that sets and removes DNS records through the management interface of
/// pebble-challtestsrv.
const SET: &str = r#"
case $1 in
present) curl -sf -d "{\"host\":\"$2\",\"value\":\"$3\"}" http://127.0.0.1:8055/set-txt ;;
cleanup) curl -sf -d "{\"host\":\"$2\"}" http://127.0.0.1:8055/clear-txt ;;
esac
"#;

fn install(site: &Site, script: &str) {
    let log = site.path("calls.log");
    let text = format!(
        "#!/bin/sh\necho \"$1 $2 $CERTBOT_DOMAIN\" >>{}\n{script}",
        log.display()
    );
    site.write("dns-record", &text);
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(site.path("dns-record"), executable).expect("executable");
}

fn calls(site: &Site) -> Vec<String> {
    let text = fs::read_to_string(site.path("calls.log")).unwrap_or_default();
    fs::write(site.path("calls.log"), "").expect("emptied");
    let mut calls: Vec<_> = text.lines().map(str::to_owned).collect();
    calls.sort();
    calls
}

#[test]
fn a_wildcard_is_validated_by_records_that_a_command_sets_and_removes() {
    let mut site = Site::raise();
    site.start_pebble();
    install(&site, SET);
    let keys = format!(
        "dns_command = [\"{}\"]\ndns_propagation = \"0s\"\ndns_timeout = \"2s\"",
        site.path("dns-record").display()
    );
    site.configure_with("dns-01", r#""*.example.org", "example.org""#, (&keys, ""));
    site.start_agent();
    let name = "some.example.org";
    let placeholder = site.shown(name);
    let first = site.shown_another(name, &placeholder);
    assert!(issuer(&first).contains("Pebble"), "{}", issuer(&first));
    assert_eq!(names(&first), ["*.example.org", "example.org"]);
    let cleanup = "cleanup _acme-challenge.example.org. example.org";
    let present = "present _acme-challenge.example.org. example.org";
    assert_eq!(calls(&site), [cleanup, cleanup, present, present]);

    // If the command that sets DNS records fails, the error contains its output, and records that
    // it may have set are removed.
    install(
        &site,
        "[ $1 = cleanup ] || { echo 'there is no such zone'; exit 3; }\n",
    );
    let renew = || site.lb(&["certificate", "renew", "web"]);
    let failed = renew().expect_err("the command fails");
    let expected = "dns_command could not set the record _acme-challenge.example.org.: exit status: \
                    3: there is no such zone. The current one stays";
    assert!(failed.contains(expected), "{failed}");
    assert_eq!(calls(&site), [cleanup, present]);

    install(
        &site,
        "[ $1 = cleanup ] || { echo 'a moment'; sleep 60; }\n",
    );
    let failed = renew().expect_err("the command hangs");
    let expected = "it was still running after 2s and was killed: a moment";
    assert!(failed.contains(expected), "{failed}");
    assert_eq!(site.shown(name), first);

    // If the command exits with success but sets no DNS record, validation fails.
    install(&site, "exit 0\n");
    let failed = renew().expect_err("no record");
    assert!(failed.contains("No TXT records found"), "{failed}");
}
