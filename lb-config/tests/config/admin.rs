//! Mistakes in `[admin]`.

use std::path::Path;

use super::{edited, parse, refused};

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
  = help: write an absolute path: the agent's working directory is not yours
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

const SOCKET: &str = "socket = \"/run/lb/lb.sock\"";

#[test]
fn authorities_of_client_certificates_are_read() {
    let keys = "certificate = \"/etc/lb/tls/admin.pem\"\n\
                client_authorities = [\"/etc/lb/tls/a.pem\", \"/etc/lb/tls/b.pem\"]\n\
                client_revocations = [\"/etc/lb/tls/crl.pem\"]\n";
    let parsed = parse(&edited(SOCKET, keys)).expect("valid");
    let read = parsed.config.admin.client_authorities.expect("authorities");
    let (a, b) = ("/etc/lb/tls/a.pem", "/etc/lb/tls/b.pem");
    assert_eq!(read.authorities, [Path::new(a), Path::new(b)]);
    assert_eq!(read.revocations, [Path::new("/etc/lb/tls/crl.pem")]);
    let parsed = parse(&edited(SOCKET, "")).expect("valid");
    assert_eq!(parsed.config.admin.client_authorities, None);
}

#[test]
fn client_certificates_over_plain_http_are_refused() {
    refused(
        SOCKET,
        "client_authorities = [\"/etc/lb/tls/ca.pem\"]",
        r#"
error: client_authorities needs certificate: clients can show theirs over HTTPS only
 --> lb.toml:7:1
  |
7 | client_authorities = ["/etc/lb/tls/ca.pem"]
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: add: certificate = "/etc/lb/tls/admin.pem"
"#,
    );
}

#[test]
fn a_list_of_authorities_without_a_file_is_refused() {
    refused(
        SOCKET,
        "certificate = \"/etc/lb/tls/admin.pem\"\nclient_authorities = []",
        r#"
error: client_authorities is empty
 --> lb.toml:8:1
  |
8 | client_authorities = []
  | ^^^^^^^^^^^^^^^^^^^^^^^
  = help: name at least one file, or leave client_authorities out
"#,
    );
}

#[test]
fn revocations_without_authorities_are_refused() {
    refused(
        SOCKET,
        "certificate = \"/etc/lb/tls/admin.pem\"\nclient_revocations = [\"/etc/lb/tls/crl.pem\"]",
        r#"
error: client_revocations has no effect: clients are not asked for a certificate
 --> lb.toml:8:1
  |
8 | client_revocations = ["/etc/lb/tls/crl.pem"]
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: add: client_authorities = ["/etc/lb/tls/operators-ca.pem"]
"#,
    );
}

#[test]
fn an_authority_that_is_not_a_whole_path_is_refused() {
    refused(
        SOCKET,
        "certificate = \"/etc/lb/tls/admin.pem\"\nclient_authorities = [\"ca.pem\"]",
        r#"
error: authority "ca.pem" does not begin with /
 --> lb.toml:8:23
  |
8 | client_authorities = ["ca.pem"]
  |                       ^^^^^^^^
  = help: write an absolute path: the agent's working directory is not yours
"#,
    );
}
