//! What all commands that run worlds share: how many at a time, of which build, and what is said when the books don't balance.

use seaworthy_harness::run::RunError;

use crate::exit::Exit;
use crate::show;

/// Worlds at a time, unless the command line says otherwise: one a core.
pub(crate) fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The commit that this binary was built from, as far as its build knows.
pub(crate) fn commit() -> String {
    option_env!("SEAWORTHY_COMMIT").unwrap_or("unknown").to_owned()
}

/// The harness's own books don't balance.
pub(crate) fn books(error: &RunError) -> Exit {
    let help = "the harness's own books don't balance: this is a bug of Seaworthy; please report it";
    problem(error.to_string(), Some(help));
    Exit::Internal
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
#[diagnostic(code(sim::failed))]
struct Problem {
    message: String,
    #[help]
    help: Option<String>,
}

/// Shows a problem of a run.
pub(crate) fn problem(message: String, help: Option<&str>) {
    show::problem(&Problem { message, help: help.map(str::to_owned) });
}
