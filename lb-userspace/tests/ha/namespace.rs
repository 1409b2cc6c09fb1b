//! Hosts as network namespaces, each with a thread that runs the test's closures in it.

use std::{
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// A private network namespace, removed when this value is dropped.
pub(crate) struct Namespace {
    jobs: mpsc::Sender<Job>,
    thread: i32,
}

impl Namespace {
    /// Creates a host that has no network interface but loopback.
    pub(crate) fn raise() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this needs root: run it with sudo"
        );
        let (jobs, given) = mpsc::channel::<Job>();
        let (born, birth) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            born.send(nix::unistd::gettid().as_raw()).expect("heard");
            given.into_iter().for_each(|job| job());
        });
        let thread = birth.recv().expect("the thread lives");
        Self { jobs, thread }
    }

    /// Makes two hosts on one Ethernet segment: the interface of each is `eth0`, with MAC addresses
    /// that end in 68 and in 01.
    pub(crate) fn pair() -> (Self, Self) {
        let (host, neighbour) = (Self::raise(), Self::raise());
        let other = neighbour.thread;
        host.ip("link set lo up");
        neighbour.ip("link set lo up");
        host.ip(&format!(
            "link add eth0 address 02:00:00:00:00:68 type veth peer name eth0 address \
             02:00:00:00:00:01 netns {other}"
        ));
        for (host, address) in [(&host, "68"), (&neighbour, "1")] {
            host.ip(&format!("address add 172.31.0.{address}/20 dev eth0"));
            host.ip(&format!(
                "address add 2001:db8::{address}/64 dev eth0 nodad"
            ));
            host.ip("link set eth0 up");
        }
        for host in [&host, &neighbour] {
            eventually("the cable carries", || {
                // The kernel has this route for IPv6 multicast only when the interface is ready.
                let routes = host.ip("-6 route show table all");
                host.ip("link show eth0").contains("state UP")
                    && routes.contains("ff00::/8 dev eth0")
            });
        }
        (host, neighbour)
    }

    /// Runs `job` in the namespace, waits for it, and returns its result. A panic of `job` is
    /// passed on.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, outcome) = mpsc::channel();
        let job = move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            done.send(outcome).expect("awaited");
        };
        self.jobs.send(Box::new(job)).expect("the thread lives");
        match outcome.recv().expect("an outcome") {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs a future like [`Self::run`] runs a closure, on a new runtime in the namespace.
    pub(crate) fn block_on<F: Future + 'static>(
        &self,
        future: impl FnOnce() -> F + Send + 'static,
    ) -> F::Output
    where
        F::Output: Send + 'static,
    {
        self.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(future())
        })
    }

    /// Runs the command `ip` with these arguments in the namespace, and returns what it prints.
    pub(crate) fn ip(&self, words: &str) -> String {
        let words = words.to_owned();
        self.run(move || ip(&words))
    }
}

/// Runs the command `ip` with these arguments in this thread's namespace, and returns what it
/// prints.
pub(crate) fn ip(words: &str) -> String {
    let done = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .expect("ip runs");
    assert!(
        done.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).expect("text")
}

/// Waits until `holds` returns true, for at most 5 seconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "not after 5 s: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits like [`eventually`], for at most 5 seconds, without blocking the runtime.
pub(crate) async fn becomes(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "not after 5 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
