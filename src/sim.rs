//! `sim`: scenarios in the simulated world, many seeds of each, and what came of them.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use seaworthy_engine::node::Registry;
use seaworthy_harness::plan::Plan;
use seaworthy_harness::run::{Judged, Prepared};
use seaworthy_harness::scenario::{Seeds, Sources, seeds};
use seaworthy_reports::pool::Pool;
use seaworthy_reports::render::{json, summary, text};
use seaworthy_reports::result::{ResultFile, Scenario, Time, Verdict};

use crate::drawn::Timed;
use crate::elsewhere;
use crate::exit::Exit;
use crate::files::write_whole;
use crate::pages;
use crate::plan_files::read_plan;
use crate::scenario_files::{files, prepare_all, prepare_watched};
use crate::show;
use crate::shrink::{Smallest, of_result};
use crate::stopwatch::Stopwatch;
use crate::watch::Watch;
use crate::worlds::{books, commit, default_jobs, problem};

/// Runs scenarios in the simulated world.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  seaworthy sim scenarios/uplink_flap.toml\n  \
    seaworthy sim scenarios --seeds 1..64 --jobs 2\n  \
    seaworthy sim scenarios/smoke.toml --coarse\n  \
    seaworthy sim scenarios/hub_crash.toml --seed 7 --trace")]
pub(crate) struct Args {
    /// Scenarios (.toml), or folders of them.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// One seed only.
    #[arg(long, conflicts_with_all = ["seeds", "plan"])]
    seed: Option<u64>,
    /// Seeds, both ends included, such as 1..8; by default the scenario's own for a pull request.
    #[arg(long, value_parser = parse_seeds)]
    seeds: Option<Seeds>,
    /// Runs this explicit plan (from `plan --json`) instead of the seed's own.
    #[arg(long, conflicts_with = "seeds")]
    plan: Option<String>,
    /// Where to write result.json and summary.md; each scenario gets a folder of its own in it.
    #[arg(long, default_value = "out")]
    out: String,
    /// Most seconds to make the plan of the first failing seed small; 0 leaves it as it is.
    #[arg(long, default_value_t = 20)]
    shrink: u64,
    /// Steps of 10 ms instead of the scenario's own, for long soaks: several times as fast, and a result of its own. Each
    /// scenario's path then ends in #coarse, which every command takes.
    #[arg(long)]
    coarse: bool,
    /// Writes the trace of each seed beside the result, one line a record.
    #[arg(long)]
    trace: bool,
    /// Counts the instructions of the first seed, too, with valgrind: the CPU's cost, which virtual time can't see. That run is
    /// some 50 times as slow.
    #[arg(long, conflicts_with = "plan")]
    instructions: bool,
    /// Worlds at a time; changes no figure.
    #[arg(long, default_value_t = default_jobs())]
    jobs: usize,
    /// Runs again whenever a file of the scenarios is saved, until it is stopped.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Prints the result as JSON instead of text.
    #[arg(long)]
    json: bool,
}

fn parse_seeds(text: &str) -> Result<Seeds, String> {
    seeds(text).map_err(|error| error.to_string())
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let paths = match files(&args.scenarios) {
        Ok(paths) => paths,
        Err(exit) => return exit,
    };
    if !args.watch {
        return once(args, &paths, registry, &Watch::default());
    }
    loop {
        let watch = Watch::default();
        paths.iter().for_each(|path| watch.add(Sources::file_of(path)));
        once(args, &paths, registry, &watch);
        show::notes(&[format!("watching {}", show::count(watch.len(), "file", "files"))]);
        show::notes(&[format!("{} was saved", watch.wait())]);
    }
}

/// Reads and runs all scenarios; `watch` hears of each file.
fn once(args: &Args, paths: &[String], registry: &Registry, watch: &Watch) -> Exit {
    let named = |path: &String| if args.coarse { Sources::coarse(path) } else { path.clone() };
    let paths: Vec<String> = paths.iter().map(named).collect();
    let prepared = match prepare_all(paths.iter(), |path| prepare_watched(path, registry, watch)) {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    if let Err(exit) = pages::make_folder(&args.out) {
        return exit;
    }
    prepared.iter().fold(Exit::Pass, |exit, prepared| exit.and(scenario(args, prepared)))
}

fn scenario(args: &Args, prepared: &Prepared) -> Exit {
    let watch = Stopwatch::start();
    let plan = match args.plan.as_ref().map(|path| Ok((path.as_str(), read_plan(path, prepared)?))).transpose() {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    let plan = plan.as_ref().map(|(path, plan)| (*path, plan));
    let mut timed = Timed::default();
    let pool = match pool(args, prepared, plan, &mut timed) {
        Ok(pool) => pool,
        Err(exit) => return exit,
    };
    let wall = watch.elapsed();
    let mut result = pool.finish(&prepared.meta());
    if args.instructions
        && let Err(exit) = elsewhere::count_instructions(prepared.path(), &mut result)
    {
        return exit;
    }
    let results = vec![result];
    let file = ResultFile::new(&commit(), Time::Virtual, prepared.resolution_ms(), results);
    let result = &file.scenarios[0];
    let heading = text::Heading {
        path: prepared.path(),
        plan: args.plan.as_deref(),
        duration_ms: prepared.scenario().sim.duration_ns / 1_000_000,
        all_expectations: true,
    };
    let mut block = text::scenario(&file, result, &heading);
    if let Some(smallest) = smallest_plan(args, prepared, result) {
        block.push_str(&format!("  smallest plan: {}   again: {}\n", smallest.size, smallest.again));
    }
    let speed = speed(result, wall, args.jobs);
    let dir = format!("{}/{}", args.out, result.id);
    let drawn = timed.drawn(prepared, result, plan);
    if let Some(trace) = drawn.as_ref().and_then(|drawn| drawn.told(&dir)) {
        block.push_str(&format!("  {trace}\n"));
    }
    let summary = format!("{}\n{speed}\n", summary::render(&block));
    let written = pages::write_scenario(&dir, &pool, &result.id, drawn.as_ref())
        .and_then(|()| pages::write_result(&dir, &file, &summary, None));
    if let Err(exit) = written {
        return exit;
    }
    let shown = if args.json {
        show::report(&json::result(&file))
    } else {
        show::report(&format!("{block}  {speed}      report: {dir}/report.html\n"))
    };
    Exit::from(result.verdict).and(shown)
}

/// The smallest plan that breaks what the first failing seed broke first.
fn smallest_plan(args: &Args, prepared: &Prepared, result: &Scenario) -> Option<Smallest> {
    if result.verdict != Verdict::Fail || args.shrink == 0 || args.plan.is_some() || args.json {
        return None;
    }
    let path = format!("{}/{}/smallest.plan.json", args.out, result.id);
    of_result(prepared, result, Duration::from_secs(args.shrink), args.jobs, &path)
}

fn pool(args: &Args, prepared: &Prepared, plan: Option<(&str, &Plan)>, timed: &mut Timed) -> Result<Pool, Exit> {
    if let Some((_, plan)) = plan {
        let judged = prepared.run_plan(plan, args.trace).map_err(|error| books(&error))?;
        keep_trace(args, prepared, &judged);
        let mut pool = Pool::default();
        pool.add(&judged.run);
        timed.add(&judged.run);
        return Ok(pool);
    }
    let wanted = match (args.seed, &args.seeds) {
        (Some(seed), _) => vec![seed],
        (None, Some(seeds)) => seeds.iter().collect(),
        (None, None) => prepared.scenario().seeds.pr.iter().collect::<Vec<u64>>(),
    };
    let bar = progress(prepared, wanted.len());
    let pool = prepared.run_seeds(&wanted, args.jobs, args.trace, |judged| {
        bar.inc(1);
        timed.add(&judged.run);
        keep_trace(args, prepared, judged);
    });
    bar.finish_and_clear();
    pool.map_err(|error| books(&error))
}

fn keep_trace(args: &Args, prepared: &Prepared, judged: &Judged) {
    let path = format!("{}/{}/trace-{}.txt", args.out, prepared.scenario().id, judged.run.seed);
    if args.trace
        && let Err(error) = write_whole(&path, &judged.trace.lines())
    {
        problem(format!("could not write the trace: {error}"), None);
    }
}

fn progress(prepared: &Prepared, seeds: usize) -> ProgressBar {
    // Only when a person watches.
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} seeds, {elapsed}").expect("a constant template");
    let bar = ProgressBar::new(seeds as u64).with_style(style).with_prefix(prepared.scenario().id.clone());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Wall-clock figures go to the terminal and the summary, never into `result.json`.
fn speed(result: &Scenario, wall: Duration, jobs: usize) -> String {
    let simulated_s = result.seeds.iter().map(|seed| seed.virtual_ms).sum::<u64>() as f64 / 1e3;
    let seconds = wall.as_secs_f64().max(1e-6);
    let a_second = simulated_s / seconds;
    // A job is a core's; more jobs than seeds leave some without work.
    let cores = jobs.clamp(1, result.seeds.len().max(1)) as f64;
    let seeds_a_day = a_second / cores * DAY_S / 60.0;
    format!(
        "{simulated_s:.0} simulated s in {seconds:.1} s of wall time: {a_second:.0} a second, {:.0} k seeds of 60 s a day a core",
        seeds_a_day / 1e3
    )
}

const DAY_S: f64 = 86_400.0;
