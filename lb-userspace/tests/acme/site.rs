//! The agent and a real pebble in a network namespace, and what the tests do with them.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustls::{
    ClientConfig, ClientConnection, Stream,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

const DIRECTORY: &str = "https://127.0.0.1:14000/dir";

/// The processes and files of one test; the processes are killed when this value is dropped.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pebble: Option<Running>,
    agent: Option<Running>,
    _names: Running,
}

/// A process that is killed when this value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Errors are ignored, because the process may have exited by itself.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

impl Site {
    /// Moves this thread to a new network namespace and starts pebble there, which rejects nine
    /// nonces out of ten.
    pub(crate) fn raise() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this needs root: run it with sudo"
        );
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        let folder = tempfile::tempdir().expect("a folder");
        let site = Self {
            pebble: None,
            agent: None,
            _names: start(
                Command::new("pebble-challtestsrv").args([
                    "-http01",
                    "",
                    "-https01",
                    "",
                    "-tlsalpn01",
                    "",
                    "-dns01",
                    "127.0.0.1:8053",
                    "-management",
                    "127.0.0.1:8055",
                    "-defaultIPv6",
                    "",
                ]),
                &folder.path().join("names.log"),
            ),
            folder,
        };
        site.write_pebble_files();
        site
    }

    fn write_pebble_files(&self) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
        self.write("ca.pem", &made.cert.pem());
        self.write("pebble.key", &made.signing_key.serialize_pem());
        let path = |name| self.path(name).display().to_string();
        let config = format!(
            r#"{{"pebble": {{
                "listenAddress": "127.0.0.1:14000",
                "managementListenAddress": "127.0.0.1:15000",
                "certificate": "{}", "privateKey": "{}",
                "httpPort": 80, "tlsPort": 443,
                "ocspResponderURL": "", "externalAccountBindingRequired": false
            }}}}"#,
            path("ca.pem"),
            path("pebble.key"),
        );
        self.write("pebble.json", &config);
    }

    pub(crate) fn start_pebble(&mut self) {
        let mut command = Command::new("pebble");
        command
            .arg("-config")
            .arg(self.path("pebble.json"))
            .args(["-dnsserver", "127.0.0.1:8053"])
            .env("PEBBLE_WFE_NONCEREJECT", "90")
            .env("PEBBLE_VA_NOSLEEP", "1")
            // With this value, pebble validates the names of each order again, and reuses no
            // earlier validation.
            .env("PEBBLE_AUTHZREUSE", "0");
        self.pebble = Some(start(&mut command, &self.path("pebble.log")));
        let address: SocketAddr = ([127, 0, 0, 1], 14000).into();
        wait("pebble listens", || TcpStream::connect(address).is_ok());
    }

    pub(crate) fn stop_pebble(&mut self) {
        self.pebble = None;
    }

    /// Writes the agent's configuration: a service `web` with a certificate that the agent obtains.
    pub(crate) fn configure(&self, challenge: &str, domains: &str) {
        self.configure_with(challenge, domains, ("", ""));
    }

    /// Like [`Self::configure`], with additional lines in `[acme]` and in the service on port 80.
    pub(crate) fn configure_with(
        &self,
        challenge: &str,
        domains: &str,
        (acme, plain): (&str, &str),
    ) {
        let [socket, storage, ca] =
            ["lb.sock", "acme", "ca.pem"].map(|name| self.path(name).display().to_string());
        let pin = pin_path();
        let text = format!(
            r#"
            [node]
            name = "lb-a"
            interface = "lo"
            [admin]
            socket = "{socket}"
            [dataplane]
            pin_path = "{pin}"
            [acme]
            email = "admin@example.org"
            directory = "{DIRECTORY}"
            challenges = ["{challenge}"]
            storage = "{storage}"
            ca_file = "{ca}"
            {acme}
            [[pool]]
            name = "pool"
            backends = ["127.0.0.1:8081"]
            [[service]]
            name = "http"
            listen = "127.0.0.1:80"
            mode = "http"
            pool = "pool"
            {plain}
            [[service]]
            name = "web"
            listen = "127.0.0.1:443"
            mode = "https"
            pool = "pool"
            domains = [{domains}]
            "#
        );
        self.write("lb.toml", &text);
    }

    pub(crate) fn start_agent(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
        command.arg("run").arg("--config").arg(self.path("lb.toml"));
        self.agent = Some(start(&mut command, &self.path("lb.log")));
        wait_or("the agent answers", &|| self.log(), || {
            self.lb(&["status"]).is_ok()
        });
    }

    /// Stops the agent as a service manager does, with SIGTERM.
    pub(crate) fn stop_agent(&mut self) {
        let Some(mut agent) = self.agent.take() else {
            return;
        };
        let id = i32::try_from(agent.0.id()).expect("a process's number");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("signalled");
        let ended = agent.0.wait().expect("waited for");
        assert!(ended.success(), "{ended}: {}", self.log());
    }

    /// Runs a command of `lb`. Returns its standard output, or its error message.
    pub(crate) fn lb(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(arguments)
            .arg("--socket")
            .arg(self.path("lb.sock"))
            .output()
            .expect("lb runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match output.status.success() {
            true => Ok(text(output.stdout)),
            false => Err(text(output.stderr)),
        }
    }

    /// Returns the certificate that the agent serves to a client that names this server.
    pub(crate) fn shown(&self, name: &str) -> CertificateDer<'static> {
        shown(name).unwrap_or_else(|error| panic!("no handshake: {error}\n{}", self.log()))
    }

    /// Waits until the agent serves another certificate than `old`, and returns it.
    pub(crate) fn shown_another(
        &self,
        name: &str,
        old: &CertificateDer<'_>,
    ) -> CertificateDer<'static> {
        let mut found = None;
        wait_or("another certificate", &|| self.log(), || {
            found = shown(name).ok().filter(|new| new != old);
            found.is_some()
        });
        found.expect("found")
    }

    /// Asserts that the agent's metrics contain this line.
    #[track_caller]
    pub(crate) fn assert_metric(&self, line: &str) {
        let text = get("127.0.0.1:9145", "/metrics");
        let found = text.lines().any(|found| found == line);
        assert!(found, "{line} is missing:\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
        let pebble = read("pebble.log");
        let from = pebble.len().saturating_sub(4000);
        let tail = pebble.get(from..).unwrap_or_default();
        format!("{}\npebble: {tail}", read("lb.log"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.agent = None;
        // The XDP program is removed with the network namespace, but its pins remain.
        let _unloaded = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(["unload", "--pin-path", &pin_path()])
            .output();
    }
}

/// Returns a pin path that no other test uses: each test runs on its own thread, whose ID is in the
/// path.
fn pin_path() -> String {
    format!("/sys/fs/bpf/lb-acme-{}", nix::unistd::gettid())
}

fn start(command: &mut Command, log: &Path) -> Running {
    let log = fs::OpenOptions::new().create(true).append(true).open(log);
    let log = log.expect("a log");
    let other = log.try_clone().expect("the same file");
    let child = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(other)
        .spawn();
    Running(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// Returns the response to a GET request, head and body.
pub(crate) fn get(address: &str, target: &str) -> String {
    use std::io::{Read as _, Write as _};

    let mut stream = TcpStream::connect(address).expect("connected");
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        crate::NAME
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    text
}

fn run(command: &mut Command) {
    let status = command.status().expect("it runs");
    assert!(status.success(), "{command:?}: {status}");
}

fn wait(what: &str, holds: impl FnMut() -> bool) {
    wait_or(what, &String::new, holds);
}

fn wait_or(what: &str, log: &dyn Fn() -> String, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "waited in vain: {what}\n{}",
            log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn shown(name: &str) -> Result<CertificateDer<'static>, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut socket = TcpStream::connect("127.0.0.1:443").map_err(|error| error.to_string())?;
    let mut stream = Stream::new(&mut session, &mut socket);
    while stream.conn.is_handshaking() {
        let done = stream.conn.complete_io(&mut stream.sock);
        done.map_err(|error| error.to_string())?;
    }
    let chain = session.peer_certificates().unwrap_or_default();
    let first = chain.first().ok_or("no certificate")?;
    Ok(first.clone().into_owned())
}

/// A certificate verifier that accepts any certificate, because the test examines the certificate
/// itself.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
