//! Tests which connections are closed when a limit is reached.

use tokio::task::{LocalSet, spawn_local, yield_now};

use super::*;

const CLIENT: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn connections(clients: usize, descriptors: usize) -> Rc<Connections> {
    let connections = Connections::new(&Arc::default());
    connections.limit(Limits {
        clients,
        descriptors,
    });
    connections
}

/// Opens a connection, with a task that keeps it open until the registry of connections closes it.
fn open(connections: &Rc<Connections>) -> Rc<Entry> {
    let open = connections.open(CLIENT, 0, &Arc::default());
    let open = open.expect("no limit for each client");
    let entry = Rc::clone(&open.entry);
    let task = spawn_local(async move {
        let _open = open;
        std::future::pending::<()>().await;
    });
    entry.set_task(task.abort_handle());
    entry
}

fn is_open(connections: &Connections, entry: &Rc<Entry>) -> bool {
    let clients = connections.clients.borrow();
    clients.values().any(|other| Rc::ptr_eq(other, entry))
}

/// Waits for at most two seconds, and returns whether there was room for another connection.
async fn room(connections: &Connections) -> bool {
    let limit = Duration::from_secs(2);
    tokio::time::timeout(limit, connections.wait_for_room())
        .await
        .is_ok()
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_gives_way() {
    let local = LocalSet::new();
    let test = async {
        let connections = connections(3, 100);
        let entries: Vec<_> = (0..3).map(|_| open(&connections)).collect();
        for number in [1, 2, 0] {
            entries[number].begin();
            entries[number].end();
        }
        assert!(room(&connections).await);
        let open: Vec<_> = entries
            .iter()
            .map(|entry| is_open(&connections, entry))
            .collect();
        assert_eq!(open, [true, false, true]);
    };
    local.run_until(test).await;
}

#[tokio::test]
async fn a_connection_with_a_request_is_never_closed() {
    let local = LocalSet::new();
    let test = async {
        let connections = connections(2, 100);
        let entries = [open(&connections), open(&connections)];
        entries[0].begin();
        entries[1].begin();
        entries[1].begin();
        assert!(!room(&connections).await, "both are busy");
        entries[1].end();
        assert!(!room(&connections).await, "there is another request");
        let waiting = spawn_local({
            let connections = Rc::clone(&connections);
            async move { room(&connections).await }
        });
        yield_now().await;
        entries[1].end();
        assert!(waiting.await.expect("no panic"));
        assert!(is_open(&connections, &entries[0]));
        assert!(!is_open(&connections, &entries[1]));
    };
    local.run_until(test).await;
}

#[tokio::test]
async fn a_new_connection_has_time_for_its_first_request() {
    let local = LocalSet::new();
    let test = async {
        let connections = connections(1, 100);
        let began = Instant::now();
        let entry = open(&connections);
        assert!(room(&connections).await);
        assert!(began.elapsed() >= FIRST_REQUEST_IN_A_CROWD);
        assert!(!is_open(&connections, &entry));
    };
    local.run_until(test).await;
}

#[tokio::test]
async fn a_new_connection_stays_where_another_is_idle() {
    let local = LocalSet::new();
    let test = async {
        let connections = connections(2, 100);
        let old = open(&connections);
        tokio::time::sleep(FIRST_REQUEST).await;
        let new = open(&connections);
        tokio::time::sleep(FIRST_REQUEST_IN_A_CROWD).await;
        assert!(room(&connections).await);
        assert!(is_open(&connections, &new));
        assert!(!is_open(&connections, &old));
    };
    local.run_until(test).await;
}

#[tokio::test]
async fn silent_connections_hold_a_listeners_queue_up_for_a_short_time() {
    const LIMIT: usize = 10;
    let local = LocalSet::new();
    let test = async {
        let connections = connections(LIMIT, 100);
        let began = Instant::now();
        for _ in 0..5 * LIMIT {
            assert!(room(&connections).await);
            open(&connections);
        }
        // In this time, 40 connections (four times the limit) were closed to make room for others.
        assert!(began.elapsed() < FIRST_REQUEST * 2, "{:?}", began.elapsed());
    };
    local.run_until(test).await;
}

#[tokio::test]
async fn clients_leave_descriptors_for_backends() {
    let http_limit = most_clients(20_000);
    assert_eq!(http_limit, 9936);
    let local = LocalSet::new();
    let test = async {
        let connections = connections(4, 8);
        let _clients: Vec<_> = (0..4).map(|_| open(&connections)).collect();
        let backends: Vec<_> = (0..4).map(|_| connections.open_backend()).collect();
        assert!(backends.iter().all(Option::is_some));
        assert!(connections.open_backend().is_none());
        drop(backends);
        assert!(connections.open_backend().is_some());
    };
    local.run_until(test).await;
}

#[test]
fn a_client_has_no_more_than_its_limit_over_all_workers() {
    let counts = Arc::<ClientCounts>::default();
    let workers = [Connections::new(&counts), Connections::new(&counts)];
    let open = |worker: usize, client: &str| {
        let client = client.parse().expect("an address");
        workers[worker].open(client, 2, &Arc::default())
    };
    let first = open(0, "192.0.2.1").expect("the first");
    let second = open(1, "192.0.2.1").expect("the second");
    assert!(open(0, "192.0.2.1").is_none());
    assert!(open(0, "192.0.2.2").is_some());
    drop(first);
    assert!(open(1, "192.0.2.1").is_some());
    drop(second);
    let same_network = [open(0, "2001:db8::1"), open(0, "2001:db8::2")];
    assert!(open(0, "2001:db8::3").is_none());
    assert!(open(0, "2001:db8:0:1::3").is_some());
    drop(same_network);
    assert!(counts.0.lock().expect("not poisoned").is_empty());
}
