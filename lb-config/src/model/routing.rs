//! Routes, header edits and error pages of the HTTP front.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use regex::bytes::Regex;

use super::{Name, Pool};

/// Routes, header edits and error pages of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// The routes, in the order of the file: the first route that matches a request handles it.
    pub routes: Vec<Route>,
    /// Changes of the header of every request that is forwarded to a backend.
    pub request_headers: HeaderEdits,
    /// Changes of the header of every response, whether of a backend or of `lb` itself. Their
    /// values have no variables.
    pub response_headers: HeaderEdits,
    /// Files with the bodies of the front's own answers, by status.
    pub error_pages: BTreeMap<u16, PathBuf>,
}

impl Routing {
    /// Whether the service has neither routes nor header edits nor error pages.
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
    /// The hosts that the route matches: the request's host must be one of them; empty for any
    /// host.
    pub hosts: Vec<HostRule>,
    /// The condition on the request's path; `None` for any path.
    pub path: Option<PathRule>,
    /// The methods that the route matches: the request's method must be one of them; empty for any
    /// method.
    pub methods: Vec<String>,
    /// Conditions on the request's header, all of which must hold.
    pub headers: Vec<HeaderRule>,
    /// What happens to a request that the route matches.
    pub action: Action,
    /// Changes of the request's header, made after the changes of the service.
    pub request_headers: HeaderEdits,
    /// Changes of the response's header, made after the changes of the service.
    pub response_headers: HeaderEdits,
}

impl Route {
    /// Returns the pool that the route names; `None` if the route answers requests itself.
    #[must_use]
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        match &self.action {
            Action::Pool { pool, .. } => Some(pool),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// Whether the route has no condition, so it matches every request.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.hosts.is_empty()
            && self.path.is_none()
            && self.methods.is_empty()
            && self.headers.is_empty()
    }
}

/// A condition on a request's host, without port and without a dot at its end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostRule {
    /// The host is this DNS name, in lower case.
    Name(String),
    /// The host is any DNS name below this one, which is in lower case: `example.com` for
    /// `*.example.com`.
    Below(String),
    /// The host is this IP address.
    Address(IpAddr),
}

/// A condition on a request's path, in the form in which paths are compared (see
/// [`crate::request_path`]).
#[derive(Clone, Debug, PartialEq)]
pub enum PathRule {
    /// The path is equal to this path.
    Exact(Vec<u8>),
    /// The path is equal to this path, or below it by whole segments. This path has no slash at its
    /// end, so it is empty for `/`.
    Prefix(Vec<u8>),
    /// The regular expression matches anywhere in the path.
    Regex(Pattern),
}

/// A condition on a field of a request's header, as a route has it.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderRule {
    /// The name of the header field.
    pub name: String,
    /// The condition that at least one of the field's values must meet.
    pub test: HeaderTest,
}

/// A condition on the value of a field of a request's header. If the header has several lines with
/// the field's name, each line is a value of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderTest {
    /// The field is present, with any value.
    Present,
    /// The field's value is exactly this text.
    Is(String),
    /// The regular expression matches anywhere in the field's value.
    Regex(Pattern),
}

/// A regular expression over bytes. Matching takes time linear in the input, and the compiled size
/// is bounded.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Maximum size of a compiled regular expression, in bytes.
    const LARGEST: usize = 1 << 20;

    /// Compiles an expression. `.` matches any byte; `\d`, `\w` and case are those of ASCII.
    ///
    /// # Errors
    /// The text is not a regular expression, or its compiled form is larger than 1 MiB.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        regex::bytes::RegexBuilder::new(text)
            .unicode(false)
            // With other settings of the regular expression, a path with `%0a` or `%ff` would
            // bypass an expression with a dot.
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

    /// Returns the text of the regular expression.
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

/// What happens to a request that matches the route.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A backend of a pool answers the request.
    Pool {
        /// The pool of the backend.
        pool: Arc<Pool>,
        /// What replaces the route's path prefix in forwarded requests, beginning with `/`; `None`
        /// if the path stays.
        replace_prefix: Option<String>,
    },
    /// The front redirects the client.
    Redirect(Redirect),
    /// The front answers with a fixed response.
    Respond(Respond),
}

/// A redirect that the front answers with.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// The target URL. Its scheme and host never come from the request's path or query.
    pub to: Template,
    /// The status of the redirect: 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A fixed response that the front answers with.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// The status of the response, 200 to 599.
    pub status: u16,
    /// The body of the response; `None` for no body.
    pub body: Option<RespondBody>,
    /// The content type of the response's body.
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

/// Changes of the header of a message. The named fields neither frame the message nor belong to a
/// connection; every value is one line of visible ASCII.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderEdits {
    /// Names and values of header lines that replace all lines with the same name.
    pub set: Vec<(String, Template)>,
    /// Names and values of header lines that are added to the lines with the same name.
    pub add: Vec<(String, Template)>,
    /// Names of header fields whose lines are removed.
    pub remove: Vec<String>,
}

/// Text with variables, each of which stands for a value of the request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Template(pub Vec<TemplatePart>);

/// A part of a [`Template`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TemplatePart {
    /// Text that is used as it is.
    Text(String),
    /// A variable, which is replaced by a value of the request.
    Variable(Variable),
}

/// A value of the request that a template can contain.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Variable {
    /// The IP address of the client's end of its connection.
    ClientIp,
    /// `http` or `https`, depending on how the client is connected.
    Scheme,
    /// The host that the request names, without port.
    Host,
    /// The host that the request names, without port and without a leading `www.`.
    BareHost,
    /// The path of the request, as it was sent.
    Path,
    /// `?` and the query of the request; empty if the request has no query.
    Query,
}

impl Variable {
    /// Every variable that a template can contain, with the variable's name in the configuration.
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

    /// Whether the text contains a variable.
    #[must_use]
    pub fn has_variables(&self) -> bool {
        let mut parts = self.0.iter();
        parts.any(|part| matches!(part, TemplatePart::Variable(_)))
    }
}
