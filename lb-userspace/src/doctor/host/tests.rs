use super::*;
use crate::doctor::State;

const AGENT: Whose = Whose(Some(42));

#[test]
fn each_missing_capability_is_named_with_its_use() {
    let all = Needs {
        steering: true,
        low_ports: true,
        adverts: true,
    };
    assert_eq!(capabilities(&AGENT, Some(u64::MAX), &all).state, State::Ok);
    let none = capabilities(&AGENT, Some(0), &all);
    assert_eq!(none.state, State::Fail);
    for name in [
        "CAP_BPF",
        "CAP_NET_ADMIN",
        "CAP_PERFMON",
        "CAP_NET_RAW",
        "CAP_NET_BIND_SERVICE",
    ] {
        assert!(none.found.contains(name), "{none:?}");
    }
    let few = capabilities(&AGENT, Some(1 << 39 | 1 << 12 | 1 << 38), &Needs::default());
    assert_eq!(few.state, State::Ok);
    assert_eq!(capabilities(&AGENT, None, &all).state, State::Skipped);
}

#[test]
fn process_files_are_parsed() {
    assert_eq!(
        effective("Name:\tlb\nCapEff:\t000000c0000034c0\n"),
        Some(0xc0_0000_34c0)
    );
    let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                  Max open files            1024                 524288               files\n";
    assert_eq!(soft_limit(limits), Some(1024));
    assert_eq!(
        soft_limit("Max open files            unlimited  unlimited files"),
        Some(u64::MAX)
    );
    assert_eq!(soft_limit(""), None);
}

#[test]
fn too_few_files_fail_for_an_agent_and_warn_for_a_shell() {
    let state =
        |whose: &Whose, limit, proxied| open_files(whose, Some(limit), proxied, false).state;
    let most = Proxied::AtMost(65_536);
    assert_eq!(state(&AGENT, 1 << 20, most), State::Ok);
    assert_eq!(state(&AGENT, 65_536, most), State::Fail);
    assert_eq!(state(&Whose(None), 65_536, most), State::Warn);
    assert_eq!(state(&AGENT, 1024, Proxied::None), State::Ok);
    assert_eq!(state(&AGENT, 20_000, Proxied::AsManyAsFit), State::Ok);
    assert_eq!(state(&AGENT, 1024, Proxied::AsManyAsFit), State::Fail);
    assert_eq!(open_files(&AGENT, None, most, false).state, State::Skipped);
    let unit = open_files(&Whose(None), Some(1024), most, true);
    assert_eq!(unit.state, State::Skipped, "the unit sets its own");
}

#[test]
fn forwarding_that_is_off_has_its_command() {
    assert_eq!(forwarding("eth0", Some("1\n")).state, State::Ok);
    let off = forwarding("eth0", Some("0\n"));
    assert_eq!(off.state, State::Fail);
    assert!(
        off.fix
            .expect("a fix")
            .contains("`sysctl -w net.ipv4.conf.eth0.forwarding=1`")
    );
}

#[test]
fn a_list_of_reserved_ports_that_was_overwritten_is_restored_with_what_it_has() {
    let wanted = [1024..=32_767];
    assert_eq!(
        reserved_ports(&Ports::parse("1024-32767"), &wanted).state,
        State::Ok
    );
    // A program listened on ports 1024 to 1029 when the agent started, so the agent did not reserve
    // them.
    assert_eq!(
        reserved_ports(&Ports::parse("1030-32767"), &wanted).state,
        State::Ok
    );
    let lost = reserved_ports(&Ports::parse("8080\n"), &wanted);
    assert_eq!(lost.state, State::Fail);
    let fix = lost.fix.expect("a fix");
    assert!(
        fix.contains("ip_local_reserved_ports=8080,1024-32767`"),
        "{fix}"
    );
    assert_eq!(
        reserved_ports(&Ports::parse("\n"), &wanted).state,
        State::Fail
    );
}

#[test]
fn a_port_that_outgoing_connections_may_take_is_a_warning() {
    let local = Ports::of_range("32768\t60999\n");
    let none = Ports::default();
    assert_eq!(service_ports(&[443, 9145], &local, &none).state, State::Ok);
    let exposed = service_ports(&[443, 40_000], &local, &none);
    assert_eq!(exposed.state, State::Warn);
    assert!(exposed.found.contains("40000"), "{exposed:?}");
    let reserved = Ports::parse("40000");
    assert_eq!(
        service_ports(&[443, 40_000], &local, &reserved).state,
        State::Ok
    );
}
