//! Findings about a configuration: a [`Diagnostic`] for each, and [`Errors`] for all errors of a
//! file.

use std::{
    error, fmt,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Whether a finding prevents the configuration from being used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used, but is probably not what its author intended.
    Warning,
}

/// One finding about a configuration file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// Whether the finding prevents the configuration from being used.
    pub severity: Severity,
    /// The configuration file, by the path that the caller gave.
    pub file: PathBuf,
    /// The place in the file; `None` if the finding is about the file as a whole.
    pub location: Option<Location>,
    /// What was found, as a sentence without a full stop.
    pub message: String,
    /// What to do about the finding; `None` if the message says all.
    pub hint: Option<String>,
}

/// A place in the configuration file, with the text of its line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Location {
    /// Number of the line, counted from 1.
    pub line: u32,
    /// Number of the character in the line, counted from 1.
    pub column: u32,
    /// The line without its line end, with control characters other than tab replaced. If the line
    /// is too long for a terminal, only the part around the place that the finding is about.
    pub snippet: String,
    /// Number of characters of `snippet` before the place that the finding is about, where the
    /// marker begins.
    pub marker: u32,
    /// Number of characters of `snippet` to mark, at least 1.
    pub width: u32,
}

impl Diagnostic {
    /// Returns the line of the finding, counted from 1; `None` if it is about the file as a whole.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        self.location.as_ref().map(|location| location.line)
    }

    /// Renders the finding as several lines in the style of rustc, without a final line end.
    /// `colour` adds ANSI colours, for terminals only.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let paint = Paint { colour };
        let (word, code) = match self.severity {
            Severity::Error => ("error", RED),
            Severity::Warning => ("warning", YELLOW),
        };
        let mut text = format!(
            "{}{}",
            paint.with(code, word),
            paint.with(BOLD, &format!(": {}", self.message)),
        );
        let gutter = match &self.location {
            Some(location) => {
                render_location(&mut text, &self.file, location, paint, code);
                digits(location.line)
            }
            None => {
                let arrow = paint.with(BLUE, "-->");
                _ = write!(text, "\n {arrow} {}", self.file.display());
                1
            }
        };
        if let Some(hint) = &self.hint {
            render_hint(&mut text, hint, gutter, paint);
        }
        text
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// All errors of a configuration, in the order of the file; at least one. Holds the first thousand
/// errors at most, and the number of all errors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Errors {
    shown: Vec<Diagnostic>,
    count: usize,
}

impl Errors {
    /// Makes the errors of a configuration from `shown`, the first errors, and `count`, the number
    /// of all errors.
    pub(super) fn new(shown: Vec<Diagnostic>, count: usize) -> Self {
        Self { shown, count }
    }

    /// Makes the errors of a configuration from errors in any order, which it sorts into the order
    /// of the file; `None` if there are no errors.
    #[must_use]
    pub fn of(mut errors: Vec<Diagnostic>) -> Option<Self> {
        errors.sort_by_key(|error| {
            let location = error.location.as_ref();
            location.map(|location| (location.line, location.column))
        });
        let count = errors.len();
        (count > 0).then(|| Self::new(errors, count))
    }

    /// Makes an error about the configuration file as a whole.
    pub(super) fn about_file(file: &Path, message: String, hint: &str) -> Self {
        let error = Diagnostic {
            severity: Severity::Error,
            file: file.to_owned(),
            location: None,
            message,
            hint: Some(hint.to_owned()),
        };
        Self::new(vec![error], 1)
    }

    /// Returns the errors that are shown, in the order of the file.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.shown
    }

    /// Renders every error, separated by blank lines, and a line with their number. `colour` adds
    /// ANSI colours, for terminals only.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        for diagnostic in &self.shown {
            text.push_str(&diagnostic.render(colour));
            text.push_str("\n\n");
        }
        text.push_str(&Paint { colour }.with(BOLD, &self.summary()));
        text
    }

    fn summary(&self) -> String {
        let Self { shown, count } = self;
        let noun = if *count == 1 { "error" } else { "errors" };
        let file = shown.first().map(|first| first.file.display());
        let file = file.map_or_else(String::new, |file| format!(" in {file}"));
        let rest = match count - shown.len() {
            0 => String::new(),
            rest => format!(", {rest} of them not shown"),
        };
        format!("{count} {noun}{file}{rest}")
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl error::Error for Errors {}

fn render_location(
    text: &mut String,
    file: &Path,
    location: &Location,
    paint: Paint,
    marker: &str,
) {
    let Location {
        line,
        column,
        width,
        snippet,
        marker: offset,
    } = location;
    let gutter = " ".repeat(digits(*line));
    let bar = paint.with(BLUE, "|");
    // Tabs are kept in front of the marker, so it is as far to the right as the text above it.
    let indent: String = snippet
        .chars()
        .take(*offset as usize)
        .map(|character| if character == '\t' { '\t' } else { ' ' })
        .collect();
    let carets = paint.with(marker, &"^".repeat(*width as usize));
    let arrow = paint.with(BLUE, "-->");
    let number = paint.with(BLUE, &line.to_string());
    let path = file.display();
    _ = write!(text, "\n{gutter}{arrow} {path}:{line}:{column}");
    _ = write!(text, "\n{gutter} {bar}");
    _ = write!(text, "\n{number} {bar} {snippet}");
    _ = write!(text, "\n{gutter} {bar} {indent}{carets}");
}

fn render_hint(text: &mut String, hint: &str, gutter: usize, paint: Paint) {
    let gutter = " ".repeat(gutter);
    let mark = paint.with(BLUE, "=");
    let label = paint.with(BOLD, "help");
    // The second and later lines of a hint are aligned with its first line.
    let hint = hint.replace('\n', &format!("\n{gutter}         "));
    _ = write!(text, "\n{gutter} {mark} {label}: {hint}");
}

fn digits(number: u32) -> usize {
    number.to_string().len()
}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[1;34m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("{code}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    }
}
