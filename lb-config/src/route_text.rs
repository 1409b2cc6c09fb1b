//! Text values of routes and header edits: hosts, paths, methods, names and values of header
//! fields, expressions.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    HostRule, Pattern, Template, TemplatePart, Variable,
    kind::{Complaint, Text, TextOrDigits},
    suggest,
};
use crate::request_path::{self, Ambiguity};

/// A value that is the host in a condition of a route.
pub(super) const HOST: Text<HostRule> = Text {
    what: "host name, `\"*.example.com\"`, or address",
    parse: host,
};

/// A value that is the whole path in a condition of a route.
pub(super) const EXACT_PATH: Text<Vec<u8>> = Text {
    what: "path of a URL",
    parse: path,
};

/// A value that is the prefix of a path in a condition of a route, or its replacement.
pub(super) const PREFIX: Text<String> = Text {
    what: "prefix of a path, whole segments",
    parse: prefix,
};

/// A value that is the method in a condition of a route.
pub(super) const METHOD: Text<String> = Text {
    what: "method",
    parse: method,
};

/// A value that is a regular expression.
pub(super) const REGEX: Text<Pattern> = Text {
    what: "regular expression",
    parse: pattern,
};

/// A value that is the name of a header field in a condition of a route.
pub(super) const LOOKED_AT: Text<String> = Text {
    what: "name of a header field",
    parse: looked_at,
};

/// The kind of the key that holds the value which a condition of a route compares with that of a
/// header field.
pub(super) const WANTED_VALUE: Text<String> = Text {
    what: "value of a header field",
    parse: plain_value,
};

/// A value that is the name of a header field that is changed in requests.
pub(super) const REQUEST_FIELD: Text<String> = Text {
    what: "name",
    parse: request_field,
};

/// A value that is the name of a header field that is changed in responses.
pub(super) const RESPONSE_FIELD: Text<String> = Text {
    what: "name",
    parse: response_field,
};

/// A value that is the new value of a header field in requests.
pub(super) const REQUEST_VALUE: Text<Template> = Text {
    what: "value, may have variables",
    parse: request_value,
};

/// A value that is the new value of a header field in responses.
pub(super) const RESPONSE_VALUE: Text<Template> = Text {
    what: "value",
    parse: response_value,
};

/// A value that is a content type.
pub(super) const CONTENT_TYPE: Text<String> = Text {
    what: "content type",
    parse: plain_value,
};

/// A value that is the status of an error page.
pub(super) const ERROR_STATUS: Text<u16> = Text {
    what: "a status, 400 to 599",
    parse: error_status,
};

/// A value that is the status of a redirect.
pub(super) const REDIRECT_STATUS: TextOrDigits<u16> = TextOrDigits(Text {
    what: "301, 302, 303, 307 or 308",
    parse: redirect_status,
});

/// Maximum length in bytes of a header field's value, a path or an expression in a route.
pub(super) const LONGEST: usize = 2048;

fn host(text: &str) -> Result<HostRule, Complaint> {
    if let Some(parent) = text.strip_prefix("*.") {
        return name(parent).map(HostRule::Below);
    }
    let address = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = address.map_or_else(
        || text.parse::<IpAddr>().ok(),
        |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
    );
    match address {
        Some(address) => Ok(HostRule::Address(address)),
        None => name(text).map(HostRule::Name),
    }
}

fn name(text: &str) -> Result<String, Complaint> {
    let example = "write a name such as \"www.example.com\", or \"*.example.com\" for all below it";
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    if text.contains(':') {
        let hint = "routes ignore the port: write the host only";
        return Err(Complaint::new("has a port", hint));
    }
    if text.ends_with('.') && text.len() > 1 {
        let hint = "routes ignore a dot at the end of a request's host: remove it";
        return Err(Complaint::new("ends in a dot", hint));
    }
    if text.len() > 253 || !text.split('.').all(label) {
        return Err(Complaint::new("is not a host name", example));
    }
    Ok(text.to_ascii_lowercase())
}

fn path(text: &str) -> Result<Vec<u8>, Complaint> {
    let example = "write a path that begins with /, such as \"/api\"";
    if !text.starts_with('/') {
        return Err(Complaint::new("does not begin with /", example));
    }
    if text.len() > LONGEST {
        let found = format!("is {} bytes long", text.len());
        return Err(Complaint::new(
            found,
            format!("at most {LONGEST} are allowed"),
        ));
    }
    if text.contains(['?', '#']) {
        let hint = "routes compare the path only: remove everything from the ? or # on; write %3f \
                    for a ? in the path";
        return Err(Complaint::new("has a query or a fragment", hint));
    }
    let ambiguous = |ambiguity: Ambiguity| {
        let hint = "requests with such a path are refused: see docs/routing.md on how paths are \
                    compared";
        Complaint::new(ambiguity.in_words(), hint)
    };
    let comparable = request_path::comparable(text.as_bytes()).map_err(ambiguous)?;
    let has_others = text.contains([';', '\\']) || text.contains("//");
    let lower = text.to_ascii_lowercase();
    if has_others
        || ["%2f", "%5c", "%3b"]
            .iter()
            .any(|code| lower.contains(code))
    {
        let hint = "paths are compared without empty segments and ;…, and with \\ and %2f as \
                    separators: write the path in that form";
        return Err(Complaint::new("has //, ;, \\ or an encoding of them", hint));
    }
    Ok(comparable.into_owned())
}

fn prefix(text: &str) -> Result<String, Complaint> {
    path(text)?;
    let printable = |byte: u8| byte.is_ascii_graphic();
    if !text.bytes().all(printable) {
        let hint = "requests have printable ASCII without spaces: write other characters as %XX";
        return Err(Complaint::new("is not allowed in a request", hint));
    }
    Ok(text.to_owned())
}

fn method(text: &str) -> Result<String, Complaint> {
    if text == "CONNECT" {
        let hint = "the front answers it with 501 before routes are compared: remove it";
        return Err(Complaint::new("never reaches a route", hint));
    }
    if text.is_empty() || text.len() > 32 || !text.bytes().all(is_token) {
        return Err(Complaint::new(
            "is not a method",
            "write a method such as \"GET\"",
        ));
    }
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let hint = format!(
            "methods are case-sensitive: write \"{}\"",
            text.to_ascii_uppercase()
        );
        return Err(Complaint::new("has lower-case letters", hint));
    }
    Ok(text.to_owned())
}

fn pattern(text: &str) -> Result<Pattern, Complaint> {
    if text.len() > LONGEST {
        let found = format!("is {} bytes long", text.len());
        return Err(Complaint::new(
            found,
            format!("at most {LONGEST} are allowed"),
        ));
    }
    Pattern::new(text).map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => {
            let found = format!("needs more than {limit} bytes when compiled");
            let hint = "large repetitions such as {1,1000} are the usual cause: shorten them";
            Complaint::new(found, hint)
        }
        error => {
            // The error of the `regex` library repeats the expression with a marker; only its last
            // line says what is wrong.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let last = last.strip_prefix("error: ").unwrap_or(last);
            let hint = "the syntax is that of https://docs.rs/regex, without look-around and \
                        backreferences";
            Complaint::new(format!("is not a regular expression: {last}"), hint)
        }
    })
}

/// Whether a byte may be part of a token (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn field_name(text: &str) -> Result<String, Complaint> {
    if text.is_empty() || text.len() > 256 || !text.bytes().all(is_token) {
        let hint = "write a name such as \"X-Real-IP\", without the colon";
        return Err(Complaint::new("is not the name of a header field", hint));
    }
    Ok(text.to_owned())
}

/// Names of header fields that belong to one connection (RFC 9110 §7.6.1) or that frame a message
/// (RFC 9112 §6).
const OF_A_CONNECTION: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Names of header fields in which the front passes information about the client to backends.
const FORWARDED: [&str; 4] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Prefixes of the names of header fields in which the front passes the client's certificate to
/// backends.
const OF_CERTIFICATES: [&str; 2] = ["client-cert", "x-client-cert"];

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.contains(&&*hyphenated(name))
}

/// Converts the name of a header field to lower case, and `_` to `-`, because applications treat
/// `_` and `-` alike.
fn hyphenated(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

fn looked_at(text: &str) -> Result<String, Complaint> {
    let name = field_name(text)?;
    if is_one_of(text, &OF_A_CONNECTION) && !text.eq_ignore_ascii_case("upgrade") {
        let hint = "this header field belongs to the connection between the client and lb, which \
                    does not forward it: remove the condition";
        return Err(Complaint::new("cannot be used in a condition", hint));
    }
    if text.eq_ignore_ascii_case("host") {
        let hint = "write host = \"…\" in the route instead, which ignores case and port";
        return Err(Complaint::new("cannot be used in a condition", hint));
    }
    Ok(name)
}

fn request_field(text: &str) -> Result<String, Complaint> {
    let name = edited_field(text)?;
    if is_one_of(text, &FORWARDED) {
        let hint = "lb writes it itself, so that backends can trust it; trusted_proxies in [http] \
                    names the proxies whose fields are kept";
        return Err(Complaint::new(
            "is a header field that the configuration may not change",
            hint,
        ));
    }
    let name_in_lower_case = hyphenated(text);
    let begins = |start: &&str| name_in_lower_case.starts_with(start);
    if OF_CERTIFICATES.iter().any(begins) {
        let hint = "lb writes it itself, so that backends can trust it: set client_certificates in \
                    [service.tls]";
        return Err(Complaint::new(
            "is a header field that the configuration may not change",
            hint,
        ));
    }
    if is_one_of(text, &["host"]) {
        let hint = "backends get the host that the client sent, by which the route was chosen: \
                    remove it";
        return Err(Complaint::new(
            "is a header field that the configuration may not change",
            hint,
        ));
    }
    Ok(name)
}

fn response_field(text: &str) -> Result<String, Complaint> {
    edited_field(text)
}

fn edited_field(text: &str) -> Result<String, Complaint> {
    let name = field_name(text)?;
    if is_one_of(text, &OF_A_CONNECTION) {
        let hint = "it frames a message or belongs to one connection, so lb writes it itself: \
                    remove it";
        return Err(Complaint::new(
            "is a header field that the configuration may not change",
            hint,
        ));
    }
    Ok(name)
}

fn plain_value(text: &str) -> Result<String, Complaint> {
    if text.is_empty() {
        return Err(Complaint::new("is empty", "remove it, or write a value"));
    }
    if text.len() > LONGEST {
        let found = format!("is {} bytes long", text.len());
        return Err(Complaint::new(
            found,
            format!("at most {LONGEST} are allowed"),
        ));
    }
    if text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']) {
        let hint = "space around a value is not part of it (RFC 9110 §5.5): remove the space";
        return Err(Complaint::new("begins or ends with a space", hint));
    }
    let plain = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    if !text.bytes().all(plain) {
        let hint = "a value is one line of printable ASCII (RFC 9110 §5.5)";
        return Err(Complaint::new("is not allowed in a header", hint));
    }
    Ok(text.to_owned())
}

fn request_value(text: &str) -> Result<Template, Complaint> {
    plain_value(text)?;
    template(text)
}

fn response_value(text: &str) -> Result<Template, Complaint> {
    let template = request_value(text)?;
    if template.has_variables() {
        let hint = "variables are allowed only in the headers of requests and in redirects";
        return Err(Complaint::new("has a variable", hint));
    }
    Ok(template)
}

/// Parses text with variables, which are `{`, lower-case letters and `}`. Other braces are literal,
/// as in JSON.
pub(super) fn template(text: &str) -> Result<Template, Complaint> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        plain.push_str(before);
        let word = after.split_once('}').filter(|(word, _)| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        });
        let Some((word, after_word)) = word else {
            plain.push('{');
            rest = after;
            continue;
        };
        if !plain.is_empty() {
            parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
        }
        parts.push(TemplatePart::Variable(variable(word)?));
        rest = after_word;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(TemplatePart::Text(plain));
    }
    Ok(Template(parts))
}

fn variable(word: &str) -> Result<Variable, Complaint> {
    let words = Variable::ALL.map(|(word, _)| word);
    let known = Variable::ALL.into_iter().find(|(known, _)| *known == word);
    known.map(|(_, variable)| variable).ok_or_else(|| {
        let all = words.map(|word| format!("{{{word}}}"));
        let hint = match suggest::nearest(word, words) {
            Some(near) => format!(
                "did you mean {{{near}}}? The variables are {}",
                all.join(", ")
            ),
            None => format!("the variables are {}", all.join(", ")),
        };
        Complaint::new(format!("has the unknown variable {{{word}}}"), hint)
    })
}

/// Parses an `http` or `https` URL. The path of a request can never become part of the URL's host:
/// its variable is after the first `/` of the URL, or its value begins with a `/`.
fn redirect_status(text: &str) -> Result<u16, Complaint> {
    match text {
        "301" => Ok(301),
        "302" => Ok(302),
        "303" => Ok(303),
        "307" => Ok(307),
        "308" => Ok(308),
        _ => {
            let hint = "307 and 308 keep the method, 303 changes it to GET; 301 and 308 are \
                        permanent";
            Err(Complaint::new("is not a status of a redirect", hint))
        }
    }
}

fn error_status(text: &str) -> Result<u16, Complaint> {
    let status = text
        .parse()
        .ok()
        .filter(|status| (400..=599).contains(status));
    status.ok_or_else(|| {
        let hint =
            "lb itself answers with 400, 404, 408, 417, 421, 431, 501, 502, 503, 504 and 505";
        Complaint::new("is not a status of an error", hint)
    })
}
