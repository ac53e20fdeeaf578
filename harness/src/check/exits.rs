//! `engine.panic` and `engine.ended`: software on a host never panics, ends when it is asked to, and by an error only where a fault
//! failed its disk or spoilt what was on it. A full disk, a bad line, a peer that is gone, or whatever else it must live with is no excuse.

use super::{Case, seconds};
use crate::plan::{Action, Ns};

/// For how long after a disk failed software may still end by it: a request to stop takes as long.
const AFTER_NS: Ns = 10_000_000_000;

pub(super) fn panicked(case: &Case<'_>) -> Vec<(Ns, String)> {
    exits(case, |_, _, message| message.starts_with("panic"))
}

pub(super) fn ended(case: &Case<'_>) -> Vec<(Ns, String)> {
    let failing = case.history.applied.iter().filter_map(|applied| match &case.plan.steps.get(applied.step)?.action {
        Action::DiskEio { host, .. } => Some((host, applied.from_ns..=applied.to_ns.saturating_add(AFTER_NS))),
        // Whenever somebody reads it.
        Action::DiskRot { host, .. } => Some((host, applied.from_ns..=Ns::MAX)),
        _ => None,
    });
    let failing: Vec<_> = failing.collect();
    let excused = |host: &str, at_ns: Ns| failing.iter().any(|(on, while_ns)| *on == host && while_ns.contains(&at_ns));
    exits(case, |host, at_ns, message| !message.starts_with("panic") && !excused(host, at_ns))
}

fn exits(case: &Case<'_>, is_wrong: impl Fn(&str, Ns, &str) -> bool) -> Vec<(Ns, String)> {
    let wrong = case.history.exits.iter().filter(|(host, at_ns, message)| is_wrong(host, *at_ns, message));
    wrong.map(|(host, at_ns, message)| (*at_ns, format!("{host} at {}: {message}", seconds(*at_ns)))).collect()
}
