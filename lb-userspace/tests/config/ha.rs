//! Mistakes in `[ha]`.

use super::refused;

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
   = help: write both of one family
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
   = help: version 3 has it in steps of 10ms, at most 40s950ms
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
   = help: version 3 has it in steps of 10ms, at most 40s950ms
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
   = help: version 2 has it in whole seconds: write "1s", or version = 3 if the peer can
"#,
    );
}

#[test]
fn nothing_that_moves_is_refused() {
    refused(
        "\n[ha.elastic_ip]\nallocation_id = \"eipalloc-0123456789abcdef0\"\nregion = \"me-central-1\"\n",
        "",
        r#"
error: [ha] has nothing that moves to the active host
  --> lb.toml:55:1
   |
55 | [ha]
   | ^^^^
   = help: add [ha.elastic_ip] on AWS, or [ha.virtual_ip] on a network of your own
"#,
    );
}

#[test]
fn two_things_that_move_are_refused() {
    refused(
        "[ha.elastic_ip]",
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\"]\n\n[ha.elastic_ip]",
        r#"
error: [ha] has both [ha.elastic_ip] and [ha.virtual_ip]
  --> lb.toml:64:1
   |
64 | [ha.virtual_ip]
   | ^^^^^^^^^^^^^^^
   = help: on AWS keep elastic_ip, on a network of your own keep virtual_ip
"#,
    );
}

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
   = help: it looks like "eipalloc-0123456789abcdef0"
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
   = help: it looks like "me-central-1": a region, not one of its zones
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
   = help: it looks like "https://ec2.me-central-1.amazonaws.com"
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
   = help: it looks like "eni-0123456789abcdef0"
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
fn no_virtual_addresses_are_refused() {
    refused(
        "[ha.elastic_ip]\nallocation_id = \"eipalloc-0123456789abcdef0\"\nregion = \"me-central-1\"\n",
        "[ha.virtual_ip]\naddresses = []\n",
        r#"
error: [ha.virtual_ip] has no addresses
  --> lb.toml:65:13
   |
65 | addresses = []
   |             ^^
   = help: add at least one: addresses = ["172.31.0.200/20"]
"#,
    );
}

#[test]
fn a_virtual_address_without_a_prefix_is_refused() {
    refused(
        "[ha.elastic_ip]\nallocation_id = \"eipalloc-0123456789abcdef0\"\nregion = \"me-central-1\"\n",
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200\"]\n",
        r#"
error: virtual address "172.31.0.200" has no prefix
  --> lb.toml:65:14
   |
65 | addresses = ["172.31.0.200"]
   |              ^^^^^^^^^^^^^^
   = help: write an address and its prefix: "172.31.0.200/20"
"#,
    );
}

#[test]
fn a_virtual_address_with_a_prefix_that_is_too_long_is_refused() {
    refused(
        "[ha.elastic_ip]\nallocation_id = \"eipalloc-0123456789abcdef0\"\nregion = \"me-central-1\"\n",
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200/33\"]\n",
        r#"
error: virtual address "172.31.0.200/33" has a prefix that is not 1 to 32
  --> lb.toml:65:14
   |
65 | addresses = ["172.31.0.200/33"]
   |              ^^^^^^^^^^^^^^^^^
   = help: write an address and its prefix: "172.31.0.200/20"
"#,
    );
}

#[test]
fn a_virtual_address_twice_is_refused() {
    refused(
        "[ha.elastic_ip]\nallocation_id = \"eipalloc-0123456789abcdef0\"\nregion = \"me-central-1\"\n",
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\", \"172.31.0.200/24\"]\n",
        r#"
error: virtual address "172.31.0.200" stands twice in this list
  --> lb.toml:65:33
   |
65 | addresses = ["172.31.0.200/20", "172.31.0.200/24"]
   |                                 ^^^^^^^^^^^^^^^^^
   = help: the first is in line 65
"#,
    );
}

#[test]
fn a_virtual_address_of_another_family_is_refused() {
    refused(
        "[ha.elastic_ip]\nallocation_id = \"eipalloc-0123456789abcdef0\"\nregion = \"me-central-1\"\n",
        "[ha.virtual_ip]\naddresses = [\"2001:db8::200/64\"]\n",
        r#"
error: virtual address "2001:db8::200" is not of the family of source, 172.31.0.68
  --> lb.toml:65:14
   |
65 | addresses = ["2001:db8::200/64"]
   |              ^^^^^^^^^^^^^^^^^^
   = help: adverts carry addresses of their own family only
"#,
    );
}
