//! `gate`: whether a build may be released: lint, determinism, known failures, seeds, coverage, and the baseline.

mod again;
mod against;
mod seeds;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use seaworthy_engine::node::Registry;
use seaworthy_harness::run::Prepared;
use seaworthy_reports::compare::Comparison;
use seaworthy_reports::render::{annotations, summary};
use seaworthy_reports::result::{Objection, ResultFile, assertions_reached};

use crate::baseline;
use crate::corpus;
use crate::exit::Exit;
use crate::pages::{self, write};
use crate::scenario_files::{files, prepare, prepare_all};
use crate::shard::{self, ShardFile, Tier, shard_of};
use crate::show;
use crate::stopwatch::Stopwatch;
use crate::waivers;

/// Says whether a build may be released.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  seaworthy gate --estimate\n  seaworthy gate --tier pr --baseline ci/baseline.json\n  \
    seaworthy gate --tier release --shard 1/3 --out shard1\n  seaworthy gate --accept \"the new retry costs 3 ms\"\n  seaworthy gate --rebuild v1.4\n\n\
    In this order: every scenario is read; one seed of each runs again in a second process, elsewhere; every line of the\n\
    corpus runs again; the tier's seeds run; what proved nothing is told; the baseline is compared.\n\
    Nothing is tried twice. One broken promise fails. Exit codes: 1 failed, 2 a file is wrong or a waiver is missing or past\n\
    its end, 3 worse than the baseline, 4 proved nothing, 5 not deterministic."
)]
pub(crate) struct Args {
    /// Scenarios, or folders of them.
    #[arg(default_value = "scenarios")]
    scenarios: Vec<String>,
    /// Whose seeds to run.
    #[arg(long, value_enum, default_value = "pr")]
    tier: Tier,
    /// The result to compare with; without the option, ci/baseline.json, which `--accept` makes.
    #[arg(long)]
    baseline: Option<String>,
    /// Compares with nothing: only promises and objectives decide. Without this, a gate that has no baseline proves too little.
    #[arg(long, conflicts_with_all = ["baseline", "accept", "rebuild", "estimate"])]
    no_baseline: bool,
    /// Compares with an older build instead: builds --rebuild-path of that git revision under today's harness, and runs it.
    #[arg(long, value_name = "REV", conflicts_with_all = ["baseline", "estimate", "accept", "shard"])]
    rebuild: Option<String>,
    /// What is taken from that revision; all else is HEAD's.
    #[arg(long, value_name = "FOLDER", default_value = "engine")]
    rebuild_path: String,
    /// Runs the tier's seeds, and nothing before or after.
    #[arg(long, hide = true)]
    seeds_only: bool,
    /// What may be easier to meet than in the baseline, and until when; ci/waivers.toml where there is one.
    #[arg(long)]
    waivers: Option<String>,
    /// Known failures: a file a scenario, a plan a line; scenarios/corpus where there is one.
    #[arg(long)]
    corpus: Option<String>,
    /// Runs one of so many parts, by the scenarios' names; `merge` puts them together.
    #[arg(long, value_parser = shard::parse_option)]
    shard: Option<(u32, u32)>,
    /// Says what it would cost, from one seed of each scenario, and runs nothing else.
    #[arg(long)]
    estimate: bool,
    /// Makes this result the baseline, for that reason, which is written beside it.
    #[arg(long, value_name = "REASON")]
    accept: Option<String>,
    /// Counts the instructions of the first seed of each scenario, too, with valgrind, and compares them: the CPU's cost, which
    /// virtual time can't see. Those runs are some 50 times as slow.
    #[arg(long, conflicts_with_all = ["shard", "estimate"])]
    instructions: bool,
    /// Prints each failure for GitHub Actions, which shows it on its line of the scenario.
    #[arg(long)]
    annotations: bool,
    /// Where the files go; those of an earlier gate there are removed first.
    #[arg(long, default_value = "out/gate")]
    out: String,
    /// Worlds at a time; changes no figure.
    #[arg(long, default_value_t = crate::worlds::default_jobs())]
    jobs: usize,
}

/// What the steps came to.
struct Gate {
    exit: Exit,
    text: String,
    /// What they hold against the build, beside the verdicts of its scenarios.
    objections: Vec<Objection>,
}

impl Gate {
    fn new() -> Gate {
        Gate { exit: Exit::Pass, text: String::new(), objections: Vec::new() }
    }

    fn step(&mut self, exit: Exit, name: &str, what: &str) {
        let word = match exit {
            Exit::Pass => "pass",
            Exit::Void => "VOID",
            Exit::Regressed => "WORSE",
            _ => "FAIL",
        };
        let _ = writeln!(self.text, "{word:<6}{name:<14}{what}");
        self.exit = self.exit.and(exit);
    }

    /// A step that there is nothing for.
    fn nothing(&mut self, name: &str, why: &str) {
        let _ = writeln!(self.text, "none  {name:<14}{why}");
    }

    fn tell(&mut self, lines: &str) {
        for line in lines.lines() {
            let _ = writeln!(self.text, "      {line}");
        }
    }

    fn object(&mut self, scenario: &str, step: &str, exit: Exit, what: &str) {
        let (scenario, step, what) = (scenario.to_owned(), step.to_owned(), what.to_owned());
        self.objections.push(Objection { scenario, step, exit: exit as u8, what });
    }
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    match gate(args, registry) {
        Ok(gate) => gate.exit.and(show::report(&gate.text)),
        Err(exit) if args.estimate => exit,
        Err(exit) => {
            let told = format!("seaworthy gate ended with {}", exit as u8);
            if args.annotations {
                let _ = show::report(&format!(
                    "::error title=seaworthy::{told}, and has no result; what it said tells why\n"
                ));
            }
            exit.and(pages::end_early(&args.out, &told))
        }
    }
}

fn gate(args: &Args, registry: &Registry) -> Result<Gate, Exit> {
    if args.accept.as_ref().is_some_and(|reason| reason.trim().is_empty() || args.shard.is_some()) {
        show::notes(&["a baseline needs a reason, and all shards at once".to_owned()]);
        return Err(Exit::Usage);
    }
    if args.accept.is_some() && args.tier == Tier::Release && args.baseline.is_none() {
        show::notes(&[format!(
            "{} is over the seeds of a pull request, which a release runs too: leave --tier release out, or name another file \
             with --baseline",
            baseline::USUAL
        )]);
        return Err(Exit::Usage);
    }
    // Of all shards.
    let paths = files(&args.scenarios)?;
    let prepared = lint(args, &paths, registry)?;
    if args.estimate {
        return estimate(args, &prepared);
    }
    let waivers = waivers::read(args.waivers.as_deref())?;
    let known = if args.seeds_only { Vec::new() } else { corpus::read(args.corpus.as_deref())? };
    let base = against::base(args)?;
    pages::forget(&args.out)?;
    pages::make_folder(&args.out)?;
    let mut gate = Gate::new();
    let notes: Vec<String> = prepared
        .iter()
        .flat_map(|scenario| scenario.lints().into_iter().map(|lint| format!("{}: {lint}", scenario.scenario().id)))
        .collect();
    let read = show::count(prepared.len(), "scenario", "scenarios");
    gate.step(Exit::Pass, "lint", &format!("{read}, {}", show::count(notes.len(), "note", "notes")));
    gate.tell(&notes.join("\n"));
    // They run first, as the first of each is half of the check for determinism.
    let mut ran = seeds::seeds(args, &prepared, base.as_ref())?;
    if !args.seeds_only {
        again::determinism(&mut gate, args, &prepared, &ran.file)?;
        again::corpus(&mut gate, args, &prepared, known)?;
        seeds::unreached(&mut ran.file);
    }
    ran.tell(&mut gate);
    coverage(&mut gate, &ran.file);
    let comparison = base.map(|base| against::against(&mut gate, args, &paths, &base, &ran, &waivers));
    match &args.accept {
        _ if comparison.is_some() || args.seeds_only => {}
        Some(_) => gate.nothing("compare", "there is no baseline yet"),
        None if args.no_baseline => gate.nothing("compare", "without a baseline, as was asked for"),
        None => against::no_baseline(&mut gate),
    }
    ran.file.object(std::mem::take(&mut gate.objections));
    finish(&mut gate, args, &prepared, &ran.file, comparison.as_ref());
    Ok(gate)
}

/// Reads every scenario of this shard, or shows all that is wrong with them.
fn lint(args: &Args, paths: &[String], registry: &Registry) -> Result<Vec<Prepared>, Exit> {
    let mine = |path: &&String| args.shard.is_none_or(|(shard, of)| shard_of(path, of) == shard);
    let mut prepared = prepare_all(paths.iter().filter(mine), |path| prepare(path, registry))?;
    prepared.sort_by(|a, b| a.scenario().id.cmp(&b.scenario().id));
    if let Some(twice) = prepared.windows(2).find(|pair| pair[0].scenario().id == pair[1].scenario().id) {
        let (one, other) = (twice[0].path(), twice[1].path());
        show::notes(&[format!("{one} and {other} have the same name: a result could not tell them apart")]);
        return Err(Exit::Usage);
    }
    Ok(prepared)
}

fn wanted(args: &Args, prepared: &Prepared) -> Vec<u64> {
    let seeds = &prepared.scenario().seeds;
    match args.tier {
        Tier::Pr => seeds.pr.iter().collect(),
        Tier::Release => seeds.release.iter().collect(),
    }
}

fn estimate(args: &Args, prepared: &[Prepared]) -> Result<Gate, Exit> {
    let mut gate = Gate::new();
    let mut sum = 0.0;
    for scenario in prepared {
        let watch = Stopwatch::start();
        scenario.run_seed(1, false).map_err(|error| crate::worlds::books(&error))?;
        let seeds = wanted(args, scenario).len();
        // A second run elsewhere, and one seed again for its trace, beside its twin.
        let cost = watch.elapsed().as_secs_f64() * (seeds + 3) as f64;
        sum += cost;
        let _ = writeln!(gate.text, "{cost:>8.1} core-s  {:<22} {seeds} seeds", scenario.scenario().id);
    }
    let jobs = args.jobs.max(1);
    let _ = writeln!(
        gate.text,
        "{sum:>8.1} core-s in all, {:.0} s with {jobs} at a time, measured on one seed of each just now",
        sum / jobs as f64
    );
    Ok(gate)
}

/// What proved nothing.
fn coverage(gate: &mut Gate, file: &ResultFile) {
    let void: Vec<String> = file
        .scenarios
        .iter()
        .flat_map(|scenario| scenario.void.iter().map(|why| format!("{}: {why}", scenario.id)))
        .collect();
    match void.len() {
        0 if file.scenarios.is_empty() => gate.nothing("coverage", "no scenario is in this shard"),
        0 => gate.step(Exit::Pass, "coverage", "every fault acted, every [[sometimes]] was reached"),
        n => gate.step(Exit::Void, "coverage", &show::count(n, "thing proved nothing", "things proved nothing")),
    }
    gate.tell(&void.join("\n"));
    let (reached, all, never) = assertions_reached(&file.scenarios);
    if !never.is_empty() {
        gate.tell(&format!("{reached} of {all} assertions in the code were reached; never: {}", never.join(", ")));
    }
}

/// Accepts the result where it is to be, and writes all files.
fn finish(gate: &mut Gate, args: &Args, prepared: &[Prepared], file: &ResultFile, comparison: Option<&Comparison>) {
    if args.accept.is_some() && gate.exit != Exit::Pass {
        gate.tell(
            "not accepted: a baseline needs all scenarios of the last one, and a gate that fails in nothing else",
        );
    } else if let Some(reason) = &args.accept {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        match baseline::accept(args.baseline.as_deref(), &reason, file) {
            Ok(path) => gate.tell(&format!("accepted as {path}: {reason}")),
            Err(exit) => gate.exit = gate.exit.and(exit),
        }
    }
    let word = match gate.exit {
        Exit::Pass => "PASS",
        Exit::Void => "VOID: proved nothing",
        Exit::Regressed => "WORSE than the baseline",
        _ => "FAIL",
    };
    let _ = writeln!(gate.text, "{word}      report: {}/report.html", args.out);
    // What was found is told, though not all of it could be written down.
    if let Err(exit) = files_of(gate, args, prepared, file, comparison) {
        gate.exit = gate.exit.and(exit);
    }
}

fn files_of(
    gate: &mut Gate,
    args: &Args,
    prepared: &[Prepared],
    file: &ResultFile,
    comparison: Option<&Comparison>,
) -> Result<(), Exit> {
    let summary = summary::render(&gate.text);
    if args.annotations {
        let of = |scenario: &Prepared| (scenario.scenario().id.clone(), scenario.path().to_owned());
        let paths: BTreeMap<String, String> = prepared.iter().map(of).collect();
        gate.text.push_str(&annotations::github(file, &paths));
    }
    pages::write_result(&args.out, file, &summary, comparison)?;
    let Some((shard, of)) = args.shard else { return Ok(()) };
    write(&format!("{}/shard.json", args.out), &ShardFile { shard, of, tier: args.tier }.text())
}
