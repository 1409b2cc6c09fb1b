//! Converts a backend that serves the challenges of Let's Encrypt into `[acme]`.

use super::Converter;
use crate::{
    document::Table,
    haproxy::model::{Line, Section},
};

/// Parts of names by which a backend for the challenges of Let's Encrypt is recognised.
const NAMES: [&str; 3] = ["letsencrypt", "acme", "certbot"];

impl Converter<'_> {
    /// Finds the sections of haproxy.cfg that serve the challenges of Let's Encrypt.
    pub(crate) fn find_challenges(&mut self) {
        let is_one = |section: &&Section| {
            let name = section.name().to_ascii_lowercase();
            section.kind() == "backend" && NAMES.iter().any(|known| name.contains(known))
        };
        let found = self.sections.0.iter().filter(is_one);
        self.challenges = found.map(|section| section.name().to_owned()).collect();
    }

    /// Whether a directive sends requests to a section of haproxy.cfg found by
    /// [`Self::find_challenges`]. Such a directive needs no route: lb answers challenges before any
    /// route.
    pub(crate) fn serves_challenges(&mut self, line: &Line, backend: &str) -> bool {
        let is_one = self.challenges.iter().any(|name| name == backend);
        if is_one {
            self.acme_origins.push(line.id);
        }
        is_one
    }

    /// Returns the names of the certificate that lb is to obtain for a service: the names of its
    /// certificate files and the hosts of its routes. Empty if haproxy.cfg has no backend for
    /// challenges, or if `[acme]` may not be written.
    pub(crate) fn domains(&self, certificates: &[String], hosts: &[String]) -> Vec<String> {
        if self.challenges.is_empty() || !self.may_have_acme {
            return Vec::new();
        }
        let mut domains: Vec<String> = Vec::new();
        let of_files = certificates.iter().filter_map(|file| domain_of(file));
        for domain in of_files.chain(hosts.iter().map(String::as_str)) {
            let domain = domain.to_ascii_lowercase();
            if is_domain(&domain) && !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        domains
    }

    /// Returns `[acme]`; `None` if no backend for challenges was found, or if `[acme]` may not be
    /// written.
    pub(crate) fn acme(&mut self) -> Option<Table> {
        let sections = self.sections.0.iter();
        let sections = sections.filter(|section| {
            self.challenges.iter().any(|name| name == section.name()) && section.kind() == "backend"
        });
        let mut ids: Vec<_> = sections
            .flat_map(|section| {
                std::iter::once(section.header.id).chain(section.lines.iter().map(|line| line.id))
            })
            .collect();
        if ids.is_empty() {
            return None;
        }
        ids.append(&mut self.acme_origins);
        if !self.may_have_acme {
            for id in ids {
                self.ledger.lose(id, "in a pair [acme] needs [ha.link], which Keepalived does not have: keep renewing the certificate files by other means until both hosts run lb, then import again");
            }
            return None;
        }
        let mut acme = Table::new("[acme]");
        acme.origins = ids;
        acme.remarks.push("lb obtains and renews the certificate itself and answers the challenges, in place of certbot behind a backend".to_owned());
        self.ledger.decide("[acme]: with it you agree to the terms of service of Let's Encrypt; check that `domains` of each service has every name that its certificate needs (such as www.), and turn off the renewal by certbot");
        Some(acme)
    }
}

/// Returns the domain that a certificate file is named after: the file name without its ending.
fn domain_of(file: &str) -> Option<&str> {
    let name = file.rsplit('/').next().unwrap_or(file);
    let endings = [".pem", ".crt", ".cert", ".combined.pem"];
    endings.iter().find_map(|ending| name.strip_suffix(ending))
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() < 64
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    name.contains('.')
        && name.len() < 254
        && name.split('.').all(label)
        && last.bytes().all(|byte| byte.is_ascii_alphabetic())
}
