//! The command `seaworthy` as a library, so that a binary with plugins of its own gets all of it in one line.
//!
//! It parses arguments, prints, asks and exits; it decides nothing.

mod baseline;
mod bench;
mod calibrate;
mod check;
mod corpus;
mod debug;
mod draft;
mod drawn;
mod elsewhere;
mod exit;
mod explain;
mod explore;
mod files;
mod gate;
mod held;
mod keys;
mod made_up;
mod new;
mod pages;
mod picture;
mod plan;
mod plan_files;
mod queue;
mod rebuild;
mod results;
mod run;
mod scenario_files;
mod shard;
mod show;
mod shrink;
mod sim;
mod stopwatch;
mod storm;
mod trace;
mod waivers;
mod watch;
mod worlds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use seaworthy_engine::node::Registry;

pub use exit::Exit;
use worlds::deterministic;

/// Runs stream graphs on edge machines, and proves before a release that they survive the storm.
#[derive(Parser)]
#[command(name = "seaworthy", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 pass, 1 objective or invariant, 2 usage or lint, 3 regression, 4 proved nothing, \
5 nondeterminism, 70 internal, 74 environment; 130 ended at once by a second signal.";

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Explain(explain::Args),
    Sim(sim::Args),
    Plan(plan::Args),
    Storm(storm::Args),
    Explore(explore::Args),
    Shrink(shrink::Args),
    Debug(debug::Args),
    Trace(trace::Args),
    New(new::Args),
    Gate(gate::Args),
    Bench(bench::Args),
    Calibrate(calibrate::Args),
    Compare(results::CompareArgs),
    Merge(results::MergeArgs),
    Report(results::ReportArgs),
    Trend(results::TrendArgs),
    Run(run::Args),
    Keys(keys::Args),
    Queue(queue::Args),
    #[command(hide = true)]
    Elsewhere(elsewhere::Args),
}

/// Runs the command that the process was started with, over the plugins of `registry`.
pub fn main(registry: Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Also `--help` and `--version`, which go to stdout and end well. Nothing can be done about a closed pipe.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Pass }.into();
        }
    };
    let run = || match cli.command {
        Command::Check(args) => check::run(&args, &registry),
        Command::Explain(args) => explain::run(&args, &registry),
        Command::Sim(args) => deterministic(|| sim::run(&args, &registry)),
        Command::Plan(args) => plan::run(&args, &registry),
        Command::Storm(args) => deterministic(|| storm::run(&args, &registry)),
        Command::Explore(args) => deterministic(|| explore::run(&args, &registry)),
        Command::Shrink(args) => deterministic(|| shrink::run(&args, &registry)),
        Command::New(args) => new::run(&args, &registry),
        Command::Debug(args) => deterministic(|| debug::run(&args, &registry)),
        Command::Trace(args) => deterministic(|| trace::run(&args, &registry)),
        Command::Gate(args) => deterministic(|| gate::run(&args, &registry)),
        Command::Bench(args) => bench::run(&args, &registry),
        Command::Calibrate(args) => calibrate::run(&args, &registry),
        Command::Compare(args) => results::run_compare(&args),
        Command::Merge(args) => results::run_merge(&args),
        Command::Trend(args) => results::run_trend(&args),
        Command::Report(args) => results::run_report(&args),
        Command::Run(args) => run::run(&args, &registry),
        Command::Keys(args) => keys::run(&args),
        Command::Queue(args) => queue::run(&args),
        Command::Elsewhere(args) => deterministic(|| elsewhere::run(&args, &registry)),
    };
    // The panic hook has said what and where; what is left is the exit code.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Exit::Internal).into()
}

/// The plugins that come with Seaworthy, all named `std:...`.
#[must_use]
pub fn std_registry() -> Registry {
    let mut registry = Registry::new();
    seaworthy_engine::nodes::register(&mut registry);
    registry
}
