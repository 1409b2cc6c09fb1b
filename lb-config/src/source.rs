//! The text of the configuration file, and the findings in it.

use std::{cell::RefCell, collections::HashSet, ops::Range, path::Path};

use super::diagnostic::{Diagnostic, Errors, Location, Severity};

/// Proof that a value is not valid, and that the reason has been reported already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

/// The place of findings that are about no line of the file, such as a missing section. No key,
/// value or header is empty, so no other finding has this empty place.
pub(super) const WHOLE_FILE: Range<usize> = 0..0;

/// Maximum number of errors that are shown: a file that is not a configuration at all can have an
/// error on each line.
const MOST_SHOWN: usize = 1_000;

/// A file's text and the findings in it.
pub(super) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
    /// The byte offsets at which the lines of the text begin.
    lines: Vec<usize>,
    findings: RefCell<Vec<Finding>>,
}

struct Finding {
    span: Range<usize>,
    severity: Severity,
    message: String,
    hint: Option<String>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            lines: std::iter::once(0)
                .chain(text.match_indices('\n').map(|(newline, _)| newline + 1))
                .collect(),
            findings: RefCell::default(),
        }
    }

    /// Reports an error at a place in the file. The same message about the same place is shown
    /// once.
    pub(super) fn error(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) -> Reported {
        self.report(Severity::Error, span, message.into(), hint.into());
        Reported
    }

    /// Reports a warning at a place in the file.
    pub(super) fn warning(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        self.report(Severity::Warning, span, message.into(), hint.into());
    }

    fn report(
        &self,
        severity: Severity,
        span: Range<usize>,
        message: String,
        hint: Option<String>,
    ) {
        self.findings.borrow_mut().push(Finding {
            span,
            severity,
            message,
            hint,
        });
    }

    /// Returns the part of the file's text in this span.
    pub(super) fn text(&self, span: &Range<usize>) -> &'a str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// Returns the line on which a span begins, without its line end.
    pub(super) fn line_text(&self, span: &Range<usize>) -> &'a str {
        let (_, line_start) = self.line_start(span);
        let line = self.text[line_start..].split('\n').next().unwrap_or("");
        line.strip_suffix('\r').unwrap_or(line)
    }

    /// Returns the number of the line on which a span begins, counted from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> u32 {
        let (line, _) = self.line_start(span);
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    /// Returns the number of the line on which a span begins, counted from 1, and the byte offset
    /// of that line.
    fn line_start(&self, span: &Range<usize>) -> (usize, usize) {
        let number = self.lines.partition_point(|start| *start <= span.start);
        let start = number
            .checked_sub(1)
            .and_then(|index| self.lines.get(index));
        (number.max(1), start.copied().unwrap_or(0))
    }

    /// Returns all errors in the order of the file or, if there are none, the warnings.
    pub(super) fn finish(self) -> Result<Vec<Diagnostic>, Errors> {
        let mut findings = self.findings.take();
        findings.sort_by_key(|finding| finding.span.start);
        let mut known = HashSet::new();
        findings.retain(|finding| known.insert((finding.span.clone(), finding.message.clone())));
        let (mut errors, warnings): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error);
        let count = errors.len();
        errors.truncate(MOST_SHOWN);
        let shown = |findings: Vec<Finding>| {
            let diagnostics = findings.into_iter().map(|finding| self.diagnostic(finding));
            diagnostics.collect::<Vec<_>>()
        };
        match count {
            0 => Ok(shown(warnings)),
            _ => Err(Errors::new(shown(errors), count)),
        }
    }

    fn diagnostic(&self, finding: Finding) -> Diagnostic {
        Diagnostic {
            severity: finding.severity,
            file: self.file.to_owned(),
            location: (finding.span != WHOLE_FILE).then(|| self.locate(&finding.span)),
            message: finding.message,
            hint: finding.hint,
        }
    }

    /// Returns the place of a span in the file, with the text of its line.
    pub(super) fn locate(&self, span: &Range<usize>) -> Location {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.ceil_char_boundary(span.end.max(start));
        let (_, line_start) = self.line_start(span);
        let line = self.line_text(span);
        let line_end = line_start + line.len();
        // A span of several lines is marked to the end of its first line.
        let marked = self.text.get(start..end.min(line_end)).unwrap_or("");
        let column = count(self.text[line_start..start].chars());
        let width = count(marked.chars()).max(1);
        let (snippet, marker, width) = window(line, column, width);
        Location {
            line: self.line(span),
            column: column + 1,
            snippet,
            marker,
            width,
        }
    }
}

/// Returns three things: `line`, or the part of it around the marker if the line is wider than a
/// terminal; the number of characters before the marker in that text; and the width of the marker
/// in characters.
fn window(line: &str, marker: u32, width: u32) -> (String, u32, u32) {
    const WIDEST: u32 = 140;
    const BEFORE: u32 = 60;
    let printable = line.chars().map(printable);
    if count(line.chars()) <= WIDEST {
        return (printable.collect(), marker, width);
    }
    let skipped = marker.saturating_sub(BEFORE);
    let mut shown = String::new();
    if skipped > 0 {
        shown.push('…');
    }
    let mut rest = printable.skip(skipped as usize);
    shown.extend(rest.by_ref().take(WIDEST as usize));
    let marker = marker - skipped + u32::from(skipped > 0);
    let room = count(shown.chars()).saturating_sub(marker).max(1);
    if rest.next().is_some() {
        shown.push('…');
    }
    (shown, marker, width.min(room))
}

/// Returns the character, or a replacement if it is a control character other than tab, so escape
/// sequences in a file do not reach the terminal.
fn printable(character: char) -> char {
    if character.is_control() && character != '\t' {
        char::REPLACEMENT_CHARACTER
    } else {
        character
    }
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
