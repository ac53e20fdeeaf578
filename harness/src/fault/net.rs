//! Faults of links: cuts, latency, loss, narrow lines, resets, dead connections, short reads and writes.

use super::{Controls, draw_key};
use crate::plan::{Action, Step};
use crate::sim::net::Hindrance;

/// Begins a fault of a link; how often it has had an effect already, or `None` when it isn't one.
pub(super) fn begin(controls: &Controls<'_>, number: usize, step: &Step) -> Option<u64> {
    let key = draw_key(step);
    let (link, hindrance) = match &step.action {
        Action::NetReset { link } => return Some(controls.network.reset(link)),
        Action::NetHalfOpen { link } => return Some(controls.network.deaden(link)),
        Action::NetCut { link } => (link, Hindrance::Cut),
        Action::NetLatency { link, add } => (link, Hindrance::Latency { key, add: *add }),
        Action::NetLoss { link, ratio_ppm } => (link, Hindrance::Loss { key, ratio_ppm: *ratio_ppm }),
        Action::NetBandwidth { link, bytes_per_s } => {
            (link, Hindrance::Bandwidth { bytes_per_s: *bytes_per_s, free_at_ns: 0 })
        }
        Action::NetShortIo { link, bytes } => (link, Hindrance::ShortIo { key, bytes: *bytes }),
        _ => return None,
    };
    controls.network.hinder(number, link, hindrance);
    Some(0)
}
