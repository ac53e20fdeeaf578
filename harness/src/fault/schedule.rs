//! The course of a plan, in any world: which steps wait, which have begun, and what came of those that are over. What a step
//! does and how its effect is counted is up to whoever carries it out.

use std::collections::BTreeMap;

use super::{Gauges, Trigger};
use crate::history::Applied;
use crate::plan::{Ns, Plan, Start, Step};
use crate::sim::recorder::Recorder;
use crate::system::System;

/// The steps of one plan.
pub(crate) struct Schedule {
    steps: Vec<Step>,
    /// Steps that have not begun, in order of the plan.
    waiting: Vec<usize>,
    active: Vec<Active>,
    trigger: Trigger,
    /// Addresses whose gauges are written down at each start.
    gauges: Vec<String>,
    applied: Vec<Applied>,
    /// Gauges when each fault last began.
    begun: BTreeMap<String, Vec<(String, u64)>>,
}

/// A step that has begun and is not healed yet.
pub(crate) struct Active {
    pub step: usize,
    from_ns: Ns,
    pub heal_ns: Option<Ns>,
    /// Effects counted by whoever carries it out.
    pub own_hits: u64,
    /// What the target's counter said at the start.
    pub hits_before: u64,
    gauges: Vec<(String, u64)>,
}

impl Schedule {
    pub fn new(plan: &Plan, trigger: Trigger, gauges: Vec<String>) -> Schedule {
        let waiting = (0..plan.steps.len()).collect();
        let steps = plan.steps.clone();
        Schedule { steps, waiting, active: Vec::new(), trigger, gauges, applied: Vec::new(), begun: BTreeMap::new() }
    }

    pub fn step(&self, number: usize) -> &Step {
        &self.steps[number]
    }

    /// What conditions may look at now.
    pub fn gauges<'a>(&'a self, system: &'a dyn System, recorder: &'a Recorder) -> Gauges<'a> {
        Gauges { system, recorder, begun: &self.begun }
    }

    /// The steps that begin now; they wait no more.
    pub fn due(&mut self, now_ns: Ns, system: &dyn System, recorder: &Recorder) -> Vec<usize> {
        let (steps, trigger) = (&self.steps, &mut self.trigger);
        let gauges = Gauges { system, recorder, begun: &self.begun };
        let holds = |step: &mut usize| match &steps[*step].start {
            Start::At { at_ns } => *at_ns <= now_ns,
            Start::When { when } => trigger(when, &gauges),
        };
        self.waiting.extract_if(.., holds).collect()
    }

    /// Writes the gauges down for a step that begins now.
    pub fn look(&mut self, number: usize, system: &dyn System) -> Vec<(String, u64)> {
        let gauge = |address: &String| Some((address.clone(), system.gauge(address)?));
        let gauges: Vec<(String, u64)> = self.gauges.iter().filter_map(gauge).collect();
        self.begun.insert(self.steps[number].fault.clone(), gauges.clone());
        gauges
    }

    /// A step has begun, to be healed after `for_ns`; `gauges` are those that were written down.
    pub fn begin(
        &mut self,
        step: usize,
        now_ns: Ns,
        for_ns: Option<Ns>,
        hits_before: u64,
        gauges: Vec<(String, u64)>,
    ) -> &mut Active {
        let heal_ns = for_ns.map(|for_ns| now_ns.saturating_add(for_ns));
        self.active.push_mut(Active { step, from_ns: now_ns, heal_ns, own_hits: 0, hits_before, gauges })
    }

    /// The steps that have begun and are not healed, in order of their starts.
    pub fn active(&self) -> impl Iterator<Item = (&Active, &Step)> {
        self.active.iter().map(|active| (active, &self.steps[active.step]))
    }

    /// The same, to be counted for.
    pub fn active_mut(&mut self) -> impl Iterator<Item = (&mut Active, &Step)> {
        let steps = &self.steps;
        self.active.iter_mut().map(|active| {
            let step = &steps[active.step];
            (active, step)
        })
    }

    /// Takes out a step whose time is over.
    pub fn over(&mut self, now_ns: Ns) -> Option<Active> {
        let over = self.active.iter().position(|active| active.heal_ns.is_some_and(|at| at <= now_ns))?;
        Some(self.active.remove(over))
    }

    /// Nothing begins any more; takes out the first step that is not healed.
    pub fn next_of_all(&mut self) -> Option<Active> {
        self.waiting.clear();
        (!self.active.is_empty()).then(|| self.active.remove(0))
    }

    /// A step that was taken out is healed now, and had so many effects.
    pub fn healed(&mut self, active: Active, now_ns: Ns, hits: u64) {
        self.applied.push(Applied {
            fault: self.steps[active.step].fault.clone(),
            step: active.step,
            from_ns: active.from_ns,
            to_ns: active.heal_ns.map_or(now_ns, |at| at.min(now_ns)),
            hits,
            gauges: active.gauges,
        });
    }

    /// What came of the steps that began, in order of their starts.
    pub fn finish(mut self) -> Vec<Applied> {
        self.applied.sort_by_key(|applied| (applied.from_ns, applied.step));
        self.applied
    }
}
