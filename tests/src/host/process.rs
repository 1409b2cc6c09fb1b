//! Processes on a host of the end-to-end tests: in its namespaces.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::{Host, only_child_of};
use crate::{cpu, wait};

/// A process that runs on a host. Dropping this value kills the process.
#[derive(Debug)]
pub struct Process {
    name: String,
    /// The program `nsenter`, which waits for the process and exits with the same status.
    entry: Child,
    /// The process's ID in the outer PID namespace; `None` if it had exited before its ID was
    /// looked up.
    pid: Option<Pid>,
    log: PathBuf,
    /// The host of the process, which stays alive for as long as this value exists.
    host: Host,
}

impl Process {
    pub(crate) fn start(host: &Host, name: &str, mut command: Command) -> Result<Self> {
        let log = host.path(&format!("/run/log/{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("could not open the log of {name}"))?;
        let mut entry = command
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output))
            .spawn()
            .with_context(|| format!("could not start {name} on {}", host.name()))?;
        let pid = entered(&mut entry)?;
        Ok(Self {
            name: name.to_owned(),
            entry,
            pid,
            log,
            host: host.clone(),
        })
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// The process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.signal_process(signal)?;
        if signal != Signal::SIGSTOP {
            self.wake_entry();
        }
        Ok(())
    }

    /// Sends a signal to the process, to those of its children that are in the same process group,
    /// and to `nsenter`, which is in it too.
    ///
    /// # Errors
    /// All of them have ended.
    pub(crate) fn signal_group(&self, signal: Signal) -> Result<()> {
        // `Host::command` makes `nsenter` the leader of a process group.
        let group = Pid::from_raw(i32::try_from(self.entry.id())?);
        signal::killpg(group, signal).with_context(|| {
            format!(
                "could not send {signal} to {} and its children on {}",
                self.name,
                self.host.name()
            )
        })
    }

    /// Continues `nsenter`, which stops itself when its child is stopped, and then would not notice
    /// the child's end. When continued, it continues the child too.
    fn wake_entry(&self) {
        if let Ok(entry) = i32::try_from(self.entry.id()) {
            // An error means that `nsenter` has exited, so there is nothing to continue.
            let _ = signal::kill(Pid::from_raw(entry), Signal::SIGCONT);
        }
    }

    fn signal_process(&self, signal: Signal) -> Result<()> {
        let pid = self
            .pid
            .with_context(|| format!("{} ended as soon as it started", self.name))?;
        signal::kill(pid, signal).with_context(|| {
            format!(
                "could not send {signal} to {} on {}",
                self.name,
                self.host.name()
            )
        })
    }

    /// Returns the process's ID in the outer PID namespace; `None` if it exited before its ID was
    /// looked up.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Returns the CPU time of all threads of the process: user and system time, without
    /// interrupts.
    ///
    /// # Errors
    /// The process has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        let pid =
            (self.pid).with_context(|| format!("{} ended as soon as it started", self.name))?;
        cpu::of_process(pid).with_context(|| {
            let host = self.host.name();
            format!("could not read the CPU time of {} on {host}", self.name)
        })
    }

    /// Kills the process and waits until it has exited.
    ///
    /// # Errors
    /// The process has ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.entry.wait()?;
        Ok(())
    }

    /// Waits until the process has exited, and returns its status.
    ///
    /// # Errors
    /// The process has not ended within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until(&what, limit, || Ok(self.entry.try_wait()?))
    }

    /// Whether the process is running.
    ///
    /// # Errors
    /// The kernel does not report the state of the process.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.entry.try_wait()?.is_none())
    }

    /// Returns the output of this process, and of earlier processes of the same name on the host.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Returns the process id of the process that `nsenter` started; `None` if it has already exited.
fn entered(entry: &mut Child) -> Result<Option<Pid>> {
    wait::until("nsenter's child", Duration::from_secs(5), || {
        if entry.try_wait()?.is_some() {
            return Ok(Some(None));
        }
        Ok(only_child_of(entry.id())?.map(|pid| Some(Pid::from_raw(pid))))
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        if let (Some(pid), Ok(None)) = (self.pid, self.entry.try_wait()) {
            // An error means that the process has exited, so there is nothing to kill.
            let _ = signal::kill(pid, Signal::SIGKILL);
            self.wake_entry();
        }
        drop(self.entry.wait());
    }
}
