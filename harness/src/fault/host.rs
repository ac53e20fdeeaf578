//! Faults of hosts: crashes, power cuts, stops, restart storms, replaced machines, pauses. Taking a host down is an order
//! to the world, which alone can do it.

use std::collections::BTreeSet;

use seaworthy_engine::env::Seed;

use super::{Controls, disk, draw_key};
use crate::outside;
use crate::plan::{Action, Ns, Step};
use crate::sim::hosts::HostIndex;

/// How a host goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// SIGKILL.
    Kill,
    /// The power goes; with `torn` its unsynced sectors are torn and garbled.
    PowerCut {
        /// Whether they are.
        torn: bool,
    },
    /// It is asked to end.
    Stop,
    /// The power goes, and the disk with it.
    Wipe,
}

/// Take a host down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Down {
    pub host: HostIndex,
    pub how: How,
    /// When it starts again.
    pub until_ns: Ns,
}

/// A host that is taken down again and again.
pub(super) struct Storm {
    next_ns: Ns,
    /// The disk's operations at the last boot.
    operations: u64,
    round: u64,
}

impl Storm {
    pub fn new(now_ns: Ns) -> Storm {
        Storm { next_ns: now_ns, operations: 0, round: 0 }
    }

    /// The next crash, when it is time. The host is up again by `end_ns`.
    pub fn tick(&mut self, controls: &Controls<'_>, step: &Step, now_ns: Ns, end_ns: Ns) -> Option<Down> {
        let Action::HostRestartStorm { host, up, down, power, operation } = &step.action else { return None };
        let machine = controls.machine(host)?;
        let operations = machine.disk.operations();
        let due = operation.is_none_or(|wanted| self.round == 0 || operations >= self.operations + wanted);
        if now_ns < self.next_ns || !due {
            return None;
        }
        let draw = |which| controls.recorder.seed.draw("host.restart_storm", &[draw_key(step), self.round, which]);
        let until_ns = now_ns.saturating_add(down.draw(draw(0))).min(end_ns);
        self.next_ns = until_ns.saturating_add(up.draw(draw(1)));
        self.operations = operations;
        self.round += 1;
        let how = if *power { How::PowerCut { torn: false } } else { How::Kill };
        Some(Down { host: machine.index, how, until_ns })
    }
}

/// The one time that a step takes a host down, where it means one.
pub(super) fn down(controls: &Controls<'_>, step: &Step, now_ns: Ns) -> Option<Down> {
    let (host, how, restart_ns) = match &step.action {
        Action::HostCrash { host, restart_ns } => (host, How::Kill, *restart_ns),
        Action::HostPowerCut { host, restart_ns } => (host, How::PowerCut { torn: false }, *restart_ns),
        Action::HostStop { host, restart_ns } => (host, How::Stop, *restart_ns),
        Action::HostWipe { host, restart_ns } => {
            destroy(controls, host);
            (host, How::Wipe, *restart_ns)
        }
        _ => return None,
    };
    let host = controls.recorder.hosts().index(host)?;
    Some(Down { host, how, until_ns: now_ns.saturating_add(restart_ns) })
}

/// Whether a host that goes down like this is one that the step means.
pub(super) fn means(action: &Action, how: How) -> bool {
    match action {
        Action::HostCrash { .. } | Action::HostRestartStorm { power: false, .. } => how == How::Kill,
        Action::HostPowerCut { .. } | Action::HostRestartStorm { power: true, .. } => {
            matches!(how, How::PowerCut { .. })
        }
        Action::HostStop { .. } => how == How::Stop,
        Action::HostWipe { .. } => how == How::Wipe,
        _ => false,
    }
}

/// Lets a host's software stand still, or go on; false when the step means neither.
pub(super) fn pause(controls: &Controls<'_>, action: &Action, until_ns: Option<Ns>) -> bool {
    let Action::HostPause { host } = action else { return false };
    if let Some(host) = controls.recorder.hosts().index(host) {
        controls.recorder.hosts().pause(host, until_ns.unwrap_or(0));
        if until_ns.is_none() {
            controls.network.resume(host);
        }
    }
    true
}

/// Writes down what a host alone holds before its disk goes: in no other journal, and not visible yet.
fn destroy(controls: &Controls<'_>, host: &str) {
    let mut here = BTreeSet::new();
    let mut elsewhere = BTreeSet::new();
    for machine in controls.machines {
        let records = outside::records(&machine.disk.snapshot());
        let held = records.iter().filter_map(|(_, record)| disk::packet_id(record));
        if machine.name == host { here.extend(held) } else { elsewhere.extend(held) }
    }
    controls.recorder.with_history(|history| {
        let visible: BTreeSet<&str> = history.effects.iter().map(|effect| effect.packet_id.as_str()).collect();
        let only = here.into_iter().filter(|id| !elsewhere.contains(id) && !visible.contains(id.as_str()));
        let only: BTreeSet<String> = only.collect();
        history.wiped.push((host.to_owned(), only));
    });
}
