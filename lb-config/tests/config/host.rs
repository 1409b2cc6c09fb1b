//! Mistakes in `[node]`, `[admin]`, `[dataplane]` and `[http]`, and in values of any section.

use std::net::Ipv4Addr;

use super::{edited, parse, refused};

#[test]
fn a_name_with_a_space_is_refused() {
    refused(
        r#"name = "lb-a""#,
        r#"name = "lb a""#,
        r#"
error: name "lb a" has the character ' '
 --> lb.toml:2:8
  |
2 | name = "lb a"
  |        ^^^^^^
  = help: a name is 1 to 63 of a-z A-Z 0-9 . _ -
"#,
    );
}

#[test]
fn an_empty_name_is_refused() {
    refused(
        r#"name = "lb-a""#,
        r#"name = """#,
        r#"
error: name "" is empty
 --> lb.toml:2:8
  |
2 | name = ""
  |        ^^
  = help: a name is 1 to 63 of a-z A-Z 0-9 . _ -
"#,
    );
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    refused(
        r#"name = "lb-a""#,
        r#"name = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx""#,
        r#"
error: name "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"… is 64 bytes long
 --> lb.toml:2:8
  |
2 | name = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: a name is 1 to 63 of a-z A-Z 0-9 . _ -
"#,
    );
}

#[test]
fn a_key_that_is_missing_is_refused() {
    refused(
        "interface = \"eth0\"\n",
        "\n",
        r#"
error: [node] has no interface
 --> lb.toml:1:1
  |
1 | [node]
  | ^^^^^^
  = help: add to it, for example: interface = "eth0"
"#,
    );
}

#[test]
fn an_interface_that_is_too_long_is_refused() {
    refused(
        r#""eth0""#,
        r#""enp0s31f6-uplink""#,
        r#"
error: interface "enp0s31f6-uplink" is 16 bytes long; the kernel allows 15
 --> lb.toml:3:13
  |
3 | interface = "enp0s31f6-uplink"
  |             ^^^^^^^^^^^^^^^^^^
  = help: `ip link` lists the interfaces of this host
"#,
    );
}

#[test]
fn an_interface_with_a_character_that_none_has_is_refused() {
    refused(
        r#""eth0""#,
        r#""eth0/1""#,
        r#"
error: interface "eth0/1" has the character '/', which no interface has
 --> lb.toml:3:13
  |
3 | interface = "eth0/1"
  |             ^^^^^^^^
  = help: `ip link` lists the interfaces of this host
"#,
    );
}

#[test]
fn one_interface_and_a_list_of_them_are_refused() {
    refused(
        "interface = \"eth0\"\n",
        "interface = \"eth0\"\ninterfaces = [\"eth0\", \"eth1\"]\n",
        r#"
error: [node] has both interface and interfaces
 --> lb.toml:4:1
  |
4 | interfaces = ["eth0", "eth1"]
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: keep one of them: every interface stands in the list, the clients' first
"#,
    );
}

#[test]
fn an_interface_that_stands_twice_is_refused() {
    refused(
        "interface = \"eth0\"\n",
        "interfaces = [\n  \"eth0\",\n  \"eth1\",\n  \"eth0\",\n]\n",
        r#"
error: interface "eth0" stands twice in this list
 --> lb.toml:6:3
  |
6 |   "eth0",
  |   ^^^^^^
  = help: the first is in line 4
"#,
    );
}

#[test]
fn an_empty_list_of_interfaces_is_refused() {
    refused(
        "interface = \"eth0\"\n",
        "interfaces = []\n",
        r#"
error: interfaces is empty
 --> lb.toml:3:14
  |
3 | interfaces = []
  |              ^^
  = help: name at least one: interfaces = ["eth0"]
"#,
    );
}

#[test]
fn a_single_interface_in_the_place_of_the_list_is_refused() {
    refused(
        "interface = \"eth0\"\n",
        "interfaces = \"eth0\"\n",
        r#"
error: interfaces is text; it must be a list
 --> lb.toml:3:14
  |
3 | interfaces = "eth0"
  |              ^^^^^^
  = help: write it in brackets: interfaces = ["eth0"]
"#,
    );
}

#[test]
fn every_bad_interface_of_a_list_is_refused() {
    refused(
        "interface = \"eth0\"\n",
        "interfaces = [\"eth0\", \"eth/1\", 2]\n",
        r#"
error: interface "eth/1" has the character '/', which no interface has
 --> lb.toml:3:23
  |
3 | interfaces = ["eth0", "eth/1", 2]
  |                       ^^^^^^^
  = help: `ip link` lists the interfaces of this host

error: interface is a whole number; it must be text: name of an interface, at most 15 bytes
 --> lb.toml:3:32
  |
3 | interfaces = ["eth0", "eth/1", 2]
  |                                ^
  = help: write it in quotes: "2"
"#,
    );
}

#[test]
fn more_interfaces_than_the_program_takes_are_refused() {
    let names: Vec<String> = (0..65).map(|number| format!("\"e{number}\"")).collect();
    let list = format!("interfaces = [\n{}\n]\n", names.join(",\n"));
    refused(
        "interface = \"eth0\"\n",
        &list,
        r#"
error: interfaces has 65 entries
 --> lb.toml:3:14
  |
3 | interfaces = [
  |              ^
  = help: the XDP program can be attached to 64
"#,
    );
}

#[test]
fn a_key_with_a_slip_is_refused() {
    refused(
        r#"interface = "eth0""#,
        "interfase = \"eth0\"\ninterface = \"eth0\"",
        r#"
error: [node] has no key "interfase"
 --> lb.toml:3:1
  |
3 | interfase = "eth0"
  | ^^^^^^^^^
  = help: did you mean interface?
          allowed here: name, interface, interfaces
"#,
    );
}

#[test]
fn an_admin_listener_without_a_port_is_refused() {
    refused(
        r#""127.0.0.1:9145""#,
        r#""127.0.0.1""#,
        r#"
error: listen "127.0.0.1" has no port
 --> lb.toml:6:10
  |
6 | listen = "127.0.0.1"
  |          ^^^^^^^^^^^
  = help: write "127.0.0.1:9145"
"#,
    );
}

#[test]
fn an_admin_listener_without_an_address_is_refused() {
    refused(
        r#""127.0.0.1:9145""#,
        r#"":9145""#,
        r#"
error: listen ":9145" has no address
 --> lb.toml:6:10
  |
6 | listen = ":9145"
  |          ^^^^^^^
  = help: write "0.0.0.0:9145" for every IPv4 address, or one address
"#,
    );
}

#[test]
fn a_socket_that_is_not_a_whole_path_is_refused() {
    refused(
        r#""/run/lb/lb.sock""#,
        r#""lb.sock""#,
        r#"
error: socket "lb.sock" does not begin with /
 --> lb.toml:7:10
  |
7 | socket = "lb.sock"
  |          ^^^^^^^^^
  = help: write the whole path: the agent is not started in a folder of yours
"#,
    );
}

#[test]
fn a_socket_path_that_the_kernel_cannot_hold_is_refused() {
    refused(
        r#""/run/lb/lb.sock""#,
        r#""/run/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/lb.sock""#,
        r#"
error: socket "/run/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"… is 113 bytes long
 --> lb.toml:7:10
  |
7 | socket = "/run/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/lb.sock"
  |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: the kernel allows 107 for a Unix socket
"#,
    );
}

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
   = help: only the BPF file system holds pins: "/sys/fs/bpf/lb", say
"#,
    );
}

#[test]
fn pins_that_climb_out_of_the_bpf_file_system_are_refused() {
    refused(
        r#""/sys/fs/bpf/lb""#,
        r#""/sys/fs/bpf/../lb""#,
        r#"
error: pin_path "/sys/fs/bpf/../lb" has .. in it
  --> lb.toml:10:12
   |
10 | pin_path = "/sys/fs/bpf/../lb"
   |            ^^^^^^^^^^^^^^^^^^^
   = help: only the BPF file system holds pins: "/sys/fs/bpf/lb", say
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
   = help: write a folder of its own: "/sys/fs/bpf/lb"
"#,
    );
}

#[test]
fn pins_with_a_dot_are_refused() {
    refused(
        r#""/sys/fs/bpf/lb""#,
        r#""/sys/fs/bpf/lb.1""#,
        r#"
error: pin_path "/sys/fs/bpf/lb.1" has a dot in it, which the BPF file system does not allow
  --> lb.toml:10:12
   |
10 | pin_path = "/sys/fs/bpf/lb.1"
   |            ^^^^^^^^^^^^^^^^^^
   = help: only the BPF file system holds pins: "/sys/fs/bpf/lb", say
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
error: max_connections is a number with a point; it must be: a whole number, 1,024 to 4,000,000
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
   = help: the ports below 1024 belong to services: begin at 1024 or above
"#,
    );
}

#[test]
fn source_ports_that_are_too_few_are_refused() {
    refused(
        "10240-32767",
        "10240-10300",
        r#"
error: source_ports "10240-10300" has only 61 ports
  --> lb.toml:12:16
   |
12 | source_ports = "10240-10300"
   |                ^^^^^^^^^^^^^
   = help: every connection to a backend holds one: give it 1024 or more, "10240-32767", say
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
   = help: write "10240-32767", say
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
   = help: write whole numbers with h, m, s or ms, the longest first: "2s", "100ms", "1m30s"
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
   = help: write it as in "172.31.0.68" or "2001:db8::6"

error: proxy address "two" is not an IP address
  --> lb.toml:18:40
   |
18 | trusted_proxies = ["one", "192.0.2.1", "two"]
   |                                        ^^^^^
   = help: write it as in "172.31.0.68" or "2001:db8::6"
"#,
    );
}

#[test]
fn a_key_of_another_section_is_refused() {
    refused(
        "workers = 2",
        "workers = 2\npin_path = 4096",
        r#"
error: [http] has no key "pin_path"
  --> lb.toml:17:1
   |
17 | pin_path = 4096
   | ^^^^^^^^
   = help: pin_path belongs in [dataplane]
           allowed here: workers, drain_timeout, max_header_bytes, max_connections, max_connections_per_client, connection_buffer_bytes, buffer_bytes, idle_connections, trusted_proxies, timeouts
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

error: source address "10.9.0.1" stands twice in this list
  --> lb.toml:13:62
   |
13 | source_addresses = ["224.0.0.18", "2001:db8::1", "10.9.0.1", "10.9.0.1", "172.31.0.68"]
   |                                                              ^^^^^^^^^^
   = help: the first is in line 13

error: source address "172.31.0.68" is one that a service listens on
  --> lb.toml:13:74
   |
13 | source_addresses = ["224.0.0.18", "2001:db8::1", "10.9.0.1", "10.9.0.1", "172.31.0.68"]
   |                                                                          ^^^^^^^^^^^^^
   = help: backends see the service's own address anyway: write another; the service is in line 43
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
   = help: there is room for 8, besides the addresses of the services
"#,
    );
}
