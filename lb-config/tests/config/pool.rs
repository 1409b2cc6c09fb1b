//! Mistakes in `[[pool]]` and what is in it.

use lb_config::WhenAllDown;

use super::{edited, parse, refused};

#[test]
fn a_pool_without_a_name_is_refused() {
    refused(
        "name = \"web\"\n",
        "\n",
        r#"
error: [[pool]] has no name
  --> lb.toml:20:1
   |
20 | [[pool]]
   | ^^^^^^^^
   = help: add to it, for example: name = "web"
"#,
    );
}

#[test]
fn two_pools_of_one_name_are_refused() {
    refused(
        "name = \"app\"\n",
        "name = \"web\"\n",
        r#"
error: pool "web" stands twice in this file
  --> lb.toml:27:8
   |
27 | name = "web"
   |        ^^^^^
   = help: the first is in line 21

error: there is no pool "app"
  --> lb.toml:52:8
   |
52 | pool = "app"
   |        ^^^^^
   = help: the pools of this file: web
"#,
    );
}

#[test]
fn retries_are_at_most_three() {
    let retries = |text: &str| parse(text).expect("it is valid").config.pools[0].retries;
    assert_eq!(retries(super::BASE), 3);
    for number in 0..=3 {
        let given = format!("balance = \"round_robin\"\nretries = {number}");
        assert_eq!(
            retries(&edited("balance = \"round_robin\"", &given)),
            number
        );
    }
    refused(
        "balance = \"round_robin\"",
        "retries = 4",
        r#"
error: retries 4 is out of range
  --> lb.toml:22:11
   |
22 | retries = 4
   |           ^
   = help: it must be a whole number, 0 to 3
"#,
    );
}

#[test]
fn what_becomes_of_new_connections_when_all_are_down_is_one_of_two_words() {
    let pool = |text: &str| {
        let parsed = parse(text).expect("it is valid");
        parsed.config.pools[0].when_all_down
    };
    assert_eq!(pool(super::BASE), WhenAllDown::TryAll);
    let refusing = "balance = \"round_robin\"\nwhen_all_down = \"refuse\"";
    let text = edited("balance = \"round_robin\"", refusing);
    assert_eq!(pool(&text), WhenAllDown::Refuse);
    refused(
        "balance = \"round_robin\"",
        "when_all_down = \"try-all\"",
        r#"
error: when_all_down cannot be "try-all"
  --> lb.toml:22:17
   |
22 | when_all_down = "try-all"
   |                 ^^^^^^^^^
   = help: did you mean "try_all"? Allowed: "try_all" or "refuse"
"#,
    );
}

#[test]
fn a_balance_with_a_slip_is_refused() {
    refused(
        r#""round_robin""#,
        r#""roundrobin""#,
        r#"
error: balance cannot be "roundrobin"
  --> lb.toml:22:11
   |
22 | balance = "roundrobin"
   |           ^^^^^^^^^^^^
   = help: did you mean "round_robin"? Allowed: "round_robin", "least_connections", "random_two", "source", "maglev" or "hash"
"#,
    );
}

#[test]
fn a_pool_without_backends_is_refused() {
    refused(
        "backends = [\"10.0.0.6:80\", \"10.0.0.7:80\"]\n",
        "\n",
        r#"
error: pool "web" has no backends
  --> lb.toml:20:1
   |
20 | [[pool]]
   | ^^^^^^^^
   = help: add at least one: backends = ["10.0.0.6:80"]
"#,
    );
}

#[test]
fn an_empty_list_of_backends_is_refused() {
    refused(
        r#"["10.0.0.6:80", "10.0.0.7:80"]"#,
        "[]",
        r#"
error: pool "web" has no backends
  --> lb.toml:24:1
   |
24 | backends = []
   | ^^^^^^^^^^^^^
   = help: add at least one: backends = ["10.0.0.6:80"]
"#,
    );
}

#[test]
fn backends_given_twice_over_are_refused() {
    refused(
        "name = \"app\"\n",
        "name = \"app\"\nbackends = [\"10.0.1.8:8080\"]\n",
        r#"
error: pool "app" has both backends and [[pool.backend]]
  --> lb.toml:28:1
   |
28 | backends = ["10.0.1.8:8080"]
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: keep one of them: put every backend in a [[pool.backend]], or in the list
"#,
    );
}

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
error: backend address "web1.internal:80" has a name where an IP address must stand
  --> lb.toml:24:13
   |
24 | backends = ["web1.internal:80", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^^^^^^^
   = help: lb looks no names up, so that it does not depend on DNS; write an IP address and a port: "10.0.0.6:80", or "[2001:db8::6]:80"
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
error: backend address "10.0.0.6:65536" has "65536" for a port
  --> lb.toml:24:13
   |
24 | backends = ["10.0.0.6:65536", "10.0.0.7:80"]
   |             ^^^^^^^^^^^^^^^^
   = help: a port is 1 to 65535: "10.0.0.6:80", say
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
error: backend address "[::ffff:10.0.0.6]:80" is an IPv4 address in IPv6 dress
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
error: backend address "10.0.0.6:80" stands twice in this pool
  --> lb.toml:24:28
   |
24 | backends = ["10.0.0.6:80", "10.0.0.6:80"]
   |                            ^^^^^^^^^^^^^
   = help: the first is in line 24
"#,
    );
}

#[test]
fn two_backends_of_one_name_are_refused() {
    refused(
        r#""app2""#,
        r#""app1""#,
        r#"
error: backend "app1" stands twice in this pool
  --> lb.toml:38:8
   |
38 | name = "app1"
   |        ^^^^^^
   = help: the first is in line 33
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
   = help: add to it, for example: address = "10.0.0.6:80"
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

#[test]
fn a_check_without_a_type_is_refused() {
    refused(
        r#"type = "http", "#,
        "",
        r#"
error: [pool.check] has no type
  --> lb.toml:23:9
   |
23 | check = { path = "/", interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: add to it, for example: type = "http"
"#,
    );
}

#[test]
fn a_check_of_no_known_type_is_refused() {
    refused(
        r#"type = "http""#,
        r#"type = "https""#,
        r#"
error: type cannot be "https"
  --> lb.toml:23:18
   |
23 | check = { type = "https", path = "/", interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |                  ^^^^^^^
   = help: did you mean "http"? Allowed: "tcp" or "http"
"#,
    );
}

#[test]
fn a_check_that_is_not_a_table_is_refused() {
    refused(
        r#"{ type = "http", path = "/", interval = "2s", timeout = "1s", rise = 2, fall = 3 }"#,
        r#""http""#,
        r#"
error: check is text; it must be: a table, [pool.check]
  --> lb.toml:23:9
   |
23 | check = "http"
   |         ^^^^^^
"#,
    );
}

#[test]
fn a_check_with_a_slip_is_refused() {
    refused(
        r#"timeout = "1s""#,
        r#"time_out = "1s""#,
        r#"
error: [pool.check] has no key "time_out"
  --> lb.toml:23:55
   |
23 | check = { type = "http", path = "/", interval = "2s", time_out = "1s", rise = 2, fall = 3 }
   |                                                       ^^^^^^^^
   = help: did you mean timeout?
           allowed here: type, path, host, expect, interval, timeout, rise, fall
"#,
    );
}

#[test]
fn a_path_that_is_a_url_is_refused() {
    refused(
        r#"path = "/""#,
        r#"path = "http://example.com/""#,
        r#"
error: path "http://example.com/" does not begin with /
  --> lb.toml:23:33
   |
23 | check = { type = "http", path = "http://example.com/", interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |                                 ^^^^^^^^^^^^^^^^^^^^^
   = help: write the path alone: "/healthz", say; `host` sets the Host header
"#,
    );
}

#[test]
fn a_path_with_a_space_is_refused() {
    refused(
        r#"path = "/""#,
        r#"path = "/health check""#,
        r#"
error: path "/health check" cannot stand in a request
  --> lb.toml:23:33
   |
23 | check = { type = "http", path = "/health check", interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |                                 ^^^^^^^^^^^^^^^
   = help: a request carries printable ASCII without spaces and #: write others as %XX
"#,
    );
}

#[test]
fn a_tcp_check_with_a_path_is_refused() {
    refused(
        r#"type = "tcp""#,
        "type = \"tcp\"\npath = \"/\"",
        r#"
error: a check of type "tcp" has no path
  --> lb.toml:31:1
   |
31 | path = "/"
   | ^^^^^^^^^^
   = help: it only connects: leave path out, or write type = "http"
"#,
    );
}

#[test]
fn a_timeout_longer_than_the_interval_is_refused() {
    refused(
        r#"timeout = "1s""#,
        r#"timeout = "2s500ms""#,
        r#"
error: timeout 2s500ms is longer than the interval, 2s
  --> lb.toml:23:65
   |
23 | check = { type = "http", path = "/", interval = "2s", timeout = "2s500ms", rise = 2, fall = 3 }
   |                                                                 ^^^^^^^^^
   = help: a check must have ended before the next one begins: shorten the timeout or lengthen the interval
"#,
    );
}

#[test]
fn no_rise_is_refused() {
    refused(
        "rise = 2",
        "rise = 0",
        r#"
error: rise 0 is out of range
  --> lb.toml:23:78
   |
23 | check = { type = "http", path = "/", interval = "2s", timeout = "1s", rise = 0, fall = 3 }
   |                                                                              ^
   = help: it must be a whole number, 1 to 1,000
"#,
    );
}

#[test]
fn no_fall_is_refused() {
    refused(
        "fall = 3",
        "fall = 0",
        r#"
error: fall 0 is out of range
  --> lb.toml:23:88
   |
23 | check = { type = "http", path = "/", interval = "2s", timeout = "1s", rise = 2, fall = 0 }
   |                                                                                        ^
   = help: it must be a whole number, 1 to 1,000
"#,
    );
}

#[test]
fn a_host_with_a_path_is_refused() {
    refused(
        r#"path = "/""#,
        r#"host = "example.com/health""#,
        r#"
error: host "example.com/health" cannot be a Host header
  --> lb.toml:23:33
   |
23 | check = { type = "http", host = "example.com/health", interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |                                 ^^^^^^^^^^^^^^^^^^^^
   = help: write a name, with a port where needed: "example.com", "example.com:8080"
"#,
    );
}

#[test]
fn statuses_in_a_list_are_refused() {
    refused(
        r#"path = "/""#,
        "expect = [200, 204]",
        r#"
error: expect is a list; it must be: a status or "FROM-TO", 200 to 599
  --> lb.toml:23:35
   |
23 | check = { type = "http", expect = [200, 204], interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |                                   ^^^^^^^^^^
"#,
    );
}

#[test]
fn statuses_that_end_before_they_begin_are_refused() {
    refused(
        r#"path = "/""#,
        r#"expect = "399-200""#,
        r#"
error: expect "399-200" ends before it begins
  --> lb.toml:23:35
   |
23 | check = { type = "http", expect = "399-200", interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |                                   ^^^^^^^^^
   = help: write "200-399"
"#,
    );
}

#[test]
fn a_status_that_ends_no_request_is_refused() {
    refused(
        r#"path = "/""#,
        "expect = 100",
        r#"
error: expect "100" is not within 200 to 599
  --> lb.toml:23:35
   |
23 | check = { type = "http", expect = 100, interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |                                   ^^^
   = help: write a status such as 200, or a range such as "200-399"
"#,
    );
}

#[test]
fn a_status_in_words_is_refused() {
    refused(
        r#"path = "/""#,
        r#"expect = "ok""#,
        r#"
error: expect "ok" is not a status or a range of them
  --> lb.toml:23:35
   |
23 | check = { type = "http", expect = "ok", interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |                                   ^^^^
   = help: write a status such as 200, or a range such as "200-399"
"#,
    );
}
