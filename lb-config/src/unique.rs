//! The check for values that must be unique and occur twice, such as the names of pools.

use std::{collections::HashMap, fmt::Display, hash::Hash};

use toml::Spanned;

use super::source::{Reported, Source};

/// Reports every value that equals an earlier value in `values`.
pub(super) fn refuse_twice<'v, T: Eq + Hash + Display + 'v>(
    noun: &str,
    scope: &str,
    values: impl Iterator<Item = &'v Spanned<T>>,
    source: &Source<'_>,
) -> Result<(), Reported> {
    let mut first = HashMap::new();
    let mut unique = Ok(());
    for value in values {
        let Some(before) = first.get(value.get_ref()) else {
            first.insert(value.get_ref(), value.span());
            continue;
        };
        let message = format!("duplicate {noun} \"{}\" {scope}", value.get_ref());
        let hint = format!("the first is on line {}", source.line(before));
        unique = Err(source.error(value.span(), message, hint));
    }
    unique
}
