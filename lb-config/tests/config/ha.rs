//! Mistakes in `[ha]`, section by section.

mod advert;
mod elastic_ip;
mod link;
mod moving;
mod notify;
mod reload;
mod track;
mod virtual_ip;

use lb_config::Ha;

use super::{parse, refused};

/// The lines of the file `base.toml`, which these tests edit, that say which address moves between
/// the hosts.
const ELASTIC_IP: &str = "[ha.elastic_ip]\nallocation_id = \"eipalloc-0123456789abcdef0\"\n\
                          region = \"me-central-1\"\n";

fn ha(text: &str) -> Ha {
    let parsed = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    parsed.config.ha.expect("[ha]")
}

#[test]
fn a_peer_that_is_this_host_is_refused() {
    refused(
        r#"peer = "172.31.15.233""#,
        r#"peer = "172.31.0.68""#,
        r#"
error: peer and source are the same address, 172.31.0.68
  --> lb.toml:56:8
   |
56 | peer = "172.31.0.68"
   |        ^^^^^^^^^^^^^
   = help: peer is the other host's address, source is this host's
"#,
    );
}

#[test]
fn a_peer_of_another_family_is_refused() {
    refused(
        r#"peer = "172.31.15.233""#,
        r#"peer = "2001:db8::1""#,
        r#"
error: peer is 2001:db8::1 and source is 172.31.0.68: one is IPv4, one is IPv6
  --> lb.toml:56:8
   |
56 | peer = "2001:db8::1"
   |        ^^^^^^^^^^^^^
   = help: write two addresses of the same family
"#,
    );
}

#[test]
fn a_peer_with_a_port_is_refused() {
    refused(
        r#"peer = "172.31.15.233""#,
        r#"peer = "172.31.15.233:112""#,
        r#"
error: peer "172.31.15.233:112" has a port
  --> lb.toml:56:8
   |
56 | peer = "172.31.15.233:112"
   |        ^^^^^^^^^^^^^^^^^^^
   = help: write the address alone: "172.31.15.233"
"#,
    );
}

#[test]
fn a_priority_that_owners_have_is_refused() {
    refused(
        "priority = 110",
        "priority = 255",
        r#"
error: priority 255 is out of range
  --> lb.toml:59:12
   |
59 | priority = 255
   |            ^^^
   = help: it must be a whole number, 1 to 254
"#,
    );
}

#[test]
fn preempt_in_quotes_is_refused() {
    refused(
        "preempt = true",
        r#"preempt = "yes""#,
        r#"
error: preempt is text; it must be: true or false
  --> lb.toml:61:11
   |
61 | preempt = "yes"
   |           ^^^^^
"#,
    );
}

#[test]
fn a_delay_of_what_never_happens_is_refused() {
    refused(
        "preempt = true",
        "preempt = false\npreempt_delay = \"30s\"",
        r#"
error: preempt_delay has no effect with preempt = false
  --> lb.toml:62:17
   |
62 | preempt_delay = "30s"
   |                 ^^^^^
   = help: this host never takes over from an active peer: remove the delay, or write preempt = true
"#,
    );
}

#[test]
fn a_handover_that_takes_minutes_is_refused() {
    refused(
        "version = 3",
        "version = 3\nhandover_timeout = \"2m\"",
        r#"
error: handover_timeout "2m" is too long
  --> lb.toml:63:20
   |
63 | handover_timeout = "2m"
   |                    ^^^^
   = help: 100ms to 30s is allowed
"#,
    );
}

#[test]
fn more_backends_than_a_pool_has_are_refused() {
    refused(
        "version = 3",
        "version = 3\nmin_backends = 3",
        r#"
error: min_backends is 3, but pool "web" has only 2
  --> lb.toml:63:16
   |
63 | min_backends = 3
   |                ^
   = help: the priority would always be lowered: write at most 2
"#,
    );
}
