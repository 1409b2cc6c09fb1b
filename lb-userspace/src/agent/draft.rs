//! A draft: a configuration that has been read and checked against this host, and is not in force
//! yet.

use std::{fmt, path::Path};

use crate::{
    admin::{check_token, wording::counted},
    config::{Config, Diagnostic, Errors, Interfaces, Mode, Places},
    dataplane::Unreachable,
    proxy,
};

/// A configuration that is valid on this host and could be put in force.
#[derive(Debug)]
pub struct Draft {
    /// The parsed configuration.
    pub config: Config,
    /// Warnings for the author of the configuration file. They do not prevent its use.
    pub warnings: Vec<Diagnostic>,
    places: Places,
}

/// Why a configuration cannot be put in force.
#[derive(Debug)]
pub enum DraftError {
    /// The configuration file is invalid, for these reasons.
    File(Errors),
    /// Something that the configuration file names is missing or invalid on this host: one sentence
    /// for each problem, at least one.
    Host(Vec<String>),
}

impl Draft {
    /// Reads a configuration file, and checks everything that can be checked without changing
    /// anything on the host: the file itself, the certificates, the interfaces.
    ///
    /// # Errors
    /// All problems of the configuration that were found.
    pub fn read(file: &Path) -> Result<Self, DraftError> {
        let parsed = Config::load(file).map_err(DraftError::File)?;
        let problems = problems_on_this_host(&parsed.config);
        if !problems.is_empty() {
            return Err(DraftError::Host(problems));
        }
        Ok(Self {
            config: parsed.config,
            warnings: parsed.warnings,
            places: parsed.places,
        })
    }

    /// Returns an error if there are backends that packets cannot reach. It names all of them, each
    /// with its place in the file. This is not a part of [`Self::read`], because the routes of this
    /// host may change while the file does not.
    ///
    /// # Errors
    /// `unreachable` is not empty.
    pub(super) fn refuse(&self, unreachable: Vec<Unreachable>) -> Result<(), Errors> {
        let errors = unreachable.into_iter().map(|one| {
            let Unreachable {
                pool,
                address,
                message,
                hint,
            } = one;
            self.places.backend_error(&pool, address, message, hint)
        });
        Errors::of(errors.collect()).map_or(Ok(()), Err)
    }
}

fn problems_on_this_host(config: &Config) -> Vec<String> {
    let mut problems = missing_interfaces(&config.node.interfaces);
    // The file of a certificate that is obtained by ACME does not exist before the first order.
    let certificates = config.services.iter().flat_map(|service| {
        let obtained = service.obtained().map(|obtained| &obtained.file);
        let obtained = obtained.filter(|file| file.exists());
        service.certificates().iter().chain(obtained)
    });
    let certificates = certificates.chain(&config.admin.certificate);
    let mut files: Vec<_> = certificates.cloned().collect();
    files.sort_unstable();
    files.dedup();
    let errors = proxy::check_certificates(&files);
    problems.extend(errors.iter().map(ToString::to_string));
    let token = config.admin.token_file.as_deref().map(check_token);
    problems.extend(token.and_then(Result::err).map(|error| error.to_string()));
    if let Some(authorities) = &config.admin.client_authorities {
        let errors = proxy::operator_verifier(authorities)
            .err()
            .unwrap_or_default();
        problems.extend(errors.iter().map(ToString::to_string));
    }
    for service in &config.services {
        if let Mode::Https { tls, .. } = &service.mode {
            let errors = proxy::check_client_authorities(&service.name, &tls.clients);
            problems.extend(errors.iter().map(ToString::to_string));
        }
    }
    let keys = config.services.iter().flat_map(proxy::check_session_keys);
    let mut keys: Vec<_> = keys.map(|error| error.to_string()).collect();
    keys.dedup();
    problems.append(&mut keys);
    let pages = config.services.iter().flat_map(proxy::check_pages);
    problems.extend(pages.map(|error| error.to_string()));
    problems
}

fn missing_interfaces(wanted: &Interfaces) -> Vec<String> {
    let interfaces = match nix::net::if_::if_nameindex() {
        Ok(interfaces) => interfaces,
        Err(error) => return vec![format!("cannot list this host's interfaces: {error}")],
    };
    let present = interfaces.iter().map(|one| one.name().to_string_lossy());
    let present: Vec<_> = present.collect();
    let missing = wanted
        .names()
        .filter(|wanted| present.iter().all(|name| name != wanted));
    missing
        .map(|missing| {
            format!(
                "there is no network interface {missing:?}; `node.interfaces` can be {}",
                present.join(", ")
            )
        })
        .collect()
}

/// Returns how much a configuration contains, in one line: `2 services, 1 pool, 4 backends`, and
/// how many pools discover their backends, if any does.
#[must_use]
pub fn summary(config: &Config) -> String {
    let counted = |number: usize, noun: &str| counted(number as u64, noun);
    let backends = config.pools.iter().map(|pool| pool.backends.len()).sum();
    let discovering = config.pools.iter();
    let discovering = discovering.filter(|pool| pool.discover.is_some()).count();
    let mut parts = vec![
        counted(config.services.len(), "service"),
        counted(config.pools.len(), "pool"),
        counted(backends, "backend"),
    ];
    match discovering {
        0 => {}
        1 => parts.push("1 pool discovers its backends".to_owned()),
        _ => parts.push(format!("{discovering} pools discover their backends")),
    }
    parts.join(", ")
}

impl DraftError {
    /// Renders the errors for the operator, each prefixed with `error:`; with colours for a
    /// terminal if `colour` is set.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        match self {
            Self::File(errors) => errors.render(colour),
            Self::Host(problems) => {
                let errors = problems.iter().map(|problem| format!("error: {problem}"));
                errors.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

impl fmt::Display for DraftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for DraftError {}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [node]
        name = "lb-a"
        interface = "INTERFACE"
        [[pool]]
        name = "web"
        backends = ["127.0.0.1:8081", "127.0.0.1:8082"]
        [[service]]
        name = "https"
        listen = "127.0.0.1:8443"
        mode = "https"
        pool = "web"
        certificates = ["/nonexistent/a.pem", "/nonexistent/b.pem"]
    "#;

    fn read(text: &str) -> Result<Draft, DraftError> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("lb.toml");
        std::fs::write(&file, text).expect("written");
        Draft::read(&file)
    }

    #[test]
    fn everything_wrong_with_the_host_is_said_at_once() {
        let error = read(&FILE.replace("INTERFACE", "nowhere0")).expect_err("refused");
        let said = error.to_string();
        assert_eq!(said.lines().count(), 3, "{said}");
        assert!(said.contains("no network interface \"nowhere0\""), "{said}");
        assert!(said.contains("lo"), "{said}");
        assert!(said.contains("/nonexistent/a.pem"), "{said}");
        assert!(said.contains("/nonexistent/b.pem"), "{said}");
    }

    #[test]
    fn files_of_authorities_of_operators_must_be_usable() {
        let admin = "[admin]\ncertificate = \"/nonexistent/admin.pem\"\n\
                     client_authorities = [\"/nonexistent/ca.pem\"]\n\
                     client_revocations = [\"/nonexistent/crl.pem\"]\n";
        let text = FILE.replace("INTERFACE", "lo") + admin;
        let said = read(&text).expect_err("refused").to_string();
        assert_eq!(said.lines().count(), 5, "{said}");
        for file in ["admin.pem", "/nonexistent/ca.pem", "/nonexistent/crl.pem"] {
            assert!(said.contains(file), "{said}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_of_the_file() {
        let error = Draft::read(Path::new("/nonexistent/lb.toml")).expect_err("refused");
        assert!(matches!(error, DraftError::File(_)), "{error}");
    }

    #[test]
    fn a_summary_counts() {
        let text = FILE.replace("INTERFACE", "lo");
        let text = text.replace(r#"mode = "https""#, r#"mode = "http""#);
        let text: String = text
            .lines()
            .filter(|line| !line.contains("certificates"))
            .fold(String::new(), |text, line| text + line + "\n");
        let draft = read(&text).expect("good");
        assert_eq!(summary(&draft.config), "1 service, 1 pool, 2 backends");
        let listed = "backends = [\"127.0.0.1:8081\", \"127.0.0.1:8082\"]";
        let draft = read(&text.replace(listed, "discover = { file = \"/run/backends\" }"));
        assert_eq!(
            summary(&draft.expect("good").config),
            "1 service, 1 pool, 0 backends, 1 pool discovers its backends"
        );
    }
}
