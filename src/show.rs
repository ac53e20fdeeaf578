//! Where text meets the terminal: reports go to stdout, what is wrong goes to stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use miette::{Diagnostic, MietteHandlerOpts, ReportHandler};

use crate::exit::Exit;

struct Shown<'a>(&'a dyn Diagnostic);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MietteHandlerOpts::new().terminal_links(false).build().debug(self.0, f)
    }
}

/// Shows a problem with its place and its help. A closed stderr is nobody's loss.
pub(crate) fn problem(problem: &dyn Diagnostic) {
    let _ = writeln!(io::stderr(), "{}", Shown(problem));
}

/// Writes a report; a reader that has seen enough (`| head`) is fine.
pub(crate) fn report(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => Exit::Pass,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Pass,
        Err(error) => {
            let _ = writeln!(io::stderr(), "could not write the report: {error}");
            Exit::Environment
        }
    }
}

/// Lines on stderr beside a report. A closed stderr is nobody's loss.
pub(crate) fn notes(lines: &[String]) {
    for line in lines {
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Writes a report for a program: JSON, on lines of its own.
pub(crate) fn json(value: &impl serde::Serialize) -> Exit {
    report(&in_json(value))
}

/// A report as JSON, on lines of its own.
pub(crate) fn in_json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("reports hold only text, numbers and lists");
    text.push('\n');
    text
}

/// A spinner with a word before its message; only when a person watches.
pub(crate) fn spinner(word: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} {spinner} {msg}").expect("a constant template");
    ProgressBar::new_spinner().with_style(style).with_prefix(word)
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
