//! A host of the lab: a network, mount, PID and UTS namespace that exists as long as its holder
//! process. The lab is the set of hosts that an end-to-end test makes.
//!
//! A host has no name that is visible outside of it: no named namespace, file or interface. When
//! the process that created it ends, the kernel ends the holder, every process of the host, and the
//! namespaces. So nothing needs cleaning up after a crash, and several labs can run at the same
//! time.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{self, Signal},
    unistd::{Pid, geteuid},
};

pub mod cable;
pub mod process;

use self::{cable::End, process::Process};
use crate::{spawner, wait};

/// Script of a host's process 1: it sets up the host, prints `ready`, and stays until its standard
/// input ends. The shell stays, rather than being replaced by `cat`, because it reaps orphaned
/// processes.
const HOLD: &str = r#"
set -e
hostname "$1"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
mkdir /run/log
echo ready
exec 3<&0
cat <&3 >/dev/null &
wait $!
"#;

/// Name in the command line of every host's holder process, followed by the host's name as the last
/// argument.
pub const HOLDER: &str = "lb-lab-host";

/// Time-out for creating a host: long, because the machine may run a build at the same time.
const RAISING: Duration = Duration::from_secs(10);

/// A host of the lab, the test network. Clones refer to the same host, which ends when the last of
/// them is dropped.
#[derive(Clone, Debug)]
pub struct Host(Arc<Holder>);

#[derive(Debug)]
struct Holder {
    name: String,
    /// Process ID of the host's process 1, in the outer PID namespace.
    pid: i32,
    child: Child,
    /// Standard input of the host's holder: the host ends when it is closed.
    _stdin: ChildStdin,
    /// The far ends of the host's cables, which are interfaces of other hosts.
    far_ends: Mutex<Vec<FarEnd>>,
}

/// The far end of a cable of a host. It does not keep the other host alive.
#[derive(Debug)]
struct FarEnd {
    host: Weak<Holder>,
    interface: String,
}

impl Host {
    /// Creates a host with a loopback interface, `/run` and a BPF file system.
    ///
    /// # Errors
    /// When this process is not root, or the kernel refuses a namespace or a mount.
    pub fn raise(name: &str) -> Result<Self> {
        ensure!(
            geteuid().is_root(),
            "the lab makes network namespaces and loads XDP programs, which takes root: run it with sudo"
        );
        let mut child = spawner::spawn(holder(name))
            .context("could not start `setpriv` and `unshare` (package util-linux)")?;
        let stdin = child.stdin.take().context("the holder has no stdin")?;
        if let Err(error) = wait_until_ready(&mut child) {
            // The holder may still be running, although the host is not usable.
            drop(child.kill());
            drop(child.wait());
            return Err(error.context(format!("could not raise the host {name}")));
        }
        let pid = only_child_of(child.id())?.context("the holder of the host has ended")?;
        Ok(Self(Arc::new(Holder {
            name: name.to_owned(),
            pid,
            child,
            _stdin: stdin,
            far_ends: Mutex::default(),
        })))
    }

    /// Returns the host's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the process ID of the host's process 1 in the outer PID namespace: `nsenter -t PID
    /// -a` enters the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Returns the path by which the file `inside` of this host can be reached from outside the
    /// host.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.pid().to_string())
            .join("root")
            .join(inside.trim_start_matches('/'))
    }

    /// Returns a command that will run in this host, in a separate process group, so Ctrl-C on the
    /// terminal interrupts only the process that made the test network, and not each process in the
    /// network.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.pid().to_string(), "-a", "--"])
            .arg(program)
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// Runs a command until it exits, and returns its standard output.
    ///
    /// # Errors
    /// When the command cannot be started or its exit status is not 0; the error contains its
    /// output.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let output = self.command(program).args(args).output()?;
        let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "on {}, `{program} {}` ended with {}: {}{}",
                self.name(),
                args.join(" "),
                output.status,
                said(&output),
                String::from_utf8_lossy(&output.stderr),
            );
        }
        Ok(said(&output))
    }

    /// Runs a shell script, which stops at the first command that fails.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn script(&self, script: &str) -> Result<String> {
        self.run("sh", &["-ec", script])
    }

    /// Starts a command that keeps running, with its output in `/run/log/NAME.log` of the host.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn spawn(&self, name: &str, program: &str, args: &[&str]) -> Result<Process> {
        let mut command = self.command(program);
        command.args(args);
        Process::start(self, name, command)
    }

    /// Runs `work` on a thread of this process whose sockets are in this host's network. The thread
    /// does not keep the host alive.
    pub fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let network = File::open(format!("/proc/{}/ns/net", self.pid()));
        let name = self.name().to_owned();
        thread::spawn(move || {
            network
                .and_then(|network| Ok(setns(network, CloneFlags::CLONE_NEWNET)?))
                .with_context(|| format!("could not enter the network of {name}"))?;
            work()
        })
    }

    /// Cuts all cables of this host at their far ends: packets are lost in both directions; the
    /// host loses its carrier and keeps its addresses and routes.
    ///
    /// # Errors
    /// The kernel refuses to change an interface.
    pub fn cut(&self) -> Result<()> {
        self.set_far_ends("down")
    }

    /// Restores the cables that [`Host::cut`] cut.
    ///
    /// # Errors
    /// The kernel refuses to change an interface.
    pub fn restore(&self) -> Result<()> {
        self.set_far_ends("up")
    }

    /// Ends the host like a power failure: first its cables, so no packet leaves, then all its
    /// processes. It cannot be restarted.
    ///
    /// # Errors
    /// The kernel refuses to change an interface.
    pub fn destroy(&self) -> Result<()> {
        self.cut()?;
        signal::kill(Pid::from_raw(self.pid()), Signal::SIGKILL)
            .with_context(|| format!("could not kill the host {}", self.name()))
    }

    /// Records the far end of one of this host's cables.
    pub(crate) fn plugged_into(&self, far: End<'_>) {
        self.with_far_ends(|far_ends| {
            far_ends.push(FarEnd {
                host: Arc::downgrade(&far.host.0),
                interface: far.interface.to_owned(),
            });
        });
    }

    fn set_far_ends(&self, state: &str) -> Result<()> {
        let far_ends: Vec<_> = self.with_far_ends(|far_ends| {
            let living = |end: &FarEnd| Some((Self(end.host.upgrade()?), end.interface.clone()));
            far_ends.iter().filter_map(living).collect()
        });
        far_ends.iter().try_for_each(|(host, interface)| {
            let setting = ["link", "set", interface.as_str(), state];
            host.run("ip", &setting).map(drop)
        })
    }

    fn with_far_ends<T>(&self, look: impl FnOnce(&mut Vec<FarEnd>) -> T) -> T {
        let mut far_ends = (self.0.far_ends.lock()).unwrap_or_else(PoisonError::into_inner);
        look(&mut far_ends)
    }

    /// Writes a file that only root can read, and the folders above it.
    ///
    /// # Errors
    /// When the host's file system refuses.
    pub fn write(&self, inside: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(inside);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // The file is created again, so it gets this mode and not that of an earlier file.
        drop(fs::remove_file(&path));
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content.as_ref()))
            .with_context(|| format!("could not write {inside} on {}", self.name()))
    }

    /// Reads a file of the host.
    ///
    /// # Errors
    /// When the file does not exist.
    pub fn read(&self, inside: &str) -> Result<String> {
        fs::read_to_string(self.path(inside))
            .with_context(|| format!("could not read {inside} on {}", self.name()))
    }

    /// Waits until a connection to `address` from this host succeeds.
    ///
    /// # Errors
    /// When no connection succeeds within `limit`.
    pub fn wait_for_port(&self, address: SocketAddr, limit: Duration) -> Result<()> {
        let attempt = self.inside(move || {
            wait::until_true(&format!("a listener at {address}"), limit, || {
                Ok(TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok())
            })
        });
        joined(attempt)
    }
}

/// Waits for a thread of this process to end, and returns its result.
///
/// # Errors
/// The thread's error, or that it panicked.
pub fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread
        .join()
        .unwrap_or_else(|_| bail!("a thread of the lab panicked"))
}

/// Returns the process ID of a process's only child; `None` if it has no child yet.
pub(crate) fn only_child_of(pid: u32) -> Result<Option<i32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(children
        .split_whitespace()
        .next()
        .map(str::parse)
        .transpose()?)
}

impl Drop for Holder {
    fn drop(&mut self) {
        // With `unshare --kill-child`, process 1 of the host is killed too, and with it the rest of
        // the host.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn holder(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(["--net", "--mount", "--uts", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "--"])
        .args(["sh", "-c", HOLD, HOLDER, name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

fn wait_until_ready(child: &mut Child) -> Result<()> {
    let stdout = child.stdout.take().context("the holder has no stdout")?;
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        // If the time-out has passed, no thread waits for the line that the holder printed any
        // more.
        drop(sender.send(read.map(|_| line)));
    });
    let line = receiver
        .recv_timeout(RAISING)
        .with_context(|| format!("it was not ready within {RAISING:?}"))??;
    if line.trim() != "ready" {
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        bail!("its set-up failed: {}", said.trim());
    }
    Ok(())
}
