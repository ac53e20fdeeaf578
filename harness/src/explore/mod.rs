//! Explores: runs scenarios under faults that nobody wrote, keeps what reaches rare places, and makes failures small.
//!
//! Everything is keyed by the number of a trial, and rounds are of one size, so the number of jobs changes nothing: only a
//! budget of time decides how many rounds there are.

mod coverage;
mod shrink;
mod swarm;

pub use coverage::{Coverage, Site};
pub use shrink::{Progress, ShrinkError, Shrunk, shrink};

use std::collections::BTreeSet;
use std::sync::OnceLock;

use seaworthy_reports::result::Verdict;
use seaworthy_reports::slo::{Metric, Objective};

use crate::parallel::in_parallel;
use crate::plan::{Action, Ns, Plan, Tuning};
use crate::run::{Failure, Judged, Prepared, RunError};
use crate::scenario::draw::draw;
use crate::scenario::{Effect, Fault, Promise};

/// Trials of one round: what they reach counts for the next.
const ROUND: usize = 8;
/// Trials with drawn faults end then, but for one in so many: what a minute shows, many short runs show sooner.
const SHORT_NS: Ns = 15_000_000_000;
const WHOLE_EVERY: u64 = 4;
/// One trial in so many changes one that reached something rare.
const MUTATE_EVERY: u64 = 3;
/// Once each scenario has run, one trial in so many is of a scenario as it is, with its next seed.
const PLAIN_EVERY: u64 = 2;
/// Virtual time whose steps cost about what an event costs.
const STEP_NS: Ns = 2_000_000;

/// One run: a scenario, a seed, and the faults that were drawn beside its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Its number, from 0.
    pub number: u64,
    /// Which of the scenarios.
    pub scenario: usize,
    /// The seed.
    pub seed: u64,
    /// More faults, as tables of a scenario; empty for the scenario as it is.
    pub faults: String,
    /// How the engine runs, where not as the scenario says.
    pub engine: Tuning,
    /// When its load ends, virtual ns.
    pub end_ns: Ns,
    /// Whether it is the scenario as it is, with one of its own seeds.
    pub own: bool,
}

/// A trial that broke a promise.
#[derive(Clone, Debug)]
pub struct Found {
    /// The trial.
    pub trial: Trial,
    /// What it did, explicitly.
    pub plan: Plan,
    /// What it broke first.
    pub failure: Failure,
}

/// Runs trials round by round.
pub struct Explorer<'a> {
    scenarios: &'a [Prepared],
    first_seed: u64,
    jobs: usize,
    next: u64,
    plain: u64,
    coverage: Coverage,
    /// The scenarios, the quickest first.
    order: Vec<usize>,
    /// Of each scenario.
    own: Vec<Own>,
    /// Of each scenario: the objectives that it misses over all of its own seeds, once somebody asked.
    missed: Vec<OnceLock<Result<BTreeSet<String>, RunError>>>,
    twice: bool,
}

/// What the trials of a scenario as it is, with its own seeds, came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Own {
    seeds: u64,
    /// What they were worth in time, about: events, and steps of the world.
    work: u64,
}

impl Own {
    /// With one more seed like those before.
    fn with_one_more(self) -> Own {
        Own { seeds: self.seeds + 1, work: self.work + self.work / self.seeds.max(1) }
    }
}

/// What a trial breaks whose two runs differ.
pub const DETERMINISM: &str = "determinism";

impl<'a> Explorer<'a> {
    /// Explores around `scenarios`, with seeds from `first_seed`, in `jobs` worlds at a time.
    #[must_use]
    pub fn new(scenarios: &'a [Prepared], first_seed: u64, jobs: usize) -> Explorer<'a> {
        let mut order: Vec<usize> = (0..scenarios.len()).collect();
        order.sort_by_key(|at| (duration_ns(&scenarios[*at]), *at));
        let own = vec![Own::default(); scenarios.len()];
        let missed = scenarios.iter().map(|_| OnceLock::new()).collect();
        Explorer {
            scenarios,
            first_seed,
            jobs,
            next: 0,
            plain: 0,
            coverage: Coverage::default(),
            order,
            own,
            missed,
            twice: false,
        }
    }

    /// Runs each trial a second time, on a thread of its own: what differs then is a failure, too.
    #[must_use]
    pub fn twice(self, twice: bool) -> Explorer<'a> {
        Explorer { twice, ..self }
    }

    /// Trials that have run.
    #[must_use]
    pub fn trials(&self) -> u64 {
        self.next
    }

    /// Trials of a scenario as it is: those of its own seeds, and where no system could survive what was drawn.
    #[must_use]
    pub fn plain(&self) -> u64 {
        self.plain
    }

    /// What was reached so far.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Runs the next trials; those that broke a promise, in order of their numbers. Stops before trials that `go_on` no
    /// longer wants.
    ///
    /// # Errors
    /// When the harness's own books don't balance.
    pub fn round(&mut self, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Vec<Found>, RunError> {
        let mut own = self.own.clone();
        let trials: Vec<Trial> =
            (self.next..self.next + ROUND as u64).map(|number| self.trial(number, &mut own)).collect();
        let done: Vec<Option<Result<Tried, RunError>>> =
            in_parallel(&trials, self.jobs, |trial| go_on().then(|| self.run(trial)));
        let mut found = Vec::new();
        for (trial, tried) in trials.into_iter().zip(done) {
            let Some(tried) = tried else { break };
            let tried = tried?;
            self.next += 1;
            self.plain += u64::from(tried.plain);
            if trial.own {
                let own = &mut self.own[trial.scenario];
                own.seeds += 1;
                own.work +=
                    tried.judged.history.events.len() as u64 + duration_ns(&self.scenarios[trial.scenario]) / STEP_NS;
            }
            self.coverage.add(&trial, &tried.judged);
            let failed = tried.failure.map(|failure| Found { trial, plan: tried.plan, failure });
            found.extend(failed);
        }
        Ok(found)
    }

    /// What the trial of a number is, given what was reached before its round; `own` counts those of the round, too.
    fn trial(&self, number: u64, own: &mut [Own]) -> Trial {
        let of = |field: &str| draw(self.first_seed, "explore", field, number, "");
        // Each scenario as it is, once, the quickest first; then now and then the next seed of one.
        let first = self.order.get(number as usize).copied();
        let next = || number.is_multiple_of(PLAIN_EVERY).then(|| self.least_tried(own)).flatten();
        let as_it_is = |scenario: usize, seed: u64, own: bool| {
            let end_ns = duration_ns(&self.scenarios[scenario]);
            Trial { number, scenario, seed, faults: String::new(), engine: Tuning::default(), end_ns, own }
        };
        if let Some(scenario) = first.or_else(next) {
            let seed = self.first_seed + own[scenario].seeds;
            own[scenario] = own[scenario].with_one_more();
            return as_it_is(scenario, seed, true);
        }
        let seed = self.first_seed + number;
        let kept = number.is_multiple_of(MUTATE_EVERY).then(|| self.coverage.pick(of("kept"))).flatten();
        let scenario = kept.map_or_else(|| self.scenario(of("scenario")), |kept| kept.scenario);
        let mut trial = as_it_is(scenario, seed, false);
        if kept.is_none() && rots(&self.scenarios[scenario]) {
            return trial;
        }
        if !of("whole").is_multiple_of(WHOLE_EVERY) {
            trial.end_ns = trial.end_ns.min(SHORT_NS);
        }
        let drawn = |count| swarm::faults(&self.scenarios[scenario], seed, count, trial.end_ns);
        match kept {
            Some(kept) => {
                trial.faults = swarm::change(&kept.faults, &drawn(1), of("change"));
                trial.engine = kept.engine;
                trial.end_ns = trial.end_ns.max(kept.end_ns);
            }
            None => {
                trial.faults = drawn(1 + of("count") % 4);
                trial.engine = swarm::tuning(self.scenarios[scenario].scenario(), seed);
            }
        }
        trial
    }

    /// The scenario whose own seeds had the least time: what is cheap has run them all before what is dear runs its second.
    fn least_tried(&self, own: &[Own]) -> Option<usize> {
        let left = |at: &usize| own[*at].seeds < own_seeds(&self.scenarios[*at]);
        self.order.iter().copied().filter(left).min_by_key(|at| own[*at].with_one_more().work)
    }

    /// One of the scenarios: a short one more often than a long one, so that each gets as much time.
    fn scenario(&self, draw: u64) -> usize {
        let weights: Vec<u64> = self.scenarios.iter().map(|base| u64::MAX / duration_ns(base).max(1)).collect();
        let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let mut left = (u128::from(draw) * sum) >> 64;
        for (at, weight) in weights.iter().enumerate() {
            match left.checked_sub(u128::from(*weight)) {
                Some(rest) => left = rest,
                None => return at,
            }
        }
        weights.len() - 1
    }

    fn run(&self, trial: &Trial) -> Result<Tried, RunError> {
        let base = &self.scenarios[trial.scenario];
        // What no system could survive together was drawn in vain: the scenario runs as it is.
        let more = (!trial.faults.is_empty()).then(|| base.with_faults(&trial.faults).ok()).flatten();
        let mut plan = more.as_ref().unwrap_or(base).plan(trial.seed);
        plan.end_in(trial.end_ns, duration_ns(base));
        plan.engine = trial.engine.or(plan.engine);
        let judged = if more.is_some() { base.run_alone(&plan, false)? } else { base.run_plan(&plan, false)? };
        if self.twice
            && let Some(difference) = base.parts_from(&plan, &judged.trace)?
        {
            let failure = Failure { check: DETERMINISM.to_owned(), message: difference, at_ns: None };
            return Ok(Tried { plan, judged, failure: Some(failure), plain: false });
        }
        let plain = more.is_none() && plan.end_ns.is_none() && trial.engine.is_default();
        let mut failure = None;
        for found in judged.failures(base) {
            if is_promise(base, &found) || (plain && self.is_missed(trial.scenario, &found)?) {
                failure = Some(found);
                break;
            }
        }
        Ok(Tried { plan, judged, failure, plain })
    }

    /// Whether a scenario as it is misses an objective of time or share over all of its own seeds, as the gate judges it: one
    /// seed alone may be far off.
    fn is_missed(&self, scenario: usize, failure: &Failure) -> Result<bool, RunError> {
        let missed = self.missed[scenario].get_or_init(|| self.missed_by(&self.scenarios[scenario]));
        missed.as_ref().map(|missed| missed.contains(&failure.check)).map_err(RunError::clone)
    }

    fn missed_by(&self, base: &Prepared) -> Result<BTreeSet<String>, RunError> {
        let seeds: Vec<u64> = (self.first_seed..self.first_seed + own_seeds(base)).collect();
        let found = base.run_seeds(&seeds, 1, false, |_| ())?.finish(&base.meta());
        let missed = found.expect.into_iter().filter(|found| found.verdict == Verdict::Fail);
        Ok(missed.map(|missed| missed.what).collect())
    }
}

struct Tried {
    plan: Plan,
    judged: Judged,
    failure: Option<Failure>,
    plain: bool,
}

/// What rots must be reported exactly; beside faults that were drawn nobody could say what exactly that is.
fn rots(prepared: &Prepared) -> bool {
    let rot = |fault: &Fault| matches!(&fault.effect, Effect::Act(Action::DiskRot { .. }));
    prepared.scenario().faults.iter().any(rot)
}

/// How many seeds a pull request runs.
fn own_seeds(prepared: &Prepared) -> u64 {
    prepared.scenario().seeds.pr.iter().count() as u64
}

fn duration_ns(prepared: &Prepared) -> Ns {
    prepared.scenario().sim.duration_ns
}

/// Whether more faults than the scenario's own excuse nothing: objectives of time and share are about its own, and so is
/// what it wants to see happen at all. How much a rule drops is the faults' doing, and how much a channel gives up: that it has a
/// reason each time is `channel.given_up`'s to say. A bound of the scenario's own is for what its own faults leave to wait.
fn is_promise(base: &Prepared, failure: &Failure) -> bool {
    let promise = &base.scenario().promise;
    let narrowed = match failure.check.as_str() {
        "bounds.backlog" => promise.backlog_max < Promise::BACKLOG_MAX,
        "bounds.disk" => promise.disk_bytes_max < Promise::DISK_BYTES_MAX,
        _ => false,
    };
    let bounds = |objective: &Objective| matches!(objective.metric, Metric::Count(..)) && objective.limit.met(0.0);
    // How much of a window power cuts take, too: what goes beyond it is `lost`.
    let of_faults = ["shed", "lost.window"].iter().any(|check| failure.check.starts_with(check));
    if of_faults || narrowed || (failure.check.starts_with("dead_lettered") && base.gives_up()) {
        return false;
    }
    failure.at_ns.is_some()
        || base.meta().objectives.iter().any(|objective| objective.what == failure.check && bounds(objective))
}
