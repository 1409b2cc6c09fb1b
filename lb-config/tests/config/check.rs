//! Mistakes in `[pool.check]`.

use super::refused;

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
   = help: add it, for example: type = "http"
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
error: unknown key "time_out" in [pool.check]
  --> lb.toml:23:55
   |
23 | check = { type = "http", path = "/", interval = "2s", time_out = "1s", rise = 2, fall = 3 }
   |                                                       ^^^^^^^^
   = help: did you mean timeout?
           known keys: type, path, host, expect, interval, timeout, rise, fall
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
   = help: write the path only, such as "/healthz"; `host` sets the Host header
"#,
    );
}

#[test]
fn a_path_with_a_space_is_refused() {
    refused(
        r#"path = "/""#,
        r#"path = "/health check""#,
        r#"
error: path "/health check" is not allowed in a request
  --> lb.toml:23:33
   |
23 | check = { type = "http", path = "/health check", interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |                                 ^^^^^^^^^^^^^^^
   = help: requests have printable ASCII without spaces and #: write other characters as %XX
"#,
    );
}

#[test]
fn a_tcp_check_with_a_path_is_refused() {
    refused(
        r#"type = "tcp""#,
        "type = \"tcp\"\npath = \"/\"",
        r#"
error: a check of type "tcp" cannot have path
  --> lb.toml:31:1
   |
31 | path = "/"
   | ^^^^^^^^^^
   = help: it only connects: remove path, or write type = "http"
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
   = help: a check must end before the next one starts: shorten the timeout or lengthen the interval
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
error: host "example.com/health" is not a Host header
  --> lb.toml:23:33
   |
23 | check = { type = "http", host = "example.com/health", interval = "2s", timeout = "1s", rise = 2, fall = 3 }
   |                                 ^^^^^^^^^^^^^^^^^^^^
   = help: write a name, with a port if needed: "example.com", "example.com:8080"
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
