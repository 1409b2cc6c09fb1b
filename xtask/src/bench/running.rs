//! A server that runs during a measurement.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::child;

/// Time limit for a server to start accepting connections.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that is stopped when this value is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts a server, with its output in a file, and waits until it listens.
    ///
    /// # Errors
    /// The server exited, or did not listen in time; the error contains the end of its output.
    pub(crate) fn start(
        mut command: Command,
        room: &Path,
        address: (&str, u16),
    ) -> anyhow::Result<Self> {
        let log = room.join("output");
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("could not start `{}`", child::line(&command)))?;
        let mut running = Self { child };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let ended = running.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                bail!(
                    "`{}` does not listen on {}:{} ({}):\n{}",
                    child::line(&command),
                    address.0,
                    address.1,
                    ended.map_or_else(|| "it runs".to_owned(), |status| status.to_string()),
                    fs::read_to_string(&log).unwrap_or_default().trim()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// Returns the process ID of the server.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Workers that outlive the killed main process end with the process namespace of the
        // measurement.
        let killed = self.child.kill();
        let waited = self.child.wait();
        if let Err(error) = killed.and(waited) {
            eprintln!("process {} could not be ended: {error}", self.child.id());
        }
    }
}
