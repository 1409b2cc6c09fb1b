use std::{
    path::Path,
    time::{Duration, Instant},
};

use lb_ha::{Time, pair::View, vrrp::Cause};

use super::*;
use crate::{
    agent::pair::Clock,
    aws::{Denied, Inspection, Operation},
    config::Config,
    ha::{address::Want, notify::NotifyView},
};

const ELASTIC_IP: &str = "[ha.elastic_ip]\nallocation_id = \"eipalloc-0123456789abcdef0\"";
const VIRTUAL_IP: &str = "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\", \"172.31.0.201/20\"]";

fn ha(moves: &str) -> Ha {
    let text = format!(
        r#"
        [node]
        name = "lb-a"
        interface = "eth0"

        [[pool]]
        name = "web"
        backends = ["10.0.0.6:80"]

        [[service]]
        name = "http"
        listen = "172.31.0.68:80"
        mode = "tcp"
        pool = "web"

        [ha]
        peer = "172.31.15.233"
        source = "172.31.0.68"
        virtual_router_id = 41
        {moves}
        "#
    );
    let parsed = Config::parse(Path::new("lb.toml"), &text);
    let parsed = parsed.unwrap_or_else(|errors| panic!("{errors}"));
    parsed.config.ha.expect("[ha]")
}

/// Returns the snapshot of a host in this state. If the host is not active, its peer is.
fn known(state: State) -> PairSnapshot {
    PairSnapshot {
        view: View {
            state,
            priority: 100,
            cause: Cause::Started,
            since: Time::default(),
            heard: None,
            peer: None,
            peer_is_master: state != State::Master,
            owner: None,
            confirmed: None,
            has_address: false,
            stepped_back: false,
            handing_over: false,
            moves: 0,
        },
        clock: Clock::at(Time::default()),
        transitions: Default::default(),
        adverts: Default::default(),
        link: None,
        ec2: None,
        addresses: None,
        notified: NotifyView::default(),
        tracked: Vec::new(),
        flows: None,
    }
}

fn address(moves: &str, known: &PairSnapshot) -> AddressStatus {
    status(&ha(moves), known, &[]).address
}

/// Returns the status of two virtual IPs; `here` says for each whether it is on the interface.
fn virtual_ip(state: State, want: Want, here: [bool; 2]) -> AddressStatus {
    let mut known = known(state);
    let moving = ha(VIRTUAL_IP).interface_addresses();
    let mut view = AddressesView::unseen("eth0", &moving);
    view.want = want;
    for (address, here) in view.addresses.iter_mut().zip(here) {
        address.1 = here;
    }
    known.addresses = Some(view);
    address(VIRTUAL_IP, &known)
}

#[test]
fn a_virtual_ip_is_where_the_interface_has_it_whatever_the_role_says() {
    let owner = |state, want, here| virtual_ip(state, want, here).owner;
    let standby = |here| owner(State::Backup, Want::Released, here);
    assert_eq!(standby([false, false]), AddressOwner::Other);
    assert_eq!(standby([true, true]), AddressOwner::This);
    assert_eq!(standby([false, true]), AddressOwner::This);
    let faulty = owner(State::Fault, Want::Released, [true, false]);
    assert_eq!(faulty, AddressOwner::This);
    let active = |here| owner(State::Master, Want::Held, here);
    assert_eq!(active([true, true]), AddressOwner::This);
    assert_eq!(active([true, false]), AddressOwner::Unknown);
    assert_eq!(active([false, false]), AddressOwner::Unknown);
}

#[test]
fn a_release_that_fails_shows_where_the_address_is_and_why() {
    let mut known = known(State::Backup);
    let mut view = AddressesView::unseen("eth0", &ha(VIRTUAL_IP).interface_addresses());
    view.addresses[0].1 = true;
    view.problem = Some("the kernel does not take it off".to_owned());
    known.addresses = Some(view);
    let status = address(VIRTUAL_IP, &known);
    assert_eq!(status.owner, AddressOwner::This);
    assert_eq!(status.confirmed, None);
    let said = status.error.as_deref();
    assert_eq!(said, Some("the kernel does not take it off"));
}

/// Returns the snapshot of a standby whose EC2 calls have all succeeded, and whose permission check
/// found these sentences.
fn standby(denied: &[&str]) -> PairSnapshot {
    let denied = denied.iter().map(|sentence| Denied {
        operation: Operation::AssociateAddress,
        sentence: (*sentence).to_owned(),
    });
    let inspection = Inspection {
        denied: denied.collect(),
        wrong: Vec::new(),
    };
    let mut known = known(State::Backup);
    known.ec2 = Some(Ec2Snapshot {
        view: aws::View {
            inspection: Some(inspection),
            ..aws::View::default()
        },
        owner: Some(aws::Owner::Other {
            interface: None,
            instance: None,
            private_ip: None,
        }),
        failing: false,
    });
    known
}

#[test]
fn a_permission_that_a_standby_will_miss_is_said_before_it_does() {
    let sentence = "AssociateAddress failed: allow ec2:AssociateAddress";
    let status = address(ELASTIC_IP, &standby(&[sentence]));
    let said = format!("EC2 would refuse to move the Elastic IP to this host: {sentence}");
    assert_eq!(status.error, Some(said));
    assert_eq!(status.error_at, None, "nothing has failed yet");
    assert_eq!(status.owner, AddressOwner::Other);
    let status = address(ELASTIC_IP, &standby(&[]));
    assert_eq!(status.error, None);
}

#[test]
fn the_last_whole_pass_is_told_by_its_age() {
    let mut counters = FlowCounters::default();
    assert_eq!(flows_status(&counters, true).last_full_pass, None);
    let age = Duration::from_millis(1500);
    counters.last_pass_ended = Instant::now().checked_sub(age);
    assert!(
        counters.last_pass_ended.is_some(),
        "the machine runs longer"
    );
    let seconds = flows_status(&counters, true).last_full_pass;
    let seconds = seconds.expect("there was one");
    assert!((1.5..60.0).contains(&seconds), "{seconds}");
}
