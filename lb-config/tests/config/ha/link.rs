//! Mistakes in `[ha.link]`, and its absence.

use crate::{BASE, edited, parse, refused};

fn warnings(text: &str) -> Vec<String> {
    let parsed = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    parsed.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_link_without_a_secret_is_refused() {
    refused(
        "secret_file = \"/etc/lb/peer.secret\"\n",
        "",
        r#"
error: [ha.link] has no secret_file
  --> lb.toml:68:1
   |
68 | [ha.link]
   | ^^^^^^^^^
   = help: add it, for example: secret_file = "/etc/lb/peer.secret"
"#,
    );
}

#[test]
fn a_link_on_a_service_s_port_is_refused() {
    refused(
        "secret_file = \"/etc/lb/peer.secret\"",
        "secret_file = \"/etc/lb/peer.secret\"\nport = 443",
        r#"
error: [ha.link] listens on 172.31.0.68:443, as service "https" does
  --> lb.toml:70:8
   |
70 | port = 443
   |        ^^^
   = help: give one of them another address or port; the other is on line 50
"#,
    );
}

#[test]
fn an_admin_page_on_the_link_s_usual_port_is_refused() {
    refused(
        "127.0.0.1:9145",
        "0.0.0.0:9146",
        r#"
error: [ha.link] listens on 172.31.0.68:9146, which overlaps with 0.0.0.0:9146 of [admin]
  --> lb.toml:68:1
   |
68 | [ha.link]
   | ^^^^^^^^^
   = help: give one of them another address or port; the other is on line 6
"#,
    );
}

#[test]
fn a_pair_without_a_link_is_warned_of() {
    let link = "[ha.link]\nsecret_file = \"/etc/lb/peer.secret\"\n";
    let expected = r#"
warning: [ha] has no [ha.link]: adverts are the only path between the hosts
  --> lb.toml:55:1
   |
55 | [ha]
   | ^^^^
   = help: if adverts are lost, both hosts become active; flows, session tickets and drains do not reach the peer: make a secret with `lb peer init` and add [ha.link]
           for keepalived as the peer, which has no link, add advertised_addresses with the address of its virtual_ipaddress
"#;
    assert_eq!(warnings(&edited(link, "")), [expected.trim_matches('\n')]);
    assert_eq!(warnings(BASE), [""; 0]);
}
