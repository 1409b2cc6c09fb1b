//! Tests of how two hosts exchange certificates, the ACME account and challenge responses. Their
//! messages are delivered as the link between the two agents would deliver them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::*;
use crate::{
    acme::{CertificateDetails, Validity, managed::CertificatePlan, record::from_unix},
    config::{Acme, AcmeChallenge, Obtained},
};

const NAME: &str = "www.example.org";
/// When the certificates of these tests become valid, in seconds since 1970: in the year 2033.
const BEGINS: u64 = 2_000_000_000;
const ACCOUNT: &str = r#"{"id": "https://acme.example.org/1", "key_pkcs8": "MTIz", "urls": null,
                          "directory": "https://acme.example.org/dir"}"#;

/// Parses the text that stands for a certificate file in these tests: its names, when it becomes
/// valid, and a byte of its fingerprint.
fn inspect(bytes: &[u8]) -> Result<CertificateDetails, String> {
    let text = String::from_utf8_lossy(bytes);
    let [names, begins, mark] = text.split(' ').collect::<Vec<_>>()[..] else {
        return Err("no certificate".to_owned());
    };
    let begins: u64 = begins.parse().map_err(|_| "no time".to_owned())?;
    Ok(CertificateDetails {
        names: names.split(',').map(str::to_owned).collect(),
        validity: Validity {
            not_before: from_unix(begins),
            not_after: from_unix(begins + 86_400),
        },
        fingerprint: [mark.parse().map_err(|_| "no mark".to_owned())?; 32],
    })
}

struct Host {
    exchange: Exchange,
    challenges: Challenges,
    managed: Arc<ManagedCertificate>,
    messages: mpsc::UnboundedReceiver<PeerMessage>,
    renewed: mpsc::UnboundedReceiver<Name>,
    folder: tempfile::TempDir,
}

impl Host {
    fn raise(name: &'static str, certificate: Option<&str>) -> Self {
        Self::of_directory(name, certificate, "https://acme.example.org/dir")
    }

    fn of_directory(own: &'static str, certificate: Option<&str>, directory: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Acme {
            email: None,
            directory: directory.to_owned(),
            challenges: vec![AcmeChallenge::Http01],
            storage: folder.path().to_owned(),
            ca_file: None,
            external_account: None,
            profile: None,
            dns: None,
        };
        let name = |name| Name::parse(name).expect("a name");
        let plan = CertificatePlan {
            host: name(own),
            service: name("web"),
            obtained: Obtained {
                domains: vec![NAME.to_owned()],
                challenges: vec![AcmeChallenge::Http01],
                file: folder.path().join("web.pem"),
            },
            settings: settings.clone(),
        };
        if let Some(certificate) = certificate {
            fs::write(&plan.obtained.file, certificate).expect("written");
        }
        let (to_peer, messages) = mpsc::unbounded_channel();
        let (files, renewed) = mpsc::unbounded_channel();
        let challenges = Challenges::default();
        let shown = (challenges.clone(), StatusRegistry::default());
        let exchange = Exchange::new(true, to_peer, files, shown);
        let now = SystemTime::now();
        let managed = Arc::new(ManagedCertificate::open(
            plan,
            inspect,
            HostRole::Standby,
            now,
        ));
        let all = BTreeMap::from([(name("web"), Arc::clone(&managed))]);
        exchange.keep(&name(own), Some(&settings), all);
        Self {
            exchange,
            challenges,
            managed,
            messages,
            renewed,
            folder,
        }
    }

    fn file(&self) -> Option<String> {
        fs::read_to_string(self.path()).ok()
    }

    fn path(&self) -> &Path {
        &self.managed.plan.obtained.file
    }

    fn store(&self) -> Store {
        Store::new(self.managed.plan.settings.folder())
    }

    fn http_answer(&self) -> Option<String> {
        self.challenges
            .http_answer("/.well-known/acme-challenge/token")
    }
}

/// Delivers the messages between two hosts until none is left. Returns the messages that each host
/// sent.
fn talk(hosts: [&mut Host; 2]) -> [Vec<PeerMessage>; 2] {
    let [one, other] = hosts;
    let mut said = [Vec::new(), Vec::new()];
    loop {
        let from_one = one.messages.try_recv().ok();
        let from_other = other.messages.try_recv().ok();
        if from_one.is_none() && from_other.is_none() {
            return said;
        }
        let messages = [
            (0, from_one, &other.exchange),
            (1, from_other, &one.exchange),
        ];
        for (from, message, to) in messages {
            if let Some(message) = message {
                said[from].push(message.clone());
                to.receive(message);
            }
        }
        assert!(
            said.iter().all(|messages| messages.len() < 50),
            "they never end"
        );
    }
}

fn link(one: &mut Host, other: &mut Host) -> [Vec<PeerMessage>; 2] {
    one.exchange.set_active(true);
    one.exchange.set_linked(true);
    other.exchange.set_linked(true);
    talk([one, other])
}

#[test]
fn the_newer_certificate_comes_to_the_host_that_has_it_not() {
    let newer = format!("{NAME} {BEGINS} 2");
    for (ours, expected) in [
        (None, &newer),
        (Some(format!("{NAME} {} 1", BEGINS - 1)), &newer),
        // The certificate of host `other` does not cover the configured name, so it counts as
        // missing.
        (Some(format!("example.net {} 1", BEGINS + 1)), &newer),
    ] {
        let mut one = Host::raise("a", Some(&newer));
        let mut other = Host::raise("b", ours.as_deref());
        link(&mut one, &mut other);
        assert_eq!(other.file().as_ref(), Some(expected), "{ours:?}");
        assert_eq!(one.file().as_ref(), Some(&newer));
        assert!(other.renewed.try_recv().is_ok() && one.renewed.try_recv().is_err());
        let mode = fs::metadata(other.path()).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let state = other.managed.state();
        let not_before = state.renewal.certificate().map(|one| one.not_before);
        assert_eq!(not_before, Some(from_unix(BEGINS)));
    }
}

#[test]
fn a_certificate_that_is_older_or_of_no_use_is_not_taken() {
    let ours = format!("{NAME} {BEGINS} 1");
    for theirs in [
        format!("{NAME} {} 2", BEGINS - 1),
        // The certificate of host `one` expired long ago.
        format!("{NAME} 1000 2"),
    ] {
        let mut one = Host::raise("a", Some(&theirs));
        let mut other = Host::raise("b", Some(&ours));
        let [_, said] = link(&mut one, &mut other);
        assert_eq!(other.file().as_ref(), Some(&ours));
        let wants = |message: &PeerMessage| matches!(message, PeerMessage::FileRequest { .. });
        assert!(!said.iter().any(wants), "{said:?}");
    }
}

#[test]
fn a_certificate_for_other_names_is_asked_for_once_and_refused() {
    let mut one = Host::raise("a", Some(&format!("{NAME} {BEGINS} 1")));
    let mut other = Host::raise("b", None);
    link(&mut one, &mut other);
    // The peer's list of domains differs from this host's, and its certificate is newer.
    let mut told = told_by(&mut one);
    let id = CertificateId {
        not_before: BEGINS + 5,
        not_after: BEGINS + 86_405,
        fingerprint: [9; 32],
    };
    told.certificates.entry("web".to_owned()).and_modify(|web| {
        web.certificate = Some(id);
    });
    for _ in 0..2 {
        other
            .exchange
            .receive(PeerMessage::State(Box::new(told.clone())));
        other.exchange.receive(PeerMessage::File {
            service: "web".to_owned(),
            bytes: Some(Secret(format!("example.net {} 9", BEGINS + 5).into_bytes())),
        });
    }
    let mut wants = 0;
    while let Ok(message) = other.messages.try_recv() {
        wants += usize::from(matches!(message, PeerMessage::FileRequest { .. }));
    }
    assert_eq!(wants, 1);
    assert_eq!(other.file(), Some(format!("{NAME} {BEGINS} 1")));
}

#[test]
fn a_file_that_nobody_asked_for_or_another_one_is_not_taken() {
    let ours = format!("{NAME} {BEGINS} 1");
    let mut one = Host::raise("a", Some(&ours));
    let mut other = Host::raise("b", Some(&ours));
    link(&mut one, &mut other);
    let file = |mark: u8| PeerMessage::File {
        service: "web".to_owned(),
        bytes: Some(Secret(format!("{NAME} {} {mark}", BEGINS + 9).into_bytes())),
    };
    other.exchange.receive(file(3));
    assert_eq!(other.file().as_ref(), Some(&ours));
    let mut told = told_by(&mut one);
    told.certificates.entry("web".to_owned()).and_modify(|web| {
        web.certificate = Some(CertificateId {
            not_before: BEGINS + 9,
            not_after: BEGINS + 86_409,
            fingerprint: [4; 32],
        });
    });
    other.exchange.receive(PeerMessage::State(Box::new(told)));
    other.exchange.receive(file(3));
    assert_eq!(other.file().as_ref(), Some(&ours));
}

#[test]
fn both_hosts_use_the_account_of_the_active_one() {
    let account = |number: u32| ACCOUNT.replace("org/1", &format!("org/{number}"));
    for (ours, theirs, expected) in [
        (None, Some(1), 1),
        (Some(2), None, 2),
        (Some(2), Some(1), 1),
    ] {
        let mut active = Host::raise("a", None);
        let mut standby = Host::raise("b", None);
        for (host, number) in [(&active, theirs), (&standby, ours)] {
            if let Some(number) = number {
                let account = account(number);
                host.store().take_account(account.as_bytes()).expect("kept");
            }
        }
        link(&mut active, &mut standby);
        for host in [&active, &standby] {
            let found = account::read(&host.store()).expect("an account");
            assert_eq!(String::from_utf8_lossy(&found), account(expected));
        }
    }
}

#[test]
fn hosts_of_two_directories_take_nothing_from_each_other() {
    let mut one = Host::raise("a", Some(&format!("{NAME} {BEGINS} 1")));
    one.store().take_account(ACCOUNT.as_bytes()).expect("kept");
    let mut other = Host::of_directory("b", None, "https://other.example.org/dir");
    link(&mut one, &mut other);
    assert!(other.file().is_none() && account::read(&other.store()).is_none());
}

#[tokio::test]
async fn an_answer_is_served_by_both_before_it_counts_and_withdrawn_from_both() {
    let mut one = Host::raise("a", None);
    let mut other = Host::raise("b", None);
    link(&mut one, &mut other);
    let response = Response::Http {
        token: "token".to_owned(),
        key_authorization: "token.thumbprint".to_owned(),
    };
    let exchange = one.exchange.clone();
    let serving = tokio::spawn(async move { exchange.serve(response).await });
    let shared = loop {
        tokio::task::yield_now().await;
        if serving.is_finished() {
            break serving.await.expect("ended").expect("served");
        }
        talk([&mut one, &mut other]);
    };
    assert_eq!(other.http_answer().as_deref(), Some("token.thumbprint"));
    assert!(one.http_answer().is_some());
    // State messages that the host sends while a challenge response is served do not end the
    // serving.
    one.exchange.publish();
    talk([&mut one, &mut other]);
    assert!(other.http_answer().is_some());
    drop(shared);
    talk([&mut one, &mut other]);
    assert!(one.http_answer().is_none() && other.http_answer().is_none());
}

#[test]
fn a_claim_is_answered_and_counts_before_the_order_begins() {
    let mut one = Host::raise("a", None);
    let mut other = Host::raise("b", None);
    link(&mut one, &mut other);
    let now = SystemTime::now();
    one.managed.state().renewal.order_lock().claimed(7, now);
    one.exchange.send(PeerMessage::Claim {
        service: "web".to_owned(),
        number: 7,
    });
    talk([&mut one, &mut other]);
    assert_eq!(
        one.managed.state().renewal.step(now),
        crate::acme::Step::Order,
        "it is granted"
    );
    let record = other.managed.state().renewal.record().clone();
    assert_eq!(record.peer_began.len(), 1);
    let kept = other.store().record(other.path()).expect("kept");
    assert_eq!(kept, record, "it outlives a restart");
    assert!(other.folder.path().exists());
}

/// Returns the state that a host sends to its peer.
fn told_by(host: &mut Host) -> HostState {
    host.exchange.publish();
    let mut told = None;
    while let Ok(message) = host.messages.try_recv() {
        if let PeerMessage::State(message) = message {
            told = Some(*message);
        }
    }
    told.expect("told")
}
