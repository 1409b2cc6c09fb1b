//! Output of the demo: aligned; colours and redrawn progress only on a terminal.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

/// Width in characters of the column in which results are labelled.
const LABEL: usize = 34;

/// Width of a full progress bar, in characters.
const BAR: usize = 30;

/// Where the demo prints: whether standard output is a terminal, and whether it gets colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    terminal: bool,
    colour: bool,
}

/// How a text is emphasised: by its colour or its weight.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    Bold,
    Dim,
    Good,
    Bad,
    Notice,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            terminal,
            colour: terminal && env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Returns a text in the colour of a tone if colours are enabled, otherwise unchanged.
    pub(crate) fn tinted(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Bold => 1,
            Tone::Dim => 2,
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Notice => 33,
        };
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Prints the headline of a step of the demo.
    pub(crate) fn headline(self, text: &str) {
        println!("\n{}", self.tinted(Tone::Bold, text));
    }

    /// Prints what a step of the demo did, with its result.
    pub(crate) fn done(self, what: &str, result: &str) {
        self.clear();
        let mark = self.tinted(Tone::Good, "ok");
        println!(
            "  {mark}  {}",
            format!("{what:LABEL$}  {result}").trim_end()
        );
    }

    /// Prints why a step of the demo failed.
    pub(crate) fn failed(self, why: &str) {
        self.clear();
        println!("  {}  {why}", self.tinted(Tone::Bad, "FAILED"));
    }

    /// Prints a line of text.
    pub(crate) fn line(self, text: &str) {
        self.clear();
        println!("{}", format!("      {text}").trim_end());
    }

    /// Prints the current activity, which the next line overwrites; only on a terminal.
    pub(crate) fn doing(self, what: &str) {
        if self.terminal {
            self.clear();
            print!("  ..  {what}");
            // Errors of writing to the terminal are ignored.
            drop(io::stdout().flush());
        }
    }

    /// Prints a progress bar, which the next line overwrites; only on a terminal.
    pub(crate) fn progress(self, what: &str, done: usize, all: usize) {
        let full = BAR * done.min(all) / all.max(1);
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR - full));
        self.doing(&format!(
            "{what:LABEL$}  [{bar}] {} of {}",
            grouped(done),
            grouped(all)
        ));
    }

    /// Prints a backend's share of all requests, as a bar and in percent.
    pub(crate) fn share(self, backend: &str, count: usize, all: usize) {
        let part = count as f64 / all.max(1) as f64;
        let bar = "#".repeat((part * BAR as f64).round() as usize);
        self.line(&format!(
            "{backend:6} {:>7} {:>6.1}%  {}",
            grouped(count),
            part * 100.0,
            self.tinted(Tone::Dim, &bar)
        ));
    }

    fn clear(self) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
    }
}

/// Formats a number with thousands separators: 12345 as `12,345`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a duration as a number of milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
