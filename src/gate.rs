//! `gate`: whether a build may be released: lint, determinism, known failures, seeds, coverage, and the baseline.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use seaworthy_engine::node::Registry;
use seaworthy_harness::explore::DETERMINISM;
use seaworthy_harness::parallel::{in_parallel, in_parallel_then};
use seaworthy_harness::run::{Prepared, RunError};
use seaworthy_harness::sim::trace::first_difference;
use seaworthy_reports::compare::{Comparison, ScenarioDelta, Seeds, Tolerance, Word, compare};
use seaworthy_reports::pool::Pool;
use seaworthy_reports::render::{annotations, summary, text};
use seaworthy_reports::result::{Objection, ResultFile, Scenario, Seed, Time, Verdict, assertions_reached};

use crate::baseline;
use crate::corpus::{self, Known};
use crate::elsewhere;
use crate::exit::Exit;
use crate::files::list;
use crate::pages::{self, Timed, write};
use crate::rebuild::Rebuild;
use crate::results::{comparison_text, exit_of, loosened_text};
use crate::scenario_files::{is_scenario, prepare, prepare_all};
use crate::shard::{self, ShardFile, Tier, shard_of, stem_of};
use crate::show;
use crate::shrink::of_result;
use crate::stopwatch::Stopwatch;
use crate::waivers::{self, Waivers};

/// Most seconds to make the first failure of a scenario small.
const SHRINK: Duration = Duration::from_secs(20);

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
    /// The result to compare with; without the option, ci/baseline.json where it is.
    #[arg(long)]
    baseline: Option<String>,
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
        Err(exit) => exit.and(pages::end_early(&args.out, &format!("seaworthy gate ended with {}", exit as u8))),
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
    let paths = files(args)?;
    let prepared = lint(args, &paths, registry)?;
    if args.estimate {
        return estimate(args, &prepared);
    }
    let waivers = waivers::read(args.waivers.as_deref())?;
    let known = if args.seeds_only { Vec::new() } else { corpus::read(args.corpus.as_deref())? };
    let base = base(args)?;
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
    let mut ran = seeds(args, &prepared, base.as_ref())?;
    if !args.seeds_only {
        determinism(&mut gate, args, &prepared, &ran.file)?;
        corpus(&mut gate, args, &prepared, known)?;
        unreached(&mut ran.file);
    }
    ran.tell(&mut gate);
    coverage(&mut gate, &ran.file);
    let comparison = base.map(|base| against(&mut gate, args, &paths, &base, &ran, &waivers));
    match &args.accept {
        _ if comparison.is_some() || args.seeds_only => {}
        Some(_) => gate.nothing("compare", "there is no baseline yet"),
        None => gate.nothing("compare", "there is no baseline; `seaworthy gate --accept REASON` makes one"),
    }
    ran.file.object(std::mem::take(&mut gate.objections));
    finish(&mut gate, args, &prepared, &ran.file, comparison.as_ref());
    Ok(gate)
}

/// The scenario files of all shards.
fn files(args: &Args) -> Result<Vec<String>, Exit> {
    let mut paths = Vec::new();
    for path in &args.scenarios {
        if is_scenario(path) {
            paths.push(path.clone());
            continue;
        }
        let inside = list(path, ".toml").map_err(|error| {
            show::notes(&[format!("could not read the folder {path}: {error}")]);
            Exit::from(&error)
        })?;
        paths.extend(inside);
    }
    Ok(paths)
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
    if prepared.is_empty() && args.shard.is_none() {
        show::notes(&[
            "proved nothing: there is no scenario; `seaworthy new scenario --from GRAPH` writes one".to_owned()
        ]);
        return Err(Exit::Void);
    }
    Ok(prepared)
}

/// The file that a result's scenario is of: `cuts.toml` has `cuts`, and `cuts.5s` of its matrix.
fn file_of<'a>(id: &str, paths: &'a [String]) -> Option<&'a String> {
    let is_of = |path: &&String| {
        let rest = stem_of(path).to_str().and_then(|stem| id.strip_prefix(stem));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    paths.iter().filter(is_of).max_by_key(|path| stem_of(path).len())
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
        // A second run elsewhere, and the twin of one seed.
        let cost = watch.elapsed().as_secs_f64() * (seeds + 2) as f64;
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

/// The first seed of each again in a second process, in another directory, environment and time zone.
fn determinism(gate: &mut Gate, args: &Args, prepared: &[Prepared], file: &ResultFile) -> Result<(), Exit> {
    // Both are in order of their ids.
    let firsts: Vec<(&Prepared, &Seed)> = prepared
        .iter()
        .zip(&file.scenarios)
        .filter_map(|(prepared, result)| Some((prepared, result.seeds.first()?)))
        .collect();
    let again = in_parallel(&firsts, args.jobs, |(prepared, first)| {
        let (there, _) = elsewhere::trace(prepared.path(), first.seed, false)?;
        if first.trace_hash == there { Ok(None) } else { parts(prepared, first, &there).map(Some) }
    });
    let mut differ = Vec::new();
    for (again, (prepared, _)) in again.into_iter().zip(&firsts) {
        if let Some(told) = again? {
            gate.object(&prepared.scenario().id, "determinism", Exit::Nondeterministic, &told);
            differ.push(told);
        }
    }
    if differ.is_empty() {
        gate.step(Exit::Pass, "determinism", "the first seed of each is the same in a second process, elsewhere");
    } else {
        gate.step(
            Exit::Nondeterministic,
            "determinism",
            &show::count(differ.len(), "scenario differs", "scenarios differ"),
        );
        gate.tell(&differ.join("\n"));
    }
    Ok(())
}

/// Where a seed goes another way in a second process.
fn parts(prepared: &Prepared, first: &Seed, there: &str) -> Result<String, Exit> {
    let Seed { seed, trace_hash: here, .. } = first;
    let (_, theirs) = elsewhere::trace(prepared.path(), *seed, true)?;
    let judged = prepared.run_alone(&prepared.plan(*seed), true).map_err(|error| crate::worlds::books(&error))?;
    let ours = judged.trace.lines();
    let [ours, theirs] = [&ours, &theirs].map(|lines| lines.lines().collect::<Vec<&str>>());
    let what = |line: Option<&str>| line.unwrap_or("nothing more").to_owned();
    let told = match first_difference(&ours, &theirs) {
        Some((here, there)) => format!("they part at {} here, {} there", what(here), what(there)),
        None => "two more runs did not part".to_owned(),
    };
    Ok(format!("{} seed {seed}: trace {here} here, {there} in a second process; {told}", prepared.scenario().id))
}

/// Every known failure again.
fn corpus(gate: &mut Gate, args: &Args, prepared: &[Prepared], known: Vec<(String, Known)>) -> Result<(), Exit> {
    let (mut fitting, mut elsewhere, mut stale) = (Vec::new(), 0, Vec::new());
    for (at, known) in known {
        let Some(scenario) = prepared.iter().find(|scenario| scenario.scenario().id == known.scenario) else {
            elsewhere += 1;
            continue;
        };
        match scenario.check_plan(&known.plan) {
            Ok(()) => fitting.push((at, known, scenario)),
            Err(why) => stale.push((known.scenario, format!("{at}: no longer fits: {why}"))),
        }
    }
    let again = in_parallel(&fitting, args.jobs, |(at, known, scenario)| -> Result<Again, Exit> {
        let judged = scenario.run_plan(&known.plan, false).map_err(|error| crate::worlds::books(&error))?;
        if judged.run.events.is_empty() {
            return Ok(Again::Stale(format!("{at}: no longer fits: it lets no event of the load in")));
        }
        if known.check == DETERMINISM {
            let parts =
                scenario.parts_from(&known.plan, &judged.trace).map_err(|error| crate::worlds::books(&error))?;
            if let Some(parts) = parts {
                return Ok(Again::Back(format!("{at}: {}: {parts}", known.check)));
            }
        }
        let failures = judged.failures(scenario);
        let back = failures.iter().find(|failure| failure.at_ns.is_some() || failure.check == known.check);
        Ok(match back {
            Some(broken) => Again::Back(format!("{at}: {}: {}", broken.check, broken.message)),
            None => Again::Held,
        })
    });
    let mut back = Vec::new();
    for (again, (_, known, _)) in again.into_iter().zip(&fitting) {
        match again? {
            Again::Back(told) => back.push((known.scenario.clone(), told)),
            Again::Stale(told) => stale.push((known.scenario.clone(), told)),
            Again::Held => {}
        }
    }
    let known = show::count(fitting.len(), "known failure", "known failures");
    match () {
        () if !back.is_empty() => gate.step(Exit::Failed, "corpus", &format!("{} of {known} are back", back.len())),
        () if !stale.is_empty() => gate.step(Exit::Usage, "corpus", "plans that no longer fit their scenarios"),
        () => gate.step(Exit::Pass, "corpus", &format!("{known}, none is back")),
    }
    if elsewhere > 0 && args.shard.is_none() {
        gate.tell(&format!("{} of scenarios that are not here", show::count(elsewhere, "line", "lines")));
    }
    for (told, exit) in [(back, Exit::Failed), (stale, Exit::Usage)] {
        for (scenario, told) in told {
            gate.tell(&told);
            gate.object(&scenario, "corpus", exit, &told);
        }
    }
    Ok(())
}

/// What a known failure came to.
enum Again {
    /// It did not come back.
    Held,
    Back(String),
    /// Its plan proves nothing any more.
    Stale(String),
}

/// What the seeds came to.
struct Ran {
    file: ResultFile,
    /// The same over the seeds that the baseline has, where those are fewer.
    like_base: ResultFile,
    seeds: usize,
    seconds: f64,
    /// A line for each scenario that passes, more for those that don't.
    lines: String,
}

impl Ran {
    fn tell(&self, gate: &mut Gate) {
        let failed = self.file.scenarios.iter().filter(|scenario| scenario.verdict == Verdict::Fail).count();
        let scenarios = show::count(self.file.scenarios.len(), "scenario", "scenarios");
        let ran = format!("{} seeds of {scenarios} in {:.0} s", self.seeds, self.seconds);
        match failed {
            0 => gate.step(Exit::Pass, "seeds", &ran),
            failed => {
                let failed = show::count(failed, "scenario", "scenarios");
                gate.step(Exit::Failed, "seeds", &format!("{failed} failed; {ran}"));
            }
        }
        gate.tell(&self.lines);
    }
}

/// The tier's seeds of all scenarios, in one queue.
fn seeds(args: &Args, prepared: &[Prepared], base: Option<&ResultFile>) -> Result<Ran, Exit> {
    let watch = Stopwatch::start();
    let fewer: Vec<BTreeSet<u64>> = prepared.iter().map(|scenario| fewer(args, scenario, base)).collect();
    let mut like_base: Vec<Pool> = prepared.iter().map(|_| Pool::default()).collect();
    let wanted: Vec<(usize, u64)> = (0..)
        .zip(prepared)
        .flat_map(|(at, scenario)| wanted(args, scenario).into_iter().map(move |seed| (at, seed)))
        .collect();
    let progress = show::spinner("gate");
    let mut ended = 0;
    let mut pools: Vec<(Pool, Timed)> = prepared.iter().map(|_| Default::default()).collect();
    let run = |(at, seed): &(usize, u64)| prepared[*at].run_seed(*seed, false);
    // What a seed left behind is large, and goes with it.
    let runs = in_parallel_then(&wanted, args.jobs, run, |(at, _), judged| {
        ended += 1;
        progress.set_message(format!("{}: {ended} of {} seeds", prepared[*at].scenario().id, wanted.len()));
        progress.tick();
        let run = judged?.run;
        let (pool, timed) = &mut pools[*at];
        pool.add(&run);
        timed.add(&run);
        if fewer[*at].contains(&run.seed) {
            like_base[*at].add(&run);
        }
        Ok(())
    });
    runs.into_iter().collect::<Result<(), RunError>>().map_err(|error| crate::worlds::books(&error))?;
    let finished: Vec<(&Prepared, Scenario, Pool, Timed)> = prepared
        .iter()
        .zip(pools)
        .map(|(scenario, (pool, timed))| (scenario, pool.finish(&scenario.meta()), pool, timed))
        .collect();
    progress.set_message("twins for the pictures");
    let timelines =
        in_parallel(&finished, args.jobs, |(scenario, result, _, timed)| timed.timelines(scenario, result, None));
    progress.finish_and_clear();
    let (mut results, mut likes, mut lines) = (Vec::new(), Vec::new(), String::new());
    let like_base = like_base.iter().zip(&fewer).map(|(pool, fewer)| (!fewer.is_empty()).then_some(pool));
    for (((scenario, mut result, pool, _), timelines), like) in finished.into_iter().zip(timelines).zip(like_base) {
        if args.instructions {
            elsewhere::count_instructions(scenario.path(), &mut result)?;
        }
        likes.push(like.map_or_else(|| result.clone(), |pool| pool_like(pool, scenario, &result)));
        let dir = format!("{}/{}", args.out, result.id);
        pages::write_scenario(&dir, &pool, &result.id, timelines.as_ref())?;
        lines.push_str(&block(args, scenario, &result, &dir)?);
        results.push(result);
    }
    let resolution_ms = prepared.iter().map(Prepared::resolution_ms).max().unwrap_or(1);
    let [file, like_base] =
        [results, likes].map(|of| ResultFile::new(&crate::worlds::commit(), Time::Virtual, resolution_ms, of));
    Ok(Ran { file, like_base, seeds: wanted.len(), seconds: watch.elapsed().as_secs_f64(), lines })
}

/// The seeds of the baseline's scenario, where this run has all of them and more; else none.
fn fewer(args: &Args, prepared: &Prepared, base: Option<&ResultFile>) -> BTreeSet<u64> {
    let ours: BTreeSet<u64> = wanted(args, prepared).into_iter().collect();
    let known = base.and_then(|base| base.scenarios.iter().find(|known| known.id == prepared.scenario().id));
    let theirs: BTreeSet<u64> = known.into_iter().flat_map(|known| &known.seeds).map(|seed| seed.seed).collect();
    if theirs.len() < ours.len() && theirs.is_subset(&ours) { theirs } else { BTreeSet::new() }
}

/// What fewer of the seeds of `whole` come to.
fn pool_like(pool: &Pool, prepared: &Prepared, whole: &Scenario) -> Scenario {
    let mut result = pool.finish(&prepared.meta());
    for seed in &mut result.seeds {
        seed.instructions = whole.seeds.iter().find(|same| same.seed == seed.seed).and_then(|same| same.instructions);
    }
    result
}

/// A line for what passes, all that matters for what doesn't.
fn block(args: &Args, prepared: &Prepared, result: &Scenario, dir: &str) -> Result<String, Exit> {
    let duration_ms = prepared.scenario().sim.duration_ns / 1_000_000;
    let heading = text::Heading { path: prepared.path(), plan: None, duration_ms, all_expectations: false };
    let file = ResultFile::new("", Time::Virtual, prepared.resolution_ms(), vec![result.clone()]);
    let mut block = text::scenario(&file, result, &heading);
    if result.verdict == Verdict::Pass {
        return Ok(block.lines().next().map_or_else(String::new, |line| format!("{line}\n")));
    }
    if result.verdict == Verdict::Fail {
        let path = format!("{dir}/smallest.plan.json");
        if let Some(smallest) = of_result(prepared, result, SHRINK, args.jobs, &path) {
            let _ = writeln!(block, "  smallest plan: {}   again: {}", smallest.size, smallest.again);
            let _ = writeln!(block, "  why: seaworthy debug {} --plan {path}", prepared.path());
        }
    }
    Ok(block)
}

/// Whatever was to be reached and never was proves nothing: here, where all of the tier's seeds have run.
fn unreached(file: &mut ResultFile) {
    for scenario in &mut file.scenarios {
        let never = scenario.sometimes.iter().filter(|some| some.hits == 0);
        let told = never.map(|some| format!("never reached in {} seeds: {}", scenario.seeds.len(), some.that));
        scenario.void.extend(told.collect::<Vec<String>>());
    }
    file.judge();
}

/// What proved nothing.
fn coverage(gate: &mut Gate, file: &ResultFile) {
    let void: Vec<String> = file
        .scenarios
        .iter()
        .flat_map(|scenario| scenario.void.iter().map(|why| format!("{}: {why}", scenario.id)))
        .collect();
    match void.len() {
        0 => gate.step(Exit::Pass, "coverage", "every fault acted, every [[sometimes]] was reached"),
        n => gate.step(Exit::Void, "coverage", &show::count(n, "thing proved nothing", "things proved nothing")),
    }
    gate.tell(&void.join("\n"));
    let (reached, all, never) = assertions_reached(&file.scenarios);
    if !never.is_empty() {
        gate.tell(&format!("{reached} of {all} assertions in the code were reached; never: {}", never.join(", ")));
    }
}

/// The result to compare with: the baseline, where there is one, or what an older build does.
fn base(args: &Args) -> Result<Option<ResultFile>, Exit> {
    if args.seeds_only {
        return Ok(None);
    }
    let Some(rev) = &args.rebuild else {
        return baseline::find(args.baseline.as_deref(), args.accept.is_some());
    };
    let options = ["--tier".to_owned(), args.tier.name().to_owned(), "--jobs".to_owned(), args.jobs.to_string()];
    let counted = args.instructions.then(|| "--instructions".to_owned());
    let gate = args.scenarios.iter().cloned().chain(options).chain(counted).collect();
    let out = format!("{}/rebuilt", args.out);
    Rebuild { rev, path: &args.rebuild_path, gate, out }.result().map(Some)
}

fn against(
    gate: &mut Gate,
    args: &Args,
    paths: &[String],
    base: &ResultFile,
    ran: &Ran,
    waivers: &Waivers,
) -> Comparison {
    // Of a shard, the other shards' scenarios are not missing; one that no file has is missing in each.
    let is_mine = |path: &String| args.shard.is_none_or(|(shard, of)| shard_of(path, of) == shard);
    let (there, gone): (Vec<&Scenario>, Vec<&Scenario>) =
        base.scenarios.iter().partition(|scenario| file_of(&scenario.id, paths).is_some());
    let mine = there.iter().filter(|scenario| file_of(&scenario.id, paths).is_some_and(is_mine));
    let mine: Vec<Scenario> = mine.map(|scenario| (*scenario).clone()).collect();
    let (nothing, left_out) = (there.is_empty(), mine.is_empty() && !there.is_empty());
    let part = if nothing { base.clone() } else { ResultFile { scenarios: mine, ..base.clone() } };
    let mut comparison = compare(&part, &ran.like_base, &Tolerance::default(), Seeds::Pinned);
    if !nothing {
        gone.iter().for_each(|scenario| comparison.miss(&scenario.id));
    }
    let waived = comparison.waive(|loosened| waivers.waive(loosened));
    let exit = match () {
        () if left_out && gone.is_empty() => Exit::Pass,
        () => exit_of(&comparison),
    };
    let what = match exit {
        Exit::Pass if left_out => "no scenario of this shard has a baseline".to_owned(),
        Exit::Pass => "no figure is worse than the baseline's".to_owned(),
        Exit::Usage => "easier to meet than the baseline, without a waiver".to_owned(),
        Exit::Void if comparison.scenarios.is_empty() => "the baseline is of no scenario".to_owned(),
        Exit::Void => "not all of it can be compared; `gate --accept REASON` makes a new baseline".to_owned(),
        _ => "worse than the baseline".to_owned(),
    };
    // What is accepted is told, and no reason to fail.
    let is_gone = !gone.is_empty() || comparison.loosened.iter().any(|loosened| loosened.what == "scenario");
    let told = if args.accept.is_some() && !is_gone { Exit::Pass } else { exit };
    gate.step(told, "compare", &what);
    tell_scope(gate, ran, &part, &comparison);
    for loosened in &waived {
        gate.tell(&format!("waived: {}", loosened_text(loosened)));
    }
    let ran_here = |scenario: &str| args.shard.is_none() || ran.file.scenarios.iter().any(|known| known.id == scenario);
    for unused in waivers.unused(&waived, ran_here) {
        gate.tell(&format!("a waiver that nothing needs: {unused}"));
    }
    if exit != Exit::Pass {
        gate.tell(&comparison_text(&comparison));
    }
    if told != Exit::Pass {
        object(gate, &comparison, &what);
    }
    comparison
}

/// How much of the run the comparison speaks of.
fn tell_scope(gate: &mut Gate, ran: &Ran, base: &ResultFile, comparison: &Comparison) {
    let all = ran.file.scenarios.len();
    let without = comparison.without_base.len();
    if without > 0 {
        gate.tell(&format!("{without} of {} have no baseline", show::count(all, "scenario", "scenarios")));
    }
    let seeds = |file: &ResultFile| {
        let compared = file.scenarios.iter().filter(|new| base.scenarios.iter().any(|old| old.id == new.id));
        compared.map(|scenario| scenario.seeds.len()).sum::<usize>()
    };
    let (part, whole) = (seeds(&ran.like_base), seeds(&ran.file));
    if part < whole {
        gate.tell(&format!("over the baseline's seeds: {part} of {whole}"));
    }
    let untold: Vec<&str> = comparison.inconclusive().map(|scenario| scenario.id.as_str()).collect();
    if !untold.is_empty() {
        gate.tell(&format!("inconclusive, as a figure of one side can't be told: {}", untold.join(", ")));
    }
}

/// Writes down what is worse, looser or unlike, scenario by scenario.
fn object(gate: &mut Gate, comparison: &Comparison, what: &str) {
    if comparison.scenarios.is_empty() {
        gate.object("", "compare", Exit::Void, what);
    }
    for loosened in &comparison.loosened {
        let what = format!("LOOSENED {} {} → {}", loosened.what, loosened.from, loosened.to);
        gate.object(&loosened.scenario, "compare", Exit::Usage, &what);
    }
    for scenario in &comparison.scenarios {
        match (scenario.word, &scenario.why) {
            (Word::NotComparable, Some(why)) => gate.object(&scenario.id, "compare", Exit::Void, why),
            (Word::Regressed, _) => gate.object(&scenario.id, "compare", Exit::Regressed, &worst(scenario)),
            _ => {}
        }
    }
}

/// The figure that is worse by most, and how many others are.
fn worst(scenario: &ScenarioDelta) -> String {
    let mut worse = scenario.deltas.iter().filter(|delta| delta.word == Word::Regressed);
    let Some(first) = worse.next() else { return "worse over the seeds".to_owned() };
    let [base, head] = [&first.base, &first.head].map(text::figure);
    let more = worse.count();
    let more =
        if more == 0 { String::new() } else { format!(", and {}", show::count(more, "figure more", "figures more")) };
    format!("{} {base} → {head}{more}", first.what)
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
