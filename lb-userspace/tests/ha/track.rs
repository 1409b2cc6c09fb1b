//! Tests of tracking, with real scripts, listeners and interfaces.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use lb::{
    config::{Backend, Balance, Name, Pool, TrackScript, Weight, WhenAllDown},
    ha::track::{Tracked, Tracking, Watched, What},
    pool::PoolView,
};
use lb_common::backend::BackendState;
use tokio::{net::TcpListener, sync::watch};

use super::{
    namespace::{Namespace, becomes, ip},
    notify::{Folder, is_alive},
};

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// Returns what is watched for a host that tracks nothing but this interface.
fn bare(interface: &str) -> Watched {
    Watched {
        interfaces: vec![interface.to_owned()],
        program: PathBuf::from("/sys/fs/bpf/lb/there-is-none"),
        listeners: Vec::new(),
        pools: Vec::new(),
        min_backends: 1,
        backends_weight: 50,
        scripts: Vec::new(),
    }
}

fn script(text: &str, command: Vec<String>, weight: i16) -> TrackScript {
    TrackScript {
        name: name(text),
        command,
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(200),
        rise: 2,
        fall: 2,
        weight,
    }
}

fn tracked(tracking: &Tracking, what: &What) -> Tracked {
    let view = tracking.view();
    let found = view.into_iter().find(|one| one.fact.what == *what);
    found.unwrap_or_else(|| panic!("{what} is not tracked"))
}

fn fault(tracking: &Tracking) -> String {
    tracking
        .summary()
        .borrow()
        .fault
        .clone()
        .unwrap_or_default()
}

/// Runs a test in a namespace whose interface has no XDP program. So tracking reports a fault all
/// the time, and the test looks at the other tracked items.
fn in_namespace<F: Future<Output = ()> + 'static>(test: impl FnOnce(Folder) -> F + Send + 'static) {
    let (host, _neighbour) = Namespace::pair();
    host.block_on(|| test(Folder::new()));
}

#[test]
fn a_script_that_fails_twice_takes_its_weight_off_and_gives_it_back() {
    in_namespace(|folder| async move {
        let command = folder.script("check", "echo all is $(cat $LOG.word); test ! -e $LOG.bad");
        std::fs::write(folder.path("log.word"), "well").expect("written");
        let mut watched = bare("eth0");
        watched.scripts = vec![script("uplink", command, -20)];
        let tracking = Tracking::start(watched).expect("tracks");
        let what = What::Script(name("uplink"));
        assert_eq!(tracking.summary().borrow().weight, -20, "not checked yet");
        becomes("it is well", || tracking.summary().borrow().weight == 0).await;
        let found = tracked(&tracking, &what);
        assert_eq!(found.fact.message, "exit status: 0: all is well");
        std::fs::write(folder.path("log.bad"), "").expect("written");
        let mut summary = tracking.summary();
        summary.borrow_and_update();
        becomes("it weighs", || tracking.summary().borrow().weight == -20).await;
        let found = tracked(&tracking, &what);
        assert_eq!(found.fact.well, Some(false));
        assert!(
            found.looks.failed >= 2,
            "not after one failure: {:?}",
            found.looks
        );
        assert!(summary.has_changed().expect("lives"));
        std::fs::remove_file(folder.path("log.bad")).expect("removed");
        becomes("it is well again", || {
            tracking.summary().borrow().weight == 0
        })
        .await;
    });
}

#[test]
fn a_script_that_hangs_has_failed_and_goes_with_its_children() {
    in_namespace(|folder| async move {
        let command = folder.script(
            "check",
            "mkdir $LOG.busy || echo two at once >>$LOG; trap '' TERM; echo waiting; \
             sleep 60 & echo $! >>$LOG.child; wait; sleep 60",
        );
        let mut watched = bare("eth0");
        watched.scripts = vec![script("uplink", command, 0)];
        let tracking = Tracking::start(watched).expect("tracks");
        let what = What::Script(name("uplink"));
        becomes("it timed out", || {
            tracked(&tracking, &what).looks.timed_out >= 1
        })
        .await;
        let found = tracked(&tracking, &what);
        assert_eq!(found.fact.well, Some(false));
        assert_eq!(found.fact.message, "did not end within 200ms: waiting");
        assert!(fault(&tracking).contains("script uplink: did not end within 200ms"));
        std::fs::remove_dir(folder.path("log.busy")).expect("removed");
        becomes("it is run again and again", || {
            // The folder is removed again, because the script creates it in each run.
            drop(std::fs::remove_dir(folder.path("log.busy")));
            tracked(&tracking, &what).looks.timed_out >= 4
        })
        .await;
        drop(tracking);
        let child = folder.path("log.child");
        becomes("no process is left", || !is_alive(&child)).await;
    });
}

#[test]
fn a_script_that_floods_its_output_and_leaves_children_is_judged_by_its_exit_code() {
    in_namespace(|folder| async move {
        let command = folder.script(
            "check",
            "sleep 60 & echo $! >>$LOG.child; head -c 3000000 /dev/zero; echo; echo done",
        );
        let mut watched = bare("eth0");
        watched.scripts = vec![script("uplink", command, 0)];
        watched.scripts[0].interval = Duration::from_secs(2);
        watched.scripts[0].timeout = Duration::from_secs(2);
        let tracking = Tracking::start(watched).expect("tracks");
        let what = What::Script(name("uplink"));
        becomes("it ran", || tracked(&tracking, &what).looks.succeeded >= 1).await;
        assert_eq!(
            tracked(&tracking, &what).fact.message,
            "exit status: 0: done"
        );
        let child = folder.path("log.child");
        becomes("its child is gone", || !is_alive(&child)).await;
    });
}

#[test]
fn a_reload_keeps_what_is_known_and_takes_what_is_new_to_be_well() {
    in_namespace(|folder| async move {
        let bad = folder.script("bad", "exit 1");
        let slow = folder.script("slow", "sleep 0.15; exit 1");
        let mut watched = bare("eth0");
        watched.scripts = vec![script("old", bad.clone(), -20)];
        let mut tracking = Tracking::start(watched.clone()).expect("tracks");
        let old = What::Script(name("old"));
        becomes("it fails", || {
            tracked(&tracking, &old).fact.well == Some(false)
        })
        .await;
        let since = tracked(&tracking, &old).since;
        watched.scripts[0].weight = -30;
        watched.scripts.push(script("new", slow, -40));
        tracking.apply(watched.clone());
        assert_eq!(
            tracking.summary().borrow().weight,
            -30,
            "the new one counts as well"
        );
        assert_eq!(tracked(&tracking, &old).since, since);
        becomes("the new one is known", || {
            tracking.summary().borrow().weight == -70
        })
        .await;
        watched.scripts.clear();
        tracking.apply(watched);
        assert_eq!(tracking.summary().borrow().weight, 0);
    });
}

#[test]
fn a_cable_that_is_cut_is_a_fault_at_once() {
    let (host, neighbour) = Namespace::pair();
    let neighbour = Arc::new(neighbour);
    let other = Arc::clone(&neighbour);
    let took = host.block_on(move || async move {
        let tracking = Tracking::start(bare("eth0")).expect("tracks");
        let what = What::Interface("eth0".to_owned());
        let well = || tracked(&tracking, &what).fact.well;
        becomes("the interface is seen", || well() == Some(true)).await;
        assert!(
            fault(&tracking).contains("XDP program on eth0: not attached"),
            "{}",
            fault(&tracking)
        );
        let begun = Instant::now();
        other.ip("link set eth0 down");
        let deadline = begun + Duration::from_secs(2);
        while well() == Some(true) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = begun.elapsed();
        assert!(fault(&tracking).contains("interface eth0: it has no carrier"));
        other.ip("link set eth0 up");
        becomes("it is up again", || well() == Some(true)).await;
        ip("link set eth0 down");
        becomes("it is down", || {
            fault(&tracking).contains("it is down: `ip link set`")
        })
        .await;
        ip("link del eth0");
        becomes("it is gone", || {
            let fault = fault(&tracking);
            fault.contains("the interface was removed")
                || fault.contains("there is no such interface")
        })
        .await;
        took
    });
    println!("the lost carrier was a fault after {took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_listener_that_does_not_accept_is_a_fault_and_one_on_an_address_elsewhere_is_not() {
    in_namespace(|_folder| async {
        let listener = TcpListener::bind("172.31.0.68:8080").await.expect("bound");
        let served = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let elsewhere = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let elsewhere = elsewhere.expect("a socket");
        elsewhere.set_freebind_v4(true).expect("set");
        let vip: SocketAddr = "172.31.0.200:8080".parse().expect("an address");
        elsewhere.bind(&vip.into()).expect("bound");
        elsewhere.listen(8).expect("listens");
        let mut watched = bare("eth0");
        let own = "172.31.0.68:8080".parse().expect("an address");
        watched.listeners = vec![(name("here"), own), (name("vip"), vip)];
        let tracking = Tracking::start(watched).expect("tracks");
        let (here, there) = (What::Listener(name("here")), What::Listener(name("vip")));
        for what in [&here, &there] {
            becomes("it answers", || {
                tracked(&tracking, what).fact.well == Some(true)
            })
            .await;
        }
        served.abort();
        becomes("nobody is there", || {
            tracked(&tracking, &here).fact.well == Some(false)
        })
        .await;
        let fault = fault(&tracking);
        assert!(fault.contains("listener of service here: 172.31.0.68:8080 does not answer"));
        assert!(!fault.contains("service vip"));
        // The address is added, but no process accepts connections there: only the kernel completes
        // TCP handshakes.
        ip("address add 172.31.0.200/20 dev eth0");
        let deadline = Instant::now() + Duration::from_secs(10);
        while tracked(&tracking, &there).fact.well == Some(true) {
            assert!(Instant::now() < deadline, "it sleeps, and nobody notices");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(tracked(&tracking, &there).looks.timed_out >= 3);
    });
}

#[test]
fn a_pool_without_healthy_backends_lowers_the_priority() {
    in_namespace(|_folder| async {
        let backend = |octet: u8| Backend {
            name: name(&format!("web{octet}")),
            address: SocketAddr::from(([10, 0, 0, octet], 80)),
            weight: Weight::ONE,
            backup: false,
            leaving: false,
        };
        let pool = Arc::new(Pool {
            name: name("web"),
            balance: Balance::RoundRobin,
            check: None,
            when_all_down: WhenAllDown::Refuse,
            retries: 3,
            per_request: lb::config::PerRequest::default(),
            backends: vec![backend(6), backend(7)],
            discover: None,
        });
        let view =
            |states: [BackendState; 2]| Arc::new(PoolView::new(Arc::clone(&pool), states.to_vec()));
        let (up, down) = (BackendState::Up, BackendState::Down);
        let feed = watch::Sender::new(view([up, up]));
        let mut watched = bare("eth0");
        watched.pools = vec![feed.subscribe()];
        watched.min_backends = 2;
        let mut tracking = Tracking::start(watched.clone()).expect("tracks");
        let weight = |tracking: &Tracking| tracking.summary().borrow().weight;
        becomes("both are up", || weight(&tracking) == 0).await;
        feed.send_replace(view([up, down]));
        becomes("one is not enough", || weight(&tracking) == -50).await;
        let reasons = tracking.summary().borrow().reasons.clone();
        assert_eq!(
            reasons,
            ["-50 for pool web: backends up: 1 of 2, at least 2 needed"]
        );
        watched.min_backends = 1;
        tracking.apply(watched.clone());
        becomes("one is enough now", || weight(&tracking) == 0).await;
        feed.send_replace(view([down, down]));
        becomes("none is not", || weight(&tracking) == -50).await;
        // Healthy backends that leave the pool serve while no other is up.
        let mut leaving = Pool::clone(&pool);
        leaving.backends[0].leaving = true;
        let states = vec![BackendState::Draining, down];
        feed.send_replace(Arc::new(PoolView::new(Arc::new(leaving), states)));
        becomes("one that is leaving serves", || weight(&tracking) == 0).await;
        feed.send_replace(view([down, down]));
        becomes("none is up", || weight(&tracking) == -50).await;
        watched.min_backends = 0;
        tracking.apply(watched);
        assert_eq!(weight(&tracking), 0);
    });
}
