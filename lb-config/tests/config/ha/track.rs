//! Mistakes in `[[ha.track]]`.

use crate::refused;

#[test]
fn two_scripts_of_one_name_are_refused() {
    refused(
        "[ha.notify]",
        "[[ha.track]]\nname = \"uplink\"\ncommand = [\"/bin/true\"]\n\n[ha.notify]",
        r#"
error: duplicate script "uplink" in this file
  --> lb.toml:77:8
   |
77 | name = "uplink"
   |        ^^^^^^^^
   = help: the first is on line 72
"#,
    );
}

#[test]
fn a_script_in_single_brackets_is_refused() {
    refused(
        "[[ha.track]]",
        "[ha.track]",
        r#"
error: ha.track is a list of sections
  --> lb.toml:71:1
   |
71 | [ha.track]
   | ^^^^^^^^^^
   = help: write the header in double brackets: [[ha.track]]
"#,
    );
}

#[test]
fn a_script_that_may_take_longer_than_its_interval_is_refused() {
    refused(
        "weight = -20",
        "interval = \"500ms\"\ntimeout = \"1s\"",
        r#"
error: timeout 1s is longer than the interval, 500ms
  --> lb.toml:75:11
   |
75 | timeout = "1s"
   |           ^^^^
   = help: a run must end before the next one starts: shorten the timeout or lengthen the interval
"#,
    );
}

#[test]
fn a_weight_that_no_priority_can_bear_is_refused() {
    refused(
        "weight = -20",
        "weight = -254",
        r#"
error: weight -254 is out of range
  --> lb.toml:74:10
   |
74 | weight = -254
   |          ^^^^
   = help: it must be a whole number, -253 to 253
"#,
    );
}

#[test]
fn a_command_in_one_piece_is_refused() {
    refused(
        r#"["/usr/local/bin/check-uplink", "--quick"]"#,
        r#""/usr/local/bin/check-uplink --quick""#,
        r#"
error: command is text; it must be a list
  --> lb.toml:73:11
   |
73 | command = "/usr/local/bin/check-uplink --quick"
   |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: write it in brackets: command = ["/usr/local/bin/check-uplink --quick"]
"#,
    );
}
