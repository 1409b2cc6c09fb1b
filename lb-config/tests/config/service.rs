//! Tests of `[[service]]`.

use super::refused;

#[test]
fn a_service_without_a_mode_is_refused() {
    refused(
        "mode = \"tcp\"\n",
        "\n",
        r#"
error: service "http" has no mode
  --> lb.toml:41:1
   |
41 | [[service]]
   | ^^^^^^^^^^^
   = help: add it, for example: mode = "tcp"
"#,
    );
}

#[test]
fn two_services_of_one_name_are_refused() {
    refused(
        r#"name = "https""#,
        r#"name = "http""#,
        r#"
error: duplicate service "http" in this file
  --> lb.toml:49:8
   |
49 | name = "http"
   |        ^^^^^^
   = help: the first is on line 42
"#,
    );
}

#[test]
fn a_pool_with_a_slip_is_refused() {
    refused(
        r#"pool = "web""#,
        r#"pool = "wbe""#,
        r#"
error: there is no pool "wbe"
  --> lb.toml:46:8
   |
46 | pool = "wbe"
   |        ^^^^^
   = help: did you mean "web"?
"#,
    );
}

#[test]
fn a_pool_that_is_not_there_is_refused() {
    refused(
        r#"pool = "web""#,
        r#"pool = "database""#,
        r#"
error: there is no pool "database"
  --> lb.toml:46:8
   |
46 | pool = "database"
   |        ^^^^^^^^^^
   = help: the pools of this file: web, app
"#,
    );
}

#[test]
fn udp_is_refused() {
    refused(
        r#"mode = "tcp""#,
        r#"mode = "udp""#,
        r#"
error: mode "udp" is not supported by this version of lb
  --> lb.toml:44:8
   |
44 | mode = "udp"
   |        ^^^^^
   = help: this version supports "tcp", "http" or "https"
"#,
    );
}

#[test]
fn a_mode_that_is_another_word_is_refused() {
    refused(
        r#"mode = "tcp""#,
        r#"mode = "layer4""#,
        r#"
error: mode cannot be "layer4"
  --> lb.toml:44:8
   |
44 | mode = "layer4"
   |        ^^^^^^^^
   = help: allowed: "tcp", "http" or "https"
"#,
    );
}

#[test]
fn dsr_is_refused() {
    refused(
        r#"forward = "nat""#,
        r#"forward = "dsr""#,
        r#"
error: forward "dsr" is not supported by this version of lb
  --> lb.toml:45:11
   |
45 | forward = "dsr"
   |           ^^^^^
   = help: this version supports "nat" or "dnat"
"#,
    );
}

#[test]
fn ipip_is_refused() {
    refused(
        r#"forward = "nat""#,
        r#"forward = "ipip""#,
        r#"
error: forward "ipip" is not supported by this version of lb
  --> lb.toml:45:11
   |
45 | forward = "ipip"
   |           ^^^^^^
   = help: this version supports "nat" or "dnat"
"#,
    );
}

#[test]
fn gue_is_refused() {
    refused(
        r#"forward = "nat""#,
        r#"forward = "gue""#,
        r#"
error: forward "gue" is not supported by this version of lb
  --> lb.toml:45:11
   |
45 | forward = "gue"
   |           ^^^^^
   = help: this version supports "nat" or "dnat"
"#,
    );
}

#[test]
fn forward_of_an_https_service_is_refused() {
    refused(
        r#"mode = "https""#,
        "mode = \"https\"\nforward = \"nat\"",
        r#"
error: service "https" has forward, but its mode is "https"
  --> lb.toml:52:1
   |
52 | forward = "nat"
   | ^^^^^^^^^^^^^^^
   = help: the agent connects to the backends itself: remove the key, or write mode = "tcp"
"#,
    );
}

#[test]
fn https_without_certificates_is_refused() {
    refused(
        "certificates = [\"/etc/lb/tls/example.com.pem\"]\n",
        "\n",
        r#"
error: service "https" has mode "https", but no certificates
  --> lb.toml:48:1
   |
48 | [[service]]
   | ^^^^^^^^^^^
   = help: add: certificates = ["/etc/lb/tls/example.com.pem"], a certificate chain and its key in one file; or domains, for a certificate that the agent obtains
"#,
    );
}

#[test]
fn https_with_an_empty_list_of_certificates_is_refused() {
    refused(
        r#"["/etc/lb/tls/example.com.pem"]"#,
        "[]",
        r#"
error: service "https" has mode "https", but no certificates
  --> lb.toml:53:16
   |
53 | certificates = []
   |                ^^
   = help: add: certificates = ["/etc/lb/tls/example.com.pem"], a certificate chain and its key in one file; or domains, for a certificate that the agent obtains
"#,
    );
}

#[test]
fn a_certificate_twice_is_refused() {
    refused(
        r#"["/etc/lb/tls/example.com.pem"]"#,
        r#"["/etc/lb/tls/a.pem", "/etc/lb/tls/a.pem"]"#,
        r#"
error: duplicate certificate "/etc/lb/tls/a.pem" in this list
  --> lb.toml:53:38
   |
53 | certificates = ["/etc/lb/tls/a.pem", "/etc/lb/tls/a.pem"]
   |                                      ^^^^^^^^^^^^^^^^^^^
   = help: the first is on line 53
"#,
    );
}

#[test]
fn a_certificate_whose_path_is_not_whole_is_refused() {
    refused(
        r#"["/etc/lb/tls/example.com.pem"]"#,
        r#"["tls/example.com.pem"]"#,
        r#"
error: certificate "tls/example.com.pem" does not begin with /
  --> lb.toml:53:17
   |
53 | certificates = ["tls/example.com.pem"]
   |                 ^^^^^^^^^^^^^^^^^^^^^
   = help: write an absolute path: the agent's working directory is not yours
"#,
    );
}

#[test]
fn a_certificate_that_is_not_in_a_list_is_refused() {
    refused(
        r#"["/etc/lb/tls/example.com.pem"]"#,
        r#""/etc/lb/tls/example.com.pem""#,
        r#"
error: certificates is text; it must be a list
  --> lb.toml:53:16
   |
53 | certificates = "/etc/lb/tls/example.com.pem"
   |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: write it in brackets: certificates = ["/etc/lb/tls/example.com.pem"]
"#,
    );
}

#[test]
fn certificates_of_a_tcp_service_are_refused() {
    refused(
        r#"forward = "nat""#,
        r#"certificates = ["/etc/lb/tls/a.pem"]"#,
        r#"
error: service "http" has certificates, but its mode is "tcp"
  --> lb.toml:45:1
   |
45 | certificates = ["/etc/lb/tls/a.pem"]
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: the kernel forwards TLS unchanged, so the backends have the certificates: remove this setting, or write mode = "https"
"#,
    );
}

#[test]
fn certificates_of_an_http_service_are_refused() {
    refused(
        r#"mode = "https""#,
        r#"mode = "http""#,
        r#"
error: service "https" has certificates, but its mode is "http"
  --> lb.toml:53:1
   |
53 | certificates = ["/etc/lb/tls/example.com.pem"]
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: remove this setting, or write mode = "https"
"#,
    );
}

#[test]
fn an_ipv6_backend_of_a_tcp_service_is_refused() {
    refused(
        r#""10.0.0.7:80""#,
        r#""[2001:db8::7]:80""#,
        r#"
error: backend address "[2001:db8::7]:80" is IPv6, but this version of lb steers only IPv4 in the kernel
  --> lb.toml:24:28
   |
24 | backends = ["10.0.0.6:80", "[2001:db8::7]:80"]
   |                            ^^^^^^^^^^^^^^^^^^
   = help: service "http" with mode "tcp" uses this backend: write an IPv4 address, or let the agent serve it with mode = "http" or "https"
"#,
    );
}

#[test]
fn a_loopback_backend_of_a_tcp_service_is_refused() {
    refused(
        r#""10.0.0.7:80""#,
        r#""127.0.0.1:80""#,
        r#"
error: backend address "127.0.0.1:80" is a loopback address, which the kernel cannot steer to
  --> lb.toml:24:28
   |
24 | backends = ["10.0.0.6:80", "127.0.0.1:80"]
   |                            ^^^^^^^^^^^^^^
   = help: service "http" with mode "tcp" uses this backend: write an address that packets reach over the network
"#,
    );
}

#[test]
fn least_connections_for_a_tcp_service_is_refused() {
    refused(
        r#""round_robin""#,
        r#""least_connections""#,
        r#"
error: service "http" has mode "tcp", and its pool "web" balances by least_connections
  --> lb.toml:46:8
   |
46 | pool = "web"
   |        ^^^^^
   = help: the kernel does not know the load of backends and reads no requests: for a tcp service, write balance = "round_robin", "source" or "maglev"
"#,
    );
}

#[test]
fn random_two_for_a_tcp_service_is_refused() {
    refused(
        r#""round_robin""#,
        r#""random_two""#,
        r#"
error: service "http" has mode "tcp", and its pool "web" balances by random_two
  --> lb.toml:46:8
   |
46 | pool = "web"
   |        ^^^^^
   = help: the kernel does not know the load of backends and reads no requests: for a tcp service, write balance = "round_robin", "source" or "maglev"
"#,
    );
}

#[test]
fn a_service_that_is_its_own_backend_is_refused() {
    refused(
        r#""172.31.0.68:443""#,
        r#""10.0.1.6:8080""#,
        r#"
error: service "https" listens on 10.0.1.6:8080, which is also a backend of its pool
  --> lb.toml:50:10
   |
50 | listen = "10.0.1.6:8080"
   |          ^^^^^^^^^^^^^^^
   = help: it would connect to itself: give one of them another address
"#,
    );
}
