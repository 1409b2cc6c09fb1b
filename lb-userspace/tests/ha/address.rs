//! Tests of addresses that move between hosts, on real interfaces and with a real neighbour.

use std::{
    net::TcpStream,
    os::fd::AsRawFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use lb::{
    config::InterfaceAddress,
    ha::address::{Addresses, Want},
};
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket,
        sockopt::ReceiveTimeout,
    },
    time::{TimeVal, TimeValLike as _},
};

use super::namespace::{Namespace, becomes, eventually, ip};

const VIP: &str = "172.31.0.200/20";
const VIP6: &str = "2001:db8::200/64";

fn addresses(texts: &[&str]) -> Vec<InterfaceAddress> {
    let addresses = texts.iter().map(|text| {
        let (address, prefix) = text.split_once('/').expect("a prefix");
        InterfaceAddress {
            address: address.parse().expect("an address"),
            prefix: prefix.parse().expect("a prefix"),
        }
    });
    addresses.collect()
}

fn start(texts: &[&str]) -> Addresses {
    Addresses::start("eth0", addresses(texts), Want::Released).expect("the keeper starts")
}

fn on_interface(text: &str) -> bool {
    ip("address show dev eth0").contains(&format!("{text} "))
}

/// Returns the MAC address that a neighbour has cached for an IP address; `nobody` if it has none.
fn remembered(neighbour: &Namespace, address: &str) -> String {
    let shown = neighbour.ip(&format!("neighbour show {address} dev eth0"));
    let words: Vec<_> = shown.split_whitespace().collect();
    let mac = words.iter().position(|word| *word == "lladdr");
    mac.map_or("nobody", |mac| words[mac + 1]).to_owned()
}

#[test]
fn the_neighbour_learns_at_once_where_the_addresses_are() {
    let (host, neighbour) = Namespace::pair();
    for address in ["172.31.0.200", "2001:db8::200"] {
        neighbour.ip(&format!(
            "neighbour replace {address} lladdr 02:00:00:00:00:99 dev eth0 nud reachable"
        ));
    }
    let took = host.block_on(|| async {
        let addresses = start(&[VIP]);
        assert!(!addresses.held() && !on_interface(VIP));
        let begun = Instant::now();
        addresses.hold().await.expect("held");
        let took = begun.elapsed();
        assert!(addresses.held() && on_interface(VIP));
        let view = addresses.view();
        assert_eq!((view.added, view.announced, view.repaired), (1, 5, 0));
        addresses.release().await.expect("released");
        assert!(!addresses.held() && !on_interface(VIP));
        assert!(on_interface("172.31.0.68/20"), "its own address stays");
        let addresses = start(&[VIP6]);
        addresses.hold().await.expect("held");
        assert!(on_interface(VIP6));
        took
    });
    println!("the address was on the interface and announced after {took:?}");
    for address in ["172.31.0.200", "2001:db8::200"] {
        eventually(&format!("the neighbour re-resolves {address}"), || {
            remembered(&neighbour, address) == "02:00:00:00:00:68"
        });
    }
}

#[test]
fn ten_gratuitous_arps_are_sent_in_two_bursts() {
    let (host, neighbour) = Namespace::pair();
    let (ready, listening) = std::sync::mpsc::channel();
    let neighbour = Arc::new(neighbour);
    let ear = std::thread::spawn(move || {
        neighbour.run(move || {
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::empty(),
                SockProtocol::EthAll,
            )
            .expect("a packet socket");
            setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(100)).expect("set");
            ready.send(()).expect("heard");
            let mut heard = Vec::new();
            let mut frame = [0; 1_514];
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(6_500) {
                let Ok(length) = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) else {
                    continue;
                };
                // This is a gratuitous ARP request: both the sender's and the target's address are
                // the virtual IP.
                let vip = [172, 31, 0, 200];
                let gratuitous = length >= 42
                    && frame[..6] == [0xff; 6]
                    && frame[12..14] == [0x08, 0x06]
                    && frame[20..22] == [0, 1]
                    && frame[28..32] == vip
                    && frame[38..42] == vip;
                if gratuitous {
                    heard.push(begun.elapsed());
                }
            }
            heard
        })
    });
    listening.recv().expect("it listens");
    host.block_on(|| async {
        let addresses = start(&[VIP]);
        addresses.hold().await.expect("held");
        becomes("two bursts", || addresses.view().announced >= 5).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(addresses.view().announced, 10);
    });
    let heard = ear.join().expect("the neighbour listened");
    assert_eq!(heard.len(), 10, "{heard:?}");
    assert!(
        heard[4] - heard[0] < Duration::from_millis(200),
        "{heard:?}"
    );
    let pause = heard[5] - heard[4];
    assert!(pause > Duration::from_millis(4_800) && pause < Duration::from_millis(5_500));
}

#[test]
fn an_address_taken_off_by_hand_comes_back_while_it_is_held() {
    let (host, _neighbour) = Namespace::pair();
    host.block_on(|| async {
        let addresses = start(&[VIP, VIP6]);
        addresses.hold().await.expect("held");
        for (round, address) in [(1, VIP), (2, VIP6)] {
            ip(&format!("address del {address} dev eth0"));
            becomes("it is back", || on_interface(address)).await;
            becomes("it is counted", || addresses.view().repaired == round).await;
        }
        assert!(addresses.held());
        assert_eq!(addresses.view().problem, None);
    });
}

#[test]
fn an_address_put_on_by_hand_goes_while_it_is_not_wanted() {
    let (host, _neighbour) = Namespace::pair();
    host.block_on(|| async {
        let addresses = start(&[VIP]);
        for text in [VIP, "172.31.0.200/32"] {
            ip(&format!("address add {text} dev eth0"));
            becomes("it is gone", || !on_interface(text)).await;
        }
        ip("address add 172.31.0.201/20 dev eth0");
        addresses.release().await.expect("released");
        assert!(on_interface("172.31.0.201/20"), "what is not ours stays");
    });
}

#[test]
fn what_a_crashed_agent_left_is_taken_off_at_the_start() {
    let (host, _neighbour) = Namespace::pair();
    host.block_on(|| async {
        let crashed = start(&[VIP, "172.31.0.199/20", VIP6]);
        crashed.hold().await.expect("held");
        drop(crashed);
        assert!(on_interface(VIP) && on_interface("172.31.0.199/20"));
        // The agent starts again, with a configuration that has only one of the three virtual IP
        // addresses.
        let addresses = start(&[VIP]);
        assert!(!on_interface(VIP) && !on_interface("172.31.0.199/20") && !on_interface(VIP6));
        assert!(on_interface("172.31.0.68/20") && on_interface("2001:db8::68/64"));
        assert_eq!(addresses.view().removed, 3);
    });
}

#[test]
fn the_host_s_own_address_stays_when_it_had_become_the_second() {
    let (host, _neighbour) = Namespace::pair();
    host.block_on(|| async {
        ip("address flush dev eth0");
        std::fs::write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "0").expect("set");
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/promote_secondaries", "0").expect("set");
        let addresses = start(&[VIP]);
        addresses.hold().await.expect("held");
        ip("address add 172.31.0.68/20 dev eth0");
        assert!(ip("address show dev eth0").contains("172.31.0.68/20 scope global secondary"));
        addresses.release().await.expect("released");
        assert!(on_interface("172.31.0.68/20") && !on_interface(VIP));
    });
}

#[test]
fn an_ipv6_address_answers_at_once_and_is_no_source_of_the_host_s_own_connections() {
    let (host, neighbour) = Namespace::pair();
    host.block_on(|| async {
        let addresses = start(&[VIP6]);
        addresses.hold().await.expect("held");
        let shown = ip("-d address show dev eth0");
        let line = shown
            .lines()
            .find(|line| line.contains(VIP6))
            .expect("it is there");
        assert!(
            line.contains("deprecated") && !line.contains("tentative"),
            "{line}"
        );
        let route = ip("-6 route get 2001:db8::1");
        assert!(route.contains("src 2001:db8::68"), "{route}");
    });
    let refused = neighbour.run(|| {
        let discard = "[2001:db8::200]:9".parse().expect("an address");
        TcpStream::connect_timeout(&discard, Duration::from_secs(2))
    });
    let refused = refused.expect_err("nobody listens there");
    assert_eq!(
        refused.kind(),
        std::io::ErrorKind::ConnectionRefused,
        "an answer at once"
    );
}

#[test]
fn the_neighbour_hears_it_again_when_the_cable_is_back() {
    let (host, neighbour) = Namespace::pair();
    let neighbour = Arc::new(neighbour);
    let other = Arc::clone(&neighbour);
    host.block_on(move || async move {
        let addresses = start(&[VIP]);
        addresses.hold().await.expect("held");
        let before = addresses.view().announced;
        other.ip("link set eth0 down");
        tokio::time::sleep(Duration::from_millis(100)).await;
        other.ip("link set eth0 up");
        becomes("it is announced again", || {
            addresses.view().announced >= before + 5
        })
        .await;
    });
    drop(neighbour);
}

#[test]
fn an_interface_that_goes_and_comes_back_has_the_address_again() {
    let (host, _neighbour) = Namespace::pair();
    host.block_on(|| async {
        let addresses = start(&[VIP]);
        addresses.hold().await.expect("held");
        ip("link del eth0");
        becomes("the loss is seen", || !addresses.held()).await;
        let problem = addresses.view().problem.expect("a problem");
        assert_eq!(
            problem,
            "there is no interface eth0: `ip link` lists the interfaces"
        );
        ip("link add eth0 type veth peer name peer0");
        ip("link set eth0 up");
        ip("link set peer0 up");
        becomes("it is there again", || {
            addresses.held() && on_interface(VIP)
        })
        .await;
        becomes("nothing is wrong", || addresses.view().problem.is_none()).await;
    });
}

#[test]
fn what_cannot_be_done_is_said_and_tried_again() {
    let (host, _neighbour) = Namespace::pair();
    host.block_on(|| async {
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1").expect("set");
        let addresses = start(&[VIP6]);
        let error = addresses.hold().await.expect_err("IPv6 is off");
        let error = error.to_string();
        assert!(
            error.contains(&format!("cannot add {VIP6} to eth0")),
            "{error}"
        );
        assert!(error.contains("IPv6 must not be disabled"), "{error}");
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0").expect("set");
        becomes("it is held after all", || addresses.held()).await;
    });
}

#[test]
fn an_order_that_was_overtaken_is_not_said_to_be_done() {
    let (host, _neighbour) = Namespace::pair();
    host.block_on(|| async {
        let addresses = start(&[VIP]);
        for _ in 0..20 {
            addresses.want(Want::Held);
            addresses.want(Want::Released);
        }
        addresses.release().await.expect("released");
        assert!(!on_interface(VIP));
        addresses.want(Want::Held);
        becomes("held", || addresses.held()).await;
        assert!(on_interface(VIP));
    });
}

#[test]
fn an_interface_that_is_not_there_is_refused() {
    let host = Namespace::raise();
    host.block_on(|| async {
        let error =
            Addresses::start("eth7", addresses(&[VIP]), Want::Released).expect_err("no interface");
        assert!(error.to_string().contains("there is no interface eth7"));
    });
}
