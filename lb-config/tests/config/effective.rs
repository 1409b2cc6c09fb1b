//! Tests of the configuration with the backends that were discovered.

use std::{collections::BTreeSet, net::SocketAddr};

use lb_common::limits;
use lb_config::{Backend, Config, DiscoveredPools, Effective, Exclusion, Name, Weight};
use proptest::prelude::*;

use super::{BASE, parse};

mod in_force;

const NODE: &str = "[node]\nname = \"lb-a\"\ninterface = \"eth0\"\n";
const FOUND: &str = "\n[[pool]]\nname = \"found\"\ndiscover = { file = \"/run/found\" }\n";
const OTHER: &str = "\n[[pool]]\nname = \"other\"\ndiscover = { file = \"/run/other\" }\n";
const LISTED: &str =
    "\n[[pool]]\nname = \"listed\"\nbackends = [\"10.0.9.7:80\", \"10.0.9.6:80\"]\n";

fn service(name: &str, listen: &str, mode: &str, pool: &str) -> String {
    format!(
        "\n[[service]]\nname = \"{name}\"\nlisten = \"{listen}\"\nmode = \"{mode}\"\npool = \"{pool}\"\n"
    )
}

/// Returns a configuration with the pool `found`, and services of these modes that use it: `s1`
/// listens on 172.31.0.68:81, `s2` on port 82, and so on.
fn config(modes: &[&str]) -> Config {
    let services = modes.iter().zip(1..).map(|(mode, number)| {
        let listen = format!("172.31.0.68:{}", 80 + number);
        service(&format!("s{number}"), &listen, mode, "found")
    });
    read(&[NODE, FOUND, &services.collect::<String>()])
}

#[track_caller]
fn read(parts: &[&str]) -> Config {
    let text = parts.concat();
    let parsed = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    parsed.config
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn at(address: &str) -> Backend {
    let address: SocketAddr = address.parse().expect("an address");
    Backend {
        name: Name::of_address(address),
        address,
        weight: Weight::ONE,
        backup: false,
        leaving: false,
    }
}

fn named(text: &str, address: &str) -> Backend {
    Backend {
        name: name(text),
        ..at(address)
    }
}

fn leaving(address: &str) -> Backend {
    Backend {
        leaving: true,
        ..at(address)
    }
}

fn backup(address: &str) -> Backend {
    Backend {
        backup: true,
        ..at(address)
    }
}

fn found(backends: Vec<Backend>) -> DiscoveredPools {
    DiscoveredPools::from([(name("found"), backends)])
}

/// Returns the reasons for which backends are excluded, each after the address of its backend.
fn excluded(effective: &Effective) -> Vec<String> {
    let excluded = effective.excluded.iter();
    let shown = excluded.map(|one| format!("{}: {}", one.address, one.reason));
    shown.collect()
}

#[test]
fn discovered_backends_are_sorted_by_their_addresses() {
    let backends = ["10.0.0.10:80", "10.0.0.9:81", "10.0.0.9:80", "10.0.0.7:80"].map(at);
    let effective = config(&["tcp"]).with_discovered(&found(backends.to_vec()));
    let sorted = ["10.0.0.7:80", "10.0.0.9:80", "10.0.0.9:81", "10.0.0.10:80"].map(at);
    assert_eq!(effective.config.pools[0].backends, sorted);
    assert_eq!(effective.excluded, []);
}

#[test]
fn an_address_that_is_listed_twice_is_in_the_pool_once_and_not_leaving() {
    let backends = vec![
        leaving("10.0.0.6:80"),
        at("10.0.0.7:80"),
        at("10.0.0.6:80"),
        leaving("10.0.0.8:80"),
    ];
    let effective = config(&["tcp"]).with_discovered(&found(backends));
    assert_eq!(
        effective.config.pools[0].backends,
        [at("10.0.0.6:80"), at("10.0.0.7:80"), leaving("10.0.0.8:80")]
    );
}

#[test]
fn backends_of_one_name_are_named_after_their_addresses() {
    let backends = vec![
        named("web", "10.0.0.6:80"),
        named("app", "10.0.0.7:80"),
        named("web", "10.0.0.8:80"),
        // Each of these two has the other's address as its name.
        named("10.0.0.10:80", "10.0.0.9:80"),
        named("10.0.0.9:80", "10.0.0.10:80"),
    ];
    let effective = config(&["tcp"]).with_discovered(&found(backends));
    let expected = [
        at("10.0.0.6:80"),
        named("app", "10.0.0.7:80"),
        at("10.0.0.8:80"),
        at("10.0.0.9:80"),
        at("10.0.0.10:80"),
    ];
    assert_eq!(effective.config.pools[0].backends, expected);
}

#[test]
fn every_backend_that_cannot_be_used_is_excluded_with_the_reason() {
    let unusable = [
        "0.0.0.0:80",
        "255.255.255.255:80",
        "224.0.0.1:80",
        "10.0.0.6:0",
        "172.31.0.68:81",
        "127.0.0.1:80",
        "[2001:db8::6]:80",
        "[::ffff:10.0.0.6]:80",
        "[fe80::1%2]:80",
    ];
    let mut backends: Vec<_> = unusable.map(at).to_vec();
    backends.extend([backup("10.0.0.9:80"), at("10.0.0.7:80")]);
    let effective = config(&["tcp"]).with_discovered(&found(backends.clone()));
    assert_eq!(effective.config.pools[0].backends, [at("10.0.0.7:80")]);
    assert_eq!(
        excluded(&effective),
        [
            "0.0.0.0:80: it is not the address of one host",
            "10.0.0.6:0: it is not the address of one host",
            "10.0.0.9:80: a service of mode tcp uses the pool, and has no backup backends",
            "127.0.0.1:80: a service of mode tcp uses the pool, and the kernel cannot steer to loopback",
            "172.31.0.68:81: service s1 listens on it and would connect to itself",
            "224.0.0.1:80: it is not the address of one host",
            "255.255.255.255:80: it is not the address of one host",
            "[::ffff:10.0.0.6]:80: it is an IPv4-mapped IPv6 address",
            "[2001:db8::6]:80: a service of mode tcp uses the pool, and the kernel steers IPv4 only",
            "[fe80::1%2]:80: it has a zone, and link-local addresses are not supported",
        ]
    );

    let effective = config(&["http"]).with_discovered(&found(backends));
    let usable = [
        at("10.0.0.7:80"),
        backup("10.0.0.9:80"),
        at("127.0.0.1:80"),
        at("[2001:db8::6]:80"),
    ];
    assert_eq!(effective.config.pools[0].backends, usable);
    assert_eq!(
        excluded(&effective),
        [
            "0.0.0.0:80: it is not the address of one host",
            "10.0.0.6:0: it is not the address of one host",
            "172.31.0.68:81: service s1 listens on it and would connect to itself",
            "224.0.0.1:80: it is not the address of one host",
            "255.255.255.255:80: it is not the address of one host",
            "[::ffff:10.0.0.6]:80: it is an IPv4-mapped IPv6 address",
            "[fe80::1%2]:80: it has a zone, and link-local addresses are not supported",
        ]
    );
}

#[test]
fn other_reasons_are_sentences_too() {
    assert_eq!(
        Exclusion::Unreachable("no route".to_owned()).to_string(),
        "no route"
    );
    assert_eq!(
        Exclusion::TooMany.to_string(),
        "the services of mode tcp have 16384 backends, which is the limit"
    );
}

/// Returns `count` backends, of which the first `leaving` are leaving.
fn many(network: u8, count: u16, leaving: u16) -> Vec<Backend> {
    let backend = |number: u16| {
        let [a, b] = number.to_be_bytes();
        Backend {
            leaving: number < leaving,
            ..at(&format!("10.{network}.{a}.{b}:80"))
        }
    };
    (0..count).map(backend).collect()
}

#[test]
fn backends_beyond_the_kernels_tables_are_excluded_those_that_are_leaving_first() {
    let services = [
        service("s1", "172.31.0.68:81", "tcp", "found"),
        service("s2", "172.31.0.68:82", "tcp", "found"),
        service("s3", "172.31.0.68:83", "tcp", "listed"),
        service("s4", "172.31.0.68:84", "tcp", "other"),
        service("s5", "172.31.0.68:85", "http", "other"),
    ];
    let config = read(&[NODE, LISTED, FOUND, OTHER, &services.concat()]);
    let pools = DiscoveredPools::from([
        (name("found"), many(1, 8_100, 300)),
        (name("other"), many(2, 400, 30)),
    ]);
    let effective = config.with_discovered(&pools);
    let backends = |pool: usize| &effective.config.pools[pool].backends;
    // 16,384 less the two of `listed` and two for each of the 8,100 leaves 182 for `other`.
    assert_eq!(
        (backends(0).len(), backends(1).len(), backends(2).len()),
        (2, 8_100, 182)
    );
    assert_eq!(limits::BACKENDS as usize, 2 + 2 * 8_100 + 182);
    assert_eq!(
        backends(1).iter().filter(|backend| backend.leaving).count(),
        300
    );
    assert!(backends(2).is_sorted_by_key(|backend| backend.address));
    assert_eq!(*backends(2), many(2, 212, 0)[30..], "the first that stay");
    assert_eq!(effective.excluded.len(), 218);
    let is_too_many =
        |one: &lb_config::Excluded| one.reason == Exclusion::TooMany && one.pool == name("other");
    assert!(effective.excluded.iter().all(is_too_many));

    // One backend more than the tables hold: the first that is leaving is excluded.
    let pools = found(many(1, 8_192, 1));
    let effective = config.with_discovered(&pools);
    let first = &effective.excluded[0];
    assert_eq!(effective.excluded.len(), 1);
    assert_eq!(first.address, at("10.1.0.0:80").address);
}

#[test]
fn a_pool_that_the_kernel_does_not_steer_has_no_limit() {
    let effective = config(&["http"]).with_discovered(&found(many(1, 20_000, 0)));
    assert_eq!(effective.config.pools[0].backends.len(), 20_000);
    assert_eq!(effective.excluded, []);
}

#[test]
fn a_pool_whose_backends_are_all_backups_has_ordinary_ones_in_their_place() {
    let backends = vec![backup("10.0.0.6:80"), backup("10.0.0.7:80")];
    let effective = config(&["http"]).with_discovered(&found(backends.clone()));
    assert_eq!(
        effective.config.pools[0].backends,
        [at("10.0.0.6:80"), at("10.0.0.7:80")]
    );

    // The only backend that is not a backup cannot be used.
    let with_another = [backends.clone(), vec![at("0.0.0.0:80")]].concat();
    let effective = config(&["http"]).with_discovered(&found(with_another));
    assert!(
        !effective.config.pools[0]
            .backends
            .iter()
            .any(|one| one.backup)
    );

    // In a pool with another backend they stay backups.
    let with_another = [backends, vec![at("10.0.0.8:80")]].concat();
    let effective = config(&["http"]).with_discovered(&found(with_another));
    let backups = effective.config.pools[0]
        .backends
        .iter()
        .filter(|one| one.backup);
    assert_eq!(backups.count(), 2);
}

#[test]
fn pools_in_services_and_routes_are_replaced_as_well() {
    let route = "\n[[service.route]]\nname = \"api\"\npath = \"/api\"\npool = \"other\"\n\
                 \n[[service.route]]\nname = \"old\"\npath = \"/old\"\npool = \"listed\"\n";
    let service = service("s1", "172.31.0.68:81", "http", "found");
    let config = read(&[NODE, LISTED, FOUND, OTHER, &service, route]);
    let pools = DiscoveredPools::from([
        (name("found"), vec![at("10.0.0.6:80")]),
        (name("other"), vec![at("10.0.0.7:80"), at("172.31.0.68:81")]),
    ]);
    let effective = config.with_discovered(&pools);
    assert_eq!(
        excluded(&effective),
        ["172.31.0.68:81: service s1 listens on it and would connect to itself"]
    );
    let service = &effective.config.services[0];
    let used = service.pools();
    let backends: Vec<_> = used
        .iter()
        .map(|pool| (pool.name.as_str(), &*pool.backends))
        .collect();
    let listed = &*config.pools[0].backends;
    assert_eq!(
        backends,
        [
            ("found", &[at("10.0.0.6:80")][..]),
            ("other", &[at("10.0.0.7:80")][..]),
            ("listed", listed),
        ]
    );
    for pool in used {
        let of_list = effective
            .config
            .pools
            .iter()
            .find(|one| one.name == pool.name);
        assert_eq!(of_list, Some(pool));
    }
    // To apply the same backends again changes nothing, and to apply none empties the pools.
    assert_eq!(effective.config.with_discovered(&pools), effective);
    assert_eq!(
        effective
            .config
            .with_discovered(&DiscoveredPools::new())
            .config,
        config
    );
}

#[test]
fn pools_that_discover_nothing_are_untouched() {
    let config = parse(BASE).expect("the base file").config;
    let pools = DiscoveredPools::from([
        (name("web"), vec![at("10.0.0.99:80")]),
        (name("app"), vec![]),
    ]);
    let effective = config.with_discovered(&pools);
    assert_eq!(effective.config, config);
    assert_eq!(effective.excluded, []);
    assert!(!config.discovers());
}

/// Generates backends with few different addresses and names, so that they repeat, and that every
/// reason to exclude a backend occurs.
fn any_backend() -> impl Strategy<Value = Backend> {
    let hosts = [
        "10.0.0.6",
        "10.0.0.7",
        "10.0.0.8",
        "172.31.0.68",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "[2001:db8::6]",
        "[::1]",
        "[::]",
        "[ff02::1]",
        "[::ffff:10.0.0.6]",
        "[fe80::1%2]",
        "[fe80::1]",
    ];
    let names = [
        "web",
        "app",
        "10.0.0.6:80",
        "10.0.0.7:80",
        "[2001:db8::6]:80",
    ];
    let address = (
        prop::sample::select(hosts.to_vec()),
        prop::sample::select(vec![0, 80, 81, 82]),
    );
    let rest = (1..=256_u16, any::<bool>(), any::<bool>());
    let given = prop::option::of(prop::sample::select(names.to_vec()));
    (address, given, rest).prop_map(|((host, port), given, (weight, backup, leaving))| {
        let plain = at(&format!("{host}:{port}"));
        Backend {
            name: given.map_or(plain.name, name),
            weight: Weight::new(weight).expect("a weight"),
            backup,
            leaving,
            ..plain
        }
    })
}

/// Returns the file of a pool that lists these backends, and of services of these modes.
fn listing(modes: &[&str], backends: &[Backend]) -> String {
    let tables = backends.iter().map(|backend| {
        // A name with a colon is an address: the name of a backend that the file does not name.
        let name = backend.name.as_str();
        let name = match name.contains(':') {
            true => String::new(),
            false => format!("name = \"{name}\"\n"),
        };
        let Backend {
            address,
            weight,
            backup,
            ..
        } = backend;
        let backup = if *backup { "backup = true\n" } else { "" };
        let weight = weight.get();
        format!("\n[[pool.backend]]\n{name}address = \"{address}\"\nweight = {weight}\n{backup}")
    });
    let services = modes.iter().zip(1..).map(|(mode, number)| {
        let listen = format!("172.31.0.68:{}", 80 + number);
        service(&format!("s{number}"), &listen, mode, "found")
    });
    let pool = "\n[[pool]]\nname = \"found\"\n";
    [
        NODE,
        pool,
        &tables.collect::<String>(),
        &services.collect::<String>(),
    ]
    .concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// The parser decides which backends are usable: it accepts the backends of the pool as listed
    /// ones, and refuses every backend that is excluded.
    #[test]
    fn what_is_used_could_be_listed_and_what_is_excluded_could_not(
        backends in prop::collection::vec(any_backend(), 0..12),
        modes in prop::sample::select(vec![vec!["tcp"], vec!["http"], vec!["http", "tcp"], vec!["tcp", "tcp"]]),
    ) {
        let effective = config(&modes).with_discovered(&found(backends.clone()));
        let used = &effective.config.pools[0].backends;
        prop_assert_eq!(&effective.config.services[0].pool.as_ref().expect("its pool").backends, used);

        let addresses: BTreeSet<_> = backends.iter().map(|backend| backend.address).collect();
        let of_used: BTreeSet<_> = used.iter().map(|backend| backend.address).collect();
        let of_excluded: BTreeSet<_> = effective.excluded.iter().map(|one| one.address).collect();
        prop_assert!(of_used.is_disjoint(&of_excluded));
        prop_assert_eq!(&(&of_used | &of_excluded), &addresses, "none is lost, none is made up");
        let names: BTreeSet<_> = used.iter().map(|backend| &backend.name).collect();
        prop_assert_eq!((names.len(), of_used.len()), (used.len(), used.len()));
        prop_assert!(used.is_sorted_by_key(|backend| backend.address));

        if !used.is_empty() {
            let text = listing(&modes, used);
            prop_assert!(parse(&text).is_ok(), "{}\n{}", parse(&text).unwrap_err(), text);
        }
        for one in &effective.excluded {
            // If an address occurs twice, either entry may be the one that was excluded.
            let refused = backends.iter().filter(|backend| backend.address == one.address);
            let mut refused = refused.map(|backend| {
                let backends = [named("beside", "10.9.9.9:80"), backend.clone()];
                parse(&listing(&modes, &backends)).is_err()
            });
            prop_assert!(refused.any(|refused| refused), "{}: {}", one.address, one.reason);
        }
    }

    #[test]
    fn the_order_in_which_backends_are_found_does_not_matter(
        (backends, shuffled) in prop::collection::vec(any_backend(), 0..12)
            .prop_map(|mut backends| {
                // If an address occurs twice, the order may decide which entry is kept.
                backends.sort_by_key(|backend| backend.address);
                backends.dedup_by_key(|backend| backend.address);
                backends
            })
            .prop_flat_map(|backends| (Just(backends.clone()), Just(backends).prop_shuffle())),
    ) {
        let config = config(&["tcp"]);
        prop_assert_eq!(
            config.with_discovered(&found(backends)),
            config.with_discovered(&found(shuffled))
        );
    }
}
