//! Converts `http-request`, `http-response`, `redirect` and their older spellings into edits and
//! answers of lb itself.

use super::{Converter, edits::Edits};
use crate::{
    document::{Table, quoted},
    haproxy::{
        acl::{self, Conditions},
        format::{Of, template},
        model::{Line, Section},
    },
    ledger::Id,
};

/// An answer that lb gives instead of a backend.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A redirect: its target and its status.
    Redirect { to: String, status: Option<String> },
    /// A fixed response.
    Respond {
        status: u16,
        file: Option<String>,
        body: Option<String>,
        content_type: Option<String>,
    },
}

/// A rule of haproxy.cfg that answers requests with a redirect or a fixed response, before it is
/// converted into a route.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) name: &'static str,
    pub(crate) conditions: Conditions,
    pub(crate) answer: Answer,
    /// The directives that the answer comes from: first the rule.
    pub(crate) lines: Vec<Line>,
}

/// The redirects, fixed responses and header edits that the rules of a section make.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) answers: Vec<Answered>,
    pub(crate) request: Edits,
    pub(crate) response: Edits,
    /// Whether a change in `response` is one that HAProxy makes only to the responses of backends,
    /// not to its own answers.
    pub(crate) has_late: bool,
}

const ONE_LINE: &str = "lb adds one line of a name";

const WRITTEN_BY_LB: [&str; 4] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
];

impl Converter<'_> {
    /// Reads the rules of a section that change or answer requests, such as `http-request`, for a
    /// service.
    pub(crate) fn rules(&mut self, section: &Section, of: Of) -> Rules {
        let mut rules = Rules::default();
        let lines = self.sections.effective(section);
        // HAProxy evaluates `http-request` lines before `redirect` lines, whatever their order.
        let is_redirect = |line: &&Line| line.keyword() == "redirect";
        let (late, early): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(is_redirect);
        for line in early.into_iter().chain(late) {
            self.rule(line, section, of, &mut rules);
        }
        rules
    }

    fn rule(&mut self, line: &Line, section: &Section, of: Of, rules: &mut Rules) {
        self.ruled.insert(line.id);
        match (line.keyword(), line.word(1)) {
            ("monitor-uri", path) => {
                let why = "lb answers the path with any query too";
                self.ledger
                    .partly(line.id, crate::Loss::NotCarriedOver, why);
                rules.answers.insert(
                    0,
                    Answered {
                        name: "monitor",
                        conditions: Conditions {
                            path: Some(path.to_owned()),
                            ..Conditions::default()
                        },
                        answer: Answer::Respond {
                            status: 200,
                            file: None,
                            body: None,
                            content_type: None,
                        },
                        lines: vec![line.clone()],
                    },
                );
            }
            ("redirect", _) => self.redirect(line, line.after(1), section, of, rules),
            ("http-request", "redirect") => self.redirect(line, line.after(2), section, of, rules),
            ("http-request", "deny" | "reject" | "tarpit" | "silent-drop" | "block") => {
                self.deny(line, section, of, rules);
            }
            ("block", "if" | "unless") => self.deny(line, section, of, rules),
            ("http-request", "return") => self.fixed(line, section, of, rules),
            (
                "http-request" | "http-response" | "http-after-response",
                "set-header" | "add-header" | "del-header",
            ) => {
                self.edit(line, section, of, rules);
            }
            ("reqadd" | "rspadd", text) => {
                let (name, value) = text.split_once(':').unwrap_or((text, ""));
                let value = value.trim().replace('%', "%%");
                if self.applies(line, line.after(2), section, of) {
                    self.change(
                        line,
                        ("add", name.trim(), &value),
                        of,
                        line.keyword() == "reqadd",
                        rules,
                    );
                }
            }
            ("reqdel" | "reqidel" | "rspdel" | "rspidel", text) => {
                let name = text
                    .trim_start_matches('^')
                    .split(':')
                    .next()
                    .unwrap_or_default();
                let plain = name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
                if !plain || name.is_empty() {
                    self.ledger.lose(
                        line.id,
                        "lb removes header fields by their names, not by expressions",
                    );
                } else if self.applies(line, line.after(2), section, of) {
                    self.change(
                        line,
                        ("del", name, ""),
                        of,
                        line.keyword().starts_with("req"),
                        rules,
                    );
                }
            }
            _ => {}
        }
    }

    /// Returns the conditions of the routes that a rule needs, one for each route; empty if the
    /// rule's condition never holds or cannot be written.
    pub(crate) fn routes_if(
        &mut self,
        line: &Line,
        words: &[String],
        section: &Section,
        of: Of,
        harm: &str,
    ) -> Vec<Conditions> {
        match acl::conditions(words, &self.sections, section, of) {
            Ok(routes) => {
                if routes.is_empty() {
                    self.ledger.otherwise(
                        line.id,
                        crate::Loss::NotNeeded,
                        "its condition never holds on this service",
                    );
                }
                routes
            }
            Err(why) => {
                self.ledger.lose(line.id, format!("{why}{harm}"));
                Vec::new()
            }
        }
    }

    /// Whether the condition of a rule holds for all requests of a service. A rule with another
    /// condition is reported as lost.
    fn applies(&mut self, line: &Line, words: &[String], section: &Section, of: Of) -> bool {
        let routes = self.routes_if(line, words, section, of, "");
        let always = routes.iter().any(|route| {
            Conditions {
                origins: Vec::new(),
                ..route.clone()
            } == Conditions::default()
        });
        if !always && !routes.is_empty() {
            self.ledger.lose(line.id, "lb edits headers for all requests of a service or of a route, without a further condition: put the edit into the routes that need it");
        }
        always
    }

    fn edit(&mut self, line: &Line, section: &Section, of: Of, rules: &mut Rules) {
        let what = line.word(1).trim_end_matches("-header").to_owned();
        let arguments = if what == "del" { 3 } else { 4 };
        if line.words.len() < arguments {
            return self.ledger.lose(line.id, "it is not complete");
        }
        if !self.applies(line, line.after(arguments), section, of) {
            return;
        }
        let value = if what == "del" { "" } else { line.word(3) };
        self.change(
            line,
            (&what, line.word(2), value),
            of,
            line.keyword() == "http-request",
            rules,
        );
    }

    fn change(
        &mut self,
        line: &Line,
        (what, name, format): (&str, &str, &str),
        of: Of,
        request: bool,
        rules: &mut Rules,
    ) {
        if request && WRITTEN_BY_LB.contains(&&*name.to_ascii_lowercase()) {
            return self
                .ledger
                .needless(line.id, format!("lb sets {name} itself on every request"));
        }
        if !request && name.eq_ignore_ascii_case("alt-svc") && announces_http3(format) {
            let why =
                "lb serves no HTTP/3, which the field announces: clients would try it in vain";
            return self.ledger.lose(line.id, why);
        }
        let value = match template(format, of) {
            Ok(value) => value,
            Err(why) => return self.ledger.lose(line.id, why),
        };
        rules.has_late |= !request && line.keyword() != "http-after-response";
        let edits = if request {
            &mut rules.request
        } else {
            &mut rules.response
        };
        let earlier = match what {
            "set" => edits.set(name, value, line.id),
            "add" => {
                if !edits.add(name, value, line.id) {
                    self.ledger.lose(line.id, ONE_LINE);
                }
                Vec::new()
            }
            _ => edits.remove(name, line.id),
        };
        self.replaced(earlier);
    }

    /// Records that directives which change a field have no effect.
    pub(crate) fn replaced(&mut self, earlier: Vec<Id>) {
        for id in earlier {
            let why = "a later rule sets or removes the same field";
            self.ledger.otherwise(id, crate::Loss::NotNeeded, why);
        }
    }

    /// Adds changes that HAProxy makes after `edits` to them.
    pub(crate) fn extend(&mut self, edits: &mut Edits, later: &Edits) {
        let merged = edits.extend(later);
        self.replaced(merged.replaced);
        for id in merged.refused {
            self.ledger.lose(id, ONE_LINE);
        }
    }

    fn deny(&mut self, line: &Line, section: &Section, of: Of, rules: &mut Rules) {
        let (arguments, condition) = acl::split(line.after(1));
        let status = arguments
            .windows(2)
            .find(|pair| matches!(&*pair[0], "deny_status" | "status"));
        let status = status.and_then(|pair| pair[1].parse().ok());
        let status = status.unwrap_or(if line.word(1) == "tarpit" { 500 } else { 403 });
        let value = |name: &str| value_of(arguments, name);
        let (body, mut file) = (value("string"), value("file"));
        let mut lines = vec![line.clone()];
        if body.is_none() && file.is_none() {
            // A file that replaces HAProxy's own page for the status is also for refused requests.
            let page = self.sections.effective(section).into_iter().rfind(|other| {
                other.keyword() == "errorfile" && other.word(1) == status.to_string()
            });
            file = page.as_ref().map(|page| page.word(2).to_owned());
            lines.extend(page);
        }
        for word in ["errorfile", "errorfiles", "lf-string", "lf-file", "hdr"] {
            if arguments.iter().any(|argument| argument == word) {
                let why =
                    format!("{word}: lb answers with a status and a body, from text or a file");
                self.ledger
                    .partly(line.id, crate::Loss::NotCarriedOver, why);
            }
        }
        if line.word(1) == "silent-drop" || line.word(1) == "tarpit" {
            let why = format!("lb answers immediately, with {status}");
            self.ledger
                .partly(line.id, crate::Loss::NotCarriedOver, why);
        }
        let harm = ": requests that HAProxy refuses are accepted";
        if acl::conditions(condition, &self.sections, section, of).is_err() {
            self.ledger.decide(format!(
                "{}: HAProxy refuses requests that lb accepts; refuse them in another way",
                self.ledger.place(line.id)
            ));
        }
        for conditions in self.routes_if(line, condition, section, of, harm) {
            rules.answers.push(Answered {
                name: "deny",
                conditions,
                answer: Answer::Respond {
                    status,
                    file: file.clone(),
                    body: body.clone(),
                    content_type: value("content-type"),
                },
                lines: lines.clone(),
            });
        }
    }

    fn fixed(&mut self, line: &Line, section: &Section, of: Of, rules: &mut Rules) {
        let (arguments, condition) = acl::split(line.after(2));
        let value = |name: &str| value_of(arguments, name);
        if value("hdr").is_some()
            || value("errorfile").is_some()
            || value("lf-string").is_some()
            || value("lf-file").is_some()
        {
            return self.ledger.lose(
                line.id,
                "lb's fixed answers have a status and a body, from text or a file",
            );
        }
        let status = value("status")
            .and_then(|status| status.parse().ok())
            .unwrap_or(200);
        for conditions in self.routes_if(line, condition, section, of, "") {
            rules.answers.push(Answered {
                name: "respond",
                conditions,
                answer: Answer::Respond {
                    status,
                    file: value("file"),
                    body: value("string"),
                    content_type: value("content-type"),
                },
                lines: vec![line.clone()],
            });
        }
    }

    fn redirect(
        &mut self,
        line: &Line,
        words: &[String],
        section: &Section,
        of: Of,
        rules: &mut Rules,
    ) {
        let (arguments, condition) = acl::split(words);
        let (kind, target) = match arguments {
            [kind, target, ..] => (&**kind, &**target),
            _ => return self.ledger.lose(line.id, "it is not complete"),
        };
        let target = match template(target, of) {
            Ok(target) => target,
            Err(why) => return self.ledger.lose(line.id, why),
        };
        let drops_query = arguments.iter().any(|word| word == "drop-query");
        let query = if drops_query { "" } else { "{query}" };
        // lb takes a path in place of a URL if it does not begin with a variable or a second slash,
        // which could be another host.
        let path = target
            .strip_prefix('/')
            .filter(|rest| !rest.starts_with(['/', '{']));
        let to = match kind {
            "scheme" => format!("{target}://{{host}}{{path}}{query}"),
            "prefix" if target == "/" => format!("{{scheme}}://{{host}}{{path}}{query}"),
            "prefix" => format!("{target}{{path}}{query}"),
            "location" if path.is_none() && target.starts_with('/') => {
                format!("{{scheme}}://{{host}}{target}")
            }
            "location" => target,
            _ => {
                return self
                    .ledger
                    .lose(line.id, format!("lb has no redirect of type {kind}"));
            }
        };
        let code = arguments
            .windows(2)
            .find(|pair| pair[0] == "code")
            .map(|pair| pair[1].clone());
        for (option, why) in [
            ("append-slash", "no slash is added"),
            ("set-cookie", "no cookie is set"),
            ("clear-cookie", "no cookie is cleared"),
        ] {
            if arguments.iter().any(|word| word == option) {
                self.ledger.lose(line.id, format!("{option}: {why}"));
            }
        }
        let status = code.or_else(|| Some("302".to_owned()));
        for conditions in self.routes_if(line, condition, section, of, "") {
            rules.answers.push(Answered {
                name: "redirect",
                conditions,
                answer: Answer::Redirect {
                    to: to.clone(),
                    status: status.clone(),
                },
                lines: vec![line.clone()],
            });
        }
    }
}

/// Whether a value of the header field Alt-Svc (RFC 7838) names HTTP/3, or QUIC before it was
/// standardised.
fn announces_http3(value: &str) -> bool {
    let services = value
        .split(',')
        .map(|service| service.trim_start().to_ascii_lowercase());
    let mut protocols = services.filter_map(|service| Some(service.split_once('=')?.0.to_owned()));
    protocols.any(|protocol| {
        ["h3", "hq", "quic"]
            .iter()
            .any(|known| protocol.starts_with(known))
    })
}

/// Returns the word after an argument of a rule.
fn value_of(arguments: &[String], name: &str) -> Option<String> {
    let mut pairs = arguments.windows(2);
    pairs
        .find(|pair| pair[0] == name)
        .map(|pair| pair[1].clone())
}

impl Answer {
    /// Whether the target of a redirect has the variable `{host}`.
    pub(crate) fn names_the_host(&self) -> bool {
        matches!(self, Self::Redirect { to, .. } if to.contains("{host}"))
    }

    /// Returns the table of a route, such as `redirect`, by which lb gives this answer.
    pub(crate) fn table(&self) -> Table {
        match self {
            Self::Redirect { to, status } => {
                let mut table = Table::new("[service.route.redirect]");
                table.text("to", to, &[]);
                if let Some(status) = status {
                    table.set("status", quoted(status), &[]);
                }
                table
            }
            Self::Respond {
                status,
                file,
                body,
                content_type,
            } => {
                let mut table = Table::new("[service.route.respond]");
                table.set("status", status.to_string(), &[]);
                if let Some(file) = file {
                    table.text("file", file, &[]);
                } else if let Some(body) = body {
                    table.text("body", body, &[]);
                }
                if let Some(content_type) = content_type {
                    table.text("content_type", content_type, &[]);
                }
                table
            }
        }
    }
}
