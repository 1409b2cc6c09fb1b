//! The file as a whole: its sections, files that cannot be read, and how errors are shown.

use std::fs;

use lb_config::{Config, Errors};

use super::{edited, parse, refused, refused_text};

fn load(content: &[u8]) -> Errors {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lb.toml");
    fs::write(&file, content).expect("a file");
    Config::load(&file).expect_err("the file is refused")
}

#[test]
fn a_section_with_a_slip_is_refused() {
    refused(
        "[dataplane]",
        "[data_plane]",
        r#"
error: unknown section "data_plane"
 --> lb.toml:9:2
  |
9 | [data_plane]
  |  ^^^^^^^^^^
  = help: did you mean dataplane?
          known sections: node, admin, pool, service, acme, http, log, dataplane, ha
"#,
    );
}

#[test]
fn a_section_that_is_another_word_is_refused() {
    refused(
        "[dataplane]",
        "[global]",
        r#"
error: unknown section "global"
 --> lb.toml:9:2
  |
9 | [global]
  |  ^^^^^^
  = help: known sections: node, admin, pool, service, acme, http, log, dataplane, ha
"#,
    );
}

#[test]
fn a_list_section_in_single_brackets_is_refused() {
    refused_text(
        "[pool]\nname = \"web\"\nbackends = [\"10.0.0.6:80\"]\n\n[node]\nname = \"lb-a\"\ninterface = \"eth0\"\n\n[[service]]\nname = \"http\"\nlisten = \"172.31.0.68:80\"\nmode = \"tcp\"\npool = \"web\"\n",
        r#"
error: pool is a list of sections
 --> lb.toml:1:1
  |
1 | [pool]
  | ^^^^^^
  = help: write the header in double brackets: [[pool]]
"#,
    );
}

#[test]
fn a_single_section_in_double_brackets_is_refused() {
    refused(
        "[node]\n",
        "[[node]]\n",
        r#"
error: [node] is allowed only once in a file
 --> lb.toml:1:1
  |
1 | [[node]]
  | ^^^^^^^^
  = help: write [node] once, in single brackets
"#,
    );
}

#[test]
fn a_section_that_is_a_value_is_refused() {
    refused_text(
        "node = \"lb-a\"\npool = []\nservice = [1]\n",
        r#"
error: there is no [[pool]]
 --> lb.toml
  = help: add one:
          [[pool]]
          name = "web"
          backends = ["10.0.0.6:80"]

error: node is text; it must be: a table, [node]
 --> lb.toml:1:8
  |
1 | node = "lb-a"
  |        ^^^^^^

error: service is a whole number; it must be: a table, [[service]]
 --> lb.toml:3:12
  |
3 | service = [1]
  |            ^
"#,
    );
}

#[test]
fn a_file_without_sections_is_refused() {
    refused_text(
        "# nothing yet\n",
        r#"
error: there is no [node]
 --> lb.toml
  = help: add one:
          [node]
          name = "lb-a"
          interface = "eth0"

error: there is no [[pool]]
 --> lb.toml
  = help: add one:
          [[pool]]
          name = "web"
          backends = ["10.0.0.6:80"]

error: there is no [[service]]
 --> lb.toml
  = help: add one:
          [[service]]
          name = "http"
          listen = "172.31.0.68:80"
          mode = "tcp"
          pool = "web"
"#,
    );
}

#[test]
fn an_empty_file_is_refused() {
    refused_text(
        "",
        r#"
error: there is no [node]
 --> lb.toml
  = help: add one:
          [node]
          name = "lb-a"
          interface = "eth0"

error: there is no [[pool]]
 --> lb.toml
  = help: add one:
          [[pool]]
          name = "web"
          backends = ["10.0.0.6:80"]

error: there is no [[service]]
 --> lb.toml
  = help: add one:
          [[service]]
          name = "http"
          listen = "172.31.0.68:80"
          mode = "tcp"
          pool = "web"
"#,
    );
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("none.toml");
    let errors = Config::load(&file).expect_err("there is none");
    let file = file.display();
    let rendered = format!(
        "error: cannot read the configuration: No such file or directory (os error 2)\n --> {file}\n  \
         = help: give the path of an lb.toml with --config\n\n1 error in {file}"
    );
    assert_eq!(errors.to_string(), rendered);
}

#[test]
fn a_folder_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let errors = Config::load(folder.path()).expect_err("it is a folder");
    assert!(errors.to_string().contains("Is a directory"), "{errors}");
}

#[test]
fn text_that_is_not_utf_8_is_an_error_with_its_line() {
    let errors = load(b"# one\n# two \xff\n");
    let message = &errors.diagnostics()[0].message;
    assert!(
        message.ends_with("the configuration is not UTF-8 on line 2"),
        "{message}"
    );
}

#[test]
fn a_file_that_is_far_too_large_is_an_error() {
    let errors = load(&vec![b'#'; (4 << 20) + 1]);
    let message = &errors.diagnostics()[0].message;
    assert!(
        message.ends_with("the configuration is larger than 4 MiB"),
        "{message}"
    );
}

#[test]
fn errors_of_several_sections_are_reported_together_in_the_order_of_the_file() {
    let text = edited("\"eth0\"", "\"\"")
        .replace("workers = 2", "workers = 0")
        .replace("10.0.0.6:80", "10.0.0.6")
        .replace("pool = \"app\"", "pool = \"ap\"")
        .replace("priority = 110", "priority = 0");
    let errors = parse(&text).expect_err("five mistakes");
    let lines: Vec<_> = errors
        .diagnostics()
        .iter()
        .filter_map(lb_config::Diagnostic::line)
        .collect();
    assert_eq!(lines, [3, 16, 24, 52, 59]);
    assert!(
        errors.to_string().ends_with("\n\n5 errors in lb.toml"),
        "{errors}"
    );
}

#[test]
fn a_bad_item_hides_no_mistake_beside_it() {
    let text = edited(
        "[\"10.0.0.6:80\", \"10.0.0.7:80\"]",
        "[\"x\", \"10.0.0.7:80\", \"10.0.0.7:80\"]",
    );
    let errors = parse(&text).expect_err("two mistakes");
    let messages: Vec<_> = errors
        .diagnostics()
        .iter()
        .map(|error| &*error.message)
        .collect();
    assert_eq!(
        messages,
        [
            "backend address \"x\" has a host name in place of an IP address",
            "duplicate backend address \"10.0.0.7:80\" in this pool",
        ]
    );
}

#[test]
fn a_pool_with_a_mistake_is_still_known_to_its_services() {
    let errors = parse(&edited("\"10.0.0.6:80\"", "\"10.0.0.6\"")).expect_err("one mistake");
    assert_eq!(errors.diagnostics().len(), 1, "{errors}");
}

#[test]
fn warnings_are_kept_back_while_there_are_errors() {
    let errors = parse(&edited("\"eth0\"", "\"\"")).expect_err("one mistake");
    assert!(!errors.to_string().contains("warning"), "{errors}");
}

#[test]
fn colour_is_used_only_when_asked_for() {
    let errors = parse(&edited("\"eth0\"", "\"\"")).expect_err("one mistake");
    assert!(!errors.to_string().contains('\x1b'));
    let coloured = errors.render(true);
    assert!(coloured.starts_with("\x1b[1;31merror\x1b[0m"), "{coloured}");
    let mut plain = coloured;
    for code in ["\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, errors.to_string());
}

#[test]
fn escape_sequences_of_the_file_do_not_reach_the_terminal() {
    let errors = parse(&edited("\"eth0\"", "\"\\u001b[2J\" # \u{9b}2J")).expect_err("one mistake");
    assert!(
        !errors.to_string().contains(['\x1b', '\u{9b}']),
        "{errors:?}"
    );
}

#[test]
fn tabs_and_wide_lines_keep_the_marker_in_its_place() {
    let text = edited("interface = \"eth0\"", "\tinterface = \"\"");
    let errors = parse(&text).expect_err("one mistake").to_string();
    assert!(
        errors.contains("\n3 | \tinterface = \"\"\n  | \t            ^^\n"),
        "{errors}"
    );
}

#[test]
fn the_default_of_admin_clashes_as_a_given_listener_does() {
    let text = edited("listen = \"127.0.0.1:9145\"\n", "");
    let text = text.replace("172.31.0.68:443", "127.0.0.1:9145");
    let without_section = text.replace("[admin]\nsocket = \"/run/lb/lb.sock\"\n", "");
    for text in [text, without_section] {
        let errors = parse(&text).expect_err("a clash").to_string();
        let hint = "127.0.0.1:9145 is the default address of [admin]: give [admin] or service \
                    \"https\" another address or port";
        assert!(errors.contains(hint), "{errors}");
    }
}

#[test]
fn a_file_that_is_something_else_does_not_flood_the_terminal() {
    let bad: String = (0..2_000)
        .map(|number| format!("key{number} = 1\n"))
        .collect();
    let errors = parse(&bad).expect_err("no configuration");
    assert_eq!(errors.diagnostics().len(), 1_000);
    let end = "\n\n2003 errors in lb.toml, 1003 of them not shown";
    assert!(errors.to_string().ends_with(end));
}
