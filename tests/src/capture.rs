//! Capturing packets with tcpdump, and reading them with tshark.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::{Host, Process, wait};

const STARTING: Duration = Duration::from_secs(10);

const ENDING: Duration = Duration::from_secs(5);

/// A running capture on a host.
#[derive(Debug)]
pub struct Capture {
    host: Host,
    tcpdump: Process,
    file: String,
}

impl Capture {
    /// Starts a capture with a filter of tcpdump, to a file of this name on the host.
    ///
    /// # Errors
    /// When tcpdump does not start.
    pub fn start(host: &Host, name: &str, interface: &str, filter: &str) -> Result<Self> {
        let file = format!("/run/{name}.pcap");
        host.script(&format!("rm -f {file} /run/log/{name}.log"))?;
        let arguments = [
            "-U",
            "--immediate-mode",
            "-i",
            interface,
            "-w",
            &file,
            filter,
        ];
        let tcpdump = host.spawn(name, "tcpdump", &arguments)?;
        wait::until_true("tcpdump listening", STARTING, || {
            Ok(tcpdump.log().contains("listening on"))
        })
        .with_context(|| tcpdump.log())?;
        let host = host.clone();
        Ok(Self {
            host,
            tcpdump,
            file,
        })
    }

    /// Returns the number of packets captured so far.
    ///
    /// # Errors
    /// When tshark cannot be started.
    pub fn count(&self) -> Result<usize> {
        // The last packet may be incomplete; tshark reports that, and prints the packets before it.
        let (output, _) = self.tshark("", &["frame.number"])?;
        Ok(output.lines().count())
    }

    /// Stops the capture and reads it with tshark.
    ///
    /// # Errors
    /// When tcpdump does not end.
    pub fn stop(mut self) -> Result<Captured> {
        self.tcpdump.signal(Signal::SIGINT)?;
        self.tcpdump.wait(ENDING)?;
        Ok(Captured(self))
    }

    fn tshark(&self, filter: &str, fields: &[&str]) -> Result<(String, bool)> {
        let mut arguments = vec!["-r", &self.file, "-T", "fields", "-E", "separator=|"];
        if !filter.is_empty() {
            arguments.extend(["-Y", filter]);
        }
        for field in fields {
            arguments.extend(["-e", field]);
        }
        let output = self.host.command("tshark").args(arguments).output()?;
        let rows = String::from_utf8(output.stdout).context("tshark printed no UTF-8")?;
        Ok((rows, output.status.success()))
    }
}

/// A capture that has been stopped, ready to be read.
#[derive(Debug)]
pub struct Captured(Capture);

impl Captured {
    /// Returns these fields of every packet that matches `filter`, a display filter of tshark: one
    /// line per packet, with `|` between its fields.
    ///
    /// # Errors
    /// When tshark cannot read the capture.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Result<Vec<String>> {
        let (rows, read) = self.0.tshark(filter, fields)?;
        ensure!(read, "tshark could not read {} to its end", self.0.file);
        Ok(rows.lines().map(ToOwned::to_owned).collect())
    }
}
