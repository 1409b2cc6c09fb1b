//! `hash_by`: what of a request a pool that balances by hash looks at.

use toml::Spanned;

use super::{
    Balance, HashBy,
    kind::{Complaint, Text},
    schema::{Absent, Key},
    section::Section,
    source::Reported,
    sticky::COOKIE_NAME,
};

pub(super) static HASH_BY: Key<Text<HashBy>> = Key {
    name: "hash_by",
    kind: Text {
        what: "`\"uri\"`, `\"path\"`, `\"header:NAME\"` or `\"cookie:NAME\"`",
        parse,
    },
    absent: Absent::Means("none; `balance = \"hash\"` must have it"),
    meaning: "With `balance = \"hash\"`: what requests to one backend have in common: the path with \
              its query, the path alone, the first line of a header, or a cookie. Requests that have \
              no such header or cookie go to each backend in turn. See \
              [consistent hashing](balancing.md#consistent-hashing).",
};

fn parse(text: &str) -> Result<HashBy, Complaint> {
    let hint = "allowed: \"uri\", \"path\", \"header:NAME\", \"cookie:NAME\"; for the client's \
                address, balance = \"source\"";
    match text.split_once(':') {
        None if text == "uri" => Ok(HashBy::Uri),
        None if text == "path" => Ok(HashBy::Path),
        Some(("header", name)) => match http::HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => Ok(HashBy::Header(name.as_str().to_owned())),
            Err(_) => Err(Complaint::new("names no header", hint)),
        },
        Some(("cookie", name)) => (COOKIE_NAME.parse)(name)
            .map(HashBy::Cookie)
            .map_err(|_| Complaint::new("names no cookie", hint)),
        _ => Err(Complaint::new("is nothing to hash by", hint)),
    }
}

/// Reads it: with a balance that hashes, and with no other.
pub(super) fn read(
    section: &Section<'_>,
    balance: Option<&Spanned<Balance>>,
) -> Result<Option<HashBy>, Reported> {
    let hash_by = section.optional(&HASH_BY)?;
    let Some(balance) = balance else {
        return Ok(hash_by.map(Spanned::into_inner));
    };
    match (hash_by, balance.get_ref()) {
        (None, Balance::Hash) => {
            let message = format!("{} has balance = \"hash\" and no hash_by", section.label());
            let hint = "add: hash_by = \"uri\", or \"path\", \"header:NAME\", \"cookie:NAME\"";
            Err(section
                .source()
                .error(balance.span(), message, hint.to_owned()))
        }
        (Some(hash_by), other) if *other != Balance::Hash => {
            let message = format!(
                "{} has hash_by, but does not balance by hash",
                section.label()
            );
            let hint = "leave hash_by out, or write balance = \"hash\"";
            Err(section
                .source()
                .error(hash_by.span(), message, hint.to_owned()))
        }
        (hash_by, _) => Ok(hash_by.map(Spanned::into_inner)),
    }
}
