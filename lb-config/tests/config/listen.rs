//! The addresses that services and the agent listen on.

use super::refused;

#[test]
fn one_listener_for_two_services_is_refused() {
    refused(
        r#""172.31.0.68:443""#,
        r#""172.31.0.68:80""#,
        r#"
error: service "https" listens on 172.31.0.68:80, as service "http" does
  --> lb.toml:50:10
   |
50 | listen = "172.31.0.68:80"
   |          ^^^^^^^^^^^^^^^^
   = help: give one of them another address or port; the other is on line 43
"#,
    );
}

#[test]
fn a_wildcard_over_another_service_is_refused() {
    refused(
        r#""172.31.0.68:443""#,
        r#""0.0.0.0:80""#,
        r#"
error: service "https" listens on 0.0.0.0:80, which overlaps with 172.31.0.68:80 of service "http"
  --> lb.toml:50:10
   |
50 | listen = "0.0.0.0:80"
   |          ^^^^^^^^^^^^
   = help: give one of them another address or port; the other is on line 43
"#,
    );
}

#[test]
fn the_admin_listener_in_the_way_is_refused() {
    refused(
        r#""172.31.0.68:443""#,
        r#""127.0.0.1:9145""#,
        r#"
error: service "https" listens on 127.0.0.1:9145, as [admin] does
  --> lb.toml:50:10
   |
50 | listen = "127.0.0.1:9145"
   |          ^^^^^^^^^^^^^^^^
   = help: give one of them another address or port; the other is on line 6
"#,
    );
}

#[test]
fn the_admin_listener_under_a_wildcard_is_refused() {
    refused(
        r#""172.31.0.68:443""#,
        r#""0.0.0.0:9145""#,
        r#"
error: service "https" listens on 0.0.0.0:9145, which overlaps with 127.0.0.1:9145 of [admin]
  --> lb.toml:50:10
   |
50 | listen = "0.0.0.0:9145"
   |          ^^^^^^^^^^^^^^
   = help: give one of them another address or port; the other is on line 6
"#,
    );
}

#[test]
fn a_wildcard_for_a_tcp_service_is_refused() {
    refused(
        r#""172.31.0.68:80""#,
        r#""0.0.0.0:80""#,
        r#"
error: service "http" has mode "tcp" and listens on a wildcard address
  --> lb.toml:43:10
   |
43 | listen = "0.0.0.0:80"
   |          ^^^^^^^^^^^^
   = help: the kernel finds a service by the destination address of packets: write that address
"#,
    );
}

#[test]
fn loopback_for_a_tcp_service_is_refused() {
    refused(
        r#""172.31.0.68:80""#,
        r#""127.0.0.1:80""#,
        r#"
error: service "http" has mode "tcp" and listens on loopback
  --> lb.toml:43:10
   |
43 | listen = "127.0.0.1:80"
   |          ^^^^^^^^^^^^^^
   = help: the kernel steers packets from the network: write an address of this host
"#,
    );
}

#[test]
fn ipv6_for_a_tcp_service_is_refused() {
    refused(
        r#""172.31.0.68:80""#,
        r#""[2001:db8::68]:80""#,
        r#"
error: service "http" listens on IPv6, but this version of lb steers only IPv4 in the kernel
  --> lb.toml:43:10
   |
43 | listen = "[2001:db8::68]:80"
   |          ^^^^^^^^^^^^^^^^^^^
   = help: write an IPv4 address, or let the agent serve it with mode = "http" or "https"
"#,
    );
}

#[test]
fn a_multicast_listener_is_refused() {
    refused(
        r#""172.31.0.68:443""#,
        r#""224.0.0.18:443""#,
        r#"
error: listen "224.0.0.18:443" is a multicast or broadcast address, which nothing can listen on
  --> lb.toml:50:10
   |
50 | listen = "224.0.0.18:443"
   |          ^^^^^^^^^^^^^^^^
   = help: write an address of this host, or 0.0.0.0 for all its IPv4 addresses
"#,
    );
}
