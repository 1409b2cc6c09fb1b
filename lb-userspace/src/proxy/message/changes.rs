//! Changes that a service and its routes make to the heads of requests and responses.

use super::{cookies::push_without, field_line::push_field};
use crate::config::{HeaderEdits, Template, Variable};

/// The header edits of a service and of a route, combined.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FieldEdits {
    /// Names of the header fields to remove.
    dropped: Vec<String>,
    /// Header lines to add: their names, and the templates of their values.
    lines: Vec<(String, Template)>,
}

impl FieldEdits {
    /// Combines the edits of a service and of a route. A line of the service is left out if the
    /// route sets or removes fields of that name.
    pub(crate) fn new(of_service: &HeaderEdits, of_route: Option<&HeaderEdits>) -> Self {
        let mut edits = Self::default();
        for layer in std::iter::once(of_service).chain(of_route) {
            for name in layer.set.iter().map(|(name, _)| name).chain(&layer.remove) {
                edits.lines.retain(|(other, _)| !same_name(other, name));
                if !edits.drops(name) {
                    edits.dropped.push(name.clone());
                }
            }
            edits.lines.extend(layer.set.iter().cloned());
            edits.lines.extend(layer.add.iter().cloned());
        }
        edits
    }

    /// Returns whether there are no header edits.
    pub(crate) fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.lines.is_empty()
    }

    /// Returns whether header fields of this name are removed.
    pub(crate) fn drops(&self, name: &str) -> bool {
        self.dropped.iter().any(|dropped| same_name(dropped, name))
    }

    /// Returns the added header lines. Their values must have no variables, because variables are
    /// rendered as empty text here.
    pub(crate) fn fixed_lines(&self) -> impl Iterator<Item = (&str, std::borrow::Cow<'_, str>)> {
        let lines = self.lines.iter();
        lines.map(|(name, value)| (name.as_str(), value.render(|_| "")))
    }
}

/// Returns whether a server may take two header names for the same: CGI-like backends read `_` as
/// `-`.
fn same_name(one: &str, other: &str) -> bool {
    let fold = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

/// The values that the variables in header edits have for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    /// The IP address of the connected client, as text.
    pub(crate) client: &'a str,
    /// Whether the client is connected over TLS.
    pub(crate) https: bool,
    /// The host that the request names, without a port.
    pub(crate) host: &'a str,
    /// The path and query of the request.
    pub(crate) target: &'a str,
}

impl<'a> Values<'a> {
    /// Returns the value that a variable has for the request.
    pub(crate) fn of(&self, variable: Variable) -> &'a str {
        match variable {
            Variable::ClientIp => self.client,
            Variable::Scheme if self.https => "https",
            Variable::Scheme => "http",
            Variable::Host => self.host,
            Variable::BareHost => without_www(self.host),
            Variable::Path => path_of(self.target),
            Variable::Query => self.target.find('?').map_or("", |at| &self.target[at..]),
        }
    }
}

fn without_www(host: &str) -> &str {
    match host.split_at_checked(4) {
        Some((www, rest)) if www.eq_ignore_ascii_case("www.") && !rest.is_empty() => rest,
        _ => host,
    }
}

/// Returns the path of a request target without its query; `/` if the target has no path (RFC 9110
/// §4.2.3).
pub(crate) fn path_of(target: &str) -> &str {
    match target.split('?').next() {
        None | Some("" | "*") => "/",
        Some(path) => path,
    }
}

/// The changes that the front makes to the head of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes<'a> {
    /// A target that replaces the client's target; `None` if it is not changed.
    pub(crate) target: Option<&'a str>,
    /// The header edits, and the values of the variables in them; `None` if there are no edits.
    pub(crate) fields: Option<(&'a FieldEdits, Values<'a>)>,
    /// The name of the front's own session cookie, which is hidden from the backend.
    pub(crate) hidden_cookie: Option<&'a str>,
}

impl Changes<'_> {
    /// Returns whether header fields of this name are kept, and not removed.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        self.fields.is_none_or(|(edits, _)| !edits.drops(name))
    }

    /// Appends `separator` and the value of a `Cookie` line, without the front's own cookie.
    /// Appends nothing if the line has no other cookie.
    pub(crate) fn push_cookies(&self, line: &[u8], separator: &[u8], out: &mut Vec<u8>) {
        match self.hidden_cookie {
            Some(name) => push_without(line, name, separator, out),
            None => {
                out.extend_from_slice(separator);
                out.extend_from_slice(line);
            }
        }
    }

    /// Appends the header lines that the edits add.
    pub(crate) fn push_lines(&self, out: &mut Vec<u8>) {
        if let Some((edits, values)) = &self.fields {
            for (name, value) in &edits.lines {
                let value = value.render(|variable| values.of(variable));
                push_field(out, name, value.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TemplatePart;

    fn text(text: &str) -> Template {
        Template(vec![TemplatePart::Text(text.to_owned())])
    }

    #[test]
    fn a_route_decides_over_what_its_service_set_or_added() {
        let service = HeaderEdits {
            set: vec![("X-A".into(), text("1")), ("X-B".into(), text("1"))],
            add: vec![("X-C".into(), text("1"))],
            remove: vec!["X-D".into()],
        };
        let route = HeaderEdits {
            set: vec![("x-a".into(), text("2"))],
            add: vec![("X-C".into(), text("2")), ("X-D".into(), text("2"))],
            remove: vec!["X-B".into()],
        };
        let edits = FieldEdits::new(&service, Some(&route));
        let lines: Vec<_> = edits
            .fixed_lines()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(lines, ["X-C: 1", "x-a: 2", "X-C: 2", "X-D: 2"]);
        for dropped in ["X-A", "x-b", "X_D", "x_a"] {
            assert!(edits.drops(dropped), "{dropped}");
        }
        assert!(!edits.drops("X-C"));
    }

    #[test]
    fn variables_are_parts_of_the_request() {
        let values = Values {
            client: "192.0.2.7",
            https: true,
            host: "WWW.example.com",
            target: "/a%20b?c=d?e",
        };
        let all = Variable::ALL.map(|(_, variable)| values.of(variable));
        let wanted = [
            "192.0.2.7",
            "https",
            "WWW.example.com",
            "example.com",
            "/a%20b",
            "?c=d?e",
        ];
        assert_eq!(all, wanted);
        for (target, path) in [("", "/"), ("*", "/"), ("?q", "/"), ("/x", "/x")] {
            assert_eq!(path_of(target), path, "{target}");
        }
        assert_eq!(without_www("www."), "www.");
    }
}
