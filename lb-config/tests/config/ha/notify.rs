//! Mistakes in `[ha.notify]`.

use crate::refused;

#[test]
fn a_command_that_a_shell_would_have_to_find_is_refused() {
    refused(
        r#"["/usr/local/bin/on-master"]"#,
        r#"["ip route replace"]"#,
        r#"
error: program "ip route replace" does not begin with /
  --> lb.toml:77:11
   |
77 | master = ["ip route replace"]
   |           ^^^^^^^^^^^^^^^^^^
   = help: write an absolute path: the agent's working directory is not yours; no shell splits the command: write each argument as a text of its own
"#,
    );
}

#[test]
fn a_command_without_a_program_is_refused() {
    refused(
        r#"["/usr/local/bin/on-master"]"#,
        "[]",
        r#"
error: master is an empty list
  --> lb.toml:77:10
   |
77 | master = []
   |          ^^
   = help: write a program and its arguments: master = ["/usr/local/bin/check", "--quick"]
"#,
    );
}

#[test]
fn notify_without_a_command_is_refused() {
    refused(
        "master = [\"/usr/local/bin/on-master\"]\n",
        "",
        r#"
error: [ha.notify] has no command
  --> lb.toml:76:1
   |
76 | [ha.notify]
   | ^^^^^^^^^^^
   = help: add one, for example: master = ["/usr/local/bin/on-master"]
"#,
    );
}
