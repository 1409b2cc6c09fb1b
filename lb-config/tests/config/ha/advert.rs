//! Mistakes in the keys of `[ha]` about adverts.

use crate::{edited, refused, refused_text};

#[test]
fn virtual_router_0_is_refused() {
    refused(
        "virtual_router_id = 41",
        "virtual_router_id = 0",
        r#"
error: virtual_router_id 0 is out of range
  --> lb.toml:58:21
   |
58 | virtual_router_id = 0
   |                     ^
   = help: it must be a whole number, 1 to 255
"#,
    );
}

#[test]
fn a_version_that_is_not_there_is_refused() {
    refused(
        "version = 3",
        "version = 4",
        r#"
error: version 4 is out of range
  --> lb.toml:62:11
   |
62 | version = 4
   |           ^
   = help: it must be a whole number, 2 to 3
"#,
    );
}

#[test]
fn an_interval_between_two_steps_is_refused() {
    refused(
        r#""100ms""#,
        r#""105ms""#,
        r#"
error: advert_interval 105ms cannot be carried by an advert
  --> lb.toml:60:19
   |
60 | advert_interval = "105ms"
   |                   ^^^^^^^
   = help: version 3 allows steps of 10ms, at most 40s950ms
"#,
    );
}

#[test]
fn an_interval_longer_than_version_3_can_say_is_refused() {
    refused(
        r#""100ms""#,
        r#""1m""#,
        r#"
error: advert_interval 1m cannot be carried by an advert
  --> lb.toml:60:19
   |
60 | advert_interval = "1m"
   |                   ^^^^
   = help: version 3 allows steps of 10ms, at most 40s950ms
"#,
    );
}

#[test]
fn tenths_of_seconds_in_version_2_are_refused() {
    refused(
        "version = 3",
        "version = 2",
        r#"
error: advert_interval 100ms cannot be carried by an advert
  --> lb.toml:60:19
   |
60 | advert_interval = "100ms"
   |                   ^^^^^^^
   = help: version 2 allows whole seconds: write "1s", or version = 3 if the peer supports it
"#,
    );
}

#[test]
fn a_password_in_version_3_is_refused() {
    refused(
        "version = 3",
        "version = 3\npassword = \"s3cret\"",
        r#"
error: version 3 of VRRP has no password
  --> lb.toml:63:12
   |
63 | password = "s3cret"
   |            ^^^^^^^^
   = help: write hmac_key_file in place of password, or version = 2
"#,
    );
}

#[test]
fn a_password_that_an_advert_cannot_carry_is_refused() {
    let version_2 = edited("version = 3", "version = 2\npassword = \"much too long\"");
    refused_text(
        &version_2.replace("\"100ms\"", "\"1s\""),
        r#"
error: password "much too long" is 13 bytes long
  --> lb.toml:63:12
   |
63 | password = "much too long"
   |            ^^^^^^^^^^^^^^^
   = help: write the same 1 to 8 characters on both hosts
"#,
    );
}

#[test]
fn two_kinds_of_authentication_are_refused() {
    let text = edited(
        "version = 3",
        "version = 2\npassword = \"s3cret\"\nhmac_key_file = \"/etc/lb/vrrp.key\"",
    );
    refused_text(
        &text.replace("\"100ms\"", "\"1s\""),
        r#"
error: [ha] has both password and hmac_key_file
  --> lb.toml:64:17
   |
64 | hmac_key_file = "/etc/lb/vrrp.key"
   |                 ^^^^^^^^^^^^^^^^^^
   = help: keep one of them
"#,
    );
}

#[test]
fn a_transport_that_is_not_there_is_refused() {
    refused(
        "version = 3",
        "version = 3\ntransport = \"broadcast\"",
        r#"
error: transport cannot be "broadcast"
  --> lb.toml:63:13
   |
63 | transport = "broadcast"
   |             ^^^^^^^^^^^
   = help: allowed: "unicast" or "multicast"
"#,
    );
}

#[test]
fn an_advertised_address_of_another_family_is_refused() {
    refused(
        "version = 3",
        "version = 3\nadvertised_addresses = [\"172.31.0.200\", \"2001:db8::1\"]",
        r#"
error: advertised address "2001:db8::1" is not of the same family as source, 172.31.0.68
  --> lb.toml:63:41
   |
63 | advertised_addresses = ["172.31.0.200", "2001:db8::1"]
   |                                         ^^^^^^^^^^^^^
   = help: an advert has addresses of its own family only
"#,
    );
}

#[test]
fn more_addresses_than_an_advert_carries_are_refused() {
    let many: Vec<_> = (1..=65).map(|last| format!("\"10.0.9.{last}\"")).collect();
    let text = edited(
        "version = 3",
        &format!(
            "version = 3\nadvertised_addresses = [\n{}]",
            many.join(",\n")
        ),
    );
    refused_text(
        &text,
        r#"
error: 65 addresses do not fit into an advert
  --> lb.toml:63:24
   |
63 | advertised_addresses = [
   |                        ^
   = help: at most 64 are allowed, so that an advert fits the MTU of every network
"#,
    );
}

#[test]
fn a_checksum_of_version_3_in_version_2_is_refused() {
    let text = edited(
        "version = 3",
        "version = 2\nchecksum_without_pseudo_header = true",
    );
    refused_text(
        &text.replace("\"100ms\"", "\"1s\""),
        r#"
error: the checksum of version 2 never has a pseudo-header
  --> lb.toml:63:34
   |
63 | checksum_without_pseudo_header = true
   |                                  ^^^^
   = help: remove checksum_without_pseudo_header: it is for version 3 over IPv4
"#,
    );
}
