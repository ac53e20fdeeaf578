//! Runs every check of the project: `cargo ci`, the same at home and in CI.
#![expect(clippy::disallowed_methods, reason = "the checks look at the real tree, the real clock and real processes")]

mod both;
mod cargo;
mod child;
mod docs;
mod install;
mod others;
mod outcome;
mod peers;
mod planted;
mod result;
mod simulate;
mod tidy;
mod tree;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

use outcome::{Failed, Outcome};
use tree::Tree;

/// Every check of the project. Without a step: all that a merge needs, in order.
#[derive(Parser)]
#[command(
    name = "cargo ci",
    after_help = "Examples:\n  cargo ci\n  cargo ci tidy clippy\n  cargo ci seeds\n  cargo ci peers --json ratios.json\n  cargo ci planted --json score.json"
)]
struct Options {
    /// Only these, in this order.
    steps: Vec<Step>,
    /// `peers`: writes ratios and rounds here; `planted`: the score
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// `peers`: how often everything is measured [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// `planted`: tries this patch instead of the project's; may be given again
    #[arg(long, value_name = "FILE")]
    patch: Vec<PathBuf>,
    /// `planted`: only the bug of that id
    #[arg(long, value_name = "ID")]
    only: Option<String>,
    /// `planted`: CPU seconds for each bug [default: 120]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    budget: Option<u32>,
    /// `planted`: goes on with the score in --json's file, if there is one, at its commit
    #[arg(long, requires = "json")]
    resume: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Step {
    /// House rules that clippy can't see
    Tidy,
    /// Formatting
    Fmt,
    /// Lints, with warnings denied
    Clippy,
    /// Every test, with 10 kills and 2 full disks of real processes
    Test,
    /// The gate: each scenario over 8 seeds, the core no worse than ci/baseline.json
    Scenarios,
    /// Each sabotage trips the check that it names
    #[value(alias = "must-fail")]
    MustFail,
    /// One seed of each scenario again in a second process, elsewhere
    Determinism,
    /// Paths and commands that the documentation names
    Docs,
    /// The page in Chromium, the histograms in Python's reader, JUnit's file against its schema
    Others,
    /// Each planted bug has its header and still applies
    Patches,
    /// Outside `cargo ci`: the ten core scenarios over 64 seeds, twice
    Seeds,
    /// Outside `cargo ci`: the N:N scenarios over 2,500 seeds each
    Nn,
    /// Outside `cargo ci`: 200 kills and 20 full disks of real processes
    Real,
    /// Outside `cargo ci`: the scenarios of scenarios/real in the simulation and on this machine, side by side
    Both,
    /// Outside `cargo ci`: the journal and the lane beside NATS, Redis, SQLite and the bare disk
    Peers,
    /// Outside `cargo ci`: plants each bug in a copy, builds it, and looks whether the scenarios find it
    Planted,
}

/// What a merge needs, the cheapest first.
const MERGE: [Step; 10] = [
    Step::Tidy,
    Step::Fmt,
    Step::Patches,
    Step::Clippy,
    Step::Test,
    Step::Scenarios,
    Step::MustFail,
    Step::Determinism,
    Step::Others,
    Step::Docs,
];

impl Step {
    fn run(self, tree: &Tree, peers: &peers::Options, planted: &planted::Options) -> Outcome {
        match self {
            Step::Tidy => tidy::run(tree),
            Step::Fmt => cargo::fmt(tree),
            Step::Clippy => cargo::clippy(tree),
            Step::Test => cargo::test(tree),
            Step::Scenarios => simulate::scenarios(tree),
            Step::MustFail => simulate::must_fail(tree),
            Step::Determinism => simulate::determinism(tree),
            Step::Others => others::run(tree),
            Step::Docs => docs::run(tree),
            Step::Seeds => simulate::seeds(tree),
            Step::Nn => simulate::nn(tree),
            Step::Real => cargo::real(tree),
            Step::Both => both::run(tree),
            Step::Peers => peers::run(tree, peers),
            Step::Patches => planted::apply(tree),
            Step::Planted => planted::score(tree, planted),
        }
    }

    fn name(self) -> String {
        let value = self.to_possible_value().expect("no step is skipped on the command line");
        value.get_name().to_owned()
    }
}

fn main() -> ExitCode {
    let Options { steps, json, rounds, patch, only, budget, resume } = Options::parse();
    let has = |step| steps.contains(&step);
    let hunts = !patch.is_empty() || only.is_some() || budget.is_some() || resume;
    let wrong = match () {
        () if json.is_some() && !has(Step::Peers) && !has(Step::Planted) => "--json belongs to `peers` and `planted`",
        () if rounds.is_some() && !has(Step::Peers) => "--rounds belongs to `peers`",
        () if hunts && !has(Step::Planted) => "--patch, --only, --budget and --resume belong to `planted`",
        () => "",
    };
    if !wrong.is_empty() {
        eprintln!("ci: {wrong}");
        return ExitCode::from(2);
    }
    let steps = if steps.is_empty() { MERGE.to_vec() } else { steps };
    let peers = peers::Options { json: json.clone(), rounds };
    let planted = planted::Options { json, patches: patch, only, budget_s: budget, resume };
    let tree = match Tree::find() {
        Ok(tree) => tree,
        Err(why) => {
            eprintln!("ci: {why}");
            return ExitCode::from(2);
        }
    };

    let began = Instant::now();
    let mut not_run = Vec::new();
    let mut failed = 0;
    for step in &steps {
        let name = step.name();
        child::say_now(&format!("      {name}"));
        let step_began = Instant::now();
        let outcome = step.run(&tree, &peers, &planted);
        let seconds = step_began.elapsed().as_secs_f64();
        child::say_now("");
        match outcome {
            Ok(passed) => {
                println!("pass  {name:<12} {seconds:>7.1} s  {}", passed.what);
                passed.lines.iter().for_each(|line| println!("{line}"));
                not_run.extend(passed.not_run);
            }
            Err(failure) => {
                failed += 1;
                println!("FAIL  {name:<12} {seconds:>7.1} s  {}", failure.why);
                show_tail(&tree, &name, &failure);
            }
        }
        stdout().flush().expect("whoever reads the checks is still there");
    }

    not_run.sort();
    not_run.dedup();
    println!("total {:.1} s", began.elapsed().as_secs_f64());
    not_run.iter().for_each(|line| println!("{line}"));
    println!("{} passed, {failed} failed", steps.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the end of what a failed step said, and keeps the whole.
fn show_tail(tree: &Tree, name: &str, failure: &Failed) {
    const TAIL_LINES: usize = 80;
    let skipped = failure.output.len().saturating_sub(TAIL_LINES);
    if skipped > 0 {
        let log = tree.scratch().join(format!("{name}.log"));
        match std::fs::create_dir_all(tree.scratch()).and_then(|()| std::fs::write(&log, failure.output.join("\n"))) {
            Ok(()) => println!("… {skipped} more lines in {}", log.display()),
            Err(error) => println!("… {skipped} more lines (could not keep them: {error})"),
        }
    }
    failure.output[skipped..].iter().for_each(|line| println!("{line}"));
}
