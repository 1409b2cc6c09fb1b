//! Mistakes in `[ha.virtual_ip]`.

use super::ELASTIC_IP;
use crate::refused;

#[test]
fn no_virtual_addresses_are_refused() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = []\n",
        r#"
error: [ha.virtual_ip] has no addresses
  --> lb.toml:65:13
   |
65 | addresses = []
   |             ^^
   = help: add at least one: addresses = ["172.31.0.200/20"]
"#,
    );
}

#[test]
fn a_virtual_address_without_a_prefix_is_refused() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200\"]\n",
        r#"
error: virtual address "172.31.0.200" has no prefix
  --> lb.toml:65:14
   |
65 | addresses = ["172.31.0.200"]
   |              ^^^^^^^^^^^^^^
   = help: write an address and its prefix: "172.31.0.200/20"
"#,
    );
}

#[test]
fn a_virtual_address_with_a_prefix_that_is_too_long_is_refused() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200/33\"]\n",
        r#"
error: virtual address "172.31.0.200/33" has a prefix that is not 1 to 32
  --> lb.toml:65:14
   |
65 | addresses = ["172.31.0.200/33"]
   |              ^^^^^^^^^^^^^^^^^
   = help: write an address and its prefix: "172.31.0.200/20"
"#,
    );
}

#[test]
fn a_virtual_address_twice_is_refused() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\", \"172.31.0.200/24\"]\n",
        r#"
error: duplicate virtual address "172.31.0.200" in this list
  --> lb.toml:65:33
   |
65 | addresses = ["172.31.0.200/20", "172.31.0.200/24"]
   |                                 ^^^^^^^^^^^^^^^^^
   = help: the first is on line 65
"#,
    );
}

#[test]
fn a_virtual_address_of_another_family_is_refused() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = [\"2001:db8::200/64\"]\n",
        r#"
error: virtual address "2001:db8::200" is not of the same family as source, 172.31.0.68
  --> lb.toml:65:14
   |
65 | addresses = ["2001:db8::200/64"]
   |              ^^^^^^^^^^^^^^^^^^
   = help: an advert has addresses of its own family only
"#,
    );
}

#[test]
fn the_host_s_own_address_does_not_move() {
    refused(
        ELASTIC_IP,
        "[ha.virtual_ip]\naddresses = [\"172.31.0.68/20\"]\n",
        r#"
error: virtual address "172.31.0.68" is the same address as source
  --> lb.toml:65:14
   |
65 | addresses = ["172.31.0.68/20"]
   |              ^^^^^^^^^^^^^^^^
   = help: the hosts exchange adverts between `source` and `peer`, so neither may move: use a different address
"#,
    );
}
