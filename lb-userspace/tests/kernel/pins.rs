//! Tests that an agent adopts the pinned maps of an earlier agent.

use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use lb::{config::Balance, dataplane::Dataplane};
use lb_common::{host::TcpPacket, limits, settings::Settings};

use crate::{
    ACK, XDP_TX, client, on_a_host, opened, sent,
    stage::{self, Setup, Stage},
};

type Bytes = [u8; size_of::<Settings>()];
type Pinned = Array<MapData, Bytes>;

fn write(pinned: &mut Pinned, settings: Settings) {
    let bytes: Bytes = zerocopy::transmute!(settings);
    pinned.set(0, bytes, 0).expect("is written");
}

/// Opens the pinned map with the settings of the XDP program that an agent has pinned.
fn pinned_settings() -> Pinned {
    let path = stage::settings().pin_path.join("maps/settings");
    let map = MapData::from_pin(path).and_then(Map::from_map_data);
    Pinned::try_from(map.expect("it is pinned")).expect("the settings")
}

#[test]
fn maps_of_another_layout_are_refused_and_left_as_they_are() {
    on_a_host(|| {
        let stage = Stage::raise(Balance::RoundRobin);
        opened(&stage, client(1));
        let mut pinned = pinned_settings();
        let before: Settings = zerocopy::transmute!(pinned.get(&0, 0).expect("an entry"));
        assert_eq!(before.layout, limits::LAYOUT);
        let later = Settings {
            layout: limits::LAYOUT + 1,
            ..before
        };
        write(&mut pinned, later);
        let Stage { dataplane, .. } = stage;
        drop(dataplane);

        let refused =
            Dataplane::open(&stage::node(), &stage::settings(), None).expect_err("refused");
        let expected = format!("have layout {}", limits::LAYOUT + 1);
        assert!(refused.to_string().contains(&expected), "{refused}");
        let left: Settings = zerocopy::transmute!(pinned.get(&0, 0).expect("an entry"));
        assert_eq!(left, later, "nothing was written");

        write(&mut pinned, before);
        let next = Dataplane::open(&stage::node(), &stage::settings(), None).expect("adopted");
        assert!(next.adopted());
    });
}

#[test]
fn a_thousand_backends_are_applied_without_a_wait_for_each() {
    on_a_host(|| {
        let octets: [u8; 250] =
            std::array::from_fn(|octet| u8::try_from(octet + 2).expect("an octet"));
        let services: Vec<(u16, &[u8])> = (0..250)
            .map(|number| (1000 + number, &octets[usize::from(number) % 240..][..4]))
            .collect();
        let mut stage = Stage::raise(Balance::RoundRobin);
        let began = Instant::now();
        stage.apply(&Setup {
            balance: Balance::RoundRobin,
            services: &services,
            max_connections: 1024,
            source_addresses: &[],
        });
        let took = began.elapsed();
        // An update of a BPF map of maps returns only after the BPF programs that run at that
        // moment have ended, which takes about ten milliseconds. With a separate wait for each
        // backend's inner map of source ports, applying the 1,000 backends took nine seconds.
        assert!(took < Duration::from_secs(4), "{took:?}");
        println!("1,000 backends applied in {took:?}");
        let client = TcpPacket::key(([198, 51, 100, 10], 40_000), (stage::VIP, 1249));
        let back = opened(&stage, client);
        assert_eq!(sent(&stage, back, ACK).0, XDP_TX);
    });
}
