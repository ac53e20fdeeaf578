//! Faults of acks: made by whatever stands in the middle of a channel's lane, told through [`LaneFaults`].

use super::Controls;
use crate::plan::{Action, Dist};

/// A peer in the middle of lanes that can spoil acks. A setting holds for a channel until it is taken back.
pub trait LaneFaults: Send + Sync {
    /// Acks come later by a draw; `None` ends it.
    fn set_delay(&self, channel: &str, add: Option<Dist>);
    /// That share of acks, in parts per million, comes twice; `None` ends it.
    fn set_duplicate(&self, channel: &str, ratio_ppm: Option<u32>);
    /// That share of acks, in parts per million, is lost, and the connection cut a moment later; `None` ends it.
    fn set_lose(&self, channel: &str, ratio_ppm: Option<u32>);
    /// Acks are forged for what the host has not committed.
    fn set_forge(&self, channel: &str, on: bool);
    /// How many acks of the channel were spoilt so far.
    fn hits(&self, channel: &str) -> u64;
}

/// Switches a fault of acks; false when it isn't one. Without lanes nothing happens, and its hits stay 0.
pub(super) fn set(controls: &Controls<'_>, action: &Action, on: bool) -> bool {
    let Some(channel) = channel(action) else { return false };
    if let Some(lanes) = controls.lanes {
        match action {
            Action::AckDelay { add, .. } => lanes.set_delay(channel, on.then_some(*add)),
            Action::AckDuplicate { ratio_ppm, .. } => lanes.set_duplicate(channel, on.then_some(*ratio_ppm)),
            Action::AckLose { ratio_ppm, .. } => lanes.set_lose(channel, on.then_some(*ratio_ppm)),
            other => unreachable!("channel() knows what {other:?} is done to"),
        }
    }
    true
}

/// How many acks of that channel were spoilt so far.
pub(super) fn hits(controls: &Controls<'_>, action: &Action) -> Option<u64> {
    let channel = channel(action)?;
    Some(controls.lanes.map_or(0, |lanes| lanes.hits(channel)))
}

fn channel(action: &Action) -> Option<&str> {
    match action {
        Action::AckDelay { channel, .. } | Action::AckDuplicate { channel, .. } | Action::AckLose { channel, .. } => {
            Some(channel)
        }
        _ => None,
    }
}
