//! The atlas: combinations of faults that no system of this contract can survive. A scenario outside `must_fail/` that
//! holds one would blame the system for what the plan destroyed.

use super::address::World;
use super::model::{Effect, Fault};
use crate::plan::Action;

/// What can't be asked of the system: the line of the fault that is to blame, why, and what to do instead.
pub(super) struct Unfair {
    pub fault: String,
    pub why: String,
    pub help: &'static str,
}

/// All that is unfair in these faults. Times don't matter: a seed may bring any two together.
pub(super) fn unfair(faults: &[Fault], world: &World) -> Vec<Unfair> {
    let lying: Vec<&str> = faults.iter().filter_map(|fault| host_of(fault, lies)).collect();
    let mut found = Vec::new();
    for fault in faults {
        if let Some(host) = host_of(fault, loses_power).filter(|host| lying.contains(host)) {
            found.push(Unfair {
                fault: fault.id.clone(),
                why: format!("{host}'s disk lies about its syncs, so no software can keep a promise across this"),
                help: "crash the host instead (`host.crash`): its page cache survives",
            });
        }
        if let Some(host) = host_of(fault, replaces).filter(|host| world.keeps(host)) {
            found.push(Unfair {
                fault: fault.id.clone(),
                why: format!("{host} keeps a channel's packets, which go with its disk"),
                help: "replace a host that no channel lives on",
            });
        }
    }
    found
}

fn host_of(fault: &Fault, wanted: fn(&Action) -> Option<&String>) -> Option<&str> {
    let Effect::Act(action) = &fault.effect else { return None };
    wanted(action).map(String::as_str)
}

fn lies(action: &Action) -> Option<&String> {
    if let Action::DiskLyingSync { host } = action { Some(host) } else { None }
}

fn loses_power(action: &Action) -> Option<&String> {
    match action {
        Action::HostPowerCut { host, .. } | Action::HostRestartStorm { host, power: true, .. } => Some(host),
        _ => None,
    }
}

fn replaces(action: &Action) -> Option<&String> {
    if let Action::HostWipe { host, .. } = action { Some(host) } else { None }
}
