//! `plan`: what a seed of a scenario will do, step by step, before anything runs.

use seaworthy_engine::node::Registry;
use seaworthy_harness::scenario::timeline;

use crate::exit::Exit;
use crate::scenario_files::prepare;
use crate::show;

/// Prints the explicit fault plan of one seed.
#[derive(clap::Args)]
#[command(after_help = "Example: seaworthy plan scenarios/uplink_flap.toml --seed 7")]
pub(crate) struct Args {
    /// The scenario (.toml).
    scenario: String,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints the plan as JSON, which `sim --plan` takes, instead of a timeline.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let prepared = match prepare(&args.scenario, registry) {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let plan = prepared.plan(args.seed);
    if args.json { show::json(&plan) } else { show::report(&timeline(prepared.scenario(), &plan)) }
}
