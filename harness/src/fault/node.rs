//! Faults of what runs on a host: nodes that are slow or panic, starved cores, wrong clocks.

use super::Controls;
use crate::plan::Action;

/// Switches such a fault; false when it isn't one.
pub(super) fn set(controls: &Controls<'_>, action: &Action, on: bool) -> bool {
    match action {
        Action::NodeSlow { node, add } => {
            if let Some((machine, node)) = split(controls, node) {
                machine.cpu.set_slow(node, on.then_some(*add));
            }
        }
        Action::NodePanic { node, ratio_ppm } => controls.recorder.set_panics(node, on.then_some(*ratio_ppm)),
        Action::CpuStarve { host, ratio_ppm } => {
            let ratio_ppm = if on { *ratio_ppm } else { 0 };
            controls.machine(host).into_iter().for_each(|machine| machine.cpu.set_starved(ratio_ppm));
        }
        Action::ClockSkew { host, by_ns } => {
            let by_ns = if on { *by_ns } else { 0 };
            controls.machine(host).into_iter().for_each(|machine| machine.clock.set_skew(by_ns));
        }
        Action::ClockDrift { host, ppm } => {
            let ppm = if on { *ppm } else { 0 };
            controls.machine(host).into_iter().for_each(|machine| machine.clock.set_drift(ppm));
        }
        // A clock that has jumped stays where it is.
        Action::ClockStep { host, by_ns } => {
            controls.machine(host).filter(|_| on).into_iter().for_each(|machine| machine.clock.step(*by_ns));
        }
        _ => return false,
    }
    true
}

/// How often such a fault was felt so far.
pub(super) fn hits(controls: &Controls<'_>, action: &Action) -> Option<u64> {
    let machine = |host: &str| controls.machine(host);
    Some(match action {
        Action::NodeSlow { node, .. } => split(controls, node).map_or(0, |(machine, node)| machine.cpu.slow_hits(node)),
        Action::NodePanic { node, .. } => controls.recorder.panics(node),
        Action::CpuStarve { host, .. } => machine(host).map_or(0, |machine| machine.cpu.starved_hits()),
        Action::ClockSkew { host, .. } => machine(host).map_or(0, |machine| machine.clock.hits().0),
        Action::ClockDrift { host, .. } => machine(host).map_or(0, |machine| machine.clock.hits().1),
        Action::ClockStep { host, .. } => machine(host).map_or(0, |machine| machine.clock.hits().2),
        _ => return None,
    })
}

fn split<'a>(controls: &Controls<'a>, node: &'a str) -> Option<(&'a crate::sim::machine::Machine, &'a str)> {
    let (host, node) = node.split_once('.')?;
    Some((controls.machine(host)?, node))
}
