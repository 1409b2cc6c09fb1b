//! Makes the tables of lb's configuration from the files of HAProxy and Keepalived.

mod acme;
pub(crate) mod certificates;
mod differences;
mod discover;
mod edits;
mod global;
mod ha;
mod moves;
mod pool;
mod reasons;
mod routes;
mod rules;
mod server;
mod service;
mod timeouts;
mod track;
mod unread;
mod virtual_server;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    Input,
    document::Table,
    haproxy::model::{self, Sections},
    keepalived,
    ledger::{Id, Ledger},
    script,
};

/// The input and state of a conversion of the files of HAProxy and Keepalived.
pub(crate) struct Converter<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) sections: Sections,
    pub(crate) folders: &'a BTreeMap<String, Vec<String>>,
    /// The address for services that must listen on a specific address, and the directive that
    /// gives that address.
    pub(crate) own_address: Option<(IpAddr, Id)>,
    /// The address that clients' packets have when they arrive at the active host of a pair, and
    /// the directive that gives that address.
    pub(crate) arrives_at: Option<(IpAddr, Id)>,
    /// Names that services of the output have already, so no two get the same.
    pub(crate) services: Vec<String>,
    /// Names of the sections of haproxy.cfg that became a pool of the output.
    pub(crate) pools: Vec<String>,
    /// The directives of the sections whose rules, such as `http-request`, were read for a service.
    pub(crate) ruled: BTreeSet<Id>,
    /// Names of the sections that serve the challenges of Let's Encrypt.
    pub(crate) challenges: Vec<String>,
    /// Directives that `[acme]` comes from.
    pub(crate) acme_origins: Vec<Id>,
    /// Whether `[acme]` may be written: false for a pair whose other host runs Keepalived.
    pub(crate) may_have_acme: bool,
}

/// Converts the whole input into the output document.
pub(crate) fn document(input: &Input<'_>, ledger: &mut Ledger) -> Table {
    let sections = input
        .haproxy
        .map(|file| model::read(file.name, file.text, ledger))
        .unwrap_or_default();
    let nodes = input
        .keepalived
        .map(|file| keepalived::model::read(file.name, file.text, ledger))
        .unwrap_or_default();
    let script = input
        .script
        .map(|file| (file.name, script::read(file.name, file.text, ledger)));
    let pair = ha::convert(&nodes, script, input.keepalived_peer, ledger);
    let mut converter = Converter {
        ledger,
        sections,
        folders: &input.folders,
        own_address: pair.own_address,
        arrives_at: pair.arrives_at,
        services: Vec::new(),
        pools: Vec::new(),
        ruled: BTreeSet::new(),
        challenges: Vec::new(),
        acme_origins: Vec::new(),
        may_have_acme: pair.table.is_none() || !input.keepalived_peer,
    };
    converter.find_challenges();
    let pools = converter.pools();
    let services = converter.services();
    let (virtual_pools, virtual_services) = virtual_server::convert(&nodes, &mut converter);
    let mut document = Table::default();
    document.remarks.push(
        "Written by `lb import`. The comment above a setting names the directive that it comes \
         from. Check the file with `lb check --config FILE`."
            .to_owned(),
    );
    document.tables.push(pair.node);
    document
        .tables
        .extend(pools.into_iter().chain(virtual_pools));
    document
        .tables
        .extend(services.into_iter().chain(virtual_services));
    document.tables.extend(converter.acme());
    document.tables.extend(converter.global());
    document.tables.extend(pair.table);
    converter.name_unread_words();
    converter.explain();
    unread::of_keepalived(&nodes, ledger);
    reasons::of_keepalived(&nodes, ledger);
    document
}

/// Adds a pool and a service for the operator to fill in, if there is none: a configuration of lb
/// needs at least one of each. Returns whether a pool or a service was missing.
pub(crate) fn complete(document: &mut Table, ledger: &mut Ledger) -> bool {
    let has =
        |document: &Table, header: &str| document.tables.iter().any(|table| table.header == header);
    let mut taken = vec![String::new()];
    for table in &document.tables {
        let named = table
            .settings
            .iter()
            .filter(|setting| setting.key == "name");
        taken.extend(named.map(|setting| setting.value.trim_matches('"').to_owned()));
    }
    let (has_pool, has_service) = (has(document, "[[pool]]"), has(document, "[[service]]"));
    if has_pool && has_service {
        return false;
    }
    let name = crate::haproxy::words::unique("web", &mut taken);
    let mut pool = Table::new("[[pool]]");
    pool.remarks
        .push("fill in: the input names no backend that lb can use".to_owned());
    pool.text("name", &name, &[]);
    pool.list("backends", &["192.0.2.10:80"], &[]);
    let at = 1.min(document.tables.len());
    if has_service {
        document.tables.insert(at, pool);
        ledger.decide(format!(
            "[[pool]] \"{name}\": lb needs a pool, and the input names no backend that lb can use; \
             fill in its backends"
        ));
        return true;
    }
    let mut service = Table::new("[[service]]");
    service
        .remarks
        .push("fill in: the input names no service that lb can serve".to_owned());
    service.text("name", &name, &[]);
    service.text("listen", "0.0.0.0:80", &[]);
    service.text("mode", "http", &[]);
    service.text("pool", &name, &[]);
    document.tables.insert(at, pool);
    document.tables.insert(at + 1, service);
    ledger.decide(format!(
        "[[pool]] and [[service]] \"{name}\": the input has no service that lb can serve; fill in \
         its address and its backends"
    ));
    true
}
