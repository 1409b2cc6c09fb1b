//! Announces how lb treats requests differently from HAProxy although their rules are carried over.

use super::{Converter, routes::Routes, rules::Rules};

impl Converter<'_> {
    /// Announces the differences that the routes and the header edits of a service have.
    pub(super) fn announce(&mut self, routes: &Routes, own: &Rules) {
        self.ledger.differ(
            "[http] trusted_proxies: lb takes X-Forwarded-For, -Proto and -Host, Forwarded and \
             X-Real-IP from the proxies that you name there, and removes those of all other clients \
             before it compares routes; HAProxy passes them on",
        );
        if routes.has_paths {
            self.ledger.differ(
                "[[service.route]] path: lb compares paths decoded, with // and %2F as /, without \
                 ;parameters, and refuses those with a segment . or .. with 400; HAProxy compares \
                 them as they were sent: see docs/routing.md",
            );
        }
        if !routes.hosts.is_empty() {
            self.ledger.differ(
                "[[service.route]] host: lb compares hosts without their case and port; HAProxy \
                 compares the port, and the case where -i is missing",
            );
        }
        let with_those_below = |host: &String| routes.hosts.contains(&format!("*.{host}"));
        if let Some(host) = routes.hosts.iter().find(|host| with_those_below(host)) {
            self.ledger.differ(format!(
                "[[service.route]] host: lb compares whole labels of hosts; HAProxy's hdr_end takes \
                 not-{host} too, and its hdr_dom {host}.other"
            ));
        }
        if routes.has_answers {
            self.ledger.differ(
                "[[service.route]] redirect and respond: HAProxy sends Cache-Control: no-cache with \
                 its own answers, and a page where the rule gives no body; lb sends neither",
            );
        }
        if own.has_late || routes.has_late {
            self.ledger.differ(
                "[service.response_headers]: lb changes its own answers too, such as redirects and \
                 error pages, as HAProxy does by http-after-response, but not by http-response",
            );
        }
        if routes.names_the_host || own.request.names_the_host() {
            self.ledger.differ(
                "{host}: it has no port in lb; HAProxy's hdr(host) and redirect scheme keep the \
                 port of the request",
            );
        }
        if own.request.has_dashes() {
            self.ledger.differ(
                "[service.request_headers]: where lb sets or removes a field, it also removes lines \
                 that write _ for - in its name, which HAProxy passes on",
            );
        }
    }
}
