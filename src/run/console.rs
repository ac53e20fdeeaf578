//! What a run says while it runs: whole lines on stderr, those of a child with its name in front.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Clears the line that shows progress, so that what follows stands alone.
const CLEAR: &str = "\r\x1b[2K";
/// Characters of a line of progress; a longer one would wrap and could not be cleared.
const PROGRESS_MAX: usize = 78;

/// Writes lines. A stderr that is gone is nobody's loss: a child outlives it to stop in good order.
#[derive(Clone)]
pub(super) struct Console {
    prefix: String,
    is_terminal: bool,
}

impl Console {
    /// One for the process `name`; without a name, lines stand alone.
    pub(super) fn named(name: Option<&str>) -> Console {
        let prefix = name.map(|name| format!("{name} | ")).unwrap_or_default();
        Console { prefix, is_terminal: io::stderr().is_terminal() }
    }

    /// Says a line.
    pub(super) fn say(&self, line: &str) {
        let mut text = String::new();
        for line in line.lines() {
            let clear = if self.is_terminal { CLEAR } else { "" };
            text.extend([clear, &self.prefix, line, "\n"]);
        }
        // In one write, so that the lines of several processes don't mix.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Shows `line` in place of the progress before, where a person watches.
    pub(super) fn progress(&self, line: &str) {
        if self.is_terminal {
            let line: String = line.chars().take(PROGRESS_MAX).collect();
            let _ = io::stderr().write_all(format!("{CLEAR}{line}").as_bytes());
        }
    }

    /// Ends the line of progress.
    pub(super) fn end_progress(&self) {
        self.progress("");
    }

    /// From now on the engine's log and the words of a panic come here.
    pub(super) fn take_logs(&self) {
        let filter = EnvFilter::new("info,h2=warn,hyper=warn,tonic=warn,tower=warn");
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(false)
            .with_ansi(self.is_terminal)
            .with_writer(self.clone());
        // A binary with a subscriber of its own keeps it.
        let _ = subscriber.try_init();
        let console = self.clone();
        std::panic::set_hook(Box::new(move |panic| console.say(&panic.to_string())));
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Lines<'a> {
        Lines(self)
    }
}

/// Takes one event of the log a write.
pub(super) struct Lines<'a>(&'a Console);

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.say(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
