//! Check of `lb doctor` about the files by which client certificates are verified: those of
//! services of mode `https`, and those of operators.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    agent::Account,
    check::{Check, Group},
    finding::Finding,
};
use crate::{
    config::{ClientAuthorities, ClientCertificates, Config, Mode},
    proxy::{self, CertificateProblem, Error},
};

pub(super) static VALID: Check = Check {
    name: "client_authorities",
    group: Group::Certificates,
    looks_at: "Each file of `client_authorities` and `client_revocations`, of services and of `[admin]`: that \
               it has certificates or revocation lists, that the user of the agent may read it, and that no \
               list has expired.",
    why: "The agent does not start with a file that it cannot use, and accepts no client certificate of an \
          authority whose revocation list has expired.",
    fix: "Copy the file from the authority, or publish a new revocation list. A new file is read without a \
          reload.",
};

pub(super) static CHECKS: [&Check; 1] = [&VALID];

/// What a file holds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    Authorities,
    Revocations,
}

/// Makes the check for an agent that runs as `account`.
pub(super) fn check(config: &Config, account: Account) -> Vec<Finding> {
    let now = SystemTime::now();
    files(config)
        .iter()
        .map(|(path, kind)| judge(path, *kind, account, now))
        .collect()
}

fn files(config: &Config) -> BTreeSet<(PathBuf, Kind)> {
    let of_services = config.services.iter().filter_map(|service| {
        let Mode::Https { tls, .. } = &service.mode else {
            return None;
        };
        match &tls.clients {
            ClientCertificates::None => None,
            ClientCertificates::Optional(one) | ClientCertificates::Required(one) => Some(one),
        }
    });
    let all = of_services.chain(&config.admin.client_authorities);
    let files = all.flat_map(|one: &ClientAuthorities| {
        let authorities = one.authorities.iter().map(|path| (path, Kind::Authorities));
        authorities.chain(one.revocations.iter().map(|path| (path, Kind::Revocations)))
    });
    files.map(|(path, kind)| (path.clone(), kind)).collect()
}

fn judge(path: &Path, kind: Kind, account: Account, now: SystemTime) -> Finding {
    let subject = &path.display();
    let read = match kind {
        Kind::Authorities => proxy::check_authorities(path).map(|()| None),
        Kind::Revocations => proxy::revocations_expire(path),
    };
    let expires = match read {
        Ok(expires) => expires,
        Err(error) => return VALID.fail(subject, &error, fix_of(path, kind, &error)),
    };
    if !fs::metadata(path).is_ok_and(|metadata| account.may(0o4, &metadata)) {
        let (user, _) = account.names();
        return VALID.fail(
            subject,
            format!("user {user}, which the agent runs as, may not read it"),
            format!("`chmod 644 {subject}`"),
        );
    }
    match (kind, expires) {
        (_, Some(end)) if end <= now => VALID.fail(
            subject,
            format!(
                "a list in it expired at {}: client certificates of its authority are refused",
                humantime::format_rfc3339_seconds(end)
            ),
            format!(
                "publish a new list with the authority and replace {subject}: the agent reads it \
                 without a reload"
            ),
        ),
        (Kind::Revocations, Some(end)) => VALID.ok(
            subject,
            format!(
                "revocation lists, valid until {}",
                humantime::format_rfc3339_seconds(end)
            ),
        ),
        (Kind::Revocations, None) => VALID.ok(subject, "revocation lists"),
        (Kind::Authorities, _) => VALID.ok(subject, "certificates of authorities"),
    }
}

fn fix_of(path: &Path, kind: Kind, error: &Error) -> String {
    let path = path.display();
    let (key, content) = match kind {
        Kind::Authorities => ("client_authorities", "certificate of the authority"),
        Kind::Revocations => ("client_revocations", "revocation list of the authority"),
    };
    match error {
        Error::Certificate {
            problem: CertificateProblem::Missing,
            ..
        } => format!("copy the {content} to {path}, or correct `{key}`"),
        _ => format!("replace {path} by the {content}, as PEM"),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
        IsCa, KeyIdMethod, KeyPair, SerialNumber,
    };

    use super::*;
    use crate::doctor::State;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
    }

    fn list(authority: &CertifiedIssuer<'static, KeyPair>) -> String {
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2025, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(authority)
            .expect("signed")
            .pem()
            .expect("PEM")
    }

    /// The end of the list that [`list`] returns: the beginning of 2025.
    const END: Duration = Duration::from_secs(1_735_689_600);

    #[test]
    fn a_file_must_be_there_and_have_what_it_is_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let authority = authority();
        let now = SystemTime::UNIX_EPOCH;
        let judged = |text: &str, kind| {
            fs::write(&path, text).expect("written");
            judge(&path, kind, Account::ours(), now)
        };
        let (ca, crl) = (authority.pem(), list(&authority));
        assert_eq!(judged(&ca, Kind::Authorities).state, State::Ok);
        assert_eq!(judged(&crl, Kind::Revocations).state, State::Ok);
        for (text, kind) in [
            ("", Kind::Authorities),
            (crl.as_str(), Kind::Authorities),
            (ca.as_str(), Kind::Revocations),
        ] {
            let finding = judged(text, kind);
            assert_eq!(finding.state, State::Fail, "{finding:?}");
            let fix = finding.fix.expect("a fix");
            assert!(fix.starts_with("replace "), "{fix}");
        }
        fs::remove_file(&path).expect("removed");
        let finding = judge(&path, Kind::Authorities, Account::ours(), now);
        assert_eq!(finding.state, State::Fail);
        let fix = finding.fix.expect("a fix");
        assert!(fix.contains("correct `client_authorities`"), "{fix}");
    }

    #[test]
    fn a_revocation_list_that_has_expired_is_a_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("crl.pem");
        fs::write(&path, list(&authority())).expect("written");
        let judged = |now| judge(&path, Kind::Revocations, Account::ours(), now);
        let end = SystemTime::UNIX_EPOCH + END;
        assert_eq!(judged(end - Duration::from_secs(1)).state, State::Ok);
        let finding = judged(end);
        assert_eq!(finding.state, State::Fail);
        assert!(
            finding.found.contains("2025-01-01T00:00:00Z"),
            "{finding:?}"
        );
    }

    #[test]
    fn a_file_that_the_agent_may_not_read_is_a_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        fs::write(&path, authority().pem()).expect("written");
        let other = Account {
            user: 4242,
            group: 4242,
        };
        let judged = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
            judge(&path, Kind::Authorities, other, SystemTime::now())
        };
        assert_eq!(judged(0o644).state, State::Ok);
        let finding = judged(0o600);
        assert_eq!(finding.state, State::Fail);
        assert!(finding.fix.expect("a fix").starts_with("`chmod 644 "));
    }

    #[test]
    fn files_of_services_and_of_operators_are_checked_once() {
        let text = r#"
            [node]
            name = "lb-a"
            interface = "eth0"
            [admin]
            certificate = "/etc/lb/tls/admin.pem"
            client_authorities = ["/etc/lb/tls/ca.pem", "/etc/lb/tls/operators.pem"]
            client_revocations = ["/etc/lb/tls/crl.pem"]
            [[pool]]
            name = "web"
            backends = ["10.0.0.6:80"]
            [[service]]
            name = "https"
            listen = "172.31.0.68:443"
            mode = "https"
            pool = "web"
            certificates = ["/etc/lb/tls/site.pem"]
            [service.tls]
            client_certificates = "optional"
            client_authorities = ["/etc/lb/tls/ca.pem"]
        "#;
        let parsed = Config::parse(Path::new("lb.toml"), text).expect("valid");
        let files = files(&parsed.config);
        let wanted = [
            ("/etc/lb/tls/ca.pem", Kind::Authorities),
            ("/etc/lb/tls/crl.pem", Kind::Revocations),
            ("/etc/lb/tls/operators.pem", Kind::Authorities),
        ];
        let wanted = wanted.map(|(path, kind)| (PathBuf::from(path), kind));
        assert_eq!(files.into_iter().collect::<Vec<_>>(), wanted);
    }
}
