//! Mistakes in `[ha.elastic_ip]`.

use crate::refused;

#[test]
fn an_allocation_that_is_an_address_is_refused() {
    refused(
        r#""eipalloc-0123456789abcdef0""#,
        r#""3.28.247.74""#,
        r#"
error: allocation_id "3.28.247.74" is not eipalloc- and 17 hexadecimal digits
  --> lb.toml:65:17
   |
65 | allocation_id = "3.28.247.74"
   |                 ^^^^^^^^^^^^^
   = help: write an ID such as "eipalloc-0123456789abcdef0"
"#,
    );
}

#[test]
fn a_zone_for_a_region_is_refused() {
    refused(
        r#""me-central-1""#,
        r#""me-central-1a""#,
        r#"
error: region "me-central-1a" is not a region
  --> lb.toml:66:10
   |
66 | region = "me-central-1a"
   |          ^^^^^^^^^^^^^^^
   = help: write a region such as "me-central-1", not one of its availability zones
"#,
    );
}

#[test]
fn an_endpoint_without_a_scheme_is_refused() {
    refused(
        r#"region = "me-central-1""#,
        "region = \"me-central-1\"\nendpoint = \"127.0.0.1:5000\"",
        r#"
error: endpoint "127.0.0.1:5000" is not an http or https URL
  --> lb.toml:67:12
   |
67 | endpoint = "127.0.0.1:5000"
   |            ^^^^^^^^^^^^^^^^
   = help: write a URL such as "https://ec2.me-central-1.amazonaws.com"
"#,
    );
}

#[test]
fn an_interface_id_that_is_an_instance_is_refused() {
    refused(
        r#"region = "me-central-1""#,
        "region = \"me-central-1\"\nnetwork_interface_id = \"i-010d3d18ec00cd116\"",
        r#"
error: network_interface_id "i-010d3d18ec00cd116" is not eni- and 17 hexadecimal digits
  --> lb.toml:67:24
   |
67 | network_interface_id = "i-010d3d18ec00cd116"
   |                        ^^^^^^^^^^^^^^^^^^^^^
   = help: write an ID such as "eni-0123456789abcdef0"
"#,
    );
}

#[test]
fn a_private_address_of_ipv6_is_refused() {
    refused(
        r#"region = "me-central-1""#,
        "region = \"me-central-1\"\nprivate_ip = \"2001:db8::1\"",
        r#"
error: private_ip "2001:db8::1" is an IPv6 address
  --> lb.toml:67:14
   |
67 | private_ip = "2001:db8::1"
   |              ^^^^^^^^^^^^^
   = help: an IPv4 address is needed, such as "172.31.0.68"
"#,
    );
}

#[test]
fn an_elastic_ip_and_a_private_address_that_is_not_named_are_refused() {
    refused(
        r#"region = "me-central-1""#,
        "region = \"me-central-1\"\nmoves_private_ip = true",
        r#"
error: moves_private_ip is true, but there is no private_ip
  --> lb.toml:67:20
   |
67 | moves_private_ip = true
   |                    ^^^^
   = help: name the secondary private address that moves, the same on both hosts: private_ip = "172.31.0.200"
"#,
    );
}

#[test]
fn a_private_address_that_moves_is_not_the_peer_s() {
    refused(
        r#"region = "me-central-1""#,
        "region = \"me-central-1\"\nmoves_private_ip = true\nprivate_ip = \"172.31.15.233\"",
        r#"
error: private_ip "172.31.15.233" is the same address as peer
  --> lb.toml:68:14
   |
68 | private_ip = "172.31.15.233"
   |              ^^^^^^^^^^^^^^^
   = help: the hosts exchange adverts between `source` and `peer`, so neither may move: use a different address
"#,
    );
}
