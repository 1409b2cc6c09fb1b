//! `hash_by`: the part of a request that a pool with `balance = "hash"` hashes.

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
    absent: Absent::Means("none; required with `balance = \"hash\"`"),
    meaning: "With `balance = \"hash\"`: the part of a request that is hashed: the path with its \
              query, the path alone, the first line of a header, or a cookie. Requests without \
              that header or cookie go to each backend in turn. See [consistent \
              hashing](balancing.md#consistent-hashing).",
};

fn parse(text: &str) -> Result<HashBy, Complaint> {
    let hint = "allowed: \"uri\", \"path\", \"header:NAME\", \"cookie:NAME\"; for the client's \
                address, balance = \"source\"";
    match text.split_once(':') {
        None if text == "uri" => Ok(HashBy::Uri),
        None if text == "path" => Ok(HashBy::Path),
        Some(("header", name)) => match http::HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => Ok(HashBy::Header(name.as_str().to_owned())),
            Err(_) => Err(Complaint::new("does not name a header", hint)),
        },
        Some(("cookie", name)) => (COOKIE_NAME.parse)(name)
            .map(HashBy::Cookie)
            .map_err(|_| Complaint::new("does not name a cookie", hint)),
        _ => Err(Complaint::new(
            "is not a part of requests that lb can hash",
            hint,
        )),
    }
}

/// Reads `hash_by`, which `balance = "hash"` requires and no other balance allows.
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
            let message = format!("{} has balance = \"hash\", but no hash_by", section.label());
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
