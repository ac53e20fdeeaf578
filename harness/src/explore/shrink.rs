//! Makes a failing plan small while it breaks the same promise: fewer steps, fewer events, an earlier end, shorter faults.
//!
//! Delta debugging (Zeller, Hildebrandt 2002) over the steps and then over the events; candidates of one pass run in
//! parallel, and the first in their order wins, so the number of jobs changes nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::history::began;
use crate::parallel::in_parallel;
use crate::plan::{Action, Ns, Plan, Span, Start, Step};
use crate::run::{Failure, Prepared, RunError};

/// What is left behind the last event or step, so that its effect can still show, ns.
const AFTER_NS: Ns = 1_000_000_000;

/// A plan that can't be made smaller.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// It breaks nothing.
    #[error("the plan breaks no promise, so there is nothing to keep while it is made smaller")]
    Passes,
    /// It breaks other promises.
    #[error("the plan doesn't break `{wanted}`, but {}", .broken.join(", "))]
    Other {
        /// What was asked for.
        wanted: String,
        /// What it breaks.
        broken: Vec<String>,
    },
    /// The harness's own books don't balance.
    #[error(transparent)]
    Books(#[from] RunError),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Runs so far.
    pub runs: u64,
    /// Steps of the smallest plan so far.
    pub steps: usize,
    /// Its events.
    pub events: u64,
}

/// A small plan.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// Events that enter.
    pub events: u64,
    /// What it breaks.
    pub failure: Failure,
    /// Runs that it took.
    pub runs: u64,
    /// False when the budget ended first.
    pub finished: bool,
}

impl Shrunk {
    /// `1 fault, 4 packets`, and whether there was time to make it smaller.
    #[must_use]
    pub fn size(&self) -> String {
        let count = |n: u64, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        let size = format!("{}, {}", count(self.plan.steps.len() as u64, "fault"), count(self.events, "packet"));
        if self.finished { size } else { format!("{size} (the budget ended first)") }
    }
}

/// Makes `plan` of `prepared` small while it breaks `check`, or what it breaks first. `go_on` is asked before each run;
/// `told` hears of each step forward.
///
/// # Errors
/// A plan that doesn't break it.
pub fn shrink(
    prepared: &Prepared,
    plan: &Plan,
    check: Option<&str>,
    jobs: usize,
    go_on: &(dyn Fn() -> bool + Sync),
    told: &(dyn Fn(Progress) + Sync),
) -> Result<Shrunk, ShrinkError> {
    let judged = prepared.run_plan(plan, false)?;
    let failures = judged.failures(prepared);
    let first = match check {
        None => failures.first().ok_or(ShrinkError::Passes)?,
        Some(_) if failures.is_empty() => return Err(ShrinkError::Passes),
        Some(check) => failures.iter().find(|failure| failure.check == check).ok_or_else(|| ShrinkError::Other {
            wanted: check.to_owned(),
            broken: failures.iter().map(|failure| failure.check.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
        })?,
    };
    let arrivals = prepared.arrivals(plan.seed);
    let ends = |number: u64| plan.end_ns.is_none_or(|end_ns| arrivals[number as usize - 1] < end_ns);
    let events: Vec<u64> =
        (1..=arrivals.len() as u64).filter(|number| plan.lets_in(*number) && ends(*number)).collect();
    let mut shrinker = Shrinker {
        prepared,
        check: first.check.clone(),
        alone: first.at_ns.is_some(),
        jobs,
        go_on,
        told,
        runs: AtomicU64::new(1),
        best: plan.clone(),
        arrivals,
        events,
    };
    shrinker.freeze(&judged.history.applied);
    shrinker.end_at(first.at_ns);
    shrinker.tuning();
    shrinker.steps();
    shrinker.load();
    shrinker.end_early();
    shrinker.halve();
    shrinker.steps();
    let finished = go_on();
    let Shrinker { best, events, runs, check, .. } = shrinker;
    let failures = prepared.run_plan(&best, false)?.failures(prepared);
    let failure = failures.into_iter().find(|failure| failure.check == check);
    let failure = failure.expect("a run of the same plan gives the same, and this one was tried");
    Ok(Shrunk { plan: best, events: events.len() as u64, failure, runs: runs.into_inner(), finished })
}

struct Shrinker<'a> {
    prepared: &'a Prepared,
    check: String,
    /// A broken promise shows in the run itself; an objective may need its twins.
    alone: bool,
    jobs: usize,
    go_on: &'a (dyn Fn() -> bool + Sync),
    told: &'a (dyn Fn(Progress) + Sync),
    runs: AtomicU64,
    best: Plan,
    /// When each event of the load arrives.
    arrivals: Vec<Ns>,
    /// The numbers of the events that enter in `best`.
    events: Vec<u64>,
}

impl Shrinker<'_> {
    fn fails(&self, plan: &Plan) -> bool {
        self.runs.fetch_add(1, Ordering::Relaxed);
        // Where the books don't balance, nothing is known.
        let judged =
            if self.alone { self.prepared.run_alone(plan, false) } else { self.prepared.run_plan(plan, false) };
        judged.is_ok_and(|judged| judged.failures(self.prepared).iter().any(|failure| failure.check == self.check))
    }

    /// The first of the candidates that still fails.
    fn first_failing(&self, candidates: &[Plan]) -> Option<usize> {
        // Whoever is behind one that was found is left out; whoever is before it is not, so the jobs change nothing.
        let found = AtomicUsize::new(usize::MAX);
        let numbered: Vec<(usize, &Plan)> = candidates.iter().enumerate().collect();
        in_parallel(&numbered, self.jobs, |(at, candidate)| {
            if *at < found.load(Ordering::Relaxed) && (self.go_on)() && self.fails(candidate) {
                found.fetch_min(*at, Ordering::Relaxed);
            }
        });
        Some(found.into_inner()).filter(|at| *at < candidates.len())
    }

    fn tell(&mut self) {
        let progress = Progress {
            runs: self.runs.load(Ordering::Relaxed),
            steps: self.best.steps.len(),
            events: self.events.len() as u64,
        };
        (self.told)(progress);
    }

    fn take_if_failing(&mut self, plan: Plan) -> bool {
        let plans = [plan];
        let fails = self.first_failing(&plans).is_some();
        if fails {
            [self.best] = plans;
        }
        self.tell();
        fails
    }

    /// Triggers become times, so that what they watched can go.
    fn freeze(&mut self, applied: &[crate::history::Applied]) {
        let mut plan = self.best.clone();
        plan.freeze(began(applied));
        if plan != self.best {
            self.take_if_failing(plan);
        }
    }

    /// Nothing behind the failure.
    fn end_at(&mut self, failed_ns: Option<Ns>) {
        let end_ns = self.end_ns();
        let Some(failed_ns) = failed_ns.map(|at_ns| at_ns + AFTER_NS).filter(|at_ns| *at_ns < end_ns) else { return };
        let mut plan = self.best.clone();
        plan.end_in(failed_ns, end_ns);
        let events: Vec<u64> = self.events.iter().copied().filter(|number| self.due_ns(*number) < failed_ns).collect();
        plan.only = Some(spans(&events));
        if self.take_if_failing(plan) {
            self.events = events;
        }
    }

    fn end_ns(&self) -> Ns {
        self.best.end_ns.unwrap_or(self.prepared.scenario().sim.duration_ns)
    }

    fn due_ns(&self, number: u64) -> Ns {
        self.arrivals[number as usize - 1]
    }

    /// The sizes of the scenario, where they show it too.
    fn tuning(&mut self) {
        let whole = Plan { engine: self.prepared.scenario().engine, ..self.best.clone() };
        if whole != self.best {
            self.take_if_failing(whole);
        }
    }

    fn steps(&mut self) {
        let steps = self.best.steps.clone();
        self.minimise(steps, |plan, steps| plan.steps = steps.to_vec());
    }

    fn load(&mut self) {
        let events = self.events.clone();
        self.events = self.minimise(events, |plan, events| plan.only = Some(spans(events)));
        self.tell();
    }

    /// The fewest of `items` with which it still fails, one less being too few.
    fn minimise<T: Clone>(&mut self, mut items: Vec<T>, with: impl Fn(&mut Plan, &[T])) -> Vec<T> {
        let plan_with = |best: &Plan, items: &[T]| {
            let mut plan = best.clone();
            with(&mut plan, items);
            plan
        };
        if items.is_empty() {
            return items;
        }
        if self.take_if_failing(plan_with(&self.best, &[])) {
            return Vec::new();
        }
        let mut parts = 2;
        while items.len() > 1 && (self.go_on)() {
            let size = items.len().div_ceil(parts);
            let rest: Vec<Vec<T>> = (0..items.len().div_ceil(size))
                .map(|part| {
                    let (from, to) = (part * size, ((part + 1) * size).min(items.len()));
                    [&items[..from], &items[to..]].concat()
                })
                .collect();
            let plans: Vec<Plan> = rest.iter().map(|rest| plan_with(&self.best, rest)).collect();
            match self.first_failing(&plans) {
                Some(at) => {
                    self.best = plans[at].clone();
                    items.clone_from(&rest[at]);
                    parts = (parts - 1).max(2);
                }
                None if size == 1 => break,
                None => parts = (parts * 2).min(items.len()),
            }
            self.tell();
        }
        items
    }

    /// The load ends soon after the last event and step.
    fn end_early(&mut self) {
        let due_ns = self.events.last().map_or(0, |last| self.due_ns(*last));
        let over_ns = |step: &Step| match step.start {
            Start::At { at_ns } => at_ns.saturating_add(step.for_ns.unwrap_or(0)).saturating_add(away_ns(&step.action)),
            Start::When { .. } => Ns::MAX,
        };
        let last_ns = self.best.steps.iter().map(over_ns).fold(due_ns, Ns::max);
        for after_ns in [AFTER_NS / 10, AFTER_NS, 5 * AFTER_NS] {
            let end_ns = last_ns.saturating_add(after_ns);
            let plan = Plan { end_ns: Some(end_ns), ..self.best.clone() };
            if end_ns < self.end_ns() && self.take_if_failing(plan) {
                return;
            }
        }
    }

    fn halve(&mut self) {
        let tick_ns = self.prepared.scenario().sim.tick_ns;
        for number in 0..self.best.steps.len() {
            while let Some(for_ns) = self.best.steps[number].for_ns
                && for_ns >= 2 * tick_ns
            {
                let mut plan = self.best.clone();
                plan.steps[number].for_ns = Some((for_ns / 2).next_multiple_of(tick_ns));
                if plan == self.best || !self.take_if_failing(plan) {
                    break;
                }
            }
        }
    }
}

/// How long a host is away beyond a step's own time.
fn away_ns(action: &Action) -> Ns {
    match action {
        Action::HostCrash { restart_ns, .. }
        | Action::HostPowerCut { restart_ns, .. }
        | Action::HostStop { restart_ns, .. }
        | Action::HostWipe { restart_ns, .. } => *restart_ns,
        _ => 0,
    }
}

/// Sorted numbers as spans.
fn spans(numbers: &[u64]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for number in numbers {
        match spans.last_mut() {
            Some(span) if span.last + 1 == *number => span.last = *number,
            _ => spans.push(Span { first: *number, last: *number }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_one_span() {
        let span = |first, last| Span { first, last };
        assert_eq!(spans(&[1, 2, 3, 7, 9, 10]), [span(1, 3), span(7, 7), span(9, 10)]);
        assert_eq!(spans(&[]), []);
    }
}
