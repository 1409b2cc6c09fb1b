//! docs/operations.md explains every verdict with its reason, and no verdict that does not exist.

use std::{collections::BTreeSet, fs, path::Path};

use lb_common::verdict::COUNTERS;

#[test]
fn the_page_has_every_verdict_and_no_other() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = fs::read_to_string(file).expect("docs/operations.md");
    let counted: BTreeSet<_> = COUNTERS
        .iter()
        .map(|counter| (counter.verdict.to_owned(), counter.reason.to_owned()))
        .collect();
    let explained = explained(&page);
    let missing: Vec<_> = counted.difference(&explained).collect();
    let unknown: Vec<_> = explained.difference(&counted).collect();
    assert!(missing.is_empty(), "the page lacks {missing:?}");
    assert!(unknown.is_empty(), "no packet is counted as {unknown:?}");
}

/// Returns the verdicts and reasons in the first column of the page's table: `` `drop, truncated`,
/// `bad_ipv4` `` are two reasons of one verdict, and `` `transmit, …` `` is every reason of
/// `transmit`.
fn explained(page: &str) -> BTreeSet<(String, String)> {
    let (_, table) = page
        .split_once("| verdict and reason |")
        .expect("the table of verdicts");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut explained = BTreeSet::new();
    for row in rows {
        let column = row.split('|').nth(1).unwrap_or_default();
        let mut verdict = "";
        for word in column.split('`').skip(1).step_by(2) {
            let reason = match word.split_once(", ") {
                Some((first, reason)) => {
                    verdict = first;
                    reason
                }
                None => word,
            };
            let of_verdict = COUNTERS.iter().filter(|counter| counter.verdict == verdict);
            if reason == "…" {
                let reasons = of_verdict.map(|counter| counter.reason.to_owned());
                explained.extend(reasons.map(|reason| (verdict.to_owned(), reason)));
            } else {
                explained.insert((verdict.to_owned(), reason.to_owned()));
            }
        }
    }
    explained
}
