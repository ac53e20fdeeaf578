//! Faults of acks and batches: made by whatever stands in the middle of a channel's lane, told through [`LaneFaults`].

use super::Controls;
use crate::plan::{Action, Dist};

/// What a peer in the middle of a lane does to acks and batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LaneFault {
    /// They come later by a draw.
    Delay(Dist),
    /// That share, in parts per million, comes twice.
    Duplicate(u32),
    /// That share, in parts per million, is overtaken by later ones.
    Reorder(u32),
    /// That share, in parts per million, is lost, and the connection cut a moment later.
    Lose(u32),
    /// In place of that share, in parts per million, the connection is cut at once: what was taken is delivered again.
    Redeliver(u32),
    /// Batches of producers come later by a draw.
    DelayBatch(Dist),
    /// That share of batches, in parts per million, comes twice.
    RepeatBatch(u32),
    /// Sabotage: acks are forged for what the host has not committed.
    Forge,
}

/// How many kinds of [`LaneFault`] there are.
pub(super) const LANE_FAULTS: usize = 8;

impl LaneFault {
    /// The kind's place among all.
    pub(super) fn number(self) -> usize {
        match self {
            LaneFault::Delay(_) => 0,
            LaneFault::Duplicate(_) => 1,
            LaneFault::Reorder(_) => 2,
            LaneFault::Lose(_) => 3,
            LaneFault::Redeliver(_) => 4,
            LaneFault::Forge => 5,
            LaneFault::DelayBatch(_) => 6,
            LaneFault::RepeatBatch(_) => 7,
        }
    }
}

/// A peer in the middle of lanes that can spoil what passes. A setting holds for a channel until it is taken back.
pub trait LaneFaults: Send + Sync {
    /// Begins a fault of a channel, in place of one of its kind, or ends that kind.
    fn set(&self, channel: &str, fault: LaneFault, on: bool);
    /// How many acks or batches of the channel a fault of that kind has spoilt so far.
    fn hits(&self, channel: &str, fault: LaneFault) -> u64;
    /// Whether `host` speaks only the oldest protocol from its next connection on.
    fn set_old(&self, host: &str, on: bool);
    /// How many connections of `host` were held to it so far.
    fn old_hits(&self, host: &str) -> u64;
}

/// Switches a fault of a lane; false when it isn't one. Without lanes nothing happens, and its hits stay 0.
pub(super) fn set(controls: &Controls<'_>, action: &Action, on: bool) -> bool {
    if let Action::HostMixedVersions { host } = action {
        if let Some(lanes) = controls.lanes {
            lanes.set_old(host, on);
            // Its software has changed, so its connections are new ones.
            controls.network.reset_host(host);
        }
        return true;
    }
    let Some((channel, fault)) = fault(action) else { return false };
    if let Some(lanes) = controls.lanes {
        lanes.set(channel, fault, on);
    }
    true
}

/// How much of that channel was spoilt so far by that kind of fault.
pub(super) fn hits(controls: &Controls<'_>, action: &Action) -> Option<u64> {
    if let Action::HostMixedVersions { host } = action {
        return Some(controls.lanes.map_or(0, |lanes| lanes.old_hits(host)));
    }
    let (channel, fault) = fault(action)?;
    Some(controls.lanes.map_or(0, |lanes| lanes.hits(channel, fault)))
}

/// Whether a step needs a peer in the middle of the lanes.
#[must_use]
pub(crate) fn wants_proxy(action: &Action) -> bool {
    let forges = matches!(action, Action::Sabotage { breach, .. } if breach == "forge_ack");
    forges || matches!(action, Action::HostMixedVersions { .. }) || fault(action).is_some()
}

fn fault(action: &Action) -> Option<(&str, LaneFault)> {
    Some(match action {
        Action::AckDelay { channel, add } => (channel, LaneFault::Delay(*add)),
        Action::AckDuplicate { channel, ratio_ppm } => (channel, LaneFault::Duplicate(*ratio_ppm)),
        Action::AckReorder { channel, ratio_ppm } => (channel, LaneFault::Reorder(*ratio_ppm)),
        Action::AckLose { channel, ratio_ppm } => (channel, LaneFault::Lose(*ratio_ppm)),
        Action::DeliveryDuplicate { channel, ratio_ppm } => (channel, LaneFault::Redeliver(*ratio_ppm)),
        Action::PublishDelay { channel, add } => (channel, LaneFault::DelayBatch(*add)),
        Action::PublishDuplicate { channel, ratio_ppm } => (channel, LaneFault::RepeatBatch(*ratio_ppm)),
        _ => return None,
    })
}
