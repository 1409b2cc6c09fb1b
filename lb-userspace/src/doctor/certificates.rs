//! Checks of `lb doctor` about the certificates of services of mode `https` and of `admin.listen`.

mod chain;

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use self::chain::Chain;
use super::{
    agent::Account,
    check::{Check, Group},
    finding::Finding,
};
use crate::{
    admin::wording::counted,
    config::{Config, Obtained},
    proxy::{self, InspectedCertificate},
};

pub(super) static FILE: Check = Check {
    name: "certificate",
    group: Group::Certificates,
    looks_at: "Each certificate file, of services and of `admin.certificate`: that it has a chain and the \
               key that belongs to it, and that only the agent can read it.",
    why: "The agent does not start with a file that it cannot serve.",
    fix: "As the finding says, such as `chmod 600 FILE`.",
};

pub(super) static EXPIRY: Check = Check {
    name: "certificate_expiry",
    group: Group::Certificates,
    looks_at: "The first certificate of each file: from when and how long it is valid. Less than 14 days is a \
               warning.",
    why: "Clients refuse a certificate that is expired or not valid yet.",
    fix: "Renew it: `lb certificate renew SERVICE` if the agent obtains it, else with the tool that made it. \
          A new file is read without a reload.",
};

pub(super) static CHAIN: Check = Check {
    name: "certificate_chain",
    group: Group::Certificates,
    looks_at: "Whether each certificate of a file is followed by that of its issuer, up to an authority that \
               this host trusts.",
    why: "Browsers often complete a chain by themselves; programs such as curl, and mobile devices, do not.",
    fix: "Append the intermediate certificate of the authority to the file (`fullchain.pem` of certbot has \
          it).",
};

pub(super) static NAMES: Check = Check {
    name: "certificate_names",
    group: Group::Certificates,
    looks_at: "Whether a certificate has names, and one that is obtained all the names of `domains`.",
    why: "Clients compare the name that they connect to with the names of the certificate, and ignore its \
          common name.",
    fix: "Obtain a certificate with the names: `lb certificate renew SERVICE`, or a new request.",
};

pub(super) static CHECKS: [&Check; 4] = [&FILE, &EXPIRY, &CHAIN, &NAMES];

/// Time before the expiry of a certificate from which on `lb doctor` warns. A certificate is due
/// for renewal 30 days before it expires, so its renewal has failed for two weeks then.
const SOON: Duration = Duration::from_secs(14 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// A certificate file that the configuration names.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Used {
    path: PathBuf,
    purpose: Purpose,
}

/// What a certificate file is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Purpose {
    /// The key `certificates` of a service names the file.
    Service,
    /// The agent obtains the certificate by ACME.
    Obtained {
        /// The name of the service that the certificate is for.
        service: String,
        /// The DNS names that the certificate must have.
        domains: Vec<String>,
    },
    /// `admin.certificate` names the file, and no service has it.
    Admin,
}

/// Makes the checks about certificates for an agent that runs as `account`. Also returns the DNS
/// names that the certificates of services have or must have, except wildcards: the names that
/// clients use.
pub(super) fn check(config: &Config, account: Account) -> (Vec<Finding>, BTreeSet<String>) {
    let roots = chain::trusted_authorities();
    let mut names = BTreeSet::new();
    let mut findings = Vec::new();
    for used in used(config) {
        if let Purpose::Obtained { domains, .. } = &used.purpose {
            names.extend(domains.iter().cloned());
        }
        let (found, own) = check_file(&used, &roots, account);
        findings.extend(found);
        // The names of the admin certificate are those of this host, not of a service.
        if used.purpose != Purpose::Admin {
            names.extend(own);
        }
    }
    names.retain(|name| !name.starts_with("*.") && name.parse::<IpAddr>().is_err());
    (findings, names)
}

fn used(config: &Config) -> BTreeSet<Used> {
    let of_services = config.services.iter().flat_map(|service| {
        let files = service.certificates().iter().map(|path| Used {
            path: path.clone(),
            purpose: Purpose::Service,
        });
        let obtained = service
            .obtained()
            .map(|Obtained { file, domains, .. }| Used {
                path: file.clone(),
                purpose: Purpose::Obtained {
                    service: service.name.to_string(),
                    domains: domains.clone(),
                },
            });
        files.chain(obtained)
    });
    let mut used: BTreeSet<_> = of_services.collect();
    let admin = config.admin.certificate.as_ref();
    if let Some(path) = admin.filter(|path| used.iter().all(|used| used.path != **path)) {
        used.insert(Used {
            path: path.clone(),
            purpose: Purpose::Admin,
        });
    }
    used
}

/// Makes the checks about one file. Also returns the names of its certificate, if it has one.
fn check_file(
    used: &Used,
    roots: &chain::Authorities,
    account: Account,
) -> (Vec<Finding>, Vec<String>) {
    let path = used.path.as_path();
    let subject = &path.display();
    if let Purpose::Obtained { service, .. } = &used.purpose
        && !path.exists()
    {
        let found = format!("not obtained yet; `lb certificate show {service}` says when");
        return (vec![FILE.skipped(subject, found)], Vec::new());
    }
    if let Some(error) = proxy::check_certificates(std::slice::from_ref(&used.path)).first() {
        let finding = FILE.fail(subject, error, fix_of_file(used, error));
        return (vec![finding], Vec::new());
    }
    let text = fs::read(path).unwrap_or_default();
    let certificate = match proxy::inspect_certificate(&text) {
        Ok(certificate) => certificate,
        Err(problem) => {
            let finding = FILE.fail(subject, problem, "restore the file, or renew it");
            return (vec![finding], Vec::new());
        }
    };
    let findings = vec![
        readable(path, account),
        expiry(used, &certificate, SystemTime::now()),
        judge_chain(path, &Chain::parse(&text), roots),
        judge_names(used, &certificate.names),
    ];
    (findings, certificate.names)
}

/// Checks whether the user that the agent runs as may read a file. That `lb doctor` could read the
/// file does not show it, because root may read every file.
fn readable(path: &Path, account: Account) -> Finding {
    let subject = &path.display();
    let (user, group) = account.names();
    match fs::metadata(path).is_ok_and(|metadata| account.may(0o4, &metadata)) {
        true => FILE.ok(subject, "a chain and its key"),
        false => FILE.fail(
            subject,
            format!("user {user}, which the agent runs as, may not read it"),
            format!("`chown {user}:{group} {subject}`"),
        ),
    }
}

fn fix_of_file(used: &Used, error: &proxy::Error) -> String {
    let path = used.path.display();
    let key = match used.purpose {
        Purpose::Admin => "admin.certificate",
        Purpose::Service | Purpose::Obtained { .. } => "certificates",
    };
    match error {
        proxy::Error::Certificate {
            problem: proxy::CertificateProblem::Open { .. },
            ..
        } => format!("`chmod 600 {path}`"),
        proxy::Error::Certificate {
            problem: proxy::CertificateProblem::Missing,
            ..
        } => format!(
            "write chain and key to {path} (`cat fullchain.pem privkey.pem`), or correct `{key}`"
        ),
        _ => format!(
            "write the certificate, its chain and then its key to {path}: `cat fullchain.pem privkey.pem`"
        ),
    }
}

fn expiry(used: &Used, certificate: &InspectedCertificate, now: SystemTime) -> Finding {
    let subject = &used.path.display();
    let renew = match &used.purpose {
        Purpose::Obtained { service, .. } => {
            format!("`lb certificate renew {service}`, and see its failure")
        }
        Purpose::Service | Purpose::Admin => {
            format!("renew it, and replace {subject}: the agent reads it without a reload")
        }
    };
    if let Ok(early) = certificate.not_before.duration_since(now)
        && !early.is_zero()
    {
        return EXPIRY.fail(
            subject,
            format!("not valid before {}", date(certificate.not_before)),
            "correct the clock of this host (`chronyc makestep`), or use a certificate that is valid",
        );
    }
    let end = date(certificate.not_after);
    match certificate.not_after.duration_since(now) {
        Err(_) => EXPIRY.fail(subject, format!("expired on {end}"), renew),
        Ok(left) => {
            let days = counted(left.as_secs() / DAY, "day");
            match left < SOON {
                true => EXPIRY.warn(subject, format!("ends in {days}, on {end}"), renew),
                false => EXPIRY.ok(subject, format!("{days} left, until {end}")),
            }
        }
    }
}

fn date(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

fn judge_chain(path: &Path, chain: &Chain, roots: &chain::Authorities) -> Finding {
    let subject = &path.display();
    let append = format!(
        "append the certificate of the issuer to {subject}, after the first one (certbot's `fullchain.pem` has \
         it)"
    );
    match chain.judge(roots) {
        chain::Verdict::Complete(count) => {
            let certificates = counted(count as u64, "certificate");
            CHAIN.ok(subject, format!("{certificates}, up to a trusted authority"))
        }
        chain::Verdict::SelfSigned => CHAIN.warn(
            subject,
            "self-signed: clients do not trust it unless they know it",
            "if clients are not under your control, use a certificate of a public authority, such as Let's Encrypt ([acme])",
        ),
        chain::Verdict::Broken { place, issuer } => CHAIN.fail(
            subject,
            format!("certificate {place} is issued by {issuer:?}, but another one follows it"),
            format!("put the certificates into {subject} in order, each followed by that of its issuer"),
        ),
        chain::Verdict::Incomplete { issuer } => CHAIN.fail(
            subject,
            format!("the chain ends before {issuer:?}, which this host does not trust"),
            append,
        ),
        chain::Verdict::Private { issuer } => CHAIN.warn(
            subject,
            format!("issued by {issuer:?}, which this host does not trust"),
            format!("if that is your own authority, ignore this; otherwise {append}"),
        ),
    }
}

fn judge_names(used: &Used, names: &[String]) -> Finding {
    let subject = &used.path.display();
    if names.is_empty() {
        return NAMES.fail(
            subject,
            "the certificate has no names (subjectAltName): clients refuse it",
            "obtain a certificate with the names that clients use",
        );
    }
    if let Purpose::Obtained { service, domains } = &used.purpose {
        let missing: Vec<&str> = domains
            .iter()
            .map(String::as_str)
            .filter(|name| !names.iter().any(|own| own == name))
            .collect();
        if !missing.is_empty() {
            return NAMES.warn(
                subject,
                format!("lacks {}, of `domains`", missing.join(", ")),
                format!("`lb certificate renew {service}`"),
            );
        }
    }
    NAMES.ok(subject, names.join(", "))
}

#[cfg(test)]
mod tests;
