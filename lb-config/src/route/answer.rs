//! `redirect` and `respond`: the responses that the front makes itself for a route.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::super::{
    Redirect, Respond, RespondBody, Template,
    content_type::content_type,
    kind::{Complaint, Text, TextOrDigits, Whole},
    redirect_target::URL,
    route_text::{CONTENT_TYPE, REDIRECT_STATUS},
    schema::{Absent, Key, Schema},
    section::Section,
    source::Reported,
    text,
};

pub(super) static REDIRECT: Schema = Schema {
    name: "redirect",
    header: "[service.route.redirect]",
    about: "Redirects the client: `redirect = { to = \"https://{host}{path}{query}\" }`.",
    presence: "In place of `pool`.",
    keys: &[&TO, &REDIRECT_CODE],
    tables: &[],
};

static TO: Key<Text<Template>> = Key {
    name: "to",
    kind: URL,
    absent: Absent::Refused("\"https://{host}{path}{query}\""),
    meaning: "The URL, with the variables `{scheme}`, `{host}` (without a port), `{bare_host}` (the \
              same without `www.`), `{path}` and `{query}` (with its `?`). A path such as `/new` \
              keeps the scheme, the host and the port.",
};

static REDIRECT_CODE: Key<TextOrDigits<u16>> = Key {
    name: "status",
    kind: REDIRECT_STATUS,
    // The default is 307, because browsers cache a permanent redirect, even a mistaken one, and 302
    // makes them turn a POST into a GET.
    absent: Absent::Is("307"),
    meaning: "307: temporary, with the same method. 308: permanent, which browsers cache. 301 \
              (permanent) and 302 (temporary): a POST may become a GET. 303: always a GET.",
};

pub(super) static RESPOND: Schema = Schema {
    name: "respond",
    header: "[service.route.respond]",
    about: "Answers in place of a backend: `respond = { status = 503, file = \
            \"/etc/lb/maintenance.html\" }`.",
    presence: "In place of `pool`.",
    keys: &[&RESPOND_STATUS, &BODY, &FILE, &BODY_TYPE],
    tables: &[],
};

static RESPOND_STATUS: Key<Whole<u16>> = Key {
    name: "status",
    kind: Whole(RangeInclusive::new(200, 599)),
    absent: Absent::Refused("503"),
    meaning: "The status.",
};

static BODY: Key<Text<String>> = Key {
    name: "body",
    kind: Text {
        what: "text, at most 64 KiB",
        parse: body_text,
    },
    absent: Absent::Means("none"),
    meaning: "The body, in place of `file`. Not allowed with 204, 205 and 304.",
};

static FILE: Key<Text<PathBuf>> = Key {
    name: "file",
    kind: text::PATH,
    absent: Absent::Means("none"),
    meaning: "The file that holds the body, read when the configuration is loaded; at most 1 MiB.",
};

static BODY_TYPE: Key<Text<String>> = Key {
    name: "content_type",
    kind: CONTENT_TYPE,
    absent: Absent::Means("by the file name extension; `text/plain; charset=utf-8` for `body`"),
    meaning: "The body's content type.",
};

fn body_text(text: &str) -> Result<String, Complaint> {
    const LARGEST: usize = 64 << 10;
    if text.len() > LARGEST {
        let found = format!("is {} bytes long", text.len());
        return Err(Complaint::new(found, "put it in a file: file = \"…\""));
    }
    Ok(text.to_owned())
}

pub(super) fn read_redirect(section: &Section<'_>) -> Result<Redirect, Reported> {
    let (to, status) = (section.value(&TO), section.value(&REDIRECT_CODE));
    Ok(Redirect {
        to: to?.into_inner(),
        status: status?.into_inner(),
    })
}

pub(super) fn read_respond(section: &Section<'_>) -> Result<Respond, Reported> {
    let status = section.value(&RESPOND_STATUS);
    let body = section.optional(&BODY);
    let file = section.optional(&FILE);
    let content_type = section.optional(&BODY_TYPE);
    section.only_one(&["body", "file"], "keep one of them")?;
    let status = status?.into_inner();
    let (body, file, content_type) = (body?, file?, content_type?);
    let place = body
        .as_ref()
        .map(Spanned::span)
        .or(file.as_ref().map(Spanned::span));
    if let (204 | 205 | 304, Some(place)) = (status, place) {
        let message = format!("a response of status {status} cannot have a body");
        let hint = "remove the body, or write another status (RFC 9110 §6.4.1)".to_owned();
        return Err(section.source().error(place, message, hint));
    }
    let body = match (body, file) {
        (Some(body), _) => Some(RespondBody::Text(body.into_inner())),
        (None, Some(file)) => Some(RespondBody::File(file.into_inner())),
        (None, None) => None,
    };
    let content_type = content_type.map(Spanned::into_inner);
    Ok(Respond {
        status,
        content_type: content_type.unwrap_or_else(|| default_type(body.as_ref()).to_owned()),
        body,
    })
}

fn default_type(body: Option<&RespondBody>) -> &'static str {
    match body {
        Some(RespondBody::File(file)) => content_type(file),
        _ => content_type(Path::new("x.txt")),
    }
}
