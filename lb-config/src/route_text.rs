//! What routes and header edits write as text: hosts, paths, methods, names and values of header
//! fields, expressions, URLs with variables.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    HostRule, Pattern, Template, TemplatePart, Variable,
    kind::{Complaint, Text, TextOrDigits},
    suggest,
};
use crate::request_path::{self, Ambiguity};

/// A host of a request.
pub(super) const HOST: Text<HostRule> = Text {
    what: "host name, `\"*.example.com\"`, or address",
    parse: host,
};

/// A whole path.
pub(super) const EXACT_PATH: Text<Vec<u8>> = Text {
    what: "path of a URL",
    parse: path,
};

/// The beginning of a path; also what it is replaced by.
pub(super) const PREFIX: Text<String> = Text {
    what: "beginning of a path, whole segments",
    parse: prefix,
};

/// A method.
pub(super) const METHOD: Text<String> = Text {
    what: "method",
    parse: method,
};

/// An expression.
pub(super) const REGEX: Text<Pattern> = Text {
    what: "regular expression",
    parse: pattern,
};

/// The name of a header field that is looked at.
pub(super) const LOOKED_AT: Text<String> = Text {
    what: "name of a header field",
    parse: looked_at,
};

/// The value that a header field is to have.
pub(super) const WANTED_VALUE: Text<String> = Text {
    what: "value of a header field",
    parse: plain_value,
};

/// The name of a field that is changed in requests.
pub(super) const REQUEST_FIELD: Text<String> = Text {
    what: "name",
    parse: request_field,
};

/// The name of a field that is changed in responses.
pub(super) const RESPONSE_FIELD: Text<String> = Text {
    what: "name",
    parse: response_field,
};

/// A value for requests.
pub(super) const REQUEST_VALUE: Text<Template> = Text {
    what: "value, may have variables",
    parse: request_value,
};

/// A value for responses.
pub(super) const RESPONSE_VALUE: Text<Template> = Text {
    what: "value",
    parse: response_value,
};

/// Where a redirect leads.
pub(super) const URL: Text<Template> = Text {
    what: "URL, may have variables",
    parse: url,
};

/// A content type.
pub(super) const CONTENT_TYPE: Text<String> = Text {
    what: "content type",
    parse: plain_value,
};

/// The status of an error page.
pub(super) const ERROR_STATUS: Text<u16> = Text {
    what: "a status, 400 to 599",
    parse: error_status,
};

/// The status of a redirect.
pub(super) const REDIRECT_STATUS: TextOrDigits<u16> = TextOrDigits(Text {
    what: "301, 302, 303, 307 or 308",
    parse: redirect_status,
});

/// The most that a value, a path or an expression may have, in bytes.
const LONGEST: usize = 2048;

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
        let hint = "the port is not looked at: write the host alone";
        return Err(Complaint::new("has a port", hint));
    }
    if text.ends_with('.') && text.len() > 1 {
        let hint = "a dot at the end of a request's host is not looked at: leave it out";
        return Err(Complaint::new("ends in a dot", hint));
    }
    if text.len() > 253 || !text.split('.').all(label) {
        return Err(Complaint::new("is not a host", example));
    }
    Ok(text.to_ascii_lowercase())
}

fn path(text: &str) -> Result<Vec<u8>, Complaint> {
    let example = "write a path from its /: \"/api\", say";
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
        let hint = "routes look at the path alone: leave out what begins with ? or #; %3f is a ? in \
                    a path";
        return Err(Complaint::new("has a query or a fragment", hint));
    }
    let ambiguous = |ambiguity: Ambiguity| {
        let hint = "a request for it is refused: see docs/routing.md on how paths are compared";
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
        let hint = "paths are compared without empty segments and without ;…, and \\ and %2f \
                    separate segments: write it as it is then";
        return Err(Complaint::new("has //, ;, \\ or an encoding of them", hint));
    }
    Ok(comparable.into_owned())
}

fn prefix(text: &str) -> Result<String, Complaint> {
    path(text)?;
    let printable = |byte: u8| byte.is_ascii_graphic();
    if !text.bytes().all(printable) {
        let hint = "a request carries printable ASCII without spaces: write others as %XX";
        return Err(Complaint::new("cannot stand in a request", hint));
    }
    Ok(text.to_owned())
}

fn method(text: &str) -> Result<String, Complaint> {
    if text == "CONNECT" {
        let hint = "the front refuses it with 501, before any route";
        return Err(Complaint::new("is never served", hint));
    }
    if text.is_empty() || text.len() > 32 || !text.bytes().all(is_token) {
        return Err(Complaint::new("is not a method", "write \"GET\", say"));
    }
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let hint = format!(
            "case counts in a method: write \"{}\"",
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
            let found = format!("takes more than {limit} bytes once it is compiled");
            let hint = "repetitions such as {1,1000} are what makes it large: shorten them";
            Complaint::new(found, hint)
        }
        error => {
            // The expression again, a marker under it, and then what is wrong.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let last = last.strip_prefix("error: ").unwrap_or(last);
            let hint = "the syntax is that of https://docs.rs/regex, which has no look-around and \
                        no backreferences";
            Complaint::new(format!("is no regular expression: {last}"), hint)
        }
    })
}

/// A byte of a token (RFC 9110 §5.6.2).
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

/// Fields that belong to one connection (RFC 9110 §7.6.1) or that say where a message ends (RFC 9112
/// §6).
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

/// Fields by which the front tells backends about the client.
const FORWARDED: [&str; 4] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// What fields begin with by which the front tells backends about the client's certificate.
const OF_CERTIFICATES: [&str; 2] = ["client-cert", "x-client-cert"];

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.contains(&&*hyphenated(name))
}

/// In lower case, with the hyphens that applications make of underscores.
fn hyphenated(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

fn looked_at(text: &str) -> Result<String, Complaint> {
    let name = field_name(text)?;
    if is_one_of(text, &OF_A_CONNECTION) && !text.eq_ignore_ascii_case("upgrade") {
        let hint = "it belongs to the connection between the client and lb, which does not forward \
                    it: leave the condition out";
        return Err(Complaint::new("is not a field that can be looked at", hint));
    }
    if text.eq_ignore_ascii_case("host") {
        let hint = "write host = \"…\" in the route, which compares as hosts are compared";
        return Err(Complaint::new("is looked at by `host`", hint));
    }
    Ok(name)
}

fn request_field(text: &str) -> Result<String, Complaint> {
    let name = edited_field(text)?;
    if is_one_of(text, &FORWARDED) {
        let hint = "lb writes it itself, so that backends can believe it; trusted_proxies of [http] \
                    says whose are kept";
        return Err(Complaint::new("cannot be changed", hint));
    }
    let name_in_lower_case = hyphenated(text);
    let begins = |start: &&str| name_in_lower_case.starts_with(start);
    if OF_CERTIFICATES.iter().any(begins) {
        let hint = "lb writes it itself, so that backends can believe it: client_certificates in \
                    [service.tls] has it written";
        return Err(Complaint::new("cannot be changed", hint));
    }
    if is_one_of(text, &["host"]) {
        let hint = "the host is what the client asked for, and by what its route was found: leave \
                    it out";
        return Err(Complaint::new("cannot be changed", hint));
    }
    Ok(name)
}

fn response_field(text: &str) -> Result<String, Complaint> {
    edited_field(text)
}

fn edited_field(text: &str) -> Result<String, Complaint> {
    let name = field_name(text)?;
    if is_one_of(text, &OF_A_CONNECTION) {
        let hint = "it says how a message is framed or belongs to one connection, and lb writes it \
                    itself: leave it out";
        return Err(Complaint::new("cannot be changed", hint));
    }
    Ok(name)
}

fn plain_value(text: &str) -> Result<String, Complaint> {
    if text.is_empty() {
        return Err(Complaint::new("is empty", "leave it out, or write a value"));
    }
    if text.len() > LONGEST {
        let found = format!("is {} bytes long", text.len());
        return Err(Complaint::new(
            found,
            format!("at most {LONGEST} are allowed"),
        ));
    }
    if text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']) {
        let hint = "space around a value is no part of it (RFC 9110 §5.5): leave it out";
        return Err(Complaint::new("begins or ends with a space", hint));
    }
    let plain = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    if !text.bytes().all(plain) {
        let hint = "a value is one line of printable ASCII (RFC 9110 §5.5)";
        return Err(Complaint::new("cannot stand in a header", hint));
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
        let hint = "variables are for the headers of requests and for redirects";
        return Err(Complaint::new("has a variable", hint));
    }
    Ok(template)
}

/// A `{`, small letters and a `}` are a variable; other braces stand for themselves, as in JSON.
fn template(text: &str) -> Result<Template, Complaint> {
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
            Some(near) => format!("did you mean {{{near}}}? There are {}", all.join(", ")),
            None => format!("there are {}", all.join(", ")),
        };
        Complaint::new(format!("has {{{word}}}, which is no variable"), hint)
    })
}

/// An `http` or `https` URL. What the path of a request says can never become its host: it comes
/// after the first `/` of the URL, or begins with one itself.
fn url(text: &str) -> Result<Template, Complaint> {
    let example = "write \"https://{host}{path}{query}\", say";
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`|".contains(&byte);
    if !text.bytes().all(plain) || text.len() > LONGEST {
        return Err(Complaint::new("is not a URL", example));
    }
    let template = template(text)?;
    let literal = |part: &TemplatePart| match part {
        TemplatePart::Text(text) => !text.contains(['{', '}']),
        TemplatePart::Variable(_) => true,
    };
    if !template.0.iter().all(literal) {
        return Err(Complaint::new("has a brace that is no variable", example));
    }
    let schemes = ["https://", "http://", "{scheme}://"];
    let rest = schemes
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let Some(rest) = rest else {
        let hint = format!("it begins with https://, http:// or {{scheme}}://: {example}");
        return Err(Complaint::new("is not a whole URL", hint));
    };
    let ends = ["/", "?", "#", "{path}", "{query}"];
    let end = ends.iter().filter_map(|end| rest.find(end)).min();
    let authority = &rest[..end.unwrap_or(rest.len())];
    if authority.is_empty() || authority.contains("{client_ip}") || authority.contains("{scheme}") {
        return Err(Complaint::new("has no host", example));
    }
    if authority.contains('@') {
        let hint = "browsers hide or refuse it: leave out what stands before the @";
        return Err(Complaint::new("has a user name", hint));
    }
    Ok(template)
}

fn redirect_status(text: &str) -> Result<u16, Complaint> {
    match text {
        "301" => Ok(301),
        "302" => Ok(302),
        "303" => Ok(303),
        "307" => Ok(307),
        "308" => Ok(308),
        _ => {
            let hint = "307 and 308 keep the method, 303 makes it GET; 301 and 308 are for ever";
            Err(Complaint::new("is no status of a redirect", hint))
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
        Complaint::new("is no status of an error", hint)
    })
}
