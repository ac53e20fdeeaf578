//! The faults of a plan that a real machine can have: begun and healed at wall time, with what they did.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::RoundError;
use super::fleet::{Fleet, Hindrances};
use crate::fault::Trigger;
use crate::fault::schedule::{Active, Schedule};
use crate::history::Applied;
use crate::plan::{Action, Ns, Plan};
use crate::sim::recorder::Recorder;
use crate::system::System;

/// Kinds of faults that a real machine can have, as scenarios write them, beside those of the load.
pub const KINDS: [&str; 14] = [
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
    "sink.reject",
    "load.*",
];

/// Whether a step is of those kinds.
pub(crate) fn is_known(action: &Action) -> bool {
    let kind = action.kind();
    kind.starts_with("load.") || KINDS.contains(&kind)
}

/// Carries out a plan.
pub(super) struct Faults {
    schedule: Schedule,
    hindrances: Hindrances,
}

impl Faults {
    /// `addresses` are those whose gauges are written down when a fault begins.
    pub fn new(plan: &Plan, trigger: Trigger, addresses: Vec<String>, hindrances: Hindrances) -> Faults {
        Faults { schedule: Schedule::new(plan, trigger, addresses), hindrances }
    }

    /// Heals what is over and begins what is due.
    pub async fn tick(
        &mut self,
        now_ns: Ns,
        system: &dyn System,
        recorder: &Arc<Recorder>,
        fleet: &mut Fleet,
    ) -> Result<(), RoundError> {
        while let Some(over) = self.schedule.over(now_ns) {
            self.heal(over, now_ns, recorder);
        }
        for step in self.schedule.due(now_ns, system, recorder) {
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
    ) -> Result<(), RoundError> {
        let gauges = self.schedule.look(number, system);
        let step = self.schedule.step(number);
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
        self.schedule.begin(number, now_ns, for_ns, hits_before, gauges).own_hits = own_hits;
        Ok(())
    }

    /// Heals everything; nothing begins any more.
    pub fn heal_all(&mut self, now_ns: Ns, recorder: &Arc<Recorder>) {
        while let Some(active) = self.schedule.next_of_all() {
            self.heal(active, now_ns, recorder);
        }
    }

    fn heal(&mut self, active: Active, now_ns: Ns, recorder: &Arc<Recorder>) {
        let action = &self.schedule.step(active.step).action;
        let hits = active.own_hits + self.hits(action, recorder) - active.hits_before;
        self.set(action, recorder, false);
        // Another step may still want what this one has just switched off: links share directions.
        for (_, wanted) in self.schedule.active() {
            if wanted.action.kind() == action.kind() {
                self.set(&wanted.action, recorder, true);
            }
        }
        self.schedule.healed(active, now_ns, hits);
    }

    /// What came of the steps that began, in order of their starts.
    pub fn finish(self) -> Vec<Applied> {
        self.schedule.finish()
    }

    /// Switches a fault; those of the load were put into it before.
    fn set(&self, action: &Action, recorder: &Arc<Recorder>, on: bool) {
        let Hindrances { ways, disks } = &self.hindrances;
        match action {
            Action::NetCut { link } => ways.set_cut(link, on),
            Action::NetLatency { link, add } => ways.set_latency(link, on.then_some(*add)),
            Action::DiskFull { host } => disks[host].set_full(on),
            Action::DiskLatency { host, add } => disks[host].set_latency(on.then_some(*add)),
            Action::NodePanic { node, ratio_ppm } => recorder.set_panics(node, on.then_some(*ratio_ppm)),
            Action::SinkSlow { sink, add } => recorder.sink(sink).set_delay(on.then_some(*add)),
            Action::SinkReject { sink, ratio_ppm } => recorder.sink(sink).set_rejects(on.then_some(*ratio_ppm)),
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
            Action::SinkReject { sink, .. } => recorder.sink(sink).rejects(),
            Action::SinkError { sink, .. } => recorder.sink(sink).errors(),
            _ => 0,
        }
    }
}
