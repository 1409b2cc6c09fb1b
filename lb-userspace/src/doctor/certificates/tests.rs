use super::*;
use crate::doctor::State;

fn used(obtained: bool) -> Used {
    let domains = vec!["example.org".to_owned(), "www.example.org".to_owned()];
    Used {
        path: PathBuf::from("/etc/lb/tls/site.pem"),
        obtained: obtained.then(|| ("https".to_owned(), domains)),
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
        expiry(&used(false), &certificate, now).state
    };
    assert_eq!((state(0), state(76)), (State::Ok, State::Ok));
    assert_eq!((state(77), state(89)), (State::Warn, State::Warn));
    assert_eq!(state(91), State::Fail);
    let early = expiry(&used(false), &certificate, begin - Duration::from_secs(1));
    assert_eq!(early.state, State::Fail);
    assert!(
        early.found.contains("not valid before 1972-09-27"),
        "{early:?}"
    );
}

#[test]
fn a_certificate_that_is_obtained_is_renewed_by_a_command() {
    let (certificate, begin) = lasting(1);
    let soon = expiry(&used(true), &certificate, begin);
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
        judge_names(&used(false), &names(&["example.org"])).state,
        State::Ok
    );
    assert_eq!(judge_names(&used(false), &[]).state, State::Fail);
    let few = judge_names(&used(true), &names(&["example.org"]));
    assert_eq!(few.state, State::Warn);
    assert!(few.found.contains("www.example.org"));
}
