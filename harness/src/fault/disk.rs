//! Faults of disks: full, slow, failing.

use super::Controls;
use crate::plan::Action;
use crate::sim::disk::DiskHits;

/// Switches a fault of a disk; false when it isn't one.
pub(super) fn set(controls: &Controls<'_>, action: &Action, on: bool) -> bool {
    let with = |host: &str| controls.disk(host);
    match action {
        Action::DiskFull { host } => with(host).into_iter().for_each(|disk| disk.set_full(on)),
        Action::DiskLatency { host, add } => {
            with(host).into_iter().for_each(|disk| disk.set_latency(on.then_some(*add)))
        }
        Action::DiskEio { host, op, ratio_ppm } => {
            with(host).into_iter().for_each(|disk| disk.set_eio(on.then_some((*op, *ratio_ppm))));
        }
        _ => return false,
    }
    true
}

/// How often faults of that kind have touched that disk so far.
pub(super) fn hits(controls: &Controls<'_>, action: &Action) -> Option<u64> {
    let counted =
        |host: &str, count: fn(DiskHits) -> u64| controls.disk(host).map_or(0, |disk| count(disk.fault_hits()));
    match action {
        Action::DiskFull { host } => Some(counted(host, |hits| hits.full)),
        Action::DiskLatency { host, .. } => Some(counted(host, |hits| hits.latency)),
        Action::DiskEio { host, .. } => Some(counted(host, |hits| hits.eio)),
        _ => None,
    }
}
