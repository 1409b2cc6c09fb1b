use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use super::*;
use crate::config::{Backend, Balance, Name, PerRequest, SameSite, Weight, WhenAllDown};

/// The header lines of a request.
struct Lines(&'static [&'static str]);

impl Fields for Lines {
    fn has(&self, name: &str, test: &dyn Fn(&[u8]) -> bool) -> bool {
        name == "cookie" && self.0.iter().any(|line| test(line.as_bytes()))
    }
}

fn pool(name: &str, ports: &[u16]) -> Pool {
    let backends = ports.iter().map(|port| Backend {
        name: Name::parse(&format!("web{port}")).expect("a name"),
        address: ([10, 0, 0, 1], *port).into(),
        weight: Weight::ONE,
        backup: false,
        leaving: false,
    });
    Pool {
        name: Name::parse(name).expect("a name"),
        balance: Balance::RoundRobin,
        check: None,
        when_all_down: WhenAllDown::TryAll,
        retries: 3,
        per_request: PerRequest {
            sticky: Some(Sticky {
                cookie: "lb".to_owned(),
                path: "/".to_owned(),
                secure: None,
                http_only: true,
                same_site: SameSite::Lax,
                max_age: None,
                key_file: "/nowhere".into(),
            }),
            ..PerRequest::default()
        },
        backends: backends.collect(),
        discover: None,
    }
}

fn key(secret: &[u8]) -> SessionKey {
    SessionKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
}

fn sessions(pool: &Pool, secret: &[u8]) -> Rc<StickySessions> {
    StickySessions::new(pool, Some(&key(secret))).expect("sessions")
}

/// Returns the `Set-Cookie` value for a client whose request goes to the backend with this index.
fn cookie(sessions: &Rc<StickySessions>, backend: usize, https: bool) -> String {
    let session = sessions.session(&Lines(&[]), https);
    sessions.assign(&session, backend);
    session.set_cookie().expect("a cookie")
}

fn backend_of(sessions: &Rc<StickySessions>, line: &str) -> Option<usize> {
    let line: &'static str = Box::leak(line.to_owned().into_boxed_str());
    let lines: &'static [&'static str] = Box::leak(Box::new([line]));
    sessions.backend_of(&sessions.session(&Lines(lines), true))
}

#[test]
fn a_cookie_leads_back_to_its_backend_in_every_process_with_the_key() {
    let (here, peer) = (pool("web", &[1, 2, 3]), pool("web", &[3, 2]));
    let (here, peer) = (sessions(&here, b"secret"), sessions(&peer, b"secret"));
    for (backend, at_peer) in [(0, None), (1, Some(1)), (2, Some(0))] {
        let cookie = cookie(&here, backend, true);
        let value = cookie.split(';').next().expect("a pair");
        assert_eq!(backend_of(&here, value), Some(backend));
        assert_eq!(backend_of(&peer, value), at_peer);
        assert_eq!(
            backend_of(&here, &format!("lb=stale; {value}")),
            Some(backend)
        );
    }
}

#[test]
fn what_was_not_signed_for_the_pool_leads_nowhere() {
    let here = sessions(&pool("web", &[1, 2]), b"secret");
    let value = cookie(&here, 0, true);
    let value = value.split(';').next().expect("a pair");
    let other_key = sessions(&pool("web", &[1, 2]), b"another");
    let other_pool = sessions(&pool("api", &[1, 2]), b"secret");
    assert_eq!(backend_of(&other_key, value), None);
    assert_eq!(backend_of(&other_pool, value), None);
    let mut changed = value.to_owned().into_bytes();
    changed[10] ^= 1;
    let changed = String::from_utf8(changed).expect("text");
    for forged in [
        &value[..value.len() - 1],
        &format!("{value}A"),
        &changed,
        "lb=",
        "lb=10.0.0.1:1",
        "lb=AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(backend_of(&here, forged), None, "{forged}");
    }
}

#[test]
fn a_cookie_has_its_attributes_and_is_set_once() {
    let mut pool = pool("web", &[1]);
    let here = sessions(&pool, b"secret");
    let tls = cookie(&here, 0, true);
    assert!(
        tls.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"),
        "{tls}"
    );
    assert!(!cookie(&here, 0, false).contains("Secure"));
    let line: &'static str = Box::leak(tls.into_boxed_str());
    let lines: &'static [&'static str] = Box::leak(Box::new([line]));
    let session = here.session(&Lines(lines), true);
    here.assign(&session, 0);
    assert_eq!(session.set_cookie(), None);
    let sticky = pool.per_request.sticky.as_mut().expect("sticky");
    sticky.secure = Some(true);
    sticky.http_only = false;
    sticky.same_site = SameSite::None;
    sticky.path = "/shop".to_owned();
    sticky.max_age = Some(Duration::from_secs(3600));
    let other = cookie(&sessions(&pool, b"secret"), 0, false);
    assert!(
        other.ends_with("; Path=/shop; Max-Age=3600; Secure; SameSite=None"),
        "{other}"
    );
}

#[test]
fn a_key_is_private_and_long_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sticky.key");
    let read = || {
        SessionKey::read(&path)
            .map(drop)
            .map_err(|why| why.to_string())
    };
    assert!(read().expect_err("no file").contains("no such file"));
    fs::write(&path, " 0123456789abcde\n").expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    assert!(read().expect_err("short").contains("length in bytes: 15"));
    fs::write(&path, "0123456789abcdef\n").expect("write");
    assert_eq!(read(), Ok(()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
    assert!(read().expect_err("open to all").contains("0644"));
}
