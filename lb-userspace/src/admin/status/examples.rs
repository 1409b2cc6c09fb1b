//! Example values of the status, for tests.

use super::*;

/// Returns the example [`status`], in which a pool uses all features that concern single
/// requests: sticky sessions, a limit with a queue, ejection.
pub(crate) fn per_request() -> Status {
    let mut status = status();
    let now = status.now.0;
    let pool = &mut status.pools[0];
    pool.sticky = Some("lb".to_owned());
    pool.limit = Some(LimitStatus {
        per_backend: 100,
        queued: 3,
        queue_size: 1024,
    });
    pool.backends[0].ejected_until = Some(Moment(now + Duration::from_millis(24_800)));
    pool.backends[0].in_use = Some(7);
    pool.backends[1].backup = true;
    pool.backends[1].in_use = Some(100);
    pool.backends[2].in_use = Some(0);
    status
}

/// Returns an example status that has services, pools, certificates and the state of a pair.
pub(crate) fn status() -> Status {
    let moment = |second| Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
    let now = 1_800_000_000;
    let backend = |name: &str, address: &str, state, order, error: Option<&str>| BackendStatus {
        name: name.to_owned(),
        address: address.parse().expect("an address"),
        weight: 1,
        state,
        since: moment(now - 200),
        order,
        backup: false,
        leaving: false,
        ejected_until: None,
        in_use: None,
        last_check: Some(CheckStatus {
            at: moment(now - 1),
            seconds: 0.0012,
            error: error.map(str::to_owned),
        }),
        recent_checks: vec![Some(0.0011), None, error.is_none().then_some(0.0012)],
        connections: 250,
        packets: 2500,
        bytes: 250_000,
        open_connections: 0,
        requests: 250,
    };
    Status {
        version: "0.1.0".to_owned(),
        node: "lb-a".to_owned(),
        started: moment(now - 3 * 86_400 - 7_200),
        now: moment(now),
        problems: Vec::new(),
        xdp: XdpStatus {
            interfaces: ["eth0", "eth1"]
                .map(|name| InterfaceStatus {
                    name: name.to_owned(),
                    mode: "native".to_owned(),
                })
                .into(),
            adopted: true,
            packets: 123_456,
            dropped: 7,
            drops: vec![DropStatus {
                reason: "malformed".to_owned(),
                packets: 7,
            }],
        },
        services: vec![
            ServiceStatus {
                name: "http".to_owned(),
                listen: "172.31.0.68:80".parse().expect("an address"),
                mode: "tcp".to_owned(),
                forward: Some("nat".to_owned()),
                pool: "web".to_owned(),
                connections: 750,
                requests: None,
                request_seconds: None,
                errors: None,
                open_connections: None,
                bytes_in: 1 << 20,
                bytes_out: Some(3 << 30),
            },
            ServiceStatus {
                name: "https".to_owned(),
                listen: "172.31.0.68:443".parse().expect("an address"),
                mode: "https".to_owned(),
                forward: None,
                pool: "web".to_owned(),
                connections: 75,
                requests: Some(1000),
                request_seconds: Some(2.5),
                errors: Some(3),
                open_connections: Some(4),
                bytes_in: 0,
                bytes_out: None,
            },
        ],
        pools: vec![PoolStatus {
            name: "web".to_owned(),
            balance: "round_robin".to_owned(),
            check: Some("GET / every 2s".to_owned()),
            all_down: None,
            sticky: None,
            limit: None,
            discovery: None,
            backends: vec![
                backend("web1", "10.0.0.6:80", State::Up, AdminState::Ready, None),
                backend(
                    "web2",
                    "10.0.0.7:80",
                    State::Draining,
                    AdminState::Drain,
                    None,
                ),
                backend(
                    "web3",
                    "10.0.0.9:80",
                    State::Down,
                    AdminState::Ready,
                    Some("connection refused"),
                ),
            ],
        }],
        certificates: vec![CertificateStatus {
            file: "/etc/lb/tls/example.org.pem".into(),
            names: vec!["example.org".to_owned(), "www.example.org".to_owned()],
            expires: moment(now + 61 * 86_400),
        }],
        obtained: Vec::new(),
        ha: Some(ha::examples::ha(moment(now))),
    }
}
