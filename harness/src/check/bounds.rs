//! `bounds.backlog`, `bounds.disk`: what waits inside the system and what its disks hold stays within the given limits.

use std::collections::BTreeMap;

use super::{Case, seconds};
use crate::plan::Ns;

pub(super) fn backlog(case: &Case<'_>) -> Vec<(Ns, String)> {
    let Some(max) = case.limits.backlog_max else { return vec![] };
    let samples = case.history.backlog.iter().copied();
    excursions(samples, max)
        .into_iter()
        .map(|(from_ns, peak)| (from_ns, format!("{peak} packets inside, over {max}, from {}", seconds(from_ns))))
        .collect()
}

pub(super) fn disk(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut by_host: BTreeMap<&str, Vec<(Ns, u64)>> = BTreeMap::new();
    for (host, at_ns, bytes) in &case.history.disk_used {
        by_host.entry(host).or_default().push((*at_ns, *bytes));
    }
    let mut found = Vec::new();
    for (host, max) in &case.limits.disk_bytes_max {
        let samples = by_host.remove(host.as_str()).unwrap_or_default();
        for (from_ns, peak) in excursions(samples.into_iter(), *max) {
            found.push((from_ns, format!("{host} holds {peak} bytes, over {max}, from {}", seconds(from_ns))));
        }
    }
    found
}

/// Stretches of samples above `max`: where each begins, and its peak.
fn excursions(samples: impl Iterator<Item = (Ns, u64)>, max: u64) -> Vec<(Ns, u64)> {
    let mut found: Vec<(Ns, u64)> = Vec::new();
    let mut over = false;
    for (at_ns, value) in samples {
        match found.last_mut() {
            Some((_, peak)) if over && value > max => *peak = value.max(*peak),
            _ if value > max => found.push((at_ns, value)),
            _ => {}
        }
        over = value > max;
    }
    found
}
