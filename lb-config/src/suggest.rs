//! Suggestions ("did you mean …"): the nearest of the allowed words.

/// Returns the allowed word that is most similar to `written`, if they differ in at most a third of
/// the characters of `written`; otherwise `None`.
pub(super) fn nearest<'a>(
    written: &str,
    allowed: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // A text of more than 64 bytes is not a typing error, and comparing it would take long.
    if written.len() > 64 {
        return None;
    }
    let tolerance = (written.chars().count() / 3).max(1);
    let written = fold(written);
    allowed
        .into_iter()
        .map(|word| (distance(&written, &fold(word)), word))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Joins words as in a sentence: `a`, `a or b`, `a, b or c`.
pub(super) fn listed<W: AsRef<str>>(words: &[W]) -> String {
    match words {
        [] => String::new(),
        [word] => word.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(AsRef::as_ref).collect();
            format!("{} or {}", first.join(", "), last.as_ref())
        }
    }
}

/// Returns the word's characters in lower case, with `_` for `-`, so `Max-Flows` and `max_flows`
/// are compared as the same word.
fn fold(word: &str) -> Vec<char> {
    word.chars()
        .map(|character| match character {
            '-' => '_',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

/// Returns the edit distance of two words: insertions, deletions, replacements and swaps of
/// neighbours.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, from_char) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, to_char) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(from_char != to_char);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped =
                row > 0 && column > 0 && from[row - 1] == *to_char && from[row] == to[column - 1];
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::{listed, nearest};

    #[test]
    fn a_slip_finds_its_word() {
        let allowed = ["interval", "timeout", "rise", "fall"];
        assert_eq!(nearest("intreval", allowed), Some("interval"));
        assert_eq!(nearest("time-out", allowed), Some("timeout"));
        assert_eq!(nearest("Rise", allowed), Some("rise"));
        assert_eq!(nearest("fal", allowed), Some("fall"));
    }

    #[test]
    fn another_word_finds_none() {
        assert_eq!(nearest("cheese", ["interval", "timeout"]), None);
        assert_eq!(nearest("", ["interval"]), None);
        assert_eq!(nearest(&"x".repeat(100_000), ["interval"]), None);
    }

    #[test]
    fn words_are_listed_as_in_a_sentence() {
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b"]), "a or b");
        assert_eq!(listed(&["a", "b", "c"]), "a, b or c");
    }
}
