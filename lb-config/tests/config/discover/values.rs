//! Values that keys of `[pool.discover]` cannot have.

use super::{super::parse, discovered, file, refused};

#[test]
fn an_address_in_place_of_a_name_is_refused() {
    refused(
        "dns = \"10.0.0.6\"\nport = 80",
        r#"
error: dns "10.0.0.6" is an address, not a name
 --> lb.toml:9:7
  |
9 | dns = "10.0.0.6"
  |       ^^^^^^^^^^
  = help: list addresses in backends
"#,
    );
    refused(
        "dns = \"[2001:db8::6]:80\"\nport = 80",
        r#"
error: dns "[2001:db8::6]:80" is an address, not a name
 --> lb.toml:9:7
  |
9 | dns = "[2001:db8::6]:80"
  |       ^^^^^^^^^^^^^^^^^^
  = help: list addresses in backends
"#,
    );
}

#[test]
fn a_url_in_place_of_a_name_is_refused() {
    refused(
        "dns = \"http://web.example.org\"\nport = 80",
        r#"
error: dns "http://web.example.org" is a URL, not a name
 --> lb.toml:9:7
  |
9 | dns = "http://web.example.org"
  |       ^^^^^^^^^^^^^^^^^^^^^^^^
  = help: write a full name, such as "web.internal.example.org"
"#,
    );
}

#[test]
fn a_name_with_a_port_in_it_is_refused() {
    refused(
        "dns = \"web.example.org:80\"",
        r#"
error: dns "web.example.org:80" has a port
 --> lb.toml:9:7
  |
9 | dns = "web.example.org:80"
  |       ^^^^^^^^^^^^^^^^^^^^
  = help: write "web.example.org", and port = 80
"#,
    );
    refused(
        "srv = \"_http._tcp.example.org:80\"",
        r#"
error: srv "_http._tcp.example.org:80" has a port
 --> lb.toml:9:7
  |
9 | srv = "_http._tcp.example.org:80"
  |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: write "_http._tcp.example.org": the records have the ports
"#,
    );
}

#[test]
fn texts_that_are_no_name_in_dns_are_refused() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert_eq!(longest.len(), 253);
    discovered(&format!("dns = \"{longest}.\"\nport = 80"));
    for name in [
        "",
        ".",
        "web..example.org",
        ".example.org",
        "-web.example.org",
        "web-.example.org",
        "web server",
        "wéb.example.org",
        "web.example.org:http",
        "10.0.0.256",
        "*.example.org",
    ] {
        refused(
            &format!("dns = \"{name}\"\nport = 80"),
            &format!(
                "error: dns {name:?} is not a name in DNS\n --> lb.toml:9:7\n  |\n\
                 9 | dns = \"{name}\"\n  |       {}\n  = help: write a full name, such as \
                 \"web.internal.example.org\"",
                "^".repeat(name.chars().count() + 2)
            ),
        );
    }
    for name in [format!("a{longest}"), format!("a{label}.example.org")] {
        let text = file("tcp", &format!("dns = \"{name}\"\nport = 80"));
        let errors = parse(&text).expect_err("it is too long");
        let messages = errors.diagnostics().iter().map(|error| &*error.message);
        let messages: Vec<_> = messages.collect();
        assert!(
            matches!(&*messages, [one] if one.ends_with(" is not a name in DNS")),
            "{messages:?}"
        );
    }
}

#[test]
fn wrong_name_servers_are_refused() {
    refused(
        "dns = \"web\"\nport = 80\nnameservers = [\"ns1.example.org\", \"10.0.0.2:0\", \"0.0.0.0\", \"224.0.0.1\"]",
        r#"
error: name server "ns1.example.org" is not an IP address
  --> lb.toml:11:16
   |
11 | nameservers = ["ns1.example.org", "10.0.0.2:0", "0.0.0.0", "224.0.0.1"]
   |                ^^^^^^^^^^^^^^^^^
   = help: write the address of a DNS server, such as "10.0.0.2"

error: name server "10.0.0.2:0" is not the address of one server
  --> lb.toml:11:35
   |
11 | nameservers = ["ns1.example.org", "10.0.0.2:0", "0.0.0.0", "224.0.0.1"]
   |                                   ^^^^^^^^^^^^
   = help: write the address of a DNS server, such as "10.0.0.2"

error: name server "0.0.0.0" is not the address of one server
  --> lb.toml:11:49
   |
11 | nameservers = ["ns1.example.org", "10.0.0.2:0", "0.0.0.0", "224.0.0.1"]
   |                                                 ^^^^^^^^^
   = help: write the address of a DNS server, such as "10.0.0.2"

error: name server "224.0.0.1" is not the address of one server
  --> lb.toml:11:60
   |
11 | nameservers = ["ns1.example.org", "10.0.0.2:0", "0.0.0.0", "224.0.0.1"]
   |                                                            ^^^^^^^^^^^
   = help: write the address of a DNS server, such as "10.0.0.2"
"#,
    );
    refused(
        "srv = \"web\"\nnameservers = []",
        r#"
error: nameservers is empty
  --> lb.toml:10:15
   |
10 | nameservers = []
   |               ^^
   = help: name at least one, or remove the key to use those of /etc/resolv.conf
"#,
    );
}

#[test]
fn tags_without_a_tag_or_with_wildcards_are_refused() {
    refused(
        "ec2_tags = {}\nport = 80",
        r#"
error: ec2_tags is empty
 --> lb.toml:9:12
  |
9 | ec2_tags = {}
  |            ^^
  = help: without a tag every instance of the account would be a backend: write, for example, ec2_tags = { Role = "web" }
"#,
    );
    refused(
        "ec2_tags = { Role = \"web*\", \"we?\" = \"\" }\nport = 80",
        r#"
error: the value of Role "web*" has a wildcard
 --> lb.toml:9:21
  |
9 | ec2_tags = { Role = "web*", "we?" = "" }
  |                     ^^^^^^
  = help: write the whole name or value: wildcards are not supported

error: tag "we?" has a wildcard
 --> lb.toml:9:29
  |
9 | ec2_tags = { Role = "web*", "we?" = "" }
  |                             ^^^^^
  = help: write the whole name or value: wildcards are not supported

error: the value of we? "" is not a name of AWS
 --> lb.toml:9:37
  |
9 | ec2_tags = { Role = "web*", "we?" = "" }
  |                                     ^^
  = help: AWS allows 1 to 255 characters, and no control characters
"#,
    );
    refused(
        "auto_scaling_group = \"web-*\"\nport = 80",
        r#"
error: auto_scaling_group "web-*" has a wildcard
 --> lb.toml:9:22
  |
9 | auto_scaling_group = "web-*"
  |                      ^^^^^^^
  = help: write the whole name or value: wildcards are not supported
"#,
    );
}

#[test]
fn names_of_aws_have_a_length() {
    let group = |length| format!("auto_scaling_group = \"{}\"\nport = 80", "a".repeat(length));
    discovered(&group(255));
    for length in [0, 256] {
        let errors = parse(&file("tcp", &group(length))).expect_err("AWS has no such name");
        let [error] = errors.diagnostics() else {
            panic!("{errors}");
        };
        assert!(error.message.ends_with(" is not a name of AWS"), "{error}");
        let hint = "AWS allows 1 to 255 characters, and no control characters";
        assert_eq!(error.hint.as_deref(), Some(hint));
    }
}

#[test]
fn port_0_is_refused() {
    refused(
        "dns = \"web\"\nport = 0",
        r#"
error: port 0 is out of range
  --> lb.toml:10:8
   |
10 | port = 0
   |        ^
   = help: it must be a whole number, 1 to 65,535
"#,
    );
}

#[test]
fn times_have_bounds() {
    refused(
        "file = \"/run/web\"\ninterval = \"999ms\"\ndrain = \"25h\"",
        r#"
error: interval "999ms" is too short
  --> lb.toml:10:12
   |
10 | interval = "999ms"
   |            ^^^^^^^
   = help: 1s to 1h is allowed

error: drain "25h" is too long
  --> lb.toml:11:9
   |
11 | drain = "25h"
   |         ^^^^^
   = help: 0s to 24h is allowed
"#,
    );
}
