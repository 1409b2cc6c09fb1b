//! No text makes the parser panic, and no text is refused without a reason.

use proptest::prelude::*;

use super::{BASE, parse};

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
    let lines: Vec<_> = BASE.lines().map(|line| format!("{line}\n")).collect();
    let values = BASE
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
        start in 0..BASE.len(),
        length in 0_usize..40,
        other in prop_oneof![any::<String>(), piece()],
    ) {
        let end = (start + length).min(BASE.len());
        hold(&[&BASE[..start], &other, &BASE[end..]].concat());
    }

    #[test]
    fn a_valid_file_with_another_value(
        line in 0..BASE.lines().count(),
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
        hold(&BASE.lines().enumerate().map(edit).collect::<String>());
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
