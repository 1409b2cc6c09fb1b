//! Tests of discovery in a running agent, with a file as the source.

use super::*;
use crate::{
    agent::pair::PairCommand,
    pool::{AllDown, BackendRegistry, SavedStates},
};

impl Host {
    fn list(&self) -> PathBuf {
        self.directory.path().join("backends")
    }

    /// Writes the file of the source with these backends of the host.
    fn list_backends(&self, indices: &[usize]) {
        let lines = indices.iter().map(|index| {
            let address = self.backends[*index].local_addr().expect("an address");
            format!("{address} name=web{}\n", index + 1)
        });
        let file = self.list();
        let draft = file.with_extension("new");
        std::fs::write(&draft, lines.collect::<String>()).expect("written");
        std::fs::rename(draft, file).expect("renamed");
    }

    /// Returns the configuration with the backends of the pool discovered in the file.
    fn discovering(&self, checked: &Checked, drain: &str) -> String {
        let text = self.text(checked);
        let begin = text.find("[[pool.backend]]").expect("backends");
        let end = text.find("[[service]]").expect("a service");
        let file = self.list();
        let discover = format!(
            "[pool.discover]\nfile = \"{}\"\ndrain = \"{drain}\"\n",
            file.display()
        );
        format!("{}{discover}{}", &text[..begin], &text[end..])
    }

    fn with_discovery(checked: &Checked, drain: &str) -> Self {
        let host = Self::new(checked);
        host.write(&host.discovering(checked, drain));
        host
    }
}

/// Returns the names of the pool's backends, sorted. The pool has them in the order of their ports.
fn names(running: &Running) -> Vec<String> {
    let pools = running.shared.status().pools;
    let mut names: Vec<_> = pools[0]
        .backends
        .iter()
        .map(|one| one.name.clone())
        .collect();
    names.sort_unstable();
    names
}

/// Returns a backend of the pool by its name.
fn backend(running: &Running, name: &str) -> crate::admin::BackendStatus {
    let pools = running.shared.status().pools;
    let mut backends = pools[0].backends.iter();
    backends
        .find(|one| one.name == name)
        .expect("it is in the pool")
        .clone()
}

fn is_failing(running: &Running) -> bool {
    let discovery = running.shared.status().pools[0].discovery.clone();
    discovery.expect("it discovers").failing_since.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_is_added_drained_and_removed_as_the_source_lists_it() {
    let host = Host::with_discovery(&Checked::Yes, "1s");
    host.list_backends(&[0]);
    let running = host.run();
    eventually("web1 is up", || host.kernel.states() == [Up]).await;
    host.list_backends(&[0, 1]);
    eventually("web2 is up", || host.kernel.states() == [Up, Up]).await;
    host.list_backends(&[1]);
    let drained = |states: Vec<BackendState>| states.contains(&Draining) && states.contains(&Up);
    eventually("web1 is drained", || drained(host.kernel.states())).await;
    eventually("web1 is removed", || host.kernel.states() == [Up]).await;
    eventually("the status follows", || names(&running) == ["web2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_backend_gets_no_traffic_before_its_first_check_passes() {
    let mut host = Host::with_discovery(&Checked::Yes, "1s");
    host.list_backends(&[0]);
    let running = host.run();
    eventually("web1 is up", || host.kernel.states() == [Up]).await;
    host.list_backends(&[0, 1]);
    let dead = host.backends.remove(1);
    let address = dead.local_addr().expect("an address");
    drop(dead);
    let mut seen = Vec::new();
    let begun = Instant::now();
    while names(&running).len() < 2 || begun.elapsed() < INTERVAL * 5 {
        assert!(begun.elapsed() < PATIENCE, "web2 is not in the pool");
        seen.push(host.kernel.states());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let ups = |states: &Vec<BackendState>| states.iter().filter(|state| **state == Up).count();
    assert!(seen.iter().all(|states| ups(states) == 1), "{seen:?}");
    let _serving = TcpListener::bind(address).expect("the port is still free");
    eventually("web2 is up", || host.kernel.states() == [Up, Up]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_fails_or_is_empty_changes_nothing_not_even_over_a_restart() {
    let host = Host::with_discovery(&Checked::No, "1s");
    host.list_backends(&[0, 1]);
    let mut running = host.run();
    eventually("both are up", || host.kernel.states() == [Up, Up]).await;
    let break_it: [&dyn Fn(); 3] = [
        &|| std::fs::remove_file(host.list()).expect("removed"),
        &|| host.list_backends(&[]),
        &|| std::fs::write(host.list(), "10.0.0.6\n").expect("written"),
    ];
    for break_it in break_it {
        break_it();
        eventually("the source fails", || is_failing(&running)).await;
        assert_eq!(host.kernel.states(), [Up, Up]);
        assert_eq!(names(&running), ["web1", "web2"]);
        running.kill().await;
        running = host.run();
        assert_eq!(
            host.kernel.states(),
            [Up, Up],
            "the next agent has them, too"
        );
        eventually("the source still fails", || is_failing(&running)).await;
        assert_eq!(host.kernel.states(), [Up, Up]);
        host.list_backends(&[0, 1]);
        eventually("the source answers again", || !is_failing(&running)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_whose_source_has_never_answered_is_empty_and_serves_after_the_first_answer() {
    let host = Host::with_discovery(&Checked::Yes, "1s");
    let running = host.run();
    eventually("the source fails", || is_failing(&running)).await;
    assert!(host.kernel.states().is_empty());
    let status = running.shared.status();
    assert_eq!(status.pools[0].all_down, Some(AllDown::Refusing));
    host.list_backends(&[0, 1]);
    eventually("both are up", || host.kernel.states() == [Up, Up]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_kernel_refuses_is_tried_again() {
    let host = Host::with_discovery(&Checked::No, "1s");
    host.list_backends(&[0]);
    let running = host.run();
    eventually("web1 is up", || host.kernel.states() == [Up]).await;
    host.kernel.refuse(true);
    host.list_backends(&[0, 1]);
    let found = || running.shared.metrics(crate::metrics::Format::Prometheus);
    let found = || found().contains("lb_discovery_backends{pool=\"web\"} 2");
    eventually("web2 is discovered", found).await;
    assert_eq!(names(&running), ["web1"]);
    host.kernel.refuse(false);
    eventually("web2 is in the pool", || host.kernel.states() == [Up, Up]).await;
    eventually("the status follows", || names(&running) == ["web1", "web2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_packets_cannot_reach_is_excluded_and_the_others_are_used() {
    let host = Host::with_discovery(&Checked::No, "1s");
    let lost = host.backends[1].local_addr().expect("an address");
    host.kernel.lose(lost);
    host.list_backends(&[0, 1]);
    let running = host.run();
    let excluded = || {
        let discovery = running.shared.status().pools[0].discovery.clone();
        discovery.expect("it discovers").excluded
    };
    eventually("web2 is excluded", || excluded().len() == 1).await;
    assert_eq!(host.kernel.states(), [Up]);
    assert_eq!(excluded()[0].address, lost);
    *host.kernel.0.unreachable.lock().expect("no panic") = None;
    eventually("web2 is used", || host.kernel.states() == [Up, Up]).await;
    assert_eq!(excluded(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_keeps_its_backends_when_a_reload_gives_it_a_source() {
    let host = Host::new(&Checked::No);
    let running = host.run();
    assert_eq!(host.kernel.states(), [Up, Up]);
    host.write(&host.discovering(&Checked::No, "1s"));
    give(&host.socket(), Request::Reload)
        .await
        .expect("reloaded");
    assert_eq!(host.kernel.states(), [Up, Up]);
    eventually("the source fails", || is_failing(&running)).await;
    assert_eq!(host.kernel.states(), [Up, Up]);
    host.list_backends(&[1]);
    eventually("only web2 is left", || names(&running) == ["web2"]).await;
    host.write(&host.text(&Checked::No));
    give(&host.socket(), Request::Reload)
        .await
        .expect("reloaded");
    assert_eq!(names(&running), ["web1", "web2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_override_of_a_discovered_backend_stays_until_it_leaves() {
    let host = Host::with_discovery(&Checked::No, "5s");
    host.list_backends(&[0, 1]);
    let running = host.run();
    eventually("both are up", || host.kernel.states() == [Up, Up]).await;
    order(&host, "web1", AdminState::Down).await.expect("set");
    let web1 = || backend(&running, "web1");
    assert_eq!(web1().state, State::Down);
    host.list_backends(&[1]);
    eventually("web1 leaves", || web1().leaving).await;
    assert_eq!(web1().state, State::Down, "the stricter of the two applies");
    host.list_backends(&[0, 1]);
    eventually("web1 stays", || !web1().leaving).await;
    assert_eq!(web1().state, State::Down);
    order(&host, "web1", AdminState::Ready).await.expect("set");
    assert_eq!(host.kernel.states(), [Up, Up]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_that_the_peer_set_applies_to_a_backend_that_this_host_discovers_later() {
    let host = Host::with_discovery(&Checked::No, "5s");
    host.list_backends(&[0]);
    let mut agent = host.started();
    let (pair, mut commands) = Pair::recording();
    let (effects, effected) = mpsc::unbounded_channel();
    agent.pair = Some(pair);
    agent.effects = effected;
    let running = Host::run_agent(agent);
    eventually("web1 is up", || host.kernel.states() == [Up]).await;

    // The peer has discovered both backends, and its operator drains the second one.
    let both = Config::parse(Path::new("lb.toml"), &host.text(&Checked::No)).expect("valid");
    let now = SystemTime::now();
    let nothing_saved = SavedStates::default();
    let mut peer = BackendRegistry::new(&both.config.pools, &nothing_saved, now);
    peer.set_override("web2", AdminState::Drain, now)
        .expect("it has web2");
    let send = |orders| {
        let sent = effects.send(Effect::Received(Message::Drains(orders)));
        sent.expect("the agent runs");
    };
    send(peer.overrides_message());
    // The commands up to here are about web1 alone.
    while commands.try_recv().is_ok() {}

    host.list_backends(&[0, 1]);
    let answers = async {
        while let Some(command) = commands.recv().await {
            if let PairCommand::Send(Message::Drains(orders)) = command
                && let Some(answer) = peer.merge_overrides(&orders, now).answer
            {
                send(answer);
            }
        }
    };
    let drained = |states: Vec<BackendState>| states.contains(&Draining) && states.contains(&Up);
    tokio::select! {
        () = answers => panic!("the agent ended"),
        () = eventually("a backend is drained", || drained(host.kernel.states())) => {}
    }
    eventually("it is web2", || {
        names(&running) == ["web1", "web2"] && backend(&running, "web2").order == AdminState::Drain
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_in_force_stays_although_its_route_and_the_source_are_gone() {
    let host = Host::with_discovery(&Checked::No, "0s");
    host.list_backends(&[0, 1]);
    let running = host.run();
    eventually("both are up", || host.kernel.states() == [Up, Up]).await;
    order(&host, "web2", AdminState::Drain).await.expect("set");
    let lost = host.backends[1].local_addr().expect("an address");
    host.kernel.lose(lost);
    std::fs::remove_file(host.list()).expect("removed");
    eventually("the source fails", || is_failing(&running)).await;
    give(&host.socket(), Request::Reload)
        .await
        .expect("reloaded");
    assert_eq!(names(&running), ["web1", "web2"]);
    assert_eq!(backend(&running, "web2").order, AdminState::Drain);
    running.kill().await;
    let running = host.run();
    assert_eq!(names(&running), ["web1", "web2"]);
    assert_eq!(backend(&running, "web2").order, AdminState::Drain);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_backend_that_is_up_is_not_removed_before_another_is_up() {
    let mut host = Host::with_discovery(&Checked::Yes, "0s");
    host.list_backends(&[0]);
    let running = host.run();
    // The kernel has a backend a moment before the status does.
    eventually("web1 is up", || names(&running) == ["web1"]).await;
    let file = host.list();
    // The service itself cannot be a backend of its pool.
    std::fs::write(&file, format!("{}\n", host.front)).expect("written");
    eventually("web1 leaves", || backend(&running, "web1").leaving).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(names(&running), ["web1"], "there is nothing else");

    host.list_backends(&[1]);
    let dead = host.backends.remove(1);
    let address = dead.local_addr().expect("an address");
    drop(dead);
    eventually("web2 is in the pool", || names(&running).len() == 2).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(names(&running), ["web1", "web2"], "web2 is down");
    let _serving = TcpListener::bind(address).expect("the port is still free");
    eventually("web1 is removed", || names(&running) == ["web2"]).await;
    assert_eq!(host.kernel.states(), [Up]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_with_another_source_keeps_what_is_leaving() {
    let host = Host::with_discovery(&Checked::No, "1h");
    host.list_backends(&[0]);
    let running = host.run();
    eventually("web1 is up", || host.kernel.states() == [Up]).await;
    host.list_backends(&[1]);
    eventually("web1 leaves", || {
        names(&running).len() == 2 && backend(&running, "web1").leaving
    })
    .await;
    let other = host.directory.path().join("others");
    let text = host.discovering(&Checked::No, "1h");
    host.write(&text.replace(&*host.list().to_string_lossy(), &other.to_string_lossy()));
    give(&host.socket(), Request::Reload)
        .await
        .expect("reloaded");
    assert!(backend(&running, "web1").leaving);
    assert_eq!(names(&running), ["web1", "web2"]);
}
