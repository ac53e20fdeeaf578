//! Plans named on the command line: read, and checked against the scenario that they are for.

use seaworthy_engine::node::Registry;
use seaworthy_harness::plan::Plan;
use seaworthy_harness::run::Prepared;

use crate::exit::Exit;
use crate::files::read_text;
use crate::scenario_files::prepare;
use crate::show;

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("could not use the plan {path}: {why}")]
#[diagnostic(code(plan::unusable), help("`seaworthy plan SCENARIO --seed N --json` writes one"))]
struct Unusable {
    path: String,
    why: String,
}

/// One run of a scenario, as several commands take it.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// The scenario (.toml).
    scenario: String,
    /// The seed.
    #[arg(long, default_value_t = 1, conflicts_with = "plan")]
    seed: u64,
    /// A plan in place of a seed's own.
    #[arg(long)]
    plan: Option<String>,
}

impl Which {
    /// Reads the scenario, and the plan that is meant.
    pub(crate) fn read(&self, registry: &Registry) -> Result<(Prepared, Plan), Exit> {
        let prepared = prepare(&self.scenario, registry)?;
        let plan = match &self.plan {
            Some(path) => read_plan(path, &prepared)?,
            None => prepared.plan(self.seed),
        };
        Ok((prepared, plan))
    }

    /// Whether it is a plan of its own rather than a seed's.
    pub(crate) fn is_planned(&self) -> bool {
        self.plan.is_some()
    }

    /// `my.toml --seed 5`, as another command takes it.
    pub(crate) fn again(&self) -> String {
        let Which { scenario, seed, plan } = self;
        plan.as_ref().map_or_else(|| format!("{scenario} --seed {seed}"), |path| format!("{scenario} --plan {path}"))
    }
}

/// Reads a plan of that scenario, or shows why it can't be used.
pub(crate) fn read_plan(path: &str, prepared: &Prepared) -> Result<Plan, Exit> {
    let refused = |why: String, exit| {
        show::problem(&Unusable { path: path.to_owned(), why });
        exit
    };
    let text = read_text(path).map_err(|error| refused(error.to_string(), Exit::from(&error)))?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| refused(error.to_string(), Exit::Usage))?;
    prepared.check_plan(&plan).map_err(|problems| refused(problems.to_string(), Exit::Usage))?;
    Ok(plan)
}
