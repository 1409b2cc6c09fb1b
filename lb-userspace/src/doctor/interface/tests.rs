//! Tests of what `lb doctor` says about interfaces with the drivers ENA, veth and virtio, and about
//! interfaces with faults.

use super::*;
use crate::{doctor::State, netlink::Channels};

fn link(driver: &str, mtu: u32) -> Link {
    Link {
        is_up: true,
        has_carrier: true,
        driver: Some(driver.to_owned()),
        mtu: Some(mtu),
        program: None,
        device: Device {
            native_xdp: Some(true),
            channels: None,
            offloads: vec!["rx-gro".to_owned()],
        },
        remedy: "a remedy".to_owned(),
    }
}

fn judged(link: Link, choice: XdpModeChoice, agent_runs: bool) -> Vec<Finding> {
    let facts = Facts {
        name: "eth0".to_owned(),
        present: Vec::new(),
        link: Some(link),
    };
    judge(&facts, choice, agent_runs)
}

fn of<'f>(findings: &'f [Finding], check: &Check) -> &'f Finding {
    let found = findings.iter().find(|one| one.check.name == check.name);
    found.expect("a finding of that check")
}

fn states(findings: &[Finding]) -> Vec<State> {
    findings.iter().map(|finding| finding.state).collect()
}

fn program(mode: XdpMode, is_ours: bool) -> InstalledProgram {
    InstalledProgram {
        id: 7,
        name: Some("lb".to_owned()),
        mode,
        is_ours,
    }
}

#[test]
fn an_interface_that_does_not_exist_is_refused_with_those_that_do() {
    let facts = Facts {
        name: "eth7".to_owned(),
        present: vec!["eth0".to_owned(), "eth1".to_owned()],
        link: None,
    };
    let findings = judge(&facts, XdpModeChoice::Auto, false);
    assert_eq!(states(&findings), [State::Fail]);
    assert!(
        findings[0]
            .fix
            .as_deref()
            .expect("a fix")
            .contains("eth0, eth1")
    );
}

#[test]
fn a_veth_of_the_usual_size_is_fine() {
    let findings = judged(link("veth", 1500), XdpModeChoice::Auto, false);
    assert!(
        findings.iter().all(|one| one.state <= State::Ok),
        "{findings:#?}"
    );
}

#[test]
fn ena_as_aws_delivers_it_needs_a_lower_mtu_and_half_of_its_channels() {
    let mut ena = link("ena", 9001);
    ena.device.channels = Some(Channels { count: 8, max: 8 });
    let findings = judged(ena.clone(), XdpModeChoice::Auto, false);
    let fix = |check| of(&findings, check).fix.clone().unwrap_or_default();
    assert_eq!(of(&findings, &MTU).state, State::Warn);
    assert!(fix(&MTU).contains("`ip link set dev eth0 mtu 3498`"));
    assert_eq!(of(&findings, &QUEUES).state, State::Warn);
    assert_eq!(fix(&QUEUES), "`ethtool -L eth0 combined 4`");

    let findings = judged(ena.clone(), XdpModeChoice::Native, false);
    assert_eq!(of(&findings, &MTU).state, State::Fail);
    assert_eq!(of(&findings, &QUEUES).state, State::Fail);

    ena.mtu = Some(3498);
    ena.device.channels = Some(Channels { count: 4, max: 8 });
    let findings = judged(ena, XdpModeChoice::Native, false);
    assert!(
        findings.iter().all(|one| one.state <= State::Ok),
        "{findings:#?}"
    );
}

#[test]
fn virtio_that_merges_packets_is_warned_about_until_the_program_is_native() {
    let mut virtio = link("virtio_net", 1500);
    virtio.device.offloads.push("rx-gro-hw".to_owned());
    virtio.device.offloads.push("rx-lro".to_owned());
    let findings = judged(virtio.clone(), XdpModeChoice::Auto, false);
    let finding = of(&findings, &OFFLOADS);
    assert_eq!(finding.state, State::Warn);
    assert_eq!(
        finding.fix.as_deref(),
        Some("`ethtool -K eth0 lro off rx-gro-hw off`")
    );
    virtio.program = Some(program(XdpMode::Native, true));
    let findings = judged(virtio, XdpModeChoice::Auto, true);
    assert_eq!(of(&findings, &OFFLOADS).state, State::Ok);
}

#[test]
fn the_agents_own_program_is_no_conflict_and_another_one_is() {
    let mut own = link("veth", 1500);
    own.program = Some(program(XdpMode::Native, true));
    let findings = judged(own, XdpModeChoice::Auto, true);
    assert!(
        findings.iter().all(|one| one.state <= State::Ok),
        "{findings:#?}"
    );
    let mut other = link("veth", 1500);
    other.program = Some(program(XdpMode::Native, false));
    let findings = judged(other, XdpModeChoice::Auto, false);
    let finding = of(&findings, &PROGRAM);
    assert_eq!(finding.state, State::Fail);
    assert!(
        finding
            .fix
            .as_deref()
            .expect("a fix")
            .contains("`ip link set dev eth0 xdp off`")
    );
    let findings = judged(link("veth", 1500), XdpModeChoice::Auto, true);
    assert_eq!(
        of(&findings, &PROGRAM).state,
        State::Fail,
        "an agent without its program"
    );
}

#[test]
fn generic_mode_is_a_warning_unless_it_is_configured() {
    let mut generic = link("veth", 1500);
    generic.program = Some(program(XdpMode::Generic, true));
    let findings = judged(generic.clone(), XdpModeChoice::Auto, true);
    let finding = of(&findings, &MODE);
    assert_eq!(
        (finding.state, finding.fix.as_deref()),
        (State::Warn, Some("a remedy"))
    );
    let findings = judged(generic, XdpModeChoice::Generic, true);
    assert_eq!(of(&findings, &MODE).state, State::Ok);
}

#[test]
fn a_driver_without_native_mode_fails_only_where_it_is_required() {
    let mut old = link("e1000e", 1500);
    old.device.native_xdp = Some(false);
    let state = |choice| of(&judged(old.clone(), choice, false), &MODE).state;
    assert_eq!(state(XdpModeChoice::Auto), State::Warn);
    assert_eq!(state(XdpModeChoice::Native), State::Fail);
    assert_eq!(state(XdpModeChoice::Generic), State::Ok);
    let mut unknown = link("e1000e", 1500);
    unknown.device.native_xdp = None;
    let findings = judged(unknown, XdpModeChoice::Native, false);
    assert_eq!(of(&findings, &MODE).state, State::Skipped);
}

#[test]
fn a_link_that_is_down_has_a_command_and_one_without_carrier_an_explanation() {
    let mut down = link("ena", 1500);
    down.is_up = false;
    let findings = judged(down, XdpModeChoice::Auto, false);
    assert_eq!(
        findings[0].fix.as_deref(),
        Some("`ip link set dev eth0 up`")
    );
    let mut unplugged = link("ena", 1500);
    unplugged.has_carrier = false;
    let findings = judged(unplugged, XdpModeChoice::Auto, false);
    assert_eq!(findings[0].state, State::Fail);
    assert!(
        findings[0]
            .fix
            .as_deref()
            .expect("a fix")
            .contains("other end")
    );
}
