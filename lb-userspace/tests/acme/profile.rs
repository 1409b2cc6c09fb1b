//! Tests of orders with a certificate profile, an ACME extension by which clients choose a kind of
//! certificate.

use super::{DOMAINS, directory, site::Site};

#[test]
fn a_profile_is_ordered_where_the_directory_offers_it() {
    let mut site = Site::raise();
    let orders = directory::start(&site.path("ca.pem"), &site.path("pebble.key"));
    let key = "profile = \"sixdays\"";
    site.configure_with("tls-alpn-01", DOMAINS, (key, ""));
    site.start_agent();
    let renew = |site: &Site| {
        let renewed = site.lb(&["certificate", "renew", "web"]);
        renewed.expect_err("no order is taken")
    };
    let said = renew(&site);
    let expected = "the directory does not offer the profile \"sixdays\": it offers classic, \
                    shortlived; write one of them in `acme.profile`, or leave that out";
    assert!(said.contains(expected), "{said}");
    assert!(orders.taken().is_empty(), "{:?}", orders.taken());

    let key = "profile = \"shortlived\"";
    site.configure_with("tls-alpn-01", DOMAINS, (key, ""));
    site.lb(&["reload"]).expect("reloaded");
    let said = renew(&site);
    assert!(said.contains("no order is taken here"), "{said}");
    let taken = orders.taken();
    assert!(!taken.is_empty());
    assert!(
        taken.iter().all(|order| order["profile"] == "shortlived"),
        "{taken:?}"
    );
}

#[test]
fn a_directory_without_profiles_is_said() {
    let mut site = Site::raise();
    site.start_pebble();
    let key = "profile = \"shortlived\"";
    site.configure_with("tls-alpn-01", DOMAINS, (key, ""));
    site.start_agent();
    let renewed = site.lb(&["certificate", "renew", "web"]);
    let said = renewed.expect_err("it has no profiles");
    assert!(
        said.contains("it offers none; leave `acme.profile` out"),
        "{said}"
    );
}
