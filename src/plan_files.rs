//! Plans named on the command line: read, and checked against the scenario that they are for.

use seaworthy_harness::plan::Plan;
use seaworthy_harness::run::Prepared;

use crate::exit::Exit;
use crate::files::read_text;
use crate::show;

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("could not use the plan {path}: {why}")]
#[diagnostic(code(plan::unusable), help("`seaworthy plan SCENARIO --seed N --json` writes one"))]
struct Unusable {
    path: String,
    why: String,
}

/// Reads a plan of that scenario, or shows why it can't be used.
pub(crate) fn read_plan(path: &str, prepared: &Prepared) -> Result<Plan, Exit> {
    let refused = |why: String, exit| {
        show::problem(&Unusable { path: path.to_owned(), why });
        exit
    };
    let text = read_text(path).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        refused(error.to_string(), if missing { Exit::Usage } else { Exit::Environment })
    })?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| refused(error.to_string(), Exit::Usage))?;
    prepared.check_plan(&plan).map_err(|problems| refused(problems.to_string(), Exit::Usage))?;
    Ok(plan)
}
