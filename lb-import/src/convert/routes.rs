//! Converts `use_backend`, and rules that answer a request, into `[[service.route]]`.

use super::{Converter, edits::Edits, rules::Rules};
use crate::{
    document::Table,
    haproxy::{
        acl::{self, Conditions},
        format::Of,
        model::{Line, Section},
        words,
    },
};

/// The routes of a service, and the hosts that they name.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) tables: Vec<Table>,
    pub(crate) hosts: Vec<String>,
    /// Whether a route compares paths.
    pub(crate) has_paths: bool,
    /// Whether a route is a redirect or a fixed response.
    pub(crate) has_answers: bool,
    /// Whether a value of a redirect or of a header field has the variable `{host}`.
    pub(crate) names_the_host: bool,
    /// Whether a rule of a backend changes responses that are not HAProxy's own.
    pub(crate) has_late: bool,
    names: Vec<String>,
    /// Whether one of the routes matches every request, so a route after it would get none.
    is_complete: bool,
}

impl Converter<'_> {
    /// Returns the routes of a frontend: first those for the redirects and fixed responses of its
    /// own rules, then those for its `use_backend` lines, then those for the redirects and fixed
    /// responses of the default backend's rules. If requests can go only to the default backend,
    /// the edits of that backend are added to `own`, the edits of the service.
    pub(crate) fn routes(
        &mut self,
        section: &Section,
        default: Option<&Section>,
        of: Of,
        own: &mut Rules,
    ) -> Routes {
        let mut routes = Routes::default();
        routes.answers(own, &Conditions::default(), self);
        let mut others = false;
        for line in self.sections.effective(section) {
            if line.keyword() == "use_backend" {
                others |= self.use_backend(&line, section, of, own, &mut routes);
            }
        }
        let Some(default) = default
            .filter(|default| default.name() != section.name() || default.kind() == "backend")
        else {
            return routes;
        };
        let rules = self.rules(default, of);
        routes.has_late |= rules.has_late;
        routes.names_the_host |= rules.request.names_the_host();
        routes.answers(&rules, &Conditions::default(), self);
        if !others {
            self.extend(&mut own.request, &rules.request);
            // HAProxy changes a response by the rules of the backend first.
            let mut response = rules.response.clone();
            self.extend(&mut response, &own.response);
            own.response = response;
        } else if !rules.request.is_empty() || !rules.response.is_empty() {
            let all = Conditions::default();
            let response = self.response_of(&rules, own);
            let table =
                routes.pool_route("default_backend", default, &all, &rules.request, &response);
            routes.push(table, &all, self);
        }
        routes
    }

    /// Returns the changes of responses that a route needs for the rules of its backend.
    fn response_of(&mut self, rules: &Rules, own: &Rules) -> Edits {
        let mut replaced = Vec::new();
        let response = rules.response.before(&own.response, &mut replaced);
        self.replaced(replaced);
        response
    }

    fn use_backend(
        &mut self,
        line: &Line,
        section: &Section,
        of: Of,
        own: &Rules,
        routes: &mut Routes,
    ) -> bool {
        let name = line.word(1);
        if self.serves_challenges(line, name) {
            if let Ok(conditions) = acl::conditions(line.after(2), &self.sections, section, of) {
                self.acme_origins.extend(
                    conditions
                        .into_iter()
                        .flat_map(|conditions| conditions.origins),
                );
            }
            return false;
        }
        if name.contains('%') {
            self.ledger.lose(
                line.id,
                "the name of the backend is computed from the request: write a route for each",
            );
            return false;
        }
        let backend = self.sections.backend(name).cloned();
        let Some(backend) = backend.filter(|_| self.pools.iter().any(|pool| pool == name)) else {
            self.ledger.lose(
                line.id,
                format!("backend {name} has no server that lb can use"),
            );
            return false;
        };
        let harm = ": the rules after it, or the default backend, take its requests";
        let conditions = self.routes_if(line, line.after(2), section, of, harm);
        let rules = self.rules(&backend, of);
        let response = self.response_of(&rules, own);
        routes.has_late |= rules.has_late;
        routes.names_the_host |= rules.request.names_the_host();
        for conditions in &conditions {
            routes.answers(&rules, conditions, self);
            let mut table =
                routes.pool_route(name, &backend, conditions, &rules.request, &response);
            table.origins.insert(0, line.id);
            routes.push(table, conditions, self);
        }
        !conditions.is_empty()
    }
}

impl Routes {
    /// Adds a route for each redirect and fixed response of `rules`. Only requests that also meet
    /// the conditions `also` match these routes.
    fn answers(&mut self, rules: &Rules, also: &Conditions, converter: &mut Converter<'_>) {
        for answered in &rules.answers {
            match acl::both(also, &answered.conditions) {
                Ok(conditions) => {
                    let mut table = self.route(answered.name, &conditions);
                    let lines = answered.lines.iter().map(|line| line.id);
                    table.origins.splice(0..0, lines);
                    self.has_answers = true;
                    self.names_the_host |= answered.answer.names_the_host();
                    table.tables.push(answered.answer.table());
                    self.push(table, &conditions, converter);
                }
                Err(why) => converter.ledger.lose(answered.lines[0].id, why),
            }
        }
    }

    /// Adds a route, unless an earlier route matches every request.
    fn push(&mut self, table: Table, conditions: &Conditions, converter: &mut Converter<'_>) {
        if self.is_complete {
            for origin in table.all_origins() {
                let why = "an earlier rule takes every request of the service";
                converter
                    .ledger
                    .otherwise(origin, crate::Loss::NotNeeded, why);
            }
            return;
        }
        self.is_complete = Conditions {
            origins: Vec::new(),
            ..conditions.clone()
        } == Conditions::default();
        self.tables.push(table);
    }

    fn pool_route(
        &mut self,
        name: &str,
        backend: &Section,
        conditions: &Conditions,
        request: &Edits,
        response: &Edits,
    ) -> Table {
        let mut table = self.route(name, conditions);
        table.text("pool", &words::name(backend.name()), &[]);
        table
            .tables
            .extend(request.table("service.route.request_headers"));
        table
            .tables
            .extend(response.table("service.route.response_headers"));
        table
    }

    fn route(&mut self, name: &str, conditions: &Conditions) -> Table {
        let mut table = Table::new("[[service.route]]");
        table.origins.clone_from(&conditions.origins);
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        let wanted = if digits || name == "default" {
            format!("to-{name}")
        } else {
            name.to_owned()
        };
        let name = words::unique(&wanted, &mut self.names);
        table.text("name", &name, &[]);
        if !conditions.hosts.is_empty() {
            table.list("host", &conditions.hosts, &[]);
            self.hosts.extend(conditions.hosts.iter().cloned());
        }
        self.has_paths |= conditions.path.is_some() || conditions.path_regex.is_some();
        if let Some(path) = &conditions.path {
            table.text("path", path, &[]);
        }
        if let Some(regex) = &conditions.path_regex {
            table.text("path_regex", regex, &[]);
        }
        if !conditions.methods.is_empty() {
            table.list("method", &conditions.methods, &[]);
        }
        for (name, regex) in &conditions.headers {
            let mut header = Table::new("[[service.route.header]]");
            header.text("name", name, &[]);
            if let Some(regex) = regex {
                header.text("regex", regex, &[]);
            }
            table.tables.push(header);
        }
        table
    }
}
