//! `[pool.sticky]`: the cookie that keeps a client on its backend.

use std::path::PathBuf;

use toml::Spanned;

use super::{
    SameSite, Sticky,
    kind::{Bool, Choice, Complaint, Text, Time},
    schema::{Absent, Key, Schema},
    section::Section,
    source::Reported,
    text,
};

pub(super) static STICKY: Schema = Schema {
    name: "sticky",
    header: "[pool.sticky]",
    about: "A cookie keeps a client on the backend of its first request; see [sticky \
            sessions](balancing.md#sticky-sessions).",
    presence: "For pools of services of mode `http` and `https`. Optional: without it requests are \
               independent of each other.",
    keys: &[
        &COOKIE, &KEY_FILE, &PATH, &SECURE, &HTTP_ONLY, &SAME_SITE, &MAX_AGE,
    ],
    tables: &[],
};

static COOKIE: Key<Text<String>> = Key {
    name: "cookie",
    kind: COOKIE_NAME,
    absent: Absent::Refused("\"lb\""),
    meaning: "The cookie's name. Backends do not see the cookie. It must differ between the pools \
              of a service.",
};

static KEY_FILE: Key<Text<PathBuf>> = Key {
    name: "key_file",
    kind: text::PATH,
    absent: Absent::Refused("\"/etc/lb/sticky.key\""),
    meaning: "The key that cookies are signed with: a file of 16 to 4,096 bytes that only its \
              owner can read (`openssl rand -hex 32`). Both hosts of a pair need the same key. A \
              change of the key ends all sessions.",
};

static PATH: Key<Text<String>> = Key {
    name: "path",
    kind: COOKIE_PATH,
    absent: Absent::Is("\"/\""),
    meaning: "The path that clients send the cookie for, with all paths below it.",
};

static SECURE: Key<Bool> = Key {
    name: "secure",
    kind: Bool,
    absent: Absent::Means("`true` for clients that are connected over TLS"),
    meaning: "Whether clients send the cookie over HTTPS only.",
};

static HTTP_ONLY: Key<Bool> = Key {
    name: "http_only",
    kind: Bool,
    absent: Absent::Is("true"),
    meaning: "Whether the cookie is hidden from scripts in a page.",
};

static SAME_SITE: Key<Choice<SameSite>> = Key {
    name: "same_site",
    kind: Choice {
        words: &[
            ("lax", SameSite::Lax),
            ("strict", SameSite::Strict),
            ("none", SameSite::None),
        ],
        later: &[],
    },
    absent: Absent::Is("\"lax\""),
    meaning: "Which cross-site requests carry the cookie: top-level navigation (`lax`), none (`strict`), or all (`none`). Browsers accept `none` only over HTTPS.",
};

static MAX_AGE: Key<Time> = Key {
    name: "max_age",
    kind: Time::milliseconds(1_000, 400 * 24 * 3_600_000),
    absent: Absent::Means("until the client's session ends"),
    meaning: "How long a client keeps the cookie, in whole seconds. It is not extended by requests: after this time a backend is chosen again.",
};

/// A value that is the name of a cookie (RFC 6265 §4.1.1).
pub(super) const COOKIE_NAME: Text<String> = Text {
    what: "name of a cookie, at most 64 characters",
    parse: cookie_name,
};

const COOKIE_PATH: Text<String> = Text {
    what: "path of a URL without `;`",
    parse: cookie_path,
};

fn cookie_name(text: &str) -> Result<String, Complaint> {
    let hint = "a name is 1 to 64 letters, digits and !#$%&'*+-.^_`|~";
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > 64 {
        let found = format!("is {} characters long", text.chars().count());
        return Err(Complaint::new(found, hint));
    }
    match text.bytes().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err(Complaint::new("is not the name of a cookie", hint)),
    }
}

fn cookie_path(text: &str) -> Result<String, Complaint> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    if text.starts_with('/') && text.len() <= 1024 && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    let hint = "write a path that begins with /, percent-encoded where needed: \"/shop\"";
    Err(Complaint::new("is not a path for a cookie", hint))
}

/// Reads the `[pool.sticky]` of a pool.
pub(super) fn read(section: &Section<'_>) -> Result<Sticky, Reported> {
    let cookie = section.value(&COOKIE).map(Spanned::into_inner);
    let key_file = section.value(&KEY_FILE).map(Spanned::into_inner);
    let path = section.value(&PATH).map(Spanned::into_inner);
    let secure = section.optional(&SECURE);
    let http_only = section.value(&HTTP_ONLY).map(Spanned::into_inner);
    let same_site = section.value(&SAME_SITE);
    let max_age = section.optional(&MAX_AGE);
    let (secure, same_site) = (secure?, same_site?);
    if *same_site.get_ref() == SameSite::None
        && let Some(secure) = secure.as_ref().filter(|secure| !secure.get_ref())
    {
        let message = "secure is false, but same_site is \"none\"".to_owned();
        let hint = "browsers reject such a cookie: remove secure, or write same_site = \"lax\"";
        return Err(section
            .source()
            .error(secure.span(), message, hint.to_owned()));
    }
    Ok(Sticky {
        cookie: cookie?,
        path: path?,
        secure: secure.map(Spanned::into_inner),
        http_only: http_only?,
        same_site: same_site.into_inner(),
        max_age: max_age?.map(Spanned::into_inner),
        key_file: key_file?,
    })
}
