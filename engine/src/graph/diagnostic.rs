//! What is wrong with a file that a user wrote: a typed problem, its place in the file, and what to write instead.

use std::fmt;
use std::io;
use std::sync::Arc;

use miette::{LabeledSpan, MietteError, MietteSpanContents, Severity, SourceCode, SourceSpan, SpanContents};

/// A text under the name that its user knows it by. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: Arc<str>,
    text: Arc<str>,
}

impl SourceFile {
    /// A file's name (shown to people, never opened) and its text.
    #[must_use]
    pub fn new(name: &str, text: &str) -> SourceFile {
        SourceFile { name: name.into(), text: text.into() }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line (from 1) and column (from 1, in characters) of a byte offset; an offset past the end is the end.
    #[must_use]
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl SourceCode for SourceFile {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.text.read_span(span, before, after)?;
        let (line, column, count) = (inner.line(), inner.column(), inner.line_count());
        let name = self.name.to_string();
        Ok(Box::new(MietteSpanContents::new_named(name, inner.data(), *inner.span(), line, column, count)))
    }
}

/// A value and where it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the file.
    pub span: SourceSpan,
}

/// One thing that is wrong with a file, or worth a word.
#[derive(Debug)]
pub struct Diagnostic {
    problem: Box<dyn miette::Diagnostic + Send + Sync>,
    file: SourceFile,
    labels: Vec<LabeledSpan>,
    severity: Severity,
    outside: bool,
}

impl Diagnostic {
    /// A problem at a place of a file.
    pub fn at(
        file: &SourceFile,
        span: SourceSpan,
        problem: impl miette::Diagnostic + Send + Sync + 'static,
    ) -> Diagnostic {
        let mut diagnostic = Diagnostic::of(file, problem);
        diagnostic.labels.push(LabeledSpan::new_primary_with_span(None, span));
        diagnostic
    }

    /// A problem of a file as a whole.
    pub fn of(file: &SourceFile, problem: impl miette::Diagnostic + Send + Sync + 'static) -> Diagnostic {
        let severity = problem.severity().unwrap_or(Severity::Error);
        Diagnostic { problem: Box::new(problem), file: file.clone(), labels: Vec::new(), severity, outside: false }
    }

    /// Adds a second place of the same file that belongs to the story.
    #[must_use]
    pub fn and(mut self, span: SourceSpan, label: &str) -> Diagnostic {
        self.labels.push(LabeledSpan::new_with_span(Some(label.to_owned()), span));
        self
    }

    /// The same, but it refuses nothing.
    #[must_use]
    pub fn as_warning(mut self) -> Diagnostic {
        self.severity = Severity::Warning;
        self
    }

    /// The same, but the machine is at fault, not the file (exit 74 instead of 2).
    #[must_use]
    pub fn from_outside(mut self) -> Diagnostic {
        self.outside = true;
        self
    }

    /// True when the file is refused because of it; false for a warning.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// True when the machine is at fault (a file that exists but can't be read), not what the user wrote.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        self.outside
    }

    /// The stable name of the problem, e.g. `graph::cycle`.
    #[must_use]
    pub fn code(&self) -> String {
        self.problem.code().map(|code| code.to_string()).unwrap_or_default()
    }

    /// What to write instead.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        self.problem.help().map(|help| help.to_string())
    }

    /// The file that it is about.
    #[must_use]
    pub fn file(&self) -> &str {
        self.file.name()
    }

    /// Line and column (from 1) of the first place, or `None` when it is about the whole file.
    #[must_use]
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.labels.first().map(|label| self.file.line_column(label.offset()))
    }

    pub(crate) fn sort_key(&self) -> (Arc<str>, usize, String, String) {
        let offset = self.labels.first().map_or(0, LabeledSpan::offset);
        (self.file.name.clone(), offset, self.code(), self.to_string())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Diagnostic {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.problem.source()
    }
}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.code()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help()
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.file)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = LabeledSpan>>)
    }
}

/// Collects what is wrong with one file.
pub(crate) struct Findings {
    pub(crate) file: SourceFile,
    pub(crate) found: Vec<Diagnostic>,
}

impl Findings {
    pub(crate) fn new(file: &SourceFile) -> Findings {
        Findings { file: file.clone(), found: Vec::new() }
    }

    pub(crate) fn add(&mut self, span: SourceSpan, problem: impl miette::Diagnostic + Send + Sync + 'static) {
        self.found.push(Diagnostic::at(&self.file, span, problem));
    }

    /// Adds a problem that refuses nothing, with the severity that it declares.
    pub(crate) fn note(&mut self, span: SourceSpan, problem: impl miette::Diagnostic + Send + Sync + 'static) {
        let diagnostic = Diagnostic::at(&self.file, span, problem);
        assert!(!diagnostic.is_error(), "{diagnostic} is an error, not a note");
        self.found.push(diagnostic);
    }

    pub(crate) fn warn(&mut self, span: SourceSpan, problem: impl miette::Diagnostic + Send + Sync + 'static) {
        self.found.push(Diagnostic::at(&self.file, span, problem).as_warning());
    }
}

/// A path that isn't there, or isn't a text, is a slip of the user; a disk that fails is not.
pub(crate) fn is_outside(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::InvalidData)
}

/// In the order of files and lines, each once: a graph that two processes share is checked twice.
pub(crate) fn in_order(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.sort_by_cached_key(Diagnostic::sort_key);
    found.dedup_by_key(|diagnostic| diagnostic.sort_key());
    found
}
