//! The tier's seeds of all scenarios: what they came to, and what of it belongs beside the baseline.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use seaworthy_harness::parallel::{in_parallel, in_parallel_then};
use seaworthy_harness::run::{Prepared, RunError};
use seaworthy_reports::pool::Pool;
use seaworthy_reports::render::text;
use seaworthy_reports::result::{ResultFile, Scenario, Time, Verdict};

use super::{Args, Gate, wanted};
use crate::drawn::Timed;
use crate::elsewhere;
use crate::exit::Exit;
use crate::pages;
use crate::show;
use crate::shrink::of_result;
use crate::stopwatch::Stopwatch;
use crate::worlds::{books, commit};

/// Most seconds to make the first failure of a scenario small.
const SHRINK: Duration = Duration::from_secs(20);

/// What the seeds came to.
pub(super) struct Ran {
    pub(super) file: ResultFile,
    /// The same over the seeds that the baseline has, where those are fewer.
    pub(super) like_base: ResultFile,
    seeds: usize,
    seconds: f64,
    /// A line for each scenario that passes, more for those that don't.
    lines: String,
}

impl Ran {
    pub(super) fn tell(&self, gate: &mut Gate) {
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
pub(super) fn seeds(args: &Args, prepared: &[Prepared], base: Option<&ResultFile>) -> Result<Ran, Exit> {
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
    runs.into_iter().collect::<Result<(), RunError>>().map_err(|error| books(&error))?;
    let finished: Vec<(&Prepared, Scenario, Pool, Timed)> = prepared
        .iter()
        .zip(pools)
        .map(|(scenario, (pool, timed))| (scenario, pool.finish(&scenario.meta()), pool, timed))
        .collect();
    progress.set_message("twins for the pictures");
    let drawn = in_parallel(&finished, args.jobs, |(scenario, result, _, timed)| timed.drawn(scenario, result, None));
    progress.finish_and_clear();
    let (mut results, mut likes, mut lines) = (Vec::new(), Vec::new(), String::new());
    let like_base = like_base.iter().zip(&fewer).map(|(pool, fewer)| (!fewer.is_empty()).then_some(pool));
    for (((scenario, mut result, pool, _), drawn), like) in finished.into_iter().zip(drawn).zip(like_base) {
        if args.instructions {
            elsewhere::count_instructions(scenario.path(), &mut result)?;
        }
        likes.push(like.map_or_else(|| result.clone(), |pool| pool_like(pool, scenario, &result)));
        let dir = format!("{}/{}", args.out, result.id);
        pages::write_scenario(&dir, &pool, &result.id, drawn.as_ref())?;
        lines.push_str(&block(args, scenario, &result, &dir, drawn.and_then(|drawn| drawn.told(&dir)))?);
        results.push(result);
    }
    let resolution_ms = prepared.iter().map(Prepared::resolution_ms).max().unwrap_or(1);
    let [file, like_base] = [results, likes].map(|of| ResultFile::new(&commit(), Time::Virtual, resolution_ms, of));
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
fn block(
    args: &Args,
    prepared: &Prepared,
    result: &Scenario,
    dir: &str,
    trace: Option<String>,
) -> Result<String, Exit> {
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
        if let Some(trace) = trace {
            let _ = writeln!(block, "  {trace}");
        }
    }
    Ok(block)
}

/// Whatever was to be reached and never was proves nothing: here, where all of the tier's seeds have run.
pub(super) fn unreached(file: &mut ResultFile) {
    for scenario in &mut file.scenarios {
        let never = scenario.sometimes.iter().filter(|some| some.hits == 0);
        let told = never.map(|some| format!("never reached in {} seeds: {}", scenario.seeds.len(), some.told()));
        scenario.void.extend(told.collect::<Vec<String>>());
    }
    file.judge();
}
