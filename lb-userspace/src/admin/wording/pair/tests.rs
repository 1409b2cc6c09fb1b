use lb_ha::vrrp::Cause;

use super::*;
use crate::admin::examples_of_status;

/// Returns the texts about the pair of a healthy example status, to which `change` was applied.
fn after(change: impl FnOnce(&mut HaStatus, Moment)) -> PairInWords {
    let mut status = examples_of_status();
    let now = status.now;
    change(status.ha.as_mut().expect("a pair"), now);
    PairInWords::of(&status).expect("a pair")
}

fn fact<'a>(pair: &'a PairInWords, about: &str) -> (Tone, &'a str) {
    let fact = pair.facts.iter().find(|fact| fact.about == about);
    let fact = fact.unwrap_or_else(|| panic!("nothing about {about}: {pair:#?}"));
    (fact.tone, &fact.text)
}

fn before(now: Moment, seconds: u64) -> Moment {
    Moment(now.0 - Duration::from_secs(seconds))
}

#[test]
fn a_host_that_is_alone_has_no_pair() {
    let mut status = examples_of_status();
    status.ha = None;
    assert_eq!(PairInWords::of(&status), None);
}

#[test]
fn nothing_stands_out_where_all_is_well() {
    let pair = after(|_, _| {});
    let tones = pair.facts.iter().map(|fact| fact.tone);
    let tones = tones.chain(pair.hosts.iter().map(|host| host.note.0));
    assert!({ tones }.all(|tone| tone == Tone::Plain), "{pair:#?}");
}

#[test]
fn every_cause_is_said_in_words() {
    for cause in Cause::ALL {
        let said = why(cause.as_str());
        assert!(said.contains(' '), "{cause:?} is shown as {said}");
    }
}

#[test]
fn a_takeover_without_an_active_host_claims_nothing_about_the_peer() {
    // The first host of a pair takes over although it never heard a peer; so does a host whose peer
    // is heard as a standby over the link.
    let never_heard = after(|ha, _| {
        ha.peer.role = None;
        ha.peer.heard = None;
    });
    let heard_as_standby = after(|_, _| {});
    for pair in [never_heard, heard_as_standby] {
        assert_eq!(pair.hosts[0].note.1, "for 3d 1h: no active host was heard");
    }
}

#[test]
fn a_silent_peer_stands_out() {
    let pair = after(|ha, _| {
        ha.peer.role = None;
        ha.peer.heard = Some(75.0);
    });
    let said = "not heard: last message 1m 15s ago".to_owned();
    assert_eq!(pair.hosts[1].note, (Tone::Bad, said));
    assert_eq!(pair.hosts[1].role.1, "–");
}

#[test]
fn a_standby_without_a_link_is_silent_and_that_is_well() {
    let silent = |role| {
        let pair = after(|ha, _| {
            ha.role = role;
            ha.link = None;
            ha.flows = None;
            ha.peer.role = None;
            ha.peer.heard = None;
        });
        pair.hosts[1].note.0
    };
    assert_eq!(silent(State::Master), Tone::Plain);
    assert_eq!(silent(State::Backup), Tone::Bad, "no host is active");
}

#[test]
fn a_peer_that_is_not_ready_stands_out_while_it_is_the_standby() {
    let not_ready = |ours, theirs| {
        let pair = after(|ha, _| {
            ha.role = ours;
            ha.peer.role = Some(theirs);
            ha.peer.ready = Some(false);
        });
        pair.hosts[1].note.clone()
    };
    let said = "not ready to take over, heard 40 ms ago".to_owned();
    let standby = not_ready(State::Master, State::Backup);
    assert_eq!(standby, (Tone::Odd, said));
    assert_eq!(not_ready(State::Backup, State::Master).0, Tone::Plain);
}

#[test]
fn another_version_at_the_peer_is_told() {
    let pair = after(|ha, _| ha.peer.version = Some("0.2.0".to_owned()));
    assert_eq!(pair.hosts[1].note.1, "ready, heard 40 ms ago, lb 0.2.0");
}

#[test]
fn two_active_hosts_and_none_are_problems() {
    let both = after(|ha, _| ha.peer.role = Some(State::Master));
    assert_eq!(both.facts[0].about, "PROBLEM");
    assert_eq!(both.facts[0].text, "both hosts report that they are active");
    let none = after(|ha, _| ha.role = State::Fault);
    assert_eq!(none.facts[0].text, "no host is active");
    let moving = after(|ha, _| {
        ha.role = State::Backup;
        ha.handing_over = true;
    });
    assert_eq!(
        moving.facts[0].about, "Elastic IP",
        "a hand-over is in progress"
    );
}

#[test]
fn an_elastic_ip_in_the_wrong_place_stands_out() {
    let owned_by = |owner, role| {
        let pair = after(|ha, _| {
            ha.role = role;
            ha.address.owner = owner;
            ha.address.owner_is = Some("eni-0b".to_owned());
        });
        let (tone, text) = fact(&pair, "Elastic IP");
        (tone, text.to_owned())
    };
    let other = |role| owned_by(AddressOwner::Other, role);
    assert_eq!(other(State::Master).0, Tone::Bad);
    assert_eq!(other(State::Backup).0, Tone::Plain);
    assert!(other(State::Backup).1.contains(" is on eni-0b"));
    assert_eq!(owned_by(AddressOwner::Nobody, State::Master).0, Tone::Bad);
    assert_eq!(owned_by(AddressOwner::Nobody, State::Backup).0, Tone::Odd);
    assert_eq!(owned_by(AddressOwner::This, State::Backup).0, Tone::Odd);
    assert_eq!(owned_by(AddressOwner::Unknown, State::Master).0, Tone::Odd);
}

#[test]
fn a_confirmation_that_is_old_or_missing_stands_out() {
    let confirmed = |age: Option<u64>| {
        let pair = after(|ha, now| {
            ha.address.confirmed = age.map(|seconds| before(now, seconds));
        });
        fact(&pair, "Elastic IP").0
    };
    assert_eq!(confirmed(Some(STALE.as_secs())), Tone::Plain);
    assert_eq!(confirmed(Some(STALE.as_secs() + 1)), Tone::Odd);
    assert_eq!(confirmed(None), Tone::Odd);
}

#[test]
fn a_virtual_ip_stands_out_where_it_is_not_with_the_active_host() {
    let tone = |owner, role| {
        let pair = after(|ha, _| {
            ha.role = role;
            ha.address.kind = AddressKind::VirtualIp;
            ha.address.owner = owner;
        });
        fact(&pair, "virtual IP").0
    };
    assert_eq!(tone(AddressOwner::This, State::Master), Tone::Plain);
    assert_eq!(tone(AddressOwner::Other, State::Backup), Tone::Plain);
    assert_eq!(tone(AddressOwner::This, State::Backup), Tone::Odd);
    assert_eq!(tone(AddressOwner::Other, State::Master), Tone::Bad);
}

#[test]
fn what_the_api_refuses_is_told_with_its_time() {
    let failing = |owner| {
        let pair = after(|ha, now| {
            ha.address.owner = owner;
            ha.address.error = Some("RequestLimitExceeded".to_owned());
            ha.address.error_at = Some(before(now, 12));
        });
        let (tone, text) = fact(&pair, "EC2 API");
        (tone, text.to_owned())
    };
    let here = failing(AddressOwner::This);
    assert_eq!(
        here,
        (Tone::Odd, "12s ago: RequestLimitExceeded".to_owned())
    );
    assert_eq!(failing(AddressOwner::Other).0, Tone::Bad);
}

#[test]
fn what_would_be_refused_is_a_problem_on_the_standby_already() {
    let said = "EC2 would refuse to move the Elastic IP to this host: AssociateAddress is denied";
    let pair = after(|ha, _| {
        ha.role = State::Backup;
        ha.address.owner = AddressOwner::Other;
        ha.peer.role = Some(State::Master);
        ha.address.error = Some(said.to_owned());
    });
    assert_eq!(fact(&pair, "PROBLEM"), (Tone::Bad, said));
}

#[test]
fn a_virtual_ip_that_does_not_go_stands_out_as_here_with_the_reason() {
    let pair = after(|ha, _| {
        ha.role = State::Backup;
        ha.peer.role = Some(State::Master);
        ha.address.kind = AddressKind::VirtualIp;
        ha.address.name = "172.31.0.200/20".to_owned();
        ha.address.owner = AddressOwner::This;
        ha.address.moves = 0;
        ha.address.error = Some("the kernel does not take it off".to_owned());
    });
    let (tone, text) = fact(&pair, "virtual IP");
    let said = "172.31.0.200/20 is on this host, but this host is not active";
    assert_eq!((tone, text), (Tone::Odd, said));
    assert_eq!(
        fact(&pair, "PROBLEM"),
        (Tone::Odd, "the kernel does not take it off")
    );
}

#[test]
fn a_link_that_is_down_says_why() {
    let pair = after(|ha, now| {
        let link = ha.link.as_mut().expect("a link");
        link.up = false;
        link.since = before(now, 302);
        link.problem = Some("the peer has not answered in time".to_owned());
    });
    let said = "down for 5m 2s: the peer has not answered in time";
    assert_eq!(fact(&pair, "link"), (Tone::Bad, said));
}

#[test]
fn flows_that_are_not_in_step_stand_out() {
    let pair = after(|ha, _| {
        let flows = ha.flows.as_mut().expect("flows");
        flows.synced = false;
        flows.skipped = 1_234;
        flows.last_full_pass = None;
    });
    let said = "not synced: 12,345 sent, 17 received, 1,234 flows not replicated";
    assert_eq!(fact(&pair, "flows"), (Tone::Odd, said));
    let one = after(|ha, _| ha.flows.as_mut().expect("flows").skipped = 1);
    let (_, said) = fact(&one, "flows");
    assert!(said.contains(", 1 flow not replicated"), "{said}");
}

#[test]
fn what_fails_takes_the_place_of_what_is_well() {
    let pair = after(|ha, now| {
        let disk = &mut ha.tracked[1];
        disk.ok = false;
        disk.since = before(now, 61);
        disk.message = "exit status 1".to_owned();
        disk.effect = "-50".to_owned();
    });
    let tracked: Vec<_> = pair
        .facts
        .iter()
        .filter(|one| one.about == "tracked")
        .collect();
    assert_eq!(tracked.len(), 1);
    assert_eq!(
        tracked[0].text,
        "disk failing for 1m 1s (-50): exit status 1"
    );
    assert_eq!(tracked[0].tone, Tone::Odd);
    let fault = after(|ha, _| {
        ha.tracked[0].ok = false;
        ha.tracked[0].effect = "fault".to_owned();
    });
    assert_eq!(fact(&fault, "tracked").0, Tone::Bad);
}

#[test]
fn stepping_back_and_handing_over_stand_out() {
    let back = after(|ha, now| {
        ha.role = State::Backup;
        ha.stepped_back = true;
        ha.since = before(now, 12);
    });
    let (tone, note) = &back.hosts[0].note;
    assert_eq!(*tone, Tone::Odd);
    assert!(note.starts_with("stepped back 12s ago"), "{note}");
    let handing = after(|ha, _| ha.handing_over = true);
    assert_eq!(handing.hosts[0].note.0, Tone::Odd);
}

#[test]
fn certificates_that_differ_stand_out() {
    let sentence = "example.org: the peer's ends 30 days sooner";
    let pair = after(|ha, _| ha.certificates.push(sentence.to_owned()));
    assert_eq!(fact(&pair, "certificate"), (Tone::Odd, sentence));
}

#[test]
fn a_host_that_stepped_back_for_want_of_an_answer_does_not_claim_to_know_more() {
    let stepped_back = |owner| {
        let pair = after(|ha, _| {
            ha.role = State::Backup;
            ha.stepped_back = true;
            ha.peer.role = None;
            ha.address.owner = owner;
        });
        pair.hosts[0].note.1.clone()
    };
    let elsewhere = stepped_back(AddressOwner::Other);
    assert!(
        elsewhere.contains("the address is elsewhere"),
        "{elsewhere}"
    );
    for owner in [AddressOwner::This, AddressOwner::Unknown] {
        let unknown = stepped_back(owner);
        assert!(unknown.contains("does not answer"), "{unknown}");
    }
}
