use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

use super::*;

const DAY: u64 = 24 * 60 * 60;

/// Parses a certificate file of these tests, whose text is `BEGIN END NAME…`, with times in days.
/// The text is also the fingerprint.
fn inspect(text: &[u8]) -> Result<CertificateFacts, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let mut words = text.split_whitespace();
    let mut day = || words.next().and_then(|day| day.parse::<u64>().ok());
    let (Some(begin), Some(end)) = (day(), day()) else {
        return Err("no certificate".to_owned());
    };
    let mut fingerprint = [0; 32];
    for (byte, from) in fingerprint.iter_mut().zip(text.bytes()) {
        *byte = from;
    }
    Ok(CertificateFacts {
        names: words.map(str::to_owned).collect(),
        not_before: begin * DAY,
        not_after: end * DAY,
        fingerprint,
    })
}

fn today() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(100 * DAY)
}

/// A host with one certificate file. Messages name the path of a file, which must be the same on
/// both hosts. In these tests each host has a separate folder, so the path in a message is
/// rewritten to the receiver's folder.
struct Host {
    folder: tempfile::TempDir,
    certificates: Certificates,
}

impl Host {
    fn new(text: &str, shares: bool) -> Self {
        let mut host = Self {
            folder: tempfile::tempdir().expect("a folder"),
            certificates: Certificates::new(shares, inspect),
        };
        fs::write(host.path(), text).expect("written");
        fs::set_permissions(host.path(), fs::Permissions::from_mode(0o600)).expect("chmod");
        host.load();
        host.certificates.link_up();
        host
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("site.pem")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).expect("read")
    }

    /// Reads the host's file as a reload does. Returns the message for the peer, if the certificate
    /// has changed.
    fn load(&mut self) -> Option<CertificateMessage> {
        let facts = inspect(self.text().as_bytes()).expect("good");
        self.certificates.have([(self.path(), facts)])
    }

    fn hear(&mut self, message: CertificateMessage, from: &Path) -> Received {
        let (theirs, ours) = (
            from.display().to_string(),
            self.path().display().to_string(),
        );
        let message = match message {
            CertificateMessage::Have(all) => CertificateMessage::Have(
                all.into_iter()
                    .map(|(path, facts)| (path.replace(&theirs, &ours), facts))
                    .collect(),
            ),
            CertificateMessage::Want(path, it) => {
                CertificateMessage::Want(path.replace(&theirs, &ours), it)
            }
            CertificateMessage::File(path, it) => {
                CertificateMessage::File(path.replace(&theirs, &ours), it)
            }
        };
        self.certificates.receive(message, today())
    }
}

/// Lets both hosts announce their certificates and exchange messages until there are no more.
/// Returns the files that host `a` replaced.
fn talk(a: &mut Host, b: &mut Host) -> Vec<PathBuf> {
    let mut to_a = vec![b.certificates.announcement()];
    let mut to_b = vec![a.certificates.announcement()];
    let mut replaced = Vec::new();
    for _ in 0..10 {
        for message in std::mem::take(&mut to_a) {
            let received = a.hear(message, &b.path());
            to_b.extend(received.replies);
            replaced.extend(received.replaced);
        }
        for message in std::mem::take(&mut to_b) {
            to_a.extend(b.hear(message, &a.path()).replies);
        }
    }
    assert!(to_a.is_empty() && to_b.is_empty(), "there is an end to it");
    replaced
}

fn kinds(host: &Host) -> Vec<DifferenceKind> {
    let differences = host.certificates.differences();
    differences.into_iter().map(|it| it.kind).collect()
}

#[test]
fn a_newer_certificate_of_the_peer_takes_the_place_of_ours() {
    let mut a = Host::new("10 110 a.example", true);
    let mut b = Host::new("90 180 a.example b.example", true);
    fs::set_permissions(a.path(), fs::Permissions::from_mode(0o400)).expect("chmod");
    assert_eq!(talk(&mut a, &mut b), [a.path()]);
    assert_eq!(a.text(), "90 180 a.example b.example");
    assert_eq!(
        fs::metadata(a.path()).expect("there").mode() & 0o7777,
        0o400
    );
    let left = fs::read_dir(a.folder.path()).expect("listed").count();
    assert_eq!(left, 1, "no draft stays behind");
    // After the reload, no host requests anything.
    assert!(a.load().is_some(), "it is news to the peer");
    assert!(talk(&mut a, &mut b).is_empty());
    assert_eq!((kinds(&a), kinds(&b)), (vec![], vec![]));
}

#[test]
fn certificates_travel_only_when_both_hosts_share_them() {
    for (ours, theirs) in [(false, true), (true, false)] {
        let mut a = Host::new("10 110 a.example", ours);
        let mut b = Host::new("90 180 a.example", theirs);
        assert!(talk(&mut a, &mut b).is_empty());
        assert_eq!(a.text(), "10 110 a.example");
        assert_eq!(kinds(&a), [DifferenceKind::NewerThere]);
        assert_eq!(kinds(&b), [DifferenceKind::NewerHere]);
    }
}

#[test]
fn what_is_older_has_ended_or_lacks_a_name_is_not_wanted() {
    for theirs in [
        "9 180 a.example b.example",
        "10 180 a.example b.example",
        "90 99 a.example b.example",
        "90 180 a.example",
        "90 180 b.example c.example",
    ] {
        let mut a = Host::new("10 110 a.example b.example", true);
        let mut b = Host::new(theirs, true);
        let received = a.hear(b.certificates.announcement(), &b.path());
        assert_eq!(received, Received::default(), "{theirs}");
        let _other_way = talk(&mut a, &mut b);
        assert_eq!(a.text(), "10 110 a.example b.example", "{theirs}");
    }
}

#[test]
fn a_file_that_was_not_requested_is_not_written() {
    let mut a = Host::new("10 110 a.example", true);
    let path = a.path().display().to_string();
    let elsewhere = a.folder.path().join("other.pem");
    for path in [path, elsewhere.display().to_string()] {
        let bytes = FileBytes(b"90 180 a.example".to_vec());
        let message = CertificateMessage::File(path, bytes);
        assert_eq!(
            a.certificates.receive(message, today()),
            Received::default()
        );
    }
    assert_eq!(a.text(), "10 110 a.example");
    assert!(!elsewhere.exists());
}

#[test]
fn a_file_that_was_not_announced_is_not_sent() {
    let mut a = Host::new("10 110 a.example", true);
    let facts = inspect(b"10 110 a.example").expect("good");
    let secret = a.folder.path().join("secret.pem");
    fs::write(&secret, "10 110 a.example").expect("written");
    let up = format!("{}/../secret.pem", a.folder.path().display());
    for path in [secret.display().to_string(), up, "/etc/shadow".to_owned()] {
        let message = CertificateMessage::Want(path, facts.fingerprint);
        assert_eq!(
            a.certificates.receive(message, today()),
            Received::default()
        );
    }
    let path = a.path().display().to_string();
    let message = CertificateMessage::Want(path.clone(), [7; 32]);
    assert_eq!(
        a.certificates.receive(message, today()),
        Received::default()
    );
    // The file that was announced has been changed since.
    fs::write(a.path(), "11 110 a.example").expect("written");
    let message = CertificateMessage::Want(path, facts.fingerprint);
    assert_eq!(
        a.certificates.receive(message, today()),
        Received::default()
    );
}

#[test]
fn a_received_file_must_hold_the_announced_certificate() {
    for sent in [
        "",
        "no certificate",
        "91 180 a.example",
        "90 180 evil.example",
    ] {
        let mut a = Host::new("10 110 a.example", true);
        let b = Host::new("90 180 a.example", true);
        let received = a.hear(b.certificates.announcement(), &b.path());
        assert!(matches!(
            received.replies.as_slice(),
            [CertificateMessage::Want(..)]
        ));
        let path = a.path().display().to_string();
        let message = CertificateMessage::File(path, FileBytes(sent.as_bytes().to_vec()));
        assert_eq!(
            a.certificates.receive(message, today()),
            Received::default(),
            "{sent}"
        );
        assert_eq!(a.text(), "10 110 a.example");
        let left = fs::read_dir(a.folder.path()).expect("listed").count();
        assert_eq!(left, 1, "no draft stays behind");
    }
}

#[test]
fn a_symbolic_link_of_another_program_is_not_replaced() {
    let mut a = Host::new("10 110 a.example", true);
    let mut b = Host::new("90 180 a.example", true);
    let target = a.folder.path().join("archive.pem");
    fs::rename(a.path(), &target).expect("renamed");
    symlink(&target, a.path()).expect("linked");
    assert!(talk(&mut a, &mut b).is_empty());
    assert!(fs::symlink_metadata(a.path()).expect("there").is_symlink());
    assert_eq!(
        fs::read_to_string(target).expect("read"),
        "10 110 a.example"
    );
}

#[test]
fn a_file_keeps_its_owner() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut a = Host::new("10 110 a.example", true);
    let mut b = Host::new("90 180 a.example", true);
    std::os::unix::fs::chown(a.path(), Some(4242), Some(4243)).expect("chown");
    talk(&mut a, &mut b);
    let metadata = fs::metadata(a.path()).expect("there");
    assert_eq!((metadata.uid(), metadata.gid()), (4242, 4243));
    assert_eq!(a.text(), "90 180 a.example");
}

#[test]
fn files_of_one_host_alone_are_differences_while_the_link_is_up() {
    let mut a = Host::new("10 110 a.example", true);
    a.certificates.receive(
        CertificateMessage::Have(BTreeMap::from([(
            "/etc/lb/other.pem".to_owned(),
            inspect(b"1 2 c").expect("good"),
        )])),
        today(),
    );
    assert_eq!(
        kinds(&a),
        [DifferenceKind::OnlyThere, DifferenceKind::OnlyHere]
    );
    a.certificates.link_down();
    assert!(kinds(&a).is_empty());
}

#[test]
fn a_key_is_in_no_log() {
    let message = CertificateMessage::File("a".to_owned(), FileBytes(b"a secret".to_vec()));
    assert_eq!(format!("{message:?}"), r#"File("a", FileBytes(8 bytes))"#);
}
