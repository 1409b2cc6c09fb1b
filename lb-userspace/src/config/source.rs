//! The text that is parsed, and what has been found in it so far.

use std::{cell::RefCell, ops::Range, path::Path};

use super::diagnostic::{Diagnostic, Errors, Location, Severity};

/// The mark of a value that could not be read: the reason has been reported already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

/// A file's text and the findings in it.
pub(super) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
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
            findings: RefCell::default(),
        }
    }

    /// Reports an error. The same sentence about the same place is reported once.
    pub(super) fn error(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) -> Reported {
        self.report(Severity::Error, span, message.into(), hint.into());
        Reported
    }

    /// Reports a warning.
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
        let mut findings = self.findings.borrow_mut();
        let known = |finding: &Finding| finding.span == span && finding.message == message;
        if !findings.iter().any(known) {
            findings.push(Finding {
                span,
                severity,
                message,
                hint,
            });
        }
    }

    /// The text of a span, as the file has it.
    pub(super) fn text(&self, span: &Range<usize>) -> &'a str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// The line that a span begins on, counted from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> u32 {
        self.locate(span).line
    }

    /// All errors in the order of the file, or else the warnings.
    pub(super) fn finish(self) -> Result<Vec<Diagnostic>, Errors> {
        let mut findings = self.findings.take();
        findings.sort_by_key(|finding| finding.span.start);
        let (errors, warnings): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error);
        let errors = errors.into_iter().map(|finding| self.diagnostic(finding));
        match Errors::new(errors.collect()) {
            Some(errors) => Err(errors),
            None => Ok(warnings
                .into_iter()
                .map(|finding| self.diagnostic(finding))
                .collect()),
        }
    }

    fn diagnostic(&self, finding: Finding) -> Diagnostic {
        Diagnostic {
            severity: finding.severity,
            file: self.file.to_owned(),
            // An empty file has no line to show.
            location: (!self.text.trim().is_empty()).then(|| self.locate(&finding.span)),
            message: finding.message,
            hint: finding.hint,
        }
    }

    fn locate(&self, span: &Range<usize>) -> Location {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.ceil_char_boundary(span.end.max(start));
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[line_start..].split('\n').next().unwrap_or("");
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line_end = line_start + line.len();
        // What goes on over several lines is marked to the end of the first.
        let marked = self.text.get(start..end.min(line_end)).unwrap_or("");
        Location {
            line: count(before.bytes().filter(|byte| *byte == b'\n')) + 1,
            column: count(self.text[line_start..start].chars()) + 1,
            width: count(marked.chars()).max(1),
            snippet: line.chars().map(printable).collect(),
        }
    }
}

/// A file may hold escape sequences; the reader's terminal is not for them.
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
