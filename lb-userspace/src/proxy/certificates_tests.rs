//! Tests that each problem of a certificate file is reported in one sentence.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Pair {
    certificate: String,
    key: String,
}

fn pair(names: &[&str]) -> Pair {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    Pair {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
}

fn file(folder: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
    let path = folder.path().join("site.pem");
    fs::write(&path, text).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
    path
}

/// Returns the error message of loading a certificate file with this text and these permission
/// bits.
fn sentence(text: &str, mode: u32) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = file(&folder, text, mode);
    let errors = check_certificates(std::slice::from_ref(&path));
    assert_eq!(errors.len(), 1, "{errors:?}");
    let sentence = errors[0].to_string();
    assert!(sentence.contains(&path.display().to_string()), "{sentence}");
    sentence
}

#[test]
fn a_chain_and_its_key_are_good_and_described() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = pair(&["A.example", "*.b.example", "192.0.2.1"]);
    let path = file(&folder, &(pair.certificate + &pair.key), 0o600);
    let certificate = load(&path).expect("good");
    assert_eq!(certificate.names, ["a.example", "*.b.example", "192.0.2.1"]);
    assert!(certificate.not_after > SystemTime::now());
    assert!(certificate.not_before < SystemTime::now());
    assert!(check_certificates(std::slice::from_ref(&path)).is_empty());
    let inspected = inspect_certificate(&fs::read(path).expect("read")).expect("good");
    assert_eq!(inspected.names, certificate.names);
    assert_eq!(inspected.fingerprint, certificate.fingerprint);
    assert_eq!(inspected.not_after, certificate.not_after);
}

#[test]
fn the_fingerprint_is_openssls() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = pair(&["a"]);
    let path = file(&folder, &(pair.certificate + &pair.key), 0o600);
    let output = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(&path)
        .output()
        .expect("openssl");
    let said = String::from_utf8(output.stdout).expect("text");
    let (_, said) = said.trim().split_once('=').expect("a fingerprint");
    let ours = load(&path).expect("good").fingerprint;
    let ours: Vec<_> = ours.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(ours.join(":"), said);
}

#[test]
fn every_kind_of_key_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [
        &["ecparam", "-genkey", "-name", "prime256v1"][..],
        &["genrsa", "-traditional", "2048"],
        &["genpkey", "-algorithm", "RSA"],
        &["genpkey", "-algorithm", "ED25519"],
    ] {
        let openssl = |arguments: &[&str]| {
            let output = std::process::Command::new("openssl")
                .args(arguments)
                .output()
                .expect("openssl");
            assert!(output.status.success(), "{arguments:?}");
            String::from_utf8(output.stdout).expect("text")
        };
        let key = openssl(arguments);
        let key_path = file(&folder, &key, 0o600).display().to_string();
        let certificate = openssl(&[
            "req", "-x509", "-key", &key_path, "-subj", "/CN=a", "-days", "1",
        ]);
        let path = file(&folder, &(key + &certificate), 0o600);
        load(&path).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    }
}

#[test]
fn a_missing_file_is_named() {
    let errors = check_certificates(&[PathBuf::from("/nonexistent/a.pem"), "/tmp".into()]);
    let sentences: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "certificate file /nonexistent/a.pem: there is no such file",
            "certificate file /tmp: it is not a regular file"
        ]
    );
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_fixes_it() {
    let pair = pair(&["a"]);
    for mode in [0o604, 0o660, 0o644, 0o641] {
        let sentence = sentence(&(pair.certificate.clone() + &pair.key), mode);
        assert!(sentence.contains("chmod 600 /"), "{sentence}");
        assert!(sentence.contains("chmod 640"), "{sentence}");
    }
}

#[test]
fn a_file_that_the_agents_user_may_not_read_has_the_command_that_cures_it() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let path = file(&folder, "", 0o600);
    let checked = path.clone();
    // The file permissions of this thread alone become those of a user other than root.
    let unprivileged = std::thread::spawn(move || {
        nix::unistd::setfsuid(Uid::from_raw(4242));
        check_certificates(&[checked])
    });
    let errors = unprivileged.join().expect("joined");
    let sentences: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let file = path.display();
    assert_eq!(
        sentences,
        [format!(
            "certificate file {file}: user root has no permission to read it; run: chown root:root {file}"
        )]
    );
}

#[test]
fn the_agents_own_group_may_read_a_key_and_no_other() {
    for mode in [0o600, 0o400, 0o640, 0o440] {
        assert!(is_private(mode, true), "{mode:o}");
    }
    for mode in [0o660, 0o650, 0o644, 0o604, 0o602] {
        assert!(!is_private(mode, true), "{mode:o}");
    }
    assert!(is_private(0o600, false));
    assert!(!is_private(0o640, false));
    let folder = tempfile::tempdir().expect("a folder");
    let pair = pair(&["a"]);
    let path = file(&folder, &(pair.certificate + &pair.key), 0o640);
    // A file with mode 0640 can be loaded: a new file usually has its creator's group, and the
    // agent, here the test, is in that group.
    load(&path).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_file_without_certificate_or_key_says_which_is_missing() {
    let pair = pair(&["a"]);
    assert!(sentence(&pair.key, 0o600).contains("no certificate"));
    assert!(sentence(&pair.certificate, 0o600).contains("no private key"));
    assert!(sentence("", 0o600).contains("no certificate"));
    let both = pair.certificate + &pair.key + &pair.key;
    assert!(sentence(&both, 0o600).contains("more than one private key"));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (one, other) = (pair(&["a"]), pair(&["a"]));
    assert!(sentence(&(one.certificate + &other.key), 0o600).contains("does not match"));
}

#[test]
fn broken_pem_and_broken_certificates_are_refused() {
    let pair = pair(&["a"]);
    let cut = &pair.certificate[..pair.certificate.len() / 2];
    assert!(sentence(cut, 0o600).contains("not valid PEM"));
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let text = pair.certificate + empty + &pair.key;
    assert!(sentence(&text, 0o600).contains("certificate 2 "));
}

#[test]
fn a_leaf_behind_its_issuer_is_named_with_its_line() {
    let (leaf, issuer) = (pair(&["a"]), pair(&["b"]));
    let lines = issuer.certificate.lines().count();
    let text = issuer.certificate + &leaf.certificate + &leaf.key;
    let sentence = sentence(&text, 0o600);
    let wanted = format!(
        "certificate 2, on line {}, which must be the first",
        lines + 1
    );
    assert!(sentence.contains(&wanted), "{sentence}");
}

#[test]
fn what_is_in_an_odd_file_is_said_block_by_block() {
    let pair = pair(&["a"]);
    let lines = pair.certificate.lines().count();
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let said = sentence(&(pair.certificate + parameters), 0o600);
    let wanted = format!(
        "it holds: line 1: CERTIFICATE \"CN=rcgen self signed cert\"; line {}: EC PARAMETERS (not used)",
        lines + 1
    );
    assert!(said.contains("no private key"), "{said}");
    assert!(said.ends_with(&wanted), "{said}");
    assert!(sentence("hello", 0o600).ends_with("it holds no PEM block (-----BEGIN …) at all"));
}

/// Runs `openssl` in a folder and returns its standard output.
fn openssl(folder: &tempfile::TempDir, arguments: &str) -> String {
    let output = std::process::Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder.path())
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_certificate_of_x509_version_1_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = openssl(&folder, "ecparam -genkey -noout -name prime256v1");
    fs::write(folder.path().join("key"), &key).expect("written");
    openssl(&folder, "req -new -key key -subj /CN=a -out request");
    let certificate = openssl(&folder, "x509 -req -in request -signkey key -days 1");
    let text = openssl_text(&folder, &certificate);
    assert!(text.contains("Version: 1 (0x0)"), "{text}");
    let path = file(&folder, &(certificate + &key), 0o600);
    load(&path).unwrap_or_else(|error| panic!("{error}"));
}

fn openssl_text(folder: &tempfile::TempDir, certificate: &str) -> String {
    fs::write(folder.path().join("certificate"), certificate).expect("written");
    openssl(folder, "x509 -in certificate -noout -text")
}

#[test]
fn openssls_other_names_for_a_certificate_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = pair(&["a"]);
    let plain = load(&file(
        &folder,
        &(pair.certificate.clone() + &pair.key),
        0o600,
    ));
    let plain = plain.expect("good");
    fs::write(folder.path().join("plain"), &pair.certificate).expect("written");
    let trusted = openssl(&folder, "x509 -in plain -trustout -addtrust serverAuth");
    assert!(
        trusted.starts_with("-----BEGIN TRUSTED CERTIFICATE-----"),
        "{trusted}"
    );
    let old = pair.certificate.replace("CERTIFICATE", "X509 CERTIFICATE");
    for text in [trusted, old] {
        let path = file(&folder, &(text + &pair.key), 0o600);
        let certificate = load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(certificate.fingerprint, plain.fingerprint);
        assert_eq!(certificate.key.cert, plain.key.cert);
    }
}
