//! Mistakes in the TOML itself.

use super::{refused, refused_text};

#[test]
fn a_mistake_of_syntax_is_refused() {
    refused(
        r#"name = "lb-a""#,
        "name = lb-a",
        r#"
error: the value of name is text and has no quotes
 --> lb.toml:2:8
  |
2 | name = lb-a
  |        ^^^^
  = help: write name = "lb-a"
"#,
    );
}

#[test]
fn an_address_without_quotes_is_refused() {
    refused(
        r#""127.0.0.1:9145""#,
        "127.0.0.1:9145",
        r#"
error: the value of listen is text and has no quotes
 --> lb.toml:6:15
  |
6 | listen = 127.0.0.1:9145
  |               ^^^^^^^^^
  = help: write listen = "127.0.0.1:9145"
"#,
    );
}

#[test]
fn a_text_without_an_end_is_refused() {
    refused(
        r#"name = "lb-a""#,
        r#"name = "lb-a"#,
        r#"
error: not TOML: invalid basic string, expected `"`
 --> lb.toml:2:13
  |
2 | name = "lb-a
  |             ^
"#,
    );
}

#[test]
fn a_header_without_an_end_is_refused() {
    refused(
        "[node]",
        "[node",
        r#"
error: not TOML: unclosed table, expected `]`
 --> lb.toml:1:6
  |
1 | [node
  |      ^
"#,
    );
}

#[test]
fn a_key_twice_is_refused() {
    refused(
        r#"interface = "eth0""#,
        "interface = \"eth0\"\ninterface = \"eth1\"",
        r#"
error: duplicate key interface
 --> lb.toml:4:1
  |
4 | interface = "eth1"
  | ^^^^^^^^^
  = help: keep one of them
"#,
    );
}

#[test]
fn a_section_twice_is_refused() {
    refused(
        "[dataplane]",
        "[node]\n[dataplane]",
        r#"
error: duplicate header [node]
 --> lb.toml:9:2
  |
9 | [node]
  |  ^^^^
  = help: put its keys under one header; sections that may be repeated, such as pool and service, have double brackets
"#,
    );
}

#[test]
fn an_array_without_an_end_is_refused() {
    refused(
        r#"["192.0.2.1"]"#,
        r#"["192.0.2.1""#,
        r#"
error: not TOML: missing comma between array elements, expected `,`
  --> lb.toml:20:1
   |
20 | [[pool]]
   | ^
   = help: the list above may lack its closing bracket
"#,
    );
}

#[test]
fn a_control_character_is_refused() {
    refused(
        r#"name = "lb-a""#,
        "name = \"lb\u{7}a\"",
        r#"
error: not TOML: invalid basic string, expected non-double-quote visible characters, `\`
 --> lb.toml:2:11
  |
2 | name = "lb�a"
  |           ^
"#,
    );
}

#[test]
fn a_number_with_a_leading_zero_is_refused() {
    refused(
        "workers = 2",
        "workers = 02",
        r#"
error: not TOML: unexpected leading zero
  --> lb.toml:16:11
   |
16 | workers = 02
   |           ^
"#,
    );
}

#[test]
fn several_mistakes_of_syntax_are_refused() {
    refused_text(
        "[node]\nname =\ninterface = eth0 # the first\n\n[node]\nname = \"a\"\nname = \"b\"\n",
        r#"
error: name has no value
 --> lb.toml:2:7
  |
2 | name =
  |       ^

error: the value of interface is text and has no quotes
 --> lb.toml:3:13
  |
3 | interface = eth0 # the first
  |             ^^^^
  = help: write interface = "eth0"

error: duplicate header [node]
 --> lb.toml:5:2
  |
5 | [node]
  |  ^^^^
  = help: put its keys under one header; sections that may be repeated, such as pool and service, have double brackets

error: duplicate key name
 --> lb.toml:6:1
  |
6 | name = "a"
  | ^^^^
  = help: keep one of them

error: duplicate key name
 --> lb.toml:7:1
  |
7 | name = "b"
  | ^^^^
  = help: keep one of them
"#,
    );
}

#[test]
fn a_mistake_in_a_long_line_is_refused() {
    refused(
        r#""10.0.0.7:80""#,
        r#""10.0.2.1:80", "10.0.2.2:80", "10.0.2.3:80", "10.0.2.4:80", "10.0.2.5:80", "10.0.2.6:80", "10.0.2.7:80", "10.0.2.8:80", "10.0.0.7", "10.0.3.1:80", "10.0.3.2:80", "10.0.3.3:80", "10.0.3.4:80", "10.0.3.5:80", "10.0.3.6:80", "10.0.3.7:80", "10.0.3.8:80""#,
        r#"
error: backend address "10.0.0.7" has no port
  --> lb.toml:24:148
   |
24 | …"10.0.2.5:80", "10.0.2.6:80", "10.0.2.7:80", "10.0.2.8:80", "10.0.0.7", "10.0.3.1:80", "10.0.3.2:80", "10.0.3.3:80", "10.0.3.4:80", "10.0.3.…
   |                                                              ^^^^^^^^^^
   = help: write "10.0.0.7:80"
"#,
    );
}
