//! The faults of a plan that a real machine can have: begun and healed at wall time, with what they did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fleet::{Fleet, Hindrances};
use crate::fault::{Gauges, Trigger};
use crate::history::Applied;
use crate::plan::{Action, Ns, Plan, Start, Step};
use crate::sim::recorder::Recorder;
use crate::system::System;

/// Kinds of faults that a real machine can have, as scenarios write them, beside those of the load.
pub const KINDS: [&str; 13] = [
    "net.cut",
    "net.flap",
    "net.swizzle",
    "net.latency",
    "host.crash",
    "host.stop",
    "host.rolling_restart",
    "disk.full",
    "disk.latency",
    "node.panic",
    "sink.slow",
    "sink.error",
    "load.*",
];

/// Whether a step is of those kinds.
pub(crate) fn is_known(action: &Action) -> bool {
    let kind = action.kind();
    kind.starts_with("load.") || KINDS.contains(&kind)
}

/// Carries out a plan.
pub(super) struct Faults {
    steps: Vec<Step>,
    waiting: Vec<usize>,
    active: Vec<Active>,
    trigger: Trigger,
    addresses: Vec<String>,
    begun: BTreeMap<String, Vec<(String, u64)>>,
    applied: Vec<Applied>,
    hindrances: Hindrances,
}

struct Active {
    step: usize,
    from_ns: Ns,
    heal_ns: Option<Ns>,
    own_hits: u64,
    hits_before: u64,
    gauges: Vec<(String, u64)>,
}

impl Faults {
    /// `addresses` are those whose gauges are written down when a fault begins.
    pub fn new(plan: &Plan, trigger: Trigger, addresses: Vec<String>, hindrances: Hindrances) -> Faults {
        // What the load itself carries was put into it before.
        let steps: Vec<Step> = plan.steps.clone();
        let waiting = (0..steps.len()).filter(|at| !steps[*at].action.kind().starts_with("load.")).collect();
        let (active, begun, applied) = (Vec::new(), BTreeMap::new(), Vec::new());
        Faults { steps, waiting, active, trigger, addresses, begun, applied, hindrances }
    }

    /// Heals what is over and begins what is due.
    pub async fn tick(
        &mut self,
        now_ns: Ns,
        system: &dyn System,
        recorder: &Arc<Recorder>,
        fleet: &mut Fleet,
    ) -> Result<(), super::RoundError> {
        while let Some(over) = self.active.iter().position(|active| active.heal_ns.is_some_and(|at| at <= now_ns)) {
            self.heal(over, now_ns, recorder);
        }
        let (steps, trigger) = (&self.steps, &mut self.trigger);
        let gauges = Gauges::new(system, recorder, &self.begun);
        let holds = |step: &mut usize| match &steps[*step].start {
            Start::At { at_ns } => *at_ns <= now_ns,
            Start::When { when } => trigger(when, &gauges),
        };
        let due: Vec<usize> = self.waiting.extract_if(.., holds).collect();
        for step in due {
            self.begin(step, now_ns, system, recorder, fleet).await?;
        }
        Ok(())
    }

    async fn begin(
        &mut self,
        number: usize,
        now_ns: Ns,
        system: &dyn System,
        recorder: &Arc<Recorder>,
        fleet: &mut Fleet,
    ) -> Result<(), super::RoundError> {
        let step = self.steps[number].clone();
        let gauges: Vec<(String, u64)> =
            self.addresses.iter().filter_map(|address| Some((address.clone(), system.gauge(address)?))).collect();
        self.begun.insert(step.fault.clone(), gauges.clone());
        let hits_before = self.hits(&step.action, recorder);
        let (mut own_hits, mut for_ns) = (0, step.for_ns);
        match &step.action {
            Action::HostCrash { host, restart_ns } | Action::HostStop { host, restart_ns } => {
                let at = fleet.index(host).expect("a plan fits its world");
                own_hits = u64::from(fleet.is_up(at));
                for_ns = Some(*restart_ns);
                let until_ns = now_ns.saturating_add(*restart_ns);
                match step.action {
                    Action::HostCrash { .. } => fleet.kill(at, until_ns).await?,
                    _ => fleet.stop(at, until_ns),
                }
            }
            action => self.set(action, recorder, true),
        }
        let heal_ns = for_ns.map(|for_ns| now_ns.saturating_add(for_ns));
        self.active.push(Active { step: number, from_ns: now_ns, heal_ns, own_hits, hits_before, gauges });
        Ok(())
    }

    /// Heals everything; nothing begins any more.
    pub fn heal_all(&mut self, now_ns: Ns, recorder: &Arc<Recorder>) {
        self.waiting.clear();
        while !self.active.is_empty() {
            self.heal(0, now_ns, recorder);
        }
    }

    fn heal(&mut self, at: usize, now_ns: Ns, recorder: &Arc<Recorder>) {
        let active = self.active.remove(at);
        let step = &self.steps[active.step];
        let hits = active.own_hits + self.hits(&step.action, recorder) - active.hits_before;
        self.set(&step.action, recorder, false);
        // Another step may still want what this one has just switched off.
        for other in &self.active {
            let wanted = &self.steps[other.step].action;
            if wanted.kind() == step.action.kind() {
                self.set(wanted, recorder, true);
            }
        }
        let to_ns = active.heal_ns.map_or(now_ns, |heal_ns| heal_ns.min(now_ns));
        let (fault, from_ns, gauges) = (step.fault.clone(), active.from_ns, active.gauges);
        self.applied.push(Applied { fault, step: active.step, from_ns, to_ns, hits, gauges });
    }

    /// What came of the steps that began, in order of their starts.
    pub fn finish(mut self) -> Vec<Applied> {
        self.applied.sort_by_key(|applied| (applied.from_ns, applied.step));
        self.applied
    }

    fn set(&self, action: &Action, recorder: &Arc<Recorder>, on: bool) {
        let Hindrances { ways, disks } = &self.hindrances;
        match action {
            Action::NetCut { link } => ways.set_cut(link, on),
            Action::NetLatency { link, add } => ways.set_latency(link, on.then_some(*add)),
            Action::DiskFull { host } => disks[host].set_full(on),
            Action::DiskLatency { host, add } => disks[host].set_latency(on.then_some(*add)),
            Action::NodePanic { node, ratio_ppm } => recorder.set_panics(node, on.then_some(*ratio_ppm)),
            Action::SinkSlow { sink, add } => recorder.sink(sink).set_delay(on.then_some(*add)),
            Action::SinkError { sink, ratio_ppm } => recorder.sink(sink).set_errors(on.then_some(*ratio_ppm)),
            _ => {}
        }
    }

    fn hits(&self, action: &Action, recorder: &Arc<Recorder>) -> u64 {
        let Hindrances { ways, disks } = &self.hindrances;
        match action {
            Action::NetCut { link } => ways.cut_hits(link),
            Action::NetLatency { link, .. } => ways.late_hits(link),
            Action::DiskFull { host } => disks[host].full_hits.load(Ordering::Relaxed),
            Action::DiskLatency { host, .. } => disks[host].late_hits.load(Ordering::Relaxed),
            Action::NodePanic { node, .. } => recorder.panics(node),
            Action::SinkSlow { sink, .. } => recorder.sink(sink).hits(),
            Action::SinkError { sink, .. } => recorder.sink(sink).errors(),
            _ => 0,
        }
    }
}
