//! What the HTTP front decides request by request.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use regex::bytes::Regex;

use super::{Name, Pool};

/// What is decided for each request of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// The routes, in the order of the file: the first that matches takes a request.
    pub routes: Vec<Route>,
    /// Changes of the header of every request that is forwarded.
    pub request_headers: HeaderEdits,
    /// Changes of the header of every response, whoever gives it. Their values have no variables.
    pub response_headers: HeaderEdits,
    /// Files in place of the front's own text, by status.
    pub error_pages: BTreeMap<u16, PathBuf>,
}

impl Routing {
    /// Whether nothing is decided.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The files that it names.
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

/// A route: takes the requests that meet all its conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name, or its number from 1; unique in the service.
    pub name: Name,
    /// One of them is the request's host; empty: any host.
    pub hosts: Vec<HostRule>,
    /// The request's path; `None`: any path.
    pub path: Option<PathRule>,
    /// One of them is the request's method; empty: any method.
    pub methods: Vec<String>,
    /// All of them hold of the request's header.
    pub headers: Vec<HeaderRule>,
    /// What becomes of the request.
    pub action: Action,
    /// Changes of the request's header, after those of the service.
    pub request_headers: HeaderEdits,
    /// Changes of the response's header, after those of the service.
    pub response_headers: HeaderEdits,
}

impl Route {
    /// The pool that it names.
    #[must_use]
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        match &self.action {
            Action::Pool { pool, .. } => Some(pool),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// Whether it takes every request.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.hosts.is_empty()
            && self.path.is_none()
            && self.methods.is_empty()
            && self.headers.is_empty()
    }
}

/// A host, without a port and without a dot at its end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostRule {
    /// This name, in lower case.
    Name(String),
    /// Every name that ends in `.` and this one, in lower case: `*.example.com`.
    Below(String),
    /// This address.
    Address(IpAddr),
}

/// A path, in the form in which paths are compared (see [`crate::request_path`]).
#[derive(Clone, Debug, PartialEq)]
pub enum PathRule {
    /// This path.
    Exact(Vec<u8>),
    /// This path and everything below it, by whole segments. Without a slash at its end, and so
    /// empty for `/`.
    Prefix(Vec<u8>),
    /// The expression matches somewhere in it.
    Regex(Pattern),
}

/// What holds of a field of a request's header.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderRule {
    /// The field's name.
    pub name: String,
    /// What one of its lines is.
    pub test: HeaderTest,
}

/// What a line of a header field is.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderTest {
    /// There.
    Present,
    /// This value.
    Is(String),
    /// The expression matches somewhere in it.
    Regex(Pattern),
}

/// A regular expression over bytes. It takes time linear in what it is matched with, and its size is
/// bounded.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Bytes that an expression may take up once it is compiled.
    const LARGEST: usize = 1 << 20;

    /// Compiles an expression. `.` is any byte, `\d`, `\w` and case are those of ASCII.
    ///
    /// # Errors
    /// It is none, or it is too large.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        regex::bytes::RegexBuilder::new(text)
            .unicode(false)
            // What `%0a` or `%ff` stands in is no way past an expression with a dot.
            .dot_matches_new_line(true)
            .size_limit(Self::LARGEST)
            .dfa_size_limit(Self::LARGEST)
            .nest_limit(64)
            .build()
            .map(Self)
    }

    /// Whether it matches somewhere in the bytes.
    #[must_use]
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }

    /// The expression.
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

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A backend answers.
    Pool {
        /// Its pool.
        pool: Arc<Pool>,
        /// What the backend sees in place of the route's prefix; begins with `/`.
        replace_prefix: Option<String>,
    },
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// The front answers.
    Respond(Respond),
}

/// Where a client is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// The URL: its scheme and host cannot come from the path or the query.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// `None`: there is none.
    pub body: Option<RespondBody>,
    /// Of the body.
    pub content_type: String,
}

/// The body of a fixed answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RespondBody {
    /// This text.
    Text(String),
    /// What the file holds when the configuration is loaded.
    File(PathBuf),
}

/// Changes of a header. No name among them is one that says how a message is framed or that
/// belongs to a connection; every value is one line of visible ASCII.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderEdits {
    /// In place of all lines of that name.
    pub set: Vec<(String, Template)>,
    /// Besides the lines of that name.
    pub add: Vec<(String, Template)>,
    /// Lines of that name go.
    pub remove: Vec<String>,
}

/// Text with variables.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Template(pub Vec<TemplatePart>);

/// A part of a [`Template`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TemplatePart {
    /// As it stands.
    Text(String),
    /// What the request has.
    Variable(Variable),
}

/// What a request has.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Variable {
    /// The address at the other end of the connection.
    ClientIp,
    /// `http` or `https`: how the client is connected.
    Scheme,
    /// The host, without a port.
    Host,
    /// The host without a port, and without a `www.` at its beginning.
    BareHost,
    /// The path, as it was sent.
    Path,
    /// `?` and the query; empty where there is none.
    Query,
}

impl Variable {
    /// Every variable, with the word for it.
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
    /// The text, with what each variable stands for.
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

    /// Whether there is a variable in it.
    #[must_use]
    pub fn has_variables(&self) -> bool {
        let mut parts = self.0.iter();
        parts.any(|part| matches!(part, TemplatePart::Variable(_)))
    }
}
