use std::{
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Instant,
};

use lb_common::backend::BackendState::{Down, Draining, Up};
use tempfile::TempDir;

use super::*;
use crate::{
    admin::{Client, Source, State},
    agent::{start::start, upgrade::Inherited},
    config::Config,
    dataplane::{self, Attachment, Counters, Unreachable, XdpMode},
};

const PATIENCE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(100);
const FALL: u32 = 2;

mod discovery;
mod recording_kernel;

use recording_kernel::RecordingKernel;

/// A test's host with two backends in a pool, and the configuration file for an agent on it.
struct Host {
    directory: TempDir,
    admin: SocketAddr,
    /// The address that the service listens on.
    front: SocketAddr,
    backends: Vec<TcpListener>,
    kernel: RecordingKernel,
}

/// Whether the pool of the test's configuration has a health check.
enum Checked {
    Yes,
    No,
}

impl Host {
    fn new(checked: &Checked) -> Self {
        let backends = (0..2).map(|_| listener()).collect();
        // Both listeners are open at the same time, so that they get different ports.
        let [admin, front] =
            [listener(), listener()].map(|listener| listener.local_addr().expect("an address"));
        let host = Self {
            directory: tempfile::tempdir().expect("a directory"),
            admin,
            front,
            backends,
            kernel: RecordingKernel::default(),
        };
        host.write(&host.text(checked));
        host
    }

    fn text(&self, checked: &Checked) -> String {
        let check = match checked {
            Checked::Yes => {
                let interval = INTERVAL.as_millis();
                format!(
                    "check = {{ type = \"tcp\", interval = \"{interval}ms\", \
                     timeout = \"{interval}ms\", rise = 1, fall = {FALL} }}"
                )
            }
            Checked::No => String::new(),
        };
        let backend = |index: usize| {
            let address = self.backends[index].local_addr().expect("an address");
            let name = index + 1;
            format!("[[pool.backend]]\nname = \"web{name}\"\naddress = \"{address}\"\n")
        };
        format!(
            "[node]\nname = \"lb-a\"\ninterface = \"lo\"\n\
             [admin]\nlisten = \"{}\"\nsocket = \"{}\"\n\
             [[pool]]\nname = \"web\"\n{check}\n{}{}\
             [[service]]\nname = \"first\"\nlisten = \"{}\"\nmode = \"http\"\npool = \"web\"\n",
            self.admin,
            self.socket().display(),
            backend(0),
            backend(1),
            self.front,
        )
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).expect("written");
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("lb.toml")
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/lb.sock")
    }

    fn config(&self) -> Config {
        let parsed = Config::load(&self.file());
        parsed.unwrap_or_else(|errors| panic!("{errors}")).config
    }

    fn agent(&self) -> Result<Agent<RecordingKernel>, Error> {
        let inherited = (Inherited::default(), Logging::default());
        start(self.file(), &self.config(), inherited, |_, _| {
            Ok(self.kernel.open())
        })
    }

    /// Starts an agent. Repeats the attempt until the workers of an earlier agent, which was
    /// dropped, have released their listeners: nothing else in this process waits for them.
    fn started(&self) -> Agent<RecordingKernel> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match self.agent() {
                Ok(agent) => return agent,
                Err(error) if Instant::now() > deadline => panic!("not started: {error}"),
                Err(_still_there) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Starts an agent, and runs it until the returned value is dropped.
    fn run(&self) -> Running {
        Self::run_agent(self.started())
    }

    /// Runs an agent until the returned value is dropped.
    fn run_agent(agent: Agent<RecordingKernel>) -> Running {
        let shared = Arc::clone(&agent.shared);
        let signals = Signals::listen().expect("signals");
        Running {
            shared,
            task: tokio::spawn(agent.run(signals)),
        }
    }
}

struct Running {
    shared: Arc<Shared<RecordingKernel>>,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Ends the agent abruptly, as a crash would.
    async fn kill(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a listener")
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Sends a request over the admin socket, as the commands of `lb` do.
async fn give(socket: &Path, request: Request) -> Result<String, String> {
    let client = Client::new(socket);
    let said = tokio::task::spawn_blocking(move || client.request(&request)).await;
    said.expect("no panic").map_err(|error| error.to_string())
}

async fn order(host: &Host, name: &str, order: AdminState) -> Result<String, String> {
    let name = name.to_owned();
    give(&host.socket(), Request::Backend { name, order }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_learns_of_a_dead_backend_in_time_and_of_its_return() {
    let mut host = Host::new(&Checked::Yes);
    let _running = host.run();
    let kernel = host.kernel.clone();
    assert_eq!(kernel.states(), [Up, Up]);
    // The first check of a backend decides its health alone, without `rise` and `fall`: wait until
    // it has ended.
    tokio::time::sleep(INTERVAL * 2).await;
    let dead = host.backends.remove(1);
    let address = dead.local_addr().expect("an address");
    drop(dead);
    let died = Instant::now();
    eventually("web2 is down", || kernel.states() == [Up, Down]).await;
    let took = died.elapsed();
    // The kernel must know within `promised` that the backend is down. The test allows one interval
    // of health checks more, because it shares its machine with others.
    let promised = INTERVAL * FALL + Duration::from_millis(100);
    assert!(took < promised + INTERVAL, "{took:?}");
    let _back = TcpListener::bind(address).expect("the port is still free");
    eventually("web2 is up again", || kernel.states() == [Up, Up]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_takes_effect_at_once_and_outlives_the_agent() {
    let host = Host::new(&Checked::No);
    let running = host.run();
    let said = order(&host, "web2", AdminState::Drain).await;
    assert_eq!(said, Ok("backend web/web2 is now draining".to_owned()));
    assert_eq!(host.kernel.states(), [Up, Draining]);
    running.kill().await;
    let running = host.run();
    assert_eq!(host.kernel.states(), [Up, Draining], "the next agent knows");
    let status = running.shared.status();
    assert_eq!(status.pools[0].backends[1].state, State::Draining);
    order(&host, "web/web2", AdminState::Ready)
        .await
        .expect("reached");
    assert_eq!(host.kernel.states(), [Up, Up]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_puts_the_new_configuration_in_force_and_keeps_orders() {
    let host = Host::new(&Checked::No);
    let _running = host.run();
    order(&host, "web1", AdminState::Down)
        .await
        .expect("reached");
    host.write(&host.text(&Checked::No).replace("\"first\"", "\"second\""));
    let said = give(&host.socket(), Request::Reload)
        .await
        .expect("reloaded");
    assert!(
        said.contains("is in force: 1 service, 1 pool, 2 backends"),
        "{said}"
    );
    assert_eq!(host.kernel.services(), ["second"]);
    assert_eq!(host.kernel.states(), [Down, Up]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_reloads() {
    let host = Host::new(&Checked::No);
    let _running = host.run();
    host.write(&host.text(&Checked::No).replace("\"first\"", "\"second\""));
    // The agents of other tests in this process receive the signal, too, and reload an unchanged
    // file.
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).expect("raised");
    eventually("the new configuration is in force", || {
        host.kernel.services() == ["second"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_is_refused_leaves_everything_as_it_was() {
    let host = Host::new(&Checked::No);
    let running = host.run();
    let good = host.text(&Checked::No);
    for (bad, sentence) in [
        (good.replace("balance", "blance") + "colour = 1\n", "error"),
        (good.replace("\"lb-a\"", "\"lb-b\""), "`node.name` changed"),
        (
            good.replace("\"lo\"", "\"nowhere0\""),
            "no network interface",
        ),
    ] {
        host.write(&bad);
        let said = give(&host.socket(), Request::Reload)
            .await
            .expect_err("refused");
        assert!(said.contains(sentence), "{said}");
        assert!(
            said.ends_with("The old configuration stays in force."),
            "{said}"
        );
    }
    host.kernel.refuse(true);
    host.write(&good.replace("\"first\"", "\"second\""));
    let said = give(&host.socket(), Request::Reload)
        .await
        .expect_err("refused");
    assert!(said.contains("no room in the map"), "{said}");
    assert_eq!(host.kernel.services(), ["first"]);
    assert_eq!(running.shared.status().services[0].name, "first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_with_a_backend_that_packets_do_not_reach_is_refused_with_its_line() {
    let host = Host::new(&Checked::No);
    let running = host.run();
    let good = host.text(&Checked::No);
    let address = host.backends[1].local_addr().expect("bound");
    host.kernel.lose(address);
    host.write(&good.replace("\"first\"", "\"second\""));
    let said = give(&host.socket(), Request::Reload)
        .await
        .expect_err("refused");
    let line = good
        .lines()
        .position(|line| line.contains(&address.to_string()))
        .expect("the backend's line");
    for words in [
        "error: backend web2: there is no route to it",
        &format!("lb.toml:{}:", line + 1),
        "help: add a route",
        "The old configuration stays in force.",
    ] {
        assert!(said.contains(words), "{words} is missing: {said}");
    }
    assert_eq!(running.shared.status().services[0].name, "first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_backend_states_are_retried_and_reported_as_a_problem() {
    let host = Host::new(&Checked::No);
    let running = host.run();
    host.kernel.refuse(true);
    order(&host, "web2", AdminState::Down)
        .await
        .expect("reached");
    assert_eq!(host.kernel.states(), [Up, Up], "it refused");
    let problems = running.shared.status().problems;
    assert!(
        problems.iter().any(|one| one.contains("pool web")),
        "{problems:?}"
    );
    host.kernel.refuse(false);
    eventually("the write is retried", || {
        host.kernel.states() == [Up, Down]
    })
    .await;
    eventually("no problem left", || {
        running.shared.status().problems.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_agent_never_opens_the_kernel() {
    let host = Host::new(&Checked::No);
    let _running = host.run();
    let second = Host {
        kernel: RecordingKernel::default(),
        ..Host::new(&Checked::No)
    };
    second.write(&host.text(&Checked::No));
    let error = second.agent().err().expect("refused");
    assert!(matches!(error, Error::Socket(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("another agent is already running"),
        "{error}"
    );
    assert!(!second.kernel.0.was_opened.load(SeqCst));
    order(&host, "web1", AdminState::Drain)
        .await
        .expect("the first still answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_leaves_nothing_behind() {
    let host = Host::new(&Checked::No);
    let taken = TcpListener::bind(host.admin).expect("bound");
    let error = host.agent().err().expect("refused");
    assert!(
        error.to_string().contains("is another agent running?"),
        "{error}"
    );
    assert!(!host.kernel.0.was_opened.load(SeqCst));
    assert!(!host.socket().exists());
    drop(taken);
    host.kernel.refuse(true);
    let error = host.agent().err().expect("refused");
    assert!(matches!(error, Error::Dataplane(_)), "{error}");
    assert!(host.kernel.0.was_taken_back.load(SeqCst));
    assert!(!host.socket().exists());
    TcpListener::bind(host.admin).expect("free again");
    host.kernel.refuse(false);
    host.agent().expect("now it starts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_file_that_changes_is_served_without_a_reload() {
    let host = Host::new(&Checked::No);
    let file = host.directory.path().join("a.pem");
    // The certificate file is replaced in one step, as certbot's hooks and configuration management
    // do it.
    let install = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let next = host.directory.path().join("next");
        let pem = made.cert.pem() + &made.signing_key.serialize_pem();
        std::fs::write(&next, pem).expect("written");
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        std::fs::rename(&next, &file).expect("renamed");
    };
    install("one.example");
    let https = format!("mode = \"https\"\ncertificates = [\"{}\"]", file.display());
    host.write(&host.text(&Checked::No).replace("mode = \"http\"", &https));
    let running = host.run();
    let status = || running.shared.status();
    let names = || status().certificates[0].names.clone();
    assert_eq!(names(), ["one.example"]);
    install("two.example");
    eventually("the new certificate is in use", || {
        names() == ["two.example"]
    })
    .await;
    std::fs::write(&file, "half a certificate").expect("written");
    eventually("the bad file is a problem", || {
        let problems = status().problems;
        problems.iter().any(|one| one.contains("a.pem"))
    })
    .await;
    assert_eq!(names(), ["two.example"]);
    install("three.example");
    eventually("no problem is left", || status().problems.is_empty()).await;
    assert_eq!(names(), ["three.example"]);
}
