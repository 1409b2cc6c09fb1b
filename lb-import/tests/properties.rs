//! Properties of every import: no panic, an output that lb accepts, and a count or a note for each
//! directive.

use std::path::Path;

use lb_config::Config;
use lb_import::{File, Input, import};
use proptest::prelude::*;

const HAPROXY: &str = include_str!("golden/h-wide/haproxy.cfg");
const KEEPALIVED: &str = include_str!("golden/k-wide/keepalived.conf");
const SCRIPT: &str = include_str!("golden/seed/failover.sh");

fn hold(haproxy: &str, keepalived: &str, script: &str, keepalived_peer: bool) {
    let file = |name, text| Some(File { name, text });
    let input = Input {
        haproxy: file("h", haproxy),
        keepalived: file("k", keepalived),
        script: file("s", script),
        keepalived_peer,
        ..Input::default()
    };
    let import = import(&input).unwrap_or_else(|errors| panic!("{errors}"));
    let toml = &import.configuration;
    assert!(Config::parse(Path::new("lb.toml"), toml).is_ok(), "{toml}");
    let counts = import.counts;
    let sum = counts.carried_over + counts.not_carried_over + counts.not_needed + counts.unknown;
    assert_eq!(sum, counts.directives);
    let mut named: Vec<_> = import
        .notes
        .iter()
        .filter(|note| !note.in_part)
        .map(|note| &note.directive)
        .collect();
    // Two directives with the same text on one line are equal, both here and in the notes.
    named.dedup();
    let lost = counts.directives - counts.carried_over;
    assert!(
        named.len() <= lost && (lost == 0) == named.is_empty(),
        "{lost} {named:?}"
    );
    let summary = format!("directives carried over: {} of ", counts.carried_over);
    assert!(import.report().starts_with(&summary));
}

/// Generates pieces of configuration files, so that random texts get past the lexers.
fn pieces(text: &'static str) -> impl Strategy<Value = String> {
    let lines: Vec<_> = text.lines().map(|line| format!("{line}\n")).collect();
    let words: Vec<_> = text
        .split_whitespace()
        .map(|word| format!("{word} "))
        .collect();
    let odd = [
        "\n", "{\n", "}\n", "\"", "'", "\\", "#", "!", "$X ", " if ", " or ", "é", "\0", "\t",
        "%[", "\u{7f}",
    ];
    let piece = prop_oneof![
        4 => prop::sample::select(lines),
        2 => prop::sample::select(words),
        1 => prop::sample::select(odd.to_vec()).prop_map(str::to_owned),
        1 => any::<i32>().prop_map(|number| format!("{number} ")),
    ];
    prop::collection::vec(piece, 0..50).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text(haproxy in any::<String>(), keepalived in any::<String>(), script in any::<String>()) {
        hold(&haproxy, &keepalived, &script, false);
    }

    #[test]
    fn any_order_of_pieces(
        haproxy in pieces(HAPROXY),
        keepalived in pieces(KEEPALIVED),
        script in pieces(SCRIPT),
        peer in any::<bool>(),
    ) {
        hold(&haproxy, &keepalived, &script, peer);
    }

    #[test]
    fn files_with_lines_left_out(kept in prop::collection::vec(prop::bool::weighted(0.8), 300), peer in any::<bool>()) {
        let thin = |text: &str| {
            let lines = text.lines().zip(kept.iter().cycle());
            lines.filter(|(_, kept)| **kept).map(|(line, _)| format!("{line}\n")).collect::<String>()
        };
        hold(&thin(HAPROXY), &thin(KEEPALIVED), &thin(SCRIPT), peer);
    }
}
