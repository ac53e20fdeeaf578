//! Faults of links: cuts, latency, resets.

use super::{Controls, draw_key};
use crate::plan::{Action, Step};

/// Begins a fault of a link; how often it has had an effect already, or `None` when it isn't one.
pub(super) fn begin(controls: &Controls<'_>, number: usize, step: &Step) -> Option<u64> {
    match &step.action {
        Action::NetCut { link } => controls.network.cut(number, link),
        Action::NetLatency { link, add } => controls.network.slow(number, link, draw_key(step), *add),
        Action::NetReset { link } => return Some(controls.network.reset(link)),
        _ => return None,
    }
    Some(0)
}
