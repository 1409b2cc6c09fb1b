//! The front under test in a separate process, so the memory of that process is the front's alone.

use std::{
    env,
    io::{BufRead as _, BufReader, Lines, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use lb::config::Http;

use crate::site::Site;

/// Environment variable that passes the addresses of the backends to [`front_process`].
const BACKENDS: &str = "LB_MUTATED_BACKENDS";
/// Prefix that marks the lines that the front prints, in the output of the test harness.
const MARK: &str = "front:";
/// Limit of connections per client with which the front starts: higher than the number of
/// connections in the test, so all are counted and none is refused.
const PER_CLIENT: usize = 100_000;
/// Time limit within which the front must end: longer than an idle front needs.
const GRACE: Duration = Duration::from_secs(10);

/// Sets short time-outs in the front's limits, so that clients and backends exceed each of them.
fn limits(limits: &mut Http) {
    let short = Duration::from_secs(1);
    limits.timeouts.head = short;
    limits.timeouts.body = short;
    limits.timeouts.send = short;
    limits.timeouts.handshake = short;
    limits.timeouts.response_head = short;
    limits.timeouts.response_body = short;
    limits.timeouts.half_closed = short;
    limits.timeouts.keep_alive = Duration::from_secs(5);
    limits.max_connections_per_client = PER_CLIENT;
}

/// The separate process, which [`Front`] starts. It serves plain HTTP and HTTPS until its standard
/// input ends. A line with a number in that input sets the limit of connections per client. After
/// each line, the process prints the front's counters.
#[test]
#[ignore = "a process that the test of mutated connections starts"]
fn front_process() {
    let Ok(backends) = env::var(BACKENDS) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::ERROR)
        .init();
    let backends = backends.split(' ').map(|one| one.parse().expect("IP:PORT"));
    let backends: Vec<SocketAddr> = backends.collect();
    let mut sites = [
        Site::plain(&backends, limits),
        Site::with_limits(&backends, limits),
    ];
    println!("\n{MARK}{} {}", sites[0].address, sites[1].address);
    for line in std::io::stdin().lines() {
        let per_client = line.expect("a line").parse();
        let mut gauges = Gauges::default();
        for site in &mut sites {
            if let Ok(per_client) = per_client {
                site.limits.max_connections_per_client = per_client;
                site.apply(site.service.clone()).expect("applied");
            }
            gauges.add(site);
        }
        println!("{MARK}{}", gauges.to_line());
    }
    let began = Instant::now();
    for site in sites {
        site.shutdown(GRACE);
    }
    println!("{MARK}{}", began.elapsed().as_millis());
}

/// The gauges and counters of the front under test: what is still open, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// Number of open client connections.
    pub(super) open: u64,
    /// Number of connections to backends with a request in flight.
    pub(super) in_use: u64,
    /// Number of bytes that are buffered for clients.
    pub(super) buffered: u64,
    /// Number of panics in the front so far.
    pub(super) panics: u64,
    /// Numbers of requests so far: those answered, those refused, and those aborted.
    pub(super) requests: [u64; 3],
}

impl Gauges {
    fn add(&mut self, site: &Site) {
        let counters = site.proxy().counters();
        self.open += site.proxy().open_connections();
        let in_use = counters.backend_connections.iter();
        self.in_use += in_use.map(|backend| backend.in_use).sum::<u64>();
        self.buffered += counters.buffered_bytes;
        let panics = counters.panics.iter().map(|(_, panics)| panics);
        self.panics += panics.sum::<u64>();
        let answered = counters.requests.iter().map(|count| count.count);
        let refused = counters.refusals.iter().map(|count| count.count);
        let broken = counters.broken.iter().map(|count| count.count);
        self.requests[0] += answered.sum::<u64>();
        self.requests[1] += refused.sum::<u64>();
        self.requests[2] += broken.sum::<u64>();
    }
}

impl Gauges {
    /// Returns whether no connection is open or in use, and nothing is buffered.
    pub(super) fn are_zero(&self) -> bool {
        (self.open, self.in_use, self.buffered) == (0, 0, 0)
    }

    fn to_line(&self) -> String {
        let [answered, refused, broken] = self.requests;
        format!(
            "{} {} {} {} {answered} {refused} {broken}",
            self.open, self.in_use, self.buffered, self.panics
        )
    }

    fn from_line(line: &str) -> Self {
        let numbers = line
            .split(' ')
            .map(|number| number.parse().expect("a number"));
        let numbers: Vec<u64> = numbers.collect();
        Self {
            open: numbers[0],
            in_use: numbers[1],
            buffered: numbers[2],
            panics: numbers[3],
            requests: [numbers[4], numbers[5], numbers[6]],
        }
    }
}

/// A running process of [`front_process`].
pub(super) struct Front {
    process: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
}

impl Front {
    pub(super) fn start(backends: &[SocketAddr]) -> Self {
        let backends: Vec<_> = backends.iter().map(ToString::to_string).collect();
        let mut process = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "mutated::front::front_process"])
            .args(["--ignored", "--nocapture"])
            .env(BACKENDS, backends.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let input = process.stdin.take();
        let output = process.stdout.take().expect("a pipe");
        let mut output = BufReader::new(output).lines();
        let addresses = next(&mut output);
        let (plain, tls) = addresses.split_once(' ').expect("two addresses");
        Self {
            process,
            input,
            plain: plain.parse().expect("an address"),
            tls: tls.parse().expect("an address"),
            output,
        }
    }

    pub(super) fn gauges(&mut self) -> Gauges {
        self.tell("")
    }

    /// Sets the front's limit of connections per client.
    pub(super) fn limit(&mut self, per_client: usize) {
        self.tell(&per_client.to_string());
    }

    fn tell(&mut self, line: &str) -> Gauges {
        let input = self.input.as_mut().expect("open");
        writeln!(input, "{line}").expect("the front runs");
        Gauges::from_line(&next(&mut self.output))
    }

    /// Returns the size in bytes of the front's anonymous memory (proc(5), `RssAnon`).
    pub(super) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("the front runs");
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: u64 = number.expect("RssAnon").parse().expect("KiB");
        kib * 1024
    }

    /// Ends the front's process. Returns how long the process took to end.
    pub(super) fn end(mut self) -> Duration {
        drop(self.input.take());
        let took = next(&mut self.output).parse().expect("milliseconds");
        assert!(self.process.wait().expect("its end").success());
        Duration::from_millis(took)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ended = self.process.wait();
    }
}

/// Returns the next line that the front has printed, from the output of the test harness.
fn next(output: &mut Lines<BufReader<ChildStdout>>) -> String {
    loop {
        let line = output.next().expect("the front runs").expect("a line");
        if let Some(line) = line.strip_prefix(MARK) {
            return line.to_owned();
        }
    }
}
