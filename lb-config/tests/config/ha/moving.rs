//! The address that moves between the hosts: an Elastic IP, virtual IPs, or an address that
//! commands move.

use lb_config::Moves;

use super::{ELASTIC_IP, ha};
use crate::{edited, refused, refused_text};

#[test]
fn nothing_that_moves_is_refused() {
    let text = edited(ELASTIC_IP, "").replace("master = ", "backup = ");
    refused_text(
        &text,
        r#"
error: [ha] has no address that moves to the active host
  --> lb.toml:55:1
   |
55 | [ha]
   | ^^^^
   = help: add [ha.elastic_ip] on AWS, [ha.virtual_ip] on your own network, or [ha.notify] with a master command that moves the address
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
   = help: keep elastic_ip on AWS, or virtual_ip on your own network
"#,
    );
}

#[test]
fn a_command_may_be_all_that_moves_anything() {
    assert_eq!(ha(&edited(ELASTIC_IP, "")).moves, Moves::Commands);
}
