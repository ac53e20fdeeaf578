//! What all commands that run worlds share: how many at a time, of which build, and what is said when the books don't balance.

use seaworthy_harness::run::RunError;

use crate::exit::Exit;
use crate::show;

/// Worlds at a time, unless the command line says otherwise: one a core.
pub(crate) fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The commit that this binary was built from, `+changes` where its sources were others; `unknown` without git.
pub(crate) fn commit() -> String {
    env!("SEAWORTHY_COMMIT").to_owned()
}

/// Runs a command that needs a world, unless this build's worlds would not be deterministic.
pub(crate) fn deterministic(command: impl FnOnce() -> Exit) -> Exit {
    if cfg!(tokio_unstable) {
        return command();
    }
    problem(
        "this binary was built without `--cfg tokio_unstable`, so its simulation would not be deterministic".to_owned(),
        Some("add to .cargo/config.toml:\n[build]\nrustflags = [\"--cfg\", \"tokio_unstable\"]\nand unset RUSTFLAGS"),
    );
    Exit::Nondeterministic
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
