//! Tests of `[node]`.

use super::refused;

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
  = help: add it, for example: interface = "eth0"
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
error: interface "eth0/1" has the character '/', which is not allowed in the name of an interface
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
  = help: keep one of them: interfaces lists every interface, the clients' first
"#,
    );
}

#[test]
fn an_interface_that_stands_twice_is_refused() {
    refused(
        "interface = \"eth0\"\n",
        "interfaces = [\n  \"eth0\",\n  \"eth1\",\n  \"eth0\",\n]\n",
        r#"
error: duplicate interface "eth0" in this list
 --> lb.toml:6:3
  |
6 |   "eth0",
  |   ^^^^^^
  = help: the first is on line 4
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
error: interface "eth/1" has the character '/', which is not allowed in the name of an interface
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
  = help: at most 64 are allowed: the XDP program can be attached to no more
"#,
    );
}

#[test]
fn a_key_with_a_slip_is_refused() {
    refused(
        r#"interface = "eth0""#,
        "interfase = \"eth0\"\ninterface = \"eth0\"",
        r#"
error: unknown key "interfase" in [node]
 --> lb.toml:3:1
  |
3 | interfase = "eth0"
  | ^^^^^^^^^
  = help: did you mean interface?
          known keys: name, interface, interfaces
"#,
    );
}
