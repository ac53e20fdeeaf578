//! The driver: begins each step of a plan at its time or trigger, heals it, and writes down what it did.

use std::collections::BTreeMap;

use super::host::{self, Down, How, Storm};
use super::schedule::{Active, Schedule};
use super::{Controls, Gauges, Trigger, disk, lane, net, node, sabotage, sink};
use crate::history::Applied;
use crate::plan::{Action, Ns, Plan};
use crate::sim::trace::Kind;

/// Carries out one plan.
pub(crate) struct Driver {
    schedule: Schedule,
    /// Of the steps that have begun and take a host down again and again.
    storms: BTreeMap<usize, Storm>,
}

impl Driver {
    pub fn new(plan: &Plan, trigger: Trigger, gauges: Vec<String>) -> Driver {
        Driver { schedule: Schedule::new(plan, trigger, gauges), storms: BTreeMap::new() }
    }

    /// What conditions may look at now.
    pub fn gauges<'a>(&'a self, controls: &Controls<'a>) -> Gauges<'a> {
        self.schedule.gauges(controls.system, controls.recorder)
    }

    /// Heals what is over and begins what is due; the hosts to take down now.
    pub fn tick(&mut self, now_ns: Ns, controls: &Controls<'_>) -> Vec<Down> {
        while let Some(over) = self.schedule.over(now_ns) {
            self.heal(over, now_ns, controls);
        }
        let mut downs = Vec::new();
        for step in self.schedule.due(now_ns, controls.system, controls.recorder) {
            downs.extend(self.begin(step, now_ns, controls));
        }
        for (active, step) in self.schedule.active() {
            let end_ns = active.heal_ns.unwrap_or(Ns::MAX);
            let storm = self.storms.get_mut(&active.step);
            downs.extend(storm.and_then(|storm| storm.tick(controls, step, now_ns, end_ns)));
        }
        downs.iter_mut().for_each(|down| self.count(down, controls));
        downs
    }

    /// Heals everything but sabotages that have no end; nothing begins any more.
    pub fn heal_all(&mut self, now_ns: Ns, controls: &Controls<'_>) {
        while let Some(active) = self.schedule.next_of_all() {
            self.heal(active, now_ns, controls);
        }
    }

    /// What came of the steps that began, in order of their starts.
    pub fn finish(self) -> Vec<Applied> {
        self.schedule.finish()
    }

    fn begin(&mut self, number: usize, now_ns: Ns, controls: &Controls<'_>) -> Option<Down> {
        controls.recorder.trace_world(Kind::Fault, number as u64, 0);
        let gauges = self.schedule.look(number, controls.system);
        let step = self.schedule.step(number);
        let hits_before = hits(controls, &step.action);
        let down = host::down(controls, step, now_ns);
        let for_ns = match (&step.action, down) {
            (Action::NetReset { .. } | Action::NetHalfOpen { .. } | Action::DiskRot { .. }, _) => Some(0),
            (_, Some(down)) => Some(down.until_ns - now_ns),
            _ => step.for_ns,
        };
        let heal_ns = for_ns.map(|for_ns| now_ns.saturating_add(for_ns));
        let at_once = net::begin(controls, number, step);
        if at_once.is_none() && down.is_none() {
            set(controls, &step.action, Some(heal_ns.unwrap_or(Ns::MAX).min(controls.load_end_ns)));
        }
        if matches!(step.action, Action::HostRestartStorm { .. }) {
            self.storms.insert(number, Storm::new(now_ns));
        }
        let paused = matches!(&step.action, Action::HostPause { host } if is_up(controls, host));
        let own_hits = at_once.unwrap_or(0) + u64::from(paused);
        self.schedule.begin(number, now_ns, for_ns, hits_before, gauges).own_hits = own_hits;
        down
    }

    fn heal(&mut self, active: Active, now_ns: Ns, controls: &Controls<'_>) {
        let step = self.schedule.step(active.step);
        let mut counted = active.own_hits + hits(controls, &step.action) - active.hits_before;
        counted += controls.network.heal(active.step);
        if step.for_ns.is_some() || !sabotage::lasts(&step.action) {
            set(controls, &step.action, None);
        }
        // Another step may still want what this one has just switched off.
        for (other, wanted) in self.schedule.active() {
            if like(&wanted.action, &step.action) {
                set(controls, &wanted.action, Some(other.heal_ns.unwrap_or(Ns::MAX).min(controls.load_end_ns)));
            }
        }
        controls.recorder.trace_world(Kind::Heal, active.step as u64, counted);
        self.schedule.healed(active, now_ns, counted);
    }

    /// Counts a crash for the steps that it belongs to, and tears the disk where a step says so.
    fn count(&mut self, down: &mut Down, controls: &Controls<'_>) {
        let hosts = controls.recorder.hosts();
        let was_up = u64::from(hosts.is_up(down.host));
        for (active, step) in self.schedule.active_mut() {
            if step.action.on() != **hosts.name(down.host) {
                continue;
            }
            if let (Action::DiskTorn { .. }, How::PowerCut { torn }) = (&step.action, &mut down.how) {
                *torn = true;
                active.own_hits += 1;
            } else if host::means(&step.action, down.how) {
                active.own_hits += was_up;
            }
        }
    }
}

fn is_up(controls: &Controls<'_>, host: &str) -> bool {
    let hosts = controls.recorder.hosts();
    hosts.index(host).is_some_and(|host| hosts.is_up(host))
}

/// Switches whatever kind of fault it is, on until then or off; links and hosts that go down have their own ways.
fn set(controls: &Controls<'_>, action: &Action, until_ns: Option<Ns>) {
    let on = until_ns.is_some();
    let _is_one = disk::set(controls, action, until_ns)
        || host::pause(controls, action, until_ns)
        || lane::set(controls, action, on)
        || node::set(controls, action, on)
        || sink::set(controls, action, on)
        || sabotage::set(controls, action, on);
}

/// The target's counter of effects; 0 where the driver counts itself.
fn hits(controls: &Controls<'_>, action: &Action) -> u64 {
    disk::hits(controls, action)
        .or_else(|| lane::hits(controls, action))
        .or_else(|| node::hits(controls, action))
        .or_else(|| sink::hits(controls, action))
        .or_else(|| sabotage::hits(controls, action))
        .unwrap_or(0)
}

/// Whether two actions turn the same switch of the same target. Links are hindered by each step on its own, and what strikes
/// once is spent.
fn like(one: &Action, other: &Action) -> bool {
    let lasts = match one {
        Action::Sabotage { .. } => sabotage::lasts(one),
        Action::ClockStep { .. } | Action::DiskRot { .. } => false,
        _ => true,
    };
    let same = match (one, other) {
        (Action::Sabotage { breach: x, .. }, Action::Sabotage { breach: y, .. }) => x == y,
        _ => one.kind() == other.kind(),
    };
    lasts && same && one.on() == other.on()
}
