//! Tests of `[log.access]`.

use std::path::Path;

use lb_config::{AccessFormat, LogTarget};

use super::{BASE, parse};

fn with(section: &str) -> String {
    format!("{BASE}\n{section}\n")
}

#[test]
fn there_is_no_access_log_unless_the_file_has_one() {
    let parsed = parse(BASE).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.config.log.access, None);
    assert_eq!(parsed.config.log.errors, 256);
}

#[test]
fn an_access_log_without_keys_is_json_on_standard_output() {
    let parsed = parse(&with("[log.access]")).unwrap_or_else(|errors| panic!("{errors}"));
    let access = parsed.config.log.access.expect("there");
    assert_eq!(access.format, AccessFormat::Json);
    assert_eq!(access.to, LogTarget::Stdout);
    assert!(!access.trace && !access.connections);
}

#[test]
fn an_access_log_is_read() {
    let section = "[log.access]\nformat = \"{client} {status}\"\nto = \"/var/log/lb/a.log\"\n\
                   trace = true\nconnections = true";
    let parsed = parse(&with(section)).unwrap_or_else(|errors| panic!("{errors}"));
    let access = parsed.config.log.access.expect("there");
    assert!(matches!(access.format, AccessFormat::Own(parts) if parts.len() == 3));
    let file = LogTarget::File(Path::new("/var/log/lb/a.log").to_owned());
    assert_eq!(access.to, file);
    assert!(access.trace && access.connections);
}

#[test]
fn everything_wrong_with_an_access_log_is_said_at_once() {
    let section = "[log.access]\nformat = \"{cliet}\"\nto = \"stderr\"";
    let errors = parse(&with(section)).expect_err("refused").to_string();
    assert_eq!(errors.matches("error: ").count(), 2, "{errors}");
    assert!(errors.contains("did you mean client?"), "{errors}");
    assert!(errors.contains("to \"stderr\" is not a target"), "{errors}");
}
