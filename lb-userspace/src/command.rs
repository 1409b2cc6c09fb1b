//! Commands of the operator's: started, listened to, ended.

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

/// Where commands find others: as a login of root has it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that runs, in a process group of its own. When this is dropped, the group is killed
/// unless the command has ended by itself.
pub(crate) struct Running {
    child: Child,
    group: Group,
    output: Option<pipe::Receiver>,
    tail: Tail,
}

/// How a command ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ended {
    /// Whether it said that all is well.
    pub(crate) success: bool,
    /// Its exit code or signal, in words, and the last line that it wrote.
    pub(crate) message: String,
}

impl Running {
    /// Starts a program with its arguments: without a shell, without input, its environment empty
    /// but for `PATH`.
    ///
    /// # Errors
    /// The program cannot be started, as a sentence.
    pub(crate) fn start(words: &[String]) -> Result<Self, String> {
        Self::start_with(words, &[])
    }

    /// The same with more variables in its environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_with(
        words: &[String],
        environment: &[(&str, String)],
    ) -> Result<Self, String> {
        let Some((program, arguments)) = words.split_first() else {
            return Err("there is no command to start".to_owned());
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
        // The last copies of the writing end but those of the program.
        drop(command);
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Self {
            child,
            group: Group(id.map(Pid::from_raw)),
            output: Some(pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?),
            tail: Tail::default(),
        })
    }

    /// Waits until the program has ended, whatever it started goes on. Can be called again after
    /// it was cancelled.
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

    /// Kills the program and all that it started and that stayed in its group.
    pub(crate) fn kill(&mut self) {
        self.group.kill();
    }

    /// Leaves what the program started to itself.
    pub(crate) fn leave(mut self) {
        self.group.0 = None;
    }

    /// The last line that it wrote, as far as that was read.
    pub(crate) fn last_line(&self) -> Option<String> {
        self.tail.last_line()
    }

    /// What the program had written when it ended. Others may still hold the pipe: nobody waits
    /// for them.
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
            Err(error) => (false, format!("its end is not known: {error}")),
        };
        if let Some(line) = self.last_line() {
            message = format!("{message}: {line}");
        }
        Ended { success, message }
    }
}

/// A process group; `None`: it is left to itself.
struct Group(Option<Pid>);

impl Group {
    /// Its number cannot belong to another group meanwhile: a number stays taken while any member
    /// is left, and where none is, the kernel goes round all numbers before it gives one again.
    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // A group without members is what was wanted.
            let _gone = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of what a command writes.
#[derive(Debug, Default)]
struct Tail {
    /// The last whole line that is not empty.
    whole: Vec<u8>,
    /// What came after it.
    begun: Vec<u8>,
}

/// The most bytes of a line that are kept: its beginning.
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

    /// Fit to be shown: whatever a command writes, a terminal does not obey it.
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
