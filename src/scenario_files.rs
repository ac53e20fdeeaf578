//! Scenarios named on the command line: read whole, and everything that is wrong with them shown.

use seaworthy_engine::node::Registry;
use seaworthy_harness::run::{PrepareError, Prepared};

use crate::exit::Exit;
use crate::files::read_text;
use crate::show;

/// Reads a scenario and what it names, or shows why it can't be run.
pub(crate) fn prepare(path: &str, registry: &Registry) -> Result<Prepared, Exit> {
    Prepared::read(path, &read_text, registry).map_err(|error| refuse(path, &error))
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
#[diagnostic(code(scenario::unusable))]
struct Refused {
    message: String,
    #[help]
    help: Option<String>,
}

fn refuse(path: &str, error: &PrepareError) -> Exit {
    match error {
        PrepareError::Scenario(errors) => {
            errors.errors.iter().for_each(|error| show::problem(error));
            Exit::Usage
        }
        PrepareError::Graph(errors) => {
            errors.iter().for_each(|error| show::problem(error.as_ref()));
            Exit::Usage
        }
        PrepareError::Read { .. } | PrepareError::Rows(_) | PrepareError::Load(_) | PrepareError::Unfed { .. } => {
            let help = matches!(error, PrepareError::Read { .. })
                .then(|| format!("paths in a file are relative to that file; this one was asked for by {path}"));
            show::problem(&Refused { message: error.to_string(), help });
            Exit::Usage
        }
    }
}
