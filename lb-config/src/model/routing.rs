//! Routes, header edits and error pages of the HTTP front.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use regex::bytes::Regex;

use super::{Name, Pool};

/// Routes, header edits and error pages of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// The routes, in the order of the file: the first that matches a request handles it.
    pub routes: Vec<Route>,
    /// Changes of the header of every request that is forwarded.
    pub request_headers: HeaderEdits,
    /// Changes of the header of every response, backends' and lb's own. Their values have no
    /// variables.
    pub response_headers: HeaderEdits,
    /// Files for the front's own answers, by status.
    pub error_pages: BTreeMap<u16, PathBuf>,
}

impl Routing {
    /// Whether there are neither routes nor header edits nor error pages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the files that routes and error pages name.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let bodies = self.routes.iter().filter_map(|route| match &route.action {
            Action::Respond(Respond {
                body: Some(RespondBody::File(file)),
                ..
            }) => Some(file),
            _ => None,
        });
        self.error_pages.values().chain(bodies)
    }
}

/// A route: handles the requests that meet all its conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The route's name, or its number, counted from 1, if the file gives no name; unique in the
    /// service.
    pub name: Name,
    /// The request's host is one of these; empty: any host.
    pub hosts: Vec<HostRule>,
    /// The condition on the request's path; `None`: any path.
    pub path: Option<PathRule>,
    /// The request's method is one of these; empty: any method.
    pub methods: Vec<String>,
    /// Conditions on the request's header, all of which must hold.
    pub headers: Vec<HeaderRule>,
    /// What happens to the request.
    pub action: Action,
    /// Changes of the request's header, made after the changes of the service.
    pub request_headers: HeaderEdits,
    /// Changes of the response's header, made after the changes of the service.
    pub response_headers: HeaderEdits,
}

impl Route {
    /// Returns the pool that the route names.
    #[must_use]
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        match &self.action {
            Action::Pool { pool, .. } => Some(pool),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// Whether the route matches every request.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.hosts.is_empty()
            && self.path.is_none()
            && self.methods.is_empty()
            && self.headers.is_empty()
    }
}

/// A condition on a host, without port and without a dot at its end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostRule {
    /// The host is this name, in lower case.
    Name(String),
    /// The host is any name below this one, in lower case: `example.com` for `*.example.com`.
    Below(String),
    /// The host is this IP address.
    Address(IpAddr),
}

/// A condition on a path, in the form in which paths are compared (see [`crate::request_path`]).
#[derive(Clone, Debug, PartialEq)]
pub enum PathRule {
    /// The path is this one.
    Exact(Vec<u8>),
    /// The path is this one, or below it by whole segments. It has no slash at its end, so it is
    /// empty for `/`.
    Prefix(Vec<u8>),
    /// The expression matches anywhere in the path.
    Regex(Pattern),
}

/// A condition on a field of a request's header.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderRule {
    /// The field's name.
    pub name: String,
    /// The condition, which at least one of the field's lines must meet.
    pub test: HeaderTest,
}

/// A condition on a line of a header field.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderTest {
    /// The field is present.
    Present,
    /// The line has this value.
    Is(String),
    /// The expression matches anywhere in the line.
    Regex(Pattern),
}

/// A regular expression over bytes. Matching takes time linear in the input, and the compiled size
/// is bounded.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Largest size of a compiled expression, in bytes.
    const LARGEST: usize = 1 << 20;

    /// Compiles an expression. `.` matches any byte; `\d`, `\w` and case are those of ASCII.
    ///
    /// # Errors
    /// The text is not a regular expression, or its compiled form is larger than 1 MiB.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        regex::bytes::RegexBuilder::new(text)
            .unicode(false)
            // Otherwise a path with `%0a` or `%ff` would bypass an expression with a dot.
            .dot_matches_new_line(true)
            .size_limit(Self::LARGEST)
            .dfa_size_limit(Self::LARGEST)
            .nest_limit(64)
            .build()
            .map(Self)
    }

    /// Whether the expression matches anywhere in the bytes.
    #[must_use]
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }

    /// Returns the text of the expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A backend of a pool answers.
    Pool {
        /// The pool.
        pool: Arc<Pool>,
        /// The replacement of the route's path prefix in forwarded requests; begins with `/`.
        replace_prefix: Option<String>,
    },
    /// The client is redirected.
    Redirect(Redirect),
    /// The front answers with a fixed response.
    Respond(Respond),
}

/// A redirect.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// The target URL. Its scheme and host cannot come from the request's path or query.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body; `None`: no body.
    pub body: Option<RespondBody>,
    /// The content type of the body.
    pub content_type: String,
}

/// The body of a fixed response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RespondBody {
    /// The body is this text.
    Text(String),
    /// The body is what this file contains when the configuration is loaded.
    File(PathBuf),
}

/// Changes of a header. None of the named fields frames a message or belongs to a connection; every
/// value is one line of visible ASCII.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderEdits {
    /// Header lines that replace all lines with the same name.
    pub set: Vec<(String, Template)>,
    /// Header lines that are added to those with the same name.
    pub add: Vec<(String, Template)>,
    /// Names whose lines are removed.
    pub remove: Vec<String>,
}

/// Text with variables.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Template(pub Vec<TemplatePart>);

/// A part of a [`Template`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TemplatePart {
    /// Literal text.
    Text(String),
    /// A value of the request.
    Variable(Variable),
}

/// A value of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Variable {
    /// The remote address of the client's connection.
    ClientIp,
    /// `http` or `https`: how the client is connected.
    Scheme,
    /// The host, without port.
    Host,
    /// The host, without port and without a leading `www.`.
    BareHost,
    /// The path, as it was sent.
    Path,
    /// `?` and the query; empty without a query.
    Query,
}

impl Variable {
    /// Every variable with its name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("client_ip", Self::ClientIp),
        ("scheme", Self::Scheme),
        ("host", Self::Host),
        ("bare_host", Self::BareHost),
        ("path", Self::Path),
        ("query", Self::Query),
    ];
}

impl Template {
    /// Returns the text with each variable replaced by its value.
    pub fn render<'a>(&'a self, value_of: impl Fn(Variable) -> &'a str) -> Cow<'a, str> {
        let text = |part: &'a TemplatePart| match part {
            TemplatePart::Text(text) => text.as_str(),
            TemplatePart::Variable(variable) => value_of(*variable),
        };
        match &*self.0 {
            [part] => Cow::Borrowed(text(part)),
            parts => Cow::Owned(parts.iter().map(text).collect()),
        }
    }

    /// Whether the text has a variable.
    #[must_use]
    pub fn has_variables(&self) -> bool {
        let mut parts = self.0.iter();
        parts.any(|part| matches!(part, TemplatePart::Variable(_)))
    }
}
