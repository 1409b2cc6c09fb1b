//! Mistakes in `[admin]`.

use super::refused;

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
