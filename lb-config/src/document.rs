//! The configuration file as a whole: its schema, loading and parsing it, and checks across
//! sections.

use std::{fs::File, io::Read as _, net::Ipv4Addr, path::Path};

use toml::{Spanned, de::DeTable};

use super::{
    Acme, Config, Diagnostic, Errors, Places, Timeouts, acme,
    admin::{self, AdminDraft},
    capacity,
    drafts::{PoolDraft, ServiceDraft},
    ha::{self, HaDraft},
    host,
    listeners::{self, Listener},
    log, pool,
    schema::{Absent, Schema},
    section::Section,
    service,
    source::{Reported, Source, WHOLE_FILE},
    syntax, unique,
};

/// The schema of the whole file, written as that of one section: it has no header and no keys, and
/// its tables are the sections of the file.
pub(super) static ROOT: Schema = Schema {
    name: "",
    header: "",
    about: "",
    presence: "",
    keys: &[],
    tables: &[
        &host::NODE,
        &admin::ADMIN,
        &pool::POOL,
        &service::SERVICE,
        &acme::ACME,
        &host::HTTP,
        &log::LOG,
        &host::DATAPLANE,
        &ha::HA,
    ],
};

/// A valid configuration, with its warnings and the places of its backends.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The configuration, in which every value is valid.
    pub config: Config,
    /// The warnings about the file, in its order.
    pub warnings: Vec<Diagnostic>,
    /// The places of the configuration's backends in the file.
    pub places: Places,
}

impl Config {
    /// Reads a file and parses it.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8 or is larger than 4 MiB; and the errors of
    /// [`Self::parse`].
    pub fn load(file: &Path) -> Result<Parsed, Errors> {
        let text = read_file(file)?;
        Self::parse(file, &text)
    }

    /// Parses and validates a configuration. `file` is for the messages only.
    ///
    /// # Errors
    /// All errors of the text, in its order. If it is not TOML, only syntax errors.
    pub fn parse(file: &Path, text: &str) -> Result<Parsed, Errors> {
        let source = Source::new(file, text);
        let document = document(&source, file, text);
        let warnings = source.finish()?;
        // If a value is missing and no error was reported, the parser itself has a fault.
        let (config, places) = document.map_err(|Reported| {
            let message = "the configuration could not be read".to_owned();
            Errors::about_file(file, message, "this is a fault in lb: please report it")
        })?;
        Ok(Parsed {
            config,
            warnings,
            places,
        })
    }
}

/// Maximum size of a configuration file, in bytes: more than a file with 16,384 backends needs. The
/// limit ends the reading of a path that names an endless device by mistake.
const LARGEST: u64 = 4 << 20;

fn read_file(file: &Path) -> Result<String, Errors> {
    let fail = |message: String, hint: &str| Errors::about_file(file, message, hint);
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            let message = format!("cannot read the configuration: {error}");
            fail(message, "give the path of an lb.toml with --config")
        })?;
    if bytes.len() as u64 > LARGEST {
        let message = "the configuration is larger than 4 MiB".to_owned();
        return Err(fail(message, "check that --config names an lb.toml"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..place];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = format!("the configuration is not UTF-8 on line {line}");
        fail(message, "TOML is UTF-8: save the file in that encoding")
    })
}

fn document(source: &Source<'_>, file: &Path, text: &str) -> Result<(Config, Places), Reported> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax::report(source, &errors));
    }
    let root = Section::whole_file(source, &ROOT, tree.get_ref());
    sections(&root, file)
}

fn sections(root: &Section<'_>, file: &Path) -> Result<(Config, Places), Reported> {
    let node = single(root, &host::NODE, true, host::node);
    let admin = single(root, &admin::ADMIN, false, admin::read);
    let dataplane = single(root, &host::DATAPLANE, false, |section| {
        Ok(host::dataplane(section))
    });
    let http = single(root, &host::HTTP, false, host::http);
    let log = single(root, &log::LOG, false, log::log);
    let ha = root.table(&ha::HA).map(|ha| ha.as_ref().map(ha::read));
    let pools = read_pools(root);
    let pool_drafts = pools.as_deref().ok();
    let pair = ha.as_ref().ok().and_then(Option::as_ref);
    let pair = pair.and_then(|draft| draft.ha.as_ref().ok());
    let acme = acme::read(root, pair);
    let defaults = http.as_ref().map(|http| http.timeouts).unwrap_or_default();
    let mut services = read_services(root, pool_drafts, acme.known(), &defaults);
    if let Ok(drafts) = &mut services {
        acme.check_reach(drafts, root.source());
    }
    let service_drafts = services.as_deref().unwrap_or_default();
    let ha_draft = ha.as_ref().ok().and_then(Option::as_ref);
    refuse_clashes(admin.as_ref().ok(), service_drafts, ha_draft, root.source());
    if let Ok(draft) = &dataplane {
        refuse_own_sources(&draft.source_addresses, service_drafts, root.source());
    }
    capacity::check(service_drafts, root.source());
    if let Some(ha) = ha_draft {
        let services = service_drafts.iter();
        let used = services.filter_map(|draft| draft.service.as_ref());
        let used = used.flat_map(|service| service.pools()).map(|pool| &**pool);
        ha.check_against_pools(&used.collect::<Vec<_>>(), root.source());
    }
    acme.warn_if_idle(service_drafts, root.source());
    warn_of_idle_pools(
        root.source(),
        pool_drafts.unwrap_or_default(),
        service_drafts,
    );
    let places = Places::of(pool_drafts.unwrap_or_default(), root.source(), file);
    let pools: Option<Vec<_>> = pools?.into_iter().map(|draft| draft.pool).collect();
    let services: Option<Vec<_>> = services?.into_iter().map(|draft| draft.service).collect();
    let config = Config {
        node: node?,
        admin: admin?.admin,
        dataplane: dataplane?.dataplane?,
        http: http?,
        log: log?,
        acme: acme.acme?,
        ha: ha?.map(|draft| draft.ha).transpose()?,
        pools: pools.ok_or(Reported)?,
        services: services.ok_or(Reported)?,
    };
    Ok((config, places))
}

/// Reads a section that a file may have once. An optional section that is missing is read as an
/// empty section.
fn single<T>(
    root: &Section<'_>,
    schema: &'static Schema,
    required: bool,
    read: impl FnOnce(&Section<'_>) -> Result<T, Reported>,
) -> Result<T, Reported> {
    match root.table(schema)? {
        Some(section) => read(&section),
        None if required => Err(missing(root, schema)),
        None => read(&root.open(schema, &DeTable::new(), WHOLE_FILE)),
    }
}

fn missing(root: &Section<'_>, schema: &Schema) -> Reported {
    let message = format!("there is no {}", schema.header);
    let required = schema.keys.iter().filter_map(|key| match key.absent() {
        Absent::Refused(example) | Absent::Elsewhere(example, _) => {
            Some(format!("\n{} = {example}", key.name()))
        }
        _ => None,
    });
    let hint = format!(
        "add one:\n{}{}",
        schema.header,
        required.collect::<String>()
    );
    root.error(message, hint)
}

fn read_pools(root: &Section<'_>) -> Result<Vec<PoolDraft>, Reported> {
    let sections = root.tables(&pool::POOL)?;
    if sections.is_empty() {
        return Err(missing(root, &pool::POOL));
    }
    let pools: Vec<_> = sections.iter().map(pool::read).collect();
    let names = pools.iter().filter_map(|pool| pool.name.as_ref());
    // Duplicate names are reported, and the rest of the file is still checked.
    _ = unique::refuse_twice("pool", "in this file", names, root.source());
    Ok(pools)
}

fn read_services(
    root: &Section<'_>,
    pools: Option<&[PoolDraft]>,
    acme: Result<Option<&Acme>, Reported>,
    defaults: &Timeouts,
) -> Result<Vec<ServiceDraft>, Reported> {
    let sections = root.tables(&service::SERVICE)?;
    if sections.is_empty() {
        return Err(missing(root, &service::SERVICE));
    }
    let services = sections
        .iter()
        .map(|section| service::read(section, pools, acme, defaults));
    let services: Vec<_> = services.collect();
    let names = services.iter().filter_map(|service| service.name.as_ref());
    _ = unique::refuse_twice("service", "in this file", names, root.source());
    Ok(services)
}

/// Reports every additional source address that is also the listen address of a service: that
/// service connects to its backends from that address anyway.
fn refuse_own_sources(
    addresses: &[Spanned<Ipv4Addr>],
    services: &[ServiceDraft],
    source: &Source<'_>,
) {
    let listeners = services
        .iter()
        .filter_map(|service| service.listen.as_ref());
    for address in addresses {
        let ip = *address.get_ref();
        if let Some(listener) = listeners
            .clone()
            .find(|listener| listener.get_ref().ip() == ip)
        {
            let message =
                format!("source address \"{ip}\" is also the listen address of a service");
            let hint = format!(
                "that service already connects to its backends from this address: use a different \
                 one; the service is on line {}",
                source.line(&listener.span())
            );
            source.error(address.span(), message, hint);
        }
    }
}

fn refuse_clashes(
    admin: Option<&AdminDraft>,
    services: &[ServiceDraft],
    ha: Option<&HaDraft>,
    source: &Source<'_>,
) {
    let admin = admin.map(|draft| Listener {
        label: "[admin]".to_owned(),
        address: draft.listen.clone(),
        given: draft.listen_given,
    });
    let services = services.iter().filter_map(|service| {
        let name = service.name.as_ref().map(Spanned::get_ref);
        Some(Listener {
            label: name.map_or_else(
                || "a service".to_owned(),
                |name| format!("service \"{name}\""),
            ),
            address: service.listen.clone()?,
            given: true,
        })
    });
    let link = ha.and_then(|ha| ha.link.clone()).map(|address| Listener {
        label: "[ha.link]".to_owned(),
        address,
        given: true,
    });
    let all: Vec<_> = admin.into_iter().chain(services).chain(link).collect();
    listeners::refuse_clashes(&all, source);
}

fn warn_of_idle_pools(source: &Source<'_>, pools: &[PoolDraft], services: &[ServiceDraft]) {
    for name in pools.iter().filter_map(|pool| pool.name.as_ref()) {
        let used = services
            .iter()
            .any(|service| service.pool_names.contains(name.get_ref()));
        if !used {
            let message = format!("no service uses pool \"{}\"", name.get_ref());
            let hint = "remove the pool, or name it in a service";
            source.warning(name.span(), message, hint.to_owned());
        }
    }
}
