//! Faults of hosts: crashes, power cuts, restart storms. They are orders to the world, which alone can take a host down.

use seaworthy_engine::env::Seed;

use super::{Controls, draw_key};
use crate::plan::{Action, Ns, Step};
use crate::sim::hosts::HostIndex;

/// Take a host down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Down {
    pub host: HostIndex,
    /// The power goes; else SIGKILL.
    pub power: bool,
    /// Its unsynced sectors are torn and garbled.
    pub torn: bool,
    /// When it starts again.
    pub until_ns: Ns,
}

/// A host that is taken down again and again.
pub(super) struct Storm {
    next_ns: Ns,
    round: u64,
}

impl Storm {
    pub fn new(now_ns: Ns) -> Storm {
        Storm { next_ns: now_ns, round: 0 }
    }

    /// The next crash, when it is time. The host is up again by `end_ns`.
    pub fn tick(&mut self, controls: &Controls<'_>, step: &Step, now_ns: Ns, end_ns: Ns) -> Option<Down> {
        let Action::HostRestartStorm { host, up, down, power } = &step.action else { return None };
        let host = controls.recorder.hosts().index(host)?;
        if now_ns < self.next_ns {
            return None;
        }
        let draw = |which| controls.recorder.seed.draw("host.restart_storm", &[draw_key(step), self.round, which]);
        let until_ns = now_ns.saturating_add(down.draw(draw(0))).min(end_ns);
        self.next_ns = until_ns.saturating_add(up.draw(draw(1)));
        self.round += 1;
        Some(Down { host, power: *power, torn: false, until_ns })
    }
}

/// The one crash of a step that means one.
pub(super) fn crash(controls: &Controls<'_>, step: &Step, now_ns: Ns) -> Option<Down> {
    let (host, power, restart_ns) = match &step.action {
        Action::HostCrash { host, restart_ns } => (host, false, *restart_ns),
        Action::HostPowerCut { host, restart_ns } => (host, true, *restart_ns),
        _ => return None,
    };
    let host = controls.recorder.hosts().index(host)?;
    Some(Down { host, power, torn: false, until_ns: now_ns.saturating_add(restart_ns) })
}
