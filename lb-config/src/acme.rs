//! `[acme]`: where certificates are obtained, and how names are validated.

mod dns;
mod reach;

use std::{net::IpAddr, ops::Range, path::PathBuf};

use toml::Spanned;

use super::{
    Acme, AcmeChallenge, ExternalAccount, Ha, Name, Obtained,
    drafts::ServiceDraft,
    kind::{Choice, Complaint, Text},
    list::{List, Listed},
    schema::{Absent, Entry, Key, Schema},
    section::Section,
    source::{Reported, Source},
    text, unique,
};

pub(super) static ACME: Schema = Schema {
    name: "acme",
    header: "[acme]",
    about: "Where the agent obtains the certificates of the services that have `domains`, by ACME \
            (RFC 8555). With this section you agree to the terms of service of the directory. Each \
            service gets one certificate for all its `domains`, with a P-256 key. It is renewed at \
            two thirds of its lifetime, or when the directory suggests it (RFC 9773); the old one \
            stays in use until then. In a pair the active host orders them, and `[ha.link]` sends the \
            certificates and their keys to the other host: both hosts need the same section.",
    presence: "Required if a service has `domains`.",
    keys: &[
        &EMAIL,
        &DIRECTORY,
        &CHALLENGES,
        &STORAGE,
        &CA_FILE,
        &EAB_KEY_ID,
        &EAB_KEY_FILE,
        &PROFILE,
        &dns::COMMAND,
        &dns::TIMEOUT,
        &dns::PROPAGATION,
    ],
    tables: &[],
};

static EMAIL: Key<Text<String>> = Key {
    name: "email",
    kind: Text {
        what: "e-mail address",
        parse: email,
    },
    absent: Absent::Means("none"),
    meaning: "The address to which the directory may send mail about the account. Used when the \
              account is created.",
};

static DIRECTORY: Key<Text<String>> = Key {
    name: "directory",
    kind: Text {
        what: "`https` URL",
        parse: directory,
    },
    absent: Absent::Is("\"https://acme-v02.api.letsencrypt.org/directory\""),
    meaning: "The directory's URL. Accounts and certificates of one directory are not used for \
              another. For tests, Let's Encrypt's staging directory: \
              `https://acme-staging-v02.api.letsencrypt.org/directory`.",
};

static CHALLENGES: Key<List<Choice<AcmeChallenge>>> = Key {
    name: "challenges",
    kind: List {
        of: Choice {
            words: &[
                ("tls-alpn-01", AcmeChallenge::TlsAlpn01),
                ("http-01", AcmeChallenge::Http01),
                ("dns-01", AcmeChallenge::Dns01),
            ],
            later: &[],
        },
        noun: "challenge",
    },
    absent: Absent::Is("[\"tls-alpn-01\", \"http-01\"]"),
    meaning: "How the directory may validate a name. `tls-alpn-01`: it connects to port 443, where \
              a service of mode `https` must listen. `http-01`: to port 80, where one of mode \
              `http` must listen. It is not used for a service on an address whose port 80 belongs \
              to a service of mode `tcp`: the kernel forwards the request to the backends. \
              `dns-01`: it looks for a record that `dns_command` sets; the only one for wildcards. \
              After a failure the next one in the list is tried.",
};

static STORAGE: Key<Text<PathBuf>> = Key {
    name: "storage",
    kind: text::PATH,
    absent: Absent::Is("\"/var/lib/lb/acme\""),
    meaning: "The folder for the account key, the certificates and their keys. It is created where \
              it does not exist; files have mode 0600.",
};

static CA_FILE: Key<Text<PathBuf>> = Key {
    name: "ca_file",
    kind: text::PATH,
    absent: Absent::Means("the host's trusted authorities"),
    meaning: "A PEM file with the authorities that the directory's own certificate is verified \
              with, for a private directory.",
};

static EAB_KEY_ID: Key<Text<String>> = Key {
    name: "eab_key_id",
    kind: Text {
        what: "text without spaces",
        parse: key_id,
    },
    absent: Absent::Means("none"),
    meaning: "The key identifier of external account binding, for a directory that requires it. \
              Needs `eab_key_file`.",
};

static EAB_KEY_FILE: Key<Text<PathBuf>> = Key {
    name: "eab_key_file",
    kind: text::PATH,
    absent: Absent::Means("none"),
    meaning: "The file with the MAC key of `eab_key_id`, in base64url as the directory gives it. \
              Mode 0600.",
};

static PROFILE: Key<Text<String>> = Key {
    name: "profile",
    kind: Text {
        what: "text without spaces",
        parse: key_id,
    },
    absent: Absent::Means("the directory's default"),
    meaning: "The profile of the certificates, one that the directory offers: Let's Encrypt's \
              `shortlived` is valid for six days. With any other, orders fail with an error that \
              names the profiles on offer.",
};

/// The key `domains` of `[[service]]`: the DNS names of the certificate that the agent obtains for
/// the service.
pub(super) static DOMAINS: Key<List<Text<String>>> = Key {
    name: "domains",
    kind: List {
        of: Text {
            what: "DNS name",
            parse: domain,
        },
        noun: "domain",
    },
    absent: Absent::Means("none"),
    meaning: "The names of a certificate that the agent obtains as `[acme]` configures, in \
              addition to `certificates`. Until it is obtained, clients get a certificate that \
              they do not trust. For `https` only.",
};

/// The parts of `[acme]` that are valid, for checks of other sections.
pub(super) struct AcmeDraft {
    /// The section: `None` if the file does not have it, an error if it is not valid.
    pub(super) acme: Result<Option<Acme>, Reported>,
    place: Option<Range<usize>>,
    /// The place of the key `challenges` in the file; `None` if the file does not have it.
    challenges: Option<Range<usize>>,
}

impl AcmeDraft {
    /// Returns the section, for checks of other sections: `None` if the file does not have it, an
    /// error if it is not valid.
    pub(super) fn known(&self) -> Result<Option<&Acme>, Reported> {
        match &self.acme {
            Ok(acme) => Ok(acme.as_ref()),
            Err(Reported) => Err(Reported),
        }
    }

    /// Warns if the file has `[acme]` and no service has `domains`, so no certificate is ordered.
    pub(super) fn warn_if_idle(&self, services: &[ServiceDraft], source: &Source<'_>) {
        let Some(place) = self.place.clone() else {
            return;
        };
        if services.iter().all(|service| !service.has_domains) {
            let message = "[acme] is not used: no service has domains".to_owned();
            let hint =
                "name the domains of a service of mode \"https\": domains = [\"www.example.org\"]";
            source.warning(place, message, hint.to_owned());
        }
    }
}

/// Reads the section `[acme]`, if the file has it. `pair` is the file's `[ha]`; `None` if the file
/// has none or an invalid one.
pub(super) fn read(root: &Section<'_>, pair: Option<&Ha>) -> AcmeDraft {
    let section = match root.table(&ACME) {
        Ok(Some(section)) => section,
        other => {
            let acme = other.map(|_none| None);
            return AcmeDraft {
                acme,
                place: None,
                challenges: None,
            };
        }
    };
    let mut acme = read_section(&section).map(Some);
    if pair.is_some_and(|ha| ha.link.is_none()) {
        acme = Err(refuse_pair_without_link(&section));
    }
    AcmeDraft {
        acme,
        place: Some(section.span()),
        challenges: section.place(CHALLENGES.name()),
    }
}

fn read_section(section: &Section<'_>) -> Result<Acme, Reported> {
    let email = section.optional(&EMAIL);
    let directory = section.value(&DIRECTORY);
    let challenges = section.value(&CHALLENGES);
    let storage = section.value(&STORAGE);
    let ca_file = section.optional(&CA_FILE);
    let external_account = external_account(section);
    let challenges = challenges.and_then(|listed| read_challenges(section, listed));
    let profile = section.optional(&PROFILE);
    let dns = dns::hook(section, challenges.as_deref().ok());
    Ok(Acme {
        email: email?.map(Spanned::into_inner),
        directory: directory?.into_inner(),
        challenges: challenges?,
        storage: storage?.into_inner(),
        ca_file: ca_file?.map(Spanned::into_inner),
        external_account: external_account?,
        profile: profile?.map(Spanned::into_inner),
        dns: dns?,
    })
}

fn read_challenges(
    section: &Section<'_>,
    listed: Spanned<Listed<AcmeChallenge>>,
) -> Result<Vec<AcmeChallenge>, Reported> {
    let place = listed.span();
    let challenges = listed.into_inner().all()?;
    if challenges.is_empty() {
        let hint = "name at least one: challenges = [\"tls-alpn-01\"]";
        let source = section.source();
        return Err(source.error(place, "challenges is empty".to_owned(), hint.to_owned()));
    }
    Ok(challenges)
}

fn external_account(section: &Section<'_>) -> Result<Option<ExternalAccount>, Reported> {
    let id = section.optional(&EAB_KEY_ID);
    let file = section.optional(&EAB_KEY_FILE);
    match (id?, file?) {
        (None, None) => Ok(None),
        (Some(id), Some(file)) => Ok(Some(ExternalAccount {
            key_id: id.into_inner(),
            key_file: file.into_inner(),
        })),
        (Some(id), None) => Err(lonely(section, id.span(), &EAB_KEY_ID, &EAB_KEY_FILE)),
        (None, Some(file)) => Err(lonely(section, file.span(), &EAB_KEY_FILE, &EAB_KEY_ID)),
    }
}

fn lonely(
    section: &Section<'_>,
    place: Range<usize>,
    there: &dyn Entry,
    missing: &dyn Entry,
) -> Reported {
    let message = format!("[acme] has {}, but no {}", there.name(), missing.name());
    let hint = "the ACME provider issues both together: set both, or leave both out";
    section.source().error(place, message, hint.to_owned())
}

/// Reads the `domains` of a service and returns the certificate to obtain; `None` if the service
/// has no such key. `acme` is an error if `[acme]` is not valid.
pub(super) fn obtained(
    section: &Section<'_>,
    service: Option<&Name>,
    acme: Result<Option<&Acme>, Reported>,
) -> Result<Option<Obtained>, Reported> {
    let Some(listed) = section.optional(&DOMAINS)? else {
        return Ok(None);
    };
    let (place, listed) = (listed.span(), listed.into_inner());
    let source = section.source();
    let once = unique::refuse_twice("domain", "in this list", listed.items.iter(), source);
    let domains = listed.all()?;
    once?;
    if domains.is_empty() {
        let hint = "name at least one, or leave the key out: domains = [\"www.example.org\"]";
        return Err(source.error(place, "domains is empty".to_owned(), hint.to_owned()));
    }
    let Some(acme) = acme? else {
        let message = format!("{} has domains, but there is no [acme]", section.label());
        let hint = "add [acme], which configures how certificates are obtained; all its keys have \
                    defaults";
        return Err(source.error(place, message, hint.to_owned()));
    };
    dns::refuse_wildcards(section, place, &domains, acme)?;
    // If the service has no valid name, that has been reported already.
    let file = certificate_file(acme, service.ok_or(Reported)?);
    Ok(Some(Obtained {
        domains,
        challenges: acme.challenges.clone(),
        file,
    }))
}

fn certificate_file(acme: &Acme, service: &Name) -> PathBuf {
    let file = format!("{service}.pem");
    acme.folder().join("certificates").join(file)
}

fn refuse_pair_without_link(section: &Section<'_>) -> Reported {
    let message = "[acme] in a pair needs [ha.link], which is missing".to_owned();
    let hint = "the hosts agree over the link on which of them orders, and it transfers the \
                certificate to the other: make a secret with `lb peer init` and add [ha.link], or \
                leave out [acme] and give the services certificate files";
    section
        .source()
        .error(section.span(), message, hint.to_owned())
}

fn email(text: &str) -> Result<String, Complaint> {
    let hint = "write an address such as \"admin@example.org\", without mailto:";
    let plain = |byte: u8| byte.is_ascii_graphic() && !b",;<>\"?&#".contains(&byte);
    let valid = text
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && host.contains('.') && !host.contains('@'));
    if !valid || !text.bytes().all(plain) || text.starts_with("mailto:") {
        return Err(Complaint::new("is not an e-mail address", hint));
    }
    Ok(text.to_owned())
}

fn directory(text: &str) -> Result<String, Complaint> {
    let hint = "write a URL such as \"https://acme-v02.api.letsencrypt.org/directory\"";
    let url: Result<http::Uri, _> = text.parse();
    let valid = url.is_ok_and(|url| {
        url.scheme_str() == Some("https") && url.host().is_some_and(|host| !host.is_empty())
    });
    if !valid {
        return Err(Complaint::new("is not an https URL", hint));
    }
    Ok(text.to_owned())
}

fn key_id(text: &str) -> Result<String, Complaint> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let hint = "copy it exactly as the directory gives it";
        return Err(Complaint::new("is empty or contains spaces", hint));
    }
    Ok(text.to_owned())
}

/// Parses a DNS name as certificates have it (RFC 5280 §4.2.1.6, RFC 1123 §2.1), in lower case.
fn domain(text: &str) -> Result<String, Complaint> {
    if text.parse::<IpAddr>().is_ok() {
        let hint = "certificates are obtained for DNS names: write \"www.example.org\"";
        return Err(Complaint::new("is an IP address", hint));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let plain = text.strip_prefix("*.").unwrap_or(text);
    if text.len() > 253 || !plain.contains('.') || !plain.split('.').all(label) {
        let hint = "write a full name such as \"www.example.org\", without a dot at the end; write \
                    internationalised names in their xn-- form";
        return Err(Complaint::new("is not a DNS name", hint));
    }
    Ok(text.to_ascii_lowercase())
}
