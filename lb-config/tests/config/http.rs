//! Mistakes in `[http]`, and in durations and lists as values of its keys.

use super::refused;

#[test]
fn no_workers_are_refused() {
    refused(
        "workers = 2",
        "workers = 0",
        r#"
error: workers 0 is out of range
  --> lb.toml:16:11
   |
16 | workers = 0
   |           ^
   = help: it must be a whole number, 1 to 1,024
"#,
    );
}

#[test]
fn a_bare_number_for_a_duration_is_refused() {
    refused(
        r#"timeouts.head = "10s""#,
        "timeouts.head = 10",
        r#"
error: head 10 has no unit
  --> lb.toml:17:17
   |
17 | timeouts.head = 10
   |                 ^^
   = help: write "10s" for seconds or "10ms" for milliseconds
"#,
    );
}

#[test]
fn a_duration_without_a_unit_is_refused() {
    refused(
        r#"timeouts.head = "10s""#,
        r#"timeouts.head = "10""#,
        r#"
error: head "10" is not a duration
  --> lb.toml:17:17
   |
17 | timeouts.head = "10"
   |                 ^^^^
   = help: give it a unit: "10s" for seconds or "10ms" for milliseconds
"#,
    );
}

#[test]
fn a_duration_that_cannot_be_read_is_refused() {
    refused(
        r#"timeouts.head = "10s""#,
        r#"timeouts.head = "1.5s""#,
        r#"
error: head "1.5s" is not a duration
  --> lb.toml:17:17
   |
17 | timeouts.head = "1.5s"
   |                 ^^^^^^
   = help: write whole numbers with h, m, s or ms, the largest unit first: "2s", "100ms", "1m30s"
"#,
    );
}

#[test]
fn a_duration_of_nothing_is_refused() {
    refused(
        r#"timeouts.head = "10s""#,
        r#"timeouts.head = "0s""#,
        r#"
error: head "0s" is too short
  --> lb.toml:17:17
   |
17 | timeouts.head = "0s"
   |                 ^^^^
   = help: 1ms to 24h is allowed
"#,
    );
}

#[test]
fn a_duration_of_days_is_refused() {
    refused(
        r#"timeouts.head = "10s""#,
        r#"timeouts.head = "48h""#,
        r#"
error: head "48h" is too long
  --> lb.toml:17:17
   |
17 | timeouts.head = "48h"
   |                 ^^^^^
   = help: 1ms to 24h is allowed
"#,
    );
}

#[test]
fn a_duration_that_is_a_list_is_refused() {
    refused(
        r#"timeouts.head = "10s""#,
        r#"timeouts.head = ["10s"]"#,
        r#"
error: head is a list; it must be: a duration, 1ms to 24h
  --> lb.toml:17:17
   |
17 | timeouts.head = ["10s"]
   |                 ^^^^^^^
"#,
    );
}

#[test]
fn a_proxy_that_is_a_network_is_refused() {
    refused(
        r#"["192.0.2.1"]"#,
        r#"["192.0.2.0/24"]"#,
        r#"
error: proxy address "192.0.2.0/24" has a prefix
  --> lb.toml:18:20
   |
18 | trusted_proxies = ["192.0.2.0/24"]
   |                    ^^^^^^^^^^^^^^
   = help: write single addresses: networks are not supported here
"#,
    );
}

#[test]
fn a_proxy_with_a_port_is_refused() {
    refused(
        r#"["192.0.2.1"]"#,
        r#"["192.0.2.1:80"]"#,
        r#"
error: proxy address "192.0.2.1:80" has a port
  --> lb.toml:18:20
   |
18 | trusted_proxies = ["192.0.2.1:80"]
   |                    ^^^^^^^^^^^^^^
   = help: write the address alone: "192.0.2.1"
"#,
    );
}

#[test]
fn a_proxy_that_is_not_in_a_list_is_refused() {
    refused(
        r#"["192.0.2.1"]"#,
        r#""192.0.2.1""#,
        r#"
error: trusted_proxies is text; it must be a list
  --> lb.toml:18:19
   |
18 | trusted_proxies = "192.0.2.1"
   |                   ^^^^^^^^^^^
   = help: write it in brackets: trusted_proxies = ["192.0.2.1"]
"#,
    );
}

#[test]
fn every_bad_item_of_a_list_is_refused() {
    refused(
        r#"["192.0.2.1"]"#,
        r#"["one", "192.0.2.1", "two"]"#,
        r#"
error: proxy address "one" is not an IP address
  --> lb.toml:18:20
   |
18 | trusted_proxies = ["one", "192.0.2.1", "two"]
   |                    ^^^^^
   = help: write an address such as "172.31.0.68" or "2001:db8::6"

error: proxy address "two" is not an IP address
  --> lb.toml:18:40
   |
18 | trusted_proxies = ["one", "192.0.2.1", "two"]
   |                                        ^^^^^
   = help: write an address such as "172.31.0.68" or "2001:db8::6"
"#,
    );
}

#[test]
fn a_key_of_another_section_is_refused() {
    refused(
        "workers = 2",
        "workers = 2\npin_path = 4096",
        r#"
error: unknown key "pin_path" in [http]
  --> lb.toml:17:1
   |
17 | pin_path = 4096
   | ^^^^^^^^
   = help: pin_path belongs in [dataplane]
           known keys: workers, drain_timeout, max_header_bytes, max_connections, max_connections_per_client, connection_buffer_bytes, buffer_bytes, idle_connections, trusted_proxies, timeouts
"#,
    );
}
