//! Tests of `[dataplane]`.

use std::net::Ipv4Addr;

use super::{edited, parse, refused};

#[test]
fn pins_outside_the_bpf_file_system_are_refused() {
    refused(
        r#""/sys/fs/bpf/lb""#,
        r#""/var/lib/lb""#,
        r#"
error: pin_path "/var/lib/lb" is not under /sys/fs/bpf
  --> lb.toml:10:12
   |
10 | pin_path = "/var/lib/lb"
   |            ^^^^^^^^^^^^^
   = help: pins can only be in the BPF file system: write, for example, "/sys/fs/bpf/lb"
"#,
    );
}

#[test]
fn pins_that_climb_out_of_the_bpf_file_system_are_refused() {
    refused(
        r#""/sys/fs/bpf/lb""#,
        r#""/sys/fs/bpf/../lb""#,
        r#"
error: pin_path "/sys/fs/bpf/../lb" contains ..
  --> lb.toml:10:12
   |
10 | pin_path = "/sys/fs/bpf/../lb"
   |            ^^^^^^^^^^^^^^^^^^^
   = help: pins can only be in the BPF file system: write, for example, "/sys/fs/bpf/lb"
"#,
    );
}

#[test]
fn pins_in_the_root_of_the_bpf_file_system_are_refused() {
    refused(
        r#""/sys/fs/bpf/lb""#,
        r#""/sys/fs/bpf/""#,
        r#"
error: pin_path "/sys/fs/bpf/" is the root of the BPF file system, which other programs use too
  --> lb.toml:10:12
   |
10 | pin_path = "/sys/fs/bpf/"
   |            ^^^^^^^^^^^^^^
   = help: write a folder of lb's own: "/sys/fs/bpf/lb"
"#,
    );
}

#[test]
fn pins_with_a_dot_are_refused() {
    refused(
        r#""/sys/fs/bpf/lb""#,
        r#""/sys/fs/bpf/lb.1""#,
        r#"
error: pin_path "/sys/fs/bpf/lb.1" contains a dot, which the BPF file system does not allow
  --> lb.toml:10:12
   |
10 | pin_path = "/sys/fs/bpf/lb.1"
   |            ^^^^^^^^^^^^^^^^^^
   = help: pins can only be in the BPF file system: write, for example, "/sys/fs/bpf/lb"
"#,
    );
}

#[test]
fn too_few_flows_are_refused() {
    refused(
        "250000",
        "1023",
        r#"
error: max_connections 1023 is out of range
  --> lb.toml:11:19
   |
11 | max_connections = 1023
   |                   ^^^^
   = help: it must be a whole number, 1,024 to 4,000,000
"#,
    );
}

#[test]
fn too_many_flows_are_refused() {
    refused(
        "250000",
        "4_000_001",
        r#"
error: max_connections 4000001 is out of range
  --> lb.toml:11:19
   |
11 | max_connections = 4_000_001
   |                   ^^^^^^^^^
   = help: it must be a whole number, 1,024 to 4,000,000
"#,
    );
}

#[test]
fn a_number_larger_than_any_integer_is_refused() {
    refused(
        "250000",
        "99999999999999999999999999999999999999999999",
        r#"
error: max_connections 99999999999999999999999999999999999999999999 is out of range
  --> lb.toml:11:19
   |
11 | max_connections = 99999999999999999999999999999999999999999999
   |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: it must be a whole number, 1,024 to 4,000,000
"#,
    );
}

#[test]
fn a_number_in_quotes_is_refused() {
    refused(
        "250000",
        r#""250000""#,
        r#"
error: max_connections is text; it must be a whole number, 1,024 to 4,000,000
  --> lb.toml:11:19
   |
11 | max_connections = "250000"
   |                   ^^^^^^^^
   = help: write it without quotes: 250000
"#,
    );
}

#[test]
fn a_number_with_a_point_is_refused() {
    refused(
        "250000",
        "250000.0",
        r#"
error: max_connections is a decimal number; it must be: a whole number, 1,024 to 4,000,000
  --> lb.toml:11:19
   |
11 | max_connections = 250000.0
   |                   ^^^^^^^^
"#,
    );
}

#[test]
fn source_ports_that_end_before_they_begin_are_refused() {
    refused(
        "10240-32767",
        "32767-10240",
        r#"
error: source_ports "32767-10240" ends before it begins
  --> lb.toml:12:16
   |
12 | source_ports = "32767-10240"
   |                ^^^^^^^^^^^^^
   = help: write "10240-32767"
"#,
    );
}

#[test]
fn source_ports_that_belong_to_services_are_refused() {
    refused(
        "10240-32767",
        "80-32767",
        r#"
error: source_ports "80-32767" begins below 1024
  --> lb.toml:12:16
   |
12 | source_ports = "80-32767"
   |                ^^^^^^^^^^
   = help: ports below 1024 are for services: begin at 1024 or above
"#,
    );
}

#[test]
fn source_ports_that_are_too_few_are_refused() {
    refused(
        "10240-32767",
        "10240-10300",
        r#"
error: source_ports "10240-10300" has too few ports: 61
  --> lb.toml:12:16
   |
12 | source_ports = "10240-10300"
   |                ^^^^^^^^^^^^^
   = help: every connection to a backend holds one: write 1024 ports or more, such as "10240-32767"
"#,
    );
}

#[test]
fn source_ports_that_are_no_range_are_refused() {
    refused(
        "10240-32767",
        "10240",
        r#"
error: source_ports "10240" is not a range of ports
  --> lb.toml:12:16
   |
12 | source_ports = "10240"
   |                ^^^^^^^
   = help: write a range such as "10240-32767"
"#,
    );
}

#[test]
fn a_choice_with_a_slip_is_refused() {
    refused(
        r#""auto""#,
        r#""natve""#,
        r#"
error: xdp_mode cannot be "natve"
  --> lb.toml:13:12
   |
13 | xdp_mode = "natve"
   |            ^^^^^^^
   = help: did you mean "native"? Allowed: "auto", "native" or "generic"
"#,
    );
}

#[test]
fn a_choice_that_is_another_word_is_refused() {
    refused(
        r#""auto""#,
        r#""offload""#,
        r#"
error: xdp_mode cannot be "offload"
  --> lb.toml:13:12
   |
13 | xdp_mode = "offload"
   |            ^^^^^^^^^
   = help: allowed: "auto", "native" or "generic"
"#,
    );
}

#[test]
fn source_addresses_are_read_in_their_order() {
    let ports = "source_ports = \"10240-32767\"";
    let given = format!("{ports}\nsource_addresses = [\"172.31.0.72\", \"172.31.0.71\"]");
    let read = |text: &str| {
        let parsed = parse(text).expect("it is valid");
        parsed.config.dataplane.source_addresses
    };
    let expected = [Ipv4Addr::new(172, 31, 0, 72), Ipv4Addr::new(172, 31, 0, 71)];
    assert_eq!(read(&edited(ports, &given)), expected);
    assert!(read(super::BASE).is_empty());
}

#[test]
fn everything_wrong_with_source_addresses_is_said_at_once() {
    refused(
        "xdp_mode = \"auto\"",
        "source_addresses = [\"224.0.0.18\", \"2001:db8::1\", \"10.9.0.1\", \"10.9.0.1\", \"172.31.0.68\"]",
        r#"
error: source address "224.0.0.18" is not the address of one host
  --> lb.toml:13:21
   |
13 | source_addresses = ["224.0.0.18", "2001:db8::1", "10.9.0.1", "10.9.0.1", "172.31.0.68"]
   |                     ^^^^^^^^^^^^
   = help: write an address that this host has on a network interface

error: source address "2001:db8::1" is an IPv6 address
  --> lb.toml:13:35
   |
13 | source_addresses = ["224.0.0.18", "2001:db8::1", "10.9.0.1", "10.9.0.1", "172.31.0.68"]
   |                                   ^^^^^^^^^^^^^
   = help: an IPv4 address is needed, such as "172.31.0.68"

error: duplicate source address "10.9.0.1" in this list
  --> lb.toml:13:62
   |
13 | source_addresses = ["224.0.0.18", "2001:db8::1", "10.9.0.1", "10.9.0.1", "172.31.0.68"]
   |                                                              ^^^^^^^^^^
   = help: the first is on line 13

error: source address "172.31.0.68" is also the listen address of a service
  --> lb.toml:13:74
   |
13 | source_addresses = ["224.0.0.18", "2001:db8::1", "10.9.0.1", "10.9.0.1", "172.31.0.68"]
   |                                                                          ^^^^^^^^^^^^^
   = help: that service already connects to its backends from this address: use a different one; the service is on line 43
"#,
    );
}

#[test]
fn more_source_addresses_than_there_is_room_for_are_refused() {
    refused(
        "xdp_mode = \"auto\"",
        "source_addresses = [\"10.9.0.1\", \"10.9.0.2\", \"10.9.0.3\", \"10.9.0.4\", \"10.9.0.5\", \
         \"10.9.0.6\", \"10.9.0.7\", \"10.9.0.8\", \"10.9.0.9\"]",
        r#"
error: source_addresses has 9 entries
  --> lb.toml:13:20
   |
13 | source_addresses = ["10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6", "10.9.0.7", "10.9.0.8", "10.9.0.9"]
   |                    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: at most 8 are allowed, in addition to the addresses of the services
"#,
    );
}
