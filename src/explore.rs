//! `explore`: scenarios under faults that nobody wrote, until a promise breaks or the time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use seaworthy_engine::node::Registry;
use seaworthy_harness::explore::{DETERMINISM, Explorer, Found};
use seaworthy_harness::run::Prepared;
use serde::Serialize;

use crate::corpus::{self, Known};
use crate::exit::Exit;
use crate::scenario_files::{files, prepare, prepare_all};
use crate::show;
use crate::shrink::{Smallest, Ways, as_it_is, smallest};
use crate::stopwatch::{Stopwatch, cpu_time};

/// Looks for failures around scenarios: more seeds, and more faults than they name.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  seaworthy explore scenarios scenarios/deep --budget 600\n  \
    seaworthy explore my.toml --trials 1000 --corpus scenarios/corpus\n\n\
    Each trial is a scenario, a seed, and up to four drawn faults; families of faults are on or off as a whole.\n\
    Trials that reach rare places are changed and tried again. What fails is made small, written as a plan, and told\n\
    with the line to run it again. Beside drawn faults objectives of time and share are not judged: more faults are no\n\
    excuse for loss, but one for delay. Ends with 1 when something failed.")]
pub(crate) struct Args {
    /// Scenarios (.toml), or folders of them.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// Most seconds to explore; what is found then is still made small.
    #[arg(long, default_value_t = 60)]
    budget: u64,
    /// Counts those as seconds of one CPU: on a busy machine it looks as long as on a quiet one.
    #[arg(long)]
    cpu: bool,
    /// Most trials; by default as many as the time allows.
    #[arg(long)]
    trials: Option<u64>,
    /// Seeds count from here: another one explores elsewhere.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs each trial twice, on threads of their own: one whose two traces differ fails, and ends the command with 5.
    #[arg(long)]
    twice: bool,
    /// Ends at the first failure.
    #[arg(long)]
    first: bool,
    /// Most seconds to make each failure small; 0 leaves it as it is.
    #[arg(long, default_value_t = 120)]
    shrink: u64,
    /// Where plans of failures go; each scenario has a folder of its own in it.
    #[arg(long, default_value = "out")]
    out: String,
    /// Adds each failure to this folder of known ones, which `gate` runs again.
    #[arg(long)]
    corpus: Option<String>,
    /// Worlds at a time; changes no trial.
    #[arg(long, default_value_t = crate::worlds::default_jobs())]
    jobs: usize,
    /// Prints one JSON document instead of lines.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Explored {
    schema: &'static str,
    trials: u64,
    /// Trials of a scenario as it is, without drawn faults.
    plain: u64,
    /// Different sites that were reached: an event at a place, and the power of two of its count.
    sites: usize,
    failures: Vec<Failed>,
    /// Kinds of events that were seen, with the most trials that one place of them had.
    reached: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Failed {
    scenario: String,
    seed: u64,
    trial: u64,
    /// How many trials failed so.
    times: u64,
    check: String,
    message: String,
    smallest: Smallest,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let prepared = files(&args.scenarios).and_then(|paths| prepare_all(paths.iter(), |path| prepare(path, registry)));
    match prepared.and_then(|scenarios| explore(args, &scenarios)) {
        Ok(explored) => {
            let differs = explored.failures.iter().any(|failed| failed.check == DETERMINISM);
            let failed = match explored.failures.len() {
                0 => Exit::Pass,
                _ if differs => Exit::Nondeterministic,
                _ => Exit::Failed,
            };
            failed.and(if args.json { show::json(&explored) } else { show::report(&text(&explored)) })
        }
        Err(exit) => exit,
    }
}

fn explore(args: &Args, scenarios: &[Prepared]) -> Result<Explored, Exit> {
    let watch = Stopwatch::start();
    let budget = Duration::from_secs(args.budget);
    let go_on = || budget > if args.cpu { cpu_time() } else { watch.elapsed() };
    let mut explorer = Explorer::new(scenarios, args.seed, args.jobs).twice(args.twice);
    let mut failures: BTreeMap<(usize, String), (Found, u64)> = BTreeMap::new();
    let bar = show::spinner("exploring");
    while go_on() && args.trials.is_none_or(|most| explorer.trials() < most) && (!args.first || failures.is_empty()) {
        for found in explorer.round(&go_on).map_err(|error| crate::worlds::books(&error))? {
            let signature = (found.trial.scenario, found.failure.check.clone());
            failures.entry(signature).and_modify(|(_, times)| *times += 1).or_insert((found, 1));
        }
        bar.set_message(format!(
            "{} trials, {} sites, {} in {:.0} s",
            explorer.trials(),
            explorer.coverage().sites(),
            show::count(failures.len(), "failure", "failures"),
            watch.elapsed().as_secs_f64()
        ));
        bar.tick();
    }
    bar.finish_and_clear();
    let mut told = Vec::new();
    for (found, times) in failures.into_values() {
        told.push(keep(args, &scenarios[found.trial.scenario], found, times)?);
    }
    let reached = explorer.coverage().events().into_iter().map(|(event, trials)| (event.to_owned(), trials)).collect();
    Ok(Explored {
        schema: "seaworthy.explore/v1",
        trials: explorer.trials(),
        plain: explorer.plain(),
        sites: explorer.coverage().sites(),
        failures: told,
        reached,
    })
}

/// Makes a failure small, and keeps it where the command line says.
fn keep(args: &Args, prepared: &Prepared, found: Found, times: u64) -> Result<Failed, Exit> {
    let Found { trial, plan, failure } = found;
    let id = &prepared.scenario().id;
    let stem: String = failure.check.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    let path = format!("{}/{id}/{stem}-{}.plan.json", args.out, trial.seed);
    let ways =
        Ways { check: Some(&failure.check), budget: Duration::from_secs(args.shrink), jobs: args.jobs, path: &path };
    let smallest = match failure.check.as_str() {
        // A plan that gives one thing now and another then has no smallest one.
        DETERMINISM => as_it_is(prepared, plan, failure.clone(), &ways)?,
        _ => smallest(prepared, &plan, &ways)?,
    };
    if let Some(folder) = &args.corpus {
        let known = Known { plan: smallest.small.clone(), check: failure.check.clone(), scenario: id.clone() };
        corpus::add(folder, &known)?;
    }
    Ok(Failed {
        scenario: prepared.path().to_owned(),
        seed: trial.seed,
        trial: trial.number,
        times,
        check: failure.check,
        message: failure.message,
        smallest,
    })
}

fn text(explored: &Explored) -> String {
    let mut text = String::new();
    for failed in &explored.failures {
        text.push_str(&format!(
            "FAIL {}  {}, {}, first with seed {}\n  {}\n",
            failed.scenario,
            failed.check,
            show::count(failed.times as usize, "trial", "trials"),
            failed.seed,
            failed.message
        ));
        let smallest = &failed.smallest;
        text.push_str(&format!("  smallest plan: {}\n  again: {}\n", smallest.size, smallest.again));
    }
    text.push_str(&format!(
        "{} trials, {} sites reached, {}\n",
        explored.trials,
        explored.sites,
        show::count(explored.failures.len(), "failure", "failures")
    ));
    text
}
