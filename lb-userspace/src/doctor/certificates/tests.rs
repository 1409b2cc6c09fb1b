use super::*;
use crate::doctor::State;

fn site(obtained: bool) -> Used {
    let domains = vec!["example.org".to_owned(), "www.example.org".to_owned()];
    Used {
        path: PathBuf::from("/etc/lb/tls/site.pem"),
        purpose: match obtained {
            true => Purpose::Obtained {
                service: "https".to_owned(),
                domains,
            },
            false => Purpose::Service,
        },
    }
}

fn lasting(days: u64) -> (InspectedCertificate, SystemTime) {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * DAY);
    let certificate = InspectedCertificate {
        names: Vec::new(),
        not_before: begin,
        not_after: begin + Duration::from_secs(days * DAY),
        fingerprint: [0; 32],
    };
    (certificate, begin)
}

#[test]
fn a_certificate_ends_with_a_warning_first() {
    let (certificate, begin) = lasting(90);
    let state = |day: u64| {
        let now = begin + Duration::from_secs(day * DAY);
        expiry(&site(false), &certificate, now).state
    };
    assert_eq!((state(0), state(76)), (State::Ok, State::Ok));
    assert_eq!((state(77), state(89)), (State::Warn, State::Warn));
    assert_eq!(state(91), State::Fail);
    let early = expiry(&site(false), &certificate, begin - Duration::from_secs(1));
    assert_eq!(early.state, State::Fail);
    assert!(
        early.found.contains("not valid before 1972-09-27"),
        "{early:?}"
    );
}

#[test]
fn a_certificate_that_is_obtained_is_renewed_by_a_command() {
    let (certificate, begin) = lasting(1);
    let soon = expiry(&site(true), &certificate, begin);
    assert!(
        soon.fix
            .expect("a fix")
            .contains("`lb certificate renew https`")
    );
}

#[test]
fn names_are_those_that_are_wanted() {
    let names = |list: &[&str]| {
        list.iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        judge_names(&site(false), &names(&["example.org"])).state,
        State::Ok
    );
    assert_eq!(judge_names(&site(false), &[]).state, State::Fail);
    let few = judge_names(&site(true), &names(&["example.org"]));
    assert_eq!(few.state, State::Warn);
    assert!(few.found.contains("www.example.org"));
}

/// Returns the configuration of a host with two services of mode `https`, of which the second
/// obtains its certificate, and `admin.certificate`.
fn config(admin: &str) -> Config {
    let text = format!(
        r#"
        [node]
        name = "lb-a"
        interface = "eth0"
        [admin]
        certificate = "{admin}"
        [acme]
        storage = "/var/lib/lb/acme"
        [[pool]]
        name = "web"
        backends = ["10.0.0.6:80"]
        [[service]]
        name = "https"
        listen = "172.31.0.68:443"
        mode = "https"
        pool = "web"
        certificates = ["/etc/lb/tls/site.pem"]
        [[service]]
        name = "obtained"
        listen = "172.31.0.68:8443"
        mode = "https"
        pool = "web"
        domains = ["example.org"]
        "#
    );
    Config::parse(Path::new("lb.toml"), &text)
        .expect("valid")
        .config
}

#[test]
fn the_admin_certificate_is_checked_once() {
    let purposes = |admin| {
        let used = used(&config(admin));
        used.into_iter()
            .map(|used| (used.path.display().to_string(), used.purpose))
            .collect::<Vec<_>>()
    };
    let obtained = Purpose::Obtained {
        service: "obtained".to_owned(),
        domains: vec!["example.org".to_owned()],
    };
    let site_only = config("/etc/lb/tls/site.pem");
    let file = site_only.services[1].obtained().map(|one| &one.file);
    let file = file.expect("obtained").display().to_string();
    let of_services = [
        ("/etc/lb/tls/site.pem".to_owned(), Purpose::Service),
        (file, obtained),
    ];
    assert_eq!(purposes("/etc/lb/tls/site.pem"), of_services);
    let admin = ("/etc/lb/tls/admin.pem".to_owned(), Purpose::Admin);
    let [site, obtained] = of_services;
    assert_eq!(purposes("/etc/lb/tls/admin.pem"), [admin, site, obtained]);
}

#[test]
fn a_missing_admin_certificate_is_a_failure_that_names_its_key() {
    let (findings, names) = check(&config("/nonexistent/admin.pem"), Account::of(None));
    let subject = "/nonexistent/admin.pem";
    let finding = findings.iter().find(|finding| finding.subject == subject);
    let finding = finding.expect("a finding");
    assert_eq!(
        (finding.check.name, finding.state),
        ("certificate", State::Fail)
    );
    let fix = finding.fix.as_deref().expect("a fix");
    assert!(fix.contains("correct `admin.certificate`"), "{fix}");
    assert_eq!(names, BTreeSet::from(["example.org".to_owned()]));
}

#[test]
fn names_of_the_admin_certificate_are_not_looked_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.pem");
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["lb-a.internal".to_owned()]);
    let certificate = params
        .and_then(|params| params.self_signed(&key))
        .expect("signed");
    fs::write(&path, certificate.pem() + &key.serialize_pem()).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&path, mode).expect("its mode");
    let (findings, names) = check(&config(path.to_str().expect("UTF-8")), Account::ours());
    let subject = path.display().to_string();
    let valid = findings.iter().any(|finding| {
        finding.subject == subject
            && finding.check.name == "certificate"
            && finding.state == State::Ok
    });
    assert!(valid, "{findings:#?}");
    assert_eq!(names, BTreeSet::from(["example.org".to_owned()]));
}
