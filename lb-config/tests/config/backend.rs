//! Mistakes in the backends of a pool: `backends` and `[[pool.backend]]`.

use super::refused;

#[test]
fn a_backend_without_a_port_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#""10.0.0.6""#,
        r#"
error: backend address "10.0.0.6" has no port
  --> lb.toml:24:13
   |
24 | backends = ["10.0.0.6", "10.0.0.7:80"]
   |             ^^^^^^^^^^
   = help: write "10.0.0.6:80"
"#,
    );
}

#[test]
fn an_ipv6_backend_without_a_port_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#""2001:db8::6""#,
        r#"
error: backend address "2001:db8::6" has no port
  --> lb.toml:24:13
   |
24 | backends = ["2001:db8::6", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^^
   = help: write "[2001:db8::6]:80"
"#,
    );
}

#[test]
fn a_backend_by_its_name_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#""web1.internal:80""#,
        r#"
error: backend address "web1.internal:80" has a host name in place of an IP address
  --> lb.toml:24:13
   |
24 | backends = ["web1.internal:80", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^^^^^^^
   = help: write an IP address and a port: "10.0.0.6:80", or "[2001:db8::6]:80"; or let the agent resolve the name: dns in [pool.discover]
"#,
    );
}

#[test]
fn a_backend_by_its_url_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#""http://10.0.0.6""#,
        r#"
error: backend address "http://10.0.0.6" is not an address and a port
  --> lb.toml:24:13
   |
24 | backends = ["http://10.0.0.6", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^^^^^^
   = help: write an IP address and a port: "10.0.0.6:80", or "[2001:db8::6]:80"
"#,
    );
}

#[test]
fn an_address_with_a_number_over_255_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#""10.0.0.256:80""#,
        r#"
error: backend address "10.0.0.256:80" is not an IP address
  --> lb.toml:24:13
   |
24 | backends = ["10.0.0.256:80", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^^^^
   = help: an IPv4 address is four numbers of 0 to 255; write an IP address and a port: "10.0.0.6:80", or "[2001:db8::6]:80"
"#,
    );
}

#[test]
fn a_port_over_65535_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#""10.0.0.6:65536""#,
        r#"
error: backend address "10.0.0.6:65536" has the invalid port "65536"
  --> lb.toml:24:13
   |
24 | backends = ["10.0.0.6:65536", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^^^^^
   = help: a port is 1 to 65535: write, for example, "10.0.0.6:80"
"#,
    );
}

#[test]
fn port_0_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#""10.0.0.6:0""#,
        r#"
error: backend address "10.0.0.6:0" has port 0
  --> lb.toml:24:13
   |
24 | backends = ["10.0.0.6:0", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^
   = help: a port is 1 to 65535
"#,
    );
}

#[test]
fn a_backend_with_only_a_port_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#"":80""#,
        r#"
error: backend address ":80" has no address
  --> lb.toml:24:13
   |
24 | backends = [":80", "10.0.0.7:80"]
   |             ^^^^^
   = help: write an IP address and a port: "10.0.0.6:80", or "[2001:db8::6]:80"
"#,
    );
}

#[test]
fn a_wildcard_for_a_backend_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#""0.0.0.0:80""#,
        r#"
error: backend address "0.0.0.0:80" is not the address of one host
  --> lb.toml:24:13
   |
24 | backends = ["0.0.0.0:80", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^
   = help: write the address that the backend itself has, such as "10.0.0.6:80"
"#,
    );
}

#[test]
fn a_multicast_backend_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#""224.0.0.1:80""#,
        r#"
error: backend address "224.0.0.1:80" is not the address of one host
  --> lb.toml:24:13
   |
24 | backends = ["224.0.0.1:80", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^^^
   = help: write the address that the backend itself has, such as "10.0.0.6:80"
"#,
    );
}

#[test]
fn a_link_local_backend_is_refused() {
    refused(
        r#""10.0.1.6:8080""#,
        r#""[fe80::1%2]:8080""#,
        r#"
error: address "[fe80::1%2]:8080" has a zone
  --> lb.toml:34:11
   |
34 | address = "[fe80::1%2]:8080"
   |           ^^^^^^^^^^^^^^^^^^
   = help: link-local addresses are not supported: write a global or a private one
"#,
    );
}

#[test]
fn an_ipv4_address_in_ipv6_dress_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        r#""[::ffff:10.0.0.6]:80""#,
        r#"
error: backend address "[::ffff:10.0.0.6]:80" is an IPv4-mapped IPv6 address
  --> lb.toml:24:13
   |
24 | backends = ["[::ffff:10.0.0.6]:80", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^^^^^^^^^^^
   = help: write "10.0.0.6:80"
"#,
    );
}

#[test]
fn a_backend_that_is_a_number_is_refused() {
    refused(
        r#""10.0.0.6:80""#,
        "80",
        r#"
error: backend address is a whole number; it must be text: "IP:PORT"
  --> lb.toml:24:13
   |
24 | backends = [80, "10.0.0.7:80"]
   |             ^^
   = help: write it in quotes: "80"
"#,
    );
}

#[test]
fn two_backends_of_one_address_are_refused() {
    refused(
        r#""10.0.0.7:80""#,
        r#""10.0.0.6:80""#,
        r#"
error: duplicate backend address "10.0.0.6:80" in this pool
  --> lb.toml:24:28
   |
24 | backends = ["10.0.0.6:80", "10.0.0.6:80"]
   |                            ^^^^^^^^^^^^^
   = help: the first is on line 24
"#,
    );
}

#[test]
fn two_backends_of_one_name_are_refused() {
    refused(
        r#""app2""#,
        r#""app1""#,
        r#"
error: duplicate backend "app1" in this pool
  --> lb.toml:38:8
   |
38 | name = "app1"
   |        ^^^^^^
   = help: the first is on line 33
"#,
    );
}

#[test]
fn a_backend_without_an_address_is_refused() {
    refused(
        "address = \"10.0.1.7:8080\"\n",
        "\n",
        r#"
error: backend "app2" has no address
  --> lb.toml:37:1
   |
37 | [[pool.backend]]
   | ^^^^^^^^^^^^^^^^
   = help: add it, for example: address = "10.0.0.6:80"
"#,
    );
}

#[test]
fn a_name_that_looks_like_an_address_is_refused() {
    refused(
        r#""app2""#,
        r#""10.0.1.7:8080""#,
        r#"
error: name "10.0.1.7:8080" has the character ':'
  --> lb.toml:38:8
   |
38 | name = "10.0.1.7:8080"
   |        ^^^^^^^^^^^^^^^
   = help: a name is 1 to 63 of a-z A-Z 0-9 . _ -
"#,
    );
}

#[test]
fn a_weight_of_0_is_refused() {
    refused(
        "weight = 2",
        "weight = 0",
        r#"
error: weight 0 is out of range
  --> lb.toml:35:10
   |
35 | weight = 0
   |          ^
   = help: it must be a whole number, 1 to 256
"#,
    );
}

#[test]
fn a_weight_over_256_is_refused() {
    refused(
        "weight = 2",
        "weight = 257",
        r#"
error: weight 257 is out of range
  --> lb.toml:35:10
   |
35 | weight = 257
   |          ^^^
   = help: it must be a whole number, 1 to 256
"#,
    );
}

#[test]
fn a_negative_weight_is_refused() {
    refused(
        "weight = 2",
        "weight = -1",
        r#"
error: weight -1 is out of range
  --> lb.toml:35:10
   |
35 | weight = -1
   |          ^^
   = help: it must be a whole number, 1 to 256
"#,
    );
}

#[test]
fn a_weight_in_quotes_is_refused() {
    refused(
        "weight = 2",
        r#"weight = "2""#,
        r#"
error: weight is text; it must be a whole number, 1 to 256
  --> lb.toml:35:10
   |
35 | weight = "2"
   |          ^^^
   = help: write it without quotes: 2
"#,
    );
}
