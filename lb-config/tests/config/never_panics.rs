//! No text makes the parser panic, and no text is refused without a reason.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{BASE, parse};

/// A valid file with a value of every kind: [`BASE`], and a pool for each source of backends.
static FILE: LazyLock<String> = LazyLock::new(|| [BASE, SOURCES].concat());

const SOURCES: &str = r#"
[[pool]]
name = "by-name"

[pool.discover]
dns = "web.example.org"
port = 80
family = "ipv4"
nameservers = ["10.0.0.2", "[2001:db8::2]:53"]
interval = "10s"
drain = "5m"

[[pool]]
name = "by-service"

[pool.discover]
srv = "_http._tcp.example.org"

[[pool]]
name = "by-file"

[pool.discover]
file = "/run/lb/web"

[[pool]]
name = "by-tags"

[pool.discover]
ec2_tags = { Role = "web" }
port = 80
region = "me-central-1"
endpoint = "http://127.0.0.1:5000"

[[pool]]
name = "by-group"

[pool.discover]
auto_scaling_group = "web"
port = 80
auto_scaling_endpoint = "http://127.0.0.1:5000"
"#;

#[test]
fn the_file_is_valid() {
    let parsed = parse(&FILE).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.config.pools.len(), 7);
}

/// Parses a text, renders its errors, and asserts the errors' invariants.
fn hold(text: &str) {
    let errors = match parse(text) {
        Ok(parsed) => {
            assert!(!parsed.config.pools.is_empty() && !parsed.config.services.is_empty());
            return;
        }
        Err(errors) => errors,
    };
    assert!(!errors.diagnostics().is_empty());
    let lines = u32::try_from(text.split('\n').count()).expect("a short text");
    for error in errors.diagnostics() {
        assert!(!error.render(true).is_empty());
        assert!(!error.message.contains("in lb itself"), "{error}");
        let missing = error.message.starts_with("there is no [");
        assert!(error.location.is_some() || missing, "{error}");
        assert!(error.line().is_none_or(|line| line <= lines), "{error}");
    }
}

/// Generates pieces of configuration files, so that random texts get past the syntax check.
fn piece() -> impl Strategy<Value = String> {
    let lines: Vec<_> = FILE.lines().map(|line| format!("{line}\n")).collect();
    let values = FILE
        .split([' ', ',', '[', ']', '\n'])
        .map(str::to_owned)
        .collect::<Vec<_>>();
    prop_oneof![
        4 => prop::sample::select(lines),
        2 => prop::sample::select(values),
        1 => prop::sample::select(vec!["\n", "=", "[", "]", "{", "}", "\"", ",", " ", "é", "\r", "\0"]).prop_map(str::to_owned),
        1 => any::<i64>().prop_map(|number| number.to_string()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text(text in any::<String>()) {
        hold(&text);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        hold(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_order_of_pieces(pieces in prop::collection::vec(piece(), 0..60)) {
        hold(&pieces.concat());
    }

    #[test]
    fn a_valid_file_with_a_part_replaced(
        start in 0..FILE.len(),
        length in 0_usize..40,
        other in prop_oneof![any::<String>(), piece()],
    ) {
        let end = (start + length).min(FILE.len());
        hold(&[&FILE[..start], &other, &FILE[end..]].concat());
    }

    #[test]
    fn a_valid_file_with_another_value(
        line in 0..FILE.lines().count(),
        value in prop_oneof![
            any::<String>().prop_map(|text| format!("{text:?}")),
            any::<i128>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| format!("{number:?}")),
            "[0-9a-f:./%-]{0,20}".prop_map(|text| format!("\"{text}\"")),
            "[0-9hms]{0,12}".prop_map(|text| format!("\"{text}\"")),
            Just("[]".to_owned()),
            Just("{}".to_owned()),
            Just("[[], {}, 1, \"\"]".to_owned()),
            Just("1979-05-27T07:32:00Z".to_owned()),
        ],
    ) {
        let edit = |(index, text): (usize, &str)| match text.split_once(" = ") {
            Some((key, _)) if index == line => format!("{key} = {value}\n"),
            _ => format!("{text}\n"),
        };
        hold(&FILE.lines().enumerate().map(edit).collect::<String>());
    }
}

#[test]
fn depth_without_end_is_refused() {
    const DEPTH: usize = 100_000;
    for text in [
        format!("{}a = 1", "a.".repeat(DEPTH)),
        format!("[{}a]", "a.".repeat(DEPTH)),
        format!("a = {}", "[".repeat(DEPTH)),
        format!("a = {}", "{ a = ".repeat(DEPTH)),
    ] {
        hold(&text);
        assert!(parse(&text).is_err());
    }
}
