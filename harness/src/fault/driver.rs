//! The driver: begins each step of a plan at its time or trigger, heals it, and writes down what it did.

use std::collections::BTreeMap;

use super::host::{self, Down, How, Storm};
use super::{Controls, Gauges, Trigger, disk, lane, net, node, sabotage, sink};
use crate::history::Applied;
use crate::plan::{Action, Ns, Plan, Start, Step};
use crate::sim::trace::Kind;

/// Carries out one plan.
pub(crate) struct Driver {
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
struct Active {
    step: usize,
    from_ns: Ns,
    heal_ns: Option<Ns>,
    /// Effects counted by the driver itself.
    own_hits: u64,
    /// What the target's counter said at the start.
    hits_before: u64,
    storm: Option<Storm>,
    gauges: Vec<(String, u64)>,
}

impl Driver {
    pub fn new(plan: &Plan, trigger: Trigger, gauges: Vec<String>) -> Driver {
        let waiting = (0..plan.steps.len()).collect();
        let steps = plan.steps.clone();
        Driver { steps, waiting, active: Vec::new(), trigger, gauges, applied: Vec::new(), begun: BTreeMap::new() }
    }

    /// What conditions may look at now.
    pub fn gauges<'a>(&'a self, controls: &Controls<'a>) -> Gauges<'a> {
        Gauges { system: controls.system, recorder: controls.recorder, begun: &self.begun }
    }

    /// Heals what is over and begins what is due; the hosts to take down now.
    pub fn tick(&mut self, now_ns: Ns, controls: &Controls<'_>) -> Vec<Down> {
        while let Some(over) = self.active.iter().position(|active| active.heal_ns.is_some_and(|at| at <= now_ns)) {
            self.heal(over, now_ns, controls);
        }
        let mut downs = Vec::new();
        for step in self.due(now_ns, controls) {
            downs.extend(self.begin(step, now_ns, controls));
        }
        for active in &mut self.active {
            let end_ns = active.heal_ns.unwrap_or(Ns::MAX);
            let storm = active.storm.as_mut();
            downs.extend(storm.and_then(|storm| storm.tick(controls, &self.steps[active.step], now_ns, end_ns)));
        }
        downs.iter_mut().for_each(|down| self.count(down, controls));
        downs
    }

    /// Heals everything but sabotages that have no end; nothing begins any more.
    pub fn heal_all(&mut self, now_ns: Ns, controls: &Controls<'_>) {
        self.waiting.clear();
        while !self.active.is_empty() {
            self.heal(0, now_ns, controls);
        }
    }

    /// What came of the steps that began, in order of their starts.
    pub fn finish(mut self) -> Vec<Applied> {
        self.applied.sort_by_key(|applied| (applied.from_ns, applied.step));
        self.applied
    }

    fn due(&mut self, now_ns: Ns, controls: &Controls<'_>) -> Vec<usize> {
        let (steps, trigger) = (&self.steps, &mut self.trigger);
        let gauges = Gauges { system: controls.system, recorder: controls.recorder, begun: &self.begun };
        let holds = |step: &mut usize| match &steps[*step].start {
            Start::At { at_ns } => *at_ns <= now_ns,
            Start::When { when } => trigger(when, &gauges),
        };
        self.waiting.extract_if(.., holds).collect()
    }

    fn begin(&mut self, number: usize, now_ns: Ns, controls: &Controls<'_>) -> Option<Down> {
        let step = &self.steps[number];
        controls.recorder.trace_world(Kind::Fault, number as u64, 0);
        let gauge = |address: &String| Some((address.clone(), controls.system.gauge(address)?));
        let gauges: Vec<(String, u64)> = self.gauges.iter().filter_map(gauge).collect();
        self.begun.insert(step.fault.clone(), gauges.clone());
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
        let storm = matches!(step.action, Action::HostRestartStorm { .. }).then(|| Storm::new(now_ns));
        let paused = matches!(&step.action, Action::HostPause { host } if is_up(controls, host));
        let own_hits = at_once.unwrap_or(0) + u64::from(paused);
        self.active.push(Active { step: number, from_ns: now_ns, heal_ns, own_hits, hits_before, storm, gauges });
        down
    }

    fn heal(&mut self, at: usize, now_ns: Ns, controls: &Controls<'_>) {
        let active = self.active.remove(at);
        let step = &self.steps[active.step];
        let mut counted = active.own_hits + hits(controls, &step.action) - active.hits_before;
        counted += controls.network.heal(active.step);
        if step.for_ns.is_some() || !sabotage::lasts(&step.action) {
            set(controls, &step.action, None);
        }
        // Another step may still want what this one has just switched off.
        for other in &self.active {
            let wanted = &self.steps[other.step].action;
            if like(wanted, &step.action) {
                set(controls, wanted, Some(other.heal_ns.unwrap_or(Ns::MAX).min(controls.load_end_ns)));
            }
        }
        controls.recorder.trace_world(Kind::Heal, active.step as u64, counted);
        self.applied.push(Applied {
            fault: step.fault.clone(),
            step: active.step,
            from_ns: active.from_ns,
            to_ns: active.heal_ns.map_or(now_ns, |at| at.min(now_ns)),
            hits: counted,
            gauges: active.gauges,
        });
    }

    /// Counts a crash for the steps that it belongs to, and tears the disk where a step says so.
    fn count(&mut self, down: &mut Down, controls: &Controls<'_>) {
        let hosts = controls.recorder.hosts();
        let was_up = u64::from(hosts.is_up(down.host));
        for active in &mut self.active {
            let action = &self.steps[active.step].action;
            if action.on() != **hosts.name(down.host) {
                continue;
            }
            if let (Action::DiskTorn { .. }, How::PowerCut { torn }) = (action, &mut down.how) {
                *torn = true;
                active.own_hits += 1;
            } else if host::means(action, down.how) {
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
