//! `shrink`: makes a failing seed or plan small while it breaks the same promise.

use std::time::Duration;

use seaworthy_engine::node::Registry;
use seaworthy_harness::explore::{ShrinkError, Shrunk, shrink};
use seaworthy_harness::plan::Plan;
use seaworthy_harness::run::{Failure, Prepared};
use seaworthy_reports::result::Scenario;
use serde::Serialize;

use crate::exit::Exit;
use crate::files::write_whole;
use crate::plan_files::Which;
use crate::show;
use crate::stopwatch::Stopwatch;

/// Finds the smallest plan that breaks the same promise as a failing seed.
#[derive(clap::Args)]
#[command(after_help = "Example: seaworthy shrink scenarios/must_fail/disk.toml --seed 1\n\n\
    Drops steps and events, ends the load early and shortens faults. The plan goes to OUT/SCENARIO/smallest.plan.json;\n\
    `sim SCENARIO --plan FILE` runs it. Ends with 1, as the plan fails, and with 4 when there is nothing to shrink.")]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// The broken promise or missed objective to keep, as the result names it; by default the first.
    #[arg(long)]
    check: Option<String>,
    /// Most seconds to spend.
    #[arg(long, default_value_t = 120)]
    budget: u64,
    /// Where the plan goes; each scenario has a folder of its own in it.
    #[arg(long, default_value = "out")]
    out: String,
    /// Worlds at a time; changes no result.
    #[arg(long, default_value_t = crate::worlds::default_jobs())]
    jobs: usize,
    /// Prints one JSON document instead of lines.
    #[arg(long)]
    json: bool,
}

/// How to shrink, for all commands that do.
pub(crate) struct Ways<'a> {
    pub(crate) check: Option<&'a str>,
    pub(crate) budget: Duration,
    pub(crate) jobs: usize,
    pub(crate) path: &'a str,
}

/// A small plan and where it is.
#[derive(Serialize)]
pub(crate) struct Smallest {
    #[serde(skip)]
    pub(crate) small: Plan,
    pub(crate) check: String,
    pub(crate) message: String,
    /// `1 fault, 4 packets`.
    pub(crate) size: String,
    pub(crate) steps: usize,
    pub(crate) events: u64,
    pub(crate) runs: u64,
    pub(crate) finished: bool,
    pub(crate) plan: String,
    pub(crate) again: String,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let (prepared, plan) = match args.which.read(registry) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    let path = format!("{}/{}/smallest.plan.json", args.out, prepared.scenario().id);
    let ways =
        Ways { check: args.check.as_deref(), budget: Duration::from_secs(args.budget), jobs: args.jobs, path: &path };
    match smallest(&prepared, &plan, &ways) {
        Ok(smallest) if args.json => Exit::Failed.and(show::json(&smallest)),
        Ok(smallest) => Exit::Failed.and(show::report(&format!(
            "{} breaks with {} ({} runs)\n  {}\n  again: {}\n",
            smallest.check, smallest.size, smallest.runs, smallest.message, smallest.again
        ))),
        Err(exit) => exit,
    }
}

/// Shrinks the first failing seed of a result: one that broke a promise, or else one that misses by itself what all miss.
/// `None` where no seed alone shows it, or nothing failed; what can't be made small has been told as it is.
pub(crate) fn of_result(
    prepared: &Prepared,
    result: &Scenario,
    budget: Duration,
    jobs: usize,
    path: &str,
) -> Option<Smallest> {
    let (seed, check) = result.first_failure()?;
    let ways = Ways { check: Some(check), budget, jobs, path };
    match made_small(prepared, &prepared.plan(seed), &ways) {
        Err(ShrinkError::Passes) => None,
        shrunk => shrunk.map_err(|error| told(prepared, error)).and_then(|shrunk| write(prepared, shrunk, &ways)).ok(),
    }
}

/// Shrinks a plan, writes what is left, and says how to run it.
pub(crate) fn smallest(prepared: &Prepared, plan: &Plan, ways: &Ways<'_>) -> Result<Smallest, Exit> {
    let shrunk = made_small(prepared, plan, ways).map_err(|error| told(prepared, error))?;
    write(prepared, shrunk, ways)
}

fn made_small(prepared: &Prepared, plan: &Plan, ways: &Ways<'_>) -> Result<Shrunk, ShrinkError> {
    let watch = Stopwatch::start();
    let bar = show::spinner("shrinking");
    let go_on = || watch.elapsed() < ways.budget;
    let shrunk = shrink(prepared, plan, ways.check, ways.jobs, &go_on, &|progress| {
        bar.set_message(format!(
            "{}, {} after {} runs",
            show::count(progress.steps, "fault", "faults"),
            show::count(progress.events as usize, "packet", "packets"),
            progress.runs
        ));
        bar.tick();
    });
    bar.finish_and_clear();
    shrunk
}

fn told(prepared: &Prepared, error: ShrinkError) -> Exit {
    match error {
        ShrinkError::Books(error) => crate::worlds::books(&error),
        error => {
            show::problem(&Nothing { path: prepared.path().to_owned(), error });
            Exit::Void
        }
    }
}

/// The same of a plan that can't be made smaller.
pub(crate) fn as_it_is(prepared: &Prepared, plan: Plan, failure: Failure, ways: &Ways<'_>) -> Result<Smallest, Exit> {
    let events = (1..=prepared.arrivals(plan.seed).len() as u64).filter(|number| plan.lets_in(*number)).count() as u64;
    write(prepared, Shrunk { plan, events, failure, runs: 0, finished: true }, ways)
}

fn write(prepared: &Prepared, shrunk: Shrunk, ways: &Ways<'_>) -> Result<Smallest, Exit> {
    let size = shrunk.size();
    let Shrunk { plan, events, failure, runs, finished } = shrunk;
    let mut text = serde_json::to_string_pretty(&plan).expect("a plan holds only text, numbers and lists");
    text.push('\n');
    if let Err(error) = write_whole(ways.path, &text) {
        show::notes(&[format!("could not write {}: {error}", ways.path)]);
        return Err(Exit::Environment);
    }
    Ok(Smallest {
        check: failure.check,
        message: failure.message,
        size,
        steps: plan.steps.len(),
        events,
        runs,
        finished,
        small: plan,
        plan: ways.path.to_owned(),
        again: format!("seaworthy sim {} --plan {}", prepared.path(), ways.path),
    })
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("could not shrink {path}: {error}")]
#[diagnostic(code(shrink::nothing), help("name a failing seed with --seed, as `seaworthy sim` prints it"))]
struct Nothing {
    path: String,
    error: ShrinkError,
}
