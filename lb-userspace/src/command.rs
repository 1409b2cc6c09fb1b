//! Runs commands that the operator configures, and captures the end of their output.

use std::{
    io,
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    process::{Child, Command},
};

/// The `PATH` that commands get, as in a login shell of root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A running command, in its own process group. When this is dropped, all processes of the group
/// are killed, unless [`Self::leave`] was called.
pub(crate) struct Running {
    child: Child,
    group: Group,
    output: Option<pipe::Receiver>,
    tail: Tail,
}

/// The result of a command that has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ended {
    /// Whether the command exited with status 0, which means success.
    pub(crate) success: bool,
    /// The exit status or signal with which the command ended, and the last line of its output, for
    /// display.
    pub(crate) message: String,
}

impl Running {
    /// Starts the program `words[0]` with the other words as its arguments, without a shell. Its
    /// standard input is /dev/null, its working directory is `/`, and its environment contains only
    /// `PATH`.
    ///
    /// # Errors
    /// The program cannot be started; the error is a sentence.
    pub(crate) fn start(words: &[String]) -> Result<Self, String> {
        Self::start_with(words, &[])
    }

    /// Starts a program as [`Self::start`] does, with additional environment variables.
    ///
    /// # Errors
    /// The program cannot be started; the error is a sentence.
    pub(crate) fn start_with(
        words: &[String],
        environment: &[(&str, String)],
    ) -> Result<Self, String> {
        let Some((program, arguments)) = words.split_first() else {
            return Err("the command is empty".to_owned());
        };
        Self::spawn(program, arguments, environment)
            .map_err(|error| format!("cannot start {program}: {error}"))
    }

    fn spawn(
        program: &str,
        arguments: &[String],
        environment: &[(&str, String)],
    ) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let child = command.spawn()?;
        // Closes this process's copies of the pipe's write end, so that reading ends when the
        // program closes its own.
        drop(command);
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Self {
            child,
            group: Group(id.map(Pid::from_raw)),
            output: Some(pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?),
            tail: Tail::default(),
        })
    }

    /// Waits until the program has exited, but not until processes that it started have, and
    /// returns the result. Cancel safe.
    pub(crate) async fn end(&mut self) -> Ended {
        let status = loop {
            let Some(output) = &mut self.output else {
                break self.child.wait().await;
            };
            let mut chunk = [0; 4096];
            tokio::select! {
                biased;
                status = self.child.wait() => break status,
                read = output.read(&mut chunk) => match read {
                    Ok(0) | Err(_) => self.output = None,
                    Ok(length) => self.tail.take(chunk.get(..length).unwrap_or_default()),
                },
            }
        };
        self.read_rest();
        self.ended(status)
    }

    /// Kills the program and every other process of its group.
    pub(crate) fn kill(&mut self) {
        self.group.kill();
    }

    /// Lets the processes of the group continue, instead of killing them when this is dropped.
    pub(crate) fn leave(mut self) {
        self.group.0 = None;
    }

    /// Returns the last line, which is not empty, of the output that was read so far; `None` if
    /// there is no such line.
    pub(crate) fn last_line(&self) -> Option<String> {
        self.tail.last_line()
    }

    /// Reads what is left in the pipe after the program has exited, at most 256 KiB. Does not wait
    /// for other processes that still have the pipe open.
    fn read_rest(&mut self) {
        const MOST: usize = 64;
        let Some(output) = self.output.take() else {
            return;
        };
        let mut chunk = [0; 4096];
        for _ in 0..MOST {
            match output.try_read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(length) => self.tail.take(chunk.get(..length).unwrap_or_default()),
            }
        }
    }

    fn ended(&self, status: io::Result<ExitStatus>) -> Ended {
        let (success, mut message) = match status {
            Ok(status) => (status.success(), status.to_string()),
            Err(error) => (false, format!("its exit status is unknown: {error}")),
        };
        if let Some(line) = self.last_line() {
            message = format!("{message}: {line}");
        }
        Ended { success, message }
    }
}

/// A process group that is killed when this is dropped. `None` if it was killed already, or is to
/// continue.
struct Group(Option<Pid>);

impl Group {
    /// Kills all processes of the group. The group's ID cannot denote another group by now: an ID
    /// is in use as long as the group has a member, and the kernel reuses a free ID only after it
    /// has gone through all others.
    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // An error means that no process of the group is left, which is the aim.
            let _gone = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keeps the last line of a command's output.
#[derive(Debug, Default)]
struct Tail {
    /// The last complete line of the output that is not blank.
    whole: Vec<u8>,
    /// The incomplete line that follows `whole` in the output.
    begun: Vec<u8>,
}

/// Maximum number of bytes that are kept of a line of output; the rest of the line is dropped.
const LONGEST: usize = 200;

impl Tail {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                if self.begun.len() < LONGEST {
                    self.begun.push(*byte);
                }
            } else if self.begun.iter().any(|byte| !byte.is_ascii_whitespace()) {
                self.whole = std::mem::take(&mut self.begun);
            } else {
                self.begun.clear();
            }
        }
    }

    /// Returns the last line of the output for display. Control characters are replaced, so that a
    /// command cannot send escape sequences to an operator's terminal.
    fn last_line(&self) -> Option<String> {
        [&self.begun, &self.whole].into_iter().find_map(|line| {
            let line = String::from_utf8_lossy(line);
            let line: String = line.trim().chars().map(printable).collect();
            (!line.is_empty()).then_some(line)
        })
    }
}

fn printable(character: char) -> char {
    if character.is_control() {
        char::REPLACEMENT_CHARACTER
    } else {
        character
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_line(pieces: &[&[u8]]) -> Option<String> {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.take(piece);
        }
        tail.last_line()
    }

    #[test]
    fn the_last_line_that_says_something_is_kept() {
        assert_eq!(last_line(&[]), None);
        assert_eq!(last_line(&[b"\n  \n"]), None);
        assert_eq!(
            last_line(&[b"one\ntw", b"o\n\n \n"]).as_deref(),
            Some("two")
        );
        assert_eq!(last_line(&[b"one\ntwo"]).as_deref(), Some("two"));
    }

    #[test]
    fn a_line_without_end_and_one_for_a_terminal_do_no_harm() {
        let flood = vec![b'x'; 1 << 20];
        assert_eq!(last_line(&[&flood]).map(|line| line.len()), Some(LONGEST));
        let line = last_line(&[b"\x1b[2Jgone \xff\n"]);
        assert_eq!(line.as_deref(), Some("\u{fffd}[2Jgone \u{fffd}"));
    }
}
